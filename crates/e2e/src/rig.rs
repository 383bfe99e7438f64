//! Weir with a relay on each side, and a count of what it holds.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_testkit::Cluster;

use crate::balance::Balance;
use crate::client::{Client, Endpoint, Failure, Login};
use crate::fault::Relay;
use crate::pair::Databases;
use crate::weir::{Namespace, Options, User, Weir};

/// Pauses between dials of a server that failed are shorter.
const PATIENCE: Duration = Duration::from_secs(15);
const PASSWORD: &str = "rig-password";

/// client ⇄ relay ⇄ Weir ⇄ relay ⇄ primary, with one connection to the server, which is not encrypted.
#[derive(Debug)]
pub struct Rig<'c> {
    /// In front of Weir.
    pub front: Relay,
    /// In front of the primary.
    pub back: Relay,
    /// The program.
    pub weir: Weir,
    /// A database of this rig's own.
    pub database: String,
    cluster: &'c Cluster,
    account: String,
    start: Option<Balance>,
    _databases: Databases<'c>,
}

impl<'c> Rig<'c> {
    /// Starts it, with an account of its own at the server; `change` changes what differs.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(
        cluster: &'c Cluster,
        topic: &str,
        change: impl FnOnce(Options) -> Options,
    ) -> Result<Rig<'c>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let account = format!("rig_{}_{number}", std::process::id());
        cluster.sql(
            0,
            &format!(
                "CREATE USER '{account}'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO '{account}'@'%'"
            ),
        )?;
        let databases = Databases::create(cluster, topic)?;
        let back = Relay::start(cluster.primary()?.port)?;
        let namespace = Namespace::at("app", back.port(), &[])
            .users_are(vec![User::of(cluster)])
            .set("slices.0.account.user", account.clone())
            .set("slices.0.account.password", PASSWORD)
            .set("slices.0.tls.mode", "off")
            .set("pool.capacity", 1)
            .set("pool.idle_timeout", "1h");
        let options = change(Options::of(vec![namespace]).greeting(cluster.version()));
        let weir = Weir::start(&options)?;
        let front = Relay::start(weir.port())?;
        let database = databases.weir.clone();
        let mut rig =
            Rig { front, back, weir, database, cluster, account, start: None, _databases: databases };
        rig.serves()?;
        rig.start = Some(rig.count_at_rest()?);
        Ok(rig)
    }

    /// The usual login, with this rig's database.
    #[must_use]
    pub fn login(&self) -> Login {
        self.weir.login().database(&self.database)
    }

    /// Connects to Weir.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn client(&self) -> Result<Client, Failure> {
        self.weir.connect(&self.login())
    }

    /// Connects to Weir through the relay in front of it.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn client_in_front(&self, login: &Login) -> Result<Client, Failure> {
        Client::connect(&Endpoint::port(self.front.port()), login)
    }

    /// Runs a text as the administrator, in this rig's database.
    ///
    /// # Errors
    /// The primary refuses.
    pub fn sql(&self, sql: &str) -> Result<()> {
        let mut client = self.cluster.client(0)?;
        client.rows(&format!("USE `{}`", self.database))?;
        client.rows(sql).with_context(|| sql.to_owned()).map(|_| ())
    }

    /// The first value that the primary itself gives.
    ///
    /// # Errors
    /// The primary refuses.
    pub fn value(&self, sql: &str) -> Result<String> {
        self.cluster.value(0, sql)
    }

    /// Waits until a statement is answered: a server that failed a moment ago is left alone for a while.
    ///
    /// # Errors
    /// None is answered in time, or one otherwise than it must be.
    pub fn serves(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let tried = self.weir.client().and_then(|mut client| client.value("SELECT 40 + 2"));
            match tried {
                Ok(value) => {
                    ensure!(value == "42", "SELECT 40 + 2 is {value}");
                    return Ok(());
                }
                Err(failure) => {
                    ensure!(Instant::now() < deadline, "nothing is served after {PATIENCE:?}: {failure}");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// No damage any more: serves, and holds what it held at the start.
    ///
    /// # Errors
    /// It does not, after a while; the text shows what it holds.
    pub fn is_as_before(&self) -> Result<()> {
        self.front.disarm();
        self.back.disarm();
        self.serves()?;
        let start = self.start.as_ref().context("the rig has not started")?;
        start.is_back(&self.weir, self.cluster, &self.account, PATIENCE)
    }

    /// What is held once nothing changes any more.
    fn count_at_rest(&self) -> Result<Balance> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let now = Balance::now(&self.weir, self.cluster, &self.account)?;
            if now.sessions == 0 && now.checkouts == 0 && before.as_ref() == Some(&now) {
                return Ok(now);
            }
            ensure!(Instant::now() < deadline, "there is no rest: {now}");
            before = Some(now);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Rig<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.sql(0, &format!("DROP USER '{}'@'%'", self.account)) {
            weir_testkit::say(format!("{} was not dropped: {error:#}", self.account));
        }
    }
}
