//! Waits until records are visible in the profiles.

use crate::client::{Client, Positions};
use crate::lag::Lag;
use crate::progress::Progress;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until every position is visible; returns how long it took.
pub fn until_visible(client: &Client, positions: &Positions, timeout: Duration) -> Result<Duration> {
    let started = Instant::now();
    let mut progress: Option<(Progress, u64)> = None;
    loop {
        let lag = Lag::get(client)?;
        let left = left(&lag, positions);
        let (bar, before) = progress.get_or_insert_with(|| (Progress::start("visible", Some(left)), left));
        bar.advance(before.saturating_sub(left));
        *before = left.min(*before);
        if left == 0 {
            bar.finish();
            return Ok(started.elapsed());
        }
        if started.elapsed() >= timeout {
            bar.finish();
            bail!("after {} s, {left} records are not visible yet: see `aulaflow lag`", timeout.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Records before the positions that are not visible.
fn left(lag: &Lag, positions: &Positions) -> u64 {
    let left = |((topic, partition), end): (&(String, u32), &u64)| {
        let place = lag.partitions.iter().find(|p| p.topic == *topic && p.partition == *partition);
        // A partition that is not reported has shown nothing.
        end.saturating_sub(place.map_or(0, |place| place.visible_offset))
    };
    positions.0.iter().map(left).sum()
}
