//! Reads a PROXY header from a trusted address, before anything is said.

use std::{io, net::IpAddr};

use tokio::io::AsyncReadExt;
use weir_backend::{Socket, Stream};
use weir_wire::{
    Malformed,
    proxy_protocol::{MAX_HEADER_LEN, ProxyHeader},
};

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The connection ended, or failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The bytes are no header.
    #[error("the header is a {0}")]
    Malformed(#[from] Malformed),
    /// A trusted address must send one: else it could speak for itself only by accident.
    #[error("the first bytes are not a PROXY header")]
    Absent,
}

/// The client's address, if the header names one. Nothing behind the header is read.
pub(crate) async fn read_header(stream: &mut Stream) -> Result<Option<IpAddr>, ProxyError> {
    let mut seen = Vec::new();
    loop {
        // the header's length is only known at its end, so it is looked at before it is taken
        let mut peeked = [0u8; MAX_HEADER_LEN];
        let n = match stream.socket() {
            Some(Socket::Tcp(socket)) => socket.peek(&mut peeked).await?,
            _ => return Err(ProxyError::Absent),
        };
        if n == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        seen.extend_from_slice(peeked.get(..n).unwrap_or_default());
        let before = seen.len() - n;
        let (take, done) = match ProxyHeader::parse(&seen)? {
            ProxyHeader::Incomplete if seen.len() >= MAX_HEADER_LEN => return Err(ProxyError::Absent),
            ProxyHeader::Incomplete => (n, None),
            ProxyHeader::Absent => return Err(ProxyError::Absent),
            ProxyHeader::Complete { source, len } => (len.saturating_sub(before), Some(source)),
        };
        let mut taken = vec![0; take];
        stream.read_exact(&mut taken).await?;
        if let Some(source) = done {
            return Ok(source.map(|address| address.ip()));
        }
    }
}
