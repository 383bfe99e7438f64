//! A relay between a driver and its server that notes what the driver asks for: the flags of its login, the way
//! it proved its password, and its commands. It changes nothing; behind TLS it sees nothing after the login began.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

/// How many statement texts of a connection are kept: a driver's own come first.
const TEXTS_KEPT: usize = 16;
/// How much of a packet is looked at, in bytes.
const PACKET_KEPT: usize = 4096;
const LARGEST_PACKET: usize = 0xff_ffff;
const CLIENT_SSL: u32 = 0x800;
const CLIENT_PLUGIN_AUTH: u32 = 0x8_0000;

/// A command byte that drivers send (Client/Server protocol, Command Phase).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// COM_QUIT
    Quit,
    /// COM_INIT_DB
    InitDb,
    /// COM_QUERY
    Query,
    /// COM_FIELD_LIST
    FieldList,
    /// COM_STATISTICS
    Statistics,
    /// COM_PING
    Ping,
    /// COM_CHANGE_USER
    ChangeUser,
    /// COM_STMT_PREPARE
    Prepare,
    /// COM_STMT_EXECUTE
    Execute,
    /// COM_STMT_SEND_LONG_DATA
    LongData,
    /// COM_STMT_CLOSE
    Close,
    /// COM_STMT_RESET
    Reset,
    /// COM_SET_OPTION
    SetOption,
    /// COM_STMT_FETCH
    Fetch,
    /// COM_RESET_CONNECTION
    ResetConnection,
    /// Any other byte.
    Other(u8),
}

impl Command {
    fn of(byte: u8) -> Command {
        match byte {
            0x01 => Command::Quit,
            0x02 => Command::InitDb,
            0x03 => Command::Query,
            0x04 => Command::FieldList,
            0x09 => Command::Statistics,
            0x0e => Command::Ping,
            0x11 => Command::ChangeUser,
            0x16 => Command::Prepare,
            0x17 => Command::Execute,
            0x18 => Command::LongData,
            0x19 => Command::Close,
            0x1a => Command::Reset,
            0x1b => Command::SetOption,
            0x1c => Command::Fetch,
            0x1f => Command::ResetConnection,
            other => Command::Other(other),
        }
    }
}

/// How a client proved its password, as far as the wire shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// The connection ended before any proof was asked for.
    #[default]
    None,
    /// TLS began; the rest cannot be seen.
    BehindTls,
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`, and the server knew the password from an earlier login.
    FastPath,
    /// `caching_sha2_password`, the password sent whole, encrypted with the server's RSA key.
    FullRsa,
}

/// What one connection showed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The client's capability flags; zero if no login came.
    pub capabilities: u32,
    /// The client's collation id.
    pub collation: u8,
    /// How it logged in.
    pub authentication: Authentication,
    /// The plugin that the client named first.
    pub plugin: String,
    /// How often each command came.
    pub commands: BTreeMap<Command, u32>,
    /// The first texts of COM_QUERY, cut to a few hundred bytes.
    pub texts: Vec<String>,
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Mutex<Seen>>>>>,
    ending: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens on a free loopback port and relays to `target`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(target: SocketAddr) -> Result<Tap> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free for the relay")?;
        let address = listener.local_addr().context("no port is free for the relay")?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let (into, flag) = (Arc::clone(&connections), Arc::clone(&ending));
        let accepting = thread::spawn(move || accept(&listener, target, &into, &flag));
        Ok(Tap { address, connections, ending, accepting: Some(accepting) })
    }

    /// Where drivers are to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What every connection showed, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        held(&self.connections).iter().map(|one| held(one).clone()).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // wakes the accept; that it fails means nobody listens any more
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(
    listener: &TcpListener,
    target: SocketAddr,
    connections: &Mutex<Vec<Arc<Mutex<Seen>>>>,
    ending: &AtomicBool,
) {
    while let Ok((client, _)) = listener.accept() {
        if ending.load(Ordering::SeqCst) {
            return;
        }
        // a server that refuses shows itself to the driver as a closed connection
        let Ok(server) = TcpStream::connect(target) else { continue };
        let (Ok(client_copy), Ok(server_copy)) = (client.try_clone(), server.try_clone()) else { continue };
        let seen = Arc::new(Mutex::new(Seen::default()));
        held(connections).push(Arc::clone(&seen));
        let of_server = Arc::clone(&seen);
        thread::spawn(move || relay(client, server, FromClient::new(seen)));
        thread::spawn(move || relay(server_copy, client_copy, FromServer::new(of_server)));
    }
}

/// Takes part of a stream's bytes as they pass.
trait Watch {
    fn bytes(&mut self, bytes: &[u8]);
}

/// Passes bytes on until one side ends. A connection that breaks ends the relay as it would end the direct path.
fn relay(mut from: TcpStream, mut to: TcpStream, mut watch: impl Watch) {
    let direct = to.set_nodelay(true);
    let mut buffer = vec![0; 256 << 10];
    while direct.is_ok() {
        let Ok(count @ 1..) = from.read(&mut buffer) else { break };
        let Some(bytes) = buffer.get(..count) else { break };
        watch.bytes(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // both sides may be gone already
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}

/// Cuts a stream into packets and keeps the front of each.
#[derive(Default)]
struct Packets {
    head: Vec<u8>,
    front: Vec<u8>,
    missing: usize,
    /// The packet continues one of 16 MiB.
    continues: bool,
}

impl Packets {
    /// Calls `each` with the sequence id and the front of every packet that begins a payload.
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, &[u8]) -> bool) {
        while !bytes.is_empty() {
            if self.head.len() < 4 {
                let (now, later) = bytes.split_at(bytes.len().min(4 - self.head.len()));
                self.head.extend(now);
                bytes = later;
                let [a, b, c, _] = self.head.as_slice() else { return };
                self.missing = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.missing));
            let room = PACKET_KEPT.saturating_sub(self.front.len()).min(now.len());
            self.front.extend(now.iter().take(room));
            self.missing -= now.len();
            bytes = later;
            if self.missing > 0 {
                return;
            }
            let [a, b, c, sequence] = self.head.as_slice() else { return };
            let full = u32::from_le_bytes([*a, *b, *c, 0]) as usize == LARGEST_PACKET;
            let go_on = self.continues || each(*sequence, &self.front);
            self.continues = full;
            self.head.clear();
            self.front.clear();
            if !go_on {
                return;
            }
        }
    }
}

struct FromClient {
    seen: Arc<Mutex<Seen>>,
    packets: Packets,
    logged_in: bool,
    blind: bool,
}

impl FromClient {
    fn new(seen: Arc<Mutex<Seen>>) -> FromClient {
        FromClient { seen, packets: Packets::default(), logged_in: false, blind: false }
    }
}

impl Watch for FromClient {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.blind {
            return;
        }
        let FromClient { seen, packets, logged_in, blind } = self;
        packets.feed(bytes, |sequence, front| {
            let mut seen = held(seen);
            if !*logged_in {
                *logged_in = true;
                *blind = note_login(&mut seen, front);
                return !*blind;
            }
            let Some((first, text)) = front.split_first().filter(|_| sequence == 0) else { return true };
            let command = Command::of(*first);
            *seen.commands.entry(command).or_default() += 1;
            if command == Command::Query && seen.texts.len() < TEXTS_KEPT {
                let text: String = String::from_utf8_lossy(text).chars().take(1500).collect();
                seen.texts.push(text);
            }
            true
        });
    }
}

/// Notes a client's first packet and says whether TLS follows.
fn note_login(seen: &mut Seen, front: &[u8]) -> bool {
    let [a, b, c, d, _, _, _, _, collation, rest @ ..] = front else { return true };
    seen.capabilities = u32::from_le_bytes([*a, *b, *c, *d]);
    seen.collation = *collation;
    if rest.len() == 23 && seen.capabilities & CLIENT_SSL != 0 {
        seen.authentication = Authentication::BehindTls;
        return true;
    }
    if seen.capabilities & CLIENT_PLUGIN_AUTH != 0 {
        let known = ["caching_sha2_password", "mysql_native_password", "client_ed25519"];
        let named = known.into_iter().find(|name| find(rest, name.as_bytes()));
        seen.plugin = named.unwrap_or("other").to_owned();
    }
    false
}

fn find(within: &[u8], what: &[u8]) -> bool {
    within.windows(what.len()).any(|window| window == what)
}

struct FromServer {
    seen: Arc<Mutex<Seen>>,
    packets: Packets,
    number: u32,
    plugin_is_native: bool,
    done: bool,
}

impl FromServer {
    fn new(seen: Arc<Mutex<Seen>>) -> FromServer {
        FromServer { seen, packets: Packets::default(), number: 0, plugin_is_native: false, done: false }
    }
}

impl Watch for FromServer {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.done {
            return;
        }
        let FromServer { seen, packets, number, plugin_is_native, done } = self;
        packets.feed(bytes, |_, front| {
            let mut seen = held(seen);
            if seen.authentication == Authentication::BehindTls {
                *done = true;
                return false;
            }
            *number += 1;
            match front {
                _ if *number == 1 => *plugin_is_native = find(front, b"mysql_native_password"),
                [0xfe, rest @ ..] => *plugin_is_native = rest.starts_with(b"mysql_native_password"),
                [0x01, 0x03] => seen.authentication = Authentication::FastPath,
                [0x01, 0x04] => seen.authentication = Authentication::FullRsa,
                [0x00 | 0xff, ..] => {
                    if *plugin_is_native && seen.authentication == Authentication::None {
                        seen.authentication = Authentication::Native;
                    }
                    *done = true;
                }
                _ => {}
            }
            !*done
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let [a, b, c, ..] = payload.len().to_le_bytes();
        [&[a, b, c, sequence], payload].concat()
    }

    #[test]
    fn finds_packets_however_the_stream_is_cut() {
        let stream =
            [packet(0, b"\x03SELECT 1"), packet(0, b""), packet(0, b"\x0e"), packet(1, b"xyz")].concat();
        for piece in 1..stream.len() {
            let (mut packets, mut found) = (Packets::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                packets.feed(bytes, |sequence, front| {
                    found.push((sequence, front.to_vec()));
                    true
                });
            }
            let expected: Vec<(u8, Vec<u8>)> =
                vec![(0, b"\x03SELECT 1".to_vec()), (0, vec![]), (0, b"\x0e".to_vec()), (1, b"xyz".to_vec())];
            assert_eq!(found, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn takes_a_payload_of_several_packets_for_one() {
        let long = vec![b'x'; LARGEST_PACKET];
        let stream = [packet(0, &long), packet(1, b"rest"), packet(0, b"\x0e")].concat();
        let (mut packets, mut found) = (Packets::default(), Vec::new());
        packets.feed(&stream, |_, front| {
            found.push(front.len());
            true
        });
        assert_eq!(found, [PACKET_KEPT, 1]);
    }

    #[test]
    fn tells_how_a_client_logged_in() {
        let login =
            [&0x8_0200_u32.to_le_bytes()[..], &[0; 4], &[45], &[0; 23], b"u\0\0caching_sha2_password\0"]
                .concat();
        let tls = [&0x8_0a00_u32.to_le_bytes()[..], &[0; 4], &[45], &[0; 23]].concat();
        let sha2 = b"\x0a9.7.4\0 caching_sha2_password\0";
        let native = b"\x0a5.5.5\0 mysql_native_password\0";
        #[allow(clippy::type_complexity, reason = "a table of rows reads better than a type for it")]
        let rows: [(&[u8], &[u8], &[&[u8]], Authentication); 5] = [
            (&login, sha2, &[b"\x01\x03", b"\0\0\0"], Authentication::FastPath),
            (&login, sha2, &[b"\x01\x04", b"\x01-----BEGIN", b"\0\0\0"], Authentication::FullRsa),
            (&login, native, &[b"\0\0\0"], Authentication::Native),
            (&login, sha2, &[b"\xfemysql_native_password\0", b"\xff\x15\x04"], Authentication::Native),
            (&tls, sha2, &[b"anything"], Authentication::BehindTls),
        ];
        for (client, greeting, answers, expected) in rows {
            let seen = Arc::new(Mutex::new(Seen::default()));
            let (mut up, mut down) = (FromClient::new(Arc::clone(&seen)), FromServer::new(Arc::clone(&seen)));
            down.bytes(&packet(0, greeting));
            up.bytes(&packet(1, client));
            for answer in answers {
                down.bytes(&packet(2, answer));
            }
            assert_eq!(held(&seen).authentication, expected);
        }
    }
}
