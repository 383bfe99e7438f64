//! The servers themselves as witnesses: asked directly, past Weir.

use anyhow::{Context, Result, ensure};
use weir_wire::server_version::Flavour;

use super::client::Client;

/// How long a replica may take to have what the primary has, seconds.
const CATCH_UP_SECONDS: u32 = 30;

/// A server, and a direct connection to it.
pub(super) struct Server {
    /// As it was given: `host:port`.
    pub address: String,
    /// Primary or replica.
    pub role: Role,
    /// What the server calls itself: unique among servers that replicate from one another.
    pub id: String,
    client: Client,
}

/// What a server is in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Replica,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl Server {
    /// Connects, and asks the server who it is.
    ///
    /// # Errors
    /// It is not there, does not let the account in, or writes no binary log with GTIDs, which the demo goes by.
    pub(super) async fn connect(address: &str, role: Role, user: &str, password: &str) -> Result<Self> {
        let mut client = Client::connect(address, user, password).await?;
        let id = client.value("SELECT @@GLOBAL.server_id").await?;
        let writes_gtids = match client.version.flavour {
            Flavour::MySql => client.value("SELECT @@GLOBAL.gtid_mode").await? == "ON",
            Flavour::MariaDb => client.value("SELECT @@GLOBAL.log_bin").await? == "1",
        };
        ensure!(
            writes_gtids || role == Role::Replica,
            "{address} writes no binary log with GTIDs: by them the demo tells where a write happened"
        );
        Ok(Self { address: address.to_owned(), role, id, client })
    }

    /// Family and version.
    pub(super) fn version(&self) -> String {
        format!("{} {}", self.client.version.flavour, self.client.version.text)
    }

    /// Its family: the two name their tables of variables differently.
    pub(super) fn flavour(&self) -> Flavour {
        self.client.version.flavour
    }

    /// What it has written to its binary log: a write moves it on.
    pub(super) async fn written(&mut self) -> Result<String> {
        self.client
            .value(match self.flavour() {
                Flavour::MySql => "SELECT @@GLOBAL.gtid_executed",
                Flavour::MariaDb => "SELECT @@GLOBAL.gtid_binlog_pos",
            })
            .await
    }

    /// What of `written` clients wrote here, and not another server that this one replicates from.
    pub(super) async fn own_writes(&mut self) -> Result<String> {
        match self.flavour() {
            Flavour::MySql => {
                let uuid = self.client.value("SELECT @@GLOBAL.server_uuid").await?;
                let all = self.client.value("SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')").await?;
                Ok(all.split(',').filter(|set| set.starts_with(&uuid)).collect::<Vec<_>>().join(","))
            }
            Flavour::MariaDb => {
                let all = self.client.value("SELECT @@GLOBAL.gtid_binlog_state").await?;
                let own = format!("-{}-", self.id);
                Ok(all.split(',').filter(|gtid| gtid.contains(&own)).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Waits until it has what the primary had `written`.
    ///
    /// # Errors
    /// It does not get it in time.
    pub(super) async fn catch_up(&mut self, written: &str) -> Result<()> {
        let written = written.replace(['\'', '\\', '\n'], "");
        let (sql, reached) = match self.flavour() {
            Flavour::MySql => {
                (format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{written}', {CATCH_UP_SECONDS})"), "0")
            }
            Flavour::MariaDb => (format!("SELECT MASTER_GTID_WAIT('{written}', {CATCH_UP_SECONDS})"), "0"),
        };
        let answer = self.client.value(&sql).await?;
        let address = &self.address;
        ensure!(
            answer == reached,
            "the replica {address} has not got the primary's writes in {CATCH_UP_SECONDS} s: is replication running?"
        );
        Ok(())
    }

    /// Runs a statement on it directly.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        self.client.query(sql).await.with_context(|| format!("{} refuses", self.address))
    }
}
