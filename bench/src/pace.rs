//! Sending at scheduled times. A time is measured from when its request was *due*, not from when it was sent, so that
//! an answer that holds up the next requests counts against them as well (otherwise known as coordinated omission).

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Instants at a constant rate.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    every: Duration,
}

impl Schedule {
    /// The first instant is `start`.
    pub fn new(start: Instant, every: Duration) -> Self {
        Self { start, every }
    }

    /// The instant number `n`.
    pub fn at(&self, n: u64) -> Instant {
        self.start + Duration::from_nanos(u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX).saturating_mul(n))
    }
}

/// Sleeps until an instant, if it is not past.
pub fn sleep_until(instant: Instant) {
    if let Some(left) = instant.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
}

/// Makes this thread's sleeps end within a microsecond of their time. Linux would otherwise add up to 50. Only for
/// threads of ours: the setting is handed down to child processes that the thread starts.
pub fn wake_on_time() {
    // Where it is refused, times are up to 50 µs longer: the limit is measured by the same threads.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
}
