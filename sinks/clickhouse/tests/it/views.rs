//! The analysts' views against what a generated school has been, and a server's own views.

use crate::engine::{access, connect};
use crate::school::{DAY, HOUR, History, START, SUBJECTS, School, at, insert, student, tables};
use aulaflow_clickhouse::{analysts, check_views, migrate, migrate_views, views};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A decimal text in millionths.
pub fn micros(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    Some(whole.parse::<i64>().unwrap() * 1_000_000 + format!("{part:0<6}").parse::<i64>().unwrap())
}

pub fn close(value: &Value, expected: Option<f64>) -> bool {
    match (value.as_f64(), expected) {
        (Some(value), Some(expected)) => (value - expected).abs() < 1e-6,
        (value, expected) => value.is_none() && expected.is_none(),
    }
}

/// Count, mean and share of passing grades.
pub fn summary<'a>(grades: impl Iterator<Item = &'a crate::school::Grade>) -> Option<(u64, Option<f64>, f64)> {
    let (mut count, mut scored, mut total, mut passed) = (0_u64, 0_u64, 0_i64, 0_u64);
    for grade in grades {
        count += 1;
        passed += u64::from(grade.passing);
        if let Some(score) = grade.score {
            scored += 1;
            total += score;
        }
    }
    let mean = (scored > 0).then(|| total as f64 / 1e6 / scored as f64);
    (count > 0).then(|| (count, mean, passed as f64 / count as f64))
}

#[test]
fn the_past_is_what_it_was() {
    let Some(school) = School::new() else { return };
    for (day, hour) in [(0, 0), (0, 8), (20, 5), (36, 0), (59, 23), (60, 0), (70, 12), (84, 0)] {
        let instant = START + day * DAY + hour * HOUR;
        let text = aulaflow_model::instant::Millis(instant).to_string();
        let rows = school.both(&format!(
            "SELECT student, subject, period, score, passing, rule_version FROM grades_as_of(t = '{text}') ORDER BY 1, 2, 3"
        ));
        let mut found: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {} {} {:?} {} {}", row[0], row[1], row[2], micros(&row[3]), row[4], row[5]))
            .collect();
        let grades = &school.history.grades;
        let mut expected: Vec<String> = grades
            .iter()
            .filter_map(|((student, subject, period), states)| {
                let grade = at(states, instant)?;
                let (passing, rule) = (grade.passing, grade.rule);
                Some(format!("\"{student}\" \"{subject}\" \"{period}\" {:?} {passing} \"{rule}\"", grade.score))
            })
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{text}");
    }
    // The present is the newest past.
    let columns = "student, subject, period, toString(score), passing, complete, rule_version, updated_at";
    let present = format!("SELECT count(*), sum(cityHash64({columns})) FROM grades");
    let past = present.replace("grades", "grades_as_of(t = '2027-01-01')");
    assert_eq!(school.both(&present), school.both(&past));
    assert_eq!(school.both("SELECT count(*) FROM grades")[0][0], json!(179));
}

#[test]
fn weeks_are_as_of_their_ends() {
    let Some(school) = School::new() else { return };
    let rows = school.both("SELECT subject, period, week, students, mean, pass_rate FROM grades_weekly");
    let found: BTreeMap<(String, String, String), &Vec<Value>> =
        rows.iter().map(|row| ((row[0].to_string(), row[1].to_string(), row[2].to_string()), row)).collect();
    assert_eq!(found.len(), rows.len());
    let newest = school.history.grades.values().flatten().map(|(clock, _)| *clock).max().unwrap();
    let mut expected = 0;
    for subject in SUBJECTS {
        for period in ["2025-Q4", "2026-Q1"] {
            let mut monday = START;
            while monday <= newest {
                let end = monday + 7 * DAY - 1;
                let of = |key: &crate::school::Key| key.1 == subject && key.2 == period;
                let grades = school.history.grades.iter().filter(|(key, _)| of(key));
                let day = aulaflow_model::instant::Millis(monday).to_string()[..10].to_owned();
                let key = (format!("{subject:?}"), format!("{period:?}"), format!("{day:?}"));
                match (summary(grades.filter_map(|(_, states)| at(states, end))), found.get(&key)) {
                    (None, None) => {}
                    (Some((count, mean, rate)), Some(row)) => {
                        expected += 1;
                        assert_eq!(row[3], json!(count), "{key:?}");
                        assert!(close(&row[4], mean) && close(&row[5], Some(rate)), "{key:?}: {row:?} {mean:?} {rate}");
                    }
                    (expected, found) => panic!("{key:?}: {found:?}, not {expected:?}"),
                }
                monday += 7 * DAY;
            }
        }
    }
    assert_eq!(expected, rows.len());
    assert!(expected > 60);
}

#[test]
fn cohorts_are_compared_with_the_period_before_and_with_the_school() {
    let Some(school) = School::new() else { return };
    let rows = school.both(
        "SELECT subject, period, students, mean, pass_rate, period_before, mean_before, mean_change, pass_rate_before, \
         pass_rate_change, school_mean, mean_from_school FROM cohort_comparison ORDER BY subject, period",
    );
    assert_eq!(rows.len(), 6);
    let of = |subject: Option<&str>, period: &str| {
        let grades = school.history.grades.iter();
        let grades = grades.filter(|((_, s, p), _)| subject.is_none_or(|subject| subject == *s) && *p == period);
        summary(grades.filter_map(|(_, states)| at(states, i64::MAX))).unwrap()
    };
    for row in rows {
        let (subject, period) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        let (count, mean, rate) = of(Some(subject), period);
        let all = of(None, period).1;
        assert_eq!(row[2], json!(count));
        assert!(close(&row[3], mean) && close(&row[4], Some(rate)) && close(&row[10], all), "{row:?}");
        assert!(close(&row[11], Some(mean.unwrap() - all.unwrap())), "{row:?}");
        if period == "2025-Q4" {
            assert!(row[5..10].iter().all(Value::is_null), "{row:?}");
        } else {
            let (_, before, rate_before) = of(Some(subject), "2025-Q4");
            assert_eq!(row[5], json!("2025-Q4"));
            assert!(close(&row[6], before) && close(&row[8], Some(rate_before)), "{row:?}");
            assert!(close(&row[7], Some(mean.unwrap() - before.unwrap())), "{row:?}");
            assert!(close(&row[9], Some(rate - rate_before)), "{row:?}");
        }
    }
}

const TRAINING: &str = "SELECT student, subject, period, toUnixTimestamp64Milli(outcome_at), score, passing, \
     toUnixTimestamp64Milli(features_at), score_then, participation_7d__participations, activity_7d__events FROM ";

/// What a training set must be, from the history alone: keyed by student, subject and period.
fn expected(history: &History, features_at: impl Fn(i64) -> Option<i64>) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::new();
    for (key, states) in &history.grades {
        let Some((outcome_at, Some(grade))) = states.last() else { continue };
        let Some(when) = features_at(*outcome_at) else { continue };
        let then = at(states, when).and_then(|grade| grade.score);
        let (participations, events) = (at(&history.participation[&key.0], when), at(&history.activity[&key.0], when));
        let row =
            format!("{outcome_at} {:?} {} {when} {then:?} {participations:?} {events:?}", grade.score, grade.passing);
        expected.insert(format!("{key:?}"), row);
    }
    expected
}

fn found(rows: &[Vec<Value>]) -> BTreeMap<String, String> {
    let key = |row: &Vec<Value>| format!("({}, {}, {})", row[0], row[1], row[2]);
    let count = |value: &Value| value.as_i64();
    let row_text = |row: &Vec<Value>| {
        let (participations, events) = (count(&row[8]), count(&row[9]));
        format!(
            "{} {:?} {} {} {:?} {:?} {:?}",
            row[3],
            micros(&row[4]),
            row[5],
            row[6],
            micros(&row[7]),
            participations,
            events
        )
    };
    rows.iter().map(|row| (key(row), row_text(row))).collect()
}

#[test]
fn training_sets_know_nothing_of_what_came_later() {
    let Some(school) = School::new() else { return };
    for days in [0, 1, 14, 28, 400] {
        let rows = school.both(&format!("{TRAINING} training_set(days = {days}) ORDER BY 1, 2, 3"));
        assert_eq!(found(&rows), expected(&school.history, |at| Some(at - days * DAY)), "{days} days");
        assert_eq!(rows.len(), 179);
    }
    for day in ["2026-01-01", "2026-02-02", "2026-03-16"] {
        let instant = aulaflow_model::instant::Millis::parse_rfc3339(&format!("{day}T00:00:00Z")).unwrap().0;
        let rows = school.both(&format!("{TRAINING} training_set_at(t = '{day}') ORDER BY 1, 2, 3"));
        let expected = expected(&school.history, |at| (at > instant).then_some(instant));
        assert_eq!(found(&rows), expected, "{day}");
        assert!(!rows.is_empty());
    }
}

/// One change of one feature moved across the instant, by a millisecond: the row follows it, and no other row changes.
#[test]
fn a_change_is_a_feature_up_to_its_instant_and_not_a_millisecond_longer() {
    let Some(access) = access() else { return };
    let connection = connect(&access);
    let tables = tables();
    migrate(&connection, &tables, &[], "").unwrap();
    migrate_views(&connection, &tables).unwrap();
    let outcome = START + 50 * DAY;
    let features_at = outcome - 14 * DAY;
    let value = |student: &str| {
        let database = analysts(&access.database);
        let sql = format!(
            "SELECT ifNull(any(participation_7d__participations), 0)::UInt64 FROM {database}.training_set(days = 14) WHERE student = \
             '{student}' AND tenant = 'school'"
        );
        connection.number(&sql).unwrap()
    };
    for (moved, seen) in [(-1, 9), (0, 9), (1, 4), (DAY, 4)] {
        for table in ["grades", "grades_changes", "participation_7d", "participation_7d_changes"] {
            connection.execute(&format!("TRUNCATE TABLE {table}")).unwrap();
        }
        let mut history = History::default();
        for n in [1, 2] {
            let grade = crate::school::Grade { score: Some(70_000_000), passing: true, complete: true, rule: "r-1" };
            history.grades.insert((student(n), "quimica", "2026-Q1"), vec![(outcome, Some(grade))]);
            let clock = if n == 1 { features_at + moved } else { features_at - 5 };
            let states = vec![(features_at - 10 * DAY, Some(4)), (clock, Some(9)), (outcome - 1, Some(1_000))];
            history.participation.insert(student(n), states);
            history.activity.insert(student(n), vec![(features_at - DAY, Some(1))]);
        }
        insert(&connection, "school", &history);
        assert_eq!((value(&student(1)), value(&student(2))), (seen, 9), "moved by {moved} ms");
    }
}

#[test]
fn a_servers_views_are_made_once_and_follow_the_plan() {
    let Some(access) = access() else { return };
    let connection = connect(&access);
    let tables = tables();
    migrate(&connection, &tables, &[], "").unwrap();
    let all = views(&tables, &access.database);
    let faults = check_views(&connection, &tables).unwrap();
    assert_eq!(faults.len(), all.len(), "{faults:?}");
    assert!(faults[0].contains("there is no such view: run `aulaflow clickhouse migrate`"), "{faults:?}");
    assert_eq!(migrate_views(&connection, &tables).unwrap().len(), all.len());
    assert_eq!(migrate_views(&connection, &tables).unwrap(), Vec::<String>::new());
    assert_eq!(check_views(&connection, &tables).unwrap(), Vec::<String>::new());

    // One that somebody made stays, one of ours that was changed is made again.
    let database = analysts(&access.database);
    connection.execute(&format!("CREATE VIEW {database}.mine AS SELECT 1")).unwrap();
    connection.execute(&format!("CREATE OR REPLACE VIEW {database}.cohorts AS SELECT 1 COMMENT 'x'")).unwrap();
    assert_eq!(check_views(&connection, &tables).unwrap().len(), 1);
    assert_eq!(migrate_views(&connection, &tables).unwrap(), [format!("made the view {database}.cohorts")]);

    // A plan without its views: theirs go, and the training sets have fewer columns.
    let fewer = crate::engine::tables("");
    let steps = migrate_views(&connection, &fewer).unwrap();
    assert!(steps.contains(&format!("removed the view {database}.participation_7d_as_of")), "{steps:?}");
    assert!(steps.contains(&format!("made the view {database}.training_set")), "{steps:?}");
    let left = format!("SELECT count() FROM system.tables WHERE database = '{database}'");
    assert_eq!(connection.number(&left).unwrap(), views(&fewer, "x").len() as u64 + 1);
}
