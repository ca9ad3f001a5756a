//! Grades of periods that ended long ago leave the memory, once ClickHouse has them (`serving.grades_keep`). Which periods
//! those are is decided here; the serving store lets go, and readers are sent to ClickHouse by the edge.

use super::shares::Shares;
use crate::tenant_records;
use anyhow::Result;
use aulaflow_log::Log;
use aulaflow_model::ids::{PeriodId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_serving::LettingGo;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at the profiles; longer where a look takes long.
const EVERY: Duration = Duration::from_secs(5);
/// The part of the time that looks may take: one of so many.
const PART: u32 = 100;
/// How old what is known of the tenants' calendars may be.
const CALENDARS_EVERY: Duration = Duration::from_secs(60);

/// The running task.
pub struct PastPeriods {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl PastPeriods {
    /// Starts it. `keep`: how long after its end a period stays.
    pub fn start(shares: &Arc<Shares>, log: &Arc<dyn Log>, keep: Duration, registry: &mut Registry) -> Result<Self> {
        let let_go = Counter::default();
        let help = "Grades of past periods that have left the memory, as often as they did";
        registry.register("serving_grades_let_go", help, let_go.clone());
        let (stop, stopped) = channel();
        let (shares, log) = (Arc::clone(shares), Arc::clone(log));
        let thread = std::thread::Builder::new().name("aulaflow-past".to_owned()).spawn(move || {
            let mut calendars = Calendars { log, keep, read: None };
            let mut pause = EVERY;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let begun = Instant::now();
                look(&shares, &mut calendars, &let_go);
                pause = EVERY.max(begun.elapsed() * PART);
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it, after the look under way.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that lets go of past periods has panicked");
        }
    }
}

/// Asks each store whose rows ClickHouse has.
fn look(shares: &Shares, calendars: &mut Calendars, let_go: &Counter) {
    for recorded in shares.recorded() {
        let store = &recorded.store;
        let past = match calendars.past(store.as_of()) {
            Ok(past) => past,
            Err(error) => {
                tracing::warn!(%error, "the tenants' periods cannot be read: what is in memory stays there");
                return;
            }
        };
        // A row that changed just now may not be in ClickHouse yet.
        let until = Millis(store.as_of().0.saturating_sub(ms(recorded.behind)));
        let students = store.let_go(LettingGo { past, until });
        if students > 0 {
            tracing::info!(share = %recorded.share, students, "grades of past periods leave the memory");
        }
        let_go.inc_by(recorded.newly_let_go());
    }
}

/// The tenants' periods.
struct Calendars {
    log: Arc<dyn Log>,
    keep: Duration,
    read: Option<(Instant, Vec<TenantConfig>)>,
}

impl Calendars {
    /// The periods that have left the memory at a clock.
    fn past(&mut self, clock: Millis) -> Result<HashMap<TenantId, HashSet<PeriodId>>> {
        let tenants = match self.read.take().filter(|(at, _)| at.elapsed() < CALENDARS_EVERY) {
            Some(read) => self.read.insert(read),
            None => {
                let recorded = tenant_records::read(self.log.as_ref())?;
                let configs = recorded.into_values().filter_map(|recorded| recorded.config).collect();
                self.read.insert((Instant::now(), configs))
            }
        };
        let of = |config: &TenantConfig| {
            let past = past_periods(config, self.keep, clock);
            (!past.is_empty()).then(|| (config.tenant.clone(), past))
        };
        Ok(tenants.1.iter().filter_map(of).collect())
    }
}

/// The periods of a tenant that ended so long before a clock. Of one that its calendar does not have nobody knows the end.
pub fn past_periods(config: &TenantConfig, keep: Duration, clock: Millis) -> HashSet<PeriodId> {
    let is_past = |period: &&PeriodId| {
        config.period_bounds(period).is_some_and(|(_, end)| end.0.saturating_add(ms(keep)) <= clock.0)
    };
    config.periods.iter().map(|period| &period.id).filter(is_past).cloned().collect()
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_period_is_past_so_long_after_its_last_day() {
        let period = |id: &str, start: &str, end: &str| json!({ "id": id, "start": start, "end": end });
        let periods = [period("a", "2025-01-01", "2025-03-31"), period("b", "2025-04-01", "2025-06-30")];
        let config = json!({ "tenant": "t", "timezone": "America/Mexico_City", "period": periods });
        let config = TenantConfig::from_json(&config).unwrap();
        let at = |clock: &str| {
            let past = past_periods(&config, Duration::from_hours(48), Millis::parse_rfc3339(clock).unwrap());
            let mut past: Vec<_> = past.into_iter().map(|id| id.to_string()).collect();
            past.sort();
            past
        };
        // Midnight after the last day is 06:00 in UTC.
        assert_eq!(at("2025-04-03T05:59:59.999Z"), Vec::<String>::new());
        assert_eq!(at("2025-04-03T06:00:00Z"), ["a"]);
        assert_eq!(at("2026-01-01T00:00:00Z"), ["a", "b"]);
    }
}
