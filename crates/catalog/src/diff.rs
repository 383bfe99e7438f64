//! What changed between two snapshots, so that what did not change is left alone.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{namespace::Namespace, slice::Slice, snapshot::Snapshot, user::User};

/// What changed between two snapshots; namespaces that are equal do not appear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// By name of the namespace.
    pub namespaces: BTreeMap<String, NamespaceChange>,
}

/// What happened to a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// These parts differ.
    Changed(Vec<Part>),
}

/// A part of a namespace that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Users of these names were added, removed or changed.
    Users(Vec<String>),
    /// Accounts of the primary may log in, or may not any more, or under other conditions.
    ServerAccounts,
    /// Which databases may be named.
    AllowedDatabases,
    /// Where clients may come from.
    AllowedClients,
    /// A slice is new.
    SliceAdded(String),
    /// A slice is gone.
    SliceRemoved(String),
    /// Something of a slice differs: servers, account, TLS.
    SliceChanged(String),
    /// The slices stand in another order: another one may be the default.
    SliceOrder,
    /// Connections to the servers.
    Pool,
    /// Times and defaults of sessions.
    Session,
    /// Upper bounds.
    Limits,
    /// Which statements are slow.
    SlowStatement,
    /// Whether clients may send files.
    LocalInfile,
}

impl Part {
    /// Do connections to the servers depend on it?
    #[must_use]
    pub fn concerns_pools(&self) -> bool {
        match self {
            Self::SliceAdded(_)
            | Self::SliceRemoved(_)
            | Self::SliceChanged(_)
            | Self::SliceOrder
            | Self::Pool
            | Self::LocalInfile => true,
            Self::Users(_)
            | Self::ServerAccounts
            | Self::AllowedDatabases
            | Self::AllowedClients
            | Self::Session
            | Self::Limits
            | Self::SlowStatement => false,
        }
    }
}

impl Diff {
    /// What must happen to turn `old` into `new`.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut namespaces = BTreeMap::new();
        for (name, namespace) in &new.namespaces {
            let change = match old.namespaces.get(name) {
                None => NamespaceChange::Added,
                Some(before) => match parts(before, namespace) {
                    parts if parts.is_empty() => continue,
                    parts => NamespaceChange::Changed(parts),
                },
            };
            namespaces.insert(name.clone(), change);
        }
        for name in old.namespaces.keys().filter(|name| !new.namespaces.contains_key(*name)) {
            namespaces.insert(name.clone(), NamespaceChange::Removed);
        }
        Self { namespaces }
    }

    /// Is nothing different?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// May the pools of a namespace live on as they are?
    #[must_use]
    pub fn keeps_pools(&self, namespace: &str) -> bool {
        match self.namespaces.get(namespace) {
            None => true,
            Some(NamespaceChange::Added | NamespaceChange::Removed) => false,
            Some(NamespaceChange::Changed(parts)) => !parts.iter().any(Part::concerns_pools),
        }
    }
}

/// In which parts two namespaces differ.
fn parts(old: &Arc<Namespace>, new: &Arc<Namespace>) -> Vec<Part> {
    if Arc::ptr_eq(old, new) {
        return Vec::new();
    }
    // taken apart, so that a new field cannot be forgotten
    let Namespace {
        name: _,
        users,
        server_accounts,
        allowed_databases,
        allowed_clients,
        slices,
        pool,
        session,
        limits,
        slow_statement,
        local_infile,
    } = &**new;
    let mut parts = users_part(&old.users, users);
    parts.extend(slice_parts(&old.slices, slices));
    let plain = [
        (Part::ServerAccounts, old.server_accounts != *server_accounts),
        (Part::AllowedDatabases, old.allowed_databases != *allowed_databases),
        (Part::AllowedClients, old.allowed_clients != *allowed_clients),
        (Part::Pool, old.pool != *pool),
        (Part::Session, old.session != *session),
        (Part::Limits, old.limits != *limits),
        (Part::SlowStatement, old.slow_statement != *slow_statement),
        (Part::LocalInfile, old.local_infile != *local_infile),
    ];
    parts.extend(plain.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part));
    parts
}

fn users_part(old: &[User], new: &[User]) -> Vec<Part> {
    let missing_in = |these: &[User], those: &[User]| -> Vec<String> {
        these.iter().filter(|user| !those.contains(user)).map(|user| user.name.clone()).collect()
    };
    let mut names = missing_in(new, old);
    names.extend(missing_in(old, new));
    names.sort();
    names.dedup();
    if names.is_empty() { Vec::new() } else { vec![Part::Users(names)] }
}

fn slice_parts(old: &[Slice], new: &[Slice]) -> Vec<Part> {
    let find = |slices: &[Slice], name: &str| slices.iter().position(|slice| slice.name == name);
    let mut parts = Vec::new();
    for slice in new {
        match old.iter().find(|before| before.name == slice.name) {
            None => parts.push(Part::SliceAdded(slice.name.clone())),
            Some(before) if before != slice => parts.push(Part::SliceChanged(slice.name.clone())),
            Some(_) => {}
        }
    }
    let removed = old.iter().filter(|slice| find(new, &slice.name).is_none());
    parts.extend(removed.map(|slice| Part::SliceRemoved(slice.name.clone())));
    let kept: Vec<usize> = new.iter().filter_map(|slice| find(old, &slice.name)).collect();
    let first_differs = old.first().map(|s| &s.name) != new.first().map(|s| &s.name);
    if !kept.is_sorted() || first_differs {
        parts.push(Part::SliceOrder);
    }
    parts
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Users(names) => write!(f, "users ({})", names.join(", ")),
            Self::ServerAccounts => f.write_str("server_accounts"),
            Self::AllowedDatabases => f.write_str("allowed databases"),
            Self::AllowedClients => f.write_str("allowed clients"),
            Self::SliceAdded(name) => write!(f, "slice {name} added"),
            Self::SliceRemoved(name) => write!(f, "slice {name} removed"),
            Self::SliceChanged(name) => write!(f, "slice {name} changed"),
            Self::SliceOrder => f.write_str("order of slices"),
            Self::Pool => f.write_str("pool"),
            Self::Session => f.write_str("session"),
            Self::Limits => f.write_str("limits"),
            Self::SlowStatement => f.write_str("slow_statement"),
            Self::LocalInfile => f.write_str("local_infile"),
        }
    }
}

impl fmt::Display for NamespaceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
            Self::Changed(parts) => {
                let parts: Vec<String> = parts.iter().map(Part::to_string).collect();
                write!(f, "changed: {}", parts.join("; "))
            }
        }
    }
}

impl fmt::Display for Diff {
    /// One line for each namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, change)) in self.namespaces.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{name} {change}")?;
        }
        Ok(())
    }
}
