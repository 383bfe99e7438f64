//! Makes connections to one instance: resolve, connect, TLS, log in, read what the server is and gives.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use weir_catalog::slice::{Address, BackendAccount, BackendCompression, BackendTlsMode};
use weir_wire::{
    Malformed, capability::Capabilities, connect::ServerRefusal, error_code, greeting::Greeting,
    server_version::ServerVersion,
};

use crate::{
    accounts::{Identities, Identity},
    connection::{Connection, ConnectionError},
    pool::Class,
    state::{Accepted, Interner, State, variable_count},
    stream::Socket,
    variable::Kinds,
};

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error("the name {host} does not resolve: {error}")]
    Resolve {
        /// Host name.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// Nobody listens, or the network does not get there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// TLS is demanded, and the server does not offer it.
    #[error("the server does not offer TLS, which the slice demands")]
    NoTls,
    /// TLS failed.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The server does not let Weir in.
    #[error("login failed: {0}")]
    Login(String),
    /// The server said no to the account.
    #[error("login failed: the server refused: {0}")]
    Refused(ServerRefusal),
    /// The server asks for a password that is not kept.
    #[error(
        "the server asks for the password of {0} again, which Weir does not keep: connect again to show it"
    )]
    PasswordUnknown(String),
    /// The server takes Weir's connections for another account's than the client's.
    #[error(
        "the server takes Weir's connections for those of '{found}', but the client's address belongs to '{expected}': \
         give both the same account, or let clients connect from where Weir does"
    )]
    OtherAccount {
        /// The client's account.
        expected: String,
        /// The one that the server takes.
        found: String,
    },
    /// Nobody uses the identity any more.
    #[error("nobody wants this connection any more")]
    NobodyWants,
    /// The process ends.
    #[error("the process ends")]
    Ending,
    /// The connection failed while it was made ready.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The server sent something that is no greeting, or no login.
    #[error("the server sent a {0}")]
    Malformed(#[from] Malformed),
}

impl DialError {
    /// What the account is refused with, if it is to blame and not the server: other accounts may well be let in.
    #[must_use]
    pub fn blames_account(&self) -> Option<ServerRefusal> {
        let denied = |message: String| ServerRefusal { code: error_code::ACCESS_DENIED, message };
        match self {
            Self::Refused(refusal) => {
                // too many connections, shutdown, host blocked, host not allowed, TLS demanded of all
                let of_server = [1040, 1053, 1129, 1130, 3159];
                (!of_server.contains(&refusal.code.number)).then(|| refusal.clone())
            }
            // MariaDB lets an account whose password has expired in, and then refuses what it asks
            Self::Connection(ConnectionError::Server { code, text }) => {
                Some(ServerRefusal { code: *code, message: text.clone() })
            }
            Self::PasswordUnknown(_) | Self::OtherAccount { .. } | Self::NobodyWants => {
                Some(denied(self.to_string()))
            }
            _ => None,
        }
    }
}

/// Logins at servers that have begun and not ended, in the whole process.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
/// No more logins begin.
static ENDING: AtomicBool = AtomicBool::new(false);

/// A login at a server. One that is broken off is held against the whole host (`max_connect_errors`).
struct UnderWay;

impl UnderWay {
    fn begin() -> Result<Self, DialError> {
        UNDER_WAY.fetch_add(1, Ordering::SeqCst);
        let begun = Self;
        if ENDING.load(Ordering::SeqCst) { Err(DialError::Ending) } else { Ok(begun) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The process ends: no more logins begin. Waits until those under way have ended, for `limit` at most; must not be
/// called by a thread that runs them.
pub fn end_logins(limit: Duration) {
    ENDING.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    while UNDER_WAY.load(Ordering::SeqCst) > 0 && begun.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What is known of a server since a connection to it was made.
#[derive(Debug)]
pub struct ServerFacts {
    /// Family and version.
    pub version: ServerVersion,
    /// What it offers.
    pub capabilities: Capabilities,
    /// The collation id that the server greets with: the low byte of its default.
    pub greeting_collation: u8,
    /// Collations by id: character set and collation name.
    collations: HashMap<u16, (String, String)>,
    /// Default collations by character set.
    default_collations: HashMap<String, String>,
    /// Character set and collation of a client that asks for none that the server knows.
    default_charset: (String, String),
    /// The server's `max_allowed_packet`, bytes.
    pub max_allowed_packet: usize,
    /// How its session variables are written.
    pub variables: Kinds,
    /// Values of them that it has accepted.
    pub accepted: Accepted,
    /// Shares equal states.
    pub(crate) states: Arc<Interner<State>>,
    /// Stands for a state that is not known yet.
    pub(crate) nothing: Arc<State>,
}

impl ServerFacts {
    /// Character set and collation of a collation id, if the server knows it and lets clients use it.
    #[must_use]
    pub fn charset_of(&self, id: u16) -> Option<(String, String)> {
        self.collations.get(&id).filter(|(charset, _)| is_client_charset(charset)).cloned()
    }

    /// The character set of a collation id, if it is one that no client may have.
    #[must_use]
    pub fn forbidden_charset(&self, id: u16) -> Option<&str> {
        self.collations
            .get(&id)
            .map(|(charset, _)| charset.as_str())
            .filter(|charset| !is_client_charset(charset))
    }

    /// A character set by name, with `collation` or its own default.
    #[must_use]
    pub fn charset_named(&self, charset: &str, collation: Option<&str>) -> Option<(String, String)> {
        let collation = match collation {
            Some(collation) => collation.to_owned(),
            None => self.default_collations.get(charset)?.clone(),
        };
        Some((charset.to_owned(), collation))
    }

    /// The shared form of a state.
    #[must_use]
    pub fn share(&self, state: State) -> Arc<State> {
        self.states.share(state)
    }

    /// What the server gives clients that ask for nothing it knows.
    #[must_use]
    pub fn default_charset(&self) -> (String, String) {
        self.default_charset.clone()
    }
}

/// Character sets that cannot be `character_set_client`. Source: "Impermissible Client Character Sets".
/// Id of the charset in which MariaDB keeps names of files.
const FILENAME_COLLATION: u16 = 17;

fn is_client_charset(name: &str) -> bool {
    !matches!(name, "ucs2" | "utf16" | "utf16le" | "utf32" | "filename")
}

/// Where and as whom to log in.
#[derive(Debug)]
pub struct DialerOptions {
    /// Where the instance listens.
    pub address: Address,
    /// The account.
    pub account: BackendAccount,
    /// How much TLS is demanded.
    pub tls_mode: BackendTlsMode,
    /// TLS settings; `None` if TLS is off.
    pub tls: Option<Arc<crate::tls::TlsSettings>>,
    /// Statements may load files of clients.
    pub local_files: bool,
    /// Compression.
    pub compression: BackendCompression,
    /// Shares equal states.
    pub states: Arc<Interner<State>>,
    /// Others than the account whom connections may be logged in as.
    pub identities: Arc<Identities>,
}

/// Makes connections to one instance.
#[derive(Debug)]
pub struct Dialer {
    pub(crate) options: DialerOptions,
    nothing: Arc<State>,
    facts: RwLock<Option<Arc<ServerFacts>>>,
    baselines: Mutex<HashMap<Class, Arc<State>>>,
}

impl Dialer {
    /// A dialer that has not dialed yet.
    #[must_use]
    pub fn new(options: DialerOptions) -> Self {
        let nothing = State::from_values(None, vec![Box::default(); variable_count()]);
        #[allow(clippy::expect_used, reason = "the number of values is the number that is asked for")]
        let nothing = options.states.share(nothing.expect("as many values as variables"));
        Self { options, nothing, facts: RwLock::default(), baselines: Mutex::default() }
    }

    /// A state for commands that need none.
    #[must_use]
    pub fn any_state(&self) -> &Arc<State> {
        &self.nothing
    }

    /// Others than the account whom connections may be logged in as.
    pub(crate) fn identities(&self) -> &Arc<Identities> {
        &self.options.identities
    }

    /// Forgets what it knows for the sake of identities that nobody uses any more.
    pub(crate) fn forget_unused(&self) {
        let mut baselines = self.baselines.lock().unwrap_or_else(PoisonError::into_inner);
        baselines.retain(|class, _| self.options.identities.is_used(class.identity));
    }

    /// What is known of the server; `None` before the first connection.
    #[must_use]
    pub fn facts(&self) -> Option<Arc<ServerFacts>> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the server gave the last connection of a class at login.
    #[must_use]
    pub fn baseline(&self, class: Class) -> Option<(Arc<ServerFacts>, Arc<State>)> {
        let baseline = self.baselines.lock().unwrap_or_else(PoisonError::into_inner).get(&class).cloned()?;
        Some((self.facts()?, baseline))
    }

    /// Makes a connection that is ready for use.
    ///
    /// # Errors
    /// The instance is not there, does not let Weir in, or is too slow.
    pub async fn dial(&self, class: Class, limit: Duration) -> Result<Connection, DialError> {
        let _under_way = UnderWay::begin()?;
        match tokio::time::timeout(limit, self.dial_without_limit(class)).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout(limit)),
        }
    }

    async fn dial_without_limit(&self, class: Class) -> Result<Connection, DialError> {
        let identity = match class.identity.is_service() {
            true => None,
            false => Some(self.identities().get(class.identity).ok_or(DialError::NobodyWants)?),
        };
        let socket = self.connect().await?;
        let (stream, version, greeting) = self.log_in(socket, class, identity.as_deref()).await?;
        let known = self.facts().filter(|facts| facts.version == version);
        let is_new = known.is_none();
        let facts = known.unwrap_or_else(|| Arc::new(self.bare_facts(version.clone(), &greeting)));
        let mut connection = Connection::new(stream, facts, greeting.connection_id, class, Instant::now());
        if is_new {
            let facts = self.learn(&mut connection, version, &greeting).await?;
            connection.set_server(Arc::clone(&facts));
            *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        }
        if let Some(identity) = identity {
            check_account(&mut connection, &identity).await?;
        }
        connection.prepare_for_use(false).await?;
        let baseline = Arc::clone(connection.baseline());
        self.baselines.lock().unwrap_or_else(PoisonError::into_inner).insert(class, baseline);
        Ok(connection)
    }

    async fn connect(&self) -> Result<Socket, DialError> {
        match &self.options.address {
            Address::Unix(path) => {
                Ok(Socket::Unix(UnixStream::connect(path).await.map_err(DialError::Connect)?))
            }
            Address::Tcp { host, port } => {
                let resolved = lookup_host((host.as_str(), *port)).await;
                let addresses = resolved.map_err(|error| DialError::Resolve { host: host.clone(), error })?;
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in addresses {
                    match TcpStream::connect(address).await {
                        Ok(stream) => {
                            stream.set_nodelay(true).map_err(DialError::Connect)?;
                            let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
                            socket2::SockRef::from(&stream)
                                .set_tcp_keepalive(&keepalive)
                                .map_err(DialError::Connect)?;
                            return Ok(Socket::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(DialError::Connect(last))
            }
        }
    }

    /// The name that the server's certificate must bear.
    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, DialError> {
        let host = match &self.options.address {
            Address::Tcp { host, .. } => host.clone(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        ServerName::try_from(host).map_err(|e| DialError::Tls(io::Error::other(e)))
    }

    fn bare_facts(&self, version: ServerVersion, greeting: &Greeting) -> ServerFacts {
        ServerFacts {
            version,
            capabilities: greeting.capabilities,
            greeting_collation: greeting.collation,
            collations: HashMap::new(),
            default_collations: HashMap::new(),
            default_charset: ("utf8mb4".to_owned(), "utf8mb4_general_ci".to_owned()),
            max_allowed_packet: usize::MAX,
            variables: Kinds::default(),
            accepted: Accepted::default(),
            states: Arc::clone(&self.options.states),
            nothing: Arc::clone(&self.nothing),
        }
    }

    /// The first connection to a server asks what collations it has and how large packets may be.
    async fn learn(
        &self,
        connection: &mut Connection,
        version: ServerVersion,
        greeting: &Greeting,
    ) -> Result<Arc<ServerFacts>, DialError> {
        let mut facts = self.bare_facts(version, greeting);
        let collations = connection
            .query(
                "SELECT ID,CHARACTER_SET_NAME,COLLATION_NAME,IS_DEFAULT FROM information_schema.COLLATIONS \
                 WHERE ID IS NOT NULL",
            )
            .await?;
        if facts.version.flavour == weir_wire::server_version::Flavour::MariaDb {
            // known to the server, and not listed
            facts.collations.insert(FILENAME_COLLATION, ("filename".to_owned(), "filename".to_owned()));
        }
        for row in collations.rows()? {
            let mut values =
                row.into_iter().map(|v| String::from_utf8_lossy(&v.unwrap_or_default()).into_owned());
            if let (Some(id), Some(charset), Some(collation)) = (values.next(), values.next(), values.next())
                && let Ok(id) = id.parse()
            {
                if values.next().is_some_and(|is_default| is_default.eq_ignore_ascii_case("yes")) {
                    facts.default_collations.insert(charset.clone(), collation.clone());
                }
                facts.collations.insert(id, (charset, collation));
            }
        }
        let reply = connection
            .query("SELECT @@GLOBAL.max_allowed_packet,@@GLOBAL.character_set_client,@@GLOBAL.collation_connection")
            .await?;
        if let Some(row) = reply.rows()?.into_iter().next() {
            let mut values =
                row.into_iter().map(|v| String::from_utf8_lossy(&v.unwrap_or_default()).into_owned());
            if let (Some(packet), Some(charset), Some(collation)) =
                (values.next(), values.next(), values.next())
            {
                facts.max_allowed_packet = packet.parse().unwrap_or(usize::MAX);
                facts.default_charset = (charset, collation);
            }
        }
        Ok(Arc::new(facts))
    }
}

/// Is it the account that the client's address belongs to? The server sees Weir's.
async fn check_account(connection: &mut Connection, identity: &Identity) -> Result<(), DialError> {
    let rows = connection.query("SELECT CURRENT_USER()").await?.rows()?;
    let found = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    let found = String::from_utf8_lossy(&found.unwrap_or_default()).into_owned();
    let expected = identity.current_user();
    if found == expected {
        return Ok(());
    }
    Err(DialError::OtherAccount { expected: expected.to_owned(), found })
}
