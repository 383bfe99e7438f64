//! An append-only buffer for payloads and whole packets.

use crate::framer::{HEADER_LEN, MAX_PAYLOAD};

/// Appends protocol values to a byte buffer that it borrows.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`; what is there already stays.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.out.push(v);
        self
    }

    /// Two bytes, little endian.
    pub fn u16(&mut self, v: u16) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    /// The low three bytes, little endian.
    pub fn u24(&mut self, v: u32) -> &mut Self {
        let [a, b, c, _] = v.to_le_bytes();
        self.bytes(&[a, b, c])
    }

    /// Four bytes, little endian.
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    /// Eight bytes, little endian.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.out.extend_from_slice(v);
        self
    }

    /// `n` zero bytes.
    pub fn zeros(&mut self, n: usize) -> &mut Self {
        self.out.resize(self.out.len() + n, 0);
        self
    }

    /// Bytes and a NUL.
    pub fn nul_bytes(&mut self, v: &[u8]) -> &mut Self {
        self.bytes(v).u8(0)
    }

    /// A length-encoded integer, in its shortest form.
    pub fn lenenc_int(&mut self, v: u64) -> &mut Self {
        match v {
            0..=0xFA => self.bytes(&v.to_le_bytes()[..1]),
            0xFB..=0xFFFF => self.u8(0xFC).bytes(&v.to_le_bytes()[..2]),
            0x1_0000..=0xFF_FFFF => self.u8(0xFD).bytes(&v.to_le_bytes()[..3]),
            _ => self.u8(0xFE).u64(v),
        }
    }

    /// A length-encoded string.
    pub fn lenenc_bytes(&mut self, v: &[u8]) -> &mut Self {
        self.lenenc_int(v.len() as u64).bytes(v)
    }
}

/// Appends `payload` as one packet, or as many as its length needs; returns the sequence id after the last.
pub fn write_packet(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) -> u8 {
    let mut sequence = sequence;
    let mut rest = payload;
    loop {
        let (chunk, tail) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        let [a, b, c, _] = u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_le_bytes();
        out.reserve(HEADER_LEN + chunk.len());
        out.extend_from_slice(&[a, b, c, sequence]);
        out.extend_from_slice(chunk);
        sequence = sequence.wrapping_add(1);
        rest = tail;
        if chunk.len() < MAX_PAYLOAD {
            return sequence;
        }
    }
}

/// Appends one packet whose payload `fill` writes (it must stay below 16 MiB); returns the next sequence id.
pub fn packet_with(out: &mut Vec<u8>, sequence: u8, fill: impl FnOnce(&mut Writer<'_>)) -> u8 {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, sequence]);
    fill(&mut Writer::new(out));
    let len = out.len() - start - HEADER_LEN;
    debug_assert!(len < MAX_PAYLOAD, "payload of {len} bytes needs write_packet");
    let [a, b, c, _] = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(header) = out.get_mut(start..start + 3) {
        header.copy_from_slice(&[a, b, c]);
    }
    sequence.wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    #[test]
    fn writes_the_shortest_length_encoding_and_reads_it_back() {
        for (v, len) in [
            (0, 1),
            (250, 1),
            (251, 3),
            (0xFFFF, 3),
            (0x1_0000, 4),
            (0xFF_FFFF, 4),
            (0x100_0000, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            Writer::new(&mut out).lenenc_int(v);
            assert_eq!(out.len(), len, "{v}");
            assert_eq!(Reader::new(&out).lenenc_int("n"), Ok(v));
        }
    }

    #[test]
    fn a_payload_of_exactly_sixteen_mebibytes_less_one_ends_with_an_empty_packet() {
        let mut out = Vec::new();
        let next = write_packet(&mut out, 3, &vec![7; MAX_PAYLOAD]);
        assert_eq!(next, 5);
        assert_eq!(out.len(), MAX_PAYLOAD + 2 * HEADER_LEN);
        assert_eq!(&out[..4], &[0xFF, 0xFF, 0xFF, 3]);
        assert_eq!(&out[out.len() - 4..], &[0, 0, 0, 4]);
    }
}
