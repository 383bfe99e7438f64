//! The MySQL protocol as values, both sides, no IO.
//!
//! Payloads go in and out without their 4-byte headers; [`framer`] knows headers, [`response_end`] finds where
//! the answer to a command ends without decoding its rows.

mod reader;
mod writer;

pub mod accept;
pub mod auth;
pub mod capability;
pub mod command;
pub mod compress;
pub mod connect;
pub mod error_code;
pub mod framer;
pub mod greeting;
pub mod local_file;
pub mod login;
pub mod proxy_protocol;
pub mod query_attributes;
pub mod response;
pub mod response_end;
pub mod server_version;

pub use reader::{Malformed, Reader};
pub use writer::{Writer, packet_with, write_packet};
