//! One cluster for the tests of several binaries.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::accounts::{ADMIN, REPLICATION, SERVICE};
use crate::cluster::Cluster;
use crate::home::{lock, write_whole};
use crate::instance::Options;
use crate::progress::say;
use crate::server::Flavour;

/// Names the file that says where the shared servers are.
pub const SHARED_SERVERS: &str = "WEIR_TEST_SERVERS";

/// The cluster that all tests of a run share. Tests that kill, promote or reconfigure servers start their own.
///
/// `cargo xtask test` starts both clusters and ends them. Without it, the servers of `cargo xtask servers
/// start` are used, and are started and left up where they do not run.
///
/// # Errors
/// As for [`Cluster::start`]; a cluster named in the environment that no longer runs.
pub fn shared(flavour: Flavour) -> Result<&'static Cluster> {
    static FOUND: Mutex<BTreeMap<&'static str, &'static Cluster>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = found.get(flavour.name()) {
        return Ok(cluster);
    }
    let cluster = match env::var_os(SHARED_SERVERS) {
        Some(file) => named_in(Path::new(&file), flavour)?,
        None => keep_up(&Options::new(flavour, flavour.name()))?,
    };
    // Lives as long as the test binary, whichever test asked first.
    let cluster: &'static Cluster = Box::leak(Box::new(cluster));
    found.insert(flavour.name(), cluster);
    Ok(cluster)
}

/// The cluster of that name, started if it does not run, and left up. Processes that ask at the same time get
/// the same one.
///
/// # Errors
/// As for [`Cluster::start`].
pub fn keep_up(options: &Options) -> Result<Cluster> {
    let name = &options.name;
    let _lock = lock(&format!("keep-up-{name}"))?;
    if let Some(cluster) = Cluster::attach(name)? {
        return Ok(cluster);
    }
    say(format!("starting {name}, which stays up until `cargo xtask servers stop {name}`"));
    let mut cluster = Cluster::start(options)?;
    cluster.leave_up()?;
    Ok(cluster)
}

/// Writes the file that [`SHARED_SERVERS`] is to name.
pub fn write_shared(file: &Path, clusters: &[Cluster]) -> Result<()> {
    let entries: serde_json::Map<String, Value> =
        clusters.iter().map(|cluster| (cluster.flavour().name().to_owned(), describe(cluster))).collect();
    write_whole(file, format!("{:#}\n", Value::Object(entries)).as_bytes())
}

fn named_in(file: &Path, flavour: Flavour) -> Result<Cluster> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let servers: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let name = servers.get(flavour.name()).and_then(|cluster| cluster.get("name")).and_then(Value::as_str);
    let name = name.with_context(|| format!("{} names no {flavour} servers", file.display()))?;
    Cluster::attach(name)?.with_context(|| format!("the servers `{name}` of {} do not run", file.display()))
}

/// A cluster's servers and accounts, for programs in any language.
pub fn describe(cluster: &Cluster) -> Value {
    let instances: Vec<Value> = cluster
        .instances()
        .iter()
        .map(|instance| {
            json!({
                "name": instance.name,
                "role": instance.role,
                "host": "127.0.0.1",
                "port": instance.port,
                "socket": instance.socket,
                "pid": instance.process.as_ref().map(|process| process.pid),
                "running": instance.is_running(),
            })
        })
        .collect();
    let account = |account: crate::Account| json!({"user": account.user, "password": account.password});
    json!({
        "name": cluster.name(),
        "flavour": cluster.flavour().name(),
        "version": cluster.version(),
        "instances": instances,
        "accounts": {
            "admin": account(ADMIN),
            "service": account(SERVICE),
            "replication": account(REPLICATION),
        },
    })
}
