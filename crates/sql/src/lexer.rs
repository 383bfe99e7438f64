//! Bytes to tokens, as the servers' own lexers cut them (`sql/sql_lex.cc` of both), resumable at any byte.
//!
//! [`Lexer::run`] takes what it can of a buffer and says how much; what it left is put in front of the next one.
//! Only short tokens are left: strings, comments and long hexadecimal numbers go on as a [`State`].

mod bytes;
mod comment;
mod number;
mod string;

pub(crate) use string::Content;

use crate::pass::Pass;
use crate::words;
use crate::{ClientCharset, Dialect, Flavour, charset};

use bytes::{is_name, is_space};

/// A name or number longer than this (bytes) makes the text unreadable; the servers' own limit is 64 characters.
const LONGEST_TOKEN: usize = 4096;

/// The buffer ends before the token can be judged.
struct More;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// A string or what is left of it.
    String {
        quote: u8,
    },
    /// A comment without meaning. `nests`: one more level may open inside (a skipped version comment);
    /// `inside`: it has.
    Comment {
        nests: bool,
        inside: bool,
    },
    LineComment,
    /// The rest of a long hexadecimal number.
    Hex,
    /// `$tag$ ... $tag$` of MySQL since 8.1.
    Dollar(string::Tag),
    /// Nothing can be said about the rest.
    Lost,
}

/// What stands directly before the next byte, without white space between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Other,
    Name,
    Dot,
}

pub(crate) struct Lexer {
    dialect: Dialect,
    hides_ascii: bool,
    /// The byte above 0x7f that counts as white space, or 0.
    high_space: u8,
    state: State,
    before: Before,
    /// Inside `/*! ... */`.
    executed: bool,
}

/// The start and the end of a word in lower case, as they are collected while it is scanned.
#[derive(Clone, Copy)]
pub(crate) struct Lower {
    /// The first eight bytes, of a word that has more.
    head: u64,
    /// The last eight bytes; of a shorter word, all.
    tail: u64,
}

impl Lower {
    /// A blank and the word, if it has up to 16 bytes; what follows it is of no meaning.
    #[inline]
    pub(crate) fn spaced(self, length: usize) -> Option<[u8; 17]> {
        let mut bytes = [b' '; 17];
        let (first, second) = match length {
            1..=8 => (self.tail << (8 * (8 - length)), 0),
            9..=16 => (self.head, self.tail << (8 * (16 - length))),
            _ => return None,
        };
        bytes.get_mut(1..9)?.copy_from_slice(&first.to_be_bytes());
        bytes.get_mut(9..17)?.copy_from_slice(&second.to_be_bytes());
        Some(bytes)
    }
}

impl Lexer {
    pub(crate) fn new(dialect: &Dialect) -> Self {
        Self {
            dialect: *dialect,
            hides_ascii: dialect.charset.hides_ascii(),
            high_space: match dialect.charset {
                ClientCharset::SingleByte(bytes) => bytes.space,
                _ => 0,
            },
            state: State::Text,
            before: Before::Other,
            executed: false,
        }
    }

    /// Reads tokens from `buf` into `pass` and gives how many bytes were used; with `last`, all are.
    pub(crate) fn run(&mut self, buf: &[u8], last: bool, pass: &mut Pass) -> usize {
        let mut at = 0;
        while at < buf.len() {
            let step = match self.state {
                State::Text => self.token(buf, at, last, pass),
                State::String { quote } => self.string(buf, at, last, quote, pass),
                State::Comment { nests, inside } => self.comment_rest(buf, at, last, nests, inside),
                State::LineComment => Ok(self.line_comment_rest(buf, at)),
                State::Hex => Ok(self.hex_rest(buf, at)),
                State::Dollar(tag) => self.dollar_rest(buf, at, last, tag),
                State::Lost => return buf.len(),
            };
            match step {
                Ok(next) => at = next,
                // What a token needs beyond LONGEST_TOKEN is a few bytes to look ahead.
                Err(More) if buf.len() - at > LONGEST_TOKEN + 16 && self.state == State::Text => {
                    self.lose(pass);
                }
                Err(More) => break,
            }
        }
        at
    }

    /// The text is over.
    pub(crate) fn finish(&mut self, pass: &mut Pass) {
        match self.state {
            State::Text | State::LineComment | State::Hex if !self.executed => {}
            State::Lost => {}
            _ => pass.unreadable(),
        }
    }

    fn lose(&mut self, pass: &mut Pass) {
        self.state = State::Lost;
        pass.unreadable();
    }

    /// The byte at `at`; `None` behind the end of the text.
    fn peek(buf: &[u8], at: usize, last: bool) -> Result<Option<u8>, More> {
        match buf.get(at) {
            Some(b) => Ok(Some(*b)),
            None if last => Ok(None),
            None => Err(More),
        }
    }

    fn token(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        let Some(&b) = buf.get(at) else { return Ok(at) };
        match b {
            b' ' | b'\t'..=b'\r' | 0 => {
                self.before = Before::Other;
                let run = buf.iter().skip(at + 1).take_while(|b| is_space(**b)).count();
                Ok(at + 1 + run)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(buf, at, last, pass),
            b'$' => self.dollar(buf, at, last, pass),
            b'0'..=b'9' if self.before == Before::Dot => self.word(buf, at, last, pass),
            b'0'..=b'9' => self.number(buf, at, last, pass),
            0x80.. if b == self.high_space => {
                self.before = Before::Other;
                Ok(at + 1)
            }
            0x80.. => self.word(buf, at, last, pass),
            b'\'' => Ok(self.start_string(at, b, Content::Text, pass)),
            b'"' if self.dialect.ansi_quotes => self.quoted(buf, at, last, pass),
            b'"' => Ok(self.start_string(at, b, Content::Text, pass)),
            b'`' => self.quoted(buf, at, last, pass),
            b'@' => self.variable(buf, at, last, pass),
            b'.' => self.dot(buf, at, last, pass),
            b'(' => {
                let glued = self.before == Before::Name;
                Ok(self.sign(at + 1, |pass| pass.open(glued), pass))
            }
            b')' => Ok(self.sign(at + 1, |pass| pass.close(), pass)),
            b',' => Ok(self.sign(at + 1, |pass| pass.comma(), pass)),
            b';' => {
                self.executed = false;
                Ok(self.sign(at + 1, |pass| pass.semicolon(), pass))
            }
            b'?' => Ok(self.sign(at + 1, |pass| pass.literal(), pass)),
            b'#' => {
                self.state = State::LineComment;
                Ok(at + 1)
            }
            b'/' => self.slash(buf, at, last, pass),
            b'*' => self.star(buf, at, last, pass),
            b'-' => self.minus(buf, at, last, pass),
            _ => self.operator(buf, at, last, pass),
        }
    }

    /// A token that its first byte decides.
    fn sign(&mut self, next: usize, tell: impl FnOnce(&mut Pass), pass: &mut Pass) -> usize {
        self.before = Before::Other;
        tell(pass);
        next
    }

    fn dot(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        if self.before != Before::Name && Self::peek(buf, at + 1, last)?.is_some_and(|b| b.is_ascii_digit()) {
            return self.fraction(buf, at, last, pass);
        }
        self.before = Before::Dot;
        pass.dot();
        Ok(at + 1)
    }

    fn star(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        if self.executed && Self::peek(buf, at + 1, last)? == Some(b'/') {
            self.executed = false;
            self.before = Before::Other;
            return Ok(at + 2);
        }
        Ok(self.sign(at + 1, |pass| pass.operator(b"*"), pass))
    }

    fn minus(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        if Self::peek(buf, at + 1, last)? != Some(b'-') {
            return self.operator(buf, at, last, pass);
        }
        // `--` starts a comment only in front of white space, a control character or the end.
        if Self::peek(buf, at + 2, last)?.is_some_and(|b| !self.makes_comment(b)) {
            return Ok(self.sign(at + 1, |pass| pass.operator(b"-"), pass));
        }
        self.state = State::LineComment;
        self.before = Before::Other;
        Ok(at + 2)
    }

    /// Does `--` start a comment in front of this byte?
    fn makes_comment(&self, b: u8) -> bool {
        is_space(b)
            || b.is_ascii_control()
            || matches!(self.dialect.charset, ClientCharset::SingleByte(bytes) if bytes.makes_comment(b))
    }

    fn operator(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        const LONG: [&[u8]; 11] =
            [b"<=>", b"->>", b"<=", b">=", b"<>", b"!=", b"<<", b">>", b"||", b"&&", b"->"];
        let first = buf.get(at).copied();
        if first == Some(b':') && Self::peek(buf, at + 1, last)? == Some(b'=') {
            return Ok(self.sign(at + 2, |pass| pass.assign(), pass));
        }
        if first == Some(b'\\') && Self::peek(buf, at + 1, last)? == Some(b'N') {
            return Ok(self.sign(at + 2, |pass| pass.literal(), pass));
        }
        if matches!(first, Some(b'<' | b'>' | b'!' | b'|' | b'&' | b'-')) {
            Self::peek(buf, at + 1, last)?;
            Self::peek(buf, at + 2, last)?;
            let rest = buf.get(at..).unwrap_or_default();
            if let Some(text) = LONG.into_iter().find(|text| rest.starts_with(text)) {
                return Ok(self.sign(at + text.len(), |pass| pass.operator(text), pass));
            }
        }
        let text = buf.get(at..at + 1).unwrap_or_default();
        Ok(self.sign(at + 1, |pass| pass.operator(text), pass))
    }

    fn word(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        let (end, lower) = self.name_end(buf, at, last)?;
        if end == at {
            // A byte that belongs to no character of the charset.
            return Ok(self.sign(at + 1, |pass| pass.operator(b"\x80"), pass));
        }
        if end - at > LONGEST_TOKEN {
            self.lose(pass);
            return Ok(end);
        }
        let text = buf.get(at..end).unwrap_or_default();
        let next = Self::peek(buf, end, last)?;
        if next == Some(b'\'') && self.before != Before::Dot && text.len() == 1 {
            let content = match text {
                b"x" | b"X" => Some(Content::Hex),
                b"b" | b"B" => Some(Content::Bits),
                b"n" | b"N" => Some(Content::Text),
                _ => None,
            };
            if let Some(content) = content {
                return Ok(self.start_string(end, b'\'', content, pass));
            }
        }
        // Directly in front of `.name` even a reserved word is a name.
        let plain = self.before == Before::Dot
            || (next == Some(b'.') && Self::peek(buf, end + 1, last)?.is_some_and(is_name));
        let word = words::look_up(text, lower.tail);
        self.before = Before::Name;
        let second = buf.get(end + 1).copied();
        pass.word(text, lower, word, plain, may_qualify(next, second));
        Ok(end)
    }

    /// Where the name that starts at `at` ends, and its bytes in lower case.
    #[inline]
    fn name_end(&self, buf: &[u8], at: usize, last: bool) -> Result<(usize, Lower), More> {
        let mut lower = Lower { head: 0, tail: 0 };
        let mut end = at;
        loop {
            for b in buf.get(end..).unwrap_or_default() {
                let letter = bytes::lower_name(*b);
                if letter == 0 {
                    return Ok((end, lower));
                }
                if letter >= 0x80 && (self.hides_ascii || *b == self.high_space) {
                    break;
                }
                if end - at == 8 {
                    lower.head = lower.tail;
                }
                lower.tail = (lower.tail << 8) | u64::from(letter);
                end += 1;
            }
            let rest = buf.get(end..).unwrap_or_default();
            let Some(&b) = rest.first() else {
                return if last { Ok((end, lower)) } else { Err(More) };
            };
            if b == self.high_space {
                return Ok((end, lower));
            }
            let length = match self.dialect.charset.step(rest) {
                charset::Step::Character(length) => length,
                charset::Step::More if !last => return Err(More),
                // The servers end a name in front of such a byte only if it would be its first.
                _ if end == at => return Ok((end, lower)),
                _ => 1,
            };
            for letter in rest.iter().take(length) {
                if end - at == 8 {
                    lower.head = lower.tail;
                }
                lower.tail = (lower.tail << 8) | u64::from(*letter);
                end += 1;
            }
        }
    }

    fn quoted(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        let Some((end, doubled)) = self.quoted_end(buf, at, last)? else {
            self.lose(pass);
            return Ok(buf.len());
        };
        self.before = Before::Name;
        pass.quoted(buf.get(at + 1..end - 1).unwrap_or_default(), doubled);
        Ok(end)
    }

    /// `@name`, `@'name'`, `@@`.
    fn variable(&mut self, buf: &[u8], at: usize, last: bool, pass: &mut Pass) -> Result<usize, More> {
        let after = self.before;
        let next = Self::peek(buf, at + 1, last)?;
        let (end, name, doubled) = match next {
            Some(b'@') => return Ok(self.sign(at + 2, |pass| pass.system_variable(), pass)),
            Some(b'`' | b'\'' | b'"') => {
                let Some((end, doubled)) = self.quoted_end(buf, at + 1, last)? else {
                    self.lose(pass);
                    return Ok(buf.len());
                };
                (end, buf.get(at + 2..end - 1).unwrap_or_default(), doubled)
            }
            _ => {
                let rest = buf.get(at + 1..).unwrap_or_default();
                let length = rest
                    .iter()
                    .take_while(|b| (is_name(**b) || **b == b'.') && **b != self.high_space)
                    .count();
                if length == rest.len() && !last {
                    return Err(More);
                }
                (at + 1 + length, rest.get(..length).unwrap_or_default(), 0)
            }
        };
        if end - at > LONGEST_TOKEN {
            self.lose(pass);
            return Ok(end);
        }
        self.before = Before::Other;
        pass.user_variable(name, doubled, after == Before::Name);
        Ok(end)
    }

    fn is_mysql(&self, from_version: u32) -> bool {
        self.dialect.flavour == Flavour::MySql && self.dialect.version >= from_version
    }
}

/// Can a `.` follow a name, given the next two bytes? Yes if in doubt: it only saves keeping the name.
fn may_qualify(next: Option<u8>, second: Option<u8>) -> bool {
    match next {
        Some(b' ') => second.is_none_or(|b| matches!(b, b'.' | b'/' | b'-' | b'#' | 0x80..) || is_space(b)),
        Some(b) => matches!(b, b'.' | b'/' | b'-' | b'#' | 0x80..) || is_space(b),
        None => true,
    }
}
