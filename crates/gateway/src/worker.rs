//! What sessions of one worker share: buffers, counters, a coarse clock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use weir_sql::Statement;

/// Size of a fresh buffer: holds nearly every request and most answers.
pub const BUFFER_SIZE: usize = 16 << 10;
/// A buffer that grew beyond this is freed instead of kept.
const KEEP_UP_TO: usize = 64 << 10;
/// Buffers kept for reuse.
const KEEP: usize = 256;

/// Fingerprints whose speed is remembered.
const SPEEDS: usize = 4096;
/// A statement that takes its server longer is not quick, microseconds.
const QUICK_MICROS: u64 = 2_000;

/// How long a tick of the coarse clock is.
pub const TICK: std::time::Duration = std::time::Duration::from_millis(100);

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Number, from 0.
    pub id: usize,
    buffers: Mutex<Vec<Vec<u8>>>,
    #[allow(clippy::vec_box, reason = "sessions hold them boxed: their tasks stay small")]
    statements: Mutex<Vec<Box<Statement>>>,
    tick: AtomicU32,
    speeds: Box<[AtomicU64]>,
    epoch: Instant,
    /// Sessions that live here.
    pub sessions: AtomicUsize,
}

impl Worker {
    /// A worker with nothing to do. All workers count their ticks from the same `epoch`.
    #[must_use]
    pub fn new(id: usize, epoch: Instant) -> Self {
        Self {
            id,
            epoch,
            speeds: (0..SPEEDS).map(|_| AtomicU64::new(0)).collect(),
            buffers: Mutex::default(),
            statements: Mutex::default(),
            tick: AtomicU32::new(0),
            sessions: AtomicUsize::new(0),
        }
    }

    /// An empty buffer.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(BUFFER_SIZE))
    }

    /// Takes a buffer back.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        // a small one, made elsewhere, would have its next owner read an answer in crumbs
        if !(BUFFER_SIZE..=KEEP_UP_TO).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < KEEP {
            buffers.push(buffer);
        }
    }

    /// An empty statement.
    #[must_use]
    pub fn statement(&self) -> Box<Statement> {
        let kept = self.statements.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Box::new(Statement::new()))
    }

    /// Takes a statement back.
    pub fn recycle_statement(&self, mut statement: Box<Statement>) {
        statement.clear();
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() < KEEP {
            statements.push(statement);
        }
    }

    /// Is this fingerprint known to be answered quickly?
    #[must_use]
    pub fn is_quick(&self, digest: u64) -> bool {
        let seen = self.speed(digest).load(Ordering::Relaxed);
        seen >> 32 == digest >> 32 && seen & 0xFFFF_FFFF <= QUICK_MICROS
    }

    /// A statement of this fingerprint took so long on its server, microseconds. Kept as a moving average;
    /// `u64::MAX` makes it slow for long.
    pub fn took(&self, digest: u64, micros: u64) {
        let slot = self.speed(digest);
        let seen = slot.load(Ordering::Relaxed);
        let same = seen >> 32 == digest >> 32;
        let average = if same && micros != u64::MAX {
            ((seen & 0xFFFF_FFFF) * 7 + micros.min(0xFFFF_FFFF)) / 8
        } else {
            micros
        };
        slot.store((digest & 0xFFFF_FFFF_0000_0000) | average.min(0xFFFF_FFFF), Ordering::Relaxed);
    }

    fn speed(&self, digest: u64) -> &AtomicU64 {
        let slot = usize::try_from(digest % SPEEDS as u64).unwrap_or(0);
        #[allow(clippy::indexing_slicing, reason = "the remainder is below the length")]
        &self.speeds[slot]
    }

    /// Ticks since the epoch; see [`TICK`].
    #[must_use]
    pub fn now(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// The clock went on: what it says now.
    pub fn advance(&self) -> u32 {
        let ticks = self.epoch.elapsed().as_millis() / TICK.as_millis();
        let tick = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.tick.store(tick, Ordering::Relaxed);
        tick
    }

    /// Frees half of the unused buffers: called when the worker is idle, so that a burst does not keep its memory.
    pub fn shrink(&self) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = buffers.len() / 2;
        buffers.truncate(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_from_the_worker_has_room_whatever_was_given_back() {
        let worker = Worker::new(0, Instant::now());
        for capacity in [0, 1, 238, BUFFER_SIZE - 1, BUFFER_SIZE, KEEP_UP_TO, KEEP_UP_TO + 1] {
            let mut buffer = Vec::with_capacity(capacity);
            buffer.resize(capacity.min(7), 1);
            worker.recycle(buffer);
            let lent = worker.buffer();
            assert!(lent.is_empty(), "after {capacity}");
            assert!(lent.capacity() >= BUFFER_SIZE, "{} bytes after {capacity}", lent.capacity());
            assert!(lent.capacity() <= KEEP_UP_TO, "{} bytes after {capacity}", lent.capacity());
        }
    }
}
