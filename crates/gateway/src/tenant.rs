//! A namespace at work: its pools and what is counted of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use weir_backend::{Accounts, Candidate, Pool};
use weir_catalog::{namespace::Namespace, snapshot::Snapshot};

use crate::metrics::Counters;

/// A namespace with its pools. Replaced whole when the configuration changes; pools that did not change live on.
#[derive(Debug)]
pub struct Tenant {
    /// As declared.
    pub namespace: Arc<Namespace>,
    /// Its name, shared.
    pub name: Arc<str>,
    /// Connections to the primary of the default slice.
    pub primary: Arc<Pool>,
    /// Replicas of the default slice.
    pub replicas: Vec<Candidate>,
    /// The accounts of the primary, if they are the namespace's users.
    pub accounts: Option<Arc<Accounts>>,
    /// What outlives a change of configuration.
    pub shared: Arc<Shared>,
}

/// What of a namespace outlives a change of its configuration.
#[derive(Debug)]
pub struct Shared {
    /// Client connections now.
    pub connections: AtomicUsize,
    /// Counters, one a worker.
    pub counters: Vec<Counters>,
    /// Fingerprints that a replica refused as writes.
    pub writes: KnownWrites,
}

impl Shared {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            counters: (0..workers.max(1)).map(|_| Counters::default()).collect(),
            writes: KnownWrites::default(),
        }
    }
}

impl Tenant {
    /// Counters of a worker.
    #[must_use]
    pub fn counters(&self, worker: usize) -> &Counters {
        #[allow(
            clippy::indexing_slicing,
            reason = "the remainder is below the length, which is at least one"
        )]
        &self.shared.counters[worker % self.shared.counters.len()]
    }

    /// A healthy replica, or the primary if there is none. `but` has just failed the statement.
    #[must_use]
    pub fn replica(&self, random: u64, but: Option<&Arc<Pool>>) -> &Arc<Pool> {
        weir_backend::pick_replica(&self.replicas, random, but).unwrap_or(&self.primary)
    }

    /// All pools, the primary's first.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        std::iter::once(&self.primary).chain(self.replicas.iter().map(|c| &c.pool))
    }
}

/// All namespaces, as published last.
#[derive(Debug)]
pub struct Tenants {
    /// What operators declared.
    pub snapshot: Arc<Snapshot>,
    /// By name.
    pub by_name: HashMap<String, Arc<Tenant>>,
}

/// Fingerprints of statements that read by their text, but which a replica refused as writes.
#[derive(Debug, Default)]
pub struct KnownWrites {
    any: AtomicBool,
    digests: Mutex<HashSet<u64>>,
}

/// Fingerprints remembered; beyond this the memory starts anew.
const MOST_WRITES: usize = 10_000;

impl KnownWrites {
    /// Is it one of them?
    #[must_use]
    pub fn contains(&self, digest: u64) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.digests.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest)
    }

    /// A replica refused it.
    pub fn add(&self, digest: u64) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= MOST_WRITES {
            digests.clear();
        }
        digests.insert(digest);
        self.any.store(true, Ordering::Relaxed);
    }
}
