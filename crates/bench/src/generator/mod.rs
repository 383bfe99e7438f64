//! The load: a process of its own, so that its CPU time is nobody else's.

pub(crate) mod answer;
mod connection;
mod engine;
mod handle;
mod histogram;
mod idle;
pub(crate) mod job;
mod serve;

pub(crate) use handle::{Generator, SUBCOMMAND};
pub(crate) use serve::serve;
