//! Clients that did a little work and now wait.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::answer::{Expected, RowFormat};
use super::connection::Connection;
use super::job::Target;
use crate::random::Random;
use crate::workload::{PREPARED, RANGE_ROWS, execute, range_select};

/// Logins at the same time: enough that neither side waits for the other's round trips.
const THREADS: u32 = 4;

/// Connections that are open and wait.
#[derive(Debug)]
pub(crate) struct IdleClients {
    clients: Vec<IdleClient>,
    rows: u32,
}

#[derive(Debug)]
struct IdleClient {
    connection: Connection,
    prepared: u32,
}

impl IdleClients {
    /// Logs all in; each runs a select of 100 rows, prepares a statement and executes it.
    pub(crate) fn log_in(clients: u32, rows: u32, target: &Target, authority: Option<&Path>) -> Result<Self> {
        let tls = authority.map(tls_config).transpose()?;
        let opened = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let share = clients / THREADS + u32::from(thread < clients % THREADS);
                    let tls = tls.as_ref();
                    scope.spawn(move || -> Result<Vec<IdleClient>> {
                        let mut random = Random::new(thread);
                        (0..share).map(|_| IdleClient::log_in(target, rows, tls, &mut random)).collect()
                    })
                })
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended
                .map(|result| result.map_err(|_| anyhow!("a thread ended early"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { clients: opened.into_iter().flatten().collect(), rows })
    }

    /// Executes the prepared statement of every client again.
    pub(crate) fn check(&mut self) -> Result<()> {
        let mut random = Random::new(THREADS);
        let count = self.clients.len();
        for (index, client) in self.clients.iter_mut().enumerate() {
            client
                .execute(self.rows, &mut random)
                .with_context(|| format!("idle client {index} of {count} is no longer served"))?;
        }
        Ok(())
    }
}

impl IdleClient {
    fn log_in(
        target: &Target,
        rows: u32,
        tls: Option<&Arc<ClientConfig>>,
        random: &mut Random,
    ) -> Result<IdleClient> {
        let mut connection = Connection::open(target, true, tls)?;
        let first = random.below(rows.saturating_sub(RANGE_ROWS).saturating_add(1)) + 1;
        let mut request = Vec::new();
        range_select(&mut request, first);
        let expected = Expected::Rows { format: RowFormat::Text, first, count: RANGE_ROWS };
        connection.ask(&request, expected)?;
        let prepared = connection.prepare(PREPARED)?;
        let mut client = IdleClient { connection, prepared };
        client.execute(rows, random)?;
        Ok(client)
    }

    fn execute(&mut self, rows: u32, random: &mut Random) -> Result<()> {
        let id = random.below(rows) + 1;
        let mut request = Vec::new();
        execute(&mut request, self.prepared, id);
        self.connection.ask(&request, Expected::Rows { format: RowFormat::Binary, first: id, count: 1 })
    }
}

/// Trusts the test servers' authority.
fn tls_config(authority: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).context("cannot read the authority")? {
        let certificate = certificate.context("cannot read the authority")?;
        roots.add(certificate).context("cannot trust the authority")?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
