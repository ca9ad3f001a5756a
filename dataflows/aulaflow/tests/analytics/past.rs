//! Grades of past periods leave the memory, and nothing else: ClickHouse keeps them, readers get them from there, and corrections
//! go on arriving.

use crate::instance::{ClickHouse, EMBEDDED, can_run, folder};
use crate::support::{Caller, Instance, eventually, exam, grade, with};
use serde_json::{Value, json};

const TENANT: &str = "\
tenant = \"school_1\"
timezone = \"UTC\"
[[period]]
id = \"OLD\"
start = 2019-01-01
end = 2019-12-31
[[period]]
id = \"NOW\"
start = 2020-01-01
end = 2199-12-31
[[rule]]
subject = \"*\"
weights = { exam = 1 }
min_passing = 60
rounding = { mode = \"half_up\", decimals = 2 }
";

fn old(id: &str, student: &str, score: u32) -> Value {
    with(exam(id, student, score), json!({ "graded_at": "2019-03-02T10:00:00Z" }))
}

/// Waits until the profile has let go of the old period, and of nothing else.
fn let_go(caller: &Caller, student: &str, grades: usize) -> Value {
    caller.profile_when(student, |profile| {
        profile["past_periods"] == json!(["OLD"]) && profile["grades"].as_array().unwrap().len() == grades
    })
}

fn differences(clickhouse: &ClickHouse) -> Vec<Value> {
    let sql = "SELECT period, diff, toString(score) AS s FROM grades_changes ORDER BY version, period, diff, s FORMAT JSONCompactEachRow";
    clickhouse.rows(sql).unwrap()
}

fn metric(instance: &Instance<'_>) -> u64 {
    instance.metric("aulaflow_serving_grades_let_go_total")
}

#[test]
fn grades_of_past_periods_are_read_from_clickhouse() {
    if !can_run() {
        return;
    }
    let folder = folder(&EMBEDDED.replace("[clickhouse]", "grades_keep = \"400 days\"\n[clickhouse]"));
    folder.write("tenants/school_1.toml", TENANT);
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let shown_old = {
        teacher.post("/v1/evaluations", &old("o1", "s1", 70)).expect(201);
        let profile = teacher.profile_when("s1", |profile| grade(profile, "art", "OLD").is_some());
        let mut old = grade(&profile, "art", "OLD").unwrap().clone();
        old.as_object_mut().unwrap().remove("cohort");
        old
    };
    teacher.post("/v1/evaluations", &exam("n1", "s1", 80)).expect(201);
    teacher.post("/v1/evaluations", &old("o2", "s2", 55)).expect(201);

    let profile = let_go(&teacher, "s1", 1);
    assert!(grade(&profile, "art", "NOW").is_some(), "{profile}");
    // Nothing is left of this one, and it is there all the same.
    let_go(&teacher, "s2", 0);
    let past = teacher.get("/v1/students/s1/grades?period=OLD").expect(200);
    assert_eq!((&past["source"], &past["grades"]), (&json!("history"), &json!([shown_old])));
    assert!(past["as_of"].as_str().is_some());
    let now = teacher.get("/v1/students/s1/grades?period=NOW").expect(200);
    assert_eq!(now["source"], "memory");
    eventually("the metric", || (metric(&instance) >= 2).then_some(()));
    // The dataflows know it as before, and it is no disagreement that it is not in memory.
    let explained = teacher.get("/v1/students/s1/explain/art?period=OLD").expect(200);
    assert_eq!((&explained["agrees"], &explained["grade"]["score"]), (&json!(true), &json!("70.00")), "{explained}");

    // That they left is no change of theirs.
    let clickhouse = ClickHouse::of(&folder, &instance);
    let first = [json!(["OLD", 1, "70"]), json!(["NOW", 1, "80"]), json!(["OLD", 1, "55"])];
    assert_eq!(differences(&clickhouse), first);
    // A correction is one, and comes and goes in memory.
    let corrected = with(old("o1", "s1", 90), json!({ "updated_at": "2026-03-03T00:00:00Z" }));
    teacher.post("/v1/evaluations", &corrected).expect(201);
    eventually("the correction", || (differences(&clickhouse).len() == 5).then_some(()));
    let corrections = [json!(["OLD", -1, "70"]), json!(["OLD", 1, "90"])];
    assert_eq!(differences(&clickhouse)[3..], corrections);
    let_go(&teacher, "s1", 1);
    // And a deletion.
    assert_eq!(teacher.call("DELETE /v1/evaluations/o2", "").status, 204);
    eventually("the deletion", || (differences(&clickhouse).len() == 6).then_some(()));
    eventually("nobody", || teacher.profile("s2").is_none().then_some(()));
    let all = differences(&clickhouse);
    assert_eq!(all[5], json!(["OLD", -1, "55"]));

    // A start loads all, compares all, and lets go again: nothing changes by that.
    instance.signal("-KILL");
    instance.ended();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let_go(&teacher, "s1", 1);
    let clickhouse = ClickHouse::of(&folder, &instance);
    assert_eq!(differences(&clickhouse).len(), all.len());
    let past = teacher.get("/v1/students/s1/grades?period=OLD").expect(200);
    assert_eq!((&past["source"], &past["grades"][0]["score"]), (&json!("history"), &json!("90.00")));
    instance.finish();
}
