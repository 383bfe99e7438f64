//! Weir in front of a cluster, with the data of a run.

use std::time::Duration;

use anyhow::Result;
use weir_e2e::client::{Client, Endpoint, Failure, Login};
use weir_e2e::weir::{Options, Weir};
use weir_testkit::Cluster;

use crate::data::{Data, PASSWORD};

/// What stands while a run lasts.
#[derive(Debug)]
pub(crate) struct Stage<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) weir: Weir,
    data: Data<'c>,
    endpoint: Endpoint,
    login: Login,
}

impl<'c> Stage<'c> {
    /// Starts Weir over `capacity` connections to each server; one that nobody uses for `idle` is closed.
    pub(crate) fn set(
        cluster: &'c Cluster,
        name: &str,
        sessions: u32,
        capacity: u32,
        idle: Duration,
    ) -> Result<Stage<'c>> {
        let data = Data::create(cluster, name, sessions)?;
        let options = Options::on(cluster)?
            .set("slices.0.account.user", data.database.clone())
            .set("slices.0.account.password", PASSWORD)
            .set("pool.capacity", i64::from(capacity))
            .set("pool.idle_timeout", format!("{}s", idle.as_secs()))
            .set("pool.checkout_timeout", "30s")
            .process("limits.client_connections", 10_000);
        let weir = Weir::start(&options)?;
        let (endpoint, login) = (weir.endpoint(), weir.login().database(&data.database));
        Ok(Stage { cluster, weir, data, endpoint, login })
    }

    /// A client of Weir, in the run's database.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.endpoint, &self.login)
    }

    /// The same at the primary itself.
    pub(crate) fn direct(&self) -> Result<Client> {
        Ok(Client::connect(&Endpoint::port(self.cluster.primary()?.port), &self.login)?)
    }

    pub(crate) fn database(&self) -> &str {
        &self.data.database
    }

    /// Weir's account at the servers.
    pub(crate) fn account(&self) -> &str {
        &self.data.database
    }
}
