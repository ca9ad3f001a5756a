//! What profiles show is in ClickHouse, row by row: while the instance runs, after it was killed, and after more was written.

use crate::instance::{ClickHouse, EMBEDDED, can_run, folder, pseudonym};
use crate::support::{Caller, Folder, Instance, event, eventually, exam, with};
use serde_json::{Value, json};

const STUDENTS: [&str; 4] = ["s1", "s2", "s3", "s4"];

/// A view of which every change is kept.
const POINTS: &str = "\
CREATE MATERIALIZED VIEW points_1d WITH (serve = true, analytics = 'changes') AS
SELECT student_id, count(*) AS events, sum(value) AS points
FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day');
";

/// What profiles and tables say of grades and of `points_1d`, in the same form.
fn shown(folder: &Folder, caller: &Caller) -> Vec<String> {
    let mut rows = Vec::new();
    for student in STUDENTS {
        let Some(profile) = caller.profile(student) else { continue };
        let pseudonym = pseudonym(folder, student);
        for grade in profile["grades"].as_array().unwrap() {
            let [subject, period, passing] = ["subject", "period", "passing"].map(|name| grade[name].clone());
            let [score, version] = ["score", "version"].map(|name| number(&grade[name]));
            rows.push(json!([pseudonym, subject, period, score, passing, version]).to_string());
        }
        let points = &profile["features"]["points_1d"];
        if points.is_object() {
            rows.push(json!([pseudonym, number(&points["events"]), number(&points["points"])]).to_string());
        }
    }
    rows.sort();
    rows
}

/// Rows of ClickHouse: those of the present, or what the differences add up to.
fn recorded(clickhouse: &ClickHouse, grades: &str, points: &str) -> Result<Vec<String>, String> {
    let mut rows = clickhouse.rows(&format!(
        "SELECT toString(student) AS s, subject, period, score, passing, row_version FROM {grades} FORMAT JSONCompactEachRow"
    ))?;
    for row in &mut rows {
        (row[3], row[5]) = (number(&row[3]), number(&row[5]));
    }
    let mut features = clickhouse
        .rows(&format!("SELECT toString(student) AS s, events, points FROM {points} FORMAT JSONCompactEachRow"))?;
    for row in &mut features {
        (row[1], row[2]) = (number(&row[1]), number(&row[2]));
    }
    let mut rows: Vec<_> = rows.into_iter().chain(features).map(|row| row.to_string()).collect();
    rows.sort();
    Ok(rows)
}

/// A grade that is made again after a crash may get a later version.
fn without_versions(rows: &[String]) -> Vec<String> {
    rows.iter().map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect()
}

/// Decimals are texts here and numbers there.
fn number(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.as_f64(), |text| text.parse().ok()).into()
}

/// Waits until ClickHouse has what profiles show, and the differences add up to it.
fn agree(folder: &Folder, instance: &Instance<'_>) -> Vec<String> {
    let caller = instance.caller("admin");
    let clickhouse = ClickHouse::of(folder, instance);
    let sum = |table: &str, columns: &str| {
        format!("(SELECT {columns} FROM {table}_changes GROUP BY {columns} HAVING sum(diff) > 0)")
    };
    eventually("the same in ClickHouse", || {
        let shown = shown(folder, &caller);
        let grades = sum("grades", "student, subject, period, score, passing, row_version");
        let points = sum("points_1d", "student, events, points");
        let found = [recorded(&clickhouse, "grades FINAL", "points_1d FINAL"), recorded(&clickhouse, &grades, &points)];
        // Before the tables are made there is an error instead.
        found.iter().all(|found| found.as_ref() == Ok(&shown)).then_some(shown)
    })
}

fn write(caller: &Caller, round: u32) {
    for (place, student) in STUDENTS.into_iter().enumerate() {
        let id = format!("e-{student}");
        let updated = format!("2026-03-02T16:00:{round:02}Z");
        let body = with(exam(&id, student, 50 + 10 * round + place as u32), json!({ "updated_at": updated }));
        caller.post("/v1/evaluations", &body).expect(201);
        caller.post("/v1/behavior", &json!([event(&format!("b-{student}-{round}"), student)])).expect(202);
    }
    // One goes away again.
    let gone = format!("gone-{round}");
    caller.post("/v1/evaluations", &with(exam(&gone, "s1", 10), json!({ "subject": "music" }))).expect(201);
    caller.profile_when("s1", |profile| profile["grades"].as_array().unwrap().len() == 2);
    assert_eq!(caller.call(&format!("DELETE /v1/evaluations/{gone}"), "").status, 204);
    for student in STUDENTS {
        caller.profile_when(student, |profile| {
            let grades = profile["grades"].as_array().unwrap();
            grades.len() == 1 && profile["features"]["points_1d"]["events"] == round + 1
        });
    }
}

#[test]
fn clickhouse_has_what_is_shown_also_after_kill_9() {
    if !can_run() {
        return;
    }
    let folder = folder(EMBEDDED);
    folder.write("points.sql", POINTS);
    let mut before = Vec::new();
    for round in 0..3 {
        let instance = folder.start();
        if round > 0 {
            // What was there before the kill, whatever of it had been sent.
            assert_eq!(without_versions(&agree(&folder, &instance)), without_versions(&before));
        }
        write(&instance.caller("teacher"), round);
        let found = agree(&folder, &instance);
        assert_eq!(found.len(), 2 * STUDENTS.len(), "{found:?}");
        assert_ne!(found, before);
        before = found;
        if round == 0 {
            says_how_far_it_is(&folder, &instance);
        }
        instance.signal("-KILL");
        assert_eq!(instance.ended(), None);
    }
}

/// The rest of what an instance answers about it.
fn says_how_far_it_is(folder: &Folder, instance: &Instance<'_>) {
    let lag = instance.caller("ops").get("/v1/lag").expect(200);
    let sink = &lag["sinks"][0];
    assert_eq!((&sink["sink"], &sink["share"], &sink["state"]), (&json!("clickhouse"), &json!("all"), &json!("live")));
    assert!(instance.metric("aulaflow_clickhouse_rows_total{outcome=\"written\"}") > 0);
    assert_eq!(instance.metric("aulaflow_clickhouse_state{share=\"all\",state=\"live\"}"), 1);
    let waiting = "aulaflow_clickhouse_outbox_blocks{share=\"all\"}";
    eventually("an empty outbox", || (instance.metric(waiting) == 0).then_some(()));
    assert!(
        instance
            .anybody()
            .get("/metrics")
            .body
            .contains("aulaflow_sink_lag_seconds{sink=\"clickhouse\",share=\"all\"}")
    );

    let sql = |query: &str| {
        instance.caller("analyst").send("POST /v1/sql", &[("content-type", "text/plain")], query.as_bytes())
    };
    let answer = sql("SELECT count(*) AS n, max(score) AS best FROM grades").unwrap().expect(200);
    assert_eq!(answer["rows"], json!([[4, "53"]]), "{answer}");
    sql("SELECT * FROM system.tables").unwrap().problem(422, "sql-refused", None, "no other databases");

    // In memory: not asked for. Elsewhere: what ClickHouse has, which is nothing of such a period.
    let teacher = instance.caller("teacher");
    let here = teacher.get("/v1/students/s1/grades?period=P1").expect(200);
    assert_eq!((&here["source"], &here["grades"][0]["score"]), (&json!("memory"), &json!("50.00")));
    // As if memory had let go of it: a row of another period, written beside us.
    let row = ClickHouse::of(folder, instance);
    row.ask("INSERT INTO grades SELECT * REPLACE ('P0' AS period) FROM grades FINAL").unwrap();
    let past = teacher.get("/v1/students/s1/grades?period=P0").expect(200);
    assert_eq!(past["source"], "history", "{past}");
    assert!(past["as_of"].as_str().is_some());
    // To the letter, but for the period's name.
    assert_eq!(with(past["grades"][0].clone(), json!({ "period": "P1" })), here["grades"][0]);
    row.ask("ALTER TABLE grades DELETE WHERE period = 'P0' SETTINGS mutations_sync = 2").unwrap();
}
