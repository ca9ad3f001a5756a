//! What a description says of a restart, against what the restart does: on states that an engine has written, with a log
//! that counts what is read from it again.

use crate::harness::{Harness, Running, Shown, plan, settled};
use aulaflow_engine::describe::{Changes, Fate, SummaryError};
use aulaflow_engine::{Assumptions, StateSummary, describe};
use aulaflow_log::{Fetched, Forward, Log, LogError, Offset, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const LIVE: &str = "[engine]\nclock = \"live\"\ntick = \"1 ms\"\n";
const TABLE: &str = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE,
    occurred_at TIMESTAMP) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
    dedupe = 'event_id');";
/// The base of all changes: a week with a sum, and a day that another view reads.
const WEEK: &str = "CREATE MATERIALIZED VIEW week AS SELECT student_id, count(*) AS n, sum(value) AS s FROM behavior
    WHERE event_type = 'x' GROUP BY student_id, hop(interval '1 day', interval '7 days');";
const DAY: &str = "CREATE MATERIALIZED VIEW day AS SELECT student_id, count(*) AS n, max(value) AS top FROM behavior
    GROUP BY student_id, tumble(interval '1 day');";
const BEST: &str = "CREATE MATERIALIZED VIEW best AS SELECT student_id, max(n) AS n FROM day
    GROUP BY student_id, hop(interval '1 day', interval '3 days');";

/// A log that counts the behaviour records that are read before an offset.
struct Counting {
    log: Arc<dyn Log>,
    before: BTreeMap<u32, Offset>,
    again: AtomicU64,
}

impl Forward for Counting {
    fn behind(&self) -> &Arc<dyn Log> {
        &self.log
    }

    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        let fetched = self.log.read(place, offset, bytes_max)?;
        if place.topic == topic::BEHAVIOR {
            let before = self.before[&place.partition];
            let old = fetched.records.iter().filter(|r| fetched.base_offset + u64::from(r.index) < before).count();
            self.again.fetch_add(old as u64, Ordering::Relaxed);
        }
        Ok(fetched)
    }
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn sql(table: &str, views: &[String]) -> Plan {
    plan(LIVE, &format!("{table}\n{}", views.join("\n")))
}

fn base() -> Plan {
    sql(TABLE, &[WEEK, DAY, BEST].map(str::to_owned))
}

/// An engine that has run over some events of two tenants, and has ended.
fn ran(plan: Plan, at: i64) -> (Harness, Shown) {
    let harness = Harness::new(plan);
    for (tenant, events) in [("t", 7), ("u", 4)] {
        for n in 0..events {
            // Today and yesterday; every second is an `x`.
            let (kind, at) = (if n % 2 == 0 { "x" } else { "y" }, at - n * 9_000_000);
            let json = format!(
                r#"{{"tenant_id":"{tenant}","event_id":"e{n}","student_id":"s","event_type":"{kind}","value":{n},"occurred_at":"{}"}}"#,
                Millis(at)
            );
            let key = format!("{tenant}/s").into_bytes();
            harness.append(topic::BEHAVIOR, tenant, &[(key, Some(json.into_bytes()))], Millis(at));
        }
    }
    let running = harness.start(2);
    settled(&harness, &running, None);
    let shown = of_student(&running);
    running.engine.stop().unwrap();
    (harness, shown)
}

fn of_student(running: &Running) -> Shown {
    running.seen.lock().students[&("t".to_owned(), "s".to_owned())].clone()
}

/// What a description says of the next start.
fn said(harness: &Harness) -> Changes {
    let summary = StateSummary::read(&harness.dir.path().join("state"), harness.log.as_ref()).unwrap();
    describe(&harness.plan, Some(&summary), Assumptions::default()).changes.unwrap()
}

/// By name: values and time of change of the views that show something.
fn rows(harness: &Harness, shown: &Shown) -> BTreeMap<String, (String, Millis)> {
    let row = |(view, row): (&u16, &aulaflow_model::change::FeatureRow)| {
        let name = harness.plan.views[usize::from(*view)].schema.name.clone();
        (name, (format!("{:?}", row.values), row.updated_at))
    };
    shown.features.iter().map(row).collect()
}

/// `expected`: per view in the plan's order `k`ept, from the `s`tate, from the `l`og.
fn case(what: &str, changed: &Plan, expected: &str, removed: &[&str]) {
    let at = now();
    let (mut harness, before) = ran(base(), at);
    let before = rows(&harness, &before);
    harness.plan = Arc::new(changed.clone());
    let changes = said(&harness);
    let letter = |fate: &Fate| match fate {
        Fate::Kept => 'k',
        Fate::FromState => 's',
        Fate::FromLog { .. } => 'l',
        Fate::WhenRead => 'w',
    };
    let fates: String = changes.views.iter().map(|view| letter(&view.fate)).collect();
    assert_eq!(
        (fates.as_str(), changes.removed.iter().map(String::as_str).collect()),
        (expected, removed.to_vec()),
        "{what}"
    );
    assert_eq!(changes.records, if expected.contains('l') { 11 } else { 0 }, "{what}");

    let behavior = (0..2).map(|partition| TopicPartition { topic: topic::BEHAVIOR.to_owned(), partition });
    let before_offsets = behavior.map(|place| (place.partition, harness.log.end_offset(&place).unwrap())).collect();
    let counting = Arc::new(Counting { log: harness.log.clone(), before: before_offsets, again: AtomicU64::new(0) });
    let running = harness.start_on(2, counting.clone());
    settled(&harness, &running, None);
    let after = rows(&harness, &of_student(&running));
    running.engine.stop().unwrap();
    assert_eq!(counting.again.load(Ordering::Relaxed), changes.records, "{what}: records read again");
    let (whole, shown) = ran(changed.clone(), at);
    for (name, (values, _)) in rows(&whole, &shown) {
        assert_eq!(after.get(&name).map(|(values, _)| values), Some(&values), "{what}: {name}");
    }
    for view in &changes.views {
        let kept = after.get(&view.name).map(|row| row.1) == before.get(&view.name).map(|row| row.1);
        // What is made anew from the log by a new part of another view is the same, and keeps its time of change.
        if view.fate == Fate::Kept {
            assert!(kept, "{what}: {} has changed", view.name);
        }
        if view.fate == Fate::FromState {
            assert!(!kept, "{what}: {} is as it was", view.name);
        }
    }
    only_the_log_lacks(what, changed, at);
}

/// The same restart over a log that retention has emptied: exactly what was said to come from it shows nothing or less.
fn only_the_log_lacks(what: &str, changed: &Plan, at: i64) {
    let (whole, shown) = ran(changed.clone(), at);
    let whole = rows(&whole, &shown);
    let (mut harness, _) = ran(base(), at);
    harness.log.retain(topic::BEHAVIOR, Millis(at + 1)).unwrap();
    harness.plan = Arc::new(changed.clone());
    let changes = said(&harness);
    assert_eq!(changes.records, 0, "{what}: the log is empty");
    let running = harness.start(1);
    settled(&harness, &running, None);
    let seen = running.seen.lock().students.get(&("t".to_owned(), "s".to_owned())).cloned().unwrap_or_default();
    let after = rows(&harness, &seen);
    running.engine.stop().unwrap();
    for view in &changes.views {
        let same = after.get(&view.name).map(|row| &row.0) == whole.get(&view.name).map(|row| &row.0);
        match &view.fate {
            Fate::FromLog { incomplete, .. } => {
                assert!(!same, "{what}: {} needs no log", view.name);
                let incomplete = incomplete.expect("the log has lost what it needs");
                assert!(incomplete.complete_at.unwrap() > Millis(at), "{what}: {}", view.name);
            }
            Fate::Kept | Fate::FromState | Fate::WhenRead => assert!(same, "{what}: {} needs the log", view.name),
        }
    }
}

#[test]
fn a_restart_does_what_was_said() {
    let hours = "CREATE MATERIALIZED VIEW busy AS SELECT student_id, count(*) AS n FROM behavior
        GROUP BY student_id, hop(interval '1 hour', interval '2 days');";
    let mean = "CREATE MATERIALIZED VIEW mean AS SELECT student_id, avg(value) AS a FROM behavior
        WHERE event_type = 'x' GROUP BY student_id, hop(interval '1 day', interval '6 days');";
    let grades = "CREATE MATERIALIZED VIEW best_grade AS SELECT student_id, max(score) AS top FROM grades
        GROUP BY student_id;";
    let week = |from: &str, to: &str| WEEK.replace(from, to);
    let columns = TABLE.replace("event_type TEXT, value DOUBLE", "value DOUBLE, event_type TEXT");
    let views = |week: &str| vec![week.to_owned(), DAY.to_owned(), BEST.to_owned()];
    let and = |more: &str| [views(WEEK), vec![more.to_owned()]].concat();
    let gone: &[&str] = &["week"];
    let cases = [
        ("nothing", TABLE, views(WEEK), "kkk", &[][..]),
        ("a new view on other panes", TABLE, and(hours), "kkkl", &[]),
        ("a new view over parts that are there", TABLE, and(mean), "kkks", &[]),
        ("a new view over grades", TABLE, and(grades), "kkkw", &[]),
        ("another output", TABLE, views(&week("count(*) AS n, sum(value)", "sum(value) / count(*)")), "skk", &[]),
        ("another aggregate", TABLE, views(&week("sum(value)", "min(value)")), "lkk", &[]),
        ("a smaller window", TABLE, views(&week("'7 days'", "'2 days'")), "skk", &[]),
        ("a larger window", TABLE, views(&week("'7 days'", "'8 days'")), "lkk", &[]),
        ("another filter", TABLE, views(&week("'x'", "'y'")), "lkk", &[]),
        ("another name", TABLE, views(&week("VIEW week", "VIEW weekly")), "skk", gone),
        ("the order of columns", columns.as_str(), views(WEEK), "ssk", &[]),
        // What the outer view needs longer, the inner one is made of as well.
        ("a longer view over a view", TABLE, vec![WEEK.to_owned(), DAY.to_owned(), BEST.replace('3', "5")], "kll", &[]),
        ("a view removed", TABLE, vec![DAY.to_owned(), BEST.to_owned()], "kk", gone),
    ];
    std::thread::scope(|scope| {
        for (what, table, views, expected, removed) in &cases {
            scope.spawn(move || case(what, &sql(table, views), expected, removed));
        }
    });
}

#[test]
fn a_state_in_use_and_no_state_are_told_apart() {
    let harness = Harness::new(sql(TABLE, &[WEEK.to_owned()]));
    let state = harness.dir.path().join("state");
    let changes = said(&harness);
    assert!(changes.as_of.is_none() && changes.records == 0 && !state.exists(), "{changes:?}");
    assert!(matches!(changes.views[0].fate, Fate::FromLog { incomplete: None, .. }), "{changes:?}");
    harness.append(topic::BEHAVIOR, "t", &[(b"t/s".to_vec(), Some(b"{}".to_vec()))], Millis(now()));
    assert_eq!(said(&harness).records, 1);
    let running = harness.start(1);
    settled(&harness, &running, None);
    let refused = StateSummary::read(&state, harness.log.as_ref());
    assert!(matches!(refused, Err(SummaryError::InUse { .. })), "{refused:?}");
    running.engine.stop().unwrap();
    assert!(said(&harness).as_of.is_some());
    let other = Harness::new(sql(TABLE, &[]));
    let refused = StateSummary::read(&state, other.log.as_ref()).unwrap_err().to_string();
    assert!(refused.contains("not the log that the state was made from"), "{refused}");
}
