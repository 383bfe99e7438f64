//! `weir demo`: Weir in front of real servers, a short session through it, and the servers' own word on which of them
//! did what.

mod client;
mod script;
mod server;

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use tokio::signal::unix::{SignalKind, signal};
use weir_catalog::{
    namespace::Namespace,
    secret::Secret,
    snapshot::Snapshot,
    surroundings::{Exposure, Imagined, SecretFile},
};
use weir_gateway::{
    GatewayNumber, ProcessLimits,
    listener::{ClientTls, ListenAddress},
};

use crate::{
    assemble::{Assembled, ListenerParts, Parts},
    keys::KeyPlaces,
};
use client::Client;
use server::{Role, Server};

/// The login of the demo's only namespace.
const USER: &str = "demo";
/// Its only database, made anew each time.
const DATABASE: &str = "weir_demo";

/// What is wrong if nothing can be printed.
const NO_TERMINAL: &str = "cannot write to the terminal";

/// What `weir demo` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server that takes writes, `host:port`.
    #[arg(long)]
    primary: String,
    /// A server that replicates from it, `host:port`; may be given several times.
    #[arg(long)]
    replica: Vec<String>,
    /// The account to use on the servers. It must be allowed to make a database and to read system variables.
    #[arg(long)]
    user: String,
    /// A file that holds the account's password.
    #[arg(long)]
    password_file: PathBuf,
    /// Where to listen for clients; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// End after the scripted session; exit status 0 only if every write was seen on the primary and the reads on
    /// replicas.
    #[arg(long)]
    once: bool,
}

/// Shows Weir at work.
///
/// # Errors
/// A server cannot be used, or the session failed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    crate::telemetry::start(crate::telemetry::LogForm::Text, "warn")?;
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build();
    control.context("no event loop")?.block_on(show(arguments))
}

async fn show(arguments: &Arguments) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be caught")?;
    let password = std::fs::read_to_string(&arguments.password_file)
        .with_context(|| format!("cannot read {}", arguments.password_file.display()))?;
    let account = Secret::new(password.trim_end_matches(['\r', '\n']));
    let mut servers = connect(arguments, &account).await?;
    clear(&mut servers).await?;

    // keys are made there; the folder goes when the demo ends
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let password = random_password()?;
    let assembled = assemble(arguments, account, &password, folder.path())?;
    let Some(ListenAddress::Tcp(address)) = assembled.addresses.first().cloned() else {
        bail!("no listener")
    };
    say(&format!("weir listens on {address}\n"))?;
    let session = async {
        let mut client = Client::connect(&address.to_string(), USER, &password).await?;
        script::run(&mut client, &mut servers).await
    };
    let outcome = tokio::select! {
        outcome = session => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("told to end")),
    };
    if matches!(outcome, Ok(true)) && !arguments.once {
        say(&invitation(address, &password))?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        say("\nweir ends")?;
    }
    assembled.cut_off().await;
    assembled.stop();
    clear(&mut servers).await?;
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Direct connections to all servers, the primary first.
async fn connect(arguments: &Arguments, account: &Secret) -> Result<Vec<Server>> {
    let replicas = arguments.replica.iter().map(|address| (address, Role::Replica));
    let mut servers: Vec<Server> = Vec::new();
    for (address, role) in std::iter::once((&arguments.primary, Role::Primary)).chain(replicas) {
        let server = Server::connect(address, role, &arguments.user, account.reveal()).await?;
        if let Some(other) = servers.iter().find(|other| other.id == server.id) {
            bail!("{} and {address} have the same server_id {}", other.address, server.id);
        }
        say(&format!("{:<8} {address} is {}, server_id {}", role.name(), server.version(), server.id))?;
        servers.push(server);
    }
    Ok(servers)
}

/// Takes away what this or an earlier demo made, and nothing else.
async fn clear(servers: &mut [Server]) -> Result<()> {
    let Some(primary) = servers.first_mut() else { return Ok(()) };
    let ours = script::TABLES.map(|name| format!("'{name}'")).join(",");
    let others = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='{DATABASE}' AND TABLE_NAME NOT IN ({ours})"
    );
    if let Some(table) = primary.query(&others).await?.into_iter().flatten().next() {
        bail!(
            "{} has a table {DATABASE}.{table} that the demo did not make: it is left alone",
            primary.address
        );
    }
    primary.query(&format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
    let written = primary.written().await?;
    for replica in servers.iter_mut().skip(1) {
        replica.catch_up(&written).await?;
    }
    Ok(())
}

fn assemble(arguments: &Arguments, account: Secret, password: &str, folder: &Path) -> Result<Assembled> {
    let mut machine = Imagined::default();
    machine.files.insert("demo/account".into(), SecretFile { secret: account, exposure: Exposure::Private });
    let replicas: Vec<String> = arguments.replica.iter().map(|a| format!("{{ address = {a:?} }}")).collect();
    let text = format!(
        "allowed_databases = [\"*\"]\n\
         users = [{{ name = \"{USER}\", password = {password:?} }}]\n\
         [pool]\n\
         capacity = 8\n\
         [[slices]]\n\
         name = \"main\"\n\
         primary = {{ address = {primary:?} }}\n\
         replicas = [{replicas}]\n\
         account = {{ user = {user:?}, password_file = \"account\" }}\n",
        primary = arguments.primary,
        replicas = replicas.join(", "),
        user = arguments.user,
    );
    let refused = |problems: Vec<weir_catalog::problem::Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    };
    let admitted = Namespace::admit(&text, Path::new("demo/demo.toml"), &machine).map_err(refused)?;
    let snapshot = Snapshot::build(1, vec![admitted]).map_err(refused)?;
    let parts = Parts {
        workers: 2,
        number: GatewayNumber::default(),
        zone: None,
        limits: ProcessLimits {
            client_connections: 1000,
            bytes_in_flight: 256 << 20,
            login_timeout: Duration::from_secs(10),
        },
        listeners: vec![ListenerParts {
            address: ListenAddress::Tcp(arguments.listen),
            tls: ClientTls::Preferred,
            compression: true,
            proxy_protocol_from: Vec::new(),
            version: None,
            namespaces: None,
        }],
        keys: KeyPlaces { data_dir: folder.to_owned(), certificate: None, rsa: None },
    };
    Assembled::start(parts, Arc::new(snapshot))
}

/// New each time: `--listen` may name an address that others reach.
fn random_password() -> Result<String> {
    let mut bytes = [0; 6];
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn invitation(address: SocketAddr, password: &str) -> String {
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    let arguments = format!("-h {host} -P {} -u {USER} -p{password} {DATABASE}", address.port());
    format!("\nconnect with   mysql {arguments}\nor with        mariadb {arguments}\nend with       Ctrl-C")
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context(NO_TERMINAL)
}
