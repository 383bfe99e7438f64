//! What the process knows of itself: since when it runs, and how reloads went.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::SystemTime,
};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Status {
    /// When the process started.
    pub started: SystemTime,
    reloads: AtomicU64,
    reload_errors: AtomicU64,
    last_reload_failed: AtomicBool,
}

impl Status {
    /// A process that starts at `started`.
    pub(crate) fn new(started: SystemTime) -> Self {
        Self {
            started,
            reloads: AtomicU64::new(0),
            reload_errors: AtomicU64::new(0),
            last_reload_failed: AtomicBool::new(false),
        }
    }

    /// Namespaces, certificate and keys were read, at the start or later; `whole` if nothing of it had to be refused.
    pub(crate) fn reloaded(&self, whole: bool) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.reload_errors.fetch_add(u64::from(!whole), Ordering::Relaxed);
        self.last_reload_failed.store(!whole, Ordering::Relaxed);
    }

    /// How often configuration was read.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// How often something of it had to be refused.
    pub(crate) fn reload_errors(&self) -> u64 {
        self.reload_errors.load(Ordering::Relaxed)
    }

    /// Was all of it taken the last time?
    pub(crate) fn last_reload_was_whole(&self) -> bool {
        !self.last_reload_failed.load(Ordering::Relaxed)
    }
}
