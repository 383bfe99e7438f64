//! The login exchange with a server: the protocol's states, driven over a socket.

use std::{io, sync::Arc, time::Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use weir_catalog::slice::{BackendCompression, BackendTlsMode};
use weir_wire::{
    Malformed,
    capability::Capabilities,
    compress::{Algorithm, DEFAULT_ZSTD_LEVEL},
    connect::{ConnectError, ConnectOptions, Credential, ExpectGreeting, ServerKey, Step, TlsWish},
    framer::{HEADER_LEN, Header},
    greeting::{Greeting, MariaDbCapabilities},
    login::Attributes,
    server_version::ServerVersion,
    write_packet,
};
use zeroize::Zeroizing;

use crate::{
    accounts::Identity,
    compressed::Peer,
    connection::ConnectionError,
    dial::{DialError, Dialer},
    pool::Class,
    stream::{Socket, Stream},
};

/// A packet of a login is never longer.
const MAX_LOGIN_PACKET: usize = 64 << 10;

/// utf8mb4_general_ci: known to every server since 5.5.
const COLLATION: u8 = 45;

impl Dialer {
    /// Logs in over a fresh socket: the stream, the server's version, and its greeting.
    pub(crate) async fn log_in(
        &self,
        socket: Socket,
        class: Class,
        identity: Option<&Identity>,
    ) -> Result<(Stream, ServerVersion, Greeting), DialError> {
        let is_local = matches!(socket, Socket::Unix(_));
        let mut talk = Talk { stream: Stream::Plain(socket), sequence: 0 };
        let greeting = talk.read().await?;
        let mut step = ExpectGreeting::new(self.connect_options(class, is_local, identity))
            .handle(&greeting)
            .map_err(|e| failed(e, identity))?;
        let mut untrusted = None;
        let logged_in = loop {
            step = match step {
                Step::StartTls { payload, then } => {
                    talk.write(&payload).await?;
                    talk = self.start_tls(talk).await?;
                    match self.check_certificate(&talk.stream) {
                        Ok(()) => then.done(),
                        // the login is ended in good form, so that the server does not count it against this host
                        Err(error) => {
                            untrusted = Some(error);
                            then.decline()
                        }
                    }
                }
                Step::Send { payload, then } => {
                    talk.write(payload.as_bytes()).await?;
                    let reply = talk.read().await?;
                    match then.handle(&reply) {
                        Err(ConnectError::Declined) => {
                            return Err(untrusted.unwrap_or_else(|| DialError::Login("declined".into())));
                        }
                        next => next.map_err(|e| failed(e, identity))?,
                    }
                }
                Step::Read { then } => {
                    let reply = talk.read().await?;
                    then.handle(&reply).map_err(|e| failed(e, identity))?
                }
                Step::Done(logged_in) => break logged_in,
            };
        };
        let needed = Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF;
        if !logged_in.agreed.contains(needed) {
            return Err(DialError::Login("the server is too old: it does not track session state (MySQL 5.7, MariaDB 10.2 or newer is needed)".into()));
        }
        if class.extended_metadata
            && !logged_in.agreed_mariadb.contains(MariaDbCapabilities::EXTENDED_METADATA)
        {
            return Err(DialError::Login("the server is older than the version that the listener greets with: it does not know the extended metadata that a client was promised (MariaDB 10.5.2)".into()));
        }
        if class.query_attributes && !logged_in.agreed.contains(Capabilities::QUERY_ATTRIBUTES) {
            return Err(DialError::Login(
                "the server does not know the query attributes that a client was promised (MySQL 8.0.23)"
                    .into(),
            ));
        }
        let text = String::from_utf8_lossy(&logged_in.greeting.version).into_owned();
        let version = ServerVersion::parse(&text).ok_or(Malformed { what: "server version", at: 1 })?;
        let Some((capability, algorithm)) = compression(self.options.compression) else {
            return Ok((talk.stream, version, logged_in.greeting));
        };
        if !logged_in.agreed.contains(capability) {
            let wanted = self.options.compression;
            return Err(DialError::Login(format!(
                "the server does not offer {wanted}, which the slice demands as its compression"
            )));
        }
        Ok((talk.stream.compress(Peer::Server, algorithm), version, logged_in.greeting))
    }

    fn connect_options(&self, class: Class, is_local: bool, identity: Option<&Identity>) -> ConnectOptions {
        let mut capabilities = Capabilities::LONG_FLAG
            | Capabilities::TRANSACTIONS
            | Capabilities::SESSION_TRACK
            | Capabilities::DEPRECATE_EOF
            | Capabilities::CONNECT_ATTRS
            | Capabilities::PLUGIN_AUTH_LENENC;
        capabilities.set(Capabilities::MULTI_RESULTS | Capabilities::PS_MULTI_RESULTS, !class.single_results);
        capabilities.set(Capabilities::LOCAL_FILES, self.options.local_files);
        capabilities.set(Capabilities::FOUND_ROWS, class.found_rows);
        capabilities.set(Capabilities::IGNORE_SPACE, class.ignore_space);
        capabilities.set(Capabilities::INTERACTIVE, class.interactive);
        capabilities.set(Capabilities::QUERY_ATTRIBUTES, class.query_attributes);
        if let Some((capability, _)) = compression(self.options.compression) {
            capabilities.insert(capability);
        }
        let mut mariadb = MariaDbCapabilities::empty();
        // changes nothing unless it is used
        mariadb.insert(MariaDbCapabilities::STMT_BULK_OPERATIONS);
        mariadb.set(MariaDbCapabilities::EXTENDED_METADATA, class.extended_metadata);
        let mut attributes = Attributes::new();
        attributes.push(b"_client_name", b"weir");
        attributes.push(b"_client_version", env!("CARGO_PKG_VERSION").as_bytes());
        attributes.push(b"program_name", b"weir");
        let tls = match self.options.tls_mode {
            _ if is_local => TlsWish::Off,
            BackendTlsMode::Off => TlsWish::Off,
            BackendTlsMode::Preferred => TlsWish::Preferred,
            BackendTlsMode::Required | BackendTlsMode::VerifyCa | BackendTlsMode::VerifyIdentity => {
                TlsWish::Required
            }
        };
        let account = &self.options.account;
        let own = || Credential::Password(Zeroizing::new(account.password.reveal().as_bytes().to_vec()));
        ConnectOptions {
            user: identity.map_or(account.user.as_str(), Identity::name).as_bytes().to_vec(),
            credential: identity.map_or_else(own, |identity| identity.secrets().credential(Instant::now())),
            database: None,
            capabilities,
            mariadb,
            collation: COLLATION,
            attributes,
            max_packet_size: 1 << 30,
            tls,
            server_key: ServerKey::Ask,
            is_local,
        }
    }

    async fn start_tls(&self, talk: Talk) -> Result<Talk, DialError> {
        let (Some(tls), Stream::Plain(socket)) = (&self.options.tls, talk.stream) else {
            return Err(DialError::Tls(io::Error::other("TLS is not set up")));
        };
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(self.server_name()?, socket).await.map_err(DialError::Tls)?;
        Ok(Talk { stream: Stream::Tls(Box::new(stream.into())), sequence: talk.sequence })
    }

    /// Is the server who it should be, as far as the mode asks?
    fn check_certificate(&self, stream: &Stream) -> Result<(), DialError> {
        let (Some(tls), Stream::Tls(stream)) = (&self.options.tls, stream) else { return Ok(()) };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        tls.check(chain, &self.server_name()?).map_err(|e| DialError::Tls(io::Error::other(e)))
    }
}

/// What is asked for, and what comes of it.
fn compression(wanted: BackendCompression) -> Option<(Capabilities, Algorithm)> {
    match wanted {
        BackendCompression::Off => None,
        BackendCompression::Zlib => Some((Capabilities::COMPRESS, Algorithm::Zlib)),
        BackendCompression::Zstd => Some((Capabilities::ZSTD, Algorithm::Zstd { level: DEFAULT_ZSTD_LEVEL })),
    }
}

fn failed(error: ConnectError, identity: Option<&Identity>) -> DialError {
    match error {
        ConnectError::TlsNotOffered => DialError::NoTls,
        ConnectError::Malformed(malformed) => DialError::Malformed(malformed),
        ConnectError::Refused(refusal) => DialError::Refused(refusal),
        ConnectError::PasswordUnknown => {
            DialError::PasswordUnknown(identity.map_or_else(String::new, |i| i.current_user().to_owned()))
        }
        other => DialError::Login(other.to_string()),
    }
}

/// Packets of a login, one after the other.
struct Talk {
    stream: Stream,
    sequence: u8,
}

impl Talk {
    async fn read(&mut self) -> Result<Vec<u8>, DialError> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).await.map_err(ended)?;
        let header = Header::parse(&header).ok_or(Malformed { what: "packet header", at: 0 })?;
        if header.len > MAX_LOGIN_PACKET {
            return Err(Malformed { what: "packet of a login that is far too long", at: 0 }.into());
        }
        self.sequence = header.sequence.wrapping_add(1);
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).await.map_err(ended)?;
        Ok(payload)
    }

    async fn write(&mut self, payload: &[u8]) -> Result<(), DialError> {
        let mut out = Zeroizing::new(Vec::with_capacity(payload.len() + HEADER_LEN));
        self.sequence = write_packet(&mut out, self.sequence, payload);
        self.stream.write_all(&out).await.map_err(ended)?;
        self.stream.flush().await.map_err(ended)
    }
}

fn ended(error: io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DialError::Connection(ConnectionError::Closed),
        _ => DialError::Connection(ConnectionError::Io(error)),
    }
}
