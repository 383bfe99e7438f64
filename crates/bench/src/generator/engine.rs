//! Clients in a closed loop on one thread: each sends its next statement as soon as it has its answer.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::answer::{Answer, Expected, Verdict};
use super::connection::Connection;
use super::histogram::Histogram;
use super::job::{Measured, Target};
use crate::process_stat::cpu_us;
use crate::workload::{PREPARED, Script, Workload, query};

/// How long clients may take to end what they began when a run is over.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// A read takes at most this much, so that a large result is read in few calls.
const READ_BYTES: usize = 256 << 10;

/// All clients of one workload, logged in to every target.
#[derive(Debug)]
pub(crate) struct Engine {
    poll: Poll,
    workload: Workload,
    clients: u32,
    targets: Vec<Target>,
    servers: Vec<u32>,
    /// Those of the first target, then those of the second …
    all: Vec<Client>,
    buffer: Vec<u8>,
    request: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    /// None once the connection was lost, until the next run.
    stream: Option<TcpStream>,
    prepared: u32,
    script: Script,
    /// The answer that is awaited; nothing is while idle.
    answer: Option<Answer>,
    sent: Instant,
    begun: Instant,
}

/// What one run counts.
struct Run {
    stage: Stage,
    statements: Histogram,
    transactions: Histogram,
    answered: u64,
    errors: u64,
    first_error: Option<String>,
    /// Clients that await an answer.
    active: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    WarmUp,
    Measure,
    Drain,
}

/// CPU time in microseconds.
#[derive(Clone, Copy)]
struct Cpu {
    proxy: u64,
    servers: u64,
}

impl Engine {
    /// Logs all clients in.
    pub(crate) fn log_in(
        workload: Workload,
        clients: u32,
        rows: u32,
        targets: Vec<Target>,
        servers: Vec<u32>,
    ) -> Result<Self> {
        let mut all = Vec::new();
        let now = Instant::now();
        for _ in &targets {
            for index in 0..clients {
                let script = Script::new(workload, rows, index, clients);
                all.push(Client { stream: None, prepared: 0, script, answer: None, sent: now, begun: now });
            }
        }
        let mut engine = Self {
            poll: Poll::new().context("cannot make an epoll instance")?,
            workload,
            clients,
            targets,
            servers,
            all,
            buffer: vec![0; READ_BYTES],
            request: Vec::new(),
        };
        for target in 0..engine.targets.len() {
            engine.connect_missing(target)?;
        }
        Ok(engine)
    }

    /// Loads a target: warms up, measures, and lets every client end what it began.
    pub(crate) fn run(&mut self, target: usize, warm_up: Duration, measure: Duration) -> Result<Measured> {
        self.connect_missing(target)?;
        let mut run = Run::new();
        let mut events = Events::with_capacity(self.clients as usize + 1);
        let begun = Instant::now();
        for index in self.indexes(target) {
            if let Some(client) = self.all.get_mut(index) {
                client.script.rewind();
            }
            self.send_next(index, begun, &mut run);
        }
        let mut change_at = begun + warm_up;
        let mut window_begun = begun;
        let mut before = self.cpu(target)?;
        let mut used = Cpu { proxy: 0, servers: 0 };
        let mut seconds = 0.0;
        while run.active > 0 {
            let patience = change_at.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(error).context("cannot wait for answers");
                }
                _ => {}
            }
            for event in &events {
                self.read(event.token().0, &mut run);
            }
            if Instant::now() < change_at {
                continue;
            }
            match run.stage {
                Stage::WarmUp => {
                    before = self.cpu(target)?;
                    window_begun = Instant::now();
                    change_at = window_begun + measure;
                    run.stage = Stage::Measure;
                }
                Stage::Measure => {
                    let after = self.cpu(target)?;
                    seconds = window_begun.elapsed().as_secs_f64();
                    used = Cpu {
                        proxy: after.proxy.saturating_sub(before.proxy),
                        servers: after.servers.saturating_sub(before.servers),
                    };
                    change_at = Instant::now() + DRAIN_DEADLINE;
                    run.stage = Stage::Drain;
                }
                Stage::Drain => bail!(
                    "{} of {} clients got no answer within {} s",
                    run.active,
                    self.clients,
                    DRAIN_DEADLINE.as_secs()
                ),
            }
        }
        if run.stage != Stage::Drain {
            bail!("every client failed: {}", run.first_error.unwrap_or_default());
        }
        Ok(Measured {
            statements: run.answered,
            seconds,
            p50_us: run.statements.quantile_us(0.5),
            p99_us: run.statements.quantile_us(0.99),
            transaction_p50_us: run.transactions.quantile_us(0.5),
            transaction_p99_us: run.transactions.quantile_us(0.99),
            proxy_cpu_us: used.proxy as f64,
            server_cpu_us: used.servers as f64,
            errors: run.errors,
            first_error: run.first_error,
        })
    }

    fn indexes(&self, target: usize) -> std::ops::Range<usize> {
        let clients = self.clients as usize;
        target * clients..(target + 1) * clients
    }

    /// Logs in those clients of a target that are not, or no more.
    fn connect_missing(&mut self, target: usize) -> Result<()> {
        let indexes = self.indexes(target);
        let whereto = self.targets.get(target).context("no such target")?;
        for index in indexes {
            let Some(client) = self.all.get_mut(index).filter(|client| client.stream.is_none()) else {
                continue;
            };
            let mut connection = Connection::open(whereto, self.workload.deprecates_eof(), None)?;
            let dirt = client.script.dirt();
            if let Some(sets) = &dirt.sets {
                query(&mut self.request, format_args!("{sets}"));
                connection.ask(&self.request, Expected::Changed { rows: 0 })?;
            }
            if dirt.prepares {
                client.prepared = connection.prepare(PREPARED)?;
            }
            let mut stream = TcpStream::from_std(connection.into_nonblocking()?);
            let registry = self.poll.registry();
            registry
                .register(&mut stream, Token(index), Interest::READABLE)
                .context("cannot watch a connection")?;
            client.stream = Some(stream);
            client.answer = None;
        }
        Ok(())
    }

    fn cpu(&self, target: usize) -> Result<Cpu> {
        let proxy = self.targets.get(target).and_then(|target| target.proxy);
        let mut cpu = Cpu { proxy: proxy.map_or(Ok(0), cpu_us)?, servers: 0 };
        for server in &self.servers {
            cpu.servers += cpu_us(*server)?;
        }
        Ok(cpu)
    }

    /// Reads what a connection has. Events come once for what arrives (edge-triggered): a read that fills less
    /// than the buffer has emptied the socket (epoll(7), question 9), and no second read is needed to see it.
    fn read(&mut self, index: usize, run: &mut Run) {
        loop {
            let Some(client) = self.all.get_mut(index) else { return };
            let Some(stream) = client.stream.as_mut() else { return };
            let read = match stream.read(&mut self.buffer) {
                Ok(0) => return self.lose(index, run, "the connection was closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.lose(index, run, &error.to_string()),
            };
            let Some(answer) = client.answer.as_mut() else {
                return self.lose(index, run, "bytes that nobody asked for");
            };
            match answer.feed(self.buffer.get(..read).unwrap_or_default()) {
                Ok(Some(verdict)) => return self.answered(index, verdict, run),
                Ok(None) if read < self.buffer.len() => return,
                Ok(None) => {}
                Err(broken) => return self.lose(index, run, broken.0),
            }
        }
    }

    fn answered(&mut self, index: usize, verdict: Verdict, run: &mut Run) {
        let now = Instant::now();
        let Some(client) = self.all.get_mut(index) else { return };
        client.answer = None;
        run.active -= 1;
        let is_measured = run.stage == Stage::Measure;
        if verdict == Verdict::Right {
            if is_measured {
                run.answered += 1;
                run.statements.record(nanoseconds(now, client.sent));
                if self.workload.statements() > 1 && client.script.is_at_end() {
                    run.transactions.record(nanoseconds(now, client.begun));
                }
            }
        } else {
            run.error(|| format!("{verdict:?}"));
            if let Some(expected) = client.script.give_up(&mut self.request) {
                return self.send(index, expected, now, run);
            }
        }
        if run.stage != Stage::Drain || !client.script.is_at_end() {
            self.send_next(index, now, run);
        }
    }

    fn send_next(&mut self, index: usize, now: Instant, run: &mut Run) {
        let Some(client) = self.all.get_mut(index) else { return };
        if client.script.is_at_end() {
            client.begun = now;
        }
        let expected = client.script.next(client.prepared, &mut self.request);
        self.send(index, expected, now, run);
    }

    fn send(&mut self, index: usize, expected: Expected, now: Instant, run: &mut Run) {
        let Some(client) = self.all.get_mut(index) else { return };
        let Some(stream) = client.stream.as_mut() else { return };
        client.sent = now;
        client.answer = Some(Answer::new(expected, self.workload.deprecates_eof()));
        run.active += 1;
        // A request of some hundred bytes always has room in the buffer of a socket that waits for its answer.
        match stream.write(&self.request) {
            Ok(written) if written == self.request.len() => {}
            Ok(_) => self.lose(index, run, "the socket took half a request"),
            Err(error) => self.lose(index, run, &error.to_string()),
        }
    }

    fn lose(&mut self, index: usize, run: &mut Run, why: &str) {
        run.error(|| why.to_owned());
        if let Some(client) = self.all.get_mut(index) {
            client.stream = None;
            if client.answer.take().is_some() {
                run.active -= 1;
            }
        }
    }
}

impl Run {
    fn new() -> Self {
        Self {
            stage: Stage::WarmUp,
            statements: Histogram::new(),
            transactions: Histogram::new(),
            answered: 0,
            errors: 0,
            first_error: None,
            active: 0,
        }
    }

    fn error(&mut self, what: impl FnOnce() -> String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(what);
    }
}

fn nanoseconds(now: Instant, then: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(then).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
