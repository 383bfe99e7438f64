//! Strings, quoted names, dollar-quoted text.

use super::{Before, Lexer, More, State};
use crate::charset::Step;
use crate::pass::Pass;

/// What the characters of a literal stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    /// `x'..'`.
    Hex,
    /// `b'..'`.
    Bits,
}

/// The `$tag$` that ends a dollar-quoted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    bytes: [u8; Tag::LONGEST],
    length: usize,
}

impl Tag {
    const LONGEST: usize = 72;

    fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::LONGEST];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { bytes, length: text.len() })
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Lexer {
    /// A literal whose opening quote is at `at`.
    pub(super) fn start_string(&mut self, at: usize, quote: u8, content: Content, pass: &mut Pass) -> usize {
        self.before = Before::Other;
        self.state = State::String { quote };
        pass.string_start(content);
        at + 1
    }

    pub(super) fn string(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        quote: u8,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        let mut from = at;
        loop {
            let here = self.string_mark(buf, from, last, quote);
            pass.string_piece(buf.get(from..here).unwrap_or_default());
            let Some(&mark) = buf.get(here) else { return Ok(here) };
            match Self::peek(buf, here + 1, last) {
                Err(More) if here == at => return Err(More),
                Err(More) => return Ok(here),
                Ok(next) if mark == quote => {
                    if next != Some(quote) {
                        self.state = State::Text;
                        pass.string_end();
                        return Ok(here + 1);
                    }
                    pass.string_piece(&[quote]);
                }
                // An unterminated string: finish() sees the state.
                Ok(None) => return Ok(buf.len()),
                Ok(Some(escaped)) if mark == b'\\' => pass.string_escape(escaped),
                // The start of a character that the buffer cuts.
                Ok(Some(_)) => return if here == at { Err(More) } else { Ok(here) },
            }
            from = here + 2;
        }
    }

    /// Where the next quote, backslash or cut character is; the end of the buffer if there is none.
    fn string_mark(&self, buf: &[u8], from: usize, last: bool, quote: u8) -> usize {
        let rest = buf.get(from..).unwrap_or_default();
        let escape = if self.dialect.no_backslash_escapes { quote } else { b'\\' };
        if !self.hides_ascii {
            return memchr::memchr2(quote, escape, rest).map_or(buf.len(), |found| from + found);
        }
        let mut here = from;
        while let Some(&b) = buf.get(here) {
            if b == quote || b == escape {
                return here;
            }
            here += match b {
                0x80.. => match self.dialect.charset.step(buf.get(here..).unwrap_or_default()) {
                    Step::Character(length) => length,
                    Step::More if !last => return here,
                    _ => 1,
                },
                _ => 1,
            };
        }
        here
    }

    /// For the name in quotes whose opening quote is at `at`: where it ends, behind its closing quote, and the quote
    /// that is doubled in it or 0; `None` if it never ends.
    pub(super) fn quoted_end(&self, buf: &[u8], at: usize, last: bool) -> Result<Option<(usize, u8)>, More> {
        let Some(&quote) = buf.get(at) else { return Ok(None) };
        let escapes = quote != b'`'
            && !self.dialect.no_backslash_escapes
            && !(quote == b'"' && self.dialect.ansi_quotes);
        let mut doubled = 0;
        let mut here = at + 1;
        loop {
            let Some(b) = Self::peek(buf, here, last)? else { return Ok(None) };
            match b {
                // The servers refuse a zero byte in a quoted name.
                0 if !escapes => return Ok(None),
                b'\\' if escapes => here += 1,
                _ if b == quote => {
                    if Self::peek(buf, here + 1, last)? != Some(quote) {
                        break;
                    }
                    doubled = quote;
                    here += 1;
                }
                0x80.. => match self.dialect.charset.step(buf.get(here..).unwrap_or_default()) {
                    Step::Character(length) => here += length - 1,
                    Step::More if !last => return Err(More),
                    _ => {}
                },
                _ => {}
            }
            here += 1;
        }
        if here - at > super::LONGEST_TOKEN {
            return Ok(None);
        }
        Ok(Some((here + 1, doubled)))
    }

    /// `$`: a name, or since MySQL 8.1 the start of `$tag$ text $tag$`.
    pub(super) fn dollar(
        &mut self,
        buf: &[u8],
        at: usize,
        last: bool,
        pass: &mut Pass,
    ) -> Result<usize, More> {
        if !self.is_mysql(80_100) || self.before == Before::Dot {
            return self.word(buf, at, last, pass);
        }
        let mut end = at + 1;
        loop {
            match Self::peek(buf, end, last)? {
                Some(b'$') => break,
                Some(b) if super::is_name(b) && end - at < Tag::LONGEST => end += 1,
                _ => return self.word(buf, at, last, pass),
            }
        }
        let Some(tag) = buf.get(at..=end).and_then(Tag::new) else { return self.word(buf, at, last, pass) };
        self.before = Before::Other;
        self.state = State::Dollar(tag);
        pass.literal();
        Ok(end + 1)
    }

    pub(super) fn dollar_rest(&mut self, buf: &[u8], at: usize, last: bool, tag: Tag) -> Result<usize, More> {
        let rest = buf.get(at..).unwrap_or_default();
        if let Some(found) = memchr::memmem::find(rest, tag.text()) {
            self.state = State::Text;
            return Ok(at + found + tag.length);
        }
        // The tag may be cut by the end of the buffer.
        let keep = if last { 0 } else { (tag.length - 1).min(rest.len()) };
        if keep == rest.len() && !last { Err(More) } else { Ok(buf.len() - keep) }
    }
}
