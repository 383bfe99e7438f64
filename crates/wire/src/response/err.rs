//! ERR packets.

use super::ERR;
use crate::{Malformed, Reader, Writer, error_code::ErrorCode};

/// An error as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// Number and SQLSTATE.
    pub code: ErrorCode,
    /// Text for people.
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    /// Reads a payload whose first byte is 0xFF. Errors before login have no SQLSTATE: they get `HY000`.
    ///
    /// # Errors
    /// It is cut.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        r.u8("ERR header")?;
        let number = r.u16("ERR number")?;
        let rest = r.rest();
        let (sqlstate, message) = match rest.split_first() {
            Some((b'#', tail)) if tail.len() >= 5 => {
                let (state, message) = tail.split_at(5);
                (state.try_into().unwrap_or(*b"HY000"), message)
            }
            _ => (*b"HY000", rest),
        };
        Ok(Self { code: ErrorCode { number, sqlstate }, message })
    }

    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(ERR).u16(self.code.number).u8(b'#').bytes(&self.code.sqlstate).bytes(self.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code;

    #[test]
    fn reads_errors_with_and_without_sqlstate() {
        let mut out = Vec::new();
        let err = ErrPacket { code: error_code::ACCESS_DENIED, message: b"no" };
        err.write(&mut Writer::new(&mut out));
        assert_eq!(ErrPacket::parse(&out), Ok(err));
        let early = ErrPacket::parse(b"\xFF\x10\x04Too many connections").unwrap();
        assert_eq!((early.code.number, &early.code.sqlstate), (1040, b"HY000"));
        assert_eq!(early.message, b"Too many connections");
        assert!(ErrPacket::parse(b"\xFF\x10").is_err());
    }
}
