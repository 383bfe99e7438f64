//! Statements of which a gateway must know every word, to repeat them on another connection: PREPARE, EXECUTE and
//! DEALLOCATE of texts, SET RESOURCE GROUP.
//!
//! Read from the text of a statement that is known to be one of them. What is written in any but the plain way is not
//! understood, and then nothing is claimed about it.

use crate::{ClientCharset, Dialect, Flavour};

/// What such a statement says. Names are in lower case, of letters, digits, `_` and `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `PREPARE name FROM ...`
    Prepare {
        /// The statement's name.
        name: Box<[u8]>,
        /// Its text.
        source: Source,
    },
    /// `EXECUTE name [USING ...]`
    Execute {
        /// The statement's name.
        name: Box<[u8]>,
        /// What stands behind USING.
        using: Using,
    },
    /// `DEALLOCATE PREPARE name`, `DROP PREPARE name`
    Deallocate {
        /// The statement's name.
        name: Box<[u8]>,
    },
    /// MariaDB's `EXECUTE IMMEDIATE ... [USING ...]`
    Immediate {
        /// The text.
        source: Source,
        /// What stands behind USING.
        using: Using,
    },
    /// `SET RESOURCE GROUP name`
    ResourceGroup {
        /// The group's name.
        name: Box<[u8]>,
    },
}

/// Where a text to prepare comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is known.
    Text {
        /// A string literal that means it, in the statement's own dialect and character set.
        literal: Box<[u8]>,
        /// What the literal means.
        text: Box<[u8]>,
    },
    /// It is the value of this user variable.
    Variable(Box<[u8]>),
}

/// What stands behind USING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Using {
    /// User variables, or nothing.
    Variables,
    /// Something else; or something else than USING.
    Expressions,
}

impl Source {
    /// A text of which the value is known, as every server of either flavour reads it in the dialect. `None` unless it is
    /// ASCII, which means the same in every character set.
    #[must_use]
    pub fn of_text(text: &[u8], dialect: &Dialect) -> Option<Self> {
        let printable = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        if !text.iter().all(printable) {
            return None;
        }
        let mut literal = Vec::with_capacity(text.len() + 2);
        literal.push(b'\'');
        for &b in text {
            if b == b'\'' || (b == b'\\' && !dialect.no_backslash_escapes) {
                literal.push(b);
            }
            literal.push(b);
        }
        literal.push(b'\'');
        Some(Self::Text { literal: literal.into(), text: text.into() })
    }
}

/// What the statement says, if it says it plainly.
pub(crate) fn read(sql: &[u8], dialect: &Dialect) -> Option<Detail> {
    // in these the second byte of a character may be any other's only one
    if !matches!(dialect.charset, ClientCharset::AsciiSafe | ClientCharset::SingleByte(_)) && !sql.is_ascii()
    {
        return None;
    }
    let mut text = Text { rest: sql, dialect };
    let detail = match text.word()?.as_slice() {
        b"prepare" => {
            let name = text.name()?;
            text.keyword(b"from")?;
            Detail::Prepare { name, source: text.source()? }
        }
        b"execute" => {
            let before = text.rest;
            if dialect.flavour == Flavour::MariaDb && text.keyword(b"immediate").is_some() {
                let source = text.source()?;
                return Some(Detail::Immediate { source, using: text.using() });
            }
            text.rest = before;
            let name = text.name()?;
            return Some(Detail::Execute { name, using: text.using() });
        }
        b"deallocate" | b"drop" => {
            text.keyword(b"prepare")?;
            Detail::Deallocate { name: text.name()? }
        }
        b"set" => {
            text.keyword(b"resource")?;
            text.keyword(b"group")?;
            Detail::ResourceGroup { name: text.name()? }
        }
        _ => return None,
    };
    text.end().then_some(detail)
}

struct Text<'a> {
    rest: &'a [u8],
    dialect: &'a Dialect,
}

impl Text<'_> {
    /// Skips white space and comments. `None`: a comment that a server may execute, or that does not end.
    fn skip(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest {
                [b'/', b'*', b'!' | b'+', ..] | [b'/', b'*', b'M', b'!', ..] => return None,
                [b'/', b'*', body @ ..] => {
                    let end = body.windows(2).position(|two| two == b"*/")?;
                    self.rest = body.get(end + 2..)?;
                }
                [b'#', ..] | [b'-', b'-', b' ' | b'\t' | b'\n' | b'\r', ..] => {
                    let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
                    self.rest = self.rest.get(end..)?;
                }
                _ => return Some(()),
            }
        }
    }

    /// The next word, in lower case.
    fn word(&mut self) -> Option<Vec<u8>> {
        self.skip()?;
        let len = self.rest.iter().take_while(|b| is_plain(**b)).count();
        let (word, rest) = self.rest.split_at_checked(len).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        Some(word.to_ascii_lowercase())
    }

    fn keyword(&mut self, wanted: &[u8]) -> Option<()> {
        (self.word()? == wanted).then_some(())
    }

    /// A name, with quotes or without.
    fn name(&mut self) -> Option<Box<[u8]>> {
        self.skip()?;
        match self.rest.first()? {
            b'`' => self.quoted(b'`'),
            b'"' if self.dialect.ansi_quotes => self.quoted(b'"'),
            _ => self.word().map(Vec::into_boxed_slice),
        }
    }

    fn quoted(&mut self, quote: u8) -> Option<Box<[u8]>> {
        let inside = self.rest.get(1..)?;
        let end = memchr::memchr(quote, inside)?;
        let (name, rest) = inside.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        let plain =
            !name.is_empty() && name.iter().all(|b| is_plain(*b)) && self.rest.first() != Some(&quote);
        plain.then(|| name.to_ascii_lowercase().into())
    }

    fn variable(&mut self) -> Option<Box<[u8]>> {
        self.skip()?;
        self.rest = self.rest.strip_prefix(b"@")?;
        match *self.rest.first()? {
            quote @ (b'`' | b'\'' | b'"') => self.quoted(quote),
            _ => {
                let len = self.rest.iter().take_while(|b| is_plain(**b)).count();
                let (name, rest) = self.rest.split_at_checked(len).filter(|(name, _)| !name.is_empty())?;
                self.rest = rest;
                Some(name.to_ascii_lowercase().into())
            }
        }
    }

    fn source(&mut self) -> Option<Source> {
        self.skip()?;
        match *self.rest.first()? {
            b'@' => self.variable().map(Source::Variable),
            quote @ (b'\'' | b'"') if quote == b'\'' || !self.dialect.ansi_quotes => self.string(quote),
            _ => None,
        }
    }

    /// A string literal.
    fn string(&mut self, quote: u8) -> Option<Source> {
        let whole = self.rest;
        let mut bytes = whole.get(1..)?.iter();
        let mut text = Vec::new();
        loop {
            match *bytes.next()? {
                b if b == quote => {
                    if bytes.as_slice().first() != Some(&quote) {
                        break;
                    }
                    bytes.next();
                    text.push(quote);
                }
                b'\\' if !self.dialect.no_backslash_escapes => unescape(*bytes.next()?, &mut text),
                b => text.push(b),
            }
        }
        self.rest = bytes.as_slice();
        let literal = whole.get(..whole.len() - self.rest.len())?;
        Some(Source::Text { literal: literal.into(), text: text.into() })
    }

    /// The rest of EXECUTE.
    fn using(&mut self) -> Using {
        if self.end() { Using::Variables } else { self.variables().unwrap_or(Using::Expressions) }
    }

    fn variables(&mut self) -> Option<Using> {
        self.keyword(b"using")?;
        loop {
            self.variable()?;
            if self.end() {
                return Some(Using::Variables);
            }
            self.rest = self.rest.strip_prefix(b",")?;
        }
    }

    /// Does the statement end here? Skips what stands before its end.
    fn end(&mut self) -> bool {
        self.skip().is_some() && matches!(self.rest.first(), None | Some(b';'))
    }
}

/// Source: <https://dev.mysql.com/doc/refman/en/string-literals.html>, table 11.1.
fn unescape(escaped: u8, text: &mut Vec<u8>) {
    match escaped {
        b'0' => text.push(0),
        b'b' => text.push(8),
        b'n' => text.push(b'\n'),
        b'r' => text.push(b'\r'),
        b't' => text.push(b'\t'),
        b'Z' => text.push(26),
        b'%' | b'_' => text.extend([b'\\', escaped]),
        other => text.push(other),
    }
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')
}
