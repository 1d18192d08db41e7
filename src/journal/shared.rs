//! The memory as many see it and one writer changes it. A second read inside a first would wait behind a writer that waits
//! for the first, for ever; here it is a panic at once, in every build, whether or not a writer waits.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::{LockResult, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use codeops_core::model::Memory;

thread_local! {
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// The fold of everything that is durable.
#[derive(Debug, Default)]
pub struct SharedMemory(RwLock<Memory>);

/// What is read, as of one moment; nothing is written down while it is held. It cannot be held across an await.
#[derive(Debug)]
#[must_use = "it is read through this"]
pub struct Read<'a>(RwLockReadGuard<'a, Memory>);

impl SharedMemory {
    /// Shares a memory.
    pub fn new(memory: Memory) -> Self {
        Self(RwLock::new(memory))
    }

    /// Reads it.
    ///
    /// # Errors
    /// A writer panicked; what it left is in the error.
    ///
    /// # Panics
    /// When this thread reads it already: what was read is to be passed on.
    pub fn read(&self) -> LockResult<Read<'_>> {
        assert!(!READING.get(), "the memory is read within a read of it: pass on what was read");
        let read = |guard| {
            READING.set(true);
            Read(guard)
        };
        self.0.read().map(read).map_err(|error| PoisonError::new(read(error.into_inner())))
    }

    /// Changes it: for a log alone, once what it shows is durable.
    ///
    /// # Errors
    /// As [`SharedMemory::read`].
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, Memory>> {
        self.0.write()
    }
}

impl Deref for Read<'_> {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.0
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        READING.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "pass on what was read")]
    fn a_read_within_a_read_is_seen_without_a_writer() {
        let memory = SharedMemory::default();
        let _first = memory.read();
        let _second = memory.read();
    }

    #[test]
    fn one_read_after_another_is_fine() {
        let memory = SharedMemory::default();
        drop(memory.read());
        drop(memory.read());
    }
}
