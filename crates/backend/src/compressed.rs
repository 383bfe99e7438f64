//! A stream whose bytes go in compressed frames. Between two exchanges it holds no buffer.

use std::{
    cell::RefCell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_wire::{
    Malformed,
    compress::{Algorithm, Commands, FrameReader, FrameWriter},
};

use crate::stream::Stream;

/// Most bytes that are packed into one frame: other sessions wait while it is packed.
const MOST_IN_FRAME: usize = 64 << 10;
/// Packed bytes read at once.
const READ_AT_ONCE: usize = 8 << 10;

thread_local! {
    /// What the algorithms need is large, and is used by one connection at a time.
    static WRITER: RefCell<FrameWriter> = RefCell::default();
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client: its frames are counted, ours go on from there.
    Client,
    /// A server: each of our commands begins a frame and counts from 0.
    Server,
}

/// See the module's text.
#[derive(Debug)]
pub struct Compressed {
    below: Stream,
    peer: Peer,
    algorithm: Algorithm,
    reader: FrameReader,
    commands: Commands,
    /// Sequence id of the next frame to the other side.
    next: u8,
    /// Packed bytes that were read.
    arrived: Vec<u8>,
    taken: usize,
    /// Packed bytes to be written.
    leaving: Vec<u8>,
    left: usize,
}

impl Compressed {
    /// Compresses from the next byte on.
    #[must_use]
    pub fn new(below: Stream, peer: Peer, algorithm: Algorithm) -> Self {
        Self {
            below,
            peer,
            algorithm,
            reader: FrameReader::new(algorithm),
            commands: Commands::default(),
            next: 0,
            arrived: Vec::new(),
            taken: 0,
            leaving: Vec::new(),
            left: 0,
        }
    }

    /// The stream below.
    #[must_use]
    pub fn below(&self) -> &Stream {
        &self.below
    }

    /// What goes to the server from now on is, or is no longer, a local file: not a command of its own.
    pub fn set_in_local_file(&mut self, on: bool) {
        self.commands.in_local_file = on;
    }

    /// Was something read that nobody has asked for yet?
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.taken < self.arrived.len() || !self.reader.is_between_frames()
    }

    /// Reads ahead without unpacking, up to `limit` bytes in all: the frames' numbers are looked at when they are due.
    pub fn poll_read_ahead(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let have = self.arrived.len() - self.taken;
        if have >= limit {
            return Poll::Pending;
        }
        self.poll_fetch(cx)
    }

    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut chunk = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.below).poll_read(cx, &mut chunk))?;
        self.arrived.drain(..self.taken);
        self.taken = 0;
        self.arrived.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }

    /// Writes what was packed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.leaving.get(self.left..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.below).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.left += n,
            }
        }
        self.leaving = Vec::new();
        self.left = 0;
        Poll::Ready(Ok(()))
    }

    /// A client's frames count from 0 in each command, and on from ours where it answers.
    fn frame_began(&mut self) -> Result<(), Malformed> {
        let sequence = self.reader.sequence();
        if self.peer == Peer::Client && sequence != self.next && sequence != 0 {
            return Err(Malformed { what: "compressed frame in order", at: 3 });
        }
        self.next = sequence.wrapping_add(1);
        Ok(())
    }

    fn pack(&mut self, bytes: &[u8]) -> usize {
        let mut packed = 0;
        while packed < bytes.len().min(MOST_IN_FRAME) {
            let rest = bytes.get(packed..).unwrap_or_default();
            let room = MOST_IN_FRAME - packed;
            let n = match self.peer {
                Peer::Client => rest.len().min(room),
                Peer::Server => {
                    let (n, begins) = self.commands.next_frame(rest, room);
                    if begins {
                        self.next = 0;
                    }
                    n
                }
            };
            let frame = rest.get(..n).unwrap_or_default();
            WRITER.with_borrow_mut(|w| w.write(self.algorithm, self.next, frame, &mut self.leaving));
            self.next = self.next.wrapping_add(1);
            packed += n;
        }
        packed
    }
}

fn malformed(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Compressed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let frames = this.reader.frames();
            let input = this.arrived.get(this.taken..).unwrap_or_default();
            let room = buf.initialize_unfilled_to(buf.remaining().min(MOST_IN_FRAME));
            let progress = this.reader.read(input, room).map_err(malformed)?;
            this.taken += progress.consumed;
            if this.taken == this.arrived.len() {
                this.arrived = Vec::new();
                this.taken = 0;
            }
            if this.reader.frames() != frames {
                this.frame_began().map_err(malformed)?;
            }
            if progress.produced > 0 {
                buf.advance(progress.produced);
                return Poll::Ready(Ok(()));
            }
            if progress.consumed > 0 {
                continue;
            }
            if ready!(this.poll_fetch(cx))? == 0 {
                let cut = !this.reader.is_between_frames();
                return Poll::Ready(if cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
            }
        }
    }
}

impl AsyncWrite for Compressed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let packed = self.pack(bytes);
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // the rest goes with the next write, or when it is flushed
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(packed)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.below).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.below).poll_shutdown(cx)
    }
}
