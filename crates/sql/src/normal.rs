//! The normalised text of a statement and its hash.
//!
//! Literals become `?`, a run of them (`IN (1, 2, 3)`) one `?`, rows after the first (`VALUES (..), (..)`) vanish, comments
//! and the author's white space are gone, unquoted words are in lower case. What is written here is what `digest`
//! hashes: changing a rule changes the digests that operators have stored, so a test holds some of them fast.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::lexer::Lower;
use crate::words::Keyword;

/// The text is hashed in blocks of at least so many bytes, so that a long one needs no long buffer.
const BLOCK: usize = 4096;

/// The last thing written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Start,
    /// A word after which an operand is expected: `select`, `in`.
    Prefix,
    Name,
    Literal,
    Open,
    Close,
    Comma,
    Dot,
    /// `@@`.
    At,
    Operator,
}

pub(crate) struct Normal {
    pub(crate) text: Vec<u8>,
    seed: u64,
    /// Keep the whole text up to so many bytes, for a reader; else it is hashed away in blocks.
    keep: Option<usize>,
    last: Last,
    depth: u32,
    /// Tokens that are written only if what follows calls for it.
    comma: bool,
    sign: Option<u8>,
    semicolon: bool,
    /// The depth at which rows stand one after the other.
    rows: Option<u32>,
    after_in: bool,
    in_list: Option<u32>,
    /// Inside a row that is left out: the depth to come back to.
    skip: Option<u32>,
}

impl Normal {
    pub(crate) fn new() -> Self {
        Self {
            text: Vec::new(),
            seed: 0,
            keep: None,
            last: Last::Start,
            depth: 0,
            comma: false,
            sign: None,
            semicolon: false,
            rows: None,
            after_in: false,
            in_list: None,
            skip: None,
        }
    }

    pub(crate) fn start(&mut self, keep: Option<usize>) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        *self = Self { text, keep, ..Self::new() };
    }

    #[inline]
    pub(crate) fn word(&mut self, text: &[u8], lower: Lower, keyword: Keyword) {
        if self.skip.is_some() || (keyword == Keyword::Row && self.comma && self.rows == Some(self.depth)) {
            return;
        }
        let last = if is_prefix(keyword) { Last::Prefix } else { Last::Name };
        let spaced = self.lead_space(last);
        // Most words fit two registers, in lower case already: one copy of fixed length, cut to size.
        if let Some(bytes) = lower.spaced(text.len()) {
            let from = usize::from(!spaced);
            let start = self.text.len();
            self.text.extend_from_slice(bytes.get(from..).unwrap_or_default());
            self.text.truncate(start + 1 - from + text.len());
        } else {
            self.long_word(text, spaced);
        }
        if self.rows == Some(self.depth) && keyword != Keyword::Row {
            self.rows = None;
        }
        match keyword {
            Keyword::Values | Keyword::Value => self.rows = Some(self.depth),
            Keyword::In => self.after_in = true,
            _ => {}
        }
    }

    #[cold]
    fn long_word(&mut self, text: &[u8], spaced: bool) {
        if spaced {
            self.text.push(b' ');
        }
        let start = self.text.len();
        self.text.extend_from_slice(text);
        if let Some(word) = self.text.get_mut(start..) {
            word.make_ascii_lowercase();
        }
    }

    /// A quoted identifier, or a user variable with its `@` in front.
    pub(crate) fn quoted(&mut self, front: &[u8], raw: &[u8], quote: u8) {
        if self.skip.is_some() {
            return;
        }
        self.lead(Last::Name);
        self.text.extend_from_slice(front);
        if quote != 0 {
            self.text.push(quote);
        }
        self.text.extend_from_slice(raw);
        if quote != 0 {
            self.text.push(quote);
        }
    }

    #[inline]
    pub(crate) fn literal(&mut self) {
        if self.skip.is_some() {
            return;
        }
        if self.comma && self.last == Last::Literal {
            self.comma = false;
            self.sign = None;
            return;
        }
        self.sign = None;
        self.lead(Last::Literal);
        self.text.push(b'?');
    }

    #[inline]
    pub(crate) fn open(&mut self) {
        self.depth = self.depth.saturating_add(1);
        if self.skip.is_some() {
            return;
        }
        if self.comma && self.last == Last::Close && self.rows == Some(self.depth - 1) {
            self.comma = false;
            self.skip = Some(self.depth - 1);
            return;
        }
        let list = self.after_in;
        let row = self.last == Last::Open && self.in_list == Some(self.depth - 1);
        self.lead(Last::Open);
        self.text.push(b'(');
        if row {
            self.rows = Some(self.depth - 1);
        }
        self.in_list = if list { Some(self.depth) } else { None };
    }

    #[inline]
    pub(crate) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if let Some(depth) = self.skip {
            if depth == self.depth {
                self.skip = None;
            }
            return;
        }
        self.lead(Last::Close);
        self.text.push(b')');
    }

    #[inline]
    pub(crate) fn comma(&mut self) {
        if self.skip.is_some() {
            return;
        }
        let holds = match self.last {
            Last::Literal => true,
            Last::Close => self.rows == Some(self.depth),
            _ => false,
        };
        if holds && !self.comma && self.sign.is_none() {
            self.comma = true;
            return;
        }
        self.lead(Last::Comma);
        self.text.push(b',');
    }

    #[inline]
    pub(crate) fn dot(&mut self) {
        if self.skip.is_some() {
            return;
        }
        self.lead(Last::Dot);
        self.text.push(b'.');
    }

    pub(crate) fn system_variable(&mut self) {
        if self.skip.is_some() {
            return;
        }
        self.lead(Last::At);
        self.text.extend_from_slice(b"@@");
    }

    #[inline]
    pub(crate) fn operator(&mut self, text: &[u8]) {
        if self.skip.is_some() {
            return;
        }
        let unary =
            self.comma || matches!(self.last, Last::Open | Last::Comma | Last::Operator | Last::Prefix);
        if let [sign @ (b'+' | b'-')] = text
            && unary
            && self.sign.is_none()
        {
            self.sign = Some(*sign);
            return;
        }
        self.lead(Last::Operator);
        self.text.extend_from_slice(text);
    }

    /// A `;`; written when another statement follows.
    pub(crate) fn semicolon(&mut self) {
        self.skip = None;
        self.depth = 0;
        self.rows = None;
        if self.last != Last::Start {
            self.lead_end();
            self.semicolon = true;
            self.last = Last::Start;
        }
    }

    /// Writes what was held back and the space in front of what follows.
    #[inline]
    fn lead(&mut self, next: Last) {
        if self.lead_space(next) {
            self.text.push(b' ');
        }
    }

    /// Writes what was held back; gives whether a space belongs in front of what follows.
    #[inline]
    fn lead_space(&mut self, next: Last) -> bool {
        if self.semicolon || self.comma || self.sign.is_some() || self.text.len() >= BLOCK {
            self.lead_held();
        }
        let glued = matches!(
            (self.last, next),
            (Last::Start | Last::Open | Last::Dot | Last::At, _)
                | (_, Last::Close | Last::Comma | Last::Dot)
                | (Last::Name, Last::Open)
        );
        self.after_in = false;
        self.last = next;
        !glued
    }

    #[cold]
    fn lead_held(&mut self) {
        match self.keep {
            Some(limit) => self.text.truncate(limit),
            None if self.text.len() >= BLOCK => {
                self.seed = xxh3_64_with_seed(&self.text, self.seed);
                self.text.clear();
            }
            None => {}
        }
        if self.semicolon {
            self.semicolon = false;
            self.text.extend_from_slice(b"; ");
        }
        if self.comma {
            self.comma = false;
            self.text.push(b',');
            self.last = Last::Comma;
        }
        if let Some(sign) = self.sign.take() {
            if !matches!(self.last, Last::Open) {
                self.text.push(b' ');
            }
            self.text.push(sign);
            self.last = Last::Operator;
        }
    }

    pub(crate) fn digest(&mut self) -> u64 {
        self.lead_end();
        xxh3_64_with_seed(&self.text, self.seed)
    }

    pub(crate) fn lead_end(&mut self) {
        self.semicolon = false;
        if self.comma || self.sign.is_some() {
            self.lead_held();
        }
    }
}

/// Words after which an operand comes: a `(` is set apart from them, and a sign belongs to the number. Part of what a
/// digest is made of, therefore not derived from the word table.
fn is_prefix(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::Select
            | K::From
            | K::Join
            | K::StraightJoin
            | K::Where
            | K::Having
            | K::By
            | K::Limit
            | K::Offset
            | K::On
            | K::Using
            | K::And
            | K::Or
            | K::Xor
            | K::Not
            | K::In
            | K::Exists
            | K::Any
            | K::All
            | K::Some
            | K::Between
            | K::Like
            | K::Regexp
            | K::Rlike
            | K::Div
            | K::Case
            | K::When
            | K::Then
            | K::Else
            | K::As
            | K::Union
            | K::Except
            | K::Intersect
            | K::Distinct
            | K::Values
            | K::Value
            | K::Set
            | K::Interval
            | K::Return
            | K::Into
            | K::Over
            | K::Partition
            | K::Index
            | K::Key
            | K::Call
            | K::Do
            | K::With
            | K::Is
            | K::Table
            | K::Lateral
    )
}
