//! Connection attributes: what a client says of itself, in pairs of name and value.

use crate::{Malformed, Reader, Writer};

/// Connection attributes, kept as the bytes they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Length-encoded names and values in turn.
    pairs: Vec<u8>,
}

impl Attributes {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        Writer::new(&mut self.pairs).lenenc_bytes(name).lenenc_bytes(value);
    }

    /// All that can be read, in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut r = Reader::new(&self.pairs);
        std::iter::from_fn(move || pair(&mut r).ok())
    }

    /// The value of the first attribute of this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Writes the block with its length before it.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.lenenc_bytes(&self.pairs);
    }

    /// Reads a block with its length before it. As at the servers, what is inside may be anything: some clients count
    /// a name's letters where its bytes belong.
    ///
    /// # Errors
    /// The block is cut.
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let pairs = r.lenenc_bytes("connection attributes")?;
        Ok(Self { pairs: pairs.to_vec() })
    }
}

fn pair<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    Ok((r.lenenc_bytes("attribute name")?, r.lenenc_bytes("attribute value")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_name() {
        let mut attributes = Attributes::new();
        assert!(attributes.is_empty());
        attributes.push(b"_client_name", b"libmysql");
        attributes.push(b"program_name", &[b'x'; 300]);
        assert_eq!(attributes.get(b"_client_name"), Some(&b"libmysql"[..]));
        assert_eq!(attributes.get(b"program_name").map(<[u8]>::len), Some(300));
        assert_eq!(attributes.get(b"_pid"), None);
        assert_eq!(attributes.iter().count(), 2);
    }

    #[test]
    fn strings_that_reach_beyond_the_block_end_it() {
        for (block, readable) in
            [(&b"\x03\x05abc"[..], 0), (b"\x01\x00", 0), (b"\x02\x01a", 0), (b"\x05\x01a\x01b\x01", 1)]
        {
            let attributes = Attributes::parse(&mut Reader::new(block)).unwrap();
            assert_eq!(attributes.iter().count(), readable, "{block:?}");
        }
        assert!(Attributes::parse(&mut Reader::new(b"\x09\x01a\x01b")).is_err(), "a block that is cut");
    }
}
