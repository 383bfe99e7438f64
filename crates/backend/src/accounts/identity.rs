//! As whom a connection is logged in, if not as the slice's own account.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use weir_wire::{
    auth::{caching_sha2, native},
    connect::{Credential, Stages},
};
use zeroize::Zeroizing;

use super::vault::{Slot, Vault};

/// Names an [`Identity`] among all of the process; 0 is the slice's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct IdentityId(u32);

impl IdentityId {
    /// The slice's own account.
    pub const SERVICE: Self = Self(0);

    /// Is it the slice's own account?
    #[must_use]
    pub fn is_service(self) -> bool {
        self == Self::SERVICE
    }
}

/// All identities of the process that are in use.
#[derive(Debug, Default)]
pub struct Identities {
    by_id: RwLock<HashMap<IdentityId, Weak<Identity>>>,
    last: AtomicU32,
    vault: Arc<Vault>,
}

/// A login name, the account that the server takes it for, and what it is proven with. When anything of the account
/// changes at the server, those who come after that get a new identity, and so connections of their own.
#[derive(Debug)]
pub struct Identity {
    id: IdentityId,
    /// The name to log in with.
    name: String,
    /// What `CURRENT_USER()` must be.
    current_user: String,
    secrets: Arc<Secrets>,
    /// Instances that have let it in.
    proven: Mutex<HashSet<String>>,
    all: Arc<Identities>,
}

/// What is known of an account's password. Shared by the account's identities.
#[derive(Debug)]
pub struct Secrets {
    slot: Slot,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The password is the empty one.
    is_empty: bool,
    password_until: Option<Instant>,
    /// What logins that are under way have shown: there until the last of them has ended.
    shown: Option<Zeroizing<Vec<u8>>>,
    showing: usize,
}

/// While a login is under way, the password that it showed can be used. Dropping it wipes the password.
#[derive(Debug)]
pub struct Shown(Arc<Secrets>);

impl Drop for Shown {
    fn drop(&mut self) {
        let mut kept = self.0.kept();
        kept.showing = kept.showing.saturating_sub(1);
        if kept.showing == 0 {
            kept.shown = None;
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(…)")
    }
}

impl Identities {
    /// A new one.
    #[must_use]
    pub fn add(
        self: &Arc<Self>,
        name: impl Into<String>,
        current_user: impl Into<String>,
        secrets: Arc<Secrets>,
    ) -> Arc<Identity> {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let id = loop {
            let id = IdentityId(self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
            if !id.is_service() && !by_id.contains_key(&id) {
                break id;
            }
        };
        let identity = Arc::new(Identity {
            id,
            name: name.into(),
            current_user: current_user.into(),
            secrets,
            proven: Mutex::default(),
            all: Arc::clone(self),
        });
        by_id.insert(id, Arc::downgrade(&identity));
        identity
    }

    /// The identity, while anybody uses it.
    #[must_use]
    pub fn get(&self, id: IdentityId) -> Option<Arc<Identity>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }

    /// Does anybody use it? The slice's own account always is.
    #[must_use]
    pub fn is_used(&self, id: IdentityId) -> bool {
        id.is_service() || self.by_id.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Nothing is known of a password yet.
    #[must_use]
    pub fn secrets(&self, is_empty: bool) -> Arc<Secrets> {
        let kept = Mutex::new(Kept { is_empty, ..Kept::default() });
        Arc::new(Secrets { slot: self.vault.slot(), kept })
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.all.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Identity {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> IdentityId {
        self.id
    }

    /// The name to log in with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `CURRENT_USER()` must be, else the server takes Weir's connections for another account's.
    #[must_use]
    pub fn current_user(&self) -> &str {
        &self.current_user
    }

    /// What is known of the password.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// Has this instance let it in, and did not ask for the password again since?
    #[must_use]
    pub fn is_proven_at(&self, instance: &str) -> bool {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).contains(instance)
    }

    /// The instance let it in, or did not.
    pub(crate) fn set_proven_at(&self, instance: &str, yes: bool) {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        match yes {
            true => {
                if !proven.contains(instance) {
                    proven.insert(instance.to_owned());
                }
            }
            false => {
                proven.remove(instance);
            }
        }
    }
}

impl Secrets {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A login showed the password: it is kept for so long from now on, and in any case until the login ends.
    #[must_use]
    pub fn learn_password(self: &Arc<Self>, password: &[u8], now: Instant, memory: Duration) -> Shown {
        let mut kept = self.kept();
        kept.is_empty = password.is_empty();
        kept.shown = Some(Zeroizing::new(password.to_vec()));
        kept.showing += 1;
        self.slot.keep_sha2(&caching_sha2::stage1(password));
        self.slot.keep_native(&native::stage1(password));
        let is_kept = !memory.is_zero() && self.slot.keep_password(password);
        kept.password_until = is_kept.then(|| now + memory);
        Shown(Arc::clone(self))
    }

    /// A login showed `SHA1(password)`.
    pub fn learn_native(&self, stage1: &[u8; 20]) {
        self.kept().is_empty = false;
        self.slot.keep_native(stage1);
    }

    /// A login proved the password without showing it: it is kept for so long from now on, if it is kept at all.
    pub fn renew(&self, now: Instant, memory: Duration) {
        let mut kept = self.kept();
        if kept.password_until.is_some_and(|until| until > now) {
            kept.password_until = Some(now + memory);
        }
    }

    /// The time is over: nothing but the hashes stays, and of these nothing that a server would take for the password.
    pub fn expire(&self, now: Instant) {
        let mut kept = self.kept();
        if kept.password_until.is_some_and(|until| until <= now) {
            kept.password_until = None;
            self.slot.forget_password();
        }
    }

    /// Is the password itself kept?
    #[must_use]
    pub fn has_password(&self, now: Instant) -> bool {
        let kept = self.kept();
        kept.is_empty || kept.password_until.is_some_and(|until| until > now)
    }

    /// `SHA256(SHA256(password))`, if it is known.
    #[must_use]
    pub fn sha2_stage2(&self) -> Option<[u8; 32]> {
        self.slot.sha2().map(|stage1| caching_sha2::stage2_of_stage1(&stage1))
    }

    /// The account changed its password: nothing that was known of it holds.
    pub fn forget(&self) {
        let mut kept = self.kept();
        kept.is_empty = false;
        kept.password_until = None;
        kept.shown = None;
        self.slot.forget();
    }

    /// What to log in to a server with.
    #[must_use]
    pub(crate) fn credential(&self, now: Instant) -> Credential {
        let kept = self.kept();
        if kept.is_empty {
            return Credential::Password(Zeroizing::default());
        }
        if let Some(password) = &kept.shown {
            return Credential::Password(password.clone());
        }
        let is_kept = kept.password_until.is_some_and(|until| until > now);
        match self.slot.password().filter(|_| is_kept) {
            Some(password) => Credential::Password(password),
            None => Credential::Stages(Stages { sha2: self.slot.sha2(), native: self.slot.native() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_identity_is_known_while_somebody_uses_it() {
        let all = Arc::new(Identities::default());
        let first = all.add("u", "u@%", all.secrets(false));
        let second = all.add("u", "u@%", Arc::clone(first.secrets()));
        assert!(first.id() != second.id() && !first.id().is_service());
        assert_eq!(all.get(first.id()).map(|i| i.name().to_owned()).as_deref(), Some("u"));
        let id = first.id();
        drop(first);
        assert!(all.get(id).is_none() && !all.is_used(id));
        assert!(all.is_used(second.id()) && all.is_used(IdentityId::SERVICE));
    }

    #[test]
    fn a_password_is_kept_for_its_time_and_renewed_by_logins() {
        let secrets = Arc::new(Identities::default()).secrets(false);
        let now = Instant::now();
        assert!(matches!(secrets.credential(now), Credential::Stages(stages) if stages.sha2.is_none()));
        drop(secrets.learn_password(b"s3cret", now, HOUR));
        secrets.renew(now + HOUR / 2, HOUR);
        let later = now + HOUR + HOUR / 4;
        secrets.expire(later);
        assert!(matches!(secrets.credential(later), Credential::Password(p) if *p == b"s3cret"));
        assert_eq!(secrets.sha2_stage2(), Some(caching_sha2::stage2(b"s3cret")));
        let end = now + HOUR * 2;
        assert!(!secrets.has_password(end));
        secrets.expire(end);
        // not even a clock that goes back brings it back
        assert!(
            matches!(secrets.credential(now), Credential::Stages(s) if s.sha2.is_some() && s.native.is_some())
        );
        secrets.forget();
        assert!(
            matches!(secrets.credential(now), Credential::Stages(s) if s.sha2.is_none() && s.native.is_none())
        );
    }

    #[test]
    fn without_memory_a_password_serves_until_the_last_login_that_showed_it_ends() {
        let secrets = Arc::new(Identities::default()).secrets(false);
        let now = Instant::now();
        let first = secrets.learn_password(b"s3cret", now, Duration::ZERO);
        let second = secrets.learn_password(b"s3cret", now, Duration::ZERO);
        drop(first);
        assert!(matches!(secrets.credential(now), Credential::Password(p) if *p == b"s3cret"));
        assert!(!secrets.has_password(now), "the next login has to show it again");
        drop(second);
        assert!(matches!(secrets.credential(now), Credential::Stages(s) if s.sha2.is_some()));
    }

    #[test]
    fn nothing_of_a_password_is_in_debug_output() {
        let all = Arc::new(Identities::default());
        let identity = all.add("u", "u@%", all.secrets(false));
        let _shown = identity.secrets().learn_password(b"s3cret", Instant::now(), HOUR);
        let shown = format!("{identity:?} {all:?} {:?}", identity.secrets().credential(Instant::now()));
        let hash = format!("{:?}", caching_sha2::stage2(b"s3cret"));
        assert!(!shown.contains("s3cret") && !shown.contains(hash.trim_matches(['[', ']'])), "{shown}");
    }
}
