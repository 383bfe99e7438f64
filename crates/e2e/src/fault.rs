//! A relay that does damage on demand: cuts connections at a byte, answers in the server's place.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net;

/// Whose bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Those of who connects to the relay.
    Client,
    /// Those of whom it relays to.
    Server,
}

/// What becomes of a connection after the relay has spoken in the server's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is closed.
    Close,
    /// It stays open, and nothing more comes.
    Silence,
}

/// A damage, done once to whichever connection meets it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// After so many more bytes of one side, both sides are closed.
    Cut(From, usize),
    /// A packet of the client in which these bytes occur does not reach the server, and is answered with those.
    Answer(Vec<u8>, Vec<u8>, Then),
    /// The next connection reaches no server, and is greeted with these bytes.
    Greet(Vec<u8>, Then),
}

/// A running relay. Dropping it ends it, and every connection through it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The address that the server sees its clients at.
    source: Ipv4Addr,
    target: SocketAddr,
    fault: Mutex<Option<Fault>>,
    /// Those that are open; they belong to the threads that read them.
    sockets: Mutex<Vec<Weak<TcpStream>>>,
    /// Those that nobody reads.
    silent: Mutex<Vec<TcpStream>>,
    from_client: AtomicU64,
    from_server: AtomicU64,
    ending: AtomicBool,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1 and relays to another one.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(target: u16) -> Result<Relay> {
        Relay::start_between(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, target)
    }

    /// The same on another loopback address: under a name that a certificate does not have.
    ///
    /// # Errors
    /// No port is free.
    pub fn start_at(host: Ipv4Addr, target: u16) -> Result<Relay> {
        Relay::start_between(host, Ipv4Addr::LOCALHOST, target)
    }

    /// The same, and the server sees its clients at another loopback address: servers trust 127.0.0.1 more than others.
    ///
    /// # Errors
    /// No port is free.
    pub fn start_between(host: Ipv4Addr, source: Ipv4Addr, target: u16) -> Result<Relay> {
        let listener = TcpListener::bind((host, 0)).context("no port is free for the relay")?;
        let address = listener.local_addr().context("no port is free for the relay")?;
        let shared = Arc::new(Shared {
            source,
            target: SocketAddr::from(([127, 0, 0, 1], target)),
            fault: Mutex::default(),
            sockets: Mutex::default(),
            silent: Mutex::default(),
            from_client: AtomicU64::new(0),
            from_server: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, &own));
        Ok(Relay { address, shared, accepting: Some(accepting) })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next damage, in place of one that has not met a connection yet.
    pub fn arm(&self, fault: Fault) {
        *held(&self.shared.fault) = Some(fault);
    }

    /// No damage from now on. `true` if the last one was done.
    pub fn disarm(&self) -> bool {
        held(&self.shared.fault).take().is_none()
    }

    /// How many bytes of one side have passed.
    #[must_use]
    pub fn passed(&self, from: From) -> u64 {
        self.shared.passed(from).load(Ordering::SeqCst)
    }

    /// Closes every connection now.
    pub fn cut_all(&self) {
        held(&self.shared.sockets).drain(..).filter_map(|socket| socket.upgrade()).for_each(|s| close(&s));
        held(&self.shared.silent).clear();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // wakes the accept; that it fails means nobody listens any more
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        self.cut_all();
    }
}

/// What a relay does with bytes that came.
enum Do {
    /// All of them pass.
    Pass,
    /// So many pass, then the connection ends.
    PassAndCut(usize),
    /// None passes; this goes back.
    Answer(Vec<u8>, Then),
}

impl Shared {
    fn passed(&self, from: From) -> &AtomicU64 {
        match from {
            From::Client => &self.from_client,
            From::Server => &self.from_server,
        }
    }

    fn decide(&self, from: From, bytes: &[u8]) -> Do {
        let mut fault = held(&self.fault);
        match fault.take() {
            Some(Fault::Cut(side, left)) if side == from => {
                if left < bytes.len() {
                    return Do::PassAndCut(left);
                }
                *fault = Some(Fault::Cut(side, left - bytes.len()));
            }
            Some(Fault::Answer(marker, answer, then)) if from == From::Client && has(bytes, &marker) => {
                return Do::Answer(answer, then);
            }
            other => *fault = other,
        }
        Do::Pass
    }
}

fn has(bytes: &[u8], marker: &[u8]) -> bool {
    memchr::memmem::find(bytes, marker).is_some()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That the other side has closed already is as good.
fn close(socket: &TcpStream) {
    drop(socket.shutdown(Shutdown::Both));
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let greeting = {
            let mut fault = held(&shared.fault);
            match fault.take() {
                Some(Fault::Greet(bytes, then)) => Some((bytes, then)),
                other => {
                    *fault = other;
                    None
                }
            }
        };
        match greeting {
            Some((bytes, then)) => speak(client, &bytes, then, shared),
            None => connect(client, shared),
        }
    }
}

/// Says something in the server's place. Silence holds the connection open until the relay ends.
fn speak(mut client: TcpStream, bytes: &[u8], then: Then, shared: &Shared) {
    // who connected may not want to hear it
    drop(client.write_all(bytes));
    match then {
        Then::Close => close(&client),
        Then::Silence => held(&shared.silent).push(client),
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) {
    // a server that refuses shows itself as a closed connection
    let Ok(server) = dial(shared.source, shared.target) else { return };
    let (client, server) = (Arc::new(client), Arc::new(server));
    {
        let mut sockets = held(&shared.sockets);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.extend([Arc::downgrade(&client), Arc::downgrade(&server)]);
    }
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    let (from, to) = (Arc::clone(&client), Arc::clone(&server));
    thread::spawn(move || relay(&from, &to, From::Client, &up));
    thread::spawn(move || relay(&server, &client, From::Server, &down));
}

fn dial(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from((source, 0)))?;
    net::connect(&socket, &target)?;
    Ok(socket.into())
}

/// Passes bytes on until one side ends or the damage is done.
fn relay(mut from: &TcpStream, mut to: &TcpStream, side: From, shared: &Shared) {
    let direct = to.set_nodelay(true);
    let mut buffer = vec![0; 64 << 10];
    while direct.is_ok() {
        let Ok(count @ 1..) = from.read(&mut buffer) else { break };
        let Some(bytes) = buffer.get(..count) else { break };
        let (pass, cut) = match shared.decide(side, bytes) {
            Do::Pass => (count, false),
            Do::PassAndCut(pass) => (pass, true),
            Do::Answer(answer, then) => {
                if from.write_all(&answer).is_err() || then == Then::Close {
                    break;
                }
                continue;
            }
        };
        let Some(bytes) = buffer.get(..pass) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
        shared.passed(side).fetch_add(pass as u64, Ordering::SeqCst);
        if cut {
            break;
        }
    }
    close(to);
    close(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> TcpListener {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let copy = listener.try_clone().unwrap();
        thread::spawn(move || {
            while let Ok((mut socket, _)) = copy.accept() {
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = socket.read(&mut buffer) {
                        if socket.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        listener
    }

    fn say(relay: &Relay, text: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(("127.0.0.1", relay.port())).unwrap();
        socket.write_all(text).unwrap();
        let mut back = vec![0; text.len()];
        let mut have = 0;
        while have < back.len() {
            match socket.read(&mut back[have..]) {
                Ok(count @ 1..) => have += count,
                _ => break,
            }
        }
        back.truncate(have);
        back
    }

    #[test]
    fn does_each_damage_once_and_nothing_otherwise() {
        let server = echo();
        let relay = Relay::start(server.local_addr().unwrap().port()).unwrap();
        assert_eq!(say(&relay, b"hello"), b"hello");
        relay.arm(Fault::Cut(From::Server, 2));
        assert_eq!(say(&relay, b"hello"), b"he");
        assert!(relay.disarm());
        relay.arm(Fault::Cut(From::Client, 3));
        assert!(b"hel".starts_with(&say(&relay, b"hello")));
        assert_eq!(say(&relay, b"hello"), b"hello");
        relay.arm(Fault::Answer(b"ell".to_vec(), b"bye".to_vec(), Then::Close));
        assert_eq!(say(&relay, b"other"), b"other");
        assert_eq!(say(&relay, b"hello"), b"bye");
        relay.arm(Fault::Greet(b"go".to_vec(), Then::Close));
        assert!(b"go".starts_with(&say(&relay, b"hello")));
        relay.arm(Fault::Cut(From::Client, 100));
        assert_eq!(say(&relay, b"hello"), b"hello");
        assert!(!relay.disarm());
    }
}
