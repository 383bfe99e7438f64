//! Many clients in a closed loop on one thread: each sends its statement again as soon as it has the answer. As cheap
//! as it can be, so that what is measured is the other side.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_wire::command::com;
use weir_wire::framer::{HEADER_LEN, Header};
use weir_wire::response;

use crate::client::{Client, Endpoint, Login};

/// Logins at the same time.
const LOGIN_THREADS: usize = 4;
const READ_BYTES: usize = 16 << 10;
/// An answer that takes longer never comes.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Lets this process, and what it starts from now on, open as many files as the machine allows.
///
/// # Errors
/// It allows fewer than `needed`.
pub fn raise_file_limit(needed: u64) -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    ensure!(maximum.is_none_or(|maximum| maximum >= needed), "{needed} open files are needed");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot raise the file limit")
}

/// What the clients of a run saw.
#[derive(Debug)]
pub struct Waits {
    /// Answers by client.
    pub answers: Vec<u64>,
    /// All waits for an answer, sorted.
    pub waits: Vec<Duration>,
    /// For each of them, how many answers came for others meanwhile; sorted too.
    pub turns: Vec<u64>,
    /// How long was measured.
    pub took: Duration,
}

impl Waits {
    /// The wait that half of all are not above.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.waits.get(self.waits.len() / 2).copied().unwrap_or_default()
    }

    /// The median and the most answers that others got while one waited. It does not depend on how fast the machine
    /// was meanwhile.
    #[must_use]
    pub fn turns_median_and_most(&self) -> (u64, u64) {
        let at = |index: usize| self.turns.get(index).copied().unwrap_or_default();
        (at(self.turns.len() / 2), at(self.turns.len().saturating_sub(1)))
    }

    /// The longest wait.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.waits.last().copied().unwrap_or_default()
    }

    /// The fewest answers of a client, and the median.
    #[must_use]
    pub fn fewest_and_median(&self) -> (u64, u64) {
        let mut counts = self.answers.clone();
        counts.sort_unstable();
        let at = |index: usize| counts.get(index).copied().unwrap_or_default();
        (at(0), at(counts.len() / 2))
    }
}

/// Clients that are logged in.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    clients: Vec<Looping>,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// Answers to all clients so far.
    turn: u64,
}

#[derive(Debug)]
struct Looping {
    stream: TcpStream,
    /// What came of an answer so far.
    partial: Vec<u8>,
    sent: Instant,
    /// Answers to all clients up to then.
    sent_at_turn: u64,
    answers: u64,
}

impl Load {
    /// Logs `count` clients in. Each will send `sql`, whose answer is one result of few rows.
    ///
    /// # Errors
    /// A login fails.
    pub fn log_in(endpoint: &Endpoint, login: &Login, count: usize, sql: &str) -> Result<Load> {
        let poll = Poll::new().context("cannot make an epoll instance")?;
        let streams = std::thread::scope(|scope| {
            let share = |n: usize| count / LOGIN_THREADS + usize::from(n < count % LOGIN_THREADS);
            let connect = |_| Ok(Client::connect(endpoint, login)?.into_tcp()?);
            let threads: Vec<_> = (0..LOGIN_THREADS)
                .map(|n| scope.spawn(move || (0..share(n)).map(connect).collect::<Result<Vec<_>>>()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread ended early"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        let mut clients = Vec::new();
        for (index, stream) in streams.into_iter().flatten().enumerate() {
            stream.set_nonblocking(true).context("cannot set a socket not to block")?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)
                .context("cannot watch a socket")?;
            clients.push(Looping {
                stream,
                partial: Vec::new(),
                sent: Instant::now(),
                sent_at_turn: 0,
                answers: 0,
            });
        }
        let mut request = Vec::new();
        weir_wire::write_packet(&mut request, 0, &[&[com::QUERY], sql.as_bytes()].concat());
        Ok(Load { poll, clients, request, buffer: vec![0; READ_BYTES], turn: 0 })
    }

    /// Runs; what was sent during the warm-up is not counted. Every statement sent is waited for.
    ///
    /// # Errors
    /// Any client gets an error, or no answer.
    pub fn run(&mut self, warm_up: Duration, measure: Duration) -> Result<Waits> {
        for client in &mut self.clients {
            client.answers = 0;
        }
        let begun = Instant::now();
        let counted_from = begun + warm_up;
        let until = counted_from + measure;
        let (mut waits, mut turns) = (Vec::new(), Vec::new());
        for index in 0..self.clients.len() {
            self.send(index)?;
        }
        let mut running = self.clients.len();
        let mut events = Events::with_capacity(1024);
        while running > 0 {
            match self.poll.poll(&mut events, Some(Duration::from_secs(1))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(error).context("cannot wait");
                }
                _ => {}
            }
            for event in &events {
                let index = event.token().0;
                if !self.read(index)? {
                    continue;
                }
                let now = Instant::now();
                self.turn += 1;
                let Some(client) = self.clients.get_mut(index) else { continue };
                if client.sent >= counted_from {
                    waits.push(now - client.sent);
                    turns.push(self.turn - client.sent_at_turn);
                    client.answers += 1;
                }
                if now < until {
                    self.send(index)?;
                } else {
                    running -= 1;
                }
            }
            ensure!(Instant::now() < until + DRAIN_DEADLINE, "{running} clients wait for an answer in vain");
        }
        waits.sort_unstable();
        turns.sort_unstable();
        let answers = self.clients.iter().map(|client| client.answers).collect();
        Ok(Waits { answers, waits, turns, took: measure })
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        client.sent = Instant::now();
        client.sent_at_turn = self.turn;
        let written = client.stream.write(&self.request).context("the connection is lost")?;
        ensure!(written == self.request.len(), "the socket took half a request");
        Ok(())
    }

    /// Reads what came. True if that completes the answer.
    fn read(&mut self, index: usize) -> Result<bool> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(false) };
        loop {
            match client.stream.read(&mut self.buffer) {
                Ok(0) => bail!("the connection was closed"),
                Ok(read) => {
                    client.partial.extend_from_slice(self.buffer.get(..read).unwrap_or_default());
                    if read == self.buffer.len() {
                        continue;
                    }
                    let whole = is_whole(&client.partial)?;
                    if whole {
                        client.partial.clear();
                    }
                    return Ok(whole);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the connection is lost"),
            }
        }
    }
}

/// Does a result end here? With DEPRECATE_EOF its only packet that begins with 0xFE is the last.
fn is_whole(mut bytes: &[u8]) -> Result<bool> {
    while let Some(header) = Header::parse(bytes) {
        let Some(payload) = bytes.get(HEADER_LEN..HEADER_LEN + header.len) else { return Ok(false) };
        bytes = bytes.get(HEADER_LEN + header.len..).unwrap_or_default();
        match payload.first() {
            Some(&response::ERR) => bail!("error: {}", payload.escape_ascii()),
            Some(&response::EOF) => {
                ensure!(bytes.is_empty(), "bytes after an answer");
                return Ok(true);
            }
            _ => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_end_and_not_before() {
        let mut answer = Vec::new();
        for (sequence, payload) in
            [&b"\x01"[..], b"\x03def", b"\x0210", b"\xfe\0\0\x02\0\0\0"].iter().enumerate()
        {
            weir_wire::write_packet(&mut answer, u8::try_from(sequence).unwrap() + 1, payload);
        }
        for cut in 0..answer.len() {
            assert!(!is_whole(&answer[..cut]).unwrap(), "{cut}");
        }
        assert!(is_whole(&answer).unwrap());
        assert!(is_whole(&[&answer[..], b"x"].concat()).is_err());
        let mut error = Vec::new();
        weir_wire::write_packet(&mut error, 1, b"\xff\xb3\x04#42000no");
        assert!(is_whole(&error).is_err());
    }
}
