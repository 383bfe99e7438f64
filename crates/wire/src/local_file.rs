//! The file of a LOAD DATA LOCAL on its way from a client to a server: packets up to an empty one.

use crate::{
    Malformed,
    framer::{HEADER_LEN, Header},
};

/// Walks over the packets of a file as they come, in pieces of any size, and finds where the file ends. Client and server
/// may count its packets differently: ids are put in as the server counts.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// Bytes of a header that have come, and how many.
    header: [u8; HEADER_LEN],
    have: usize,
    /// Bytes of the current packet that have not come.
    left: usize,
    /// The next packet continues this one, so that it may be empty before the file ends.
    continues: bool,
    from_client: u8,
    to_server: u8,
    unordered: bool,
    ended: bool,
}

impl LocalFile {
    /// A file whose first packet has these sequence ids, as the client and as the server count.
    #[must_use]
    pub fn new(from_client: u8, to_server: u8) -> Self {
        Self {
            header: [0; HEADER_LEN],
            have: 0,
            left: 0,
            continues: false,
            from_client,
            to_server,
            unordered: false,
            ended: false,
        }
    }

    /// The file comes compressed: clients count its packets as frames are counted.
    #[must_use]
    pub fn in_any_order(mut self, on: bool) -> Self {
        self.unordered = on;
        self
    }

    /// Takes the next bytes from the client; how many of them belong to the file. Less than all only at its end.
    ///
    /// # Errors
    /// A packet has not the sequence id that is due.
    pub fn walk(&mut self, bytes: &mut [u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while !self.ended {
            let step = self.left.min(bytes.len() - at);
            at += step;
            self.left -= step;
            let Some(byte) = bytes.get_mut(at) else { break };
            if let Some(place) = self.header.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            if self.have == HEADER_LEN {
                if *byte != self.from_client && !self.unordered {
                    return Err(Malformed { what: "packet of a local file out of order", at });
                }
                *byte = self.to_server;
                self.packet_begins();
            }
            at += 1;
        }
        Ok(at)
    }

    fn packet_begins(&mut self) {
        let Some(header) = Header::parse(&self.header) else { return };
        self.have = 0;
        self.from_client = self.from_client.wrapping_add(1);
        self.to_server = self.to_server.wrapping_add(1);
        self.ended = header.len == 0 && !self.continues;
        self.left = header.len;
        self.continues = header.continues();
    }

    /// Has the empty packet passed?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sequence ids of the packet that follows, as the client and as the server count.
    #[must_use]
    pub fn next_sequences(&self) -> (u8, u8) {
        (self.from_client, self.to_server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{framer::MAX_PAYLOAD, write_packet};

    fn file(first: u8, packets: &[&[u8]]) -> (Vec<u8>, u8) {
        let mut out = Vec::new();
        let next = packets.iter().fold(first, |sequence, packet| write_packet(&mut out, sequence, packet));
        let next = write_packet(&mut out, next, b"");
        (out, next)
    }

    #[test]
    fn a_file_ends_with_its_empty_packet_wherever_it_is_cut() {
        let (mut sent, next) = file(2, &[b"one", b"", b"behind"]);
        let (expected, _) = file(9, &[b"one"]);
        let end = expected.len();
        for cut in 0..=sent.len() {
            let mut walked = LocalFile::new(2, 9);
            let mut whole = sent.clone();
            let (head, tail) = whole.split_at_mut(cut);
            let first = walked.walk(head).unwrap();
            let second = walked.walk(tail).unwrap();
            assert_eq!((first, first + second), (cut.min(end), end), "cut at {cut}");
            assert!(walked.has_ended());
            assert_eq!(walked.next_sequences(), (4, 11));
            assert_eq!(whole[..end], expected, "cut at {cut}");
            assert_eq!(whole[end..], sent[end..], "what follows is not touched");
        }
        let mut bytewise = LocalFile::new(2, 2);
        let taken: usize =
            sent.iter_mut().map(|byte| bytewise.walk(std::slice::from_mut(byte)).unwrap()).sum();
        assert_eq!(taken, end);
        assert_eq!(next, 6);
    }

    #[test]
    fn an_empty_packet_that_ends_a_long_one_does_not_end_the_file() {
        let long = vec![7; MAX_PAYLOAD];
        let (mut sent, _) = file(2, &[&long, b"more"]);
        let all = sent.len();
        let mut walked = LocalFile::new(2, 2);
        assert_eq!(walked.walk(&mut sent), Ok(all));
        assert!(walked.has_ended());
        assert_eq!(walked.next_sequences(), (6, 6));
    }

    #[test]
    fn sequence_ids_wrap_and_one_that_is_not_due_is_refused() {
        let packets: Vec<&[u8]> = vec![b"x"; 600];
        let (sent, next) = file(2, &packets);
        let mut walked = LocalFile::new(2, 1);
        assert_eq!(walked.walk(&mut sent.clone()), Ok(sent.len()));
        assert_eq!(walked.next_sequences(), (next, next.wrapping_sub(1)));
        let mut wrong = sent;
        wrong[5 * 300 + 3] ^= 1;
        let mut walked = LocalFile::new(2, 1);
        assert_eq!(walked.walk(&mut wrong).unwrap_err().at, 5 * 300 + 3);
    }
}
