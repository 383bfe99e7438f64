//! Logins with the accounts of a server: who may it be, and does the server agree?

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use weir_backend::{Accounts, CheckoutError, Class, Identity, Pool, Shown, Want};
use weir_catalog::{
    account::{Account, Proof, Transport},
    snapshot::LoginEntry,
    user::{Plugin, User},
};
use weir_wire::{
    accept::{Candidate, Verdict},
    auth::Verifier,
    error_code,
};

use super::Entry;
use crate::{
    error::Refused,
    listener::Listener,
    tenant::{Tenant, Tenants},
    worker::Worker,
};

/// How long a login waits for the first reading of the accounts.
const PATIENCE: Duration = Duration::from_secs(5);

/// An account that a login may turn out to be.
#[derive(Debug)]
pub(super) struct Found {
    accounts: Arc<Accounts>,
    account: Account,
    /// Was it read a moment ago?
    is_fresh: bool,
}

/// What a server knows of a user name.
pub(super) enum Known {
    /// No account.
    Nobody,
    /// One that is proven by a password; an entry for each that is valid now.
    Entries(Plugin, Vec<Entry>),
    /// One that cannot be proven through Weir, or nothing is known.
    Refused(Refused),
}

/// Whom the server whose accounts log in here would take the client for. While they were never read, that is waited for
/// if the client `waits`: if it can be nobody else.
pub(super) async fn look_up(
    tenants: &Tenants,
    listener: &Listener,
    peer: Option<IpAddr>,
    user: &[u8],
    waits: bool,
) -> Known {
    let Some((tenant, accounts)) = serving(tenants, listener, peer) else { return Known::Nobody };
    let (Ok(name), Some(settings)) = (std::str::from_utf8(user), &tenant.namespace.server_accounts) else {
        return Known::Nobody;
    };
    let patience = if waits { PATIENCE } else { Duration::ZERO };
    let table = match tokio::time::timeout(patience, accounts.table()).await {
        Ok(Ok(table)) => table,
        Ok(Err(_)) | Err(_) => {
            return Known::Refused(Refused::new(
                error_code::CONNECT_TO_FOREIGN_DATA_SOURCE,
                format!(
                    "the accounts of {} could not be read yet: Weir's log says why",
                    tenant.primary.instance()
                ),
            ));
        }
    };
    let Some(account) = table.find(name, peer) else { return Known::Nobody };
    match &account.proof {
        Proof::Unsupported(what) => Known::Refused(unsupported(account, what)),
        Proof::Password { plugin, verifiers } => {
            let found = Arc::new(Found {
                accounts: Arc::clone(accounts),
                account: account.clone(),
                is_fresh: table.is_fresh(),
            });
            let entry = |verifier: &Verifier| Entry {
                login: LoginEntry {
                    namespace: Arc::clone(&tenant.namespace),
                    user: Arc::new(User {
                        name: name.to_owned(),
                        password: verifier.clone(),
                        plugin: *plugin,
                        access: settings.access,
                        split: settings.split,
                        // what declared users may be, no account of the server's is
                        admin: false,
                    }),
                },
                found: Some(Arc::clone(&found)),
            };
            Known::Entries(*plugin, verifiers.iter().map(entry).collect())
        }
    }
}

/// The namespace whose users are the accounts of its server: one a listener, the first by name.
fn serving<'t>(
    tenants: &'t Tenants,
    listener: &Listener,
    peer: Option<IpAddr>,
) -> Option<(&'t Arc<Tenant>, &'t Arc<Accounts>)> {
    let names = tenants.snapshot.namespaces.iter();
    let mut server = names.filter(|(name, n)| n.server_accounts.is_some() && listener.serves(name));
    let (name, namespace) = server.next()?;
    let nets = &namespace.allowed_clients;
    let allowed = nets.is_empty() || peer.is_none_or(|ip| nets.iter().any(|net| net.contains(&ip)));
    let tenant = tenants.by_name.get(name).filter(|_| allowed)?;
    Some((tenant, tenant.accounts.as_ref()?))
}

fn unsupported(account: &Account, what: &str) -> Refused {
    Refused::new(
        error_code::NOT_SUPPORTED_AUTH_MODE,
        format!(
            "the account {} needs {what}, which cannot be shown to the server through Weir: it knows \
             caching_sha2_password and mysql_native_password",
            account.quoted()
        ),
    )
}

impl Found {
    /// What a login of this account is checked against.
    pub(super) fn candidate(&self, entry: &LoginEntry) -> Candidate {
        let mut candidate = Candidate::from(entry.user.password.clone());
        let verifiers = match &self.account.proof {
            Proof::Password { verifiers, .. } => verifiers.len(),
            Proof::Unsupported(_) => 0,
        };
        // which of two passwords was learnt is not known
        if candidate.verifier.is_slow() && verifiers == 1 {
            candidate.learnt = self.accounts.learnt(&self.account, &entry.user.name, Instant::now());
        }
        candidate
    }

    /// The client has proven to have this account: keeps what is needed to log in as it. The password that it may have shown
    /// can be used until the second value is dropped.
    pub(super) fn learn(&self, name: &str, verdict: &Verdict) -> (Arc<Identity>, Option<Shown>) {
        let now = Instant::now();
        let identity = self.accounts.identity(&self.account, name, now);
        let secrets = identity.secrets();
        let memory = self.accounts.password_memory();
        let shown = match (&verdict.password, &verdict.native_stage1) {
            (Some(password), _) => Some(secrets.learn_password(password, now, memory)),
            (None, Some(stage1)) => {
                secrets.learn_native(stage1);
                None
            }
            (None, None) if !verdict.password_used => Some(secrets.learn_password(b"", now, memory)),
            (None, None) => {
                secrets.renew(now, memory);
                None
            }
        };
        (identity, shown)
    }

    /// Does the client's side of the connection satisfy what the account requires?
    pub(super) fn check_transport(&self, is_tls: bool) -> Result<(), Refused> {
        let needs = match self.account.transport {
            Transport::Any => return Ok(()),
            Transport::Tls if is_tls => return Ok(()),
            Transport::Tls => "its clients must use TLS (REQUIRE SSL)",
            Transport::Certificate => {
                "its clients must show a certificate (REQUIRE X509), which cannot be shown to the server through Weir"
            }
        };
        let account = self.account.quoted();
        Err(Refused::new(
            error_code::ACCESS_DENIED,
            format!("Access denied for the account {account}: {needs}"),
        ))
    }

    /// Does the server agree? It says so itself: for an account that was locked, dropped or has expired, in its own words.
    /// Asked once for each change of the account.
    pub(super) async fn prove(
        &self,
        worker: &Worker,
        tenant: &Tenant,
        class: Class,
        identity: &Identity,
    ) -> Result<(), Refused> {
        let primary = &tenant.primary;
        if identity.is_proven_at(primary.instance()) && !self.is_fresh {
            // the accounts cannot be read for a while: a new connection shows whether the server still lets it in
            let limit = primary.settings().connect_timeout;
            let dialed = primary.dialer().dial(class, limit).await;
            return dialed.map(|_| ()).map_err(|error| match error.blames_account() {
                Some(refusal) => Refused::new(refusal.code, refusal.message),
                None => Refused::new(
                    error_code::CONNECT_TO_FOREIGN_DATA_SOURCE,
                    format!("{} cannot be used: {error}", primary.instance()),
                ),
            });
        }
        open_as(worker, primary, class, identity).await.map_err(|error| {
            let mut refused = Refused::from(error);
            if refused.code == error_code::TOO_MANY_USER_CONNECTIONS {
                refused.code = error_code::CON_COUNT;
            }
            refused
        })?;
        // a password that is not kept must serve all servers now
        if self.accounts.password_memory().is_zero() {
            for replica in &tenant.replicas {
                if let Err(error) = open_as(worker, &replica.pool, class, identity).await {
                    tracing::debug!(instance = replica.pool.instance(), %error, "a replica does not know an account's password");
                }
            }
        }
        Ok(())
    }
}

/// Opens a connection, unless the instance has let the identity in already.
async fn open_as(
    worker: &Worker,
    pool: &Arc<Pool>,
    class: Class,
    identity: &Identity,
) -> Result<(), CheckoutError> {
    if identity.is_proven_at(pool.instance()) {
        return Ok(());
    }
    let nothing = Arc::clone(pool.dialer().any_state());
    let want = Want { class, state: &nothing, user_variables: &Arc::default(), thorough: true, ride: None };
    pool.checkout(worker.id, &want).await?.give_back();
    Ok(())
}
