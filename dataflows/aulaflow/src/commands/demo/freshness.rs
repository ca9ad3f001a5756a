//! How fresh the views are: the time from an accepted write to the moment when the views hold it, sampled.

use crate::client::Positions;
use crate::node::Shares;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Samples kept.
const SAMPLES_MAX: usize = 2_000;

/// Time between two looks at the views: the resolution of a sample.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A write that is not visible after this long counts as this long.
const GIVE_UP: Duration = Duration::from_secs(60);

/// An accepted write.
struct Accepted {
    at: Instant,
    positions: Positions,
}

/// Measures on a thread of its own.
#[derive(Clone)]
pub struct Freshness {
    writes: SyncSender<Accepted>,
    samples: Arc<Mutex<VecDeque<Duration>>>,
}

impl Freshness {
    /// Starts measuring. The thread ends when the last handle is dropped.
    pub fn start(shares: Arc<Shares>) -> std::io::Result<Self> {
        // One write at a time is followed; the others are not sampled.
        let (writes, accepted) = sync_channel(0);
        let samples = Arc::new(Mutex::new(VecDeque::with_capacity(SAMPLES_MAX)));
        let for_thread = Arc::clone(&samples);
        let thread = std::thread::Builder::new().name("demo-freshness".to_owned());
        thread.spawn(move || follow(&accepted, &shares, &for_thread))?;
        Ok(Self { writes, samples })
    }

    /// Offers a write that was just accepted; it is sampled if nothing else is being followed.
    pub fn offer(&self, positions: Positions) {
        // A full channel means that another one is being followed.
        let _ = self.writes.try_send(Accepted { at: Instant::now(), positions });
    }

    /// The quantile of the last samples, in milliseconds: `per_mille` 500 is the median. `None` before the first.
    pub fn quantile_ms(&self, per_mille: usize) -> Option<f64> {
        let samples = self.samples.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut sorted: Vec<Duration> = samples.iter().copied().collect();
        drop(samples);
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last * per_mille).div_ceil(1_000)).map(|sample| sample.as_secs_f64() * 1_000.0)
    }
}

fn follow(accepted: &Receiver<Accepted>, shares: &Shares, samples: &Mutex<VecDeque<Duration>>) {
    for write in accepted {
        while !is_visible(shares, &write.positions) && write.at.elapsed() < GIVE_UP {
            std::thread::sleep(LOOK_EVERY);
        }
        let mut samples = samples.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(write.at.elapsed());
    }
}

/// Whether the views hold everything before the positions.
pub fn is_visible(shares: &Shares, positions: &Positions) -> bool {
    let status = shares.status();
    positions.0.iter().all(|((topic, partition), end)| {
        let place = status.positions.iter().find(|p| p.place.topic == *topic && p.place.partition == *partition);
        place.is_some_and(|place| place.visible >= *end)
    })
}
