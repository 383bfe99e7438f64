//! Joins the parts: namespaces, keys and listeners make a gateway that serves.

use std::{
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use weir_backend::{Pool, TlsError, state::Interner, tls_settings};
use weir_catalog::snapshot::Snapshot;
use weir_gateway::{
    Gateway, GatewayNumber, ProcessLimits,
    build::{Materials, build},
    listener::{Bound, ClientTls, ListenAddress, Listener, bind},
    run::{Workers, start_workers},
    session::login::LoginKeys,
};
use weir_wire::server_version::ServerVersion;

use crate::keys::KeyPlaces;

/// How often it is looked whether all sessions have ended.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// What sessions that were told to stop get to say so to their clients.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a gateway is made of, namespaces apart.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Threads that serve clients.
    pub workers: usize,
    /// Its number among the gateways in front of the same servers.
    pub number: GatewayNumber,
    /// Where the gateway stands: replicas of the same zone are preferred.
    pub zone: Option<String>,
    /// Upper bounds of the process.
    pub limits: ProcessLimits,
    /// Where clients arrive.
    pub listeners: Vec<ListenerParts>,
    /// Where keys are.
    pub keys: KeyPlaces,
}

/// What a listener is made of.
#[derive(Clone, Debug)]
pub(crate) struct ListenerParts {
    /// Where.
    pub address: ListenAddress,
    /// TLS to clients.
    pub tls: ClientTls,
    /// May clients have their connections compressed?
    pub compression: bool,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Version to greet with; `None` is what the servers are.
    pub version: Option<ServerVersion>,
    /// Namespaces whose users may log in here; `None` is all.
    pub namespaces: Option<Vec<String>>,
}

/// A gateway at work.
#[derive(Debug)]
pub(crate) struct Assembled {
    /// What all sessions share.
    pub gateway: Arc<Gateway>,
    /// Where clients arrive; a port 0 is the one that was given.
    pub addresses: Vec<ListenAddress>,
    listeners: Vec<Arc<Listener>>,
    workers: Workers,
    materials: Materials,
    keys: KeyPlaces,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every session ended by itself.
    Quietly,
    /// So many were cut off.
    CutOff(usize),
}

impl Assembled {
    /// Binds all listeners, makes pools, starts workers. Servers need not be reachable.
    ///
    /// # Errors
    /// A listener's address is taken, a key cannot be used, or TLS to servers cannot be set up; the message names
    /// which.
    pub(crate) fn start(parts: Parts, snapshot: Arc<Snapshot>) -> Result<Self> {
        // before anything runs: these are the mistakes that operators make
        let bound = bind_all(&parts.listeners, parts.workers)?;
        let rsa = parts.keys.rsa()?;
        let tls = match parts.listeners.iter().any(|listener| listener.tls != ClientTls::Off) {
            true => Some(parts.keys.tls()?),
            false => None,
        };
        let materials = Materials {
            workers: parts.workers,
            states: Arc::new(Interner::default()),
            zone: parts.zone,
            identities: Arc::default(),
        };
        let built = build(without_broken_tls(snapshot), None, &materials)?;
        let states = Arc::clone(&materials.states);
        let keys = LoginKeys::new(rsa);
        let gateway =
            Arc::new(Gateway::new(parts.number, parts.limits, keys, parts.workers, states, built.tenants));
        let workers = start_workers(&gateway).context("the workers cannot be started")?;
        workers.probe(&built.new_pools);
        workers.follow(&built.new_accounts);
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for (listener, bound) in parts.listeners.into_iter().zip(bound) {
            addresses.push(actual_address(&listener.address, &bound)?);
            let tls_config =
                tls.as_ref().filter(|_| listener.tls != ClientTls::Off).cloned().map(ArcSwap::new);
            let listener = Arc::new(Listener {
                address: listener.address,
                tls: listener.tls,
                tls_config,
                compression: listener.compression,
                proxy_protocol_from: listener.proxy_protocol_from,
                version: listener.version,
                namespaces: listener.namespaces,
            });
            workers.listen(&gateway, &listener, bound);
            listeners.push(listener);
        }
        Ok(Self { gateway, addresses, listeners, workers, materials, keys: parts.keys })
    }

    /// Puts other namespaces in force. Pools that nothing changed for live on. Returns the pools that are no longer
    /// needed: sessions may be about to ask them for a connection, so they are to be closed a moment later.
    ///
    /// # Errors
    /// TLS to the servers of a namespace cannot be set up; then everything stays as it was.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) -> Result<Vec<Arc<Pool>>> {
        if let Some((namespace, error)) = broken_tls(&snapshot).pop() {
            return Err(error)
                .with_context(|| format!("namespace {namespace}: TLS to its servers cannot be set up"));
        }
        let (_, before) = self.gateway.tenants();
        let built = build(snapshot, Some(&before), &self.materials)?;
        self.gateway.publish(built.tenants);
        self.workers.probe(&built.new_pools);
        self.workers.follow(&built.new_accounts);
        Ok(built.old_pools)
    }

    /// Certificate and keys are elsewhere from now on; they are read with the next [`reload_keys`](Self::reload_keys).
    pub(crate) fn set_keys(&mut self, keys: KeyPlaces) {
        self.keys = keys;
    }

    /// Reads certificate and keys again. New connections get the new ones; what cannot be used is told, and the old
    /// one stays. Returns whether all could be used.
    pub(crate) fn reload_keys(&self) -> bool {
        let mut whole = true;
        match self.keys.rsa() {
            Ok(rsa) => self.gateway.keys.rsa.store(rsa),
            Err(error) => {
                whole = false;
                tracing::error!(
                    error = format!("{error:#}"),
                    "the RSA key was not taken; the one before stays in use"
                );
            }
        }
        let configs: Vec<_> =
            self.listeners.iter().filter_map(|listener| listener.tls_config.as_ref()).collect();
        if configs.is_empty() {
            return whole;
        }
        match self.keys.tls() {
            Ok(tls) => configs.iter().for_each(|config| config.store(Arc::clone(&tls))),
            Err(error) => {
                whole = false;
                let error = format!("{error:#}");
                tracing::error!(error, "the TLS certificate was not taken; the one before stays in use");
            }
        }
        whole
    }

    /// Lets sessions end between transactions; cuts off those that are left after `limit`.
    pub(crate) async fn drain(&self, limit: Duration) -> Drained {
        let deadline = Instant::now() + limit;
        self.gateway.drain();
        while self.gateway.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_TICK).await;
        }
        match self.gateway.connections() {
            0 => Drained::Quietly,
            left => {
                self.cut_off().await;
                Drained::CutOff(left)
            }
        }
    }

    /// Ends all sessions now; they get a moment to tell their clients.
    pub(crate) async fn cut_off(&self) {
        self.gateway.stop();
        let deadline = Instant::now() + LAST_WORDS;
        while self.gateway.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }

    /// Ends the workers and waits for them.
    pub(crate) fn stop(self) {
        self.workers.stop();
        for listener in &self.listeners {
            if let ListenAddress::Unix(path) = &listener.address
                && let Err(error) = fs::remove_file(path)
            {
                tracing::warn!(path = %path.display(), %error, "the socket's file could not be removed");
            }
        }
    }
}

/// Namespaces whose certificates cannot be used, though each of the files can be read.
fn broken_tls(snapshot: &Snapshot) -> Vec<(String, TlsError)> {
    let slices =
        snapshot.namespaces.values().flat_map(|n| n.slices.iter().map(move |slice| (&n.name, slice)));
    slices.filter_map(|(name, slice)| Some((name.clone(), tls_settings(&slice.tls).err()?))).collect()
}

/// At a start there is no version before: the others are served without these.
fn without_broken_tls(snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
    let broken = broken_tls(&snapshot);
    if broken.is_empty() {
        return snapshot;
    }
    let mut rest = Snapshot::clone(&snapshot);
    for (namespace, error) in broken {
        tracing::error!(namespace, %error, "the namespace is not served: TLS to its servers cannot be set up");
        rest.namespaces.remove(&namespace);
        for group in rest.logins.values_mut() {
            group.entries.retain(|entry| entry.namespace.name != namespace);
        }
        rest.logins.retain(|_, group| !group.entries.is_empty());
    }
    Arc::new(rest)
}

fn bind_all(listeners: &[ListenerParts], workers: usize) -> Result<Vec<Vec<Bound>>> {
    let bound = listeners.iter().map(|listener| {
        let shown = shown_address(&listener.address);
        bind(&listener.address, workers).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow!("cannot listen on {shown}: another process listens there already")
            }
            io::ErrorKind::AddrNotAvailable => {
                anyhow!("cannot listen on {shown}: this machine has no such address")
            }
            _ => anyhow!("cannot listen on {shown}: {error}"),
        })
    });
    bound.collect()
}

/// The address that clients connect to: a port 0 is replaced by the one that the system gave.
fn actual_address(wanted: &ListenAddress, bound: &[Bound]) -> Result<ListenAddress> {
    match (wanted, bound.first()) {
        (ListenAddress::Tcp(_), Some(Bound::Tcp(listener))) => {
            Ok(ListenAddress::Tcp(listener.local_addr().context("a listener has no address")?))
        }
        _ => Ok(wanted.clone()),
    }
}

/// An address for people.
pub(crate) fn shown_address(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConnection,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, pem::PemObject},
    };

    use super::*;

    fn parts(data_dir: &Path) -> Parts {
        Parts {
            workers: 1,
            number: GatewayNumber::default(),
            zone: None,
            limits: ProcessLimits {
                client_connections: 10,
                bytes_in_flight: 1 << 20,
                login_timeout: Duration::from_secs(1),
            },
            listeners: vec![ListenerParts {
                address: ListenAddress::Unix(data_dir.join("weir.sock")),
                tls: ClientTls::Preferred,
                compression: true,
                proxy_protocol_from: Vec::new(),
                version: None,
                namespaces: None,
            }],
            keys: KeyPlaces { data_dir: data_dir.to_owned(), certificate: None, rsa: None },
        }
    }

    /// The certificate that a client which connects now is shown.
    fn shown(assembled: &Assembled, data_dir: &Path) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data_dir.join("ca.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let config = assembled.listeners[0].tls_config.as_ref().unwrap().load_full();
        let mut server = ServerConnection::new(config).unwrap();
        crate::keys::shake_hands(&mut client, &mut server);
        client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    #[test]
    fn new_connections_get_the_new_certificate_and_key_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let assembled = Assembled::start(parts(dir.path()), Arc::default()).unwrap();
        let key = || assembled.gateway.keys.rsa.load().public_pem().to_owned();
        let (first, first_key) = (shown(&assembled, dir.path()), key());
        assert!(assembled.reload_keys());
        assert_eq!(
            (shown(&assembled, dir.path()), key()),
            (first.clone(), first_key.clone()),
            "nothing changed"
        );

        fs::write(dir.path().join("server-key.pem"), "no key").unwrap();
        fs::write(dir.path().join("private_key.pem"), "no key").unwrap();
        assert!(!assembled.reload_keys());
        assert_eq!(
            (shown(&assembled, dir.path()), key()),
            (first.clone(), first_key.clone()),
            "the old ones stay"
        );

        for name in ["server-cert.pem", "server-key.pem", "private_key.pem"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert!(assembled.reload_keys());
        assert_ne!(shown(&assembled, dir.path()), first);
        assert_ne!(key(), first_key);
        assembled.stop();
        assert!(!dir.path().join("weir.sock").exists(), "the socket's file is removed");
    }

    #[test]
    fn an_address_that_cannot_be_had_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap();
        let socket = dir.path().join("taken.sock");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (address, expected) in [
            (
                ListenAddress::Tcp(taken),
                format!("cannot listen on {taken}: another process listens there already"),
            ),
            (
                ListenAddress::Tcp("192.0.2.1:3306".parse().unwrap()),
                "cannot listen on 192.0.2.1:3306: this machine has no such address".to_owned(),
            ),
            (
                ListenAddress::Unix(socket.clone()),
                format!("cannot listen on unix:{}: another process listens there already", socket.display()),
            ),
            (
                ListenAddress::Unix(dir.path().join("nowhere/weir.sock")),
                format!("cannot listen on unix:{}/nowhere/weir.sock: No such file", dir.path().display()),
            ),
        ] {
            let mut parts = parts(dir.path());
            parts.listeners[0].address = address;
            let error = Assembled::start(parts, Arc::default()).unwrap_err().to_string();
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
