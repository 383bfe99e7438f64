//! A client's connection while it may block: login, preparing, and the few statements of an idle client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use weir_wire::capability::Capabilities;
use weir_wire::command::com;
use weir_wire::connect::{ConnectOptions, Credential, ExpectGreeting, ServerKey, Step, TlsWish};
use weir_wire::framer::{HEADER_LEN, Header};
use weir_wire::greeting::MariaDbCapabilities;
use weir_wire::login::Attributes;
use weir_wire::response::{ErrPacket, PrepareOk};
use weir_wire::{packet_with, write_packet};
use zeroize::Zeroizing;

use super::answer::{Answer, Expected, Verdict};
use super::job::Target;
use crate::workload::DATABASE;

/// No login and no answer of a healthy server takes longer, even with hundreds waiting on two cores.
const PATIENCE: Duration = Duration::from_secs(30);
/// utf8mb4_general_ci, which both servers know.
const COLLATION: u8 = 45;

/// A logged-in connection.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    sequence: u8,
    deprecate_eof: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Between plain and TLS.
    Gone,
}

impl Connection {
    /// Logs in, over TLS if a configuration for it is given.
    pub(crate) fn open(
        target: &Target,
        deprecate_eof: bool,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(&target.address)
            .with_context(|| format!("cannot connect to {} ({})", target.address, target.name))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        stream.set_write_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        let mut connection = Self { transport: Transport::Plain(stream), sequence: 0, deprecate_eof };
        connection
            .log_in(target, tls)
            .with_context(|| format!("cannot log in to {} ({})", target.address, target.name))?;
        Ok(connection)
    }

    fn log_in(&mut self, target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<()> {
        let mut options = connect_options(target, self.deprecate_eof);
        if tls.is_some() {
            options.tls = TlsWish::Required;
        }
        let greeting = self.read_packet()?;
        let mut step = ExpectGreeting::new(options).handle(&greeting)?;
        loop {
            step = match (step, tls) {
                (Step::StartTls { payload, then }, Some(tls)) => {
                    self.write_packet(&payload)?;
                    self.start_tls(tls)?;
                    then.done()
                }
                (Step::StartTls { .. }, None) => bail!("TLS, which was not asked for"),
                (Step::Send { payload, then }, _) => {
                    self.write_packet(payload.as_bytes())?;
                    then.handle(&self.read_packet()?)?
                }
                (Step::Read { then }, _) => then.handle(&self.read_packet()?)?,
                (Step::Done(logged_in), _) => {
                    let agreed = logged_in.agreed.contains(Capabilities::DEPRECATE_EOF);
                    if agreed != self.deprecate_eof {
                        bail!("DEPRECATE_EOF is {agreed}, which is not what was asked for");
                    }
                    return Ok(());
                }
            };
        }
    }

    fn start_tls(&mut self, config: &Arc<ClientConfig>) -> Result<()> {
        let Transport::Plain(stream) = std::mem::replace(&mut self.transport, Transport::Gone) else {
            bail!("TLS within TLS");
        };
        let name = ServerName::try_from("localhost").context("not a name")?;
        let tls = ClientConnection::new(Arc::clone(config), name).context("cannot start TLS")?;
        self.transport = Transport::Tls(Box::new(StreamOwned::new(tls, stream)));
        Ok(())
    }

    /// Prepares a statement and gives its id.
    pub(crate) fn prepare(&mut self, text: &str) -> Result<u32> {
        let mut request = Vec::new();
        packet_with(&mut request, 0, |w| {
            w.u8(com::STMT_PREPARE).bytes(text.as_bytes());
        });
        self.write_all(&request)?;
        let head = self.read_packet()?;
        if head.first() == Some(&0xFF) {
            let error = ErrPacket::parse(&head)?;
            bail!("error {}: {}", error.code.number, String::from_utf8_lossy(error.message));
        }
        let prepared = PrepareOk::parse(&head)?;
        for definitions in [prepared.parameters, prepared.columns] {
            let end = u32::from(definitions > 0 && !self.deprecate_eof);
            for _ in 0..u32::from(definitions) + end {
                self.read_packet()?;
            }
        }
        Ok(prepared.statement)
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &[u8], expected: Expected) -> Result<()> {
        self.write_all(request)?;
        let mut answer = Answer::new(expected, self.deprecate_eof);
        let mut buffer = [0; 16 << 10];
        loop {
            let read = self.stream()?.read(&mut buffer).context("the connection is lost")?;
            if read == 0 {
                bail!("the connection was closed");
            }
            match answer.feed(buffer.get(..read).unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some(Verdict::Right)) => return Ok(()),
                Ok(Some(verdict)) => bail!("{verdict:?} instead of {expected:?}"),
                Err(broken) => bail!("{}", broken.0),
            }
        }
    }

    /// The socket, from now on not to block.
    pub(crate) fn into_nonblocking(self) -> Result<TcpStream> {
        let Transport::Plain(stream) = self.transport else { bail!("TLS is for idle clients only") };
        stream.set_nonblocking(true).context("cannot set a socket not to block")?;
        Ok(stream)
    }

    fn stream(&mut self) -> Result<&mut dyn Stream> {
        match &mut self.transport {
            Transport::Plain(stream) => Ok(stream),
            Transport::Tls(stream) => Ok(&mut **stream),
            Transport::Gone => bail!("the connection is gone"),
        }
    }

    fn read_packet(&mut self) -> Result<Vec<u8>> {
        let stream = self.stream()?;
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).context("the connection is lost")?;
        let header = Header::parse(&header).context("four bytes are a header")?;
        let mut payload = vec![0; header.len];
        stream.read_exact(&mut payload).context("the connection is lost")?;
        self.sequence = header.sequence.wrapping_add(1);
        Ok(payload)
    }

    fn write_packet(&mut self, payload: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        self.sequence = write_packet(&mut out, self.sequence, payload);
        self.write_all(&out)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream()?;
        stream.write_all(bytes).context("the connection is lost")?;
        stream.flush().context("the connection is lost")
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// The flags that most drivers set, the same for all paths.
fn connect_options(target: &Target, deprecate_eof: bool) -> ConnectOptions {
    let mut capabilities = Capabilities::LONG_FLAG
        | Capabilities::TRANSACTIONS
        | Capabilities::MULTI_RESULTS
        | Capabilities::PS_MULTI_RESULTS
        | Capabilities::CONNECT_ATTRS
        | Capabilities::PLUGIN_AUTH_LENENC;
    capabilities.set(Capabilities::DEPRECATE_EOF, deprecate_eof);
    let mut attributes = Attributes::new();
    attributes.push(b"_client_name", b"weir-bench");
    ConnectOptions {
        user: target.user.clone().into_bytes(),
        credential: Credential::Password(Zeroizing::new(target.password.clone().into_bytes())),
        database: Some(DATABASE.as_bytes().to_vec()),
        capabilities,
        mariadb: MariaDbCapabilities::empty(),
        collation: COLLATION,
        attributes,
        max_packet_size: 1 << 30,
        tls: TlsWish::Off,
        is_local: false,
        server_key: ServerKey::Ask,
    }
}
