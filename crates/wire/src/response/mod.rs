//! What a server answers: one file a packet.

mod column;
mod err;
mod ok;
mod prepare_ok;
mod session_track;

pub use column::{Column, ResultSet, TextRow, column_type};
pub use err::ErrPacket;
pub use ok::{EofPacket, OkPacket, ResponseFlags};
pub use prepare_ok::PrepareOk;
pub use session_track::{Record, Records, TrackWish, TrackedVariables, is_only_statement_id};

/// First payload byte of an OK packet.
pub const OK: u8 = 0x00;
/// First payload byte of a request for a local file.
pub const LOCAL_INFILE: u8 = 0xFB;
/// First payload byte of an EOF packet, or of the OK packet that replaces it.
pub const EOF: u8 = 0xFE;
/// First payload byte of an ERR packet.
pub const ERR: u8 = 0xFF;
