//! Follows one answer to its end, and looks whether it is the right one.
//!
//! It shares nothing with Weir's own walk over answers on purpose: what measures does not carry the mistakes of
//! what is measured. It is as cheap as a real driver would like to be: the first bytes of each payload are looked
//! at, the rest is passed over.

use weir_wire::framer::{HEADER_LEN, Header, MAX_PAYLOAD};

/// Bytes of a payload that are looked at: enough for an OK packet's status and for a row's id.
const HEAD: usize = 32;
const OK: u8 = 0x00;
const EOF: u8 = 0xFE;
const ERR: u8 = 0xFF;
const MORE_RESULTS: u16 = 8;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowFormat {
    /// Length-encoded text.
    Text,
    /// As an executed statement answers; ids are INT.
    Binary,
}

/// The right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Rows whose first column counts up from `first`.
    Rows { format: RowFormat, first: u32, count: u32 },
    /// One row of text: the id 1 and a value of so many bytes.
    Blob { bytes: u32 },
    /// An OK with so many affected rows.
    Changed { rows: u64 },
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As expected.
    Right,
    /// A well-formed answer, to something else.
    Wrong,
    /// The server's error number.
    Refused(u16),
}

/// What came is no answer; the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Columns { left: u64 },
    ColumnsEnd,
    Rows,
    Done(Verdict),
}

/// One answer, as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    expected: Expected,
    deprecate_eof: bool,
    state: State,
    header: [u8; HEADER_LEN],
    header_have: usize,
    /// Payload bytes of the current packet that are still to come.
    left: usize,
    continues: bool,
    in_payload: bool,
    head: [u8; HEAD],
    head_have: usize,
    /// Bytes of the current payload, over all its packets.
    length: usize,
    rows: u32,
    is_wrong: bool,
}

impl Answer {
    /// Awaits the first byte of an answer that should be as `expected`.
    pub(crate) fn new(expected: Expected, deprecate_eof: bool) -> Self {
        Self {
            expected,
            deprecate_eof,
            state: State::First,
            header: [0; HEADER_LEN],
            header_have: 0,
            left: 0,
            continues: false,
            in_payload: false,
            head: [0; HEAD],
            head_have: 0,
            length: 0,
            rows: 0,
            is_wrong: false,
        }
    }

    /// Takes the next bytes. The verdict comes with the last of them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Verdict>, Broken> {
        let mut rest = bytes;
        loop {
            if let State::Done(verdict) = self.state {
                return if rest.is_empty() {
                    Ok(Some(verdict))
                } else {
                    Err(Broken("bytes after the answer"))
                };
            }
            if !self.in_payload {
                let Some(header) = self.take_header(&mut rest) else { return Ok(None) };
                self.left = header.len;
                self.continues = header.len == MAX_PAYLOAD;
                self.in_payload = true;
            }
            let (now, later) = rest.split_at(self.left.min(rest.len()));
            self.take_payload(now);
            rest = later;
            if self.left > 0 {
                return Ok(None);
            }
            self.in_payload = false;
            if !self.continues {
                self.state = self.payload()?;
                self.head_have = 0;
                self.length = 0;
            }
        }
    }

    fn take_header(&mut self, rest: &mut &[u8]) -> Option<Header> {
        let wanted = HEADER_LEN.saturating_sub(self.header_have).min(rest.len());
        let (now, later) = rest.split_at(wanted);
        for (to, from) in self.header.iter_mut().skip(self.header_have).zip(now) {
            *to = *from;
        }
        self.header_have += wanted;
        *rest = later;
        if self.header_have < HEADER_LEN {
            return None;
        }
        self.header_have = 0;
        Header::parse(&self.header)
    }

    fn take_payload(&mut self, now: &[u8]) {
        for (to, from) in self.head.iter_mut().skip(self.head_have).zip(now) {
            *to = *from;
        }
        self.head_have = (self.head_have + now.len()).min(HEAD);
        self.length += now.len();
        self.left -= now.len();
    }

    /// A payload is complete: its first bytes are in `head`.
    fn payload(&mut self) -> Result<State, Broken> {
        let head = self.head.get(..self.head_have).unwrap_or_default();
        let first = *head.first().ok_or(Broken("an empty payload"))?;
        if first == ERR {
            let number =
                head.get(1..3).and_then(|bytes| bytes.try_into().ok()).ok_or(Broken("a cut error"))?;
            return Ok(State::Done(Verdict::Refused(u16::from_le_bytes(number))));
        }
        match self.state {
            State::First if first == OK => self.ok(head).ok_or(Broken("a cut OK"))?,
            State::First => match lenenc(head) {
                Some((left, [])) if left > 0 => Ok(State::Columns { left }),
                _ => Err(Broken("neither OK nor a number of columns")),
            },
            State::Columns { left } if left > 1 => Ok(State::Columns { left: left - 1 }),
            State::Columns { .. } if self.deprecate_eof => Ok(State::Rows),
            State::Columns { .. } => Ok(State::ColumnsEnd),
            State::ColumnsEnd if first == EOF && self.length == 5 => Ok(State::Rows),
            State::ColumnsEnd => Err(Broken("no EOF after the columns")),
            State::Rows if first == EOF && self.length < MAX_PAYLOAD => self.end(head),
            State::Rows => {
                let is_right = self.is_right_row(head);
                self.is_wrong |= !is_right;
                self.rows += 1;
                Ok(State::Rows)
            }
            State::Done(verdict) => Ok(State::Done(verdict)),
        }
    }

    fn ok(&self, head: &[u8]) -> Option<Result<State, Broken>> {
        let (affected, rest) = lenenc(head.get(1..)?)?;
        let (_, rest) = lenenc(rest)?;
        let status = u16::from_le_bytes(rest.get(..2)?.try_into().ok()?);
        if status & MORE_RESULTS != 0 {
            return Some(Err(Broken("more results than one")));
        }
        let is_right = matches!(self.expected, Expected::Changed { rows } if rows == affected);
        Some(Ok(State::Done(if is_right { Verdict::Right } else { Verdict::Wrong })))
    }

    fn end(&self, head: &[u8]) -> Result<State, Broken> {
        let status = if self.deprecate_eof {
            let rest =
                head.get(1..).and_then(lenenc).and_then(|(_, rest)| lenenc(rest)).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.get(..2))
        } else {
            head.get(3..5)
        };
        let status = status.and_then(|bytes| bytes.try_into().ok()).ok_or(Broken("a cut end of rows"))?;
        if u16::from_le_bytes(status) & MORE_RESULTS != 0 {
            return Err(Broken("more results than one"));
        }
        let wanted = match self.expected {
            Expected::Rows { count, .. } => Some(count),
            Expected::Blob { .. } => Some(1),
            Expected::Changed { .. } => None,
        };
        let is_right = !self.is_wrong && wanted == Some(self.rows);
        Ok(State::Done(if is_right { Verdict::Right } else { Verdict::Wrong }))
    }

    fn is_right_row(&self, head: &[u8]) -> bool {
        match self.expected {
            Expected::Rows { format, first, .. } => {
                let id = match format {
                    RowFormat::Text => text_id(head),
                    RowFormat::Binary => binary_id(head),
                };
                id == Some(first.wrapping_add(self.rows))
            }
            // id: its length and one digit; value: 0xFE with eight bytes of length
            Expected::Blob { bytes } => text_id(head) == Some(1) && self.length == 2 + 9 + bytes as usize,
            Expected::Changed { .. } => false,
        }
    }
}

fn text_id(head: &[u8]) -> Option<u32> {
    let (length, rest) = head.split_first()?;
    let digits = rest.get(..usize::from(*length))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// After the header byte and one byte of NULL bits (two columns).
fn binary_id(head: &[u8]) -> Option<u32> {
    match head {
        [OK, 0, a, b, c, d, ..] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// A length-encoded integer and what follows it.
fn lenenc(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        0xFB | 0xFF => return None,
        small => return Some((u64::from(*small), rest)),
    };
    let mut wide = [0; 8];
    wide.get_mut(..width)?.copy_from_slice(rest.get(..width)?);
    Some((u64::from_le_bytes(wide), rest.get(width..)?))
}

#[cfg(test)]
mod tests;
