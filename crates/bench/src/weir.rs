//! Weir as it is measured: split, limits and metrics on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_testkit::tls::certificates;
use weir_testkit::{Cluster, SERVICE};

use crate::generator::job::Target;
use crate::program::{Program, free_port};
use crate::rig::Way;

/// Whether clients come by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeirTls {
    Off,
    Required,
}

/// A running Weir.
#[derive(Debug)]
pub(crate) struct Weir {
    pub(crate) program: Program,
    port: u16,
}

/// Backend connections to each server.
const POOL: u32 = 8;
/// More than any measurement has.
const CLIENT_CONNECTIONS: u32 = 10_000;

impl Weir {
    /// Starts it in front of the cluster.
    pub(crate) fn start(binary: &Path, cluster: &Cluster, folder: &Path, tls: WeirTls) -> Result<Weir> {
        let (port, metrics) = (free_port()?, free_port()?);
        let namespaces = folder.join("namespaces");
        fs::create_dir_all(&namespaces).context("cannot make a folder")?;
        write(&namespaces.join("bench.toml"), &namespace(cluster)?)?;
        let config = folder.join("weir.toml");
        write(&config, &settings(port, metrics, tls)?)?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&config);
        let program = Program::start("weir", command, folder, port)?;
        Ok(Weir { program, port })
    }

    /// Where clients log in: with the same account as at the servers.
    pub(crate) fn target(&self) -> Target {
        Target {
            name: Way::Weir.name().to_owned(),
            address: format!("127.0.0.1:{}", self.port),
            user: SERVICE.user.to_owned(),
            password: SERVICE.password.to_owned(),
            proxy: Some(self.program.pid()),
        }
    }
}

/// What it says of itself.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One listener; TLS with the test servers' certificate, which clients can verify.
fn settings(port: u16, metrics: u16, tls: WeirTls) -> Result<String> {
    let files = certificates()?;
    let tls = match tls {
        WeirTls::Off => "off",
        WeirTls::Required => "required",
    };
    let (certificate, key) = (files.certificate.display(), files.key.display());
    Ok(format!(
        "[[listeners]]\naddress = \"127.0.0.1:{port}\"\ntls = \"{tls}\"\n\n\
         [tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\n\
         [limits]\nclient_connections = {CLIENT_CONNECTIONS}\n\n\
         [metrics]\naddress = \"127.0.0.1:{metrics}\"\n"
    ))
}

/// One user on one slice. Servers are reached without TLS, as on the other ways.
fn namespace(cluster: &Cluster) -> Result<String> {
    let primary = cluster.primary()?.address();
    let replicas: Vec<String> = cluster
        .replicas()
        .iter()
        .map(|replica| format!("{{ address = \"{}\" }}", replica.address()))
        .collect();
    let (user, password) = (SERVICE.user, SERVICE.password);
    Ok(format!(
        "allowed_databases = [\"*\"]\n\
         slow_statement = \"1h\"\n\
         users = [{{ name = \"{user}\", password = \"{password}\", access = \"read-write\", split = true }}]\n\n\
         [[slices]]\nname = \"main\"\nflavour = \"{}\"\n\
         primary = {{ address = \"{primary}\" }}\nreplicas = [{}]\n\
         account = {{ user = \"{user}\", password = \"{password}\" }}\ntls = {{ mode = \"off\" }}\n\n\
         [pool]\ncapacity = {POOL}\n\n\
         [limits]\nclient_connections = {CLIENT_CONNECTIONS}\nresult_rows = 1000000\n",
        cluster.flavour(),
        replicas.join(", "),
    ))
}
