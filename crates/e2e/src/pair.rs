//! The same client twice, at a server itself and through Weir: what it gets must be the same, byte for byte.

mod mask;

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use weir_testkit::{Cluster, SERVICE};

use crate::client::{Answer, Client, Endpoint, Failure, Login};
use crate::weir::Weir;
use mask::Mask;

/// A database of a test's own, in two copies with names of the same length. Dropped with the value.
#[derive(Debug)]
pub struct Databases<'c> {
    cluster: &'c Cluster,
    /// The copy that is used at the server itself.
    pub direct: String,
    /// The copy that is used through Weir.
    pub weir: String,
}

impl<'c> Databases<'c> {
    /// Creates both copies; `topic` shows in their names.
    ///
    /// # Errors
    /// The primary refuses.
    pub fn create(cluster: &'c Cluster, topic: &str) -> Result<Databases<'c>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |copy: &str| format!("e2e_{topic}_{}_{number}_{copy}", std::process::id());
        let databases = Databases { cluster, direct: name("d"), weir: name("w") };
        for copy in databases.names() {
            cluster.sql(0, &format!("CREATE DATABASE `{copy}` CHARACTER SET utf8mb4"))?;
        }
        Ok(databases)
    }

    /// Both names.
    #[must_use]
    pub fn names(&self) -> [&str; 2] {
        [&self.direct, &self.weir]
    }

    /// Runs a text in both copies, as the administrator.
    ///
    /// # Errors
    /// The primary refuses.
    pub fn prepare(&self, sql: &str) -> Result<()> {
        for copy in self.names() {
            let mut client = self.cluster.client(0)?;
            client.rows(&format!("USE `{copy}`"))?;
            client.rows(sql).with_context(|| sql.to_owned())?;
        }
        Ok(())
    }
}

impl Drop for Databases<'_> {
    fn drop(&mut self) {
        for copy in self.names() {
            // a table lock of a client that is about to end must not hold this up for long
            let sql = format!("SET lock_wait_timeout=10; DROP DATABASE `{copy}`");
            if let Err(error) = self.cluster.sql(0, &sql) {
                weir_testkit::say(format!("{copy} was not dropped: {error:#}"));
            }
        }
    }
}

/// The login at the server that a namespace's default user has through Weir.
#[must_use]
pub fn direct_login() -> Login {
    Login::new(SERVICE.user, SERVICE.password)
}

/// The endpoint of a cluster's instance.
///
/// # Errors
/// There is no such instance.
pub fn instance(cluster: &Cluster, index: usize) -> Result<Endpoint> {
    Ok(Endpoint::port(cluster.instance(index)?.port))
}

/// Two clients in step.
#[derive(Debug)]
pub struct Pair {
    /// At the primary.
    pub direct: Client,
    /// Through Weir.
    pub weir: Client,
    title: String,
    mask: Mask,
    differences: Vec<String>,
    compared: usize,
}

impl Pair {
    /// Logs in on both sides, with the same capabilities, into the two copies of a database.
    ///
    /// # Errors
    /// One of the logins fails.
    pub fn connect(weir: &Weir, databases: &Databases<'_>, login: &Login, title: &str) -> Result<Pair> {
        let at_server =
            Login { user: SERVICE.user.into(), password: SERVICE.password.into(), ..login.clone() };
        let at_server = at_server.database(&databases.direct);
        let direct = Client::connect(&instance(databases.cluster, 0)?, &at_server)
            .with_context(|| format!("{title}: login at the server"))?;
        let through = weir
            .connect(&login.clone().database(&databases.weir))
            .with_context(|| format!("{title}: login through Weir"))?;
        let mut mask = Mask::default();
        mask.renamed.push((databases.weir.clone().into(), databases.direct.clone().into()));
        Ok(Pair {
            direct,
            weir: through,
            title: title.to_owned(),
            mask,
            differences: Vec::new(),
            compared: 0,
        })
    }

    /// Treats what Weir's side calls `weir` as what the server's side calls `direct`; both have the same length.
    pub fn rename(&mut self, weir: impl Into<Vec<u8>>, direct: impl Into<Vec<u8>>) {
        self.mask.renamed.push((weir.into(), direct.into()));
    }

    /// COM_QUERY with the same text on both sides; `{db}` is each side's own database.
    ///
    /// # Errors
    /// The server's side fails.
    pub fn query(&mut self, sql: &str) -> Result<Answer> {
        self.mask.asked_for_transaction_state |= sql.contains("session_track_transaction_info");
        self.mask.reads_dictionary = sql.starts_with("SHOW ");
        let [at_server, through] = self.texts(sql);
        let mut turn = [at_server, through].into_iter();
        self.same(sql, move |client| client.query(turn.next().unwrap_or_default()))
    }

    /// The text for the server, and for Weir.
    fn texts(&self, sql: &str) -> [String; 2] {
        let name = |of: &Vec<u8>| String::from_utf8_lossy(of).into_owned();
        let (weir, direct) = self.mask.renamed.first().map(|(w, d)| (name(w), name(d))).unwrap_or_default();
        [sql.replace("{db}", &direct), sql.replace("{db}", &weir)]
    }

    /// Does the same on both sides, the server's first, and compares the answers. Gives the server's.
    ///
    /// # Errors
    /// The server's side fails.
    pub fn same(
        &mut self,
        what: &str,
        mut act: impl FnMut(&mut Client) -> Result<Answer, Failure>,
    ) -> Result<Answer> {
        let expected =
            act(&mut self.direct).with_context(|| format!("{}: {what}: at the server", self.title))?;
        self.compared = self.compared.saturating_add(1);
        match act(&mut self.weir) {
            Ok(got) => {
                let wanted = self.mask.apply(&expected).with_context(|| what.to_owned())?;
                if self.mask.apply(&got).ok().as_ref() != Some(&wanted) {
                    self.differences.push(format!(
                        "{}: {what}\n  server {:?}{expected:?}  weir {:?}{got:?}",
                        self.title,
                        expected.error(),
                        got.error()
                    ));
                }
            }
            Err(failure) => {
                self.differences.push(format!(
                    "{}: {what}\n  server {:?}{expected:?}  weir: {failure}",
                    self.title,
                    expected.error()
                ));
                if failure.is_lost() {
                    anyhow::bail!("{}", self.differences.join("\n"));
                }
            }
        }
        Ok(expected)
    }

    /// Notes a difference that the caller found.
    pub fn differs(&mut self, what: impl std::fmt::Display) {
        self.differences.push(format!("{}: {what}", self.title));
    }

    /// Prepares the same statement on both sides and compares the answers; gives both ids.
    ///
    /// # Errors
    /// The server's side fails, or Weir's refuses what the server takes.
    pub fn prepare(&mut self, sql: &str) -> Result<Option<[u32; 2]>> {
        let texts = self.texts(sql);
        let mut turn = texts.into_iter();
        let mut ids = Vec::new();
        self.same(&format!("prepare {sql}"), |client| {
            let answer = client.prepare_raw(turn.next().unwrap_or_default())?;
            ids.extend(answer.statement_id());
            Ok(answer)
        })?;
        match ids.as_slice() {
            [direct, weir] => Ok(Some([*direct, *weir])),
            [] => Ok(None),
            _ => anyhow::bail!("only one side prepared it:\n{}", self.differences.join("\n")),
        }
    }

    /// Does the same with a prepared statement's id of each side.
    ///
    /// # Errors
    /// The server's side fails.
    pub fn same_with(
        &mut self,
        ids: [u32; 2],
        what: &str,
        mut act: impl FnMut(&mut Client, u32) -> Result<Answer, Failure>,
    ) -> Result<Answer> {
        let mut turn = ids.into_iter();
        self.same(what, |client| act(client, turn.next().unwrap_or_default()))
    }

    /// What was found so far.
    #[must_use]
    pub fn into_differences(self) -> Vec<String> {
        assert!(self.compared > 0, "nothing was compared");
        self.differences
    }

    /// How many answers were compared.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.compared
    }
}
