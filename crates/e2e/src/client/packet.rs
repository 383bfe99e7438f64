//! Payloads as they come: a payload of 16 MiB and more is several packets on the wire, and one here.

use std::io::{self, Read};

use weir_wire::framer::{HEADER_LEN, Header};

/// A payload with the sequence id of its first packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sequence id of the first packet.
    pub sequence: u8,
    /// How many packets it took.
    pub parts: u32,
    /// The payload of all.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads a payload.
    ///
    /// # Errors
    /// The stream ends; packets of one payload do not count up.
    pub fn read(from: &mut impl Read) -> io::Result<Packet> {
        let mut packet = Packet { sequence: 0, parts: 0, payload: Vec::new() };
        loop {
            let mut head = [0; HEADER_LEN];
            from.read_exact(&mut head)?;
            let header = Header::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
            if packet.parts == 0 {
                packet.sequence = header.sequence;
            }
            let wanted = u32::from(packet.sequence).wrapping_add(packet.parts) & 0xff;
            if u32::from(header.sequence) != wanted {
                let text = format!("packet {} of a payload where {wanted} was due", header.sequence);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            packet.parts = packet.parts.saturating_add(1);
            let taken = from.take(header.len as u64).read_to_end(&mut packet.payload)?;
            if taken != header.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !header.continues() {
                return Ok(packet);
            }
        }
    }

    /// The first byte; 0 for an empty payload, which no server sends.
    #[must_use]
    pub fn first(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }

    /// The sequence id that follows.
    #[must_use]
    pub fn next_sequence(&self) -> u8 {
        let after = u32::from(self.sequence).wrapping_add(self.parts) & 0xff;
        u8::try_from(after).unwrap_or_default()
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 160;
        const TAIL: usize = 24;
        let shown = self.payload.get(..self.payload.len().min(SHOWN)).unwrap_or_default();
        write!(f, "#{}", self.sequence)?;
        if self.parts != 1 {
            write!(f, "×{}", self.parts)?;
        }
        write!(f, " {:5} \"{}\"", self.payload.len(), shown.escape_ascii())?;
        match self.payload.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => {
                let end = self.payload.get(self.payload.len() - more.min(TAIL)..).unwrap_or_default();
                write!(f, "…\"{}\"", end.escape_ascii())
            }
            _ => Ok(()),
        }
    }
}
