//! The stream under a client: TCP or Unix socket, later perhaps with TLS around it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use weir_wire::compress::Algorithm;

use super::compressed::Compressed;

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// A port of 127.0.0.1.
    #[must_use]
    pub fn port(port: u16) -> Endpoint {
        Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// A connected stream.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Any of them, compressed.
    Compressed(Box<Compressed>),
}

impl Transport {
    /// Connects; `patience` bounds this and every later read and write.
    pub(super) fn connect(endpoint: &Endpoint, patience: Duration) -> io::Result<Transport> {
        let mut transport = match endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, patience)?;
                stream.set_nodelay(true)?;
                Transport::Tcp(stream)
            }
            Endpoint::Unix(path) => Transport::Unix(UnixStream::connect(path)?),
        };
        transport.set_patience(patience)?;
        Ok(transport)
    }

    pub(super) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
            Transport::Unix(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
            Transport::Tls(stream) => {
                stream.sock.set_read_timeout(Some(patience))?;
                stream.sock.set_write_timeout(Some(patience))
            }
            Transport::Compressed(stream) => stream.below.set_patience(patience),
        }
    }

    pub(super) fn shut(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => stream.shutdown(how),
            Transport::Unix(stream) => stream.shutdown(how),
            Transport::Tls(stream) => stream.sock.shutdown(how),
            Transport::Compressed(stream) => stream.below.shut(how),
        }
    }

    pub(super) fn reset_when_closed(&self) -> io::Result<()> {
        let socket = match self {
            Transport::Tcp(stream) => stream,
            Transport::Tls(stream) => &stream.sock,
            Transport::Compressed(stream) => return stream.below.reset_when_closed(),
            Transport::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(set_socket_linger(socket, Some(Duration::ZERO))?)
    }

    /// May a password pass as it is?
    pub(super) fn is_secure(&self) -> bool {
        match self {
            Transport::Tcp(_) => false,
            Transport::Unix(_) | Transport::Tls(_) => true,
            Transport::Compressed(stream) => stream.below.is_secure(),
        }
    }

    /// Compresses from the next byte on.
    pub(super) fn compressed(self, algorithm: Algorithm) -> Transport {
        Transport::Compressed(Box::new(Compressed::new(self, algorithm)))
    }

    /// Is it compressed? Then packets are counted as frames are, behind each flush.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self, Transport::Compressed(_))
    }

    /// What is written from now on is, or is no longer, a local file.
    pub(super) fn set_in_local_file(&mut self, on: bool) {
        if let Transport::Compressed(stream) = self {
            stream.commands.in_local_file = on;
        }
    }

    /// Puts TLS around a TCP stream. With `authority` the certificate must be signed by it and name 127.0.0.1.
    pub(super) fn with_tls(self, authority: Option<&Path>) -> io::Result<Transport> {
        let Transport::Tcp(stream) = self else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is for TCP"));
        };
        let name = ServerName::from(stream.peer_addr()?.ip());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let config = match authority {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_file(authority).map_err(io::Error::other)?)
                    .map_err(io::Error::other)?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth(),
        };
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Transport::Tls(Box::new(stream)))
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => stream.read(buffer),
            Transport::Unix(stream) => stream.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
            Transport::Compressed(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => stream.write(bytes),
            Transport::Unix(stream) => stream.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
            Transport::Compressed(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => stream.flush(),
            Transport::Unix(stream) => stream.flush(),
            Transport::Tls(stream) => stream.flush(),
            Transport::Compressed(stream) => stream.flush(),
        }
    }
}

/// Takes any certificate, as clients do that ask for TLS and name no authority.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
