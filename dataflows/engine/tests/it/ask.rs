//! Asking the running dataflow: previews equal what the rule then does, explanations equal what is shown, nothing is left
//! behind, and scheduled rules come into force by the clock.

use crate::harness::{Harness, Running, plan, settled, until};
use aulaflow_engine::AskError;
use aulaflow_model::decimal::Decimal;
use aulaflow_model::event::Evaluation;
use aulaflow_model::grade::{Grade, Preview, Status};
use aulaflow_model::ids::{EvaluationId, EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::{Rule, RuleChange, ScheduledRule, TenantConfig};
use aulaflow_model::topic;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const LIVE: &str = "[engine]\nclock = \"live\"\ntick = \"1 ms\"\n";
const EVENT: &str = "[engine]\nclock = \"event\"\ntick = \"1 ms\"\n";
const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');
CREATE MATERIALIZED VIEW recent WITH (serve = true) AS SELECT student_id, count(*) AS n
FROM behavior GROUP BY student_id, tumble(interval '1 day');";
const WAIT: Duration = Duration::from_secs(20);
const T0: i64 = 1_770_000_000_000;

/// Student, subject, period.
type Key = (String, String, String);
type Grades = BTreeMap<Key, Grade>;

fn tenant() -> TenantId {
    TenantId::new("t").unwrap()
}

const RULES: &[&str] = &[
    r#"{"weights": "items", "min_passing": 40}"#,
    r#"{"weights": {"exam": "0.7", "quiz": "0.3"}, "absent_category": "zero"}"#,
    r#"{"weights": {"exam": 1, "quiz": 1}, "category": {"quiz": {"drop_lowest": 1}}, "min_passing": 75}"#,
    r#"{"weights": {"exam": 2, "quiz": 1}, "periods": ["p1"]}"#,
    r#"{"weights": {"quiz": 0}, "rounding": {"mode": "down", "decimals": 0}}"#,
    r#"{"weights": {"exam": 1}, "scale": {"min": 1, "max": 5}, "periods": ["p2", "p3"]}"#,
];

/// One of the rules, for a subject or for all (`"*"`).
fn rule(which: usize, subject: &str) -> Rule {
    let subject = (subject != "*").then(|| Subject::new(subject).unwrap());
    let json = serde_json::from_str(RULES[which % RULES.len()]).unwrap();
    Rule::from_json_for(subject.as_ref(), &json, "").unwrap()
}

fn put(harness: &Harness, config: &TenantConfig) {
    let json = serde_json::to_vec(config).unwrap();
    harness.append(topic::TENANTS, "t", &[(b"t".to_vec(), Some(json))], Millis(T0));
}

type Value = (u8, u8, u8, u8, u8);

fn evaluations(harness: &Harness, first: usize, values: &[Value]) {
    let records: Vec<_> = values.iter().enumerate().map(|(at, value)| evaluation(first + at, *value)).collect();
    harness.append(topic::EVALUATIONS, "t", &records, Millis(T0));
}

fn evaluation(n: usize, (student, subject, period, category, score): Value) -> (Vec<u8>, Option<Vec<u8>>) {
    let id = format!("v{n}");
    let value = Evaluation {
        evaluation_id: EvaluationId::new(&id).unwrap(),
        student_id: StudentId::new(format!("s{student}")).unwrap(),
        subject: Subject::new(format!("m{subject}")).unwrap(),
        category: EvaluationType::new(["exam", "quiz", "other"][usize::from(category % 3)]).unwrap(),
        score: Decimal::from_int(i32::from(score)),
        max_score: Decimal::from_int(100),
        weight: Decimal::from_int(1 + i32::from(score % 4)),
        graded_at: Millis(T0),
        updated_at: Some(Millis(T0 + n as i64).into()),
        teacher_id: None,
        period: Some(PeriodId::new(format!("p{}", period % 3 + 1)).unwrap()),
        status: [Status::Graded, Status::Graded, Status::Graded, Status::Missing, Status::Excused]
            [usize::from(score % 5)],
    };
    (format!("t/{id}").into_bytes(), Some(value.to_log_json(&tenant())))
}

fn shown(running: &Running) -> Grades {
    let seen = running.seen.lock();
    let of = |((_, student), shown): (&(String, String), &crate::harness::Shown)| {
        let student = student.clone();
        let rows = shown.grades.clone().into_iter();
        rows.map(move |((subject, period), row)| ((student.clone(), subject, period), (*row.grade).clone()))
    };
    seen.students.iter().flat_map(of).collect()
}

/// Rows that differ, as (before, after).
fn differences(before: &Grades, after: &Grades) -> BTreeMap<Key, (Option<Grade>, Option<Grade>)> {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let pair = |key: Key| {
        let rows = (before.get(&key).cloned(), after.get(&key).cloned());
        (key, rows)
    };
    keys.into_iter().map(pair).filter(|(_, (before, after))| before != after).collect()
}

fn changes(preview: &Preview) -> BTreeMap<Key, (Option<Grade>, Option<Grade>)> {
    let rows = preview.changes.iter().map(|row| {
        let key = (row.student_id.to_string(), row.subject.to_string(), row.period.to_string());
        (key, (row.before.as_deref().cloned(), row.after.as_deref().cloned()))
    });
    rows.collect()
}

/// Everything that a question could have moved.
fn traces(running: &Running) -> (Grades, BTreeMap<(String, String), aulaflow_model::instant::ClockTime>, Vec<String>) {
    let metrics = running.metrics();
    let kept = ["negative", "unweighted", "dlq", "source_records"];
    let lines = metrics.lines().filter(|line| kept.iter().any(|name| line.contains(name))).map(str::to_owned);
    (shown(running), running.seen.lock().changed.clone(), lines.collect())
}

fn preview_is_the_effect(workers: usize, values: &[Value], steps: &[(usize, u8)], configured: bool) {
    let harness = Harness::new(plan(LIVE, SQL));
    let running = harness.start(workers);
    let asker = running.engine.asker();
    let mut config = TenantConfig::empty(tenant());
    if configured {
        config = config.replacing(Arc::new(rule(0, "*")));
        put(&harness, &config);
    }
    evaluations(&harness, 0, values);
    settled(&harness, &running, None);
    for (at, (which, subject)) in steps.iter().enumerate() {
        let rule = rule(*which, ["*", "m0", "m1", "m2", "nothing"][usize::from(*subject % 5)]);
        let before = traces(&running);
        let preview = asker.preview(&tenant(), &rule, WAIT).unwrap();
        assert!(traces(&running) == before, "a preview has an effect");
        assert_eq!(preview.rule_version, rule.version());
        config = config.replacing(Arc::new(rule));
        put(&harness, &config);
        settled(&harness, &running, None);
        let after = shown(&running);
        assert_eq!(changes(&preview), differences(&before.0, &after), "step {at}");
        assert_eq!(preview.summary.changed, preview.changes.len());
        assert!(preview.summary.rows >= preview.summary.changed);
        let ordered = preview.changes.windows(2).all(|pair| {
            let key = |row: &aulaflow_model::grade::PreviewRow| {
                (row.subject.clone(), row.period.clone(), row.student_id.clone())
            };
            key(&pair[0]) < key(&pair[1])
        });
        assert!(ordered);
    }
    for ((student, subject, period), grade) in shown(&running) {
        let explained = asker
            .grade(
                &tenant(),
                &StudentId::new(&student).unwrap(),
                &Subject::new(&subject).unwrap(),
                &PeriodId::new(&period).unwrap(),
                WAIT,
            )
            .unwrap()
            .expect("a shown grade can be explained");
        assert_eq!(explained.explanation.grade, Some(grade));
        assert_eq!(explained.rule.version(), explained.explanation.rule_version.as_str());
    }
    assert!(running.metrics().contains("aulaflow_negative_multiplicity_total 0\n"));
    running.engine.stop().unwrap();
    assert_eq!(asker.preview(&tenant(), &rule(0, "*"), WAIT).err(), Some(AskError::Stopped));
}

/// How many random schools: more where `AULAFLOW_CASES` says so.
fn cases() -> u32 {
    std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 100, ..ProptestConfig::default() })]
    #[test]
    fn a_preview_is_what_the_rule_then_does(
        values in proptest::collection::vec((0u8..5, 0u8..3, 0u8..3, 0u8..3, 0u8..=100), 1..60),
        steps in proptest::collection::vec((0usize..6, 0u8..5), 1..6),
        workers in 1usize..4,
        configured in any::<bool>(),
    ) {
        preview_is_the_effect(workers, &values, &steps, configured);
    }
}

fn values(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| ((n % 40) as u8, (n % 3) as u8, (n / 3 % 3) as u8, (n / 7 % 3) as u8, (n * 37 % 101) as u8))
        .collect()
}

#[test]
fn every_answer_is_of_one_instant_while_rules_change() {
    let harness = Harness::new(plan(LIVE, SQL));
    let running = harness.start(3);
    let mut config = TenantConfig::empty(tenant()).replacing(Arc::new(rule(0, "*")));
    put(&harness, &config);
    evaluations(&harness, 0, &values(400));
    settled(&harness, &running, None);
    let asker = running.engine.asker();
    let asking = std::thread::spawn(move || {
        let wanted = rule(1, "*");
        let mut seen = BTreeSet::new();
        for _ in 0..60 {
            let preview = asker.preview(&tenant(), &wanted, WAIT).unwrap();
            // One rule is in force at any instant: never rows of two of them.
            assert!(preview.base_rule_versions.len() <= 1, "{:?}", preview.base_rule_versions);
            let rows =
                preview.changes.iter().map(|row| row.before.as_ref().map(|grade| grade.rule_version.to_string()));
            let versions: BTreeSet<_> = rows.flatten().collect();
            // A row that changes at this very instant is there once, as it is.
            let keys = changes(&preview).len();
            assert_eq!(keys, preview.changes.len());
            assert_eq!(versions, preview.base_rule_versions);
            seen.extend(versions);
        }
        seen
    });
    for n in 0..40_u8 {
        config = config.replacing(Arc::new(rule([2, 4, 1][usize::from(n % 3)], "*")));
        put(&harness, &config);
        evaluations(&harness, usize::from(n), &[(n, n % 3, n % 2, n % 3, n), (n, 1, 1, 1, 2 * n)]);
        settled(&harness, &running, None);
    }
    assert!(!asking.join().unwrap().is_empty());
    assert!(running.metrics().contains("aulaflow_negative_multiplicity_total 0\n"));
    running.engine.stop().unwrap();
}

#[test]
fn questions_leave_nothing_and_what_is_not_there_has_no_answer() {
    let harness = Harness::new(plan(EVENT, SQL));
    let running = harness.start(2);
    let asker = running.engine.asker();
    put(&harness, &TenantConfig::empty(tenant()).replacing(Arc::new(rule(0, "*"))));
    evaluations(&harness, 0, &values(50));
    settled(&harness, &running, None);
    let (student, subject, period) = ("s1".to_owned(), "m1".to_owned(), "p1".to_owned());
    let grade = |tenant: &str, student: &str, subject: &str, period: &str| {
        asker.grade(
            &TenantId::new(tenant).unwrap(),
            &StudentId::new(student).unwrap(),
            &Subject::new(subject).unwrap(),
            &PeriodId::new(period).unwrap(),
            WAIT,
        )
    };
    assert!(grade("t", &student, &subject, &period).unwrap().is_some());
    for (t, s, m, p) in
        [("u", "s1", "m1", "p1"), ("t", "nobody", "m1", "p1"), ("t", "s1", "none", "p1"), ("t", "s1", "p1", "m1")]
    {
        assert_eq!(grade(t, s, m, p), Ok(None), "{t} {s} {m} {p}");
    }
    let before = traces(&running);
    for n in 0..300 {
        // Nobody waits long enough for most of these.
        let patience = if n % 3 == 0 { WAIT } else { Duration::ZERO };
        let _ = asker.preview(&tenant(), &rule(1, ["*", "m1"][n % 2]), patience);
    }
    let other = TenantId::new("u").unwrap();
    let nothing = asker.preview(&other, &rule(1, "*"), WAIT).unwrap();
    assert_eq!((nothing.summary.rows, nothing.changes.len()), (0, 0));
    assert!(traces(&running) == before, "a question has an effect");
    running.engine.stop().unwrap();
}

#[test]
fn the_engine_explains_a_changed_grade_to_itself_and_agrees() {
    let harness = Harness::new(plan(LIVE, SQL));
    let running = harness.start(2);
    put(&harness, &TenantConfig::empty(tenant()).replacing(Arc::new(rule(1, "*"))));
    for n in 0..40 {
        evaluations(&harness, 0, &[(1, 1, 1, n % 3, n + 20)]);
        evaluations(&harness, 1, &[(2, 1, 1, 0, n)]);
        settled(&harness, &running, None);
    }
    until(&running, "a sample", |_| running.metrics().contains("aulaflow_explain_samples_total{kind=\"grade\"} "));
    assert!(running.metrics().contains("aulaflow_explain_disagreements_total{kind=\"grade\"} 0\n"));
    running.engine.stop().unwrap();
}

#[test]
fn scheduled_rules_come_into_force_by_the_live_clock_and_survive_a_restart() {
    let harness = Harness::new(plan(LIVE, SQL));
    let mut running = harness.start(2);
    evaluations(&harness, 0, &values(60));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let at = |ms: i64, rule: Rule| ScheduledRule { effective_at: Millis(now + ms), rule: Arc::new(rule) };
    let (first, second) = (rule(1, "m1"), rule(2, "m1"));
    let config = TenantConfig::empty(tenant()).replacing(Arc::new(rule(0, "*")));
    let config = config.with_scheduled(at(-1_000, rule(4, "m2"))).unwrap();
    let config =
        config.with_scheduled(at(700, first.clone())).unwrap().with_scheduled(at(2_000, second.clone())).unwrap();
    put(&harness, &config);
    let version = |running: &Running, subject: &str| {
        let grades = shown(running);
        let of = grades.iter().filter(|((_, s, _), _)| s == subject).map(|(_, grade)| grade.rule_version.to_string());
        of.collect::<BTreeSet<_>>()
    };
    let one = |rule: &Rule| BTreeSet::from([rule.version()]);
    settled(&harness, &running, None);
    assert_eq!(version(&running, "m0"), one(&rule(0, "*")));
    // A past instant acts at once.
    assert_eq!(version(&running, "m2"), one(&rule(4, "m2")));
    until(&running, "the first switch", |_| version(&running, "m1") == one(&first));
    let changed = running.seen.lock().changed.values().max().copied().unwrap();
    assert!(changed.clock() >= Millis(now + 700), "it came before its time");
    running.engine.stop().unwrap();
    running = harness.start(3);
    until(&running, "the second switch", |_| version(&running, "m1") == one(&second));
    assert_eq!(version(&running, "m0"), one(&rule(0, "*")));
    running.engine.abandon().unwrap();
    let running = harness.start(1);
    settled(&harness, &running, None);
    assert_eq!(version(&running, "m1"), one(&second));
    running.engine.stop().unwrap();
}

#[test]
fn the_event_clock_passes_a_schedule() {
    let harness = Harness::new(plan(EVENT, SQL));
    let running = harness.start(2);
    evaluations(&harness, 0, &values(30));
    let json = serde_json::json!({ "weights": "items", "effective_at": Millis(T0 + 5_000).to_string() });
    let change = RuleChange::from_json_for(None, &json, "").unwrap();
    let scheduled = ScheduledRule { effective_at: change.effective_at.unwrap(), rule: Arc::new(change.rule) };
    put(&harness, &TenantConfig::empty(tenant()).with_scheduled(scheduled).unwrap());
    let event = |at: i64| {
        let json = format!(
            r#"{{"tenant_id":"t","event_id":"e{at}","student_id":"s1","event_type":"x","value":1,"occurred_at":"{}"}}"#,
            Millis(at)
        );
        harness.append(topic::BEHAVIOR, "t", &[(b"t/s1".to_vec(), Some(json.into_bytes()))], Millis(T0));
    };
    let lateness = harness.plan.tables[0].lateness_ms;
    event(T0 + lateness + 4_999);
    settled(&harness, &running, Some(Millis(T0 + 4_999)));
    assert_eq!(shown(&running), Grades::new());
    event(T0 + lateness + 5_000);
    settled(&harness, &running, Some(Millis(T0 + 5_000)));
    assert!(!shown(&running).is_empty());
    running.engine.stop().unwrap();
}
