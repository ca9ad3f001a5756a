//! Random logs: duplicates, reorderings, corrections, deletions, changing rules and calendars, crashes. At the end every
//! view equals a plain recomputation over the list of what was accepted.

use crate::harness::{Harness, plan, settled};
use aulaflow_engine::batch::Batch;
use aulaflow_model::change::FeatureValue;
use aulaflow_model::decimal::Decimal;
use aulaflow_model::event::{Evaluation, splice_tenant};
use aulaflow_model::grade::{Grade, Item, Status, grade};
use aulaflow_model::ids::{EvaluationId, EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::topic;
use aulaflow_model::updated_at::UpdatedAt;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const RUNTIME: &str = r#"
[engine]
clock = "event"
tick = "1 ms"
"#;

const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id', dedupe_horizon = '30 days');
CREATE MATERIALIZED VIEW everything WITH (serve = true) AS
SELECT student_id, count(*) AS events, sum(value) AS points, avg(value) AS mean FROM behavior
GROUP BY student_id, hop(interval '1 hour', interval '6 hours');
CREATE MATERIALIZED VIEW answers WITH (serve = true) AS
SELECT student_id, count(*) AS answers FROM behavior WHERE event_type = 'answer' AND value > 2
GROUP BY student_id, tumble(interval '1 day');
";

const HOUR: i64 = 3_600_000;
const T0: i64 = 1_770_000_000_000;

#[derive(Debug, Clone)]
enum Step {
    Behavior(Vec<(u8, u8, u16, i64, bool)>),
    Evaluations(Vec<(u8, Option<Value>)>),
    Config(u8),
    Crash(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0u8..2, 0u8..4, 0u16..60, 0i64..40, any::<bool>());
    let value = (0u8..4, 0u8..2, 0u8..3, 0i64..=100, 0i64..6);
    let evaluation = (0u8..12, proptest::option::weighted(0.85, value));
    let step = prop_oneof![
        4 => proptest::collection::vec(event, 1..30).prop_map(Step::Behavior),
        4 => proptest::collection::vec(evaluation, 1..10).prop_map(Step::Evaluations),
        1 => (0u8..4).prop_map(Step::Config),
        1 => any::<bool>().prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..12)
}

fn tenant(n: u8) -> TenantId {
    TenantId::new(format!("t{n}")).unwrap()
}

fn config(which: u8) -> TenantConfig {
    let rule = [
        r#"{"subject": "*", "weights": "items", "min_passing": 40}"#,
        r#"{"subject": "*", "weights": {"exam": "0.7", "quiz": "0.3"}, "absent_category": "zero"}"#,
        r#"{"subject": "s1", "weights": {"exam": 1, "quiz": 1}, "category": {"quiz": {"drop_lowest": 1}}}"#,
        r#"{"subject": "s0", "periods": ["p1"], "weights": {"exam": 2, "quiz": 1}}"#,
    ][usize::from(which)];
    let periods = [
        r#"[{"id": "p1", "start": "2026-02-01", "end": "2026-02-03"}, {"id": "p2", "start": "2026-02-04", "end": "2026-03-01"}]"#,
        r#"[{"id": "p1", "start": "2026-02-02", "end": "2026-02-02"}, {"id": "p2", "start": "2026-02-03", "end": "2026-03-01"}]"#,
    ][usize::from(which % 2)];
    let json =
        format!(r#"{{"tenant": "t0", "timezone": "America/Mexico_City", "period": {periods}, "rule": [{rule}]}}"#);
    TenantConfig::from_json(&serde_json::from_str(&json).unwrap()).unwrap()
}

/// The list of what was accepted, and the views by the definition.
#[derive(Default)]
struct Model {
    events: BTreeMap<(u8, u8, u16), (i64, i64, bool)>,
    high: Option<i64>,
    present: BTreeMap<u8, Evaluation>,
    /// The newest update given since the last deletion, in tenths of a millisecond.
    given: BTreeMap<u8, i64>,
    config: Option<TenantConfig>,
}

impl Model {
    fn evaluation(&mut self, id: u8, value: Option<&Evaluation>, updated: Option<i64>) {
        let Some(new) = value else {
            self.present.remove(&id);
            self.given.remove(&id);
            return;
        };
        if let Some(updated) = updated {
            let newest = self.given.entry(id).or_insert(updated);
            if updated < *newest {
                return;
            }
            *newest = updated;
        }
        self.present.insert(id, new.clone());
    }

    fn clock(&self) -> Millis {
        Millis(self.high.map_or(0, |high| high - 60_000))
    }

    /// Per student: [events, points in millionths, answers] of the windows at the clock.
    fn features(&self) -> BTreeMap<(u8, u8), [i64; 3]> {
        let clock = self.clock().0;
        let mut sums: BTreeMap<(u8, u8), [i64; 3]> = BTreeMap::new();
        for ((t, s, _), (at, value, answer)) in &self.events {
            let sum = sums.entry((*t, *s)).or_default();
            let (pane, now) = (at.div_euclid(HOUR), clock.div_euclid(HOUR));
            if pane > now - 6 && pane <= now {
                sum[0] += 1;
                sum[1] += value * 500_000;
            }
            if at.div_euclid(24 * HOUR) == clock.div_euclid(24 * HOUR) && *answer && *value > 4 {
                sum[2] += 1;
            }
        }
        sums
    }

    fn grades(&self) -> BTreeMap<(String, String, String), aulaflow_model::grade::Grade> {
        let Some(config) = &self.config else { return BTreeMap::new() };
        let mut groups: BTreeMap<(StudentId, Subject, PeriodId), Vec<Item>> = BTreeMap::new();
        for e in self.present.values() {
            if let Some(period) = e.period.clone().or_else(|| config.period_at(e.graded_at).cloned()) {
                groups.entry((e.student_id.clone(), e.subject.clone(), period)).or_default().push(e.item());
            }
        }
        let mut grades = BTreeMap::new();
        for ((student, subject, period), items) in groups {
            if let Some(rule) = config.rule_for(&subject, &period)
                && let Some(grade) = grade(&items, rule, &rule.version())
            {
                grades.insert((student.to_string(), subject.to_string(), period.to_string()), (*grade).clone());
            }
        }
        grades
    }
}

fn run(steps: Vec<Step>, workers: usize) {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let mut running = harness.start(workers);
    let mut model = Model::default();
    let (mut updated, mut shown) = (0, Versions::default());
    for step in steps {
        match step {
            Step::Behavior(events) => behavior(&harness, &mut model, &events),
            Step::Evaluations(changes) => evaluations(&harness, &mut model, &changes, &mut updated),
            Step::Config(which) => {
                let config = config(which);
                let json = serde_json::to_vec(&config).unwrap();
                harness.append(topic::TENANTS, "t0", &[(b"t0".to_vec(), Some(json))], Millis(T0));
                model.config = Some(config);
            }
            Step::Crash(settle_first) => {
                if settle_first {
                    settled(&harness, &running, None);
                }
                shown.look(&running.seen.lock(), settle_first);
                running.engine.abandon().unwrap();
                running = harness.start(workers);
            }
        }
    }
    let clock = model.high.map(|_| model.clock());
    settled(&harness, &running, clock);
    check(&running.seen.lock(), &model);
    shown.look(&running.seen.lock(), true);
    check_recomputed(&harness, &running.seen.lock(), clock.unwrap_or_default());
    // A clean stop and another number of workers show the same.
    running.engine.stop().unwrap();
    let running = harness.start(workers % 3 + 1);
    settled(&harness, &running, clock);
    check(&running.seen.lock(), &model);
    assert!(running.metrics().contains("aulaflow_negative_multiplicity_total 0\n"));
    running.engine.stop().unwrap();
    assert_eq!(harness.dead_letters(topic::EVALUATIONS), []);
}

/// The highest version of each grade that was ever shown, with what it said.
#[derive(Default)]
struct Versions(BTreeMap<[String; 4], (u32, Arc<Grade>)>);

impl Versions {
    /// What is shown now. Once it is settled no version is lower, but for a grade that changed and changed back.
    fn look(&mut self, seen: &crate::harness::Seen, settled: bool) {
        for ((tenant, student), shown) in &seen.students {
            for ((subject, period), row) in &shown.grades {
                let key = [tenant, student, subject, period].map(Clone::clone);
                if let Some((version, grade)) = self.0.get(&key) {
                    let good = row.version >= *version || row.grade == *grade || !settled;
                    assert!(good, "{key:?}: version {version} said {grade:?}, and now {row:?}");
                    if row.version < *version {
                        continue;
                    }
                }
                self.0.insert(key, (row.version, row.grade.clone()));
            }
        }
    }
}

fn behavior(harness: &Harness, model: &mut Model, events: &[(u8, u8, u16, i64, bool)]) {
    for t in 0..2 {
        let mut records = Vec::new();
        for (_, student, n, at, answer) in events.iter().filter(|e| e.0 == t) {
            // An event's content follows from its id: a repetition says the same.
            let (at, value) = (T0 + i64::from(*n) * HOUR / 3 + at % 2, i64::from(*n % 12));
            let (at, answer) =
                model.events.get(&(t, *student, *n)).map_or((at, *answer), |(at, _, answer)| (*at, *answer));
            let kind = if answer { "answer" } else { "view" };
            let json = format!(
                r#"{{"event_id":"e{n}","student_id":"s{student}","event_type":"{kind}","value":{}.{},"occurred_at":"{}"}}"#,
                value / 2,
                value % 2 * 5,
                Millis(at)
            );
            let mut spliced = Vec::new();
            splice_tenant(json.as_bytes(), &tenant(t), &mut spliced);
            records.push((format!("t{t}/s{student}").into_bytes(), Some(spliced)));
            model.events.insert((t, *student, *n), (at, value, answer));
            model.high = model.high.max(Some(at));
        }
        if !records.is_empty() {
            harness.append(topic::BEHAVIOR, tenant(t).as_str(), &records, Millis(T0));
        }
    }
}

type Value = (u8, u8, u8, i64, i64);

fn evaluations(harness: &Harness, model: &mut Model, changes: &[(u8, Option<Value>)], updated: &mut i64) {
    let mut records = Vec::new();
    for (id, value) in changes {
        *updated += 1;
        // Some are older than what is present, and must lose; some give no update, and win. Many share a millisecond.
        let given = value.and_then(|(.., score, day)| ((score + day) % 4 > 0).then_some(*updated - (score % 3) * 2));
        let updated_at = given.map(|tenths| {
            let text = format!("{}{}Z", Millis(T0 + tenths.div_euclid(10)), tenths.rem_euclid(10)).replacen('Z', "", 1);
            UpdatedAt::parse_rfc3339(&text).unwrap()
        });
        let value = value.map(|(student, subject, category, score, day)| Evaluation {
            evaluation_id: EvaluationId::new(format!("v{id}")).unwrap(),
            student_id: StudentId::new(format!("s{student}")).unwrap(),
            subject: Subject::new(format!("s{subject}")).unwrap(),
            category: EvaluationType::new(["exam", "quiz", "other"][usize::from(category)]).unwrap(),
            score: Decimal::from_int(score as i32),
            max_score: Decimal::from_int(100),
            weight: Decimal::from_int(1 + day as i32),
            graded_at: Millis(T0 + day * 24 * HOUR),
            updated_at: updated_at.clone(),
            teacher_id: None,
            period: (day == 5).then(|| PeriodId::new("p9").unwrap()),
            status: [Status::Graded, Status::Graded, Status::Missing, Status::Excused][(score % 4) as usize],
        });
        model.evaluation(*id, value.as_ref(), given);
        let json = value.map(|v| v.to_log_json(&tenant(0)));
        records.push((format!("t0/v{id}").into_bytes(), json));
    }
    harness.append(topic::EVALUATIONS, "t0", &records, Millis(T0));
}

fn check(seen: &crate::harness::Seen, model: &Model) {
    let mut grades = BTreeMap::new();
    let mut features = BTreeMap::new();
    let mut students = BTreeSet::new();
    for ((t, s), shown) in &seen.students {
        students.insert((t.clone(), s.clone()));
        for ((subject, period), row) in &shown.grades {
            assert_eq!(t, "t0");
            grades.insert((s.clone(), subject.clone(), period.clone()), (*row.grade).clone());
        }
        let value = |view, at: usize| shown.features.get(&view).map(|row| row.values[at].clone());
        features.insert((t.clone(), s.clone()), (value(0, 0), value(0, 1), value(0, 2), value(1, 0)));
    }
    assert_eq!(grades, model.grades());
    for ((t, s), [events, points, answers]) in model.features() {
        let some = |n: i64, v: FeatureValue| (n > 0).then_some(v);
        let mean = if events > 0 { (2 * points + events) / (2 * events) } else { 0 };
        let expected = (
            some(events, FeatureValue::Int(i128::from(events))),
            some(events, FeatureValue::Micros(points.into())),
            some(events, FeatureValue::Micros(mean.into())),
            some(answers, FeatureValue::Int(i128::from(answers))),
        );
        let got = features.remove(&(format!("t{t}"), format!("s{s}"))).unwrap_or((None, None, None, None));
        assert_eq!(got, expected, "student s{s} of t{t}");
    }
    for (student, left) in features {
        assert_eq!(left, (None, None, None, None), "{student:?}");
    }
}

/// What `aulaflow verify` recomputes from the log is what is shown: grades, features and cohorts.
fn check_recomputed(harness: &Harness, seen: &crate::harness::Seen, clock: Millis) {
    let mut batch = Batch::new(harness.plan.clone(), clock);
    let mut read = 0;
    batch.read(harness.log.as_ref(), None, &mut |records| read += records).unwrap();
    let shown = |t: &TenantId, s: &StudentId| seen.students.get(&(t.to_string(), s.to_string())).cloned();
    let mut students = 0;
    for (tenant, student) in batch.students().iter().flat_map(|(t, all)| all.iter().map(move |s| (t, s))) {
        let (of, shown) = (batch.student(tenant, student, clock), shown(tenant, student).unwrap_or_default());
        let grades = shown.grades.iter().map(|((subject, period), row)| {
            ((Subject::new(subject).unwrap(), PeriodId::new(period).unwrap()), row.grade.clone())
        });
        assert_eq!(of.grades, grades.collect());
        let features = shown.features.iter().filter(|(view, _)| !of.untold.contains_key(view));
        let features: BTreeMap<_, _> = features.map(|(view, row)| (*view, (row.values.clone(), row.session))).collect();
        let told = of.features.into_iter().filter(|(view, _)| !of.untold.contains_key(view)).collect();
        assert_eq!(features, told, "student {student} of {tenant}");
        students += usize::from(!(shown.grades.is_empty() && shown.features.is_empty()));
    }
    let rows = |shown: &&crate::harness::Shown| !(shown.grades.is_empty() && shown.features.is_empty());
    assert_eq!(students, seen.students.values().filter(rows).count(), "students that no record is of");
    let cohorts = batch.students().into_keys().flat_map(|tenant| {
        let of = batch.cohorts(&tenant, clock);
        of.into_iter()
            .map(move |((subject, period), row)| ((tenant.to_string(), subject.to_string(), period.to_string()), row))
    });
    assert_eq!(cohorts.collect::<BTreeMap<_, _>>(), seen.cohorts);
    let evaluations = batch.letters().keys().filter(|(source, _)| *source == topic::EVALUATIONS).count();
    assert_eq!((evaluations, read > 0), (0, students > 0 || read > 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn views_equal_a_recomputation(steps in steps(), workers in 1usize..4) {
        run(steps, workers);
    }
}

/// How many random logs: more where `AULAFLOW_CASES` says so.
fn cases() -> u32 {
    std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}
