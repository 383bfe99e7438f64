//! Accepts clients: PROXY protocol, TLS, login, session.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use ipnet::IpNet;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Handle as Runtime,
};
use weir_backend::Socket;
use weir_wire::server_version::ServerVersion;

use crate::{gateway::Gateway, session::login, worker::Worker};

/// Length of the queue of connections that were not accepted yet.
const BACKLOG: i32 = 4096;
/// A new connection moves to another worker if that one has this many fewer sessions (and a tenth fewer).
const UNEVEN: usize = 16;

/// Must clients use TLS?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTls {
    /// Not offered.
    Off,
    /// Offered.
    Preferred,
    /// Demanded; a Unix socket counts as secure.
    Required,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// Unix socket.
    Unix(PathBuf),
}

/// One place where clients arrive.
#[derive(Debug)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// TLS to clients.
    pub tls: ClientTls,
    /// May clients have their connections compressed?
    pub compression: bool,
    /// Keys; reloaded on HUP. `None` if TLS is off.
    pub tls_config: Option<arc_swap::ArcSwap<ServerConfig>>,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Version to greet with, if set.
    pub version: Option<ServerVersion>,
    /// Namespaces whose users may log in here; `None` is all.
    pub namespaces: Option<Vec<String>>,
}

impl Listener {
    /// Does a connection from there begin with a PROXY header?
    #[must_use]
    pub fn trusts_proxy(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|ip| self.proxy_protocol_from.iter().any(|net| net.contains(&ip)))
    }

    /// May users of the namespace log in here?
    #[must_use]
    pub fn serves(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|list| list.iter().any(|n| n == namespace))
    }
}

/// A bound listener of one worker.
#[derive(Debug)]
pub enum Bound {
    /// TCP; every worker has its own, the kernel spreads connections.
    Tcp(std::net::TcpListener),
    /// Unix; one worker accepts for all.
    Unix(std::os::unix::net::UnixListener),
}

/// Binds a TCP address once for each worker, or a Unix socket once.
///
/// # Errors
/// The address is taken or not ours.
pub fn bind(address: &ListenAddress, workers: usize) -> io::Result<Vec<Bound>> {
    match address {
        ListenAddress::Tcp(address) => {
            let mut address = *address;
            let mut bound = Vec::new();
            if workers > 1 && address.port() != 0 {
                // a port that another Weir shares among its workers could be shared with it, too: ask for it alone
                tcp_socket(&address)?.bind(&address.into())?;
            }
            for _ in 0..workers.max(1) {
                let socket = tcp_socket(&address)?;
                socket.set_reuse_port(workers > 1)?;
                socket.set_nonblocking(true)?;
                socket.bind(&address.into())?;
                socket.listen(BACKLOG)?;
                let listener: std::net::TcpListener = socket.into();
                // port 0: the first one decides
                address = listener.local_addr()?;
                bound.push(Bound::Tcp(listener));
            }
            Ok(bound)
        }
        ListenAddress::Unix(path) => {
            // a socket file that nobody listens on is left from a dead process
            if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(vec![Bound::Unix(listener)])
        }
    }
}

fn tcp_socket(address: &SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Accepts until the gateway drains. `runtimes` are the workers' event loops, in order.
///
/// # Errors
/// The event loop does not take the socket.
pub async fn accept_forever(
    gateway: Arc<Gateway>,
    listener: Arc<Listener>,
    bound: Bound,
    worker: usize,
    runtimes: Arc<[Runtime]>,
) -> io::Result<()> {
    let incoming = match bound {
        Bound::Tcp(socket) => Incoming::Tcp(TcpListener::from_std(socket)?),
        Bound::Unix(socket) => Incoming::Unix(UnixListener::from_std(socket)?),
    };
    while !gateway.is_draining() {
        match incoming.accept().await {
            Ok(socket) => place(&gateway, &listener, socket, worker, &runtimes),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // out of files or memory: it does not help to try at once
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    Ok(())
}

enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Incoming {
    async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Self::Unix(listener) => Socket::Unix(listener.accept().await?.0),
        })
    }
}

/// The kernel spreads connections by hash: long ones end up uneven. Then the least busy worker gets the new one.
fn place(
    gateway: &Arc<Gateway>,
    listener: &Arc<Listener>,
    socket: Socket,
    worker: usize,
    runtimes: &Arc<[Runtime]>,
) {
    let load = |w: &Worker| w.sessions.load(std::sync::atomic::Ordering::Relaxed);
    let Some(own) = gateway.workers.get(worker) else { return };
    let target = gateway
        .workers
        .iter()
        .min_by_key(|w| load(w))
        .filter(|least| load(own) > load(least) + UNEVEN.max(load(least) / 10))
        .unwrap_or(own);
    let (gateway, listener) = (Arc::clone(gateway), Arc::clone(listener));
    if target.id == own.id {
        let worker = Arc::clone(own);
        tokio::spawn(async move { login::welcome(gateway, worker, listener, socket).await });
        return;
    }
    let (Some(runtime), Ok(detached)) = (runtimes.get(target.id), socket.detach()) else { return };
    let worker = Arc::clone(target);
    runtime.spawn(async move {
        match detached.attach() {
            Ok(socket) => login::welcome(gateway, worker, listener, socket).await,
            Err(error) => tracing::warn!(%error, "a connection could not be moved to another worker"),
        }
    });
}
