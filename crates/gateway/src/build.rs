//! From what operators declared to namespaces at work: pools are made for what is new, and kept for what did not
//! change.

use std::{collections::HashMap, sync::Arc, time::Instant};

use weir_backend::{
    Accounts, Candidate, Dialer, DialerOptions, Identities, Pool, PoolOptions, TlsError, TlsSettings,
    state::{Interner, State},
    tls_settings,
};
use weir_catalog::{
    namespace::{Namespace, ServerAccounts},
    slice::{Address, Instance, Slice},
    snapshot::Snapshot,
};

use crate::tenant::{Shared, Tenant, Tenants};

/// What pools are made with.
#[derive(Clone, Debug)]
pub struct Materials {
    /// Number of workers.
    pub workers: usize,
    /// Shares equal states.
    pub states: Arc<Interner<State>>,
    /// The gateway's own zone.
    pub zone: Option<String>,
    /// As whom connections may be logged in.
    pub identities: Arc<Identities>,
}

/// What a change of configuration comes to.
#[derive(Debug)]
pub struct Built {
    /// To be published.
    pub tenants: Tenants,
    /// To be probed.
    pub new_pools: Vec<Arc<Pool>>,
    /// To be read, and followed from then on.
    pub new_accounts: Vec<Arc<Accounts>>,
    /// To be closed once the new tenants are published.
    pub old_pools: Vec<Arc<Pool>>,
}

/// Makes tenants of a snapshot, reusing pools of `before`.
///
/// # Errors
/// TLS to the servers of a namespace cannot be set up.
pub fn build(
    snapshot: Arc<Snapshot>,
    before: Option<&Tenants>,
    materials: &Materials,
) -> Result<Built, TlsError> {
    let mut by_name = HashMap::new();
    let mut new_pools = Vec::new();
    let mut new_accounts = Vec::new();
    let mut kept = Vec::new();
    for (name, namespace) in &snapshot.namespaces {
        let old = before.and_then(|b| b.by_name.get(name));
        let Some(slice) = namespace.slices.first() else { continue };
        let tls = tls_settings(&slice.tls)?;
        let mut pool_for = |instance: &Instance| {
            let reused = old.and_then(|old| reusable(old, namespace, slice, instance));
            let pool = reused.unwrap_or_else(|| {
                let pool = new_pool(namespace, slice, instance, tls.clone(), materials);
                new_pools.push(Arc::clone(&pool));
                pool
            });
            kept.push(Arc::as_ptr(&pool));
            pool
        };
        let primary = pool_for(&slice.primary);
        let accounts = namespace.server_accounts.as_ref().map(|settings| {
            let reused = old.and_then(|old| reusable_accounts(old, &primary, settings));
            reused.unwrap_or_else(|| {
                let dialer = new_dialer(namespace, slice, &slice.primary, tls.clone(), materials);
                let timeout = namespace.pool.connect_timeout;
                let identities = Arc::clone(&materials.identities);
                let accounts = Accounts::new(dialer, timeout, settings.password_memory, identities);
                let accounts = Arc::new(accounts);
                new_accounts.push(Arc::clone(&accounts));
                accounts
            })
        });
        let replicas = slice
            .replicas
            .iter()
            .map(|replica| Candidate {
                pool: pool_for(replica),
                weight: replica.weight,
                near: materials.zone.is_some() && replica.zone == materials.zone,
            })
            .collect();
        let shared =
            old.map_or_else(|| Arc::new(Shared::new(materials.workers)), |old| Arc::clone(&old.shared));
        let tenant = Tenant {
            name: name.as_str().into(),
            namespace: Arc::clone(namespace),
            primary,
            replicas,
            accounts,
            shared,
        };
        by_name.insert(name.clone(), Arc::new(tenant));
    }
    let old_pools = before
        .into_iter()
        .flat_map(|b| b.by_name.values())
        .flat_map(|tenant| tenant.pools())
        .filter(|pool| !kept.contains(&Arc::as_ptr(pool)))
        .cloned()
        .collect();
    Ok(Built { tenants: Tenants { snapshot, by_name }, new_pools, new_accounts, old_pools })
}

/// The accounts of the same server, if they are used in the same way.
fn reusable_accounts(old: &Tenant, primary: &Arc<Pool>, settings: &ServerAccounts) -> Option<Arc<Accounts>> {
    let accounts = old.accounts.as_ref()?;
    let same = Arc::ptr_eq(&old.primary, primary) && accounts.password_memory() == settings.password_memory;
    same.then(|| Arc::clone(accounts))
}

/// The pool of the same instance, if nothing that its connections depend on has changed.
fn reusable(old: &Tenant, namespace: &Namespace, slice: &Slice, instance: &Instance) -> Option<Arc<Pool>> {
    let before = old.namespace.slices.first()?;
    if before.account != slice.account || before.tls != slice.tls || old.namespace.pool != namespace.pool {
        return None;
    }
    if before.compression != slice.compression {
        return None;
    }
    if old.namespace.local_infile != namespace.local_infile {
        return None;
    }
    let name = instance_name(&instance.address);
    old.pools().find(|pool| pool.instance() == name).cloned()
}

fn new_pool(
    namespace: &Namespace,
    slice: &Slice,
    instance: &Instance,
    tls: Option<Arc<TlsSettings>>,
    materials: &Materials,
) -> Arc<Pool> {
    let dialer = new_dialer(namespace, slice, instance, tls, materials);
    let options = PoolOptions {
        instance: instance_name(&instance.address),
        namespace: namespace.name.clone(),
        settings: namespace.pool.clone(),
        dialer,
        workers: materials.workers,
    };
    Pool::new(options, Instant::now())
}

fn new_dialer(
    namespace: &Namespace,
    slice: &Slice,
    instance: &Instance,
    tls: Option<Arc<TlsSettings>>,
    materials: &Materials,
) -> Dialer {
    Dialer::new(DialerOptions {
        address: instance.address.clone(),
        account: slice.account.clone(),
        tls_mode: slice.tls.mode,
        tls,
        local_files: namespace.local_infile,
        compression: slice.compression,
        states: Arc::clone(&materials.states),
        identities: Arc::clone(&materials.identities),
    })
}

/// `host:port`, or the path of a socket: the name of an instance in messages and metrics.
#[must_use]
pub fn instance_name(address: &Address) -> String {
    match address {
        Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        Address::Tcp { host, port } => format!("{host}:{port}"),
        Address::Unix(path) => path.display().to_string(),
    }
}
