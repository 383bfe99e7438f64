//! From an accepted socket to a session; and COM_CHANGE_USER, which is a login on a session's connection.

mod accounts;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use tokio_rustls::TlsAcceptor;
use weir_backend::{Class, Identity, Shown, Socket, Stream, Want};
use weir_catalog::snapshot::{LoginEntry, Snapshot};
use weir_wire::{
    accept::{
        self, Candidate, ExpectLogin, LoginStep, Lookup, NeedsCandidates, Next, Offer, TlsOffer, Transport,
        Verdict,
    },
    auth::{AuthPlugin, Nonce, Verifier, caching_sha2, rsa::RsaKeyPair},
    capability::{Capabilities, Status},
    command::com,
    compress::{Algorithm, DEFAULT_ZSTD_LEVEL},
    error_code::{self, ErrorCode},
    greeting::{Greeting, MariaDbCapabilities},
    packet_with,
    response::ResponseFlags,
    response_end::Expect,
    server_version::{Flavour, ServerVersion},
    write_packet,
};

use crate::{
    answer,
    client::{Client, ClientError, Request},
    error::{Refused, SessionError},
    execute::not_run,
    gateway::Gateway,
    handle::{Handle, Login, Phase},
    listener::{ClientTls, Listener},
    tenant::{Tenant, Tenants},
    worker::Worker,
};

use super::{Session, pin::Pins, prepared::Statements};

/// Whom a login may turn out to be.
#[derive(Clone, Debug)]
struct Entry {
    login: LoginEntry,
    /// The server's own account, if it is one.
    found: Option<Arc<accounts::Found>>,
}

impl From<&LoginEntry> for Entry {
    fn from(login: &LoginEntry) -> Self {
        Self { login: login.clone(), found: None }
    }
}

/// Whom a login turned out to be.
struct Proven {
    entry: Entry,
    /// As whom connections are opened, if not as the slice's own account.
    identity: Option<Arc<Identity>>,
    /// The password that the login showed, until it ends.
    _shown: Option<Shown>,
}

/// Passwords remembered as wrong for a user whose verifier is slow to check.
const MOST_REFUTED: usize = 8;

/// Keys and caches of logins.
#[derive(Debug)]
pub struct LoginKeys {
    /// For passwords of clients without TLS.
    pub rsa: arc_swap::ArcSwap<RsaKeyPair>,
    learnt: Mutex<HashMap<(Arc<str>, String), Learnt>>,
}

/// What full logins of a user with a slow verifier showed.
#[derive(Debug)]
struct Learnt {
    verifier: Verifier,
    stage2: Option<[u8; 32]>,
    refuted: Vec<[u8; 32]>,
}

impl LoginKeys {
    /// Nothing learnt yet.
    #[must_use]
    pub fn new(rsa: Arc<RsaKeyPair>) -> Self {
        Self { rsa: arc_swap::ArcSwap::new(rsa), learnt: Mutex::default() }
    }

    fn candidate(&self, entry: &Entry) -> Candidate {
        let Entry { login: entry, found } = entry;
        if let Some(found) = found {
            return found.candidate(entry);
        }
        let mut candidate = Candidate::from(entry.user.password.clone());
        if candidate.verifier.is_slow() {
            let learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (Arc::from(entry.namespace.name.as_str()), entry.user.name.clone());
            if let Some(known) = learnt.get(&key).filter(|known| known.verifier == candidate.verifier) {
                candidate.learnt = known.stage2;
                candidate.refuted.clone_from(&known.refuted);
            }
        }
        candidate
    }

    /// A full login showed a password: next time the fast path serves.
    fn learn(&self, entries: &[Entry], verdict: &Verdict) {
        let Some(password) = &verdict.password else { return };
        let stage2 = caching_sha2::stage2(password);
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let declared = entries.iter().enumerate().filter(|(_, e)| e.found.is_none());
        let declared = declared.map(|(i, e)| (i, &e.login));
        for (i, entry) in declared.filter(|(_, e)| e.user.password.is_slow()) {
            let key = (Arc::from(entry.namespace.name.as_str()), entry.user.name.clone());
            let fresh =
                || Learnt { verifier: entry.user.password.clone(), stage2: None, refuted: Vec::new() };
            let known = learnt.entry(key).or_insert_with(fresh);
            if known.verifier != entry.user.password {
                *known = fresh();
            }
            if verdict.matched.contains(&i) {
                known.stage2 = Some(stage2);
            } else if !known.refuted.contains(&stage2) {
                if known.refuted.len() >= MOST_REFUTED {
                    known.refuted.remove(0);
                }
                known.refuted.push(stage2);
            }
        }
    }
}

/// Why there is no session.
enum NoSession {
    /// The client gets this error.
    Refused(Refused),
    /// The client is gone, or was never one.
    Client(ClientError),
}

impl From<ClientError> for NoSession {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Refused> for NoSession {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<accept::AcceptError> for NoSession {
    fn from(error: accept::AcceptError) -> Self {
        tracing::debug!(%error, "a login was malformed");
        Self::Refused(Refused::new(error.code(), error.client_message()))
    }
}

/// Takes a socket through PROXY header, greeting, TLS and login, then serves its session.
pub async fn welcome(gateway: Arc<Gateway>, worker: Arc<Worker>, listener: Arc<Listener>, socket: Socket) {
    let limit = gateway.limits().login_timeout;
    // boxed: a session's task should not be as large as its login
    let login = Box::pin(log_in(&gateway, &worker, &listener, socket));
    match tokio::time::timeout(limit, login).await {
        Ok(Some(session)) => session.run().await,
        Ok(None) => {}
        Err(_) => tracing::debug!(?limit, "a login took too long"),
    }
}

/// Removes a session that never came to be from the list of sessions.
struct Admission<'a> {
    gateway: &'a Gateway,
    worker: &'a Worker,
    handle: Arc<Handle>,
    kept: bool,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.gateway.forget(&self.handle, self.worker);
        }
    }
}

async fn log_in(
    gateway: &Arc<Gateway>,
    worker: &Arc<Worker>,
    listener: &Arc<Listener>,
    socket: Socket,
) -> Option<Box<Session>> {
    let socket_peer = socket.peer();
    let mut peer = socket_peer.map(|a| a.ip());
    let mut stream = Stream::Plain(socket);
    if listener.trusts_proxy(peer) {
        match crate::proxy::read_header(&mut stream).await {
            Ok(Some(source)) => peer = Some(source),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "no PROXY header came from a trusted address");
                return None;
            }
        }
    }
    let Some(handle) = gateway.admit(worker) else {
        let refused = Refused::new(error_code::CON_COUNT, "Too many connections");
        let mut out = Vec::new();
        refused.write(&mut out, 0);
        stream.write_now(&out);
        return None;
    };
    handle.set_host(&host_of(socket_peer, peer));
    let mut admission = Admission { gateway, worker, handle: Arc::clone(&handle), kept: false };
    let mut client = Client::new(stream, Vec::new(), Arc::clone(worker), handle);
    client.exact = true;
    let mut entrance = Entrance { gateway, worker, listener, client: Some(client), peer, sequence: 0 };
    let entered = admission.handle.unless_told(entrance.run(&admission.handle)).await;
    match entered.unwrap_or_else(|told| Err(NoSession::Client(told.into()))) {
        Ok(session) => {
            admission.kept = true;
            Some(session)
        }
        Err(NoSession::Refused(refused)) => {
            entrance.refuse(&refused).await;
            None
        }
        // a health check connects and says nothing
        Err(NoSession::Client(ClientError::Closed)) if entrance.sequence <= 1 => None,
        Err(NoSession::Client(error)) => {
            tracing::debug!(%error, "a client left during its login");
            None
        }
    }
}

struct Entrance<'a> {
    gateway: &'a Arc<Gateway>,
    worker: &'a Arc<Worker>,
    listener: &'a Arc<Listener>,
    /// Taken out only while TLS is put around it.
    client: Option<Client>,
    peer: Option<IpAddr>,
    /// Sequence id of the next packet.
    sequence: u8,
}

impl Entrance<'_> {
    fn client(&mut self) -> Result<&mut Client, NoSession> {
        self.client.as_mut().ok_or(NoSession::Client(ClientError::Closed))
    }

    async fn write(&mut self, payload: &[u8]) -> Result<(), NoSession> {
        let mut out = Vec::new();
        self.sequence = write_packet(&mut out, self.sequence, payload);
        Ok(self.client()?.write(&out).await?)
    }

    async fn read(&mut self) -> Result<Vec<u8>, NoSession> {
        let sequence = self.sequence;
        let client = self.client()?;
        let request = client.request(sequence).await.map_err(|e| match e {
            ClientError::OutOfOrder { .. } => NoSession::Refused(Refused::new(
                error_code::NET_PACKETS_OUT_OF_ORDER,
                "Got packets out of order",
            )),
            e => NoSession::Client(e),
        })?;
        if request.large {
            return Err(Refused::new(error_code::HANDSHAKE, "Bad handshake").into());
        }
        let payload = request.payload().to_vec();
        client.done(request);
        self.sequence = sequence.wrapping_add(1);
        Ok(payload)
    }

    async fn refuse(&mut self, refused: &Refused) {
        let mut out = Vec::new();
        refused.write(&mut out, self.sequence);
        if let Some(client) = &mut self.client
            && client.write(&out).await.is_err()
        {
            tracing::debug!("a client did not wait to be told why it was refused");
        }
    }

    async fn run(&mut self, handle: &Arc<Handle>) -> Result<Box<Session>, NoSession> {
        let (version, tenants) = self.gateway.tenants();
        let Some(nonce) = random_nonce() else {
            return Err(Refused::new(error_code::UNKNOWN, "no random numbers").into());
        };
        let local = self.client()?.stream().is_secure();
        let greeted = greeting_version(self.listener, &tenants);
        let offer = Offer {
            capabilities: offered(&greeted, self.listener, &tenants),
            mariadb: offered_mariadb(&greeted),
            nonce,
            tls: match self.listener.tls {
                ClientTls::Off => TlsOffer::Off,
                ClientTls::Preferred => TlsOffer::Preferred,
                ClientTls::Required => TlsOffer::Required,
            },
            transport: if local { Transport::Local } else { Transport::Plain },
            rsa: self.gateway.keys.rsa.load_full(),
        };
        let mut payload = Vec::new();
        let greeting = Greeting {
            version: greeted.greeting().into_bytes(),
            connection_id: handle.id,
            auth_data: offer.nonce.as_bytes().to_vec(),
            capabilities: offer.capabilities,
            mariadb: offer.mariadb,
            collation: greeting_collation(self.listener, &tenants, greeted.flavour),
            status: Status::AUTOCOMMIT,
            plugin: default_plugin(greeted.flavour).name().into(),
        };
        greeting.write(&mut weir_wire::Writer::new(&mut payload));
        self.write(&payload).await?;
        let lookup = self.first_packet(ExpectLogin::new(offer)).await?;
        if let Some(client) = &mut self.client {
            client.exact = false;
        }
        let Lookup { login, agreed, agreed_mariadb, next } = *lookup;
        let plugin = default_plugin(greeted.flavour);
        let Proven { entry, identity: account, _shown } =
            self.authenticate(&tenants, &login.user, plugin, next).await?;
        let Entry { login: entry, found } = entry;
        let tenant = tenants.by_name.get(&entry.namespace.name).cloned();
        let Some(tenant) = tenant else {
            return Err(Refused::new(error_code::UNKNOWN, "the namespace is being taken down").into());
        };
        if self.gateway.is_draining() {
            return Err(Refused::new(error_code::SERVER_SHUTDOWN, "Server shutdown in progress").into());
        }
        let flags = ResponseFlags::from(agreed);
        let zstd_level = login.zstd_level;
        let identity = identity(&login.user, self.peer);
        let facts = tenant.primary.dialer().facts();
        if let Some(charset) = facts.as_ref().and_then(|f| f.forbidden_charset(u16::from(login.collation))) {
            return Err(Refused::new(
                ErrorCode { number: 1231, sqlstate: *b"42000" },
                format!("Variable 'character_set_client' can't be set to the value of '{charset}'"),
            )
            .into());
        }
        let database = login.database.filter(|d| !d.is_empty());
        let class = class_of(agreed, agreed_mariadb, account.as_ref());
        if let (Some(found), Some(account)) = (&found, &account) {
            found.check_transport(self.client()?.stream().is_tls())?;
            found.prove(self.worker, &tenant, class, account).await?;
        }
        check_database(self.worker, &tenant, &identity, class, database.as_deref()).await?;
        let connections = tenant.shared.connections.fetch_add(1, Ordering::AcqRel);
        if connections >= tenant.namespace.limits.client_connections as usize {
            tenant.shared.connections.fetch_sub(1, Ordering::AcqRel);
            return Err(Refused::new(error_code::CON_COUNT, "Too many connections").into());
        }
        // before the client knows: from then on it may be named in a KILL
        handle
            .logged_in(Login { namespace: Arc::clone(&tenant.name), user: entry.user.name.as_str().into() });
        handle.set_database(database.as_deref());
        let mut out = Vec::new();
        answer::ok(&mut out, self.sequence, flags, Status::AUTOCOMMIT);
        if let Err(error) = self.client()?.write(&out).await {
            tenant.shared.connections.fetch_sub(1, Ordering::AcqRel);
            return Err(error.into());
        }
        let Some(mut client) = self.client.take() else { return Err(NoSession::Client(ClientError::Closed)) };
        client.flags = flags;
        if let Some(algorithm) = compression(agreed, zstd_level) {
            client.compress(algorithm);
        }
        handle.enter(Phase::Idle, self.worker.now());
        // boxed, so that no state of its task holds it twice
        let session = Box::new(Session {
            gateway: Arc::clone(self.gateway),
            worker: Arc::clone(self.worker),
            client,
            handle: Arc::clone(handle),
            version,
            user: entry.user,
            account,
            identity: identity.into(),
            capabilities: agreed,
            class,
            bulk_operations: agreed_mariadb.contains(MariaDbCapabilities::STMT_BULK_OPERATIONS),
            collation: u16::from(login.collation),
            login_database: database.map(Into::into),
            multi_statements: agreed.contains(Capabilities::MULTI_STATEMENTS),
            wanted: None,
            held: None,
            in_transaction: false,
            opening: weir_backend::Opening::default(),
            begun_on: weir_plan::Target::Primary,
            released: false,
            pins: Pins::empty(),
            shown_pins: Pins::empty(),
            causes: None,
            status: Status::AUTOCOMMIT,
            statements: Statements::default(),
            wish: flags.session_track.then(Arc::default),
            virtuals: Vec::new(),
            diagnostics: super::Diagnostics::default(),
            user_variables: super::UserVariables::default(),
            texts: None,
            random: u64::from(handle.id).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            failed_changes: 0,
            peer: self.peer,
            listener: Arc::clone(self.listener),
            tenant,
        });
        session.set_idle_limit();
        Ok(session)
    }

    async fn first_packet(&mut self, expect: ExpectLogin) -> Result<Box<Lookup>, NoSession> {
        let payload = self.read().await?;
        let start_tls = match expect.handle(&payload)? {
            LoginStep::Lookup(lookup) => return Ok(lookup),
            LoginStep::StartTls(start) => start,
        };
        let (Some(client), Some(config)) = (self.client.take(), &self.listener.tls_config) else {
            return Err(Refused::new(error_code::HANDSHAKE, "Bad handshake").into());
        };
        let handle = client.handle();
        let Stream::Plain(socket) = client.into_stream() else {
            return Err(Refused::new(error_code::HANDSHAKE, "Bad handshake").into());
        };
        let accepted = TlsAcceptor::from(config.load_full()).accept(socket).await;
        let tls = accepted.map_err(|e| {
            tracing::debug!(error = %e, "TLS with a client failed");
            NoSession::Client(ClientError::Io(e))
        })?;
        let stream = Stream::Tls(Box::new(tls.into()));
        self.client = Some(Client::new(stream, Vec::new(), Arc::clone(self.worker), handle));
        let payload = self.read().await?;
        match start_tls.done().handle(&payload)? {
            LoginStep::Lookup(lookup) => Ok(lookup),
            LoginStep::StartTls(_) => Err(Refused::new(error_code::HANDSHAKE, "Bad handshake").into()),
        }
    }

    /// Finds out whose password it is. Exactly one login must match.
    async fn authenticate(
        &mut self,
        tenants: &Tenants,
        user: &[u8],
        default: AuthPlugin,
        next: NeedsCandidates,
    ) -> Result<Proven, NoSession> {
        let (plugin, entries) = candidates(tenants, self.listener, self.peer, user, default).await?;
        let candidates = entries.iter().map(|entry| self.gateway.keys.candidate(entry)).collect();
        let mut step = next.with(plugin, candidates)?;
        let verdict = loop {
            step = match step {
                Next::Send { payload, then } => {
                    self.write(&payload).await?;
                    let answer = self.read().await?;
                    then.handle(&answer)?
                }
                Next::Slow(check) => match tokio::task::spawn_blocking(move || check.run()).await {
                    Ok(verdict) => Next::Done(verdict),
                    Err(error) => {
                        tracing::error!(%error, "checking a password failed");
                        return Err(
                            Refused::new(error_code::UNKNOWN, "the password could not be checked").into()
                        );
                    }
                },
                Next::Done(verdict) => break verdict,
            };
        };
        self.gateway.keys.learn(&entries, &verdict);
        let chosen = choose(&entries, &verdict, user, self.peer)?;
        if let Some(payload) = verdict.before_ok() {
            self.write(payload).await?;
        }
        Ok(Proven::of(chosen, &verdict))
    }
}

impl Proven {
    fn of(entry: Entry, verdict: &Verdict) -> Self {
        let name = &entry.login.user.name;
        let (identity, shown) = match &entry.found {
            Some(found) => {
                let (identity, shown) = found.learn(name, verdict);
                (Some(identity), shown)
            }
            None => (None, None),
        };
        Self { entry, identity, _shown: shown }
    }
}

/// The login whose password it is; 1045 for none, and for more than one.
fn choose(entries: &[Entry], verdict: &Verdict, user: &[u8], peer: Option<IpAddr>) -> Result<Entry, Refused> {
    let denied = || {
        let used = if verdict.password_used { "YES" } else { "NO" };
        Refused::new(
            error_code::ACCESS_DENIED,
            format!("Access denied for user {} (using password: {used})", identity(user, peer)),
        )
    };
    match verdict.matched.as_slice() {
        [one] => entries.get(*one).cloned().ok_or_else(denied),
        [] => Err(denied()),
        // two passwords of one account
        [first, rest @ ..] if is_one_account(entries, *first, rest) => {
            entries.get(*first).cloned().ok_or_else(denied)
        }
        many => {
            let namespaces: Vec<&str> = many
                .iter()
                .filter_map(|i| entries.get(*i))
                .map(|e| e.login.namespace.name.as_str())
                .collect();
            tracing::warn!(
                user = %String::from_utf8_lossy(user),
                namespaces = namespaces.join(", "),
                "a user name and its password belong to several namespaces: refused; give one of them another password"
            );
            Err(denied())
        }
    }
}

fn is_one_account(entries: &[Entry], first: usize, rest: &[usize]) -> bool {
    let account = |i: usize| entries.get(i)?.found.as_ref();
    let Some(first) = account(first) else { return false };
    rest.iter().all(|i| account(*i).is_some_and(|other| Arc::ptr_eq(first, other)))
}

/// Who may log in under this name, from there, here; and the plugin that they share. Beside declared users that is the
/// account of the server whose accounts are users here, unless it has another plugin.
async fn candidates(
    tenants: &Tenants,
    listener: &Listener,
    peer: Option<IpAddr>,
    user: &[u8],
    default: AuthPlugin,
) -> Result<(AuthPlugin, Vec<Entry>), Refused> {
    let (plugin, mut entries) = declared(&tenants.snapshot, listener, peer, user, default);
    match accounts::look_up(tenants, listener, peer, user, entries.is_empty()).await {
        accounts::Known::Entries(theirs, found) if entries.is_empty() => Ok((theirs.into(), found)),
        accounts::Known::Refused(refused) if entries.is_empty() => Err(refused),
        accounts::Known::Entries(theirs, found) if plugin == theirs.into() => {
            entries.extend(found);
            Ok((plugin, entries))
        }
        accounts::Known::Entries(..) | accounts::Known::Refused(_) | accounts::Known::Nobody => {
            Ok((plugin, entries))
        }
    }
}

fn declared(
    snapshot: &Snapshot,
    listener: &Listener,
    peer: Option<IpAddr>,
    user: &[u8],
    default: AuthPlugin,
) -> (AuthPlugin, Vec<Entry>) {
    let Some(group) = std::str::from_utf8(user).ok().and_then(|name| snapshot.logins.get(name)) else {
        return (default, Vec::new());
    };
    let from_there = |entry: &&LoginEntry| {
        let nets = &entry.namespace.allowed_clients;
        // a Unix socket has no address: who may open it decides
        nets.is_empty() || peer.is_none_or(|ip| nets.iter().any(|net| net.contains(&ip)))
    };
    let entries = group
        .entries
        .iter()
        .filter(|e| listener.serves(&e.namespace.name))
        .filter(from_there)
        .map(Entry::from)
        .collect();
    (group.plugin.into(), entries)
}

/// A challenge that nobody can foresee; `None` if the system has no random numbers.
fn random_nonce() -> Option<Nonce> {
    let mut random = [0; weir_wire::auth::NONCE_LEN];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(Nonce::from_random(random))
}

/// Address and port, as lists of processes have it. Behind a load balancer the port is not told.
fn host_of(socket: Option<SocketAddr>, client: Option<IpAddr>) -> String {
    match (socket, client) {
        (Some(address), Some(ip)) if address.ip() == ip => {
            SocketAddr::new(ip.to_canonical(), address.port()).to_string()
        }
        (_, Some(ip)) => ip.to_canonical().to_string(),
        (_, None) => "localhost".to_owned(),
    }
}

/// `'name'@'host'`, as the servers write it.
fn identity(user: &[u8], peer: Option<IpAddr>) -> String {
    let host = peer.map_or_else(|| "localhost".to_owned(), |ip| ip.to_canonical().to_string());
    format!("'{}'@'{host}'", String::from_utf8_lossy(user))
}

fn class_of(agreed: Capabilities, mariadb: MariaDbCapabilities, account: Option<&Arc<Identity>>) -> Class {
    Class {
        identity: account.map(|account| account.id()).unwrap_or_default(),
        found_rows: agreed.contains(Capabilities::FOUND_ROWS),
        ignore_space: agreed.contains(Capabilities::IGNORE_SPACE),
        interactive: agreed.contains(Capabilities::INTERACTIVE),
        single_results: !agreed.intersects(Capabilities::MULTI_RESULTS | Capabilities::MULTI_STATEMENTS),
        extended_metadata: mariadb.contains(MariaDbCapabilities::EXTENDED_METADATA),
        query_attributes: agreed.contains(Capabilities::QUERY_ATTRIBUTES),
    }
}

/// Who asks for both gets zlib, as at the server.
fn compression(agreed: Capabilities, zstd_level: Option<u8>) -> Option<Algorithm> {
    if agreed.contains(Capabilities::COMPRESS) {
        return Some(Algorithm::Zlib);
    }
    let level = zstd_level.unwrap_or(DEFAULT_ZSTD_LEVEL);
    agreed.contains(Capabilities::ZSTD).then_some(Algorithm::Zstd { level })
}

fn default_plugin(flavour: Flavour) -> AuthPlugin {
    match flavour {
        Flavour::MySql => AuthPlugin::CachingSha2,
        Flavour::MariaDb => AuthPlugin::Native,
    }
}

/// What a listener greets with: what was set, else the lowest version among the primaries of its namespaces. While
/// none was ever reached, MySQL 8.4.0; or MariaDB 10.11.0, if a slice is declared to be MariaDB.
fn greeting_version(listener: &Listener, tenants: &Tenants) -> ServerVersion {
    if let Some(version) = &listener.version {
        return version.clone();
    }
    let served = || tenants.by_name.values().filter(|t| listener.serves(&t.name));
    let seen = served().filter_map(|t| t.primary.dialer().facts()).map(|facts| facts.version.clone());
    seen.min_by_key(|version| version.number).unwrap_or_else(|| {
        let is_mariadb =
            |t: &Arc<Tenant>| t.namespace.slices.iter().any(|s| s.flavour == Some(Flavour::MariaDb));
        let (flavour, number, text) = match served().any(is_mariadb) {
            true => (Flavour::MariaDb, 101_100, "10.11.0-MariaDB"),
            false => (Flavour::MySql, 80_400, "8.4.0"),
        };
        ServerVersion { flavour, number, text: text.to_owned() }
    })
}

/// The collation of a greeting, which some clients take for their own: that of a primary of the listener's
/// namespaces; utf8mb4 while none was ever reached.
fn greeting_collation(listener: &Listener, tenants: &Tenants, flavour: Flavour) -> u8 {
    let served = tenants.by_name.values().filter(|t| listener.serves(&t.name));
    let mut seen = served.filter_map(|t| t.primary.dialer().facts()).filter(|f| f.version.flavour == flavour);
    let default = match flavour {
        Flavour::MySql => 255,
        Flavour::MariaDb => 45,
    };
    seen.next().map_or(default, |facts| facts.greeting_collation)
}

/// What Weir can do for a client. Optional metadata are not offered.
fn offered(greeted: &ServerVersion, listener: &Listener, tenants: &Tenants) -> Capabilities {
    let mut capabilities = Capabilities::LONG_PASSWORD
        | Capabilities::FOUND_ROWS
        | Capabilities::LONG_FLAG
        | Capabilities::CONNECT_WITH_DB
        | Capabilities::NO_SCHEMA
        | Capabilities::ODBC
        | Capabilities::LOCAL_FILES
        | Capabilities::IGNORE_SPACE
        | Capabilities::PROTOCOL_41
        | Capabilities::INTERACTIVE
        | Capabilities::IGNORE_SIGPIPE
        | Capabilities::TRANSACTIONS
        | Capabilities::RESERVED
        | Capabilities::SECURE_CONNECTION
        | Capabilities::MULTI_STATEMENTS
        | Capabilities::MULTI_RESULTS
        | Capabilities::PS_MULTI_RESULTS
        | Capabilities::PLUGIN_AUTH
        | Capabilities::CONNECT_ATTRS
        | Capabilities::PLUGIN_AUTH_LENENC
        | Capabilities::SESSION_TRACK
        | Capabilities::DEPRECATE_EOF;
    if greeted.flavour == Flavour::MariaDb {
        // says that MariaDB's own capabilities follow
        capabilities.remove(Capabilities::LONG_PASSWORD);
    }
    capabilities.set(Capabilities::SSL, listener.tls != ClientTls::Off);
    capabilities.set(Capabilities::COMPRESS, listener.compression);
    let knows_zstd = greeted.flavour == Flavour::MySql && greeted.number >= 80_018;
    capabilities.set(Capabilities::ZSTD, listener.compression && knows_zstd);
    capabilities
        .set(Capabilities::QUERY_ATTRIBUTES, all_offer(Capabilities::QUERY_ATTRIBUTES, listener, tenants));
    capabilities
}

/// Do all servers behind a listener offer it, as far as they were reached, and was every primary reached?
fn all_offer(wanted: Capabilities, listener: &Listener, tenants: &Tenants) -> bool {
    let mut served = tenants.by_name.values().filter(|t| listener.serves(&t.name));
    served.all(|tenant| {
        tenant.primary.dialer().facts().is_some()
            && tenant.pools().filter_map(|p| p.dialer().facts()).all(|f| f.capabilities.contains(wanted))
    })
}

/// What Weir can do for a client of MariaDB beyond that: extended metadata, which servers have since 10.5.2.
fn offered_mariadb(greeted: &ServerVersion) -> MariaDbCapabilities {
    let mut capabilities = MariaDbCapabilities::empty();
    let knows = greeted.flavour == Flavour::MariaDb && greeted.number >= 100_502;
    capabilities.set(MariaDbCapabilities::EXTENDED_METADATA, knows);
    let knows_bulk = greeted.flavour == Flavour::MariaDb && greeted.number >= 100_200;
    capabilities.set(MariaDbCapabilities::STMT_BULK_OPERATIONS, knows_bulk);
    capabilities
}

/// A login with a database is refused as the server would: if it is not allowed, or not there.
async fn check_database(
    worker: &Worker,
    tenant: &Tenant,
    identity: &str,
    class: Class,
    database: Option<&[u8]>,
) -> Result<(), NoSession> {
    let Some(database) = database else { return Ok(()) };
    if !tenant.namespace.allowed_databases.allows(database) {
        let name = String::from_utf8_lossy(database);
        return Err(Refused::new(
            error_code::DB_ACCESS_DENIED,
            format!("Access denied for user {identity} to database '{name}'"),
        )
        .into());
    }
    let nothing = Arc::clone(tenant.primary.dialer().any_state());
    let want = Want { class, state: &nothing, user_variables: &Arc::default(), thorough: true, ride: None };
    // any connection will do: what follows gives it a default database in any case
    let mut with_database = (*nothing).clone();
    with_database.set_database(Some(database));
    let with_database = Arc::new(with_database);
    let want = Want { state: &with_database, ..want };
    let mut checkout = tenant.primary.checkout(worker.id, &want).await.map_err(|error| {
        let mut refused = Refused::from(error);
        if refused.code == error_code::TOO_MANY_USER_CONNECTIONS {
            refused.code = error_code::CON_COUNT;
        }
        refused
    })?;
    let mut payload = vec![com::INIT_DB];
    payload.extend_from_slice(database);
    match checkout.command(&payload, Expect::One).await {
        Ok(_) => {
            let mut state = (**checkout.state()).clone();
            state.set_database(Some(database));
            let state = checkout.server().share(state);
            checkout.set_state(state);
            checkout.give_back();
            Ok(())
        }
        Err(error) => {
            let refused = crate::error::lost(tenant.primary.instance(), &error);
            checkout.give_back();
            Err(refused.into())
        }
    }
}

/// COM_CHANGE_USER is an unknown command after so many failures. Source: `MAX_FAILED_CHANGE_USER_COUNT` of MariaDB.
const MOST_FAILED_CHANGES: u8 = 3;

impl Session {
    /// COM_CHANGE_USER: everything is forgotten, whatever comes of it. A failure ends the session at MySQL; at MariaDB it
    /// goes on as the user it was, and may try three times.
    pub(super) async fn change_user(&mut self, request: &mut Request) -> Result<(), SessionError> {
        if self.failed_changes >= MOST_FAILED_CHANGES {
            return Err(Refused::new(error_code::UNKNOWN_COM, "Unknown command").into());
        }
        self.forget_everything();
        let (version, tenants) = self.gateway.tenants();
        let flavour = greeting_version(&self.listener, &tenants).flavour;
        let error = match self.become_user(request, version, &tenants, flavour).await {
            Err(error) if flavour == Flavour::MariaDb => error,
            other => return other,
        };
        self.failed_changes += 1;
        // the user's session begins anew, with the server's own character set
        self.collation = 0;
        Err(match error {
            SessionError::Fatal(refused) => SessionError::Refused(refused),
            SessionError::FatalAt(refused, sequence) => SessionError::RefusedAt(refused, sequence),
            error => error,
        })
    }

    async fn become_user(
        &mut self,
        request: &mut Request,
        version: u64,
        tenants: &Tenants,
        flavour: Flavour,
    ) -> Result<(), SessionError> {
        let body = request.payload().get(1..).unwrap_or_default().to_vec();
        let fatal = |refused: Refused| SessionError::Fatal(refused);
        let Some(nonce) = random_nonce() else {
            return Err(fatal(Refused::new(error_code::UNKNOWN, "no random numbers")));
        };
        let secure = self.client.stream().is_secure();
        let offer = Offer {
            capabilities: self.capabilities,
            mariadb: MariaDbCapabilities::empty(),
            nonce,
            tls: TlsOffer::Off,
            transport: match (self.client.stream().is_tls(), secure) {
                (true, _) => Transport::Tls,
                (false, true) => Transport::Local,
                (false, false) => Transport::Plain,
            },
            rsa: self.gateway.keys.rsa.load_full(),
        };
        let denied = |e: accept::AcceptError| fatal(Refused::new(e.code(), e.client_message()));
        let (change, next) = accept::change_user(&body, self.capabilities, offer).map_err(denied)?;
        let plugin = default_plugin(flavour);
        let found = candidates(tenants, &self.listener, self.peer, &change.user, plugin).await;
        let (plugin, entries) = found.map_err(fatal)?;
        let known = entries.iter().map(|entry| self.gateway.keys.candidate(entry)).collect();
        let mut step = next.with(plugin, known).map_err(denied)?;
        let mut sequence = 1;
        let verdict = loop {
            step = match step {
                Next::Send { payload, then } => {
                    let mut out = Vec::new();
                    sequence = write_packet(&mut out, sequence, &payload);
                    self.client.write(&out).await?;
                    let answer = self.client.request(sequence).await?;
                    sequence = sequence.wrapping_add(1);
                    let next = then.handle(answer.payload()).map_err(denied);
                    self.client.done(answer);
                    next?
                }
                Next::Slow(check) => match tokio::task::spawn_blocking(move || check.run()).await {
                    Ok(verdict) => Next::Done(verdict),
                    Err(_) => {
                        return Err(fatal(Refused::new(
                            error_code::UNKNOWN,
                            "the password could not be checked",
                        )));
                    }
                },
                Next::Done(verdict) => break verdict,
            };
        };
        self.gateway.keys.learn(&entries, &verdict);
        let refused_at = |refused: Refused, sequence: u8| SessionError::FatalAt(refused, sequence);
        let chosen =
            choose(&entries, &verdict, &change.user, self.peer).map_err(|r| refused_at(r, sequence))?;
        let Proven { entry, identity: account, _shown } = Proven::of(chosen, &verdict);
        let Entry { login: entry, found } = entry;
        let Some(tenant) = tenants.by_name.get(&entry.namespace.name).cloned() else {
            return Err(SessionError::Quit);
        };
        let class = Class { identity: account.as_ref().map(|a| a.id()).unwrap_or_default(), ..self.class };
        if let (Some(found), Some(account)) = (&found, &account) {
            let fits = found.check_transport(self.client.stream().is_tls());
            fits.map_err(|r| refused_at(r, sequence))?;
            let proven = found.prove(&self.worker, &tenant, class, account).await;
            proven.map_err(|r| refused_at(r, sequence))?;
        }
        let identity = identity(&change.user, self.peer);
        let database = change.database.filter(|d| !d.is_empty());
        let checked = check_database(&self.worker, &tenant, &identity, class, database.as_deref());
        let checked = self.handle.unless_told(checked).await.map_err(not_run)?;
        if let Err(NoSession::Refused(refused)) = checked {
            return Err(refused_at(refused, sequence));
        }
        self.tenant.shared.connections.fetch_sub(1, Ordering::AcqRel);
        tenant.shared.connections.fetch_add(1, Ordering::AcqRel);
        self.handle
            .logged_in(Login { namespace: Arc::clone(&tenant.name), user: entry.user.name.as_str().into() });
        self.tenant = tenant;
        self.version = version;
        self.user = entry.user;
        self.account = account;
        self.class = class;
        self.identity = identity.into();
        self.failed_changes = 0;
        self.handle.set_database(database.as_deref());
        self.login_database = database.map(Into::into);
        if let Some(collation) = change.collation {
            self.collation = collation;
        }
        self.set_idle_limit();
        let mut out = Vec::new();
        if let Some(payload) = verdict.before_ok() {
            sequence = packet_with(&mut out, sequence, |w| {
                w.bytes(payload);
            });
        }
        answer::ok_with_schema(
            &mut out,
            sequence,
            self.client.flags,
            self.status,
            self.login_database.as_deref(),
        );
        Ok(self.client.write(&out).await?)
    }
}
