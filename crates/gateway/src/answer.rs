//! Answers that Weir gives itself.

use weir_wire::{
    capability::Status,
    packet_with,
    response::{self, OkPacket, ResponseFlags},
};

/// An OK packet with nothing but a status.
pub fn ok(out: &mut Vec<u8>, sequence: u8, flags: ResponseFlags, status: Status) {
    packet_with(out, sequence, |w| OkPacket { status, ..OkPacket::default() }.write(response::OK, flags, w));
}

/// What the servers answer to COM_SET_OPTION: an EOF packet, or the OK packet that replaces it.
pub fn eof(out: &mut Vec<u8>, sequence: u8, flags: ResponseFlags, status: Status) {
    packet_with(out, sequence, |w| OkPacket { status, ..OkPacket::default() }.write_end(flags, w));
}
