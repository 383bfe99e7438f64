//! Packet headers: three bytes of length, one of sequence.
//!
//! A payload of 16 MiB - 1 or more is sent as several packets; the one that is shorter than that ends it.
//! Source: "MySQL Packets" in the server's protocol documentation.

/// Bytes in a packet header.
pub const HEADER_LEN: usize = 4;

/// The longest payload of one packet; a packet of this length is continued by the next.
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow, at most [`MAX_PAYLOAD`].
    pub len: usize,
    /// Sequence id, counts up from 0 (client) in each command, wraps at 256.
    pub sequence: u8,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` while fewer than four are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, sequence, ..] = bytes else { return None };
        Some(Self { len: u32::from_le_bytes([a, b, c, 0]) as usize, sequence })
    }

    /// The first header of a payload of `len` bytes, however many packets it takes.
    #[must_use]
    pub fn first_of(len: usize, sequence: u8) -> Self {
        Self { len: len.min(MAX_PAYLOAD), sequence }
    }

    /// Does another packet continue this payload?
    #[must_use]
    pub fn continues(self) -> bool {
        self.len == MAX_PAYLOAD
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [a, b, c, _] = u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes();
        [a, b, c, self.sequence]
    }
}

/// The first packet in `bytes`, if it is there whole: its header and its payload.
#[must_use]
pub fn first_packet(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header::parse(bytes)?;
    let payload = bytes.get(HEADER_LEN..HEADER_LEN + header.len)?;
    Some((header, payload))
}
