//! An engine becomes ready, and stays as far as its log: whatever order its epochs end in, on both clocks, with no record to
//! come that would move it. And what an idle engine has made is in a checkpoint.

use crate::harness::{Harness, Running, plan, until};
use aulaflow_engine::{HandClock, Status, Wall};
use aulaflow_log::{Fetched, Forward, Log, LogError, Offset, RecordSet, TopicPartition};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const TABLE: &str = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE,
    occurred_at TIMESTAMP) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
    lateness = '1 minute', dedupe = 'event_id');";
const HOURS: &str = "CREATE MATERIALIZED VIEW hours AS SELECT student_id, count(*) AS n FROM behavior
    GROUP BY student_id, hop(interval '1 hour', interval '6 hours');";
const SUMS: &str = "CREATE MATERIALIZED VIEW hours AS SELECT student_id, count(*) AS n, sum(value) AS s FROM behavior
    GROUP BY student_id, hop(interval '1 hour', interval '6 hours');";

const TENANT: &str = "t";
const T0: i64 = 1_770_000_000_000;
/// The event that the event clock stands at, in the end.
const LAST: i64 = 30;

fn of(clock: &str, view: &str) -> Plan {
    plan(&format!("[engine]\nclock = \"{clock}\"\ntick = \"1 ms\"\n"), &format!("{TABLE}\n{view}"))
}

/// When an event is: a second after the one before, and those from [`LAST`] on no later. They move no event clock.
fn at(n: i64) -> Millis {
    Millis(T0 + n.min(LAST) * 1_000)
}

/// Behaviour events `from..to`, each of the next of `students`.
fn events(harness: &Harness, from: i64, to: i64, students: i64) {
    let record = |n: i64| {
        let json = format!(
            r#"{{"tenant_id":"{TENANT}","event_id":"e{n}","student_id":"s{}","event_type":"x","value":{n},"occurred_at":"{}"}}"#,
            n % students,
            at(n)
        );
        (format!("{TENANT}/s{}", n % students).into_bytes(), Some(json.into_bytes()))
    };
    let records: Vec<_> = (from..to).map(record).collect();
    harness.append(topic::BEHAVIOR, TENANT, &records, Millis(T0));
}

/// A log that gives behaviour records up to an offset. Those behind it come later; or never, as after a compaction.
struct Gated {
    log: Arc<dyn Log>,
    open: AtomicU64,
    /// What is not given is not there: the offsets are passed over.
    compacted: AtomicBool,
    /// How far records were given.
    given: AtomicU64,
    /// Records that were given, however often.
    count: AtomicU64,
}

impl Gated {
    fn new(harness: &Harness, open: Offset) -> Arc<Self> {
        Arc::new(Self {
            log: harness.log.clone(),
            open: AtomicU64::new(open),
            compacted: AtomicBool::new(false),
            given: AtomicU64::new(0),
            count: AtomicU64::new(0),
        })
    }

    fn open(&self, to: Offset) {
        self.open.store(to, Ordering::Release);
        self.log.wake();
    }

    fn given(&self) -> Offset {
        self.given.load(Ordering::Acquire)
    }
}

impl Forward for Gated {
    fn behind(&self) -> &Arc<dyn Log> {
        &self.log
    }

    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        let fetched = self.log.read(place, offset, bytes_max)?;
        if place.topic != topic::BEHAVIOR || fetched.records.is_empty() {
            return Ok(fetched);
        }
        let open = self.open.load(Ordering::Acquire);
        if offset >= open {
            let next_offset = if self.compacted.load(Ordering::Acquire) { fetched.end_offset } else { offset };
            return Ok(Fetched { records: RecordSet::default(), base_offset: offset, next_offset, ..fetched });
        }
        let count = u32::try_from(open - offset).unwrap().min(fetched.records.len());
        let records = fetched.records.slice(0, count);
        let next_offset = offset + u64::from(count);
        self.count.fetch_add(u64::from(count), Ordering::AcqRel);
        self.given.fetch_max(next_offset, Ordering::AcqRel);
        Ok(Fetched { records, next_offset, ..fetched })
    }
}

/// Waits until an epoch has ended on all workers that began after what was given: so the epoch with that has ended.
fn ended(running: &Running, log: &Gated, clock: &HandClock, live: bool, given: Offset) {
    until(running, "the records are read", |_| log.given() >= given);
    // On the event clock the next epoch comes when the last one has moved the clock.
    let reached = if live {
        clock.set(Millis(clock.now().0 + 1));
        log.wake();
        clock.now()
    } else {
        Millis(at(given as i64 - 1).0 - 60_000)
    };
    until(running, "the epoch's end", |_| {
        let seen = running.seen.lock();
        !seen.complete.is_empty() && seen.complete.values().all(|at: &ClockTime| at.clock() >= reached)
    });
}

/// Ready: caught up, and everything on the log is visible.
fn is_ready(status: &Status) -> bool {
    status.caught_up && status.positions.iter().all(|p| p.visible == p.end)
}

/// Waits until so many students have rows: the event clock moves after the records that move it.
fn shows(running: &Running, students: usize) {
    until(running, "the students' rows", |_| running.seen.lock().students.len() == students);
}

fn start(harness: &Harness, workers: usize, log: &Arc<Gated>, clock: &Arc<HandClock>) -> Running {
    harness.start_at(workers, log.clone(), Wall::Hand(clock.clone()))
}

fn on_each(run: impl Fn(&str, usize)) {
    for clock in ["event", "live"] {
        for workers in 1..=3 {
            run(clock, workers);
        }
    }
}

/// The last records are read when rows of earlier ones wait: the epoch that has them emits all that waits, and is not the one
/// that says so.
#[test]
fn an_engine_is_ready_that_read_the_last_records_while_rows_waited() {
    on_each(|clock, workers| {
        let harness = Harness::new(of(clock, HOURS));
        events(&harness, 0, 60, 20);
        let (log, hand) = (Gated::new(&harness, 40), Arc::new(HandClock::new(Millis(T0 + 60_000))));
        let running = start(&harness, workers, &log, &hand);
        ended(&running, &log, &hand, clock == "live", 40);
        assert!(!running.engine.monitor().status().caught_up);
        log.open(60);
        until(&running, &format!("{workers} workers ready on the {clock} clock"), is_ready);
        shows(&running, 20);
        running.engine.stop().unwrap();
    });
}

/// The log has offsets at its end that no record has: what ended a transaction, or what a compaction removed.
#[test]
fn an_engine_is_ready_where_the_log_ends_without_records() {
    on_each(|clock, workers| {
        let harness = Harness::new(of(clock, HOURS));
        events(&harness, 0, 60, 20);
        let (log, hand) = (Gated::new(&harness, 40), Arc::new(HandClock::new(Millis(T0 + 60_000))));
        let running = start(&harness, workers, &log, &hand);
        ended(&running, &log, &hand, clock == "live", 40);
        log.compacted.store(true, Ordering::Release);
        log.wake();
        until(&running, &format!("{workers} workers ready on the {clock} clock"), is_ready);
        // Likewise later.
        events(&harness, 60, 70, 20);
        until(&running, "offsets without records visible", is_ready);
        running.engine.stop().unwrap();
    });
}

/// The source is not read on for its errors, before the log's end: it holds nobody up.
#[test]
fn an_engine_is_ready_whose_source_stalled() {
    on_each(|clock, workers| {
        let mut harness = Harness::new(of(clock, HOURS));
        Arc::get_mut(&mut harness.plan).unwrap().runtime.engine.error_budget_percent = 1;
        Arc::get_mut(&mut harness.plan).unwrap().runtime.engine.error_budget_records_min = 1;
        let bad: Vec<_> = (0..40).map(|n| (format!("{TENANT}/s{n}").into_bytes(), Some(b"no JSON".to_vec()))).collect();
        harness.append(topic::BEHAVIOR, TENANT, &bad, Millis(T0));
        events(&harness, 40, 60, 20);
        let (log, hand) = (Gated::new(&harness, 40), Arc::new(HandClock::new(Millis(T0 + 60_000))));
        let running = start(&harness, workers, &log, &hand);
        until(&running, "the source stalls", |status| {
            status.positions.iter().any(|p| matches!(p.state, aulaflow_log::SourceState::Stalled(_)))
        });
        log.open(60);
        until(&running, &format!("{workers} workers ready on the {clock} clock"), |status| status.caught_up);
        running.engine.monitor().resume(topic::BEHAVIOR);
        until(&running, "the rest is read", is_ready);
        shows(&running, 20);
        running.engine.stop().unwrap();
    });
}

#[test]
fn an_engine_is_ready_on_an_idle_log() {
    on_each(|clock, workers| {
        let harness = Harness::new(of(clock, HOURS));
        let (log, hand) = (Gated::new(&harness, 0), Arc::new(HandClock::new(Millis(T0))));
        let running = start(&harness, workers, &log, &hand);
        until(&running, &format!("{workers} workers ready on the {clock} clock"), is_ready);
        running.engine.stop().unwrap();
    });
}

fn covered(running: &Running) -> Offset {
    running.engine.checkpoints().newest().and_then(|checkpoint| checkpoint.progress()).unwrap_or(0)
}

/// What was read just after a checkpoint is in the next one, though nothing comes that would make an epoch.
#[test]
fn an_idle_engine_covers_what_it_has_read() {
    on_each(|clock, workers| {
        let mut harness = Harness::new(of(clock, HOURS));
        Arc::get_mut(&mut harness.plan).unwrap().runtime.engine.checkpoint_interval = Duration::from_millis(400);
        events(&harness, 0, 60, 20);
        let (log, hand) = (Gated::new(&harness, 60), Arc::new(HandClock::new(Millis(T0 + 60_000))));
        let running = start(&harness, workers, &log, &hand);
        until(&running, &format!("a checkpoint of {workers} workers on the {clock} clock"), |_| {
            covered(&running) == 60
        });
        running.engine.abandon().unwrap();
    });
}

/// A view was changed and its rows were made from the log: what that made is kept, though no record came.
#[test]
fn a_changed_view_is_made_from_the_log_once() {
    on_each(|clock, workers| {
        for stopped in [true, false] {
            let mut harness = Harness::new(of(clock, HOURS));
            events(&harness, 0, 60, 20);
            let (log, hand) = (Gated::new(&harness, 60), Arc::new(HandClock::new(Millis(T0 + 60_000))));
            let running = start(&harness, workers, &log, &hand);
            until(&running, "ready", is_ready);
            running.engine.stop().unwrap();
            assert_eq!(log.count.load(Ordering::Acquire), 60);

            harness.plan = Arc::new(of(clock, SUMS));
            if stopped {
                // The one at the end is the only one.
                Arc::get_mut(&mut harness.plan).unwrap().runtime.engine.checkpoint_interval = Duration::from_secs(3600);
            }
            let running = start(&harness, workers, &log, &hand);
            until(&running, "ready", is_ready);
            assert_eq!(log.count.load(Ordering::Acquire), 120, "the log is read for the new sum");
            if stopped {
                running.engine.stop().unwrap();
            } else {
                until(&running, "a checkpoint of the changed view", |s| s.checkpoint_age_ms.is_some());
                running.engine.abandon().unwrap();
            }

            let running = start(&harness, workers, &log, &hand);
            until(&running, "ready", is_ready);
            assert_eq!(log.count.load(Ordering::Acquire), 120, "{workers} workers, {clock} clock, stopped: {stopped}");
            shows(&running, 20);
            running.engine.stop().unwrap();
        }
    });
}

/// Nothing has changed: nothing is written, while it is idle or at the end.
#[test]
fn an_idle_engine_without_changes_writes_nothing() {
    for workers in 1..=3 {
        let harness = Harness::new(of("event", HOURS));
        events(&harness, 0, 60, 20);
        let (log, hand) = (Gated::new(&harness, 60), Arc::new(HandClock::new(Millis(T0))));
        let running = start(&harness, workers, &log, &hand);
        until(&running, "ready", is_ready);
        running.engine.stop().unwrap();
        let running = start(&harness, workers, &log, &hand);
        until(&running, "ready", is_ready);
        let monitor = running.engine.monitor();
        running.engine.stop().unwrap();
        assert_eq!(monitor.status().checkpoint_age_ms, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 50, ..ProptestConfig::default() })]
    /// From wherever it is, an engine that nothing comes to any more is ready, and in a checkpoint.
    #[test]
    fn an_engine_is_ready_in_the_end(
        parts in proptest::collection::vec((1i64..40, any::<bool>(), any::<bool>()), 1..6),
        workers in 1usize..4,
        batch in 1usize..50,
        students in 1i64..30,
    ) {
        let mut harness = Harness::new(of("event", HOURS));
        Arc::get_mut(&mut harness.plan).unwrap().runtime.engine.batch_records_max = batch;
        let total: i64 = parts.iter().map(|(count, ..)| count).sum();
        events(&harness, 0, total, students);
        let (log, hand) = (Gated::new(&harness, 0), Arc::new(HandClock::new(Millis(T0))));
        let mut running = start(&harness, workers, &log, &hand);
        let mut to = 0;
        for (count, waits, crashes) in parts {
            to += count;
            log.open(to as u64);
            if waits {
                ended(&running, &log, &hand, false, to as u64);
            }
            if crashes {
                running.engine.abandon().unwrap();
                running = start(&harness, workers, &log, &hand);
            }
        }
        until(&running, "ready", is_ready);
        until(&running, "a checkpoint", |_| covered(&running) == total as u64);
        shows(&running, students.min(total) as usize);
        running.engine.stop().unwrap();
    }
}

/// How many random logs: more where `AULAFLOW_CASES` says so.
fn cases() -> u32 {
    std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}
