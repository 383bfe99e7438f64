//! The doors: a whole text, a text in pieces, its normalised form.

use crate::lexer::Lexer;
use crate::pass::Pass;
use crate::{Dialect, Effects, Kind, Statement, detail};

/// A nested text (of PREPARE) may nest so many times more.
pub(crate) const DEEPEST_TEXT: u8 = 3;

/// Understands a whole text. Never fails: what cannot be followed has `Effects::UNREADABLE` and is a write.
/// Allocates nothing once `out` has been used for texts of the usual size.
pub fn analyze(sql: &[u8], dialect: &Dialect, out: &mut Statement) {
    out.pass.reset(dialect, None, 0);
    let mut lexer = Lexer::new(dialect);
    lexer.run(sql, true, &mut out.pass);
    lexer.finish(&mut out.pass);
    conclude(out);
    if out.statements == 1 && (out.kind == Kind::Prepare || out.effects.contains(Effects::RESOURCE_GROUP)) {
        out.detail = detail::read(sql, dialect).map(Box::new);
    }
}

/// The pass is over: what it found becomes the statement.
fn conclude(statement: &mut Statement) {
    let found = statement.pass.finish();
    statement.kind = found.kind;
    statement.access = found.access;
    statement.hint = found.hint;
    statement.transaction = found.transaction;
    statement.effects = found.effects;
    statement.signals = found.signals;
    statement.statements = found.statements;
    statement.kill = found.kill;
    statement.weir = found.weir;
    statement.digest = found.digest;
    statement.detail = None;
}

/// Understands a text that comes in pieces; the result is that of [`analyze`] for any way of cutting. Keeps a few
/// kilobytes, whatever the length of the text.
pub struct Analyzer {
    lexer: Lexer,
    statement: Statement,
    /// The start of a token whose end has not come yet.
    carry: Vec<u8>,
}

/// How many bytes of a new piece go behind the carried start of a token at once.
const TAKE: usize = 256;

impl Analyzer {
    /// Ready for the first piece.
    pub fn new(dialect: &Dialect) -> Self {
        Self::nested(dialect, 0)
    }

    pub(crate) fn nested(dialect: &Dialect, depth: u8) -> Self {
        let mut statement = Statement::new();
        statement.pass.reset(dialect, None, depth);
        Self { lexer: Lexer::new(dialect), statement, carry: Vec::new() }
    }

    /// The next piece of the text.
    pub fn feed(&mut self, chunk: &[u8]) {
        let mut chunk = chunk;
        while !self.carry.is_empty() && !chunk.is_empty() {
            let carried = self.carry.len();
            let (taken, rest) = chunk.split_at(TAKE.min(chunk.len()));
            self.carry.extend_from_slice(taken);
            let used = self.lexer.run(&self.carry, false, &mut self.statement.pass);
            if used >= carried {
                // The token that was cut is read: go on in the piece itself.
                self.carry.clear();
                chunk = chunk.get(used - carried..).unwrap_or_default();
            } else {
                self.carry.drain(..used);
                chunk = rest;
            }
        }
        if chunk.is_empty() {
            return;
        }
        let used = self.lexer.run(chunk, false, &mut self.statement.pass);
        self.carry.extend_from_slice(chunk.get(used..).unwrap_or_default());
    }

    /// The text is over.
    pub fn finish(mut self, out: &mut Statement) {
        self.lexer.run(&self.carry, true, &mut self.statement.pass);
        self.lexer.finish(&mut self.statement.pass);
        conclude(&mut self.statement);
        *out = self.statement;
    }
}

/// The normalised text, at most `limit_bytes` long: literals are `?`, comments are gone, white space is one blank, lists
/// and rows of literals are collapsed. `Statement::digest` is the hash of the unlimited one. Allocates; for logs.
pub fn fingerprint(sql: &[u8], dialect: &Dialect, limit_bytes: usize) -> String {
    let mut pass = Pass::new();
    pass.reset(dialect, Some(limit_bytes), 0);
    let mut lexer = Lexer::new(dialect);
    lexer.run(sql, true, &mut pass);
    lexer.finish(&mut pass);
    let mut text = String::from_utf8_lossy(pass.text()).into_owned();
    while text.len() > limit_bytes {
        text.pop();
    }
    text
}
