//! How threads of the sink come to an end: asked to finish what they are at, or to give it up, and waited for. All waits are for a
//! condition, with a limit.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How far a thread is to go on, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// To end once nothing is left to do, or at the next good place.
    Draining,
    /// To end at once: what is under way is given up.
    Stopped,
    Ended,
}

/// Asks the threads and connections of a part to end.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: Mutex<Phase>,
    changed: Condvar,
    /// The same for futures: whether what is under way is given up.
    asked: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        let asked = watch::Sender::new(false);
        Self(Arc::new(Inner { phase: Mutex::new(Phase::Running), changed: Condvar::new(), asked }))
    }
}

impl Stop {
    /// Asks to end at once.
    pub fn ask(&self) {
        self.reach(Phase::Stopped);
        self.0.asked.send_replace(true);
    }

    /// Whether somebody has asked to end at once.
    pub fn is_asked(&self) -> bool {
        *self.0.phase.lock() >= Phase::Stopped
    }

    /// Asks to end once nothing is left to do.
    pub(crate) fn drain(&self) {
        self.reach(Phase::Draining);
    }

    /// Whether somebody has asked to end, in either way.
    pub(crate) fn is_draining(&self) -> bool {
        *self.0.phase.lock() >= Phase::Draining
    }

    /// Waits until somebody asks to end at once, for `pause` at most. Whether to go on.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        self.wait(pause, Phase::Stopped) < Phase::Stopped
    }

    /// The same, but not longer than until somebody asks to end in either way.
    pub(crate) fn pause_until_draining(&self, pause: Duration) -> bool {
        self.wait(pause, Phase::Draining) < Phase::Stopped
    }

    /// Completes when somebody asks to end at once.
    pub(crate) async fn asked(&self) {
        let mut asked = self.0.asked.subscribe();
        // The sender lives as long as we: it is in `self`.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    fn reach(&self, phase: Phase) {
        let mut now = self.0.phase.lock();
        *now = phase.max(*now);
        drop(now);
        self.0.changed.notify_all();
    }

    fn wait(&self, pause: Duration, until: Phase) -> Phase {
        let deadline = Instant::now() + pause;
        let mut now = self.0.phase.lock();
        while *now < until && !self.0.changed.wait_until(&mut now, deadline).timed_out() {}
        *now
    }
}

/// A thread and what ends it.
pub(crate) struct Thread {
    stop: Stop,
    handle: JoinHandle<()>,
}

impl Thread {
    /// Starts it. `stop` is its own: that it has ended is known by it.
    pub fn start(name: String, stop: &Stop, run: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let ended = Ended(stop.clone());
        let handle = std::thread::Builder::new().name(name).spawn(move || {
            // Dropped last, also by a panic.
            let _ended = ended;
            run();
        })?;
        Ok(Self { stop: stop.clone(), handle })
    }

    /// Lets it finish, for `patience` at most, and ends it then. False if it has panicked.
    pub fn end(self, patience: Duration) -> bool {
        self.stop.drain();
        self.stop.wait(patience, Phase::Ended);
        self.stop.ask();
        self.handle.join().is_ok()
    }
}

struct Ended(Stop);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.reach(Phase::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_thread_that_drains_ends_by_itself_and_one_that_does_not_is_stopped() {
        let stop = Stop::default();
        let seen = stop.clone();
        let thread = Thread::start("drains".to_owned(), &stop, move || assert!(seen.pause_until_draining(LONG)));
        assert!(thread.unwrap().end(LONG));

        let stop = Stop::default();
        let seen = stop.clone();
        let thread = Thread::start("waits".to_owned(), &stop, move || assert!(!seen.pause(LONG)));
        assert!(thread.unwrap().end(Duration::ZERO));

        let stop = Stop::default();
        let thread = Thread::start("panics".to_owned(), &stop, || panic!("as it is told to"));
        assert!(!thread.unwrap().end(LONG));
    }

    #[test]
    fn a_pause_without_a_stop_passes() {
        let stop = Stop::default();
        assert!(stop.pause(Duration::ZERO) && stop.pause_until_draining(Duration::from_millis(1)));
        assert!(!stop.is_asked() && !stop.is_draining());
        stop.drain();
        assert!(!stop.is_asked() && stop.is_draining() && stop.pause(Duration::ZERO));
        stop.ask();
        assert!(stop.is_asked() && !stop.pause(LONG));
        stop.drain();
        assert!(stop.is_asked(), "what was asked for cannot be taken back");
    }
}
