//! Where the author of a statement wants it to run, told in a comment.

use crate::Hint;

/// A comment longer than this is never a hint (bytes, with its marks).
pub(crate) const LONGEST_HINT: usize = 200;

/// The hint in a comment, given what stands between its marks.
pub(crate) fn in_comment(body: &[u8]) -> Option<Hint> {
    let body = body.trim_ascii();
    if body.eq_ignore_ascii_case(b"master") {
        return Some(Hint::Primary);
    }
    let (name, rest) = body.split_at_checked(4)?;
    if !name.eq_ignore_ascii_case(b"weir") {
        return None;
    }
    let target = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    if target.eq_ignore_ascii_case(b"primary") {
        Some(Hint::Primary)
    } else if target.eq_ignore_ascii_case(b"replica") {
        Some(Hint::Replica)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_comments_are_hints() {
        let rows: &[(&str, Option<Hint>)] = &[
            (" weir: primary ", Some(Hint::Primary)),
            ("weir:replica", Some(Hint::Replica)),
            ("\tWEIR : Replica\n", Some(Hint::Replica)),
            ("master", Some(Hint::Primary)),
            (" MASTER ", Some(Hint::Primary)),
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
