//! Comments: plain ones, those that the server executes, optimizer hints.

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
            Some(b'+') if self.hintable && self.is_mysql(50_707) => {
                self.hintable = false;
                self.before = Before::Other;
                self.state = State::OptimizerHint { quote: 0 };
                Ok(at + 3)
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
        self.hintable = false;
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
    fn version_comment(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        mariadb: bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        let mut digits = 0;
        let mut version = 0u32;
        while digits < 6 {
            let Some(digit) = Self::peek(buf, at + digits, last)?.filter(u8::is_ascii_digit) else { break };
            version = version * 10 + u32::from(digit - b'0');
            digits += 1;
        }
        self.before = Before::Other;
        self.hintable = false;
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
                self.hintable = false;
                at + length + 1
            }
            None => buf.len(),
        }
    }

    pub(super) fn hint_rest(&mut self, buf: &[u8], at: usize, last: bool, quote: u8) -> Result<usize, More> {
        let mut quote = quote;
        let mut here = at;
        while let Some(&b) = buf.get(here) {
            match b {
                b'*' if quote == 0 => match Self::peek(buf, here + 1, last) {
                    Ok(Some(b'/')) => {
                        self.state = State::Text;
                        return Ok(here + 2);
                    }
                    Ok(_) => {}
                    Err(More) if here == at => return Err(More),
                    Err(More) => break,
                },
                b'`' | b'"' | b'\'' if quote == 0 => quote = b,
                _ if b == quote => quote = 0,
                _ => {}
            }
            here += 1;
        }
        self.state = State::OptimizerHint { quote };
        Ok(here)
    }
}
