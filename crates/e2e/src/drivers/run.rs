//! Runs a driver's program against an endpoint and takes what it printed.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_testkit::Flavour;

use super::tap::{Seen, Tap};

/// No program takes a quarter of this on two busy cores.
const DEADLINE: Duration = Duration::from_secs(180);

/// Where a driver is to connect: a server, or a gateway in front of one.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A listener of TCP.
    pub address: SocketAddr,
    /// The user name to log in with.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database that is the program's own.
    pub database: String,
    /// The certificate (PEM) of the authority that signed the listener's.
    pub ca: PathBuf,
    /// Which server answers in the end.
    pub flavour: Flavour,
}

/// What a driver is told about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nothing: what the driver does by itself.
    Default,
    /// None.
    Off,
    /// TLS, any certificate.
    Required,
    /// TLS, a certificate of the endpoint's authority.
    Verify,
}

impl Tls {
    pub(super) fn word(self) -> &'static str {
        match self {
            Tls::Default => "default",
            Tls::Off => "off",
            Tls::Required => "required",
            Tls::Verify => "verify",
        }
    }
}

/// What a program printed, and what its connections showed on the way.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The lines of its standard output.
    pub lines: Vec<String>,
    /// Its connections, in order.
    pub seen: Vec<Seen>,
    /// How long it took.
    pub took: Duration,
}

/// Runs `command` with the endpoint in its environment, through a relay that looks on.
///
/// # Errors
/// The program fails or takes too long; what it said on standard error is in the text.
pub(super) fn run(command: &mut Command, endpoint: &Endpoint) -> Result<Outcome> {
    let tap = Tap::start(endpoint.address)?;
    command
        .stdin(Stdio::null())
        .env("DRIVER_HOST", "127.0.0.1")
        .env("DRIVER_PORT", tap.address().port().to_string())
        .env("DRIVER_USER", &endpoint.user)
        .env("DRIVER_PASSWORD", &endpoint.password)
        .env("DRIVER_DATABASE", &endpoint.database)
        .env("DRIVER_CA", &endpoint.ca)
        .env("DRIVER_SERVER", endpoint.flavour.name());
    let began = Instant::now();
    let output = output(command, DEADLINE)?;
    Ok(Outcome { lines: lines(&output), seen: tap.seen(), took: began.elapsed() })
}

pub(super) fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

/// A command's standard output; an error if it does not end well in time.
pub(super) fn output(command: &mut Command, patience: Duration) -> Result<Vec<u8>> {
    let (status, out, err) = finish(command, patience)?;
    if !status.success() {
        bail!(
            "{} ended with {status}:\n{}\nits output ended with:\n{}",
            name(command),
            ends(&err),
            tail(&out)
        );
    }
    Ok(out)
}

/// A command's standard output and standard error, whatever its exit status.
pub(super) fn output_of(command: &mut Command, patience: Duration) -> Result<(Vec<u8>, Vec<u8>)> {
    let (_, out, err) = finish(command, patience)?;
    Ok((out, err))
}

fn name(command: &Command) -> String {
    format!("{command:?}").chars().take(300).collect()
}

fn finish(command: &mut Command, patience: Duration) -> Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", name(command)))?;
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let status = wait(&mut child, patience)?;
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    match status {
        Some(status) => Ok((status, out, err)),
        None => bail!(
            "{} took more than {} s:\n{}\nits output ended with:\n{}",
            name(command),
            patience.as_secs(),
            ends(&err),
            tail(&out)
        ),
    }
}

/// Where a program names its error: first, or behind the calls that led to it.
fn ends(output: &[u8]) -> String {
    let lines = lines(output);
    if lines.len() <= 20 {
        return lines.join("\n");
    }
    let (first, last) = (lines.iter().take(10), lines.iter().skip(lines.len() - 10));
    first.chain(last).cloned().collect::<Vec<_>>().join("\n")
}

fn tail(output: &[u8]) -> String {
    let lines = lines(output);
    lines.iter().skip(lines.len().saturating_sub(10)).cloned().collect::<Vec<_>>().join("\n")
}

fn collect<R: Read + Send + 'static>(from: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // a pipe that breaks ends the output; the exit status tells why
        if let Some(mut from) = from {
            drop(from.read_to_end(&mut bytes));
        }
        bytes
    })
}

/// The exit status, or nothing if the child had to be killed.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill().context("cannot kill a program that hangs")?;
            child.wait().context("cannot wait for a program")?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
