//! Memory that is not written to swap, for passwords; wiped when they are forgotten.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use weir_wire::auth::caching_sha2::MAX_PASSWORD_LEN;
use zeroize::{Zeroize, Zeroizing};

/// Accounts in one piece of memory. A piece is as large as the largest page of any machine and begins with one, so that
/// pieces do not share pages: unlocking one would unlock the other.
const SLOTS: usize = 200;

/// What is kept of one account.
#[derive(Clone, Copy)]
struct Content {
    password: [u8; MAX_PASSWORD_LEN],
    password_len: Option<u16>,
    sha2: Option<[u8; 32]>,
    native: Option<[u8; 20]>,
}

const NOTHING: Content =
    Content { password: [0; MAX_PASSWORD_LEN], password_len: None, sha2: None, native: None };

impl Content {
    fn wipe(&mut self) {
        self.wipe_password();
        self.sha2.zeroize();
        self.native.zeroize();
    }

    fn wipe_password(&mut self) {
        self.password.zeroize();
        self.password_len = None;
    }
}

#[repr(align(65536))]
struct Slots([Content; SLOTS]);

/// One piece. The lock stands first, since it must end before the memory does.
struct Piece {
    /// Keeps it in memory; `None` where the system does not allow it.
    lock: Option<region::LockGuard>,
    slots: Box<Slots>,
}

/// See the module's text. One for the process.
#[derive(Default)]
pub struct Vault {
    pieces: Mutex<Pieces>,
    told: AtomicBool,
}

#[derive(Default)]
struct Pieces {
    all: Vec<Piece>,
    free: Vec<(usize, usize)>,
}

/// A place in the vault. Dropping it wipes what it holds.
pub struct Slot {
    vault: Arc<Vault>,
    place: (usize, usize),
}

impl Vault {
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty place.
    #[must_use]
    pub fn slot(self: &Arc<Self>) -> Slot {
        let mut pieces = self.lock();
        let place = match pieces.free.pop() {
            Some(place) => place,
            None => {
                let piece = Piece::new();
                if let (None, false) = (&piece.lock, self.told.swap(true, Ordering::Relaxed)) {
                    tracing::warn!(
                        "no memory can be locked (RLIMIT_MEMLOCK, LimitMEMLOCK= of systemd): passwords of server accounts \
                         are not kept, each login shows its own"
                    );
                }
                let number = pieces.all.len();
                pieces.all.push(piece);
                pieces.free.extend((1..SLOTS).rev().map(|slot| (number, slot)));
                (number, 0)
            }
        };
        Slot { vault: Arc::clone(self), place }
    }
}

impl Piece {
    fn new() -> Self {
        let slots = Box::new(Slots([NOTHING; SLOTS]));
        let lock = region::lock(std::ptr::from_ref::<Slots>(&slots), size_of::<Slots>()).ok();
        Self { lock, slots }
    }
}

impl Slot {
    fn with<T>(&self, act: impl FnOnce(&mut Content, bool) -> T) -> Option<T> {
        let mut pieces = self.vault.lock();
        let (number, slot) = self.place;
        let piece = pieces.all.get_mut(number)?;
        let is_locked = piece.lock.is_some();
        Some(act(piece.slots.0.get_mut(slot)?, is_locked))
    }

    /// Keeps a password, but not where memory cannot be locked. Returns whether it is kept.
    pub fn keep_password(&self, password: &[u8]) -> bool {
        let kept = self.with(|content, is_locked| {
            let place = content.password.get_mut(..password.len()).filter(|_| is_locked);
            let (Some(place), Ok(len)) = (place, u16::try_from(password.len())) else { return false };
            place.copy_from_slice(password);
            content.password_len = Some(len);
            true
        });
        kept.unwrap_or(false)
    }

    /// Keeps `SHA256(password)`.
    pub fn keep_sha2(&self, stage1: &[u8; 32]) {
        self.with(|content, _| content.sha2 = Some(*stage1));
    }

    /// Keeps `SHA1(password)`.
    pub fn keep_native(&self, stage1: &[u8; 20]) {
        self.with(|content, _| content.native = Some(*stage1));
    }

    /// The password, if it is kept.
    #[must_use]
    pub fn password(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.with(|content, _| {
            let password = content.password.get(..usize::from(content.password_len?))?;
            Some(Zeroizing::new(password.to_vec()))
        })?
    }

    /// `SHA256(password)`, if it is kept.
    #[must_use]
    pub fn sha2(&self) -> Option<Zeroizing<[u8; 32]>> {
        self.with(|content, _| content.sha2.map(Zeroizing::new))?
    }

    /// `SHA1(password)`, if it is kept.
    #[must_use]
    pub fn native(&self) -> Option<Zeroizing<[u8; 20]>> {
        self.with(|content, _| content.native.map(Zeroizing::new))?
    }

    /// Forgets the password, but not what follows from it.
    pub fn forget_password(&self) {
        self.with(|content, _| content.wipe_password());
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.with(|content, _| content.wipe());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.forget();
        self.vault.lock().free.push(self.place);
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locked memory of this process, in KiB, as the kernel counts it.
    fn locked_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    #[test]
    fn a_slot_gives_back_what_it_keeps_and_nothing_once_it_forgot() {
        let vault = Arc::new(Vault::default());
        let before = locked_kib();
        let slot = vault.slot();
        assert!(locked_kib() > before, "the kernel counts it");
        let other = vault.slot();
        assert!(slot.keep_password(b"s3cret"));
        slot.keep_sha2(&[7; 32]);
        slot.keep_native(&[8; 20]);
        assert_eq!(slot.password().unwrap().as_slice(), b"s3cret");
        assert_eq!((slot.sha2().as_deref(), slot.native().as_deref()), (Some(&[7; 32]), Some(&[8; 20])));
        assert!(other.password().is_none() && other.sha2().is_none());
        slot.forget_password();
        assert!(slot.password().is_none() && slot.sha2().is_some());
        slot.forget();
        assert!(slot.sha2().is_none() && slot.native().is_none());
        assert_eq!(format!("{slot:?} {vault:?}"), "Slot(…) Vault(…)");
    }

    #[test]
    fn the_bytes_are_gone_from_memory_when_a_slot_is_dropped_and_its_place_is_used_again() {
        let vault = Arc::new(Vault::default());
        let slot = vault.slot();
        let place = slot.place;
        assert!(slot.keep_password(b"s3cret"));
        slot.keep_sha2(&[7; 32]);
        drop(slot);
        let pieces = vault.lock();
        let content = &pieces.all[place.0].slots.0[place.1];
        assert_eq!(
            (content.password, content.password_len, content.sha2),
            ([0; MAX_PASSWORD_LEN], None, None)
        );
        drop(pieces);
        assert_eq!(vault.slot().place, place);
    }

    #[test]
    fn more_accounts_than_fit_into_one_piece_have_their_places() {
        let vault = Arc::new(Vault::default());
        let slots: Vec<Slot> = (0..SLOTS + 3).map(|_| vault.slot()).collect();
        let mut places: Vec<_> = slots.iter().map(|slot| slot.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), slots.len());
        for (number, slot) in slots.iter().enumerate() {
            assert!(slot.keep_password(format!("p{number}").as_bytes()));
        }
        for (number, slot) in slots.iter().enumerate() {
            assert_eq!(slot.password().unwrap().as_slice(), format!("p{number}").as_bytes());
        }
    }
}
