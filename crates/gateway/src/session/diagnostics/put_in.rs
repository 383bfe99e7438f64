//! ROW_COUNT() and FOUND_ROWS() inside a larger statement, when the connection that knew is in other hands: Weir knows the
//! counts, and puts them into the text.
//!
//! A call becomes `IF(0,ROW_COUNT(),5)`, which has the same type and the same length in every expression. A server names
//! columns after their text: the names are set right in the answer, unless it is so large that it streams.

use weir_sql::{Dialect, Effects, Statement, analyze};
use weir_wire::{
    Reader,
    framer::{HEADER_LEN, Header},
    packet_with,
};

/// Names of more columns are not looked at.
const MOST_COLUMNS: u64 = 4096;

const COUNTS: Effects = Effects::READS_ROW_COUNT.union(Effects::READS_FOUND_ROWS);

/// A text with counts put in.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) struct PutIn {
    pub(in crate::session) text: Vec<u8>,
    replaced: Replaced,
}

/// What stands in the text now, and what stood there.
type Replaced = Vec<(Vec<u8>, Vec<u8>)>;

/// What the first statement of a text asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing: calls stand in later statements, which ask about those before them in the same text.
    Nothing,
    /// It makes these calls.
    Calls(Vec<Call>),
}

/// A call in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    from: usize,
    to: usize,
    pub(super) is_found_rows: bool,
}

/// Finds the calls in the first statement of a text. `None` if the text cannot be followed so simply.
pub(super) fn first_asks(text: &[u8], dialect: &Dialect) -> Option<First> {
    if !matches!(dialect.charset, weir_sql::ClientCharset::AsciiSafe) {
        return None;
    }
    let mut calls = Vec::new();
    let mut at = 0;
    // the last byte that is no blank
    let mut before = 0;
    while let Some(&b) = text.get(at) {
        let next = text.get(at + 1).copied().unwrap_or_default();
        match b {
            b';' => break,
            b'\'' | b'"' | b'`' => at = end_of_quoted(text, at, dialect)?,
            b'#' => return None,
            b'/' if next == b'*' => return None,
            b'-' if next == b'-' => return None,
            _ if is_word(b) => {
                let end = text.get(at..)?.iter().position(|b| !is_word(*b)).map_or(text.len(), |n| at + n);
                let word = text.get(at..end)?;
                let is_found_rows = word.eq_ignore_ascii_case(b"found_rows");
                let is_call = is_found_rows || word.eq_ignore_ascii_case(b"row_count");
                if is_call
                    && !matches!(before, b'.' | b'@')
                    && let Some(to) = end_of_call(text, end)
                {
                    calls.push(Call { from: at, to, is_found_rows });
                }
                at = end - 1;
            }
            _ => {}
        }
        if !b.is_ascii_whitespace() {
            before = b;
        }
        at += 1;
    }
    let first = text.get(..at.min(text.len()))?;
    let found = if calls.is_empty() { First::Nothing } else { First::Calls(calls) };
    // the lexer has the last word: what it still finds was not found here
    let without = match &found {
        First::Nothing => first.to_vec(),
        First::Calls(calls) => replace(first, calls, |_, _| b"5".to_vec()).0,
    };
    let mut meant = Statement::new();
    analyze(&without, dialect, &mut meant);
    (meant.statements == 1 && !meant.effects.intersects(COUNTS | Effects::UNREADABLE | Effects::CALL))
        .then_some(found)
}

impl PutIn {
    /// Puts the counts in.
    pub(super) fn new(text: &[u8], calls: &[Call], row_count: i64, found_rows: u64) -> Self {
        // each has as many blanks in it as calls stand before it, so that it is known again in a name
        let (text, replaced) = replace(text, calls, |blanks, call| {
            match call.is_found_rows {
                true => format!("IF(0,FOUND_ROWS(),{found_rows}{:blanks$})", ""),
                false => format!("IF(0,ROW_COUNT(),{row_count}{:blanks$})", ""),
            }
            .into_bytes()
        });
        Self { text, replaced }
    }

    /// Sets the names of columns right. An answer that is no result set stays as it is.
    pub(in crate::session) fn set_names_right(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let header = Header::parse(answer)?;
        let mut r = Reader::new(answer.get(HEADER_LEN..HEADER_LEN + header.len)?);
        let columns = r.lenenc_int("number of columns").ok().filter(|n| (1..=MOST_COLUMNS).contains(n))?;
        r.finish("number of columns").ok()?;
        let (head, mut rest) = answer.split_at_checked(HEADER_LEN + header.len)?;
        let mut out = Vec::with_capacity(answer.len());
        out.extend_from_slice(head);
        for _ in 0..columns {
            let header = Header::parse(rest)?;
            let (packet, others) = rest.split_at_checked(HEADER_LEN + header.len)?;
            let mut r = Reader::new(packet.get(HEADER_LEN..)?);
            // catalog, schema, table, its own name
            for what in ["catalog", "schema", "table", "original table"] {
                r.lenenc_bytes(what).ok()?;
            }
            let name_at = HEADER_LEN + r.position();
            let name = r.lenenc_bytes("name").ok()?;
            let name = self.replaced.iter().fold(name.to_vec(), |name, (new, old)| swap(&name, new, old));
            packet_with(&mut out, header.sequence, |w| {
                w.bytes(packet.get(HEADER_LEN..name_at).unwrap_or_default())
                    .lenenc_bytes(&name)
                    .bytes(r.rest());
            });
            rest = others;
        }
        out.extend_from_slice(rest);
        Some(out)
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || b >= 0x80
}

/// The place of the quote that ends what begins at `from`.
fn end_of_quoted(text: &[u8], from: usize, dialect: &Dialect) -> Option<usize> {
    let quote = *text.get(from)?;
    let escapes = quote != b'`' && !dialect.no_backslash_escapes;
    let mut at = from + 1;
    loop {
        match *text.get(at)? {
            b'\\' if escapes => at += 1,
            b if b == quote && text.get(at + 1) == Some(&quote) => at += 1,
            b if b == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// Behind the parentheses of a call without arguments whose name ends at `at`.
fn end_of_call(text: &[u8], at: usize) -> Option<usize> {
    let blank = |from: usize| {
        let rest = text.get(from..)?;
        rest.iter().position(|b| !b.is_ascii_whitespace()).map(|n| from + n)
    };
    let open = blank(at).filter(|at| text.get(*at) == Some(&b'('))?;
    let close = blank(open + 1).filter(|at| text.get(*at) == Some(&b')'))?;
    Some(close + 1)
}

fn replace(text: &[u8], calls: &[Call], by: impl Fn(usize, &Call) -> Vec<u8>) -> (Vec<u8>, Replaced) {
    let mut out = Vec::with_capacity(text.len() + 20);
    let mut replaced = Vec::new();
    let mut done = 0;
    for (number, call) in calls.iter().enumerate() {
        let new = by(number, call);
        out.extend_from_slice(text.get(done..call.from).unwrap_or_default());
        out.extend_from_slice(&new);
        replaced.push((new, text.get(call.from..call.to).unwrap_or_default().to_vec()));
        done = call.to;
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
    (out, replaced)
}

/// `text` with the first `new` in it made `old`.
fn swap(text: &[u8], new: &[u8], old: &[u8]) -> Vec<u8> {
    match memchr::memmem::find(text, new) {
        Some(at) => {
            let (head, tail) =
                (text.get(..at).unwrap_or_default(), text.get(at + new.len()..).unwrap_or_default());
            [head, old, tail].concat()
        }
        None => text.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_sql::{ClientCharset, Flavour};
    use weir_wire::response::{Column, OkPacket, ResultSet, column_type};
    use weir_wire::response_end::BACKEND_FLAGS;

    const DIALECT: Dialect = Dialect {
        flavour: Flavour::MySql,
        version: 90_704,
        ansi_quotes: false,
        no_backslash_escapes: false,
        charset: ClientCharset::AsciiSafe,
    };

    fn put(text: &str) -> Option<String> {
        match first_asks(text.as_bytes(), &DIALECT)? {
            First::Nothing => Some("as it is".to_owned()),
            First::Calls(calls) => {
                Some(String::from_utf8(PutIn::new(text.as_bytes(), &calls, -1, 7).text).unwrap())
            }
        }
    }

    #[test]
    fn counts_are_put_into_the_first_statement() {
        for (text, expected) in [
            ("SELECT ROW_COUNT() + 1", Some("SELECT IF(0,ROW_COUNT(),-1) + 1")),
            ("SET @n = found_rows ( )", Some("SET @n = IF(0,FOUND_ROWS(),7)")),
            (
                "INSERT INTO t VALUES ('ROW_COUNT()', 'a\\'', ROW_COUNT(), \"FOUND_ROWS()\", FOUND_ROWS())",
                Some(
                    "INSERT INTO t VALUES ('ROW_COUNT()', 'a\\'', IF(0,ROW_COUNT(),-1), \"FOUND_ROWS()\", \
                     IF(0,FOUND_ROWS(),7 ))",
                ),
            ),
            (
                "SELECT ROW_COUNT(); SELECT ROW_COUNT()",
                Some("SELECT IF(0,ROW_COUNT(),-1); SELECT ROW_COUNT()"),
            ),
            ("UPDATE t SET a = 1; SELECT ROW_COUNT(), 2", Some("as it is")),
            ("SELECT ROW_COUNT() /* why */ + 1", None),
            ("SELECT ROW_COUNT() -- 1", None),
            ("; SELECT ROW_COUNT()", None),
            ("SELECT 'open, ROW_COUNT()", None),
            ("SELECT `ROW_COUNT`()", None),
        ] {
            assert_eq!(put(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_what_it_would_have_been() {
        let text = b"SELECT row_count( ) + 1 AS a, row_count( ) + 2, ROW_COUNT()";
        let Some(First::Calls(calls)) = first_asks(text, &DIALECT) else { panic!("no calls") };
        let put = PutIn::new(text, &calls, 5, 0);
        let answer = |names: [&str; 3]| {
            let columns = names.map(|name| Column {
                schema: b"",
                table: b"",
                org_table: b"",
                name: name.as_bytes(),
                org_name: b"",
                charset: 63,
                length: 22,
                kind: column_type::LONGLONG,
                flags: 129,
                decimals: 0,
            });
            let mut out = Vec::new();
            let mut set = ResultSet::begin(&mut out, 1, BACKEND_FLAGS, &columns, &OkPacket::default());
            set.row([Some(b"6".as_slice()), Some(b"7"), Some(b"5")]);
            set.end(&OkPacket::default());
            out
        };
        let got = answer(["a", "IF(0,ROW_COUNT(),5 ) + 2", "IF(0,ROW_COUNT(),5  )"]);
        let named = put.set_names_right(&got);
        assert_eq!(named, Some(answer(["a", "row_count( ) + 2", "ROW_COUNT()"])));
        for cut in 0..20 {
            assert!(
                put.set_names_right(&got[..cut]).is_none_or(|out| out.len() <= got.len()),
                "cut at {cut}"
            );
        }
    }
}
