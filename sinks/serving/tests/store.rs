//! The store against plain references: state, JSON, time, and readers beside a writer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_model::change::*;
use aulaflow_model::cohort::{Cohort, Sums, score_micros};
use aulaflow_model::decimal::{Decimal, write_micros};
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::{EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Scale;
use aulaflow_model::window::{DAY_MS, WindowKind, WindowSpec, Zone};
use aulaflow_serving::{CohortEntry, CohortQuery, DerivedView, LettingGo, ReadHalf, Stores, WriteHalf, store};
use aulaflow_sink::conformance::{self, Reference, Rows};
use aulaflow_sink::update::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use proptest::prelude::*;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const HOUR: i64 = 3_600_000;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn student(name: &str) -> StudentId {
    StudentId::new(name).unwrap()
}

fn schemas() -> Arc<[ViewSchema]> {
    let of = |name: &str, window, outputs: &[&str]| ViewSchema {
        name: name.to_owned(),
        window,
        outputs: outputs.iter().map(|s| (*s).to_owned()).collect(),
    };
    let view = |name: &str, kind, slide_ms, size_ms, outputs: &[&str]| {
        of(name, WindowSpec { kind, slide_ms, size_ms, gap_ms: 0, zone: None }, outputs)
    };
    let mexico = Zone::new("America/Mexico_City");
    [
        view("participation_7d", WindowKind::Hop, HOUR, 168 * HOUR, &["participations", "points"]),
        view("quo\"ted", WindowKind::Tumble, 24 * HOUR, 24 * HOUR, &["any"]),
        view("half", WindowKind::Hop, 1500, 3000, &["a", "b", "c"]),
        of("visit", WindowSpec::session(1_800_000, 60_000, DAY_MS), &["clicks"]),
        of("week", WindowSpec::hop(DAY_MS, 7 * DAY_MS).in_zone(mexico), &["days"]),
        of("today", WindowSpec::present(), &["subjects", "in_cohorts"]),
    ]
    .into()
}

/// The view `today`: how many grades there are and how many students are in their cohorts; no row without a grade.
fn today() -> Vec<DerivedView> {
    let row: Arc<aulaflow_serving::DerivedRow> = Arc::new(|grades, cohort| {
        let counts = grades.iter().filter_map(|g| Some(cohort(&g.subject, &g.period)?.sums.count));
        let counts = FeatureValue::Int(i128::from(counts.sum::<i64>()));
        (!grades.is_empty()).then(|| [FeatureValue::Int(grades.len() as i128), counts].into())
    });
    vec![DerivedView { index: 5, row }]
}

fn rows(read: &ReadHalf, tenant: &TenantId, student: &StudentId) -> Option<Rows> {
    let profile = read.profile(tenant, student)?;
    let view = |name: &str| read.schemas().iter().position(|s| s.name == name).unwrap() as ViewIndex;
    Some(Rows {
        grades: profile.grades().iter().map(|g| ((g.subject.clone(), g.period.clone()), g.row.clone())).collect(),
        features: profile.features().map(|(schema, row)| (view(&schema.name), row.clone())).collect(),
    })
}

fn put(write: &mut WriteHalf, time: ClockTime, changes: Vec<StudentChange>) {
    assert_eq!(write.apply(&ChangeBatch { time, changes }), Outcome::Applied);
}

fn feature(who: &str, view: ViewIndex, values: Option<Vec<FeatureValue>>, at: i64) -> StudentChange {
    let row = values.map(|values| FeatureRow { session: None, values: values.into(), updated_at: Millis(at) });
    StudentChange {
        tenant: tenant("t"),
        student: student(who),
        grades: vec![],
        features: vec![FeatureChange { view, before: None, after: row }],
    }
}

fn one(n: i64) -> Option<Vec<FeatureValue>> {
    Some(vec![FeatureValue::Int(i128::from(n))])
}

#[test]
fn conforms() {
    conformance::check(|| {
        let (mut writers, read) = store(conformance::schemas(), vec![], 100, 1);
        let reader: conformance::Reader = Box::new(move |t, s| rows(&read, t, s));
        (writers.remove(0), reader)
    });
    conformance::check_cohorts(|| {
        let (mut writers, read) = store(conformance::schemas(), vec![], 100, 1);
        let reader: conformance::CohortReader = Box::new(move |t, s, p| read.cohort(t, s, p).map(|c| *c));
        (writers.remove(0), reader)
    });
    let (writers, _) = store(schemas(), vec![], 10, 3);
    assert_eq!(writers.len(), 3);
}

#[test]
fn a_row_of_an_unknown_view_stops_and_applies_nothing() {
    let (mut writers, read) = store(schemas(), vec![], 10, 1);
    let good = feature("a", 1, one(1), 1);
    let mut session = feature("b", 1, one(1), 1);
    for change in &mut session.features {
        change.after.as_mut().unwrap().session = Some((Millis(0), Millis(1)));
    }
    let unknown = feature("b", 6, one(1), 1);
    let narrow = feature("b", 0, one(1), 1);
    let unbounded = feature("b", 3, one(1), 1);
    let computed = feature("b", 5, Some(vec![FeatureValue::Int(1), FeatureValue::Int(1)]), 1);
    for bad in [unknown, narrow, unbounded, computed, session] {
        let outcome =
            writers[0].apply(&ChangeBatch { time: ClockTime::at(Millis(1)), changes: vec![good.clone(), bad] });
        assert!(matches!(outcome, Outcome::Stop(_)), "{outcome:?}");
        assert_eq!(read.students(), 0);
    }
}

#[test]
fn as_of_follows_the_least_frontier_and_the_last_change() {
    let (mut writers, read) = store(schemas(), vec![], 10, 2);
    let as_of = |who: &str| read.profile(&tenant("t"), &student(who)).unwrap().as_of().0;
    put(&mut writers[0], ClockTime::at(Millis(500)), vec![feature("a", 1, one(1), 500)]);
    assert_eq!(read.frontier(), ClockTime::ZERO);
    assert_eq!(as_of("a"), 500, "its own change, before any frontier");
    writers[0].advance(ClockTime::at(Millis(1000)));
    assert_eq!(as_of("a"), 500, "the other worker says nothing yet");
    writers[1].advance(ClockTime::at(Millis(800)));
    assert_eq!(read.frontier(), ClockTime::at(Millis(800)));
    assert_eq!(as_of("a"), 799, "800 itself is not complete");
    writers[1].advance(ClockTime::at(Millis(800)).next(Millis(800)));
    assert_eq!(as_of("a"), 800, "a step of 800 is complete");
    writers[1].advance(ClockTime::at(Millis(700)));
    assert_eq!(as_of("a"), 800, "a frontier never goes back");
    put(&mut writers[1], ClockTime::at(Millis(900)), vec![feature("b", 1, one(1), 900)]);
    assert_eq!(as_of("b"), 900);
}

#[test]
fn a_held_store_claims_nothing_later() {
    let (mut writers, read) = store(schemas(), today(), 0, 1);
    let as_of = |who: &str| read.profile(&tenant("t"), &student(who)).unwrap().as_of().0;
    put(&mut writers[0], ClockTime::at(Millis(500)), vec![feature("a", 1, one(1), 500)]);
    read.hold(Some(Millis(600)));
    writers[0].advance(ClockTime::at(Millis(551)));
    assert_eq!((as_of("a"), read.as_of()), (550, Millis(550)), "earlier than the hold");
    writers[0].advance(ClockTime::at(Millis(900)));
    put(&mut writers[0], ClockTime::at(Millis(950)), vec![feature("b", 1, one(1), 950)]);
    assert!(read.is_held());
    assert_eq!((as_of("a"), as_of("b"), read.as_of()), (600, 600, Millis(600)), "also what changed since");
    writers[0].expiring(Some(Millis(400)));
    assert_eq!(read.as_of(), Millis(399), "a boundary before it still counts");
    writers[0].expiring(None);
    read.hold(None);
    assert!(!read.is_held());
    assert_eq!((as_of("a"), as_of("b"), read.as_of()), (899, 950, Millis(899)));
}

#[test]
fn an_expiry_under_way_holds_unchanged_profiles_before_the_boundary() {
    let (mut writers, read) = store(schemas(), vec![], 10, 2);
    let as_of = |who: &str| read.profile(&tenant("t"), &student(who)).unwrap().as_of().0;
    put(&mut writers[0], ClockTime::at(Millis(100)), vec![feature("a", 1, one(1), 100), feature("b", 1, one(1), 100)]);
    put(&mut writers[1], ClockTime::at(Millis(100)), vec![feature("c", 1, one(1), 100)]);
    writers[0].expiring(Some(Millis(1000)));
    for writer in &mut writers {
        writer.advance(ClockTime::at(Millis(600)));
    }
    assert_eq!(as_of("a"), 599, "the boundary is not reached yet");
    for writer in &mut writers {
        writer.advance(ClockTime::at(Millis(5000)));
    }
    assert_eq!((as_of("a"), as_of("b")), (999, 999));
    assert_eq!(as_of("c"), 4999, "the other worker's students are through");
    put(&mut writers[0], ClockTime::at(Millis(4000)), vec![feature("a", 1, one(2), 4000)]);
    assert_eq!((as_of("a"), as_of("b")), (4999, 999), "what changed since the boundary has been through it");
    writers[0].expiring(None);
    assert_eq!((as_of("a"), as_of("b"), as_of("c")), (4999, 4999, 4999));
}

/// A student's number is the pane it is in; expiry of the old pane is released late. Whatever a reader sees, the
/// window that the profile names must be the one its number is of.
#[test]
fn readers_never_see_a_number_under_another_window() {
    const SLIDE: i64 = 1500;
    let (mut writers, read) = store(schemas(), vec![], 10, 1);
    let mut write = writers.remove(0);
    let values = |pane: i64| Some(vec![FeatureValue::Int(i128::from(pane)), FeatureValue::Null, FeatureValue::Null]);
    let at = |ms| ClockTime::at(Millis(ms));
    put(&mut write, at(0), vec![feature("a", 2, values(0), 0)]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (t, s) = (tenant("t"), student("a"));
            let mut last = Millis(0);
            let mut reads = 0_u64;
            while !done.load(Ordering::Acquire) {
                let profile = read.profile(&t, &s).unwrap();
                let (_, row) = profile.features().next().unwrap();
                assert_eq!(
                    row.values[0],
                    FeatureValue::Int(i128::from(profile.as_of().pane(SLIDE))),
                    "as of {}",
                    profile.as_of()
                );
                assert!(profile.as_of() >= last, "as_of went back");
                last = profile.as_of();
                reads += 1;
            }
            reads
        });
        for pane in 1..50_000 {
            let boundary = Millis(pane * SLIDE);
            write.expiring(Some(boundary));
            write.advance(at(boundary.0 + 700));
            put(&mut write, at(boundary.0 + 710), vec![feature("a", 2, values(pane), boundary.0)]);
            write.expiring(None);
            write.advance(at(boundary.0 + 720));
        }
        done.store(true, Ordering::Release);
        assert!(reader.join().expect("a reader saw a wrong window") > 0);
    });
}

/// The profile as serde_json renders it from a plain description: what the patched bytes must equal.
struct Plain<'a> {
    tenant: &'a TenantId,
    student: &'a StudentId,
    as_of: Millis,
    rows: &'a Rows,
    schemas: &'a [ViewSchema],
    cohorts: &'a CohortRows,
}

type CohortRows = std::collections::BTreeMap<(TenantId, Subject, PeriodId), Cohort>;

#[derive(Serialize)]
struct PlainCohort {
    count: i64,
    mean: Option<String>,
    stddev: Option<String>,
    pass_rate: Option<String>,
    percentile: Option<String>,
}

impl PlainCohort {
    fn new(cohort: &Cohort, score: Option<&str>) -> Self {
        let micros = |m: i128| {
            let mut text = String::new();
            write_micros(&mut text, m).unwrap();
            text
        };
        let percentile = score.and_then(|score| cohort.percentile_hundredths(score_micros(score).unwrap()));
        Self {
            count: cohort.sums.count,
            mean: cohort.mean().map(micros),
            stddev: cohort.stddev().map(micros),
            pass_rate: cohort.pass_rate().map(micros),
            percentile: percentile.map(|hundredths| format!("{}.{:02}", hundredths / 100, hundredths % 100)),
        }
    }
}

#[derive(Serialize)]
struct PlainGrade<'a> {
    subject: &'a Subject,
    period: &'a PeriodId,
    score: Option<&'a str>,
    passing: bool,
    complete: bool,
    evaluations_count: u32,
    by_category: &'a std::collections::BTreeMap<EvaluationType, CategoryResult>,
    rule_version: &'a str,
    version: u32,
    updated_at: String,
    cohort: Option<PlainCohort>,
}

struct PlainFeature<'a>(&'a ViewSchema, &'a FeatureRow, Millis);
struct PlainFeatures<'a>(&'a Plain<'a>);

impl Plain<'_> {
    fn cohort(&self, subject: &Subject, period: &PeriodId) -> Option<&Cohort> {
        self.cohorts.get(&(self.tenant.clone(), subject.clone(), period.clone()))
    }
}

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let grade = |((subject, period), row): (&'_ (Subject, PeriodId), &'_ GradeRow)| {
            serde_json::to_value(PlainGrade {
                subject,
                period,
                score: row.grade.score.as_deref(),
                passing: row.grade.passing,
                complete: row.grade.complete,
                evaluations_count: row.grade.evaluations_count,
                by_category: &row.grade.by_category,
                rule_version: &row.grade.rule_version,
                version: row.version,
                updated_at: row.updated_at.to_string(),
                cohort: self.cohort(subject, period).map(|cohort| PlainCohort::new(cohort, row.grade.score.as_deref())),
            })
            .unwrap()
        };
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("tenant_id", self.tenant)?;
        map.serialize_entry("student_id", self.student)?;
        map.serialize_entry("as_of", &self.as_of.to_string())?;
        map.serialize_entry("grades", &self.rows.grades.iter().map(grade).collect::<Vec<_>>())?;
        map.serialize_entry("features", &PlainFeatures(self))?;
        map.end()
    }
}

impl Serialize for PlainFeatures<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let plain = self.0;
        let mut map = s.serialize_map(None)?;
        for (view, row) in &plain.rows.features {
            let schema = &plain.schemas[usize::from(*view)];
            map.serialize_entry(&schema.name, &PlainFeature(schema, row, plain.as_of))?;
        }
        let grades = &plain.rows.grades;
        if !grades.is_empty() {
            let counts = grades.keys().filter_map(|(subject, period)| Some(plain.cohort(subject, period)?.sums.count));
            let values = [FeatureValue::Int(grades.len() as i128), FeatureValue::Int(i128::from(counts.sum::<i64>()))];
            let row = FeatureRow { values: values.into(), session: None, updated_at: plain.as_of };
            map.serialize_entry("today", &PlainFeature(&plain.schemas[5], &row, plain.as_of))?;
        }
        map.end()
    }
}

impl Serialize for PlainFeature<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(schema, row, as_of) = self;
        let mut map = s.serialize_map(None)?;
        for (name, value) in schema.outputs.iter().zip(row.values.iter()) {
            match value {
                FeatureValue::Null => map.serialize_entry(name, &())?,
                FeatureValue::Int(n) => map.serialize_entry(name, n)?,
                FeatureValue::Micros(m) => {
                    let mut text = String::new();
                    aulaflow_model::decimal::write_micros(&mut text, *m).unwrap();
                    map.serialize_entry(name, &text)?;
                }
                FeatureValue::Bool(b) => map.serialize_entry(name, b)?,
                FeatureValue::Text(t) => map.serialize_entry(name, t.as_ref())?,
            }
        }
        let spec = &schema.window;
        let seconds = |ms: i64| match ms % 1000 {
            0 => serde_json::json!(ms / 1000),
            _ => serde_json::json!(ms as f64 / 1000.0),
        };
        #[derive(Serialize)]
        struct Window<'a> {
            kind: WindowKind,
            #[serde(skip_serializing_if = "Option::is_none")]
            slide_s: Option<serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            size_s: Option<serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            gap_s: Option<serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            zone: Option<&'a Zone>,
            #[serde(skip_serializing_if = "Option::is_none")]
            start: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            end: Option<String>,
        }
        let clocked = matches!(spec.kind, WindowKind::Hop | WindowKind::Tumble);
        let bounds = if clocked { Some(spec.bounds(*as_of)) } else { row.session };
        map.serialize_entry(
            "window",
            &Window {
                kind: spec.kind,
                slide_s: clocked.then(|| seconds(spec.slide_ms)),
                size_s: clocked.then(|| seconds(spec.size_ms)),
                gap_s: (spec.kind == WindowKind::Session).then(|| seconds(spec.gap_ms)),
                zone: spec.zone.as_ref(),
                start: bounds.map(|(start, _)| start.to_string()),
                end: bounds.map(|(_, end)| end.to_string()),
            },
        )?;
        map.serialize_entry("updated_at", &row.updated_at.to_string())?;
        map.end()
    }
}

/// As the keys of an object in `serde_json::Value` are sorted, grades are compared as values and the rest as bytes.
fn assert_json(read: &ReadHalf, tenant: &TenantId, student: &StudentId, expected: &Rows, cohorts: &CohortRows) {
    let profile = read.profile(tenant, student).unwrap();
    let plain = Plain { tenant, student, as_of: profile.as_of(), rows: expected, schemas: read.schemas(), cohorts };
    let fresh = serde_json::to_string(&plain).unwrap();
    let mut out = b"before".to_vec();
    profile.write_json(&mut out);
    let text = std::str::from_utf8(&out[6..]).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(text).unwrap(),
        serde_json::from_str::<serde_json::Value>(&fresh).unwrap()
    );
    assert_eq!(text.len(), fresh.len());
    let tail = |s: &str| s[s.rfind("],\"features\":").unwrap()..].to_owned();
    assert_eq!(tail(text), tail(&fresh));
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        Just("quo\"te \\ back".to_owned()),
        Just("ñandú 🎓 </script>".to_owned()),
        Just("\u{2028}tab".to_owned())
    ]
}

fn any_value() -> impl Strategy<Value = FeatureValue> {
    prop_oneof![
        Just(FeatureValue::Null),
        any::<i64>().prop_map(|n| FeatureValue::Int(i128::from(n))),
        (-10_000_000_000_000_i64..10_000_000_000_000).prop_map(|m| FeatureValue::Micros(i128::from(m))),
        any::<bool>().prop_map(FeatureValue::Bool),
        any_text().prop_map(|t| FeatureValue::Text(t.into())),
    ]
}

fn any_grade() -> impl Strategy<Value = GradeRow> {
    let category = (proptest::option::of("[0-9]{1,3}"), any_text(), 0_u32..9, 0_u32..9).prop_map(
        |(value, weight, counted, dropped)| CategoryResult {
            value: value.map(Into::into),
            weight: weight.into(),
            counted,
            dropped,
        },
    );
    let categories =
        proptest::collection::btree_map("[a-z]{1,4}".prop_map(|t| EvaluationType::new(t).unwrap()), category, 0..3);
    (proptest::option::of("[0-9]{1,3}"), any::<(bool, bool, u32)>(), categories, 1_u32..9, 0_i64..99_999).prop_map(
        |(score, (passing, complete, evaluations_count), by_category, version, at)| GradeRow {
            grade: Arc::new(Grade {
                score: score.map(Into::into),
                passing,
                complete,
                evaluations_count,
                by_category,
                rule_version: "r-1f".into(),
            }),
            version,
            updated_at: Millis(at),
        },
    )
}

fn any_change() -> impl Strategy<Value = StudentChange> {
    let grades =
        proptest::collection::btree_map((any_text(), "p[12]"), proptest::option::weighted(0.6, any_grade()), 0..3);
    let features = proptest::collection::btree_map(
        0_u16..5,
        proptest::option::weighted(0.6, (proptest::collection::vec(any_value(), 3), 0_i64..99_999)),
        0..3,
    );
    ("[ab]", any_text(), grades, features).prop_map(|(t, s, grades, features)| StudentChange {
        tenant: tenant(&t),
        student: student(&s),
        grades: grades
            .into_iter()
            .map(|((subject, period), row)| GradeChange {
                subject: Subject::new(subject).unwrap(),
                period: PeriodId::new(period).unwrap(),
                before: None,
                after: row,
            })
            .collect(),
        features: features
            .into_iter()
            .map(|(view, row)| FeatureChange {
                view,
                before: None,
                after: row.map(|(values, at)| FeatureRow {
                    session: (view == 3).then(|| (Millis(at / 2), Millis(at + 1_800_000))),
                    values: values[..[2, 1, 3, 1, 1][usize::from(view)]].into(),
                    updated_at: Millis(at),
                }),
            })
            .collect(),
    })
}

/// Cohorts from 0 to 100 of a few students, or their end.
fn any_cohort() -> impl Strategy<Value = CohortChange> {
    let bins = proptest::option::weighted(0.8, proptest::collection::vec(0_i64..3, 20));
    ("[ab]", any_text(), "p[12]", bins, 0_i128..3_000_000).prop_map(|(t, subject, period, bins, more)| {
        let scale = Scale { min: Decimal::ZERO, max: Decimal::from_int(100) };
        let row = bins.filter(|bins| bins.iter().sum::<i64>() > 0).map(|bins| {
            let mut sums = Sums { bins: bins.try_into().unwrap(), ..Sums::default() };
            for (i, n) in sums.bins.into_iter().enumerate() {
                let score = i as i128 * 5_000_000 + more;
                sums.count += n;
                sums.passing += if i >= 12 { n } else { 0 };
                sums.sum += score * i128::from(n);
                sums.squares += score * score * i128::from(n);
            }
            Arc::new(Cohort { scale, sums })
        });
        CohortChange {
            tenant: tenant(&t),
            subject: Subject::new(subject).unwrap(),
            period: PeriodId::new(period).unwrap(),
            before: None,
            after: row,
        }
    })
}

/// All cohorts, read in pages of two.
fn listed(read: &ReadHalf) -> CohortRows {
    let mut all = CohortRows::new();
    for t in [tenant("a"), tenant("b")] {
        let mut last: Option<CohortEntry> = None;
        loop {
            let after = last.as_ref().map(|entry| (&entry.subject, &entry.period));
            let page = read.cohorts(&t, CohortQuery { after, limit: 2, ..CohortQuery::default() });
            assert!(page.is_sorted_by_key(|entry| (entry.subject.clone(), entry.period.clone())));
            let Some(end) = page.last().cloned() else { break };
            all.extend(page.into_iter().map(|e| ((t.clone(), e.subject, e.period), *e.cohort)));
            last = Some(end);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After every batch, state and JSON equal the reference's; the clock moves between reads of the same profile.
    #[test]
    fn equals_the_reference(
        batches in proptest::collection::vec(
            (proptest::collection::vec(any_change(), 0..6), proptest::collection::vec(any_cohort(), 0..6)),
            1..12,
        )
    ) {
        let (mut writers, read) = store(schemas(), today(), 4, 2);
        let mut reference = Reference::default();
        let mut cohorts = CohortRows::new();
        let mut seen = std::collections::BTreeSet::new();
        for (i, (changes, cohort_changes)) in batches.into_iter().enumerate() {
            let time = ClockTime::at(Millis(1_700_000_000_000 + i as i64 * HOUR));
            let batch = ChangeBatch { time, changes };
            reference.apply(&batch);
            seen.extend(batch.changes.iter().map(|c| (c.tenant.clone(), c.student.clone())));
            // A student always comes from the same worker: here by the parity of the id's length.
            let (even, odd): (Vec<_>, Vec<_>) = batch.changes.into_iter().partition(|c| c.student.as_str().len() % 2 == 0);
            put(&mut writers[0], time, even);
            put(&mut writers[1], time, odd);
            for change in cohort_changes {
                let key = (change.tenant.clone(), change.subject.clone(), change.period.clone());
                match &change.after {
                    Some(row) => drop(cohorts.insert(key, **row)),
                    None => drop(cohorts.remove(&key)),
                }
                let half = usize::from(change.subject.as_str().len() % 2 == 1);
                prop_assert_eq!(writers[half].apply_cohorts(&CohortBatch { time, changes: vec![change] }), Outcome::Applied);
            }
            for step in 0..2 {
                for writer in &mut writers {
                    writer.advance(ClockTime::at(Millis(time.clock().0 + step * 1000)));
                }
                prop_assert_eq!(read.students(), reference.students().count());
                for (t, s) in &seen {
                    let seen = rows(&read, t, s);
                    prop_assert_eq!(seen.as_ref(), reference.rows(t, s));
                    if let Some(expected) = reference.rows(t, s) {
                        assert_json(&read, t, s, expected, &cohorts);
                    }
                }
                prop_assert_eq!(listed(&read), cohorts.clone());
            }
        }
    }
}

#[test]
fn json_is_the_contract_s() {
    let (mut writers, read) = store(schemas(), vec![], 4, 1);
    let grade = Grade {
        score: Some("84.30".into()),
        passing: true,
        complete: true,
        evaluations_count: 5,
        by_category: [(
            EvaluationType::new("exam").unwrap(),
            CategoryResult { value: Some("0.85".into()), weight: "0.7".into(), counted: 2, dropped: 0 },
        )]
        .into(),
        rule_version: "r-1f0c".into(),
    };
    let now = 1_772_463_845_120;
    put(
        &mut writers[0],
        ClockTime::at(Millis(now)),
        vec![StudentChange {
            tenant: tenant("school_123"),
            student: student("student_456"),
            grades: vec![GradeChange {
                subject: Subject::new("matematicas").unwrap(),
                period: PeriodId::new("2026-Q1").unwrap(),
                before: None,
                after: Some(GradeRow { grade: Arc::new(grade.clone()), version: 3, updated_at: Millis(now) }),
            }],
            features: vec![FeatureChange {
                view: 0,
                before: None,
                after: Some(FeatureRow {
                    session: None,
                    values: [FeatureValue::Int(5), FeatureValue::Micros(12_500_000)].into(),
                    updated_at: Millis(now - 5),
                }),
            }],
        }],
    );
    let scale = Scale { min: Decimal::ZERO, max: Decimal::from_int(100) };
    let mut sums = Sums::default();
    for (score, passing) in [("35.00", false), ("70.70", true), ("84.30", true), ("95.00", true)] {
        sums.add(&Sums::of(&Grade { score: Some(score.into()), passing, ..grade.clone() }, scale).unwrap());
    }
    let change = CohortChange {
        tenant: tenant("school_123"),
        subject: Subject::new("matematicas").unwrap(),
        period: PeriodId::new("2026-Q1").unwrap(),
        before: None,
        after: Some(Arc::new(Cohort { scale, sums })),
    };
    let batch = CohortBatch { time: ClockTime::at(Millis(now)), changes: vec![change] };
    assert_eq!(writers[0].apply_cohorts(&batch), Outcome::Applied);
    let mut out = Vec::new();
    read.profile(&tenant("school_123"), &student("student_456")).unwrap().write_json(&mut out);
    let expected = concat!(
        r#"{"tenant_id":"school_123","student_id":"student_456","as_of":"2026-03-02T15:04:05.120Z","#,
        r#""grades":[{"subject":"matematicas","period":"2026-Q1","score":"84.30","passing":true,"complete":true,"#,
        r#""evaluations_count":5,"by_category":{"exam":{"value":"0.85","weight":"0.7","counted":2,"dropped":0}},"#,
        r#""rule_version":"r-1f0c","version":3,"updated_at":"2026-03-02T15:04:05.120Z","#,
        r#""cohort":{"count":4,"mean":"71.25","stddev":"22.631449","pass_rate":"0.75","percentile":"71.50"}}],"#,
        r#""features":{"participation_7d":{"participations":5,"points":"12.5","window":{"kind":"hop","slide_s":3600,"#,
        r#""size_s":604800,"start":"2026-02-23T16:00:00.000Z","end":"2026-03-02T16:00:00.000Z"},"#,
        r#""updated_at":"2026-03-02T15:04:05.115Z"}}}"#
    );
    assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
}

#[test]
fn metrics_are_the_store_s() {
    let (mut writers, read) = store(schemas(), vec![], 4, 1);
    put(&mut writers[0], ClockTime::at(Millis(1)), vec![feature("a", 1, one(1), 1)]);
    writers[0].advance(ClockTime::at(Millis(2500)));
    let mut registry = prometheus_client::registry::Registry::with_prefix("aulaflow");
    Stores::single(read.clone()).register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("aulaflow_serving_students 1\n"), "{text}");
    assert!(text.contains("aulaflow_serving_frontier_seconds 2.5\n"), "{text}");
}

fn art(period: &str, row: Option<u32>, at: i64) -> StudentChange {
    let grade = Arc::new(Grade {
        score: Some("7.00".into()),
        passing: true,
        complete: true,
        evaluations_count: 1,
        by_category: Default::default(),
        rule_version: "r".into(),
    });
    let row = row.map(|version| GradeRow { grade, version, updated_at: Millis(at) });
    let change = GradeChange {
        subject: Subject::new("art").unwrap(),
        period: PeriodId::new(period).unwrap(),
        before: None,
        after: row,
    };
    StudentChange { tenant: tenant("t"), student: student("s"), grades: vec![change], features: Vec::new() }
}

#[test]
fn grades_that_are_let_go_are_there_and_not_shown() {
    let (mut writers, read) = store(schemas(), Vec::new(), 10, 1);
    let write = &mut writers[0];
    put(write, ClockTime::at(Millis(10)), vec![art("a", Some(1), 10)]);
    put(write, ClockTime::at(Millis(20)), vec![art("b", Some(1), 20)]);
    let (t, s) = (tenant("t"), student("s"));
    let periods = |read: &ReadHalf| {
        let profile = read.profile(&t, &s)?;
        let shown: Vec<_> = profile.grades().iter().map(|entry| entry.period.to_string()).collect();
        let past: Vec<_> = profile.past_periods().map(ToString::to_string).collect();
        Some((shown.join(" "), past.join(" ")))
    };
    let is = |shown: &str, past: &str| Some((shown.to_owned(), past.to_owned()));
    let json = |read: &ReadHalf| {
        let mut out = Vec::new();
        read.profile(&t, &s).unwrap().write_json(&mut out);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap()
    };
    let let_go = |read: &ReadHalf, periods: &[&str], until: i64| {
        let periods = periods.iter().map(|period| PeriodId::new(*period).unwrap()).collect();
        read.let_go(LettingGo { past: [(tenant("t"), periods)].into(), until: Millis(until) })
    };
    assert_eq!(json(&read).get("past_periods"), None);
    // What changed later stays, as do other tenants' and other periods'.
    assert_eq!(let_go(&read, &["a", "b"], 9), 0);
    assert_eq!(let_go(&read, &["c"], 99), 0);
    assert_eq!(let_go(&read, &["a", "b"], 10), 1);
    // The student's worker does it, and until it has nobody asks again.
    assert_eq!((periods(&read), let_go(&read, &["a"], 99)), (is("a b", ""), 0));
    write.advance(ClockTime::at(Millis(21)));
    assert_eq!((periods(&read), read.grades_let_go()), (is("b", "a"), 1));
    assert_eq!(json(&read)["past_periods"], serde_json::json!(["a"]));
    // A student of whom nothing is left is there.
    assert_eq!(let_go(&read, &["b"], 99), 1);
    write.advance(ClockTime::at(Millis(22)));
    assert_eq!((periods(&read), read.students()), (is("", "a b"), 1));
    // What is told of one brings it back, and what is told to be gone is.
    put(write, ClockTime::at(Millis(30)), vec![art("a", Some(2), 30)]);
    assert_eq!(periods(&read), is("a", "b"));
    put(write, ClockTime::at(Millis(31)), vec![art("b", None, 31)]);
    assert_eq!(periods(&read), is("a", ""));
    let_go(&read, &["a"], 99);
    write.advance(ClockTime::at(Millis(32)));
    put(write, ClockTime::at(Millis(33)), vec![art("a", None, 33)]);
    assert_eq!((periods(&read), read.students()), (None, 0));
    // A copy is told periods alone.
    let mut whole = art("x", None, 0);
    whole.grades.clear();
    assert_eq!(write.replace(&whole, &[PeriodId::new("a").unwrap()], Millis(40)), Outcome::Applied);
    assert_eq!(periods(&read), is("", "a"));
    assert_eq!(write.replace(&whole, &[], Millis(41)), Outcome::Applied);
    assert_eq!(periods(&read), None);
}
