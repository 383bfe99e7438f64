//! The accounts of a server, for namespaces whose users they are.
//!
//! A connection of Weir's own, beyond the pool's budget, reads the primary's accounts and sees within a second when one
//! of them changes. Whoever logs in is checked against them and becomes an [`Identity`]; connections to the servers are
//! opened as it. What changed at the server concerns those who log in from then on, as at the server itself:
//! running sessions go on with their identity, on the connections that there are and on new ones as long as the server
//! lets them in.

mod identity;
mod read;
mod vault;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use weir_catalog::account::{Account, Origin, pick};
use weir_wire::server_version::Flavour;

use crate::{
    connection::Connection,
    dial::{DialError, Dialer},
    pool::Class,
};

pub use identity::{Identities, Identity, IdentityId, Secrets, Shown};
pub use read::tables as account_tables;

/// How often it is looked whether an account has changed.
const POLL: Duration = Duration::from_secs(1);
/// However often a look is asked for, there is this time between two.
const SPACING: Duration = Duration::from_millis(100);
/// All accounts are read again after this time, whatever the sum over their tables says.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// A reading that is older proves nothing: each login is then also a login to the server.
const FRESH: Duration = Duration::from_secs(10);
/// What an account's identity and the hashes of its password outlive its last login by, if passwords are kept for less.
const LINGER: Duration = Duration::from_secs(300);

/// See the module's text.
#[derive(Debug)]
pub struct Accounts {
    dialer: Dialer,
    connect_timeout: Duration,
    password_memory: Duration,
    identities: Arc<Identities>,
    /// The accounts as last read, by user name.
    table: RwLock<Option<Arc<Table>>>,
    /// Rings at each attempt to read them.
    attempts: watch::Sender<u64>,
    /// What was read before this may be outdated.
    doubted: Mutex<Option<Instant>>,
    /// A look is asked for.
    wanted: Notify,
    /// Why the last attempt failed.
    problem: Mutex<Option<String>>,
    /// Who has logged in, by login name and account.
    known: Mutex<HashMap<(String, String), Known>>,
}

/// All accounts of a server at one point in time.
#[derive(Debug)]
pub struct Table {
    by_user: HashMap<String, Vec<Account>>,
    /// Does the server look up the names of its clients' hosts?
    names: bool,
    flavour: Flavour,
    read_at: RwLock<Instant>,
}

#[derive(Debug)]
struct Known {
    account: Account,
    identity: Arc<Identity>,
    last_login: Instant,
}

impl Table {
    /// The account that the server takes a client for who comes from there.
    #[must_use]
    pub fn find(&self, user: &str, address: Option<std::net::IpAddr>) -> Option<&Account> {
        let of = |name: &str| self.by_user.get(name).into_iter().flatten();
        pick(of(user).chain(of("")), user, &Origin { address, names: self.names, flavour: self.flavour })
    }

    /// Was it read a moment ago?
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.read_at().elapsed() < FRESH
    }

    /// When the last look at it began.
    fn read_at(&self) -> Instant {
        *self.read_at.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(accounts: Vec<Account>, names: bool, flavour: Flavour, read_at: Instant) -> Self {
        let mut by_user: HashMap<String, Vec<Account>> = HashMap::new();
        for account in accounts {
            by_user.entry(account.user.clone()).or_default().push(account);
        }
        Self { by_user, names, flavour, read_at: RwLock::new(read_at) }
    }

    fn account(&self, user: &str, host: &str) -> Option<&Account> {
        self.by_user.get(user)?.iter().find(|account| account.host == host)
    }
}

impl Accounts {
    /// Nothing is read before [`follow_accounts`] runs. `dialer` logs in with the account that may read the others.
    #[must_use]
    pub fn new(
        dialer: Dialer,
        connect_timeout: Duration,
        password_memory: Duration,
        identities: Arc<Identities>,
    ) -> Self {
        Self {
            dialer,
            connect_timeout,
            password_memory,
            identities,
            table: RwLock::default(),
            attempts: watch::Sender::new(0),
            doubted: Mutex::default(),
            wanted: Notify::new(),
            problem: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// How long passwords are kept.
    #[must_use]
    pub fn password_memory(&self) -> Duration {
        self.password_memory
    }

    /// A statement may have changed accounts: the next login waits for a look that begins now or later, so that who has
    /// created an account can log in with it at once.
    pub fn doubt(&self) {
        *self.doubted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.wanted.notify_one();
    }

    /// The accounts as last read. Waits for the first reading, and for one after a [`doubt`](Self::doubt), until an
    /// attempt failed.
    ///
    /// # Errors
    /// They could not be read yet; the message says why.
    pub async fn table(&self) -> Result<Arc<Table>, String> {
        let mut attempts = self.attempts.subscribe();
        let doubted = *self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
            let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match (table, problem) {
                (Some(table), None) if doubted.is_none_or(|doubted| table.read_at() >= doubted) => {
                    return Ok(table);
                }
                (Some(table), Some(_)) => return Ok(table),
                (None, Some(problem)) => return Err(problem),
                (_, None) => {}
            }
            if attempts.changed().await.is_err() {
                return Err("nobody reads them".to_owned());
            }
        }
    }

    /// Whom a login with this account is: the same as before unless the account has changed.
    #[must_use]
    pub fn identity(&self, account: &Account, name: &str, now: Instant) -> Arc<Identity> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), account.current_user());
        if let Some(known) = known.get_mut(&key) {
            if known.account.version == account.version {
                known.last_login = now;
                return Arc::clone(&known.identity);
            }
            let identity = self.successor(known, account, name);
            *known = Known { account: account.clone(), identity: Arc::clone(&identity), last_login: now };
            return identity;
        }
        let secrets = self.identities.secrets(false);
        let identity = self.identities.add(name, account.current_user(), secrets);
        let new = Known { account: account.clone(), identity: Arc::clone(&identity), last_login: now };
        known.insert(key, new);
        identity
    }

    /// What is known of the password stays known, unless it was changed.
    fn successor(&self, known: &Known, account: &Account, name: &str) -> Arc<Identity> {
        let secrets = Arc::clone(known.identity.secrets());
        if known.account.proof != account.proof {
            secrets.forget();
        }
        self.identities.add(name, account.current_user(), secrets)
    }

    /// What a login with this account showed before, if it is known well enough for one that shows nothing.
    #[must_use]
    pub fn learnt(&self, account: &Account, name: &str, now: Instant) -> Option<[u8; 32]> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&(name.to_owned(), account.current_user()))?;
        let secrets = known.identity.secrets();
        let holds = known.account.proof == account.proof && secrets.has_password(now);
        holds.then(|| secrets.sha2_stage2())?
    }

    /// Another reading. Whose account is gone or changed, gets another identity with the next login.
    fn take_over(&self, table: Table) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(name, _), known| match table.account(&known.account.user, &known.account.host) {
            Some(account) if account.version == known.account.version => true,
            Some(account) => {
                known.identity = self.successor(known, account, name);
                known.account = account.clone();
                true
            }
            None => {
                known.identity.secrets().forget();
                false
            }
        });
        drop(known);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table));
    }

    /// Forgets passwords whose time is over, and whoever has not been here for long.
    fn expire(&self, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.password_memory.max(LINGER);
        known.retain(|_, known| {
            known.identity.secrets().expire(now);
            // sessions hold their identity themselves
            Arc::strong_count(&known.identity) > 1 || now.saturating_duration_since(known.last_login) <= limit
        });
    }

    fn attempted(&self, problem: Option<String>) {
        let mut last = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = problem.as_ref().filter(|problem| last.as_ref() != Some(problem)) {
            tracing::warn!(problem, "the accounts of a server cannot be read; it is tried again");
        }
        *last = problem;
        drop(last);
        self.attempts.send_modify(|n| *n += 1);
    }
}

/// A connection that reads accounts, and what it saw last.
struct Reader {
    connection: Connection,
    sums: Vec<Vec<u8>>,
    last_read: Instant,
}

/// Reads the accounts now and whenever they have changed. Ends when nobody else has them.
pub async fn follow_accounts(accounts: Arc<Accounts>) {
    let mut reader = None;
    while Arc::strong_count(&accounts) > 1 {
        let limit = accounts.connect_timeout * 2;
        let look = look(&accounts, &mut reader);
        let problem = match tokio::time::timeout(limit, look).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {limit:?}")),
        };
        if problem.is_some() {
            reader = None;
        }
        accounts.attempted(problem);
        accounts.expire(Instant::now());
        tokio::time::sleep(SPACING).await;
        if tokio::time::timeout(POLL.saturating_sub(SPACING), accounts.wanted.notified()).await.is_ok() {
            tracing::debug!("a statement may have changed accounts: they are looked at");
        }
    }
}

async fn look(accounts: &Accounts, reader: &mut Option<Reader>) -> Result<(), DialError> {
    let (mut connection, before) = match reader.take() {
        Some(Reader { connection, sums, last_read }) => (connection, Some((sums, last_read))),
        None => (accounts.dialer.dial(Class::default(), accounts.connect_timeout).await?, None),
    };
    // what changes meanwhile is seen the next time
    let now = Instant::now();
    let sums = read::checksum(&mut connection).await?;
    let last_read = match before {
        Some((before, last_read)) if before == sums && last_read.elapsed() < READ_AGAIN => {
            let table = accounts.table.read().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(table) = table {
                *table.read_at.write().unwrap_or_else(PoisonError::into_inner) = now;
            }
            last_read
        }
        _ => {
            let (all, names) = read::accounts(&mut connection, &sums).await?;
            accounts.take_over(Table::of(all, names, connection.server().version.flavour, now));
            now
        }
    };
    *reader = Some(Reader { connection, sums, last_read });
    Ok(())
}

/// Reads the accounts once, to see whether that is possible.
///
/// # Errors
/// It is not; for each table that cannot be read, its name and why.
pub async fn try_to_read_accounts(connection: &mut Connection) -> Result<(), Vec<(&'static str, String)>> {
    let mut problems = Vec::new();
    for table in account_tables(&connection.server().version.clone()) {
        if let Err(error) = connection.query(&format!("SELECT 1 FROM {table} LIMIT 1")).await {
            problems.push((*table, error.to_string()));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
