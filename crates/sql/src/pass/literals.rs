//! Literals and user variables; the text of `PREPARE ... FROM 'text'` is understood as a text of its own.

use super::{Level, Pass, Prev, Verb};
use crate::analyzer::{Analyzer, DEEPEST_TEXT};
use crate::lexer::Content;
use crate::{Effects, Statement, TransactionStep};

/// What becomes of literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    /// They have no meaning.
    Off,
    /// They are statement text.
    On,
    /// The one at hand is, with this content; for digits, the half byte that waits for its other half.
    In(Content, Option<u8>),
}

impl Pass {
    /// `?`, `\N`, dollar-quoted text.
    #[inline]
    pub(crate) fn literal(&mut self) {
        self.normal.literal();
        self.at.tokens += 1;
        self.other_start();
        self.chain.parts = 0;
        self.prev = Prev::Literal;
    }

    /// A decimal number.
    #[inline]
    pub(crate) fn number(&mut self, text: &[u8]) {
        if self.at.verb == Verb::Kill && self.is_outermost() {
            self.kill_id(text);
        }
        self.literal();
    }

    /// `0x...`, `0b...`; `long`: there is more of it.
    pub(crate) fn radix(&mut self, text: &[u8], long: bool) {
        if self.capture == Capture::On {
            if long {
                self.unreadable();
            }
            let (content, digits) = match text {
                [b'0', b'x', digits @ ..] => (Content::Hex, digits),
                _ => (Content::Bits, text),
            };
            self.string_start(content);
            self.string_piece(digits);
            self.string_end();
            return;
        }
        self.literal();
    }

    pub(crate) fn string_start(&mut self, content: Content) {
        self.literal();
        if self.capture == Capture::On {
            // An odd number of digits has a zero in front; nobody hides a statement behind one.
            self.capture = Capture::In(content, None);
            if content == Content::Bits {
                self.unreadable();
            }
        }
    }

    #[inline]
    pub(crate) fn string_piece(&mut self, bytes: &[u8]) {
        match self.capture {
            Capture::In(Content::Text, _) => self.nested_feed(bytes),
            Capture::In(Content::Hex, half) => self.nested_hex(bytes, half),
            _ => {}
        }
    }

    pub(crate) fn string_escape(&mut self, escaped: u8) {
        if self.capture == Capture::Off {
            return;
        }
        // https://dev.mysql.com/doc/refman/en/string-literals.html, table 11.1
        let byte = match escaped {
            b'0' => 0,
            b'b' => 8,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'Z' => 26,
            b'%' | b'_' => {
                self.string_piece(b"\\");
                escaped
            }
            other => other,
        };
        self.string_piece(&[byte]);
    }

    pub(crate) fn string_end(&mut self) {
        if matches!(self.capture, Capture::In(..)) {
            self.capture = Capture::On;
        }
    }

    fn nested_hex(&mut self, digits: &[u8], half: Option<u8>) {
        let mut half = half;
        for digit in digits.iter().filter_map(|b| char::from(*b).to_digit(16)) {
            let digit = u8::try_from(digit).unwrap_or_default();
            half = match half {
                None => Some(digit),
                Some(high) => {
                    self.nested_feed(&[high << 4 | digit]);
                    None
                }
            };
        }
        self.capture = Capture::In(Content::Hex, half);
    }

    fn nested_feed(&mut self, bytes: &[u8]) {
        if self.depth >= DEEPEST_TEXT {
            return self.unreadable();
        }
        let (dialect, depth) = (self.dialect, self.depth + 1);
        self.nested.get_or_insert_with(|| Box::new(Analyzer::nested(&dialect, depth))).feed(bytes);
    }

    /// The nested text is complete: what it does, this statement does or lets be done.
    pub(super) fn end_nested(&mut self) {
        self.capture = Capture::Off;
        let Some(nested) = self.nested.take() else { return };
        let mut inner = Statement::new();
        nested.finish(&mut inner);
        let adopted = self.names.adopt(&inner.pass.names);
        self.effect(inner.effects);
        if adopted.is_err() || inner.effects.contains(Effects::UNREADABLE) {
            self.unreadable();
        }
        if self.at.verb == Verb::ExecuteImmediate && inner.transaction != TransactionStep::None {
            self.at.transaction = inner.transaction;
        }
    }

    /// `@name`; `after_name`: directly behind a name, as in `user@host`.
    pub(crate) fn user_variable(&mut self, raw: &[u8], doubled: u8, after_name: bool) {
        self.normal.quoted(b"@", raw, if doubled == 0 { 0 } else { b'`' });
        self.at.tokens += 1;
        self.other_start();
        let is_account = after_name || matches!(self.prev, Prev::Quoted | Prev::Literal | Prev::Close);
        self.chain.parts = 0;
        if is_account && self.at.verb.has_accounts() && !self.frame.is_query {
            self.prev = Prev::Literal;
            return;
        }
        self.raise(Level::Write);
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.');
        if !raw.iter().all(plain) || self.names.add_user_variable(raw).is_err() {
            self.effect(Effects::ODD_USER_VARIABLE);
        }
        self.effect(if self.is_set_target() || self.at.verb == Verb::Get {
            Effects::USER_VARIABLE_WRITE
        } else if self.at.into || matches!(self.at.verb, Verb::Call | Verb::Load) {
            Effects::USER_VARIABLE_WRITE | Effects::USER_VARIABLE_READ
        } else {
            Effects::USER_VARIABLE_READ
        });
        if self.capture == Capture::On {
            // The text is in the variable: it may do what any text may.
            self.effect(Effects::USER_VARIABLE_WRITE);
        }
        self.set_target_done();
        self.prev = Prev::UserVariable;
    }

    pub(crate) fn system_variable(&mut self) {
        self.normal.system_variable();
        self.at.tokens += 1;
        self.other_start();
        if !self.is_set_target() {
            self.effect(Effects::READS_SYSTEM_VARIABLE);
            self.raise(Level::Differs);
        }
        self.chain.parts = 0;
        self.prev = Prev::AtAt;
    }
}
