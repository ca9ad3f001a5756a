//! The clock that drives the views: when an epoch is due, and as of which instant. Pure.

use aulaflow_model::instant::Millis;

/// What the event clock knows of a source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionTime {
    /// The highest event time seen; `None` before the first event.
    pub high: Option<Millis>,
    /// Whether events are expected: it has unread records, or had some within the idle timeout.
    pub active: bool,
}

/// The event clock: the lowest of the active partitions' highest event times, less the lateness, so that no active
/// partition's events are late for another's. When all are idle everything was seen: then the highest of all counts.
/// `None` while an active partition has shown no event yet, or none ever had one.
pub fn event_clock(partitions: &[PartitionTime], lateness_ms: i64) -> Option<Millis> {
    let active = || partitions.iter().filter(|p| p.active);
    let clock = if active().next().is_some() {
        active().map(|p| p.high).min()?
    } else {
        partitions.iter().map(|p| p.high).max()?
    };
    clock.map(|at| Millis(at.0.saturating_sub(lateness_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(high: Option<i64>, active: bool) -> PartitionTime {
        PartitionTime { high: high.map(Millis), active }
    }

    #[test]
    fn the_slowest_active_partition_decides() {
        assert_eq!(event_clock(&[p(Some(100), true), p(Some(50), true), p(Some(10), false)], 5), Some(Millis(45)));
    }

    #[test]
    fn an_active_partition_without_events_holds_the_clock() {
        assert_eq!(event_clock(&[p(Some(100), true), p(None, true)], 0), None);
    }

    #[test]
    fn idle_partitions_are_left_out_and_all_idle_means_all_seen() {
        assert_eq!(event_clock(&[p(Some(100), false), p(Some(50), false), p(None, false)], 10), Some(Millis(90)));
        assert_eq!(event_clock(&[p(None, false)], 0), None);
        assert_eq!(event_clock(&[], 0), None);
    }
}
