//! Times of single calls, kept whole: a run has at most a few million.

use std::time::Duration;

/// Times of one run.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    nanos: Vec<u64>,
    sorted: bool,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.sorted = false;
        self.nanos.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: Self) {
        self.sorted = false;
        self.nanos.extend(other.nanos);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.nanos.len()
    }

    /// The smallest time that at least `share` (0 to 1) of all do not exceed, in milliseconds; 0 where there is none.
    pub fn at(&mut self, share: f64) -> f64 {
        if !self.sorted {
            self.nanos.sort_unstable();
            self.sorted = true;
        }
        let rank = (share * self.nanos.len() as f64).ceil() as usize;
        self.nanos.get(rank.saturating_sub(1)).copied().unwrap_or(0) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_nearest_ranks() {
        let mut latencies = Latencies::default();
        for ms in (1..=100).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        let ranks = [0.0, 0.5, 0.99, 0.999, 1.0].map(|share| latencies.at(share).round() as u64);
        assert_eq!(ranks, [1, 50, 99, 100, 100]);
        assert!(Latencies::default().at(0.5).abs() < 1e-9);
    }
}
