//! The settings of a process: `weir.toml`.

mod admit;
mod in_force;
mod value;

use std::{
    fs,
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use weir_catalog::{
    choice,
    document::Bytes,
    name::{Name, Zone},
    problem::{Place, Problem},
    stored,
};
use weir_gateway::GatewayNumber;
use weir_store::Machine;
use weir_wire::server_version::{Flavour, ServerVersion};

pub(crate) use in_force::InForce;
pub(crate) use value::{ListenAddress, LogLevel, MetricsAddress, VersionText};

/// Settings of a process, valid by construction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Where clients arrive; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// PEM files of the certificate chain and its key; `None`: made and kept in `data_dir`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// PEM file of the RSA key for password exchange without TLS; `None`: made and kept in `data_dir`.
    pub rsa_key: Option<PathBuf>,
    /// Threads that serve clients; `None`: one for each core.
    pub workers: Option<NonZero<usize>>,
    /// Client connections at once.
    pub client_connections: usize,
    /// Bytes of large requests and answers that are held in memory at once.
    pub bytes_in_flight: usize,
    /// How long a login may take.
    pub login_timeout: Duration,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Form of the log.
    pub log_format: LogFormat,
    /// What is logged, as `tracing` filters say it.
    pub log_level: String,
    /// Where the namespaces are.
    pub namespaces_dir: PathBuf,
    /// Where what Weir makes itself is kept.
    pub data_dir: PathBuf,
    /// How long sessions may take to end after TERM.
    pub drain_timeout: Duration,
    /// Where this gateway stands.
    pub zone: Option<String>,
    /// Its number among the gateways in front of the same servers.
    pub gateway_number: GatewayNumber,
}

/// A place where clients arrive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerSettings {
    /// Where.
    pub address: ListenAddress,
    /// TLS to clients.
    pub tls: ListenerTls,
    /// May clients have their connections compressed?
    pub compression: bool,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// What it says it is; `None`: what the servers of its namespaces are.
    pub version: Option<ServerVersion>,
    /// Namespaces whose users may log in here; `None`: all.
    pub namespaces: Option<Vec<String>>,
    /// Where the file declares it.
    pub places: ListenerPlaces,
}

/// Where a listener's parts are declared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerPlaces {
    /// Its version, or the listener as a whole.
    pub version: Place,
    /// Each of its namespaces.
    pub namespaces: Vec<Place>,
}

/// Why settings are not taken, and what is known nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Everything that is wrong, and what else somebody should look at.
    pub problems: Vec<Problem>,
    /// Where the namespaces are, if that much can be said: they can be checked all the same.
    pub namespaces_dir: Option<PathBuf>,
}

/// Reads a file of settings, with what somebody should look at.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(file: &Path) -> Result<(Settings, Vec<Problem>), Refused> {
    match fs::read_to_string(file) {
        Ok(text) => Settings::admit(&text, file, &Machine),
        Err(error) => {
            let message = format!("the settings cannot be read: {}", weir_store::why(&error));
            let problem =
                Problem::error(file.display().to_string(), message).hint("--config names another file");
            Err(Refused { problems: vec![problem], namespaces_dir: None })
        }
    }
}

choice! {
    /// TLS to clients.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ListenerTls {
        /// Not offered.
        Off = "off",
        /// Offered.
        Preferred = "preferred",
        /// Demanded; a Unix socket counts as secure.
        Required = "required",
    }
}

choice! {
    /// Form of the log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

stored! {
    /// Settings of a process. Every key may be left out: then Weir listens on 127.0.0.1:3306 and serves the namespaces
    /// in the directory `namespaces` beside this file. Paths are relative to this file's directory. HUP makes a running
    /// Weir read the file again: `tls`, `log.level`, `drain_timeout` and, but for `bytes_in_flight`, `limits` change at once;
    /// what else has changed waits for the next start, and the log says so.
    pub struct SettingsDraft {
        /// The directory that holds a file for each namespace.
        default namespaces_dir: PathBuf = PathBuf::from("namespaces");
        /// The directory where Weir keeps what it makes itself: a certificate and keys, if none are named.
        default data_dir: PathBuf = PathBuf::from("data");
        /// How long sessions have to end after the process was told to (TERM), between two transactions; then they are cut
        /// off. A session that only keeps something on its connection, as a temporary table, has one second from its last
        /// statement; locks and open cursors are waited for as transactions are.
        default drain_timeout: Duration = Duration::from_secs(30), within (Duration::ZERO, Duration::from_secs(86_400));
        /// Where this gateway stands: replicas in the same zone are preferred.
        optional zone: Zone;
        /// Number of this gateway, another one for each gateway in front of the same servers: the connection ids that clients
        /// see carry it in their first eight bits (64 + the number), the other 24 count. A KILL at the wrong gateway then
        /// hits nobody, and its error 1094 names the right one.
        default gateway_number: u32 = 0, within (0, 191);
        /// Places where clients arrive. Without any, there is one with the defaults.
        list listeners: ListenerDraft;
        /// Keys that clients meet. Read again on HUP.
        section tls: TlsDraft;
        /// Threads that serve clients.
        section workers: WorkersDraft;
        /// Upper bounds of the process.
        section limits: LimitsDraft;
        /// Prometheus metrics, and what load balancers ask: `/metrics`, `/healthz`, `/readyz`.
        section metrics: MetricsDraft;
        /// The log, on the standard error stream.
        section log: LogDraft;
    }

    /// A place where clients arrive. Namespaces behind one listener must all be MySQL or all be MariaDB: the two greet
    /// differently, and a client is greeted before its namespace is known.
    pub struct ListenerDraft {
        /// Where to listen: `"127.0.0.1:3306"`, `"0.0.0.0:3306"` for every IPv4 address of the machine, `"[::]:3306"` for every
        /// IPv6 address, `"unix:/run/weir.sock"` for a Unix socket. Port 0 takes a free one.
        default address: ListenAddress = ListenAddress::default();
        /// TLS to clients.
        default tls: ListenerTls = ListenerTls::Preferred;
        /// May clients have their connections compressed? Those that ask get zlib, or zstd from a listener that greets as
        /// MySQL; zstd levels above 9 count as 9.
        default compression: bool = true;
        /// Networks of load balancers: connections from there must begin with a PROXY header, version 1 or 2, and are
        /// taken to come from the address that it names. From anywhere else such a header is refused.
        list proxy_protocol_from: IpNet;
        /// What clients are told to talk to. Without it, what the servers are.
        optional flavour: Flavour;
        /// The version that clients are told. Without it, the lowest among the primaries of the namespaces; while
        /// none of them was reached yet, 8.4.0, or 10.11.0-MariaDB if `flavour` here or in one of their slices says so.
        optional version: VersionText;
        /// Namespaces whose users may log in here. Without it, all.
        list namespaces: Name;
    }

    /// Keys that clients meet. What is not named here is made once and kept in `data_dir`.
    pub struct TlsDraft {
        /// PEM file of the certificate chain, the server's own certificate first; with `key`.
        optional certificate: PathBuf;
        /// PEM file of the certificate's private key.
        optional key: PathBuf;
        /// PEM file of the RSA private key for passwords of clients that log in with `caching_sha2_password` without TLS.
        optional rsa_key: PathBuf;
    }

    /// Threads that serve clients.
    pub struct WorkersDraft {
        /// How many. Without it, one for each core.
        optional count: u32, within (1, 1_024);
    }

    /// Upper bounds of the process.
    pub struct LimitsDraft {
        /// Client connections at once, of all namespaces; one more gets error 1040. The process must be allowed to open
        /// as many files, and one for each connection to a server.
        default client_connections: u32 = 10_000, within (1, 1_000_000);
        /// Bytes of large requests and answers that are held in memory at once: of requests from 128 KiB on, of answers from
        /// 64 KiB on. A request that wants more waits, for the namespace's `pool.checkout_timeout`; a text over 1 MiB and an
        /// answer that wants more are passed on in pieces instead.
        default bytes_in_flight: Bytes = Bytes(256 << 20), within (Bytes(4 << 20), Bytes(1 << 40));
        /// How long a login may take, from the connection on.
        default login_timeout: Duration = Duration::from_secs(10), within (Duration::from_millis(100), Duration::from_secs(300));
    }

    /// Prometheus metrics, and what load balancers ask.
    pub struct MetricsDraft {
        /// Where `/metrics`, `/healthz` and `/readyz` are served, over HTTP and without a password; `"off"` for nowhere.
        default address: MetricsAddress = MetricsAddress::default();
    }

    /// The log.
    pub struct LogDraft {
        /// How a line looks.
        default format: LogFormat = LogFormat::Text;
        /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, also by part: `"info,weir_backend=debug"`. The environment
        /// variable `WEIR_LOG` replaces it.
        default level: LogLevel = LogLevel::default();
    }
}
