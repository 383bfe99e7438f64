//! The smallest client that can show something: one connection, text queries, whole answers.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::timeout,
};
use weir_wire::{
    Reader,
    capability::Capabilities,
    command::com,
    connect::{ConnectOptions, Credential, ExpectGreeting, ServerKey, Step, TlsWish},
    framer::{HEADER_LEN, Header},
    greeting::MariaDbCapabilities,
    login::Attributes,
    response::{ErrPacket, TextRow},
    server_version::{Flavour, ServerVersion},
    write_packet,
};
use zeroize::Zeroizing;

/// utf8mb4_general_ci: known to every server.
const COLLATION: u8 = 45;
/// What one answer may take; the demo waits for nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A row of a result; NULL is empty.
pub(super) type Row = Vec<String>;

/// A connection that is logged in.
pub(super) struct Client {
    stream: BufStream<TcpStream>,
    sequence: u8,
    /// What the server says it is.
    pub version: ServerVersion,
}

impl Client {
    /// Logs in to a server, or to Weir, over plain TCP.
    pub(super) async fn connect(address: &str, user: &str, password: &str) -> Result<Self> {
        let connect = async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let version = ServerVersion { flavour: Flavour::MySql, number: 0, text: String::new() };
            let mut client = Self { stream: BufStream::new(socket), sequence: 0, version };
            client.log_in(user, password).await?;
            anyhow::Ok(client)
        };
        let connected =
            timeout(PATIENCE, connect).await.context("it takes too long").and_then(|result| result);
        connected.with_context(|| format!("cannot log in to {address} as {user}"))
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        let options = ConnectOptions {
            user: user.as_bytes().to_vec(),
            credential: Credential::Password(Zeroizing::new(password.as_bytes().to_vec())),
            database: None,
            capabilities: Capabilities::LONG_FLAG
                | Capabilities::TRANSACTIONS
                | Capabilities::MULTI_RESULTS
                | Capabilities::DEPRECATE_EOF,
            mariadb: MariaDbCapabilities::empty(),
            collation: COLLATION,
            attributes: Attributes::new(),
            max_packet_size: 1 << 24,
            tls: TlsWish::Off,
            is_local: false,
            server_key: ServerKey::Ask,
        };
        let greeting = self.read().await?;
        let mut step = ExpectGreeting::new(options).handle(&greeting)?;
        let logged_in = loop {
            step = match step {
                Step::StartTls { .. } => bail!("TLS was not asked for"),
                Step::Send { payload, then } => {
                    self.write(payload.as_bytes()).await?;
                    then.handle(&self.read().await?)?
                }
                Step::Read { then } => then.handle(&self.read().await?)?,
                Step::Done(logged_in) => break logged_in,
            };
        };
        ensure!(logged_in.agreed.contains(Capabilities::DEPRECATE_EOF), "the server is too old");
        let text = String::from_utf8_lossy(&logged_in.greeting.version).into_owned();
        self.version = ServerVersion::parse(&text).with_context(|| format!("\"{text}\" is no version"))?;
        Ok(())
    }

    /// Runs a statement and takes its whole answer.
    ///
    /// # Errors
    /// The server refuses it, with its number and text; or the connection failed.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let answer = timeout(PATIENCE, self.exchange(sql)).await.context("it takes too long");
        answer.and_then(|result| result).with_context(|| sql.to_owned())
    }

    /// The only value of a statement's only row.
    pub(super) async fn value(&mut self, sql: &str) -> Result<String> {
        let row = self.query(sql).await?.into_iter().next();
        row.and_then(|row| row.into_iter().next()).with_context(|| format!("no value from {sql}"))
    }

    async fn exchange(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.sequence = 0;
        self.write(&[&[com::QUERY], sql.as_bytes()].concat()).await?;
        let first = self.read().await?;
        match first.first() {
            Some(0x00) => return Ok(Vec::new()),
            Some(0xFF) => return Err(refusal(&first)),
            _ => {}
        }
        for _ in 0..Reader::new(&first).lenenc_int("number of columns")? {
            self.read().await?;
        }
        let mut rows = Vec::new();
        loop {
            let payload = self.read().await?;
            match payload.first() {
                // with DEPRECATE_EOF an OK packet that begins as EOF did; a row that does is far longer
                Some(0xFE) if payload.len() < 0xFF_FFFF => return Ok(rows),
                Some(0xFF) => return Err(refusal(&payload)),
                _ => rows.push(row(&payload)?),
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).await?;
        let header = Header::parse(&header).context("no packet header")?;
        ensure!(!header.continues(), "an answer is longer than the demo can take");
        self.sequence = header.sequence.wrapping_add(1);
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    async fn write(&mut self, payload: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        self.sequence = write_packet(&mut out, self.sequence, payload);
        self.stream.write_all(&out).await?;
        Ok(self.stream.flush().await?)
    }
}

fn row(payload: &[u8]) -> Result<Row> {
    let mut values = TextRow::new(payload);
    let mut row = Vec::new();
    while !values.is_empty() {
        row.push(String::from_utf8_lossy(values.value()?.unwrap_or_default()).into_owned());
    }
    Ok(row)
}

fn refusal(payload: &[u8]) -> anyhow::Error {
    match ErrPacket::parse(payload) {
        Ok(err) => anyhow::anyhow!("error {}: {}", err.code.number, String::from_utf8_lossy(err.message)),
        Err(malformed) => malformed.into(),
    }
}
