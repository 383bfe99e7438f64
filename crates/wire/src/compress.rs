//! The compressed protocol: a stream of packets in frames, each packed by itself.
//!
//! Source: "Compressed Packet" in MySQL's protocol documentation. A frame says how long it is, and how long what is in it
//! was; short ones are stored as they are. Frames begin and end anywhere in packets, and count up by ids of their own.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use crate::{
    Malformed,
    framer::{HEADER_LEN, Header, MAX_PAYLOAD},
};

/// Bytes in a frame's header: three of its length, one of sequence, three of the length before packing.
const FRAME_HEADER_LEN: usize = 7;

/// What is shorter is stored as it is. Source: `MIN_COMPRESS_LENGTH` of the servers.
const WORTH_PACKING: usize = 50;

/// zlib's level, as at the servers.
const ZLIB_LEVEL: u32 = 6;

/// zstd's level where none is named, as at the servers.
pub const DEFAULT_ZSTD_LEVEL: u8 = 3;

/// Levels above it cost a gateway more time than a network could save.
const HIGHEST_ZSTD_LEVEL: u8 = 9;

/// No frame holds more than 16 MiB: a window that is larger is not needed, and costs memory.
const ZSTD_WINDOW_LOG: u32 = 24;

/// How frames are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CLIENT_COMPRESS.
    Zlib,
    /// CLIENT_ZSTD_COMPRESSION_ALGORITHM.
    Zstd {
        /// 1 to 22; above 9 as 9.
        level: u8,
    },
}

/// How far [`FrameReader::read`] came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were taken.
    pub consumed: usize,
    /// Bytes that were written.
    pub produced: usize,
}

enum Unpacker {
    Zlib(Decompress),
    Zstd(Decoder<'static>),
}

enum Inside {
    /// Between two frames, or in a header.
    Header,
    /// In a frame stored as it is; bytes to come.
    Stored(usize),
    /// In a packed frame.
    Packed {
        /// Packed bytes to come.
        packed: usize,
        /// Bytes that they must still become.
        plain: usize,
        /// The last of them, kept back until the frame has ended as it must: nothing is done with half a frame.
        last: Option<u8>,
        /// Boxed, since few connections have one.
        unpacker: Box<Unpacker>,
    },
}

/// Turns frames into the bytes that are in them, as they come. Between two frames it holds no memory; inside one only what
/// the algorithm needs.
pub struct FrameReader {
    algorithm: Algorithm,
    header: [u8; FRAME_HEADER_LEN],
    have: usize,
    sequence: u8,
    frames: u64,
    inside: Inside,
}

impl std::fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReader").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl FrameReader {
    /// Between two frames.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            header: [0; FRAME_HEADER_LEN],
            have: 0,
            sequence: 0,
            frames: 0,
            inside: Inside::Header,
        }
    }

    /// Sequence id of the frame that began last.
    #[must_use]
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// How many frames have begun.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Is it between two frames?
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.have == 0 && matches!(self.inside, Inside::Header)
    }

    /// Takes bytes and writes what they mean, up to the end of a frame, of the input or of the output. Call it again,
    /// with an empty input too, while it does something.
    ///
    /// # Errors
    /// A frame is not what its header says: then nothing that follows can be read.
    pub fn read(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Malformed> {
        let mut progress = Progress::default();
        if matches!(self.inside, Inside::Header) {
            let taken = input.get(..(FRAME_HEADER_LEN - self.have).min(input.len())).unwrap_or_default();
            if let Some(place) = self.header.get_mut(self.have..self.have + taken.len()) {
                place.copy_from_slice(taken);
            }
            self.have += taken.len();
            progress.consumed = taken.len();
            if self.have < FRAME_HEADER_LEN {
                return Ok(progress);
            }
            self.begin()?;
        }
        let input = input.get(progress.consumed..).unwrap_or_default();
        let inside = self.unpack(input, output)?;
        progress.consumed += inside.consumed;
        progress.produced += inside.produced;
        Ok(progress)
    }

    fn begin(&mut self) -> Result<(), Malformed> {
        let [a, b, c, sequence, x, y, z] = self.header;
        let packed = u32::from_le_bytes([a, b, c, 0]) as usize;
        let plain = u32::from_le_bytes([x, y, z, 0]) as usize;
        self.have = 0;
        self.sequence = sequence;
        self.frames += 1;
        if packed == 0 {
            return Err(Malformed { what: "compressed frame with something in it", at: 0 });
        }
        self.inside = match (plain, self.algorithm) {
            (0, _) => Inside::Stored(packed),
            (_, Algorithm::Zlib) => Inside::Packed {
                packed,
                plain,
                last: None,
                unpacker: Box::new(Unpacker::Zlib(Decompress::new(true))),
            },
            (_, Algorithm::Zstd { .. }) => {
                let no_memory = |_| Malformed { what: "memory for a compressed frame", at: 0 };
                let mut decoder = Decoder::new().map_err(no_memory)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(no_memory)?;
                Inside::Packed { packed, plain, last: None, unpacker: Box::new(Unpacker::Zstd(decoder)) }
            }
        };
        Ok(())
    }

    fn unpack(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Malformed> {
        match &mut self.inside {
            Inside::Header => Ok(Progress::default()),
            Inside::Stored(left) => {
                let n = (*left).min(input.len()).min(output.len());
                if let (Some(to), Some(from)) = (output.get_mut(..n), input.get(..n)) {
                    to.copy_from_slice(from);
                }
                *left -= n;
                if *left == 0 {
                    self.inside = Inside::Header;
                }
                Ok(Progress { consumed: n, produced: n })
            }
            Inside::Packed { packed, plain, last, unpacker } => {
                let mut done = Progress::default();
                if output.is_empty() {
                    return Ok(done);
                }
                loop {
                    let input = input.get(done.consumed..).unwrap_or_default();
                    let input = input.get(..(*packed).min(input.len())).unwrap_or_default();
                    // beyond the promised length there is room for one byte, to be found out
                    let mut beyond = [0];
                    let room = match *plain {
                        0 => &mut beyond[..],
                        _ => output.get_mut(done.produced..).unwrap_or_default(),
                    };
                    let most = (*plain).max(1).min(room.len());
                    let room = room.get_mut(..most).unwrap_or_default();
                    if room.is_empty() {
                        return Ok(done);
                    }
                    let (step, ended) = unpacker.step(input, room)?;
                    if step.produced > *plain {
                        return Err(Malformed { what: "compressed frame as short as it says", at: 0 });
                    }
                    *packed -= step.consumed;
                    *plain -= step.produced;
                    done.consumed += step.consumed;
                    done.produced += step.produced;
                    match (ended, *packed, *plain) {
                        (true, 0, 0) => {
                            if let (Some(byte), Some(place)) = (*last, output.get_mut(done.produced)) {
                                *place = byte;
                                done.produced += 1;
                            }
                            self.inside = Inside::Header;
                            return Ok(done);
                        }
                        (true, _, _) => {
                            return Err(Malformed { what: "compressed frame as long as it says", at: 0 });
                        }
                        (false, 0, _) if step.produced == 0 => {
                            return Err(Malformed { what: "whole compressed frame", at: 0 });
                        }
                        (false, _, 0) if step.produced > 0 => {
                            done.produced -= 1;
                            *last = output.get(done.produced).copied();
                        }
                        (false, _, _) if step == Progress::default() => return Ok(done),
                        (false, _, _) => {}
                    }
                }
            }
        }
    }
}

impl Unpacker {
    /// One step, and whether the packed bytes came to their own end.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(Progress, bool), Malformed> {
        const WHAT: &str = "compressed frame";
        match self {
            Self::Zlib(inflate) => {
                let before = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::None);
                let status = status.map_err(|_| Malformed { what: WHAT, at: 0 })?;
                let count = |after: u64, before: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
                let consumed = count(inflate.total_in(), before.0);
                let produced = count(inflate.total_out(), before.1);
                Ok((Progress { consumed, produced }, status == Status::StreamEnd))
            }
            Self::Zstd(decoder) => {
                let status = decoder.run_on_buffers(input, output);
                let status = status.map_err(|_| Malformed { what: WHAT, at: 0 })?;
                let progress = Progress { consumed: status.bytes_read, produced: status.bytes_written };
                Ok((progress, status.remaining == 0))
            }
        }
    }
}

/// Packs frames. Holds what the algorithms need for it, so that one serves many connections, one after the other.
#[derive(Default)]
pub struct FrameWriter {
    zlib: Option<Compress>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameWriter")
    }
}

impl FrameWriter {
    /// Appends `plain`, at most 16 MiB less one byte, as one frame.
    pub fn write(&mut self, algorithm: Algorithm, sequence: u8, plain: &[u8], out: &mut Vec<u8>) {
        debug_assert!(plain.len() <= MAX_PAYLOAD);
        let packed = plain.len() >= WORTH_PACKING && self.pack(algorithm, plain);
        let (body, before) = if packed { (&*self.packed, plain.len()) } else { (plain, 0) };
        let three = |n: usize| {
            let [a, b, c, _] = u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
            [a, b, c]
        };
        out.reserve(FRAME_HEADER_LEN + body.len());
        out.extend_from_slice(&three(body.len()));
        out.push(sequence);
        out.extend_from_slice(&three(before));
        out.extend_from_slice(body);
    }

    /// `false` if it does not become shorter.
    fn pack(&mut self, algorithm: Algorithm, plain: &[u8]) -> bool {
        self.packed.clear();
        self.packed.reserve(plain.len());
        match algorithm {
            Algorithm::Zlib => {
                let fresh = || Compress::new(Compression::new(ZLIB_LEVEL), true);
                let zlib = self.zlib.get_or_insert_with(fresh);
                zlib.reset();
                let done = zlib.compress_vec(plain, &mut self.packed, FlushCompress::Finish);
                matches!(done, Ok(Status::StreamEnd)) && self.packed.len() < plain.len()
            }
            Algorithm::Zstd { level } => {
                let level = i32::from(level.clamp(1, HIGHEST_ZSTD_LEVEL));
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Compressor::new(level).ok();
                }
                let Some(zstd) = &mut self.zstd else { return false };
                if zstd.set_compression_level(level).is_err() {
                    return false;
                }
                // with less room it would fail where it does not shrink, and the context would be stuck in that frame
                self.packed.resize(zstd::zstd_safe::compress_bound(plain.len()), 0);
                match zstd.compress_to_buffer(plain, self.packed.as_mut_slice()) {
                    Ok(len) => {
                        self.packed.truncate(len);
                        len < plain.len()
                    }
                    Err(_) => {
                        self.zstd = None;
                        false
                    }
                }
            }
        }
    }
}

/// Where commands begin in the packets that go to a server: each begins a frame, and frames count from 0 there.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// Bytes of the current packet that have not come.
    left: usize,
    continues: bool,
    /// Packets of a local file belong to the command before, whatever their ids.
    pub in_local_file: bool,
}

impl Commands {
    /// How many of the bytes that go next belong into one frame, and whether a command begins with them. A header is
    /// never cut: whoever writes to a server writes it whole.
    pub fn next_frame(&mut self, bytes: &[u8], limit: usize) -> (usize, bool) {
        let mut at = 0;
        let mut begins = false;
        while at < bytes.len().min(limit) {
            if self.left == 0 {
                let Some(header) = bytes.get(at..).and_then(Header::parse) else {
                    return (bytes.len(), begins);
                };
                let is_command = header.sequence == 0 && !self.continues && !self.in_local_file;
                if is_command && at > 0 {
                    break;
                }
                begins |= is_command;
                self.left = header.len;
                self.continues = header.continues();
                at += HEADER_LEN;
                continue;
            }
            let step = self.left.min(bytes.len() - at).min(limit.saturating_sub(at).max(1));
            at += step;
            self.left -= step;
        }
        (at.min(bytes.len()), begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_packet;

    const ALGORITHMS: [Algorithm; 3] =
        [Algorithm::Zlib, Algorithm::Zstd { level: 3 }, Algorithm::Zstd { level: 22 }];

    fn frame(algorithm: Algorithm, sequence: u8, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        FrameWriter::default().write(algorithm, sequence, plain, &mut out);
        out
    }

    /// Reads frames in pieces of `input` bytes, with room for `output` bytes at a time.
    fn unpack(
        algorithm: Algorithm,
        frames: &[u8],
        input: usize,
        output: usize,
    ) -> Result<Vec<u8>, Malformed> {
        let mut reader = FrameReader::new(algorithm);
        let mut plain = Vec::new();
        for piece in frames.chunks(input.max(1)) {
            let mut rest = piece;
            loop {
                let mut room = vec![0; output];
                let progress = reader.read(rest, &mut room)?;
                rest = &rest[progress.consumed..];
                plain.extend_from_slice(&room[..progress.produced]);
                if progress == Progress::default() {
                    break;
                }
            }
            assert!(rest.is_empty());
        }
        match reader.is_between_frames() {
            true => Ok(plain),
            false => Err(Malformed { what: "the rest", at: frames.len() }),
        }
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|i| b"abcdefghij"[(i * i / 7) % 10]).collect()
    }

    #[test]
    fn what_was_packed_comes_out_in_pieces_of_any_size() {
        for algorithm in ALGORITHMS {
            let mut frames = Vec::new();
            let mut plain = Vec::new();
            let mut writer = FrameWriter::default();
            for (i, len) in (0..).zip([1, 49, 50, 51, 1000, 0x1_0000, 3]) {
                writer.write(algorithm, i, &text(len), &mut frames);
                plain.extend(text(len));
            }
            for (input, output) in [(usize::MAX, 1 << 20), (1, 1 << 20), (7, 3), (frames.len() / 2, 100)] {
                let got = unpack(algorithm, &frames, input, output).unwrap();
                assert!(got == plain, "{algorithm:?} {input} {output}");
            }
        }
    }

    #[test]
    fn what_is_short_or_does_not_shrink_is_stored() {
        for algorithm in ALGORITHMS {
            let short = frame(algorithm, 3, &[b'x'; 49]);
            assert_eq!(short[..7], [49, 0, 0, 3, 0, 0, 0]);
            let mut random = 1_u32;
            let noise: Vec<u8> = (0..1000)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    random.to_be_bytes()[0]
                })
                .collect();
            assert_eq!(frame(algorithm, 0, &noise)[4..], [&[0; 3][..], &noise].concat());
            let mut writer = FrameWriter::default();
            let mut long = Vec::new();
            writer.write(algorithm, 0, &noise, &mut Vec::new());
            writer.write(algorithm, 0, &[b'x'; 1000], &mut long);
            assert!(long.len() < 100, "{algorithm:?}: what did not shrink before is in the way");
            assert_eq!(long[4..7], [0xE8, 3, 0]);
        }
    }

    #[test]
    fn a_frame_that_is_not_what_it_says_is_malformed_and_takes_no_memory() {
        for algorithm in ALGORITHMS {
            let good = frame(algorithm, 0, &text(5000));
            let len = |frame: &mut [u8], at: usize, change: i32| {
                let [a, b, c] = [frame[at], frame[at + 1], frame[at + 2]];
                let changed = i32::from_le_bytes([a, b, c, 0]) + change;
                frame[at..at + 3].copy_from_slice(&changed.to_le_bytes()[..3]);
            };
            for change in [-1, 1, 1000, 10_000_000] {
                let mut wrong = good.clone();
                len(&mut wrong, 4, change);
                for output in [1, 1 << 20] {
                    assert!(unpack(algorithm, &wrong, 100, output).is_err(), "{algorithm:?} {change}");
                }
            }
            let mut longer = [&good[..], b"more"].concat();
            len(&mut longer, 0, 4);
            assert!(unpack(algorithm, &longer, 100, 100).is_err());
            for cut in 1..40 {
                let mut shorter = good[..good.len() - cut].to_vec();
                len(&mut shorter, 0, -i32::try_from(cut).unwrap());
                assert!(unpack(algorithm, &shorter, 1 << 20, 1 << 20).is_err(), "{algorithm:?} {cut}");
            }
            assert!(FrameReader::new(algorithm).read(&[0; 7], &mut [0; 9]).is_err());
            let not_packed = [&[20, 0, 0, 0, 20, 0, 0][..], &[b'x'; 20]].concat();
            assert!(unpack(algorithm, &not_packed, 100, 100).is_err());
        }
    }

    #[test]
    fn a_cut_frame_gives_no_more_than_it_has() {
        for algorithm in ALGORITHMS {
            let plain = text(400);
            let whole = frame(algorithm, 0, &plain);
            for cut in 0..whole.len() {
                let mut reader = FrameReader::new(algorithm);
                let mut room = vec![0; 500];
                let (mut taken, mut have) = (0, 0);
                loop {
                    let progress = reader.read(&whole[taken..cut], &mut room[have..]).unwrap();
                    taken += progress.consumed;
                    have += progress.produced;
                    if progress == Progress::default() {
                        break;
                    }
                }
                assert!(plain.starts_with(&room[..have]) && have < plain.len(), "{algorithm:?} cut at {cut}");
                assert_eq!(reader.is_between_frames(), cut == 0);
            }
        }
    }

    #[test]
    fn each_command_begins_a_frame() {
        let mut bytes = Vec::new();
        for payload in [&b"\x19close"[..], b"\x17execute", &[7; 1000]] {
            write_packet(&mut bytes, 0, payload);
        }
        let mut commands = Commands::default();
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (n, begins) = commands.next_frame(rest, 600);
            frames.push((n, begins));
            rest = &rest[n..];
        }
        assert_eq!(frames, [(10, true), (12, true), (600, true), (404, false)]);
        let mut file = Vec::new();
        for sequence in [255, 0, 1] {
            write_packet(&mut file, sequence, b"line");
        }
        let mut commands = Commands { in_local_file: true, ..Commands::default() };
        assert_eq!(commands.next_frame(&file, 600), (file.len(), false));
    }
}
