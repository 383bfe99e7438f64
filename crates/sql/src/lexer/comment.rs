//! Comments: plain ones, those that the server executes, optimizer hints.

use super::bytes::is_space;
use super::{Before, Lexer, More, State};
use crate::Flavour;
use crate::hint::{self, LONGEST_HINT};
use crate::pass::Pass;

/// MariaDB executes this one only under Galera, to check consistency.
const GALERA_CHECK: u32 = 99_997;

impl Lexer {
    pub(super) fn slash(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        if Self::peek(buf, at + 1, last)? != Some(b'*') {
            return self.operator(buf, at, last, pass);
        }
        match Self::peek(buf, at + 2, last)? {
            Some(b'!') => self.version_comment(buf, at + 3, last, false, pass),
            Some(b'M')
                if self.dialect.flavour == Flavour::MariaDb
                    && Self::peek(buf, at + 3, last)? == Some(b'!') =>
            {
                self.version_comment(buf, at + 4, last, true, pass)
            }
            _ => self.plain_comment(buf, at, last, pass),
        }
    }

    fn plain_comment(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        let body = buf.get(at + 2..).unwrap_or_default();
        let end = memchr::memmem::find(body, b"*/");
        if end.is_none() && body.len() <= LONGEST_HINT && !last {
            return Err(More);
        }
        self.before = Before::Other;
        // a text in pieces knows no more of a long one than that it is one: what is long may set a variable
        let may_set = |end| end > LONGEST_HINT || has_variable(body.get(..end).unwrap_or_default());
        if body.first() == Some(&b'+') && end.is_none_or(may_set) {
            pass.variable_hint();
        }
        let Some(length) = end else {
            self.state = State::Comment { nests: false, inside: false };
            return Ok(at + 2);
        };
        if length + 4 <= LONGEST_HINT
            && let Some(hint) = body.get(..length).and_then(hint::in_comment)
        {
            pass.hint(hint);
        }
        Ok(at + 2 + length + 2)
    }

    /// `/*!` or `/*M!` was read up to `at`. Five or six digits are a version, without them it is always executed.
    /// MySQL takes a sixth digit since 8.1, and only in front of white space; MariaDB always.
    fn version_comment(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        mariadb: bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        let mut digits = 0;
        while digits < 6 && Self::peek(buf, at + digits, last)?.is_some_and(|b| b.is_ascii_digit()) {
            digits += 1;
        }
        if digits == 6 && self.dialect.flavour == Flavour::MySql {
            let spaced = Self::peek(buf, at + 6, last)?.is_some_and(|b| is_space(b) || b == self.high_space);
            if !spaced || !self.is_mysql(80_100) {
                digits = 5;
            }
        }
        let written = buf.get(at..at + digits).unwrap_or_default();
        let version = written.iter().fold(0u32, |version, digit| version * 10 + u32::from(digit - b'0'));
        self.before = Before::Other;
        if digits < 5 {
            self.executed = true;
            return Ok(at);
        }
        // MariaDB leaves out what is meant for MySQL 5.7 to 9.
        let foreign =
            self.dialect.flavour == Flavour::MariaDb && !mariadb && (50_700..=99_999).contains(&version);
        if version <= self.dialect.version && !foreign {
            self.executed = true;
            return Ok(at + digits);
        }
        if self.dialect.flavour == Flavour::MariaDb && version == GALERA_CHECK {
            pass.unreadable();
        }
        self.state = State::Comment { nests: true, inside: false };
        Ok(at)
    }

    pub(super) fn comment_rest(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        nests: bool,
        inside: bool,
    ) -> Result<usize, More> {
        let mut from = at;
        loop {
            let rest = buf.get(from..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'*', if nests && !inside { b'/' } else { b'*' }, rest) else {
                return Ok(buf.len());
            };
            let here = from + found;
            let first = buf.get(here).copied();
            match (first, Self::peek(buf, here + 1, last)) {
                (_, Err(More)) if here == at => return Err(More),
                // Keep the mark for the next buffer, not what stands in front of it.
                (_, Err(More)) => return Ok(here),
                (Some(b'*'), Ok(Some(b'/'))) => {
                    self.state = if inside { State::Comment { nests, inside: false } } else { State::Text };
                    return Ok(here + 2);
                }
                (Some(b'/'), Ok(Some(b'*'))) => {
                    self.state = State::Comment { nests, inside: true };
                    return Ok(here + 2);
                }
                _ => from = here + 1,
            }
        }
    }

    pub(super) fn line_comment_rest(&mut self, buf: &[u8], at: usize) -> usize {
        let rest = buf.get(at..).unwrap_or_default();
        match memchr::memchr2(b'\n', 0, rest) {
            Some(length) => {
                self.state = State::Text;
                self.before = Before::Other;
                at + length + 1
            }
            None => buf.len(),
        }
    }
}

fn has_variable(hint: &[u8]) -> bool {
    const NAME: &[u8] = b"SET_VAR";
    hint.windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME))
}
