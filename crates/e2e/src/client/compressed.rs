//! A stream in compressed frames, as a client reads and writes it.

use std::io::{self, Read, Write};

use weir_wire::compress::{Algorithm, Commands, FrameReader, FrameWriter};

use super::Transport;

/// As much goes into one frame: more than any net buffer, less than a frame can hold.
const MOST_IN_FRAME: usize = 1 << 20;

/// See the module's text. Frames must come in order.
#[derive(Debug)]
pub struct Compressed {
    /// The stream below.
    pub below: Transport,
    algorithm: Algorithm,
    reader: FrameReader,
    writer: FrameWriter,
    /// What is a command, and what belongs to one.
    pub commands: Commands,
    /// Sequence id of the next frame of either side.
    next: u8,
    arrived: Vec<u8>,
}

impl Compressed {
    pub(super) fn new(below: Transport, algorithm: Algorithm) -> Compressed {
        Compressed {
            below,
            algorithm,
            reader: FrameReader::new(algorithm),
            writer: FrameWriter::default(),
            commands: Commands::default(),
            next: 0,
            arrived: Vec::new(),
        }
    }
}

impl Read for Compressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let frames = self.reader.frames();
            let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
            let progress =
                self.reader.read(&self.arrived, buffer).map_err(|error| invalid(error.to_string()))?;
            self.arrived.drain(..progress.consumed);
            if self.reader.frames() != frames {
                let sequence = self.reader.sequence();
                if sequence != self.next {
                    return Err(invalid(format!("frame {sequence} where {} was due", self.next)));
                }
                self.next = sequence.wrapping_add(1);
            }
            if progress.produced > 0 {
                return Ok(progress.produced);
            }
            if progress.consumed > 0 {
                continue;
            }
            let mut chunk = [0; 16 << 10];
            let n = self.below.read(&mut chunk)?;
            if n == 0 {
                return Ok(0);
            }
            self.arrived.extend_from_slice(chunk.get(..n).unwrap_or_default());
        }
    }
}

impl Write for Compressed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (n, begins) = self.commands.next_frame(bytes, MOST_IN_FRAME);
        if begins {
            self.next = 0;
        }
        let mut frame = Vec::new();
        self.writer.write(self.algorithm, self.next, bytes.get(..n).unwrap_or_default(), &mut frame);
        self.next = self.next.wrapping_add(1);
        self.below.write_all(&frame)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}
