//! What the author of a statement tells in a comment: where it is to run, whether the session keeps its connection.

use crate::Hint;

/// A comment longer than this is never a hint (bytes, with its marks).
pub(crate) const LONGEST_HINT: usize = 200;

/// What a comment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Where the statement is to run.
    Run(Hint),
    /// The session is to keep its connection.
    Pin,
    /// No longer.
    Unpin,
}

/// The hint in a comment, given what stands between its marks.
pub(crate) fn in_comment(body: &[u8]) -> Option<Asked> {
    let body = body.trim_ascii();
    if body.eq_ignore_ascii_case(b"master") {
        return Some(Asked::Run(Hint::Primary));
    }
    let (name, rest) = body.split_at_checked(4)?;
    if !name.eq_ignore_ascii_case(b"weir") {
        return None;
    }
    let target = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    if target.eq_ignore_ascii_case(b"primary") {
        Some(Asked::Run(Hint::Primary))
    } else if target.eq_ignore_ascii_case(b"replica") {
        Some(Asked::Run(Hint::Replica))
    } else if target.eq_ignore_ascii_case(b"pin") {
        Some(Asked::Pin)
    } else if target.eq_ignore_ascii_case(b"unpin") {
        Some(Asked::Unpin)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_comments_are_hints() {
        let rows: &[(&str, Option<Asked>)] = &[
            (" weir: primary ", Some(Asked::Run(Hint::Primary))),
            ("weir:replica", Some(Asked::Run(Hint::Replica))),
            ("\tWEIR : Replica\n", Some(Asked::Run(Hint::Replica))),
            ("master", Some(Asked::Run(Hint::Primary))),
            (" MASTER ", Some(Asked::Run(Hint::Primary))),
            (" weir: pin", Some(Asked::Pin)),
            ("weir:Unpin ", Some(Asked::Unpin)),
            ("weir: pins", None),
            ("slave", None),
            ("weir replica", None),
            ("weir: replicas", None),
            ("weir: primary, please", None),
            ("weird: primary", None),
            ("mastering", None),
            ("route: master", None),
            ("wei", None),
            ("", None),
        ];
        for (body, expected) in rows {
            assert_eq!(in_comment(body.as_bytes()), *expected, "{body:?}");
        }
    }
}
