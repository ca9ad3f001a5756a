//! How threads tell each other that there is something to do.

use parking_lot::{Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Waits for the end of a thread that was told to stop, once. `does`: what it does, for people.
pub(super) fn join(thread: &mut Option<JoinHandle<()>>, does: &str) {
    if thread.take().is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the thread that {does} panicked");
    }
}

/// A flag that a thread sleeps on.
#[derive(Default)]
pub(super) struct Wake {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    pub fn wake(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    /// Sleeps until woken, or for a while.
    pub fn sleep(&self, at_most: Duration) {
        let mut set = self.set.lock();
        if !*set {
            self.changed.wait_for(&mut set, at_most);
        }
        *set = false;
    }
}

/// A number that grows with every change, for readers to wait on.
#[derive(Default)]
pub(super) struct Changes {
    number: Mutex<u64>,
    changed: Condvar,
}

impl Changes {
    pub fn bump(&self) {
        *self.number.lock() += 1;
        self.changed.notify_all();
    }

    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let mut number = self.number.lock();
        self.changed.wait_while_for(&mut number, |now| *now == seen, timeout);
        *number
    }
}
