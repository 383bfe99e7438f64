//! What a statement means to a gateway. Pure: knows no server, no clock, no IO.
//!
//! [`analyze`] is the one pass over a text; what it found is a [`Statement`]. After that nobody reads SQL text
//! again to decide something. It is a lexer with a bounded memory of context, not a parser: a text that it does
//! not know is never refused here, it is an [`Access::Write`].

mod analyzer;
mod charset;
mod detail;
mod hint;
mod lexer;
mod names;
mod normal;
mod pass;
mod signals;
mod statement;
mod words;

pub use analyzer::{Analyzer, analyze, fingerprint};
pub use detail::{Detail, Source, Using};
pub use signals::Signals;
pub use statement::{
    Access, ClientCharset, Dialect, Effects, Flavour, HighBytes, Hint, Kill, Kind, ShowWeir, Statement,
    TransactionStep,
};
