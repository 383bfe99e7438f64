//! A small client for tests' own administration: text protocol over a server's Unix socket, where both
//! servers take a password without RSA or TLS. It shares no code with the protocol crate on purpose, so
//! that what tests compare with does not carry the same mistake.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aws_lc_rs::digest;

/// LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB is absent, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION,
/// MULTI_STATEMENTS, MULTI_RESULTS, PLUGIN_AUTH (Client/Server protocol, capability flags).
const CAPABILITIES: u32 = 1 | 4 | 0x200 | 0x2000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x8_0000;
const UTF8MB4_GENERAL_CI: u8 = 45;
const MORE_RESULTS: u16 = 8;

/// A row of text values; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// An error that the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// MySQL's error number.
    pub number: u16,
    /// Five characters.
    pub sqlstate: String,
    /// The server's text.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {} ({}): {}", self.number, self.sqlstate, self.message)
    }
}

impl std::error::Error for ServerError {}

/// A login over a Unix socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    sequence: u8,
}

impl Client {
    /// Logs in. `patience` also bounds every later wait for an answer.
    ///
    /// # Errors
    /// No server at the socket, or a [`ServerError`] for a login that is refused.
    pub fn connect(socket: &Path, user: &str, password: &str, patience: Duration) -> Result<Client> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(patience)).context("cannot set a timeout")?;
        stream.set_write_timeout(Some(patience)).context("cannot set a timeout")?;
        let mut client = Client { stream, sequence: 0 };
        client.log_in(user, password)?;
        Ok(client)
    }

    fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        let greeting = self.read()?;
        refused(&greeting)?;
        let (plugin, nonce) = greeted(&greeting).context("a greeting that is not MySQL's")?;
        let answer = scramble(&plugin, password, &nonce)?;
        let mut login = CAPABILITIES.to_le_bytes().to_vec();
        login.extend((1_u32 << 24).to_le_bytes());
        login.push(UTF8MB4_GENERAL_CI);
        login.extend([0; 23]);
        login.extend(user.as_bytes());
        login.push(0);
        login.push(u8::try_from(answer.len()).context("a scramble is short")?);
        login.extend(answer);
        login.extend(plugin.as_bytes());
        login.push(0);
        self.write(&login)?;
        loop {
            let packet = self.read()?;
            match packet.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xfe, rest)) => {
                    let end = rest.iter().position(|byte| *byte == 0).context("a cut switch of plugin")?;
                    let (plugin, nonce) = rest.split_at(end);
                    let nonce: Vec<u8> = nonce.iter().skip(1).take(20).copied().collect();
                    self.write(&scramble(&String::from_utf8_lossy(plugin), password, &nonce)?)?;
                }
                // caching_sha2_password: 3 is "fast path taken", 4 asks for the password, which a Unix
                // socket may carry as it is.
                Some((0x01, [3])) => {}
                Some((0x01, [4])) => self.write(&[password.as_bytes(), &[0]].concat())?,
                _ => {
                    refused(&packet)?;
                    bail!("an answer to the login that is not MySQL's");
                }
            }
        }
    }

    /// Runs a text, of several statements if need be, and gives the rows of the last result set.
    ///
    /// # Errors
    /// A [`ServerError`], which `downcast_ref` finds, or a lost connection.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.sequence = 0;
        self.write(&[&[3], sql.as_bytes()].concat())?;
        let mut rows = Vec::new();
        loop {
            let head = self.read()?;
            refused(&head)?;
            let status = match head.split_first() {
                Some((0x00, rest)) => ok_status(rest).context("a cut OK packet")?,
                Some((0xfb, _)) => bail!("this client sends no files"),
                _ => {
                    let (found, status) = self.result_set(&head)?;
                    rows = found;
                    status
                }
            };
            if status & MORE_RESULTS == 0 {
                return Ok(rows);
            }
        }
    }

    /// Runs a text and gives the first value of its last result set's first row.
    ///
    /// # Errors
    /// As for [`Client::rows`]; no row; NULL.
    pub fn value(&mut self, sql: &str) -> Result<String> {
        let rows = self.rows(sql)?;
        let first = rows.into_iter().next().and_then(|row| row.into_iter().next());
        first.flatten().ok_or_else(|| anyhow!("no value answers `{sql}`"))
    }

    fn result_set(&mut self, head: &[u8]) -> Result<(Vec<Row>, u16)> {
        let (columns, _) = lenenc(head).context("a cut column count")?;
        for _ in 0..columns {
            self.read()?;
        }
        self.read()?; // the end of the columns
        let mut rows = Vec::new();
        loop {
            let packet = self.read()?;
            refused(&packet)?;
            if let [0xfe, _, _, low, high] = packet.as_slice() {
                return Ok((rows, u16::from_le_bytes([*low, *high])));
            }
            rows.push(row(&packet, columns).context("a cut row")?);
        }
    }

    /// Reads a payload, which may take several packets (16 MiB and more).
    fn read(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).context("the connection to the server is lost")?;
            let [a, b, c, sequence] = head;
            self.sequence = sequence.wrapping_add(1);
            let length = u32::from_le_bytes([a, b, c, 0]);
            let taken = (&mut self.stream).take(u64::from(length)).read_to_end(&mut payload);
            if taken.context("the connection to the server is lost")? as u64 != u64::from(length) {
                bail!("the connection to the server is lost");
            }
            if length < 0xff_ffff {
                return Ok(payload);
            }
        }
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let mut chunks: Vec<&[u8]> = payload.chunks(0xff_ffff).collect();
        if payload.len().is_multiple_of(0xff_ffff) {
            chunks.push(&[]);
        }
        for chunk in chunks {
            let [a, b, c, _] = u32::try_from(chunk.len()).context("a chunk of at most 16 MiB")?.to_le_bytes();
            let packet = [&[a, b, c, self.sequence], chunk].concat();
            self.stream.write_all(&packet).context("the connection to the server is lost")?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}

/// Turns an ERR packet into its error.
fn refused(packet: &[u8]) -> Result<()> {
    let [0xff, low, high, rest @ ..] = packet else { return Ok(()) };
    let (sqlstate, message) = match rest {
        [b'#', a, b, c, d, e, message @ ..] => (vec![*a, *b, *c, *d, *e], message),
        _ => (b"HY000".to_vec(), rest),
    };
    Err(ServerError {
        number: u16::from_le_bytes([*low, *high]),
        sqlstate: String::from_utf8_lossy(&sqlstate).into_owned(),
        message: String::from_utf8_lossy(message).into_owned(),
    }
    .into())
}

/// The default plugin's name and the nonce of a HandshakeV10.
fn greeted(packet: &[u8]) -> Option<(String, Vec<u8>)> {
    let (10, rest) = packet.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    let rest = rest.get(rest.iter().position(|byte| *byte == 0)? + 1..)?;
    let mut nonce = rest.get(4..12)?.to_vec();
    // After the first part: filler, flags, charset, status, flags, nonce length, ten reserved bytes.
    let rest = rest.get(31..)?;
    nonce.extend(rest.get(..12)?);
    let name = rest.get(13..)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Some((String::from_utf8_lossy(name.get(..end)?).into_owned(), nonce))
}

/// What proves the password to a plugin.
fn scramble(plugin: &str, password: &str, nonce: &[u8]) -> Result<Vec<u8>> {
    if password.is_empty() {
        return Ok(Vec::new());
    }
    let proof = |algorithm: &'static digest::Algorithm, nonce_first: bool| -> Vec<u8> {
        let once = digest::digest(algorithm, password.as_bytes());
        let twice = digest::digest(algorithm, once.as_ref());
        let joined =
            if nonce_first { [nonce, twice.as_ref()].concat() } else { [twice.as_ref(), nonce].concat() };
        let mask = digest::digest(algorithm, &joined);
        once.as_ref().iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect()
    };
    match plugin {
        "mysql_native_password" => Ok(proof(&digest::SHA1_FOR_LEGACY_USE_ONLY, true)),
        "caching_sha2_password" => Ok(proof(&digest::SHA256, false)),
        _ => bail!("this client does not know the authentication plugin `{plugin}`"),
    }
}

fn ok_status(rest: &[u8]) -> Option<u16> {
    let (_, rest) = lenenc(rest)?;
    let (_, rest) = lenenc(rest)?;
    Some(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]))
}

fn row(packet: &[u8], columns: u64) -> Option<Row> {
    let mut rest = packet;
    let mut values = Vec::new();
    for _ in 0..columns {
        if let Some((0xfb, after)) = rest.split_first() {
            values.push(None);
            rest = after;
            continue;
        }
        let (length, after) = lenenc(rest)?;
        let length = usize::try_from(length).ok()?;
        values.push(Some(String::from_utf8_lossy(after.get(..length)?).into_owned()));
        rest = after.get(length..)?;
    }
    Some(values)
}

/// A length-encoded integer and what follows it.
fn lenenc(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        small => return Some((u64::from(*small), rest)),
    };
    let mut wide = [0; 8];
    wide.get_mut(..width)?.copy_from_slice(rest.get(..width)?);
    Some((u64::from_le_bytes(wide), rest.get(width..)?))
}
