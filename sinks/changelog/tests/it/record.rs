//! Records: what is written is what is read, and how it looks to others.

use aulaflow_changelog::record::{self, Entry, Key, KnownViews, Profiles, Refusal, Watermark};
use aulaflow_log::{RecordSet, RecordSetBuilder};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow, ViewSchema};
use aulaflow_model::cohort::{Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::{EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Scale;
use aulaflow_model::window::{WindowSpec, Zone};
use aulaflow_serving::ReadHalf;
use aulaflow_sink::update::{ChangeBatch, CohortChange, FeatureChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: Millis = Millis(1_772_463_845_120);

fn schemas() -> Arc<[ViewSchema]> {
    let schema = |name: &str, window, outputs: &[&str]| ViewSchema {
        name: name.to_owned(),
        window,
        outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
    };
    let day = aulaflow_model::window::DAY_MS;
    let local = WindowSpec::tumble(day).in_zone(Zone::new("America/Mexico_City"));
    [
        schema("participation_7d", WindowSpec::hop(3_600_000, 7 * day), &["participations", "points"]),
        schema("today", local, &["first", "last", "any"]),
        schema("visit", WindowSpec::session(1_800_500, 3_600_000, day), &["events"]),
    ]
    .into()
}

fn student() -> (TenantId, StudentId) {
    (TenantId::new("school_123").unwrap(), StudentId::new("student/456").unwrap())
}

fn value() -> impl Strategy<Value = FeatureValue> {
    prop_oneof![
        Just(FeatureValue::Null),
        prop_oneof![any::<i64>().prop_map(i128::from), any::<i128>()].prop_map(FeatureValue::Int),
        any::<i128>().prop_map(FeatureValue::Micros),
        (-5_000_000i128..5_000_000).prop_map(FeatureValue::Micros),
        Just(FeatureValue::Micros(i128::MIN)),
        any::<bool>().prop_map(FeatureValue::Bool),
        // Texts that look like numbers must stay texts.
        "[0-9.\"\\\\ñ\u{1}]{0,6}".prop_map(|text| FeatureValue::Text(text.as_str().into())),
    ]
}

fn instant() -> impl Strategy<Value = Millis> {
    (0i64..4_000_000_000_000).prop_map(Millis)
}

fn feature(view: u16, outputs: usize) -> impl Strategy<Value = FeatureChange> {
    let session = (instant(), 0i64..100_000).prop_map(|(at, length)| (at, Millis(at.0 + length)));
    (proptest::collection::vec(value(), outputs), session, instant()).prop_map(move |(values, session, updated_at)| {
        let session = (view == 2).then_some(session);
        FeatureChange { view, before: None, after: Some(FeatureRow { values: values.into(), session, updated_at }) }
    })
}

fn grade(n: usize) -> impl Strategy<Value = GradeChange> {
    let category = (proptest::option::of("0\\.[0-9]{1,6}"), 0u32..9, 0u32..3);
    let categories = proptest::collection::btree_map("[a-zñ /]{1,9}", category, 0..3);
    let score = proptest::option::of("-?[0-9]{1,3}\\.[0-9]{2}");
    (score, any::<[bool; 2]>(), categories, any::<u32>(), instant()).prop_map(
        move |(score, [passing, complete], categories, version, updated_at)| {
            let category = |(name, (value, counted, dropped)): (String, (Option<String>, u32, u32))| {
                let value = value.map(Into::into);
                let result = CategoryResult { value, weight: "0.7".into(), counted, dropped };
                (EvaluationType::new(name).unwrap(), result)
            };
            let grade = Grade {
                score: score.map(Into::into),
                passing,
                complete,
                evaluations_count: 3,
                by_category: categories.into_iter().map(category).collect(),
                rule_version: "r-1f0c".into(),
            };
            GradeChange {
                subject: Subject::new(format!("s/{n}")).unwrap(),
                period: PeriodId::new("2026 \"Q1\"").unwrap(),
                before: None,
                after: Some(GradeRow { grade: Arc::new(grade), version, updated_at }),
            }
        },
    )
}

fn rows() -> impl Strategy<Value = StudentChange> {
    let grades = (0usize..3).prop_flat_map(|count| (0..count).map(grade).collect::<Vec<_>>());
    let some = proptest::option::of;
    let features = (some(feature(0, 2)), some(feature(1, 3)), some(feature(2, 1)));
    (grades, features).prop_map(|(grades, (a, b, c))| {
        let (tenant, student) = student();
        StudentChange { tenant, student, grades, features: [a, b, c].into_iter().flatten().collect() }
    })
}

/// A store with one student.
fn store(rows: &StudentChange) -> ReadHalf {
    let (mut writers, store) = aulaflow_serving::store(schemas(), Vec::new(), 10, 1);
    let batch = ChangeBatch { time: ClockTime::at(NOW), changes: vec![rows.clone()] };
    assert_eq!(writers[0].apply(&batch), Outcome::Applied);
    store
}

fn written(store: &ReadHalf) -> RecordSet {
    let (tenant, student) = student();
    let mut set = RecordSetBuilder::default();
    let profile = store.profile(&tenant, &student);
    Profiles::new(&schemas()).push(&mut set, NOW, (&tenant, &student), profile.as_ref(), None);
    set.finish()
}

/// A JSON text with the members of its objects in the order of their names, each once, and no space. Numbers stay as they are
/// written: a sum of whole numbers may have more digits than a parser keeps.
fn canonical(text: &str) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match text.as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_str(text).unwrap();
            let member = |(name, value): (String, Box<serde_json::value::RawValue>)| {
                format!("{}:{}", serde_json::to_string(&name).unwrap(), canonical(value.get()))
            };
            format!("{{{}}}", join(members.into_iter().map(member).collect()))
        }
        b'[' => {
            let items: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(text).unwrap();
            format!("[{}]", join(items.iter().map(|item| canonical(item.get())).collect()))
        }
        b'"' => serde_json::from_str::<serde_json::Value>(text).unwrap().to_string(),
        _ => text.to_owned(),
    }
}

fn decode(set: &RecordSet) -> Result<Entry, Refusal> {
    KnownViews::new(schemas()).decode(&set.iter().next().unwrap())
}

proptest! {
    #[test]
    fn a_profile_comes_back_exactly(rows in rows()) {
        let original = store(&rows);
        let set = written(&original);
        // Members are in the order of their names, and nothing is there twice: what is parsed is written the same.
        if let Some(value) = set.iter().next().unwrap().value {
            let members: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_slice(value).unwrap();
            for member in ["features", "decimals"] {
                prop_assert_eq!(members[member].get(), canonical(members[member].get()));
            }
        }
        let Entry::Profile { whole, past, as_of, unknown } = decode(&set).unwrap() else { panic!("a profile") };
        prop_assert_eq!(unknown, 0);
        prop_assert_eq!(&whole, &rows);
        let (mut writers, copy) = aulaflow_serving::store(schemas(), Vec::new(), 10, 1);
        // What was there before goes.
        let (tenant, id) = student();
        let before = GradeChange { subject: Subject::new("old").unwrap(), ..grade_of_golden() };
        let old = StudentChange { tenant: tenant.clone(), student: id.clone(), grades: vec![before], features: vec![] };
        prop_assert_eq!(writers[0].replace(&old, &[], Millis(1)), Outcome::Applied);
        prop_assert_eq!(writers[0].replace(&whole, &past, as_of), Outcome::Applied);
        prop_assert_eq!(copy.students(), usize::from(!rows.grades.is_empty() || !rows.features.is_empty()));
        let json = |store: &ReadHalf| store.profile(&tenant, &id).map(|profile| {
            let mut out = Vec::new();
            profile.write_json(&mut out);
            String::from_utf8(out).unwrap()
        });
        prop_assert_eq!(json(&copy), json(&original));
    }

    #[test]
    fn periods_that_are_not_in_memory_come_along(rows in rows(), past in proptest::collection::btree_set("[a-z\"]{1,4}", 0..3)) {
        let past: Vec<_> = past.into_iter().map(|period| PeriodId::new(period).unwrap()).collect();
        let (mut writers, original) = aulaflow_serving::store(schemas(), Vec::new(), 10, 1);
        prop_assert_eq!(writers[0].replace(&rows, &past, NOW), Outcome::Applied);
        let Entry::Profile { whole, past: told, .. } = decode(&written(&original)).unwrap() else { panic!("a profile") };
        prop_assert_eq!((whole, told), (rows, past));
    }

    #[test]
    fn keys_tell_everybody_apart(tenant in "[a-z.]{1,3}", parts in proptest::collection::vec("[a/0~]{1,4}", 2)) {
        let tenant = TenantId::new(tenant).unwrap();
        let subject = Subject::new(&parts[0]).unwrap();
        let period = PeriodId::new(&parts[1]).unwrap();
        let keys = [
            Key::Student(tenant.clone(), StudentId::new(format!("{subject}/{period}")).unwrap()),
            Key::Cohort(tenant.clone(), subject, period),
        ];
        for key in &keys {
            let mut set = RecordSetBuilder::default();
            set.push(NOW, &key.encode(), None, &[]);
            let set = set.finish();
            prop_assert_eq!(record::key(&set.iter().next().unwrap()), Some(key.clone()));
        }
    }

    #[test]
    fn nothing_panics(value in proptest::collection::vec(any::<u8>(), 0..80), kind in "profile|cohort|watermark|x", key in "~?[a-c/1]{0,9}") {
        let mut set = RecordSetBuilder::default();
        set.push(NOW, key.as_bytes(), Some(&value), &[("kind", kind.as_bytes()), ("format", b"1")]);
        let _ = decode(&set.finish());
    }
}

fn grade_of_golden() -> GradeChange {
    let exam = CategoryResult { value: Some("0.85".into()), weight: "0.7".into(), counted: 2, dropped: 0 };
    let grade = Grade {
        score: Some("84.30".into()),
        passing: true,
        complete: true,
        evaluations_count: 5,
        by_category: BTreeMap::from([(EvaluationType::new("exam").unwrap(), exam)]),
        rule_version: "r-1f0c".into(),
    };
    let row = GradeRow { grade: Arc::new(grade), version: 3, updated_at: Millis(NOW.0 - 5_000) };
    GradeChange {
        subject: Subject::new("matematicas").unwrap(),
        period: PeriodId::new("2026-Q1").unwrap(),
        before: None,
        after: Some(row),
    }
}

fn golden_rows() -> StudentChange {
    let (tenant, student) = student();
    let feature = |view, values: &[FeatureValue], session| FeatureChange {
        view,
        before: None,
        after: Some(FeatureRow { values: values.into(), session, updated_at: Millis(NOW.0 - 60_000) }),
    };
    let session = Some((Millis(NOW.0 - 600_000), Millis(NOW.0 + 1_200_500)));
    StudentChange {
        tenant,
        student,
        grades: vec![grade_of_golden()],
        features: vec![
            feature(0, &[FeatureValue::Int(5), FeatureValue::Micros(12_500_000)], None),
            feature(1, &[FeatureValue::Text("12.5".into()), FeatureValue::Null, FeatureValue::Bool(true)], None),
            feature(2, &[FeatureValue::Int(3)], session),
        ],
    }
}

fn golden_cohort() -> Cohort {
    let scale = Scale { min: Decimal::from_int(0), max: Decimal::from_int(100) };
    let Some(GradeRow { grade, .. }) = grade_of_golden().after else { panic!("a row") };
    let mut sums = Sums::of(&grade, scale).unwrap();
    sums.add(&Sums::of(&Grade { score: Some("55.10".into()), passing: false, ..(*grade).clone() }, scale).unwrap());
    Cohort { scale, sums }
}

/// One record of each kind, as text: a change of the format shows here, and needs another number.
#[test]
fn records_look_as_they_did() {
    let (tenant, student) = student();
    let (subject, period) = (Subject::new("artes/música").unwrap(), PeriodId::new("2026-Q1").unwrap());
    let mut set = RecordSetBuilder::default();
    let store = store(&golden_rows());
    let profile = store.profile(&tenant, &student);
    let mut profiles = Profiles::new(&schemas());
    profiles.push(&mut set, NOW, (&tenant, &student), profile.as_ref(), None);
    profiles.push(&mut set, NOW, (&tenant, &student), None, None);
    record::push_cohort(&mut set, NOW, (&tenant, &subject, &period), Some(&golden_cohort()));
    record::push_cohort(&mut set, NOW, (&tenant, &subject, &period), None);
    record::push_watermark(&mut set, Watermark { as_of: Millis(NOW.0 - 7), written_at: NOW });
    let set = set.finish();
    let mut text = String::new();
    for record in &set {
        for (name, value) in record.headers.iter() {
            text.push_str(&format!("{name}={} ", String::from_utf8_lossy(value)));
        }
        let value = record.value.map_or("-".into(), String::from_utf8_lossy);
        text.push_str(&format!("{}\n{value}\n", String::from_utf8_lossy(record.key)));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap());
    // And what was written then is read now.
    let known = KnownViews::new(schemas());
    let entries: Vec<_> = set.iter().map(|record| known.decode(&record).unwrap()).collect();
    let cohort = |row| {
        Entry::Cohort(CohortChange {
            tenant: tenant.clone(),
            subject: subject.clone(),
            period: period.clone(),
            before: None,
            after: row,
        })
    };
    let gone = StudentChange { grades: vec![], features: vec![], ..golden_rows() };
    assert_eq!(
        entries,
        [
            Entry::Profile { whole: golden_rows(), past: Vec::new(), as_of: NOW, unknown: 0 },
            Entry::Profile { whole: gone, past: Vec::new(), as_of: NOW, unknown: 0 },
            cohort(Some(Arc::new(golden_cohort()))),
            cohort(None),
            Entry::Watermark(Watermark { as_of: Millis(NOW.0 - 7), written_at: NOW }),
        ]
    );
}

#[test]
fn what_is_not_known_is_passed_over() {
    let set = written(&store(&golden_rows()));
    let record = set.iter().next().unwrap();
    // Views that this reader defines otherwise: another window, other outputs, none of the name.
    let mut schemas: Vec<_> = schemas().to_vec();
    schemas[0].window = WindowSpec::hop(3_600_000, 86_400_000);
    schemas[1].outputs = vec!["first".to_owned()];
    schemas[2].name = "visits".to_owned();
    let Entry::Profile { whole, unknown, .. } = KnownViews::new(schemas.into()).decode(&record).unwrap() else {
        panic!("a profile")
    };
    assert_eq!((whole.features.len(), whole.grades.len(), unknown), (0, 1, 3));
    let with = |headers: &[(&str, &[u8])], key: &[u8], value: &[u8]| {
        let mut set = RecordSetBuilder::default();
        set.push(NOW, key, Some(value), headers);
        decode(&set.finish())
    };
    let value = record.value.unwrap();
    let known: [(&str, &[u8]); 2] = [("kind", b"profile"), ("format", b"1")];
    assert!(matches!(with(&known, record.key, value), Ok(Entry::Profile { .. })));
    assert_eq!(
        with(&[("kind", b"profile"), ("format", b"2")], record.key, value),
        Err(Refusal::Unknown("format 2".to_owned()))
    );
    assert_eq!(
        with(&[("kind", b"picture"), ("format", b"1")], record.key, value),
        Err(Refusal::Unknown("kind \"picture\"".to_owned()))
    );
    assert!(matches!(with(&[], record.key, value), Err(Refusal::Unknown(_))));
    assert!(matches!(with(&known, b"school_123/other", value), Err(Refusal::Damaged(_))));
    assert!(matches!(with(&known, record.key, b"{}"), Err(Refusal::Damaged(_))));
    assert!(matches!(with(&known, b"~cohort/t/1/a/b", value), Err(Refusal::Damaged(_))));
}
