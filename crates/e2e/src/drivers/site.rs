//! What a driver's test has on the servers for itself: a database and accounts.

use std::path::PathBuf;

use anyhow::{Context, Result};
use weir_testkit::{ADMIN, Cluster, Flavour, tls};

use super::run::Endpoint;

/// A database and accounts of one test, made anew.
#[derive(Debug)]
pub struct Site<'c> {
    /// The cluster that holds them.
    pub cluster: &'c Cluster,
    /// The database of the test.
    pub database: String,
    /// The account that programs print their facts with.
    pub main: Account,
    /// Accounts that nobody has logged in with yet: the first is for full authentication by TLS, the second by RSA.
    pub fresh: [Account; 2],
}

/// A login on the servers with all rights, so that what is refused is refused for what it says.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user name; its host is `%`.
    pub user: String,
    /// The password in plain text.
    pub password: String,
    /// What the server stores of it, as a gateway's configuration takes it: `*…` or `0x244124…`.
    pub verifier: String,
}

impl<'c> Site<'c> {
    /// Makes the database and the accounts of the test called `name` (`[a-z0-9_]`).
    ///
    /// # Errors
    /// The primary refuses.
    pub fn create(cluster: &'c Cluster, name: &str) -> Result<Site<'c>> {
        let account = |suffix: &str| Account {
            user: format!("d_{name}{suffix}"),
            password: format!("pass word {name}{suffix}!"),
            verifier: String::new(),
        };
        let mut site = Site {
            cluster,
            database: format!("drivers_{name}"),
            main: account(""),
            fresh: [account("_1"), account("_2")],
        };
        let mut texts = Vec::new();
        for Account { user, password, .. } in site.accounts() {
            texts.push(format!("DROP USER IF EXISTS '{user}'@'%'"));
            texts.push(format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"));
            texts.push(format!("GRANT ALL PRIVILEGES ON *.* TO '{user}'@'%'"));
        }
        let mut client = cluster.client(0)?;
        for text in &texts {
            client.rows(text).with_context(|| text.clone())?;
        }
        for account in site.accounts_mut() {
            account.verifier = match cluster.flavour() {
                Flavour::MySql => {
                    format!("0x{}", client.value(&stored("HEX(authentication_string)", &account.user))?)
                }
                Flavour::MariaDb => client.value(&stored("authentication_string", &account.user))?,
            };
        }
        site.empty()?;
        Ok(site)
    }

    /// Makes the database anew, empty.
    ///
    /// # Errors
    /// The primary refuses.
    pub fn empty(&self) -> Result<()> {
        let database = &self.database;
        self.cluster.sql(0, &format!("DROP DATABASE IF EXISTS {database}"))?;
        self.cluster.sql(0, &format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"))?;
        Ok(())
    }

    /// Makes the servers forget the passwords they learnt at earlier logins (MySQL: `ALTER USER` drops the account
    /// from `caching_sha2_password`'s cache), so that the next login of the fresh accounts is a first one again.
    ///
    /// # Errors
    /// The primary refuses.
    pub fn forget_logins(&self) -> Result<()> {
        for Account { user, password, .. } in self.accounts() {
            self.cluster.sql(0, &format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'"))?;
        }
        Ok(())
    }

    /// All accounts, for a gateway that is to know them.
    pub fn accounts(&self) -> [&Account; 3] {
        let [first, second] = &self.fresh;
        [&self.main, first, second]
    }

    fn accounts_mut(&mut self) -> [&mut Account; 3] {
        let [first, second] = &mut self.fresh;
        [&mut self.main, first, second]
    }

    /// The primary itself.
    ///
    /// # Errors
    /// No primary.
    pub fn direct(&self) -> Result<Endpoint> {
        let primary = self.cluster.primary()?;
        let ca = match self.cluster.flavour() {
            // what the server made for itself at its first start
            Flavour::MySql => primary.folder.join("data/ca.pem"),
            Flavour::MariaDb => tls::certificates()?.ca,
        };
        Ok(self.endpoint(primary.port, ca))
    }

    /// A listener on loopback, with the main account and the authority that signed the listener's certificate.
    pub fn endpoint(&self, port: u16, ca: PathBuf) -> Endpoint {
        Endpoint {
            address: ([127, 0, 0, 1], port).into(),
            user: self.main.user.clone(),
            password: self.main.password.clone(),
            database: self.database.clone(),
            ca,
            flavour: self.cluster.flavour(),
        }
    }
}

fn stored(what: &str, user: &str) -> String {
    format!("SELECT {what} FROM mysql.user WHERE User = '{user}'")
}

impl Drop for Site<'_> {
    /// Leaves the shared servers as they were.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut texts = vec![format!("DROP DATABASE IF EXISTS {}", self.database)];
        texts.extend(self.accounts().map(|account| format!("DROP USER IF EXISTS '{}'@'%'", account.user)));
        for text in texts {
            if let Err(error) = self.cluster.sql(0, &text) {
                weir_testkit::say(format!("cannot tidy up as {}: {error:#}", ADMIN.user));
            }
        }
    }
}
