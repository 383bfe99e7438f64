//! A checked cursor over bytes from a stranger. Nothing else in Weir looks into such bytes.

/// The bytes end early, or say something that they must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {what} at byte {at}")]
pub struct Malformed {
    /// What was expected there.
    pub what: &'static str,
    /// Offset in the payload.
    pub at: usize,
}

/// Cursor over one payload. Every method either advances past what it returns or fails without panicking.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Is nothing left?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// An error at the current position.
    #[must_use]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn bytes(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(n).ok_or(Malformed { what, at: self.at })?;
        let slice = self.bytes.get(self.at..end).ok_or(Malformed { what, at: self.at })?;
        self.at = end;
        Ok(slice)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let at = self.at;
        self.bytes(N, what)?.try_into().map_err(|_| Malformed { what, at })
    }

    /// One byte.
    ///
    /// # Errors
    /// None is left.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    /// Two bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Three bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u24(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let [a, b, c] = self.array(what)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Eight bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length-encoded integer.
    ///
    /// # Errors
    /// It is cut, or starts with 0xFB (NULL) or 0xFF.
    pub fn lenenc_int(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let at = self.at;
        match self.u8(what)? {
            n @ 0..=0xFA => Ok(u64::from(n)),
            0xFC => Ok(u64::from(self.u16(what)?)),
            0xFD => Ok(u64::from(self.u24(what)?)),
            0xFE => self.u64(what),
            0xFB | 0xFF => Err(Malformed { what, at }),
        }
    }

    /// A length-encoded string.
    ///
    /// # Errors
    /// Its length is malformed or larger than what is left.
    pub fn lenenc_bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let at = self.at;
        let n = usize::try_from(self.lenenc_int(what)?).map_err(|_| Malformed { what, at })?;
        self.bytes(n, what)
    }

    /// The bytes up to the next NUL, which is skipped.
    ///
    /// # Errors
    /// There is no NUL.
    pub fn nul_bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = memchr::memchr(0, rest).ok_or(Malformed { what, at: self.at })?;
        let text = self.bytes(n, what)?;
        self.at += 1;
        Ok(text)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Something is left.
    pub fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed { what, at: self.at }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_width_of_length_encoded_integers() {
        for (bytes, value) in [
            (&[0xFA][..], 0xFA),
            (&[0xFC, 0xFB, 0x00], 0xFB),
            (&[0xFD, 1, 2, 3], 0x03_02_01),
            (&[0xFE, 1, 0, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0001),
        ] {
            let mut r = Reader::new(bytes);
            assert_eq!(r.lenenc_int("n"), Ok(value));
            assert_eq!(r.finish("end"), Ok(()));
            for cut in 0..bytes.len() {
                assert!(Reader::new(&bytes[..cut]).lenenc_int("n").is_err(), "cut at {cut}");
            }
        }
        assert!(Reader::new(&[0xFB]).lenenc_int("n").is_err());
        assert!(Reader::new(&[0xFF]).lenenc_int("n").is_err());
    }

    #[test]
    fn refuses_a_string_longer_than_the_packet() {
        assert!(Reader::new(&[5, b'a', b'b']).lenenc_bytes("s").is_err());
        let huge = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, b'a'];
        assert!(Reader::new(&huge).lenenc_bytes("s").is_err());
        assert!(Reader::new(b"no end").nul_bytes("s").is_err());
    }

    #[test]
    fn finish_refuses_trailing_bytes() {
        let mut r = Reader::new(&[1, 2]);
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.finish("end"), Err(Malformed { what: "end", at: 1 }));
    }
}
