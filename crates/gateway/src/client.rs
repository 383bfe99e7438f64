//! One client's bytes: requests in, answers out. An idle client holds no buffer.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncReadExt, AsyncWrite};
use weir_backend::{KillMode, Peer, Stream};
use weir_wire::{
    Malformed,
    compress::Algorithm,
    framer::{HEADER_LEN, Header},
    query_attributes,
    response::ResponseFlags,
};

use crate::{
    handle::{Handle, Phase, Signal, Told},
    worker::Worker,
};

/// A longer request is looked at before the rest of it is read: it needs a share of the process's memory, or streams.
pub const READ_FREELY: usize = 128 << 10;

/// So much of what a client sends behind a running statement is read before its turn.
const READ_AHEAD: usize = 16 << 10;

/// Why a client's bytes end.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It closed the connection between two commands.
    #[error("the client closed the connection")]
    Closed,
    /// It closed the connection inside a packet.
    #[error("the client closed the connection inside a packet")]
    Cut,
    /// The network failed.
    #[error("connection to the client failed: {0}")]
    Io(#[from] io::Error),
    /// It sent a packet with the wrong sequence id.
    #[error("the client sent packet {got} where {wanted} was due")]
    OutOfOrder {
        /// Sequence id that it sent.
        got: u8,
        /// Sequence id that was due.
        wanted: u8,
    },
    /// The session was told to stop waiting.
    #[error("the session was told to end: {0:?}")]
    Told(Signal),
    /// The same, while the client did not take its answer: nothing more can be said to it.
    #[error("the session was told to end while its client took nothing: {0:?}")]
    ToldWhileWriting(Signal),
    /// Somebody wants to know what the session does.
    #[error("the session was asked what it does")]
    Asked,
    /// The statement was told to end, by a KILL QUERY.
    #[error("the statement was told to end")]
    StatementTold(KillMode),
}

impl From<Told> for ClientError {
    fn from(told: Told) -> Self {
        match told {
            Told::End(signal) => Self::Told(signal),
            Told::EndStatement(mode) => Self::StatementTold(mode),
        }
    }
}

/// A request as it lies in its buffer.
#[derive(Debug)]
pub struct Request {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the payload a COM_QUERY has its text.
    text_at: usize,
    /// It is long, and goes on beyond what is in the buffer.
    pub large: bool,
}

impl Request {
    /// A request that was collected piece by piece: its first header, and the payload of all its packets.
    #[must_use]
    pub fn collected(buffer: Vec<u8>) -> Self {
        let end = buffer.len();
        Self { buffer, start: 0, end, text_at: 1, large: false }
    }

    /// Header and payload, as far as they are in the buffer.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// A COM_QUERY on a connection that negotiated query attributes: its text begins behind them.
    ///
    /// # Errors
    /// They are malformed, or not in the buffer whole.
    pub fn skip_attributes(&mut self) -> Result<(), Malformed> {
        self.text_at = query_attributes::text_at(self.payload())?;
        Ok(())
    }

    /// The text of a COM_QUERY, as far as it is in the buffer.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.payload().get(self.text_at..).unwrap_or_default()
    }

    /// The payload, as far as it is in the buffer.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.packet().get(HEADER_LEN..).unwrap_or_default()
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
    /// Read nothing beyond the packet that is due: what follows may belong to a TLS handshake.
    pub exact: bool,
    /// What its answers look like.
    pub flags: ResponseFlags,
    worker: Arc<Worker>,
    handle: Arc<Handle>,
    /// Bytes read since the last look.
    pub read: u64,
    /// Bytes written since the last look.
    pub written: u64,
}

impl Client {
    /// A client behind `stream`; `buffer` holds what was read from it already.
    #[must_use]
    pub fn new(stream: Stream, buffer: Vec<u8>, worker: Arc<Worker>, handle: Arc<Handle>) -> Self {
        Self {
            stream,
            buffer,
            at: 0,
            exact: false,
            flags: ResponseFlags::default(),
            worker,
            handle,
            read: 0,
            written: 0,
        }
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The session's handle.
    #[must_use]
    pub fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle)
    }

    /// Takes the stream out, to put TLS around it; nothing beyond the last packet was read if [`exact`](Self::exact).
    #[must_use]
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// The next packet with sequence id `sequence`. While none arrives, no buffer is held.
    ///
    /// # Errors
    /// The client is gone, or the session was told to end.
    pub async fn request(&mut self, sequence: u8) -> Result<Request, ClientError> {
        loop {
            let have = self.buffer.get(self.at..).unwrap_or_default();
            let mut want = HEADER_LEN;
            if let Some(header) = Header::parse(have) {
                if header.sequence != sequence {
                    return Err(ClientError::OutOfOrder { got: header.sequence, wanted: sequence });
                }
                want = HEADER_LEN + header.len;
                let large = want > READ_FREELY;
                if have.len() >= want && !header.continues() {
                    return Ok(self.take_request(want, false));
                }
                if large && have.len() >= READ_FREELY {
                    let whole = have.len().min(want);
                    return Ok(self.take_request(whole, true));
                }
                if large {
                    want = READ_FREELY;
                }
            }
            let missing = want.saturating_sub(have.len()).max(1);
            self.fill(missing).await?;
        }
    }

    fn take_request(&mut self, len: usize, large: bool) -> Request {
        let start = self.at;
        self.at = 0;
        Request { buffer: std::mem::take(&mut self.buffer), start, end: start + len, text_at: 1, large }
    }

    /// Ends the use of a request; what was read beyond it stays for the next.
    pub fn done(&mut self, request: Request) {
        let Request { mut buffer, end, .. } = request;
        if buffer.len() > end {
            if self.buffer.is_empty() {
                self.buffer = buffer;
                self.at = end;
            } else {
                // bytes were read behind it meanwhile
                buffer.drain(..end);
                buffer.extend_from_slice(self.buffer.get(self.at..).unwrap_or_default());
                self.buffer = buffer;
                self.at = 0;
            }
        } else {
            self.worker.recycle(buffer);
        }
    }

    /// Up to `limit` further bytes of a long packet. A client that sends none for too long is cut off.
    ///
    /// # Errors
    /// The client is gone, or the session was told to end.
    pub async fn piece(&mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        if self.buffer.len() <= self.at {
            let before = self.handle.phase();
            self.handle.enter(Phase::Reading, self.worker.now());
            self.fill(limit.min(256 << 10)).await?;
            self.handle.enter(before.0, self.worker.now());
        }
        let take = limit.min(self.buffer.len() - self.at);
        if self.at == 0 && take == self.buffer.len() {
            return Ok(std::mem::take(&mut self.buffer));
        }
        let piece = self.buffer.get(self.at..self.at + take).unwrap_or_default().to_vec();
        self.at += take;
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        Ok(piece)
    }

    /// Puts back what was taken too much: the client's next bytes.
    pub fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(self.buffer.get(self.at..).unwrap_or_default());
        self.buffer = bytes;
        self.at = 0;
    }

    /// Reads once, into a buffer that is borrowed while there is something to read.
    async fn fill(&mut self, missing: usize) -> Result<(), ClientError> {
        if self.at > 0 {
            self.buffer.drain(..self.at.min(self.buffer.len()));
            self.at = 0;
        }
        let n = poll_fn(|cx| {
            self.handle.register(cx.waker());
            let signal = self.handle.signal();
            if self.handle.ends_waiting(signal) {
                return Poll::Ready(Err(ClientError::Told(signal)));
            }
            if self.buffer.capacity() == 0 {
                self.buffer = self.worker.buffer();
            }
            if self.buffer.capacity() - self.buffer.len() < missing {
                self.buffer.reserve(missing);
            }
            let limit = if self.exact { missing as u64 } else { u64::MAX };
            let read = pin!((&mut self.stream).take(limit).read_buf(&mut self.buffer)).poll(cx);
            if read.is_pending() && self.buffer.is_empty() {
                self.worker.recycle(std::mem::take(&mut self.buffer));
            }
            read.map_err(ClientError::from)
        })
        .await?;
        if n == 0 {
            let cut = !self.buffer.is_empty();
            self.worker.recycle(std::mem::take(&mut self.buffer));
            return Err(if cut { ClientError::Cut } else { ClientError::Closed });
        }
        self.read += n as u64;
        Ok(())
    }

    /// Does somebody want to know what the session does?
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.handle.is_asked()
    }

    /// While a statement waits or runs: should the session end, or the statement? See [`poll_gone`](Self::poll_gone).
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        match self.handle.poll_told(cx) {
            Poll::Ready(told) => Poll::Ready(told.into()),
            Poll::Pending => self.poll_gone(cx),
        }
    }

    /// While a statement waits or runs: has the client gone? What it sends meanwhile is read ahead, up to a bound; who has
    /// sent that much is there. Costs nothing while nothing comes.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        if self.stream.is_compressed() {
            return self.poll_gone_compressed(cx);
        }
        while self.buffer.len() - self.at < READ_AHEAD {
            ready!(self.stream.poll_arrival(cx));
            if self.buffer.capacity() == 0 {
                self.buffer = self.worker.buffer();
            }
            let free = (READ_AHEAD - (self.buffer.len() - self.at)) as u64;
            let read = pin!((&mut self.stream).take(free).read_buf(&mut self.buffer)).poll(cx);
            if self.buffer.is_empty() {
                self.worker.recycle(std::mem::take(&mut self.buffer));
            }
            match ready!(read) {
                Ok(0) => return Poll::Ready(ClientError::Closed),
                Ok(n) => self.read += n as u64,
                Err(error) => return Poll::Ready(error.into()),
            }
        }
        Poll::Pending
    }

    /// The same where bytes come compressed: they are not unpacked before their turn, since frames are counted by command.
    fn poll_gone_compressed(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        loop {
            match ready!(self.stream.poll_read_ahead(cx, READ_AHEAD)) {
                Ok(0) => return Poll::Ready(ClientError::Closed),
                Ok(_) => {}
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }

    /// Both sides compress from the next byte on.
    pub fn compress(&mut self, algorithm: Algorithm) {
        let plain = std::mem::replace(&mut self.stream, Stream::Parked(None));
        self.stream = plain.compress(Peer::Client, algorithm);
    }

    /// Writes an answer, or a part of one. A client that takes nothing for too long is cut off.
    ///
    /// # Errors
    /// The client is gone, or took nothing for too long.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let mut rest = bytes;
        let before = self.handle.phase();
        let mut waiting = false;
        let flushes = self.stream.needs_flush();
        let result = poll_fn(|cx| {
            loop {
                let step = match rest.is_empty() {
                    false => Pin::new(&mut self.stream).poll_write(cx, rest).map_ok(Some),
                    true if flushes => Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| None),
                    true => return Poll::Ready(Ok(())),
                };
                match step {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(Some(0))) => {
                        return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                    }
                    Poll::Ready(Ok(Some(n))) => {
                        rest = rest.get(n..).unwrap_or_default();
                        if waiting {
                            self.handle.enter(Phase::Writing, self.worker.now());
                        }
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e.into())),
                    Poll::Pending => {
                        self.handle.register(cx.waker());
                        if !waiting {
                            waiting = true;
                            self.handle.enter(Phase::Writing, self.worker.now());
                        }
                        let signal = self.handle.signal();
                        if matches!(signal, Signal::WriteTimeout | Signal::Killed | Signal::Stop) {
                            return Poll::Ready(Err(ClientError::ToldWhileWriting(signal)));
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
        if waiting {
            self.handle.enter(before.0, self.worker.now());
        }
        self.written += bytes.len() as u64;
        result
    }
}
