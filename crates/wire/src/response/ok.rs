//! OK and EOF packets.

use super::{EOF, OK};
use crate::{
    Malformed, Reader, Writer,
    capability::{Capabilities, Status},
};

/// Which of a client's capabilities change the bytes of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ResponseFlags {
    /// Session-state records may follow `info`.
    pub session_track: bool,
    /// Result sets end with OK packets and have no EOF after their columns.
    pub deprecate_eof: bool,
}

impl From<Capabilities> for ResponseFlags {
    fn from(capabilities: Capabilities) -> Self {
        Self {
            session_track: capabilities.contains(Capabilities::SESSION_TRACK),
            deprecate_eof: capabilities.contains(Capabilities::DEPRECATE_EOF),
        }
    }
}

/// OK, after a statement without rows or (with first byte 0xFE) at the end of a result set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OkPacket<'a> {
    /// Rows changed, or found.
    pub affected_rows: u64,
    /// First generated AUTO_INCREMENT value; 0 for none.
    pub last_insert_id: u64,
    /// Server status.
    pub status: Status,
    /// Number of warnings.
    pub warnings: u16,
    /// Text for people, as "Rows matched: 1  Changed: 0  Warnings: 0".
    pub info: &'a [u8],
    /// Session-state records, undecoded.
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// Reads a payload whose first byte is 0x00 or 0xFE; `flags` are those of the connection it came from.
    ///
    /// # Errors
    /// It is cut, or does not end where it says.
    pub fn parse(payload: &'a [u8], flags: ResponseFlags) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        r.u8("OK header")?;
        let affected_rows = r.lenenc_int("OK affected rows")?;
        let last_insert_id = r.lenenc_int("OK insert id")?;
        let status = Status::from_bits_retain(r.u16("OK status")?);
        let warnings = r.u16("OK warnings")?;
        let (mut info, mut session_state) = (&[][..], &[][..]);
        // both servers write the length also for clients without SESSION_TRACK, whatever the manual says
        if !r.is_empty() {
            info = r.lenenc_bytes("OK info")?;
        }
        if flags.session_track && status.contains(Status::SESSION_STATE_CHANGED) {
            session_state = r.lenenc_bytes("OK session state")?;
        }
        r.finish("end of OK")?;
        Ok(Self { affected_rows, last_insert_id, status, warnings, info, session_state })
    }

    /// Writes the payload for a client with `flags`; `first` is [`OK`] or [`EOF`].
    pub fn write(&self, first: u8, flags: ResponseFlags, w: &mut Writer<'_>) {
        debug_assert!(first == OK || first == EOF);
        let mut status = self.status;
        let state = flags.session_track && !self.session_state.is_empty();
        status.set(Status::SESSION_STATE_CHANGED, state);
        w.u8(first).lenenc_int(self.affected_rows).lenenc_int(self.last_insert_id);
        w.u16(status.bits()).u16(self.warnings);
        if state || !self.info.is_empty() {
            w.lenenc_bytes(self.info);
        }
        if state {
            w.lenenc_bytes(self.session_state);
        }
    }

    /// Writes the end of a result set: an OK packet where EOF is deprecated, else an EOF packet.
    pub fn write_end(&self, flags: ResponseFlags, w: &mut Writer<'_>) {
        if flags.deprecate_eof {
            self.write(EOF, flags, w);
        } else {
            let status = self.status.difference(Status::SESSION_STATE_CHANGED);
            EofPacket { warnings: self.warnings, status }.write(w);
        }
    }
}

/// EOF, the older end of columns and rows: five bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EofPacket {
    /// Number of warnings.
    pub warnings: u16,
    /// Server status.
    pub status: Status,
}

impl EofPacket {
    /// Payload bytes of an EOF packet.
    pub const LEN: usize = 5;

    /// Reads a payload whose first byte is 0xFE.
    ///
    /// # Errors
    /// It has another length than five bytes.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        r.u8("EOF header")?;
        let warnings = r.u16("EOF warnings")?;
        let status = Status::from_bits_retain(r.u16("EOF status")?);
        r.finish("end of EOF")?;
        Ok(Self { warnings, status })
    }

    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(EOF).u16(self.warnings).u16(self.status.bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ResponseFlags = ResponseFlags { session_track: true, deprecate_eof: true };
    const NONE: ResponseFlags = ResponseFlags { session_track: false, deprecate_eof: false };

    #[test]
    fn ok_survives_a_round_trip_with_and_without_session_track() {
        let ok = OkPacket {
            affected_rows: 300,
            last_insert_id: u64::MAX,
            status: Status::AUTOCOMMIT | Status::SESSION_STATE_CHANGED,
            warnings: 2,
            info: b"Records: 1",
            session_state: b"\x01\x02\x01a",
        };
        let mut out = Vec::new();
        ok.write(OK, ALL, &mut Writer::new(&mut out));
        assert_eq!(OkPacket::parse(&out, ALL), Ok(ok));
        for cut in 1..out.len() {
            // a cut right after the warnings would be a whole OK without info, but its status promises records
            assert!(OkPacket::parse(&out[..cut], ALL).is_err(), "cut at {cut}");
        }
        out.clear();
        ok.write(OK, NONE, &mut Writer::new(&mut out));
        let plain = OkPacket { status: Status::AUTOCOMMIT, session_state: b"", ..ok };
        assert_eq!(OkPacket::parse(&out, NONE), Ok(plain));
    }

    #[test]
    fn an_ok_with_nothing_to_say_has_seven_bytes_for_every_client() {
        for flags in [ALL, NONE] {
            let mut out = Vec::new();
            OkPacket::default().write(OK, flags, &mut Writer::new(&mut out));
            assert_eq!(out, [0; 7]);
        }
    }

    #[test]
    fn a_result_set_ends_with_eof_for_a_client_that_wants_it() {
        let mut out = Vec::new();
        let ok = OkPacket { warnings: 3, status: Status::from_bits_retain(0x4022), ..OkPacket::default() };
        ok.write_end(NONE, &mut Writer::new(&mut out));
        assert_eq!(out, [0xFE, 3, 0, 0x22, 0]);
        assert_eq!(
            EofPacket::parse(&out),
            Ok(EofPacket { warnings: 3, status: Status::from_bits_retain(0x22) })
        );
    }
}
