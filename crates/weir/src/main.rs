//! The binary: command line, settings, wiring, telemetry; no logic.

mod assemble;
mod demo;
mod http;
mod keys;
mod metrics;
mod namespaces;
mod serve;
mod status;
mod telemetry;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use weir_gateway::{
    ProcessLimits,
    listener::{ClientTls, ListenAddress},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A gateway between applications and MySQL.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Serve clients.
    Serve(Serve),
    /// Show Weir at work in front of real servers.
    Demo(demo::Arguments),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where clients arrive.
    #[arg(long, default_value = "127.0.0.1:3306")]
    listen: SocketAddr,
    /// Where metrics and health checks are served.
    #[arg(long)]
    http: Option<SocketAddr>,
    /// Directory of namespace files.
    #[arg(long)]
    namespaces: PathBuf,
    /// Directory for certificate and keys.
    #[arg(long)]
    data_dir: PathBuf,
    /// Threads that serve clients.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let serve = match Command::parse() {
        Command::Demo(arguments) => return demo::run(&arguments),
        Command::Serve(serve) => serve,
    };
    telemetry::start(telemetry::LogForm::Text, "info")?;
    serve::Service {
        parts: assemble::Parts {
            workers: serve.workers,
            zone: None,
            limits: ProcessLimits {
                client_connections: 19_000,
                bytes_in_flight: 256 << 20,
                login_timeout: Duration::from_secs(10),
            },
            listeners: vec![assemble::ListenerParts {
                address: ListenAddress::Tcp(serve.listen),
                tls: ClientTls::Preferred,
                proxy_protocol_from: Vec::new(),
                version: None,
                namespaces: None,
            }],
            keys: keys::KeyPlaces { data_dir: serve.data_dir, certificate: None, rsa: None },
        },
        namespaces: namespaces::Namespaces::new(serve.namespaces),
        http: serve.http,
        drain_timeout: Duration::from_secs(30),
    }
    .run()
}
