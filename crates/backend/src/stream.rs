//! A byte stream to a client or a server: TCP, Unix socket, TLS over either, and all of them compressed.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsStream;
use weir_wire::compress::Algorithm;

use crate::compressed::{Compressed, Peer};

/// A socket without encryption.
#[derive(Debug)]
pub enum Socket {
    /// TCP; Nagle is off.
    Tcp(TcpStream),
    /// Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Address of the other side; `None` for a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(s) => s.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Takes the socket out of its event loop, so that another worker can put it into its own.
    ///
    /// # Errors
    /// The event loop does not let go of it.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(s) => Detached::Tcp(s.into_std()?),
            Self::Unix(s) => Detached::Unix(s.into_std()?),
        })
    }
}

/// A socket that belongs to no event loop.
#[derive(Debug)]
pub enum Detached {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Puts the socket into the event loop of the calling task.
    ///
    /// # Errors
    /// The event loop does not take it.
    pub fn attach(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(s) => Socket::Tcp(TcpStream::from_std(s)?),
            Self::Unix(s) => Socket::Unix(UnixStream::from_std(s)?),
        })
    }
}

/// A stream, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// TLS; boxed, since it is large and most streams are not.
    Tls(Box<TlsStream<Socket>>),
    /// Compressed, over either of them.
    Compressed(Box<Compressed>),
    /// On its way from one worker to another; nothing can be read or written.
    Parked(Option<Detached>),
}

impl Stream {
    /// The socket below; `None` while the stream is parked.
    #[must_use]
    pub fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(s) => Some(s),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Compressed(s) => s.below().socket(),
            Self::Parked(_) => None,
        }
    }

    /// Is it encrypted?
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Compressed(s) => s.below().is_tls(),
            Self::Plain(_) | Self::Parked(_) => false,
        }
    }

    /// Does what was written lie in a buffer until it is flushed?
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Compressed(_))
    }

    /// Is it compressed?
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        matches!(self, Self::Compressed(_))
    }

    /// Compresses from the next byte on.
    #[must_use]
    pub fn compress(self, peer: Peer, algorithm: Algorithm) -> Self {
        Self::Compressed(Box::new(Compressed::new(self, peer, algorithm)))
    }

    /// What goes to a server from now on is, or is no longer, a local file.
    pub fn set_in_local_file(&mut self, on: bool) {
        if let Self::Compressed(s) = self {
            s.set_in_local_file(on);
        }
    }

    /// Reads ahead what comes compressed, up to `limit` bytes in all, without looking into it. Nothing otherwise.
    pub fn poll_read_ahead(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        match self {
            Self::Compressed(s) => s.poll_read_ahead(cx, limit),
            Self::Plain(_) | Self::Tls(_) | Self::Parked(_) => Poll::Pending,
        }
    }

    /// Are passwords safe on it: TLS, or a Unix socket?
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.is_tls() || matches!(self.socket(), Some(Socket::Unix(_)))
    }

    /// Has the other side sent something, or closed? For a connection on which nothing is expected: both mean that
    /// it is dead. `thorough` asks the kernel (one system call); else only what the event loop has seen counts.
    pub fn is_readable(&mut self, thorough: bool) -> bool {
        if let Self::Compressed(s) = self
            && s.has_arrived()
        {
            return true;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let Some(socket) = self.socket() else { return false };
        let seen = match socket {
            Socket::Tcp(s) => s.poll_read_ready(&mut cx).is_ready(),
            Socket::Unix(s) => s.poll_read_ready(&mut cx).is_ready(),
        };
        if !seen && !thorough {
            return false;
        }
        // readiness may be stale (an edge that was already read), so the kernel decides
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        let socket = match socket {
            Socket::Tcp(s) => socket2::SockRef::from(s),
            Socket::Unix(s) => socket2::SockRef::from(s),
        };
        !matches!(socket.peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Has the event loop seen that the other side sent something or closed? Costs nothing while it has not; else a read
    /// tells more. Wakes the task when it happens.
    pub fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<()> {
        let seen = match self.socket() {
            Some(Socket::Tcp(s)) => s.poll_read_ready(cx),
            Some(Socket::Unix(s)) => s.poll_read_ready(cx),
            None => return Poll::Pending,
        };
        // an event loop that is gone cannot be waited for: the read says so
        seen.map(|_| ())
    }

    /// Writes a few last bytes if the socket takes them at once, and forgets about them otherwise: for farewells.
    pub fn write_now(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(n)) = Pin::new(&mut *self).poll_write(&mut cx, bytes)
            && n == bytes.len()
            && self.needs_flush()
        {
            // a farewell that stays in the TLS buffer is no worse than none
            let _sent = Pin::new(self).poll_flush(&mut cx).is_ready();
        }
    }
}

macro_rules! each_socket {
    ($self:expr, $s:ident => $call:expr) => {
        match $self {
            Socket::Tcp($s) => $call,
            Socket::Unix($s) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each_socket!(self.get_mut(), s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each_socket!(self.get_mut(), s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each_socket!(self.get_mut(), s => Pin::new(s).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_socket!(self.get_mut(), s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_socket!(self.get_mut(), s => Pin::new(s).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
            Self::Compressed(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
            Self::Parked(_) => parked(),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
            Self::Compressed(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
            Self::Parked(_) => parked(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
            Self::Compressed(s) => Pin::new(s.as_mut()).poll_flush(cx),
            Self::Parked(_) => parked(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
            Self::Compressed(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
            Self::Parked(_) => parked(),
        }
    }
}

fn parked<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, "the connection is parked")))
}
