//! Texts that are nothing but one call of GET_LOCK, RELEASE_LOCK, RELEASE_ALL_LOCKS or IS_USED_LOCK: their answer tells
//! what became of the lock, or who has it.

use weir_wire::{
    Reader,
    framer::{HEADER_LEN, Header},
    response::{Column, TextRow, column_type},
};

/// Longer texts are not looked at, bytes.
const LONGEST: usize = 512;

/// The function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum LockCall {
    Get,
    Release,
    ReleaseAll,
    IsUsed,
}

impl LockCall {
    /// `None`: there is more to the text than that, or its answer has no value.
    pub(in crate::session) fn read(text: &[u8]) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let text = text.to_ascii_lowercase();
        let text = text.trim_ascii();
        let text = text.strip_suffix(b";").unwrap_or(text);
        let (rest, is_select) = match text.strip_prefix(b"select") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix(b"do")?, false),
        };
        let call = rest.trim_ascii_start();
        if call.len() == rest.len() {
            return None;
        }
        let functions: [(&[u8], Self); 4] = [
            (b"get_lock", Self::Get),
            (b"release_lock", Self::Release),
            (b"release_all_locks", Self::ReleaseAll),
            (b"is_used_lock", Self::IsUsed),
        ];
        let (function, rest) = functions
            .into_iter()
            .find_map(|(name, function)| Some((function, call.strip_prefix(name)?.strip_prefix(b"(")?)))?;
        let (arguments, alias) = rest.split_at_checked(memchr::memchr(b')', rest)?)?;
        // a comment, a call in a call, several statements: not that simple
        let simple = |part: &[u8]| {
            !part.iter().any(|b| matches!(b, b'(' | b';' | b'#' | b'\\'))
                && !part.windows(2).any(|two| two == b"/*" || two == b"--")
        };
        let alias = alias.strip_prefix(b")")?.trim_ascii();
        let alias = alias.strip_prefix(b"as ").unwrap_or(alias).trim_ascii();
        let is_name =
            alias.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'`' | b'\'' | b'"'));
        let quotes_close = arguments.iter().filter(|b| **b == b'\'').count() % 2 == 0
            && arguments.iter().filter(|b| **b == b'"').count() % 2 == 0;
        // DO tells nothing: what was released is known without, if it was all
        let tells = is_select || function == Self::ReleaseAll;
        (simple(arguments) && quotes_close && is_name && tells).then_some(function)
    }
}

/// The only value of a result set of one row and one column, if it is a number.
pub(in crate::session) fn only_value(answer: &[u8], deprecate_eof: bool, binary: bool) -> Option<i64> {
    let mut rest = answer;
    let mut next = || {
        let header = Header::parse(rest)?;
        let payload = rest.get(HEADER_LEN..HEADER_LEN + header.len)?;
        rest = rest.get(HEADER_LEN + header.len..)?;
        Some(payload)
    };
    if next()? != [1] {
        return None;
    }
    let column = Column::parse(next()?).ok()?;
    if !deprecate_eof {
        next()?;
    }
    let row = next()?;
    if !binary {
        let value = TextRow::new(row).value().ok()??;
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    let mut r = Reader::new(row);
    // header, NULL bitmap of one column
    let [0, 0] = r.bytes(2, "head of row").ok()? else { return None };
    match column.kind {
        column_type::LONGLONG => Some(i64::from_le_bytes(r.rest().try_into().ok()?)),
        LONG => Some(i64::from(i32::from_le_bytes(r.rest().try_into().ok()?))),
        _ => None,
    }
}

/// Source: `enum_field_types`.
const LONG: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_stands_alone_is_one() {
        for (text, call) in [
            ("SELECT GET_LOCK('a b-c/d', 10)", Some(LockCall::Get)),
            (" select  get_lock(?, ?) AS `t0` ;", Some(LockCall::Get)),
            ("SELECT RELEASE_LOCK(\"a\") taken", Some(LockCall::Release)),
            ("SELECT RELEASE_LOCK(@name)", Some(LockCall::Release)),
            ("DO RELEASE_ALL_LOCKS()", Some(LockCall::ReleaseAll)),
            ("DO GET_LOCK('a', 1)", None),
            ("SELECT IS_USED_LOCK('a')", Some(LockCall::IsUsed)),
            ("SELECT IS_USED_LOCK('a') = CONNECTION_ID()", None),
            ("SELECT GET_LOCK('a', 1), 2", None),
            ("SELECT GET_LOCK('a', 1) + 1", None),
            ("SELECT GET_LOCK('a', 1) FROM t", None),
            ("SELECT GET_LOCK(CONCAT('a'), 1)", None),
            ("SELECT GET_LOCK('a)', 1)", None),
            ("SELECT GET_LOCK('a', 1) UNION SELECT 1", None),
            ("SELECT GET_LOCK('a', 1); SELECT 1", None),
            ("SELECTGET_LOCK('a', 1)", None),
            ("SELECT 1, GET_LOCK('a', 1)", None),
            ("SELECT GET_LOCK('a' /* , */, 1)", None),
        ] {
            assert_eq!(LockCall::read(text.as_bytes()), call, "{text}");
        }
    }

    fn answer(deprecate_eof: bool, kind: u8, row: &[u8]) -> Vec<u8> {
        use weir_wire::response::{OkPacket, ResponseFlags, ResultSet};
        let column = Column {
            schema: b"",
            table: b"",
            org_table: b"",
            name: b"GET_LOCK",
            org_name: b"",
            charset: 63,
            length: 21,
            kind,
            flags: 128,
            decimals: 0,
        };
        let flags = ResponseFlags { session_track: false, deprecate_eof };
        let mut out = Vec::new();
        let _only_columns = ResultSet::begin(&mut out, 1, flags, &[column], &OkPacket::default());
        weir_wire::write_packet(&mut out, 9, row);
        out
    }

    #[test]
    fn the_value_is_read_as_text_and_binary() {
        for eof in [true, false] {
            let long = [&[0, 0][..], &1_i64.to_le_bytes()].concat();
            let short = [&[0, 0][..], &1_i32.to_le_bytes()].concat();
            assert_eq!(only_value(&answer(eof, column_type::LONGLONG, b"\x011"), eof, false), Some(1));
            assert_eq!(only_value(&answer(eof, column_type::LONGLONG, b"\xFB"), eof, false), None);
            assert_eq!(only_value(&answer(eof, column_type::LONGLONG, &long), eof, true), Some(1));
            assert_eq!(only_value(&answer(eof, LONG, &short), eof, true), Some(1));
            assert_eq!(only_value(&answer(eof, column_type::LONGLONG, &[0, 4]), eof, true), None);
            let whole = answer(eof, column_type::LONGLONG, &long);
            for cut in 0..whole.len() {
                assert_eq!(only_value(&whole[..cut], eof, true), None, "cut at {cut}");
            }
        }
    }
}
