//! Single behaviours of the views: the live clock, dead letters, versions, expiry without events, changed definitions.

use crate::dead_letters::Limited;
use crate::harness::{Harness, Running, plan, settled, until};
use aulaflow_log::Log;
use aulaflow_model::change::FeatureValue;
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

const LIVE: &str = "[engine]\nclock = \"live\"\ntick = \"1 ms\"\n";

fn sql(windows: &str) -> String {
    format!(
        "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP)
         WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');
         CREATE MATERIALIZED VIEW recent WITH (serve = true) AS SELECT student_id, count(*) AS n, sum(10 / value) AS s
         FROM behavior GROUP BY student_id, {windows};"
    )
}

fn event(id: &str, value: &str, at: i64) -> (Vec<u8>, Option<Vec<u8>>) {
    let json = format!(
        r#"{{"tenant_id":"t","event_id":"{id}","student_id":"s","event_type":"x","value":{value},"occurred_at":"{}"}}"#,
        Millis(at)
    );
    (b"t/s".to_vec(), Some(json.into_bytes()))
}

fn count(running: &crate::harness::Running) -> Option<FeatureValue> {
    let seen = running.seen.lock();
    Some(seen.students.get(&("t".into(), "s".into()))?.features.get(&0)?.values[0].clone())
}

#[test]
fn a_window_slides_and_empties_with_no_further_event() {
    let harness = Harness::new(plan(LIVE, &sql("hop(interval '1 second', interval '2 seconds')")));
    let running = harness.start(2);
    until(&running, "start", |s| s.caught_up);
    let at = now();
    harness.append(topic::BEHAVIOR, "t", &[event("e", "1", at)], Millis(at));
    until(&running, "the event", |_| count(&running) == Some(FeatureValue::Int(1)));
    until(&running, "the window's end", |_| count(&running).is_none());
    let left = running.seen.lock().changed[&("t".to_owned(), "s".to_owned())].clock();
    assert!(left.0 / 1000 >= at / 1000 + 2, "it left before its time");
    running.engine.stop().unwrap();
}

#[test]
fn what_cannot_be_used_becomes_a_dead_letter_once() {
    let harness = Harness::new(plan(LIVE, &sql("tumble(interval '1 day')")));
    let at = now();
    let bad = [
        (b"t/s".to_vec(), Some(b"{broken".to_vec())),
        event("late", "1", at - 3 * 86_400_000),
        event("future", "1", at + 600_000),
        event("zero", "0", at),
        (b"".to_vec(), Some(b"{}".to_vec())),
        event("good", "2", at),
    ];
    harness.append(topic::BEHAVIOR, "t", &bad, Millis(at));
    let running = harness.start(2);
    settled(&harness, &running, None);
    // That of 0 is left out of the quotients alone.
    assert_eq!(count(&running), Some(FeatureValue::Int(2)));
    // A crash at any point makes the engine meet them again; they are written once all the same.
    running.engine.abandon().unwrap();
    let running = harness.start(1);
    settled(&harness, &running, None);
    running.engine.stop().unwrap();
    let running = harness.start(3);
    settled(&harness, &running, None);
    running.engine.stop().unwrap();
    let letters = harness.dead_letters(topic::BEHAVIOR);
    let classes: Vec<_> = letters.iter().map(|(class, _)| class.as_str()).collect();
    assert_eq!(classes, ["schema", "late", "future", "expression", "key"]);
    assert_eq!(letters[0].1, "{broken");
}

#[test]
fn versions_and_times_of_change_survive_a_restart() {
    let harness = Harness::new(plan(LIVE, &sql("tumble(interval '1 day')")));
    let config = r#"{"tenant":"t","timezone":"UTC","period":[],"rule":[{"subject":"*","weights":"items"}]}"#;
    harness.append(topic::TENANTS, "t", &[(b"t".to_vec(), Some(config.into()))], Millis(now()));
    let running = harness.start(2);
    for score in [50, 60, 70] {
        let json = format!(
            r#"{{"tenant_id":"t","evaluation_id":"v","student_id":"s","subject":"m","type":"exam","period":"p","score":{score},"graded_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:{score}.000Z"}}"#
        );
        harness.append(
            topic::EVALUATIONS,
            "t",
            &[(b"t/v".to_vec(), Some(json.replace(":60.000", ":59.000").replace(":70.000", ":59.500").into_bytes()))],
            Millis(now()),
        );
        settled(&harness, &running, None);
    }
    let before = running.seen.lock().students.clone();
    let row = before[&("t".to_owned(), "s".to_owned())].grades[&("m".to_owned(), "p".to_owned())].clone();
    assert_eq!((row.version, row.grade.score.as_deref()), (3, Some("70.00")));
    running.engine.stop().unwrap();
    let running = harness.start(1);
    settled(&harness, &running, None);
    assert_eq!(running.seen.lock().students, before);
    running.engine.stop().unwrap();
}

#[test]
fn versions_never_go_back_after_a_crash() {
    let mut plan = plan(LIVE, &sql("tumble(interval '1 day')"));
    plan.runtime.engine.checkpoint_interval = std::time::Duration::from_secs(3_600);
    let harness = Harness::new(plan);
    let config = r#"{"tenant":"t","timezone":"UTC","period":[],"rule":[{"subject":"*","weights":"items"}]}"#;
    harness.append(topic::TENANTS, "t", &[(b"t".to_vec(), Some(config.into()))], Millis(now()));
    let evaluation = |n: u32| {
        let json = format!(
            r#"{{"tenant_id":"t","evaluation_id":"v","student_id":"s","subject":"m","type":"exam","period":"p","score":{n},"graded_at":"2026-01-01T00:00:{n}Z"}}"#
        );
        harness.append(topic::EVALUATIONS, "t", &[(b"t/v".to_vec(), Some(json.into_bytes()))], Millis(now()));
    };
    let version = |running: &crate::harness::Running| {
        let seen = running.seen.lock();
        seen.students[&("t".to_owned(), "s".to_owned())].grades[&("m".to_owned(), "p".to_owned())].version
    };
    let running = harness.start(1);
    for n in 10..15 {
        evaluation(n);
        settled(&harness, &running, None);
    }
    assert_eq!(version(&running), 5);
    running.engine.abandon().unwrap();
    // All of it comes again, in as few epochs as it likes, as often as engines crash; sometimes with something new.
    let mut before = 5;
    for (n, new) in [(0, false), (1, false), (20, true), (21, true), (2, false), (22, true), (3, false)] {
        let running = harness.start(1);
        if new {
            settled(&harness, &running, None);
            evaluation(n);
        }
        settled(&harness, &running, None);
        let now = version(&running);
        assert!(now > before || (now == before && !new), "{before}, then {now}");
        before = now;
        running.engine.abandon().unwrap();
    }
    let running = harness.start(1);
    settled(&harness, &running, None);
    evaluation(23);
    settled(&harness, &running, None);
    let after = version(&running);
    assert!(after > before, "{before}, then {after}");
    running.engine.stop().unwrap();
    // A clean end skips nothing.
    let running = harness.start(1);
    settled(&harness, &running, None);
    assert_eq!(version(&running), after);
    evaluation(24);
    settled(&harness, &running, None);
    assert_eq!(version(&running), after + 1);
    running.engine.stop().unwrap();
    // A state that was brought here may be behind what was shown elsewhere.
    let unknown: Vec<_> = (0..5).map(|n| (format!("t/other{n}").into_bytes(), None)).collect();
    harness.append(topic::EVALUATIONS, "t", &unknown, Millis(now()));
    aulaflow_engine::note_moved(&harness.dir.path().join("state")).unwrap();
    let running = harness.start(1);
    evaluation(25);
    settled(&harness, &running, None);
    assert!(version(&running) > after + 2, "{after}, then {}", version(&running));
    running.engine.stop().unwrap();
}

#[test]
fn until_it_has_caught_up_the_clock_is_the_checkpoint_s() {
    let harness = Harness::new(plan(LIVE, &sql("tumble(interval '1 day')")));
    let partition = harness.log.partition_of(topic::BEHAVIOR, "t").unwrap();
    let append = |n: &str| harness.append(topic::BEHAVIOR, "t", &[event(n, "1", now())], Millis(now()));
    let start = |silent| {
        let log = Arc::new(Limited { log: harness.log.clone(), silent: AtomicU32::new(silent), ended: false });
        (harness.start_on(1, log.clone()), log)
    };
    // Epochs pass, and what is on the log does not come.
    let waited = |running: &Running| {
        let complete = || running.seen.lock().complete.get(&0).map_or(Millis(0), |complete| complete.clock());
        let begun = Millis(now());
        until(running, "epochs", |s| {
            assert!(!s.caught_up);
            complete().0 > begun.0 + 1_500
        })
    };
    append("a");
    let (running, log) = start(partition);
    assert_eq!(waited(&running).clock, None, "without a checkpoint there is nothing to claim");
    log.silent.store(u32::MAX, Ordering::Release);
    until(&running, "caught up", |s| s.caught_up && s.clock.is_some());
    running.engine.stop().unwrap();
    let stopped = Millis(now());
    append("b");
    let (running, log) = start(partition);
    let clock = waited(&running).clock.unwrap();
    assert!(clock <= stopped && clock.0 > stopped.0 - 60_000, "{clock}, and it stopped at {stopped}");
    log.silent.store(u32::MAX, Ordering::Release);
    let status = until(&running, "caught up", |s| {
        assert!(s.caught_up || s.clock.is_none_or(|clock| clock <= stopped), "{s:?}");
        s.caught_up
    });
    assert!(status.clock.is_some_and(|clock| clock > stopped), "{status:?}");
    assert_eq!(count(&running), Some(FeatureValue::Int(2)));
    running.engine.stop().unwrap();
}

#[test]
fn a_changed_view_is_rebuilt_from_the_log() {
    let mut harness = Harness::new(plan(LIVE, &sql("tumble(interval '1 day')")));
    let at = now();
    harness.append(topic::BEHAVIOR, "t", &[event("a", "1", at), event("b", "1", at)], Millis(at));
    let running = harness.start(1);
    settled(&harness, &running, None);
    running.engine.stop().unwrap();
    harness.plan = plan(LIVE, &sql("hop(interval '1 hour', interval '2 days')")).into();
    let running = harness.start(1);
    settled(&harness, &running, None);
    assert_eq!(count(&running), Some(FeatureValue::Int(2)));
    running.engine.stop().unwrap();
}

#[test]
fn the_log_of_another_state_is_refused() {
    let harness = Harness::new(plan(LIVE, &sql("tumble(interval '1 day')")));
    harness.append(topic::BEHAVIOR, "t", &[event("a", "1", now())], Millis(now()));
    let running = harness.start(1);
    settled(&harness, &running, None);
    running.engine.stop().unwrap();
    let other = Harness::new((*harness.plan).clone());
    let mut parts = other.parts(Vec::new(), other.log.clone(), &mut prometheus_client::registry::Registry::default());
    parts.state_dir = harness.dir.path().join("state");
    let error = aulaflow_engine::start(parts).err();
    let error = error.expect("refused").to_string();
    assert!(error.contains("not the log that the state was made from"), "{error}");
}
