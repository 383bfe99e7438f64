//! Answers that Weir gives itself.

use weir_wire::{
    Writer,
    capability::Status,
    packet_with,
    response::{self, OkPacket, ResponseFlags},
};

/// An OK packet with nothing but a status.
pub fn ok(out: &mut Vec<u8>, sequence: u8, flags: ResponseFlags, status: Status) {
    packet_with(out, sequence, |w| OkPacket { status, ..OkPacket::default() }.write(response::OK, flags, w));
}

/// The OK of COM_CHANGE_USER: clients that track their session are told the default database.
pub fn ok_with_schema(
    out: &mut Vec<u8>,
    sequence: u8,
    flags: ResponseFlags,
    status: Status,
    database: Option<&[u8]>,
) {
    let mut records = Vec::new();
    if let Some(database) = database {
        let mut name = Vec::new();
        Writer::new(&mut name).lenenc_bytes(database);
        Writer::new(&mut records).u8(1).lenenc_bytes(&name);
    }
    ok_with_records(out, sequence, flags, status, &records);
}

/// What the servers answer to COM_SET_OPTION: an EOF packet, or the OK packet that replaces it.
pub fn eof(out: &mut Vec<u8>, sequence: u8, flags: ResponseFlags, status: Status) {
    packet_with(out, sequence, |w| OkPacket { status, ..OkPacket::default() }.write_end(flags, w));
}

/// An OK packet with session-state records.
pub fn ok_with_records(
    out: &mut Vec<u8>,
    sequence: u8,
    flags: ResponseFlags,
    status: Status,
    records: &[u8],
) {
    let ok = OkPacket { status, session_state: records, ..OkPacket::default() };
    packet_with(out, sequence, |w| ok.write(response::OK, flags, w));
}
