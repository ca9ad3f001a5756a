//! Cohorts against a plain recomputation from the grades that are shown: through corrections, deletions, rules with other
//! scales, other calendars, crashes and other numbers of workers.

use crate::harness::{Harness, Running, Seen, plan, settled};
use aulaflow_model::cohort::{BINS, Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::{Scale, TenantConfig};
use aulaflow_model::topic;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RUNTIME: &str = "[engine]\nclock = \"live\"\ntick = \"1 ms\"\n";
const T0: i64 = 1_770_000_000_000;
const DAY: i64 = 86_400_000;

type Key = (String, String, String);

/// Tenant, evaluation, and the student, subject, score and day, or its deletion.
type Change = (u8, u8, Option<(u8, u8, i64, i64)>);

#[derive(Debug, Clone)]
enum Step {
    Evaluations(Vec<Change>),
    Config(u8, u8),
    Compare,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = (0u8..6, 0u8..2, 0i64..=120, 0i64..4);
    let evaluation = (0u8..2, 0u8..16, proptest::option::weighted(0.8, value));
    let step = prop_oneof![
        4 => proptest::collection::vec(evaluation, 1..20).prop_map(Step::Evaluations),
        2 => (0u8..2, 0u8..5).prop_map(|(t, which)| Step::Config(t, which)),
        2 => Just(Step::Compare),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..12)
}

fn config(tenant: &str, which: u8) -> TenantConfig {
    let rules = [
        r#"{"subject": "*", "weights": "items", "min_passing": 40}"#,
        r#"{"subject": "*", "weights": "items", "scale": {"min": 5, "max": 10}, "min_passing": 6, "rounding": {"mode": "half_up", "decimals": 1}}"#,
        r#"{"subject": "*", "weights": "items", "extra_credit": true, "min_passing": 100}"#,
        r#"{"subject": "m0", "weights": "items", "scale": {"min": -7, "max": 0}, "min_passing": -2}, {"subject": "m1", "weights": {"quiz": 1}}"#,
        r#"{"subject": "m0", "periods": ["p1"], "weights": {"exam": 1}, "rounding": {"mode": "down", "decimals": 6}}"#,
    ][usize::from(which)];
    let first = ["2026-02-01", "2026-02-03"][usize::from(which % 2)];
    let json = format!(
        r#"{{"tenant": "{tenant}", "timezone": "UTC", "rule": [{rules}],
             "period": [{{"id": "p1", "start": "{first}", "end": "2026-02-03"}}, {{"id": "p2", "start": "2026-02-04", "end": "2026-03-01"}}]}}"#
    );
    TenantConfig::from_json(&serde_json::from_str(&json).unwrap()).unwrap()
}

/// Every cohort of the grades that are shown, by comparing each score with each bound.
fn recomputed(seen: &Seen, configs: &BTreeMap<String, TenantConfig>) -> BTreeMap<Key, Cohort> {
    let mut cohorts: BTreeMap<Key, Cohort> = BTreeMap::new();
    for ((tenant, _), shown) in &seen.students {
        for ((subject, period), row) in &shown.grades {
            let Some(score) = &row.grade.score else { continue };
            let ids = (Subject::new(subject).unwrap(), PeriodId::new(period).unwrap());
            let scale = configs[tenant].rule_for(&ids.0, &ids.1).unwrap().scale;
            let key = (tenant.clone(), subject.clone(), period.clone());
            let cohort = cohorts.entry(key).or_insert_with(|| Cohort { scale, sums: Sums::default() });
            let micros = i128::from(Decimal::parse(score).unwrap().micros());
            cohort.sums.count += 1;
            cohort.sums.passing += i64::from(row.grade.passing);
            cohort.sums.sum += micros;
            cohort.sums.squares += micros * micros;
            cohort.sums.bins[slow_bin(micros, scale)] += 1;
        }
    }
    cohorts
}

fn slow_bin(score: i128, scale: Scale) -> usize {
    let (min, max) = (i128::from(scale.min.micros()), i128::from(scale.max.micros()));
    (1..BINS).filter(|i| (score - min) * 20 >= (max - min) * *i as i128).count()
}

fn evaluations(harness: &Harness, changes: &[Change], updated: &mut i64) {
    for t in 0..2 {
        let tenant = format!("t{t}");
        let mut records = Vec::new();
        for (_, id, value) in changes.iter().filter(|change| change.0 == t) {
            *updated += 1;
            let json = value.map(|(student, subject, score, day)| {
                let (kind, status) =
                    (["exam", "quiz"][usize::from(*id % 2)], ["graded", "excused"][usize::from(score % 9 == 0)]);
                format!(
                    r#"{{"tenant_id":"{tenant}","evaluation_id":"v{id}","student_id":"s{student}","subject":"m{subject}",
                        "type":"{kind}","score":{score},"graded_at":"{}","updated_at":"{}","status":"{status}"}}"#,
                    Millis(T0 + day * DAY),
                    Millis(T0 + *updated)
                )
                .into_bytes()
            });
            records.push((format!("{tenant}/v{id}").into_bytes(), json));
        }
        if !records.is_empty() {
            harness.append(topic::EVALUATIONS, &tenant, &records, Millis(T0));
        }
    }
}

fn compare(harness: &Harness, running: &Running, configs: &BTreeMap<String, TenantConfig>) {
    settled(harness, running, None);
    let seen = running.seen.lock();
    assert_eq!(seen.cohorts, recomputed(&seen, configs));
}

fn run(steps: Vec<Step>, workers: usize) {
    let harness = Harness::new(plan(RUNTIME, ""));
    let mut running = harness.start(workers);
    let mut configs = BTreeMap::new();
    let mut updated = 0;
    for step in steps {
        match step {
            Step::Evaluations(changes) => evaluations(&harness, &changes, &mut updated),
            Step::Config(t, which) => {
                let tenant = format!("t{t}");
                let config = config(&tenant, which);
                let json = serde_json::to_vec(&config).unwrap();
                harness.append(topic::TENANTS, &tenant, &[(tenant.clone().into_bytes(), Some(json))], Millis(T0));
                configs.insert(tenant, config);
            }
            Step::Compare => compare(&harness, &running, &configs),
            Step::Crash => {
                running.engine.abandon().unwrap();
                running = harness.start(workers);
            }
        }
    }
    compare(&harness, &running, &configs);
    let before = running.seen.lock().cohorts.clone();
    running.engine.stop().unwrap();
    let running = harness.start(workers % 3 + 1);
    compare(&harness, &running, &configs);
    assert_eq!(running.seen.lock().cohorts, before);
    assert!(running.metrics().contains("aulaflow_negative_multiplicity_total 0\n"));
    running.engine.stop().unwrap();
    assert_eq!(harness.dead_letters(topic::EVALUATIONS), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 100, ..ProptestConfig::default() })]
    #[test]
    fn cohorts_equal_a_recomputation(steps in steps(), workers in 1usize..4) {
        run(steps, workers);
    }
}

/// How many random logs: more where `AULAFLOW_CASES` says so.
fn cases() -> u32 {
    std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}

#[test]
fn a_cohort_s_life() {
    let harness = Harness::new(plan(RUNTIME, ""));
    let mut configs = BTreeMap::from([("t0".to_owned(), config("t0", 0))]);
    let put = |which: u8| {
        let json = serde_json::to_vec(&config("t0", which)).unwrap();
        harness.append(topic::TENANTS, "t0", &[(b"t0".to_vec(), Some(json))], Millis(T0));
    };
    put(0);
    let running = harness.start(2);
    let key = ("t0".to_owned(), "m0".to_owned(), "p1".to_owned());
    let mut updated = 0;
    let shown = |running: &Running| running.seen.lock().cohorts.get(&key).copied();
    evaluations(&harness, &[(0, 1, Some((1, 0, 30, 0))), (0, 2, Some((2, 0, 80, 0)))], &mut updated);
    compare(&harness, &running, &configs);
    let cohort = shown(&running).unwrap();
    assert_eq!((cohort.mean(), cohort.pass_rate()), (Some(55_000_000), Some(500_000)));
    assert_eq!(cohort.percentile(80_000_000), Some(50_000_000));
    // Another scale: the same students, other numbers.
    put(1);
    configs.insert("t0".to_owned(), config("t0", 1));
    // The calendar moved the marks out of the period.
    compare(&harness, &running, &configs);
    assert_eq!(shown(&running), None);
    put(2);
    configs.insert("t0".to_owned(), config("t0", 2));
    compare(&harness, &running, &configs);
    assert_eq!(shown(&running).unwrap().pass_rate(), Some(0));
    evaluations(&harness, &[(0, 1, None), (0, 2, None)], &mut updated);
    compare(&harness, &running, &configs);
    assert_eq!(shown(&running), None);
    running.engine.stop().unwrap();
}
