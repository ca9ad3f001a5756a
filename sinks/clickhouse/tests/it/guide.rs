//! The questions of `docs/guides/analysts.md`, read out of it and asked both ways; the answers of most beside what the generated
//! school is known to have been.

use crate::school::{DAY, Grade, HOUR, Key, NEW_RULE, START, SUBJECTS, School, States, at, student};
use crate::views::{close, micros, summary};
use aulaflow_model::instant::Millis;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const GUIDE: &str = include_str!("../../../../docs/guides/analysts.md");

/// The queries by their numbers.
fn questions() -> BTreeMap<u32, String> {
    let mut questions = BTreeMap::new();
    for section in GUIDE.split("\n### ").skip(1) {
        let Some(number) = section.split_once(". ").and_then(|(number, _)| number.parse().ok()) else { continue };
        let query = section.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next());
        questions.insert(number, query.unwrap_or_else(|| panic!("question {number} has no query")).to_owned());
    }
    questions
}

struct Asked {
    school: School,
    questions: BTreeMap<u32, String>,
}

impl Asked {
    fn rows(&self, number: u32) -> Vec<Vec<Value>> {
        self.school.both(&self.questions[&number])
    }

    /// Grades of a period at an instant.
    fn grades(&self, period: &'static str, instant: i64) -> impl Iterator<Item = (&Key, &Grade)> {
        let grades = self.school.history.grades.iter().filter(move |(key, _)| key.2 == period);
        grades.filter_map(move |(key, states)| Some((key, at(states, instant)?)))
    }

    fn now(&self) -> impl Iterator<Item = (&Key, &Grade)> {
        self.grades("2026-Q1", i64::MAX)
    }

    fn histories(&self) -> impl Iterator<Item = (&Key, &States<Grade>)> {
        self.school.history.grades.iter()
    }
}

fn instant(text: &str) -> i64 {
    Millis::parse_rfc3339(text).unwrap().0
}

/// Rows in any order.
fn sorted<T: Ord>(rows: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut rows: Vec<T> = rows.into_iter().collect();
    rows.sort();
    rows
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn every_question_of_the_guide_has_an_answer() {
    let Some(school) = School::new() else { return };
    let asked = Asked { school, questions: questions() };
    assert!(asked.questions.len() >= 20);
    for number in asked.questions.keys() {
        assert!(!asked.rows(*number).is_empty(), "question {number}");
    }
    students(&asked);
    subjects(&asked);
    histories(&asked);
    log(&asked);
    same_again(&asked);
}

/// Questions about what the log said.
fn log(asked: &Asked) {
    let letters = json!([
        ["aula.behavior.v1", "late", 2, "2026-03-06T00:00:00.000Z"],
        ["aula.behavior.v1", "json", 1, "2026-03-06T00:00:00.000Z"]
    ]);
    assert_eq!(json!(asked.rows(21)), letters);
    // Noon in UTC is six in Mexico City.
    assert_eq!(json!(asked.rows(22)), json!([[6, 150, 30]]));
    assert_eq!(json!(asked.rows(23)), json!([["billing", "2026-03-06", 2, 2]]));
}

/// Questions about students.
fn students(asked: &Asked) {
    // Who fell: the ten lowest changes, and each change is right.
    let (before, now) = (instant("2026-03-02T00:00:00Z"), instant("2026-03-30T00:00:00Z"));
    let mut falls: Vec<i64> = Vec::new();
    for (key, grade) in asked.grades("2026-Q1", now) {
        let then = at(&asked.school.history.grades[key], before).and_then(|grade| grade.score);
        if let (Some(then), Some(score)) = (then, grade.score) {
            falls.extend(Some(score - then).filter(|change| *change < 0));
        }
    }
    falls.sort_unstable();
    let rows = asked.rows(1);
    assert_eq!(rows.iter().map(|row| micros_signed(&row[4])).collect::<Vec<_>>(), falls[..10]);
    for row in &rows {
        let key =
            asked.school.history.grades.keys().find(|key| row[0] == key.0 && row[1] == key.1 && key.2 == "2026-Q1");
        let states = &asked.school.history.grades[key.unwrap()];
        let at = |instant| at(states, instant).unwrap().score;
        assert_eq!((micros(&row[2]), micros(&row[3])), (at(before), at(now)));
    }

    // Who failed with less participation than before.
    let (february, march) = (instant("2026-02-02T00:00:00Z"), instant("2026-03-02T00:00:00Z"));
    let expected = asked.now().filter(|(_, grade)| !grade.passing).filter_map(|(key, _)| {
        let states = &asked.school.history.participation[&key.0];
        let (then, later) = (*at(states, february)?, at(states, march).copied().unwrap_or(0));
        (later < then).then(|| (key.0.clone(), key.1.to_owned(), then, later))
    });
    let found = asked.rows(2);
    let found = found.iter().map(|r| (text(&r[0]), text(&r[1]), r[3].as_i64().unwrap(), r[4].as_i64().unwrap()));
    assert_eq!(sorted(found), sorted(expected));

    // Who passes everything unseen.
    let seen = |student: &str, instant| at(&asked.school.history.activity[student], instant).is_some();
    let unseen = (0..30).map(student).filter(|student| {
        !seen(student, now)
            && !seen(student, now - 7 * DAY)
            && asked.now().filter(|(key, _)| key.0 == *student).all(|(_, grade)| grade.passing)
    });
    assert_eq!(sorted(asked.rows(5).iter().map(|row| text(&row[0]))), sorted(unseen));

    // Who fails twice.
    let mut failed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, _) in asked.now().filter(|(_, grade)| !grade.passing) {
        failed.entry(key.0.clone()).or_default().push(key.1.to_owned());
    }
    failed.retain(|_, subjects| subjects.len() >= 2);
    let found = asked.rows(14);
    let found = found.iter().map(|row| (text(&row[0]), serde_json::from_value(row[1].clone()).unwrap()));
    assert_eq!(sorted(found), sorted(failed));

    // Where each stands: the share of the others at or below.
    let rows = asked.rows(11);
    assert_eq!(rows.len(), asked.now().filter(|(_, grade)| grade.score.is_some()).count());
    for row in rows {
        let others: Vec<i64> =
            asked.now().filter(|(key, _)| row[0] == key.1).filter_map(|(_, grade)| grade.score).collect();
        let score = micros(&row[2]).unwrap();
        let below = others.iter().filter(|other| **other <= score).count() - 1;
        let percent = 100.0 * below as f64 / (others.len() - 1) as f64;
        assert!((row[3].as_f64().unwrap() - percent).abs() <= 0.051, "{row:?}: {percent}");
    }
}

/// Questions about subjects.
fn subjects(asked: &Asked) {
    let mut tens: BTreeMap<(String, i64), u64> = BTreeMap::new();
    for (key, grade) in asked.now() {
        if let Some(score) = grade.score {
            *tens.entry((key.1.to_owned(), score / 10_000_000 * 10)).or_default() += 1;
        }
    }
    let found = asked.rows(3);
    let found =
        found.iter().map(|row| ((text(&row[0]), micros(&row[1]).unwrap() / 1_000_000), row[2].as_u64().unwrap()));
    assert_eq!(found.collect::<Vec<_>>(), tens.into_iter().collect::<Vec<_>>());

    // The one new rule, and whom it has moved.
    let mut moved = (0_u64, 0_u64, 0_u64);
    for (_, states) in asked.histories().filter(|(key, _)| key.1 == "matematicas" && key.2 == "2026-Q1") {
        let (before, after) = (at(states, NEW_RULE - 1), at(states, NEW_RULE));
        if let (Some(before), Some(after)) = (before, after)
            && before.rule != after.rule
        {
            moved.0 += 1;
            moved.1 += u64::from(!before.passing && after.passing);
            moved.2 += u64::from(before.passing && !after.passing);
        }
    }
    let day_of_rule: Vec<_> = asked.rows(4).into_iter().filter(|row| row[2] == json!("2026-03-16")).collect();
    assert!(moved.0 > 20 && moved.1 > 0, "{moved:?}");
    let expected = json!(["matematicas", "2026-Q1", "2026-03-16", "r-1", "r-2", moved.0, moved.1, moved.2]);
    assert_eq!(json!(day_of_rule), json!([expected]));

    // Four were corrected in February, by five points.
    let rows = asked.rows(6);
    assert_eq!((rows.len(), &rows[0][0], &rows[0][1]), (1, &json!("historia"), &json!(4)));
    assert!(close(&rows[0][2], Some(5.0)), "{rows:?}");

    let cut = instant("2026-03-15T02:00:00-06:00");
    for row in asked.rows(7) {
        let grades = asked.grades("2026-Q1", cut).filter(|(key, _)| row[0] == key.1).map(|(_, grade)| grade);
        let (count, mean, rate) = summary(grades).unwrap();
        assert_eq!((row[1].as_u64().unwrap(), row[3].as_f64().unwrap()), (count, (rate * count as f64).round()));
        assert!((row[2].as_f64().unwrap() - mean.unwrap()).abs() <= 0.0051, "{row:?} {mean:?}");
    }

    // Each week beside the one before.
    let rows = asked.rows(9);
    for pair in rows.windows(2).filter(|pair| pair[0][0] == pair[1][0]) {
        let mean = |week: &Value| {
            let end = instant(&format!("{}T00:00:00Z", week.as_str().unwrap())) + 7 * DAY - 1;
            let grades = asked.grades("2026-Q1", end).filter(|(key, _)| pair[0][0] == key.1).map(|(_, grade)| grade);
            summary(grades).and_then(|(_, mean, _)| mean)
        };
        let change = mean(&pair[1][1]).zip(mean(&pair[0][1])).map(|(now, before)| now - before);
        match (pair[1][4].as_f64(), change) {
            (Some(found), Some(change)) => assert!((found - change).abs() <= 0.0051, "{pair:?} {change}"),
            (found, change) => assert_eq!(found, change, "{pair:?}"),
        }
    }
    assert!(rows.len() > 3 * 8);

    let rows = asked.rows(12);
    assert_eq!(sorted(rows.iter().map(|row| text(&row[0]))), SUBJECTS);
    for row in rows {
        let of = |period| {
            let grades = asked.grades(period, i64::MAX).filter(|(key, _)| row[0] == key.1).map(|(_, grade)| grade);
            summary(grades).unwrap()
        };
        let change = of("2026-Q1").1.unwrap() - of("2025-Q4").1.unwrap();
        assert!((row[3].as_f64().unwrap() - change).abs() <= 0.0051, "{row:?}: {change}");
    }
}

/// Questions about what was.
fn histories(asked: &Asked) {
    let gone = asked.histories().filter(|(_, states)| states.last().is_some_and(|(_, state)| state.is_none()));
    let gone: Vec<_> = gone.map(|(key, _)| json!([key.0, key.1, key.2, "2026-03-06T00:00:00.000Z"])).collect();
    assert_eq!((json!(asked.rows(18)), gone.len()), (json!(gone), 1));

    let mut times: Vec<usize> =
        asked.histories().map(|(_, states)| states.iter().filter(|(_, state)| state.is_some()).count()).collect();
    times.sort_by_key(|times| std::cmp::Reverse(*times));
    let found: Vec<_> = asked.rows(17).iter().map(|row| row[3].as_u64().unwrap() as usize).collect();
    assert_eq!(found, times[..10]);

    let rows = asked.rows(20);
    let mut expected = Vec::new();
    for (_, states) in asked.histories().filter(|(key, _)| key.0 == student(14) && key.2 == "2026-Q1") {
        expected.extend(states.iter().filter_map(|(clock, state)| {
            let grade = state.as_ref()?;
            Some((Millis(*clock).to_string(), grade.score, grade.passing))
        }));
    }
    let found: Vec<_> = rows.iter().map(|row| (text(&row[1]), micros(&row[2]), row[3].as_bool().unwrap())).collect();
    assert_eq!(found, expected);

    // Rows written in each week.
    let mut weeks: BTreeMap<String, u64> = BTreeMap::new();
    for (clock, state) in asked.histories().flat_map(|(_, states)| states) {
        let monday = START + (clock - START).div_euclid(7 * DAY) * 7 * DAY;
        *weeks.entry(Millis(monday).to_string()[..10].to_owned()).or_default() += u64::from(state.is_some());
    }
    let found = asked.rows(16);
    let found: BTreeMap<_, _> = found.iter().map(|row| (text(&row[0]), row[1].as_u64().unwrap())).collect();
    assert_eq!(found, weeks);

    // A forecast in February: what it could know, by thirds.
    let february = instant("2026-02-02T00:00:00Z");
    let mut known: Vec<(i64, bool)> = Vec::new();
    for (key, states) in asked.histories().filter(|(key, _)| key.2 == "2026-Q1") {
        if let Some((clock, Some(grade))) = states.last()
            && *clock > february
        {
            let participations = at(&asked.school.history.participation[&key.0], february).copied();
            known.push((participations.unwrap_or(0), grade.passing));
        }
    }
    let rows = asked.rows(15);
    let counts: u64 = rows.iter().map(|row| row[1].as_u64().unwrap()).sum();
    assert_eq!((counts as usize, rows.len()), (known.len(), 3));
    let passed: f64 = rows.iter().map(|row| row[1].as_f64().unwrap() * row[2].as_f64().unwrap() / 100.0).sum();
    assert!((passed - known.iter().filter(|(_, passing)| *passing).count() as f64).abs() < 0.2, "{rows:?}");
}

/// Last month's numbers, before and after more has happened; a correction of the past is a change of today.
fn same_again(asked: &Asked) {
    let before = asked.rows(8);
    let period_now = || asked.rows(3);
    let now = period_now();
    let mut later = crate::school::History::default();
    let key = (student(3), "historia", "2026-Q1");
    let old = at(&asked.school.history.grades[&key], i64::MAX).unwrap().clone();
    let new = Grade { score: Some(0), passing: false, ..old };
    later.grades.insert(key, vec![(START + 90 * DAY + HOUR, Some(new))]);
    crate::school::insert(&asked.school.connection, "school", &later);
    assert_eq!(asked.rows(8), before);
    assert_ne!(period_now(), now);
}

fn micros_signed(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    match text.strip_prefix('-') {
        Some(text) => -micros(&json!(text)).unwrap(),
        None => micros(value).unwrap(),
    }
}
