//! Numbers, and the names that start like one.

use super::bytes::is_name;
use super::{Before, LONGEST_TOKEN, Lexer, More, State};
use crate::pass::Pass;

/// A hexadecimal number longer than this (digits) is not looked at any further.
const LONG_HEX: usize = 1024;

impl Lexer {
    /// A token that starts with a digit: a number, or a name such as `1st`.
    pub(super) fn number(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        if buf.get(at) == Some(&b'0') {
            // Only a lower-case `x` or `b` makes a number: 0X41 is a name.
            let digit: Option<fn(&u8) -> bool> = match Self::peek(buf, at + 1, last)? {
                Some(b'x') => Some(u8::is_ascii_hexdigit),
                Some(b'b') => Some(|b| matches!(b, b'0' | b'1')),
                _ => None,
            };
            if let Some(digit) = digit {
                return self.radix(buf, at, last, digit, pass);
            }
        }
        let end = Self::digits(buf, at, last)?;
        match Self::peek(buf, end, last)? {
            Some(b'.') => {
                let end = Self::fraction_end(buf, end, last)?;
                return self.number_token(buf, at, end, pass);
            }
            Some(b) if is_name(b) && b != self.high_space => {}
            _ => return self.number_token(buf, at, end, pass),
        }
        match Self::exponent(buf, end, last)? {
            Some(end) => self.number_token(buf, at, end, pass),
            None => self.word(buf, at, last, pass),
        }
    }

    /// `.` and what follows it in a number.
    pub(super) fn fraction(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        let end = Self::fraction_end(buf, at, last)?;
        self.number_token(buf, at, end, pass)
    }

    fn fraction_end(buf: &[u8], at: usize, last: bool) -> Result<usize, More> {
        let end = Self::digits(buf, at + 1, last)?;
        Ok(Self::exponent(buf, end, last)?.unwrap_or(end))
    }

    pub(super) fn hex_rest(&mut self, buf: &[u8], at: usize) -> usize {
        let length = buf.iter().skip(at).take_while(|b| b.is_ascii_hexdigit()).count();
        if at + length < buf.len() {
            self.state = State::Text;
        }
        at + length
    }

    fn number_token(&mut self, buf: &[u8], start: usize, end: usize, pass: &mut Pass) -> Result<usize, More> {
        if end - start > LONGEST_TOKEN {
            self.lose(pass);
            return Ok(end);
        }
        self.before = Before::Other;
        pass.number(buf.get(start..end).unwrap_or_default());
        Ok(end)
    }

    /// `0x...` or `0b...`.
    fn radix(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        digit: fn(&u8) -> bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        let digits = buf.iter().skip(at + 2).take(LONG_HEX + 1).take_while(|b| digit(b)).count();
        let end = at + 2 + digits;
        let long = digits > LONG_HEX;
        if !long
            && (digits == 0
                || Self::peek(buf, end, last)?.is_some_and(|b| is_name(b) && b != self.high_space))
        {
            return self.word(buf, at, last, pass);
        }
        self.before = Before::Other;
        if long {
            self.state = State::Hex;
        }
        pass.radix(buf.get(at..end).unwrap_or_default(), long);
        Ok(end)
    }

    fn digits(buf: &[u8], at: usize, last: bool) -> Result<usize, More> {
        let rest = buf.get(at..).unwrap_or_default();
        let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if length == rest.len() && !last { Err(More) } else { Ok(at + length) }
    }

    /// The end of an exponent that starts at `at`, if one does.
    fn exponent(buf: &[u8], at: usize, last: bool) -> Result<Option<usize>, More> {
        if !matches!(Self::peek(buf, at, last)?, Some(b'e' | b'E')) {
            return Ok(None);
        }
        let signed = matches!(Self::peek(buf, at + 1, last)?, Some(b'+' | b'-'));
        let from = if signed { at + 2 } else { at + 1 };
        if !Self::peek(buf, from, last)?.is_some_and(|b| b.is_ascii_digit()) {
            return Ok(None);
        }
        Self::digits(buf, from, last).map(Some)
    }
}
