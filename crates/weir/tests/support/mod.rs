//! Starts the binary, reads what it says, asks its HTTP address.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long anything may take before a test fails: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace whose servers nobody runs: the ports of TEST-NET-1 are closed to everybody.
pub const SERVERS_DOWN: &str = r#"
allowed_databases = ["*"]
users = [{ name = "app", password = "secret" }]
[pool]
connect_timeout = "1s"
[[slices]]
name = "main"
primary = { address = "127.0.0.1:1" }
replicas = [{ address = "127.0.0.1:2" }]
account = { user = "weir", password = "secret" }
"#;

/// Files of a process: settings, namespaces, data.
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    /// With one namespace, `shop`.
    pub fn new(namespace: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("namespaces")).unwrap();
        let folder = Self { dir };
        folder.namespace("shop", namespace);
        folder
    }

    /// Writes the file of a namespace.
    pub fn namespace(&self, name: &str, text: &str) {
        let path = self.path("namespaces").join(format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A running `weir serve`. Killed when dropped.
pub struct Weir {
    child: Child,
    log: Arc<Mutex<String>>,
    pub clients: SocketAddr,
    pub http: SocketAddr,
}

/// A port that was free a moment ago.
pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Two different ones.
fn free_ports() -> [SocketAddr; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

/// The command, not started yet.
pub fn command(folder: &Folder, clients: SocketAddr, http: SocketAddr) -> Command {
    let settings = format!(
        "drain_timeout = \"3s\"\n\
         [[listeners]]\n\
         address = \"{clients}\"\n\
         [metrics]\n\
         address = \"{http}\"\n\
         [limits]\n\
         login_timeout = \"60s\"\n"
    );
    fs::write(folder.path("weir.toml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("serve").arg("--config").arg(folder.path("weir.toml"));
    command.env_remove("WEIR_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Weir {
    /// Starts it and waits until it answers.
    pub fn start(folder: &Folder) -> Self {
        const ATTEMPTS: usize = 3;
        for attempt in 1..=ATTEMPTS {
            let mut weir = Self::spawn(folder);
            // somebody may take a port meanwhile
            let taken = |weir: &Self| weir.log().contains("another process listens there already");
            let start = Instant::now();
            while start.elapsed() < PATIENCE && !weir.log().contains("namespaces in force") && !taken(&weir) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if attempt == ATTEMPTS || !taken(&weir) {
                weir.wait_for("namespaces in force");
                return weir;
            }
            weir.child.wait().unwrap();
        }
        unreachable!("the last attempt returns or panics")
    }

    fn spawn(folder: &Folder) -> Self {
        let [clients, http] = free_ports();
        let mut child = command(folder, clients, http).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, log, clients, http }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has this text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no \"{text}\" in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // the reader of the log ends with the pipe
                std::thread::sleep(Duration::from_millis(50));
                return (status, self.log());
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.http, path)
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // an error means that it has ended already
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Runs the binary to its end: exit status and log.
pub fn run(command: &mut Command) -> (ExitStatus, String) {
    let output = command.output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Replaces a file as a careful operator does.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}
