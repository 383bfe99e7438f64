//! Weir's own program, started for a test: configuration in a folder of its own, ports that nobody else has.

mod binary;
mod metrics;
mod namespace;
mod path;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use toml::{Table, Value};
use weir_testkit::Cluster;
use weir_wire::greeting::{FirstServerPacket, Greeting};

use crate::client::{Client, Endpoint, Failure, Login, Packet};

pub use metrics::Metrics;
pub use namespace::{Namespace, User};

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// How long an orderly end may take beyond the drain itself.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const START_ATTEMPTS: u32 = 3;
const LOG_LINES_SHOWN: usize = 40;
const SOCKET: &str = "weir.sock";
/// If this is set in the environment, every Weir's log is shown at its end.
const SHOW_LOG: &str = "WEIR_E2E_LOG";

/// How to start Weir. `Options::on`, then change what differs.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it serves.
    pub namespaces: Vec<Namespace>,
    /// Also listens on a Unix socket in its folder.
    pub unix_socket: bool,
    /// The process's own settings; addresses and folders are put in at the start.
    pub settings: Table,
    /// The version with which it greets once a primary was reached; nothing if none is to be waited for.
    pub greets_with: Option<String>,
    /// What is set in its environment.
    pub environment: Vec<(String, String)>,
}

impl Options {
    /// One namespace, `app`, in front of a whole cluster; user and password are those of the backend account, so that
    /// the servers' messages name the same user as without Weir.
    ///
    /// # Errors
    /// The cluster has no primary.
    pub fn on(cluster: &Cluster) -> Result<Options> {
        Ok(Options::of(vec![Namespace::on(cluster, "app")?]).greeting(cluster.version()))
    }

    /// These namespaces.
    #[must_use]
    pub fn of(namespaces: Vec<Namespace>) -> Options {
        Options {
            namespaces,
            unix_socket: false,
            settings: Table::from_iter([("listeners".to_owned(), Value::Array(vec![Table::new().into()]))]),
            greets_with: None,
            environment: Vec::new(),
        }
    }

    /// Waits at the start until it greets with this version.
    #[must_use]
    pub fn greeting(mut self, version: &str) -> Options {
        self.greets_with = Some(version.to_owned());
        self
    }

    /// Sets a key of every namespace, as [`Namespace::set`].
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Options {
        let value = value.into();
        self.namespaces =
            self.namespaces.into_iter().map(|namespace| namespace.set(path, value.clone())).collect();
        self
    }

    /// Sets a key of the process's own settings: `limits.client_connections`, `listeners.0.tls`.
    #[must_use]
    pub fn process(mut self, path: &str, value: impl Into<Value>) -> Options {
        path::set(&mut self.settings, path, value.into());
        self
    }

    /// Users of the first namespace.
    #[must_use]
    pub fn users(mut self, users: Vec<User>) -> Options {
        if let Some(first) = self.namespaces.first_mut() {
            *first = first.clone().users_are(users);
        }
        self
    }

    /// Does a connection begin with a PROXY header?
    fn is_behind_proxy(&self) -> bool {
        let listener = self.settings.get("listeners").and_then(|listeners| listeners.get(0));
        listener.is_some_and(|listener| listener.get("proxy_protocol_from").is_some())
    }
}

/// A running Weir. Dropping it ends it at once.
#[derive(Debug)]
pub struct Weir {
    folder: TempDir,
    options: Options,
    child: Child,
    port: u16,
    http: u16,
}

impl Weir {
    /// Writes the configuration, starts the program and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be built or started, ends, or does not get ready; the end of its log is in the text.
    pub fn start(options: &Options) -> Result<Weir> {
        let binary = binary::find()?;
        let folder = tempfile::Builder::new().prefix("weir-e2e-").tempdir().context("no temporary folder")?;
        fs::create_dir(folder.path().join("namespaces")).context("cannot create a folder")?;
        write_namespaces(folder.path(), &options.namespaces)?;
        let (port, http) = free_ports()?;
        write_settings(folder.path(), options, port, http)?;
        let child = spawn(&binary, folder.path(), options)?;
        let mut weir = Weir { folder, options: options.clone(), child, port, http };
        for attempt in 1.. {
            let Err(error) = weir.wait_until_ready() else { break };
            // somebody took the port meanwhile
            if attempt == START_ATTEMPTS || !weir.log().contains("another process listens") {
                bail!("{error:#}; its log ends with:\n{}", weir.log_tail());
            }
            weir.kill()?;
            (weir.port, weir.http) = free_ports()?;
            write_settings(weir.folder.path(), options, weir.port, weir.http)?;
            weir.child = spawn(&binary, weir.folder.path(), options)?;
        }
        Ok(weir)
    }

    /// Starts the program in front of one server, from the command line alone: `account` is what its file says. Waits
    /// until it greets with the server's version.
    ///
    /// # Errors
    /// As for [`Weir::start`].
    pub fn in_front_of(server: u16, account: &str, version: &str) -> Result<Weir> {
        let binary = binary::find()?;
        let folder = tempfile::Builder::new().prefix("weir-e2e-").tempdir().context("no temporary folder")?;
        fs::write(folder.path().join("account.toml"), account).context("cannot write the account")?;
        let (port, http) = free_ports()?;
        let options = Options::of(Vec::new()).greeting(version);
        let arguments = [
            "--server".to_owned(),
            format!("127.0.0.1:{server}"),
            "--account".to_owned(),
            folder.path().join("account.toml").display().to_string(),
            "--listen".to_owned(),
            format!("127.0.0.1:{port}"),
            "--metrics".to_owned(),
            format!("127.0.0.1:{http}"),
            "--data-dir".to_owned(),
            folder.path().join("data").display().to_string(),
        ];
        let child = spawn_with(&binary, folder.path(), &options, &arguments)?;
        let mut weir = Weir { folder, options, child, port, http };
        if let Err(error) = weir.wait_until_ready() {
            bail!("{error:#}; its log ends with:\n{}", weir.log_tail());
        }
        Ok(weir)
    }

    /// What `weir check --live` says of its configuration.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn check_live(&self) -> Result<String> {
        let mut check = Command::new(binary::find()?);
        check.args(["check", "--live", "--config"]).arg(self.folder.path().join("weir.toml"));
        let output = check.output().context("cannot run weir check")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where clients connect.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::port(self.port)
    }

    /// The TCP port for clients, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The Unix socket, if it was asked for.
    #[must_use]
    pub fn socket(&self) -> Endpoint {
        Endpoint::Unix(self.folder.path().join(SOCKET))
    }

    /// The certificate that it made for itself, which is its own authority.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/server-cert.pem")
    }

    /// Its folder: `weir.toml`, `namespaces/`, `data/`, `weir.log`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The login of the first namespace's first user.
    #[must_use]
    pub fn login(&self) -> Login {
        let user = self.options.namespaces.first().and_then(|namespace| namespace.users().into_iter().next());
        user.map_or_else(|| Login::new("", ""), |user| Login::new(&user.name, &user.password))
    }

    /// Logs in as that user.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.endpoint(), &self.login())
    }

    /// Logs in.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect(&self, login: &Login) -> Result<Client, Failure> {
        Client::connect(&self.endpoint(), login)
    }

    /// What `/metrics` shows.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, body) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics answers {status}: {body}");
        Metrics::parse(&body)
    }

    /// Waits until the metrics are as `wanted` says.
    ///
    /// # Errors
    /// They are not after `patience`; the text names `what` and shows the log's end.
    pub fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        let deadline = Instant::now() + patience;
        loop {
            let metrics = self.metrics()?;
            if wanted(&metrics) {
                return Ok(metrics);
            }
            ensure!(Instant::now() < deadline, "not so after {patience:?}: {what}\n{metrics}");
            std::thread::sleep(POLL);
        }
    }

    /// A page of the operators' address: status and body.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn get(&self, page: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).context("no HTTP listener")?;
        stream.set_read_timeout(Some(STOP_DEADLINE)).context("cannot set a timeout")?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n")
            .context("cannot ask")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("no answer")?;
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
        Ok((status, body.to_owned()))
    }

    /// Writes other namespaces' files, and takes away those of namespaces that are no more. Tell it with
    /// [`Weir::signal`].
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_namespaces(&mut self, namespaces: &[Namespace]) -> Result<()> {
        for before in &self.options.namespaces {
            if !namespaces.iter().any(|now| now.name == before.name) {
                fs::remove_file(self.namespace_file(&before.name)).context("cannot remove a namespace")?;
            }
        }
        self.options.namespaces = namespaces.to_vec();
        write_namespaces(self.folder.path(), namespaces)
    }

    /// The file of a namespace.
    #[must_use]
    pub fn namespace_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("namespaces/{name}.toml"))
    }

    /// Reads the configuration again (HUP) and waits until that was done.
    ///
    /// # Errors
    /// It does not say that it did.
    pub fn reload(&self) -> Result<Metrics> {
        let before = self.metrics()?.sum("weir_config_reloads_total", &[]);
        self.signal(Signal::HUP)?;
        self.wait_for("the configuration was read again", START_DEADLINE, |now| {
            now.sum("weir_config_reloads_total", &[]) > before
        })
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("not a process id")?;
        kill_process(pid, signal).context("weir is gone")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end while `patience` lasts.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for weir")? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "weir has not ended after {patience:?}:\n{}", self.log_tail());
            std::thread::sleep(POLL);
        }
    }

    /// Ends it in order (TERM), and checks that it says so.
    ///
    /// # Errors
    /// It ends with a failure, or does not end.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait_for_end(STOP_DEADLINE)?;
        ensure!(status.success(), "weir ended with {status} ({:?}):\n{}", status.signal(), self.log_tail());
        Ok(())
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("weir.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot end weir")?;
        self.child.wait().context("cannot wait for weir")?;
        Ok(())
    }

    /// The greeting of a connection that says nothing.
    fn greeting(&self) -> Option<Greeting> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let packet = Packet::read(&mut stream).ok()?;
        match FirstServerPacket::parse(&packet.payload).ok()? {
            FirstServerPacket::Greeting(greeting) => Some(greeting),
            FirstServerPacket::Refusal(_) => None,
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        // behind a PROXY header there is no greeting for who sends none
        let asks = !self.options.is_behind_proxy();
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for weir")? {
                bail!("weir ended with {status}");
            }
            let ready = self.get("/readyz").is_ok_and(|(status, _)| status == 200);
            let greeted = |version: &String| {
                self.greeting()
                    .is_some_and(|g| String::from_utf8_lossy(&g.version).contains(version.as_str()))
            };
            if ready && (!asks || self.options.greets_with.as_ref().is_none_or(greeted)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "weir is not ready after {START_DEADLINE:?}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os(SHOW_LOG).is_some() {
            weir_testkit::say(format!("weir's log ends with:\n{}", self.log_tail()));
        }
        if let Err(error) = self.kill() {
            weir_testkit::say(format!("{error:#}"));
        }
    }
}

fn spawn(binary: &Path, folder: &Path, options: &Options) -> Result<Child> {
    let config = folder.join("weir.toml").display().to_string();
    spawn_with(binary, folder, options, &["--config".to_owned(), config])
}

fn spawn_with(binary: &Path, folder: &Path, options: &Options, arguments: &[String]) -> Result<Child> {
    let log =
        File::options().create(true).append(true).open(folder.join("weir.log")).context("no log file")?;
    let copy = log.try_clone().context("no log file")?;
    Command::new(binary)
        .arg("serve")
        .args(arguments)
        .envs(options.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

fn write_settings(folder: &Path, options: &Options, port: u16, http: u16) -> Result<()> {
    let mut settings = options.settings.clone();
    path::set(&mut settings, "namespaces_dir", "namespaces".into());
    path::set(&mut settings, "data_dir", "data".into());
    path::set(&mut settings, "metrics.address", format!("127.0.0.1:{http}").into());
    path::set(&mut settings, "listeners.0.address", format!("127.0.0.1:{port}").into());
    if let (true, Some(Value::Array(listeners))) = (options.unix_socket, settings.get_mut("listeners")) {
        let address = format!("unix:{}", folder.join(SOCKET).display());
        listeners.push(Table::from_iter([("address".to_owned(), address.into())]).into());
    }
    let text = toml::to_string(&settings).context("settings that TOML cannot hold")?;
    fs::write(folder.join("weir.toml"), text).context("cannot write weir.toml")
}

fn write_namespaces(folder: &Path, namespaces: &[Namespace]) -> Result<()> {
    for namespace in namespaces {
        let path = folder.join(format!("namespaces/{}.toml", namespace.name));
        // whole or not at all: Weir may be looking
        let unfinished = folder.join("namespace.unfinished");
        fs::write(&unfinished, namespace.to_toml()?).context("cannot write a namespace")?;
        fs::rename(&unfinished, &path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Two ports that nobody listens on.
fn free_ports() -> Result<(u16, u16)> {
    let one = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    let two = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok((port(&one).context("no port")?, port(&two).context("no port")?))
}
