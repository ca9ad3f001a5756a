//! `aulaflow verify` as an operator runs it: beside a stopped instance, beside a running one, and on a state that is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs)]

#[path = "bad_input/support.rs"]
mod support;

use serde_json::{Value, json};
use support::{Folder, event, eventually, exam};

const VERIFY: [&str; 5] = ["verify", "--config", "aulaflow.toml", "--format", "json"];

/// An instance that was told of exams, events and nonsense, and has ended in order.
fn told(folder: &Folder, score: u32) {
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    assert_eq!(teacher.post("/v1/evaluations", &exam("x1", "s1", score)).status, 201);
    assert_eq!(teacher.post("/v1/behavior", &json!([event("e1", "s1"), event("e2", "s2")])).status, 202);
    let service = instance.caller("service");
    let refused = service.call("POST /v1/behavior?dead_letters=true", "[{\"event_id\": 5}]");
    assert_eq!(refused.status, 422, "{}", refused.body);
    eventually("all visible", || {
        let lag = instance.caller("ops").get("/v1/lag").json();
        lag["partitions"].as_array().unwrap().iter().all(|p| p["lag_records"] == 0).then_some(())
    });
    instance.finish();
}

fn report(folder: &Folder, code: i32) -> Value {
    let done = folder.run(&VERIFY);
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn a_stopped_instance_is_verified_and_left_as_it_was() {
    let folder = Folder::new();
    told(&folder, 80);
    for _ in 0..2 {
        let report = report(&folder, 0);
        assert_eq!(report["compared"], json!({ "cohort": 1, "feature": 2, "grade": 1, "student": 2 }));
        assert_eq!(report["differences"], 0);
    }
    let done = folder.run(&["verify", "--config", "aulaflow.toml", "--dump", "-"]);
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", done.stdout);
    assert_eq!((&lines[0]["student_id"], &lines[0]["grades"][0]["score"]), (&json!("s1"), &json!("80.00")));
    assert!(done.stderr.contains("differences: 0"), "{}", done.stderr);
    // The instance goes on as if nobody had looked.
    folder.start().finish();
}

#[test]
fn a_running_instance_has_its_embedded_log_to_itself() {
    let folder = Folder::new();
    let instance = folder.start();
    let done = folder.run(&VERIFY);
    done.failed(1, &["uses the data directory data", "Stop it, run `aulaflow verify` again"]);
    instance.finish();
}

/// What an instance shows over HTTP is compared with a log that it shares: here a copy, since nothing is written meanwhile.
#[test]
fn a_running_instance_is_compared_over_http() {
    let folder = Folder::new();
    told(&folder, 80);
    let copied = std::process::Command::new("cp").args(["-r", "data", "copy"]).current_dir(folder.path()).status();
    assert!(copied.unwrap().success());
    let instance = folder.start();
    let url = instance.url.clone();
    let verify = |expected| {
        let mut arguments = VERIFY.to_vec();
        arguments.extend(["--data-dir", "copy", "--url", &url]);
        let done = folder.run(&arguments);
        assert_eq!(done.code, Some(expected), "{}{}", done.stdout, done.stderr);
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    assert_eq!(verify(0)["compared"], json!({ "cohort": 1, "feature": 2, "grade": 1, "student": 2 }));
    // From now on the instance knows more than the log that it is compared with.
    let teacher = instance.caller("teacher");
    assert_eq!(teacher.post("/v1/evaluations", &exam("x1", "s1", 20)).status, 201);
    eventually("visible", || {
        let profile = instance.caller("service").get("/v1/students/s1/profile").json();
        (profile["grades"][0]["score"] == "20.00").then_some(())
    });
    let report = verify(1);
    let differ: Vec<_> = report["first"].as_array().unwrap().iter().map(|d| d["what"].clone()).collect();
    assert_eq!(differ, ["grade art/P1", "cohort art/P1"]);
    instance.finish();
}

#[test]
fn a_state_of_another_log_is_found_out() {
    let (folder, other) = (Folder::new(), Folder::new());
    told(&folder, 80);
    told(&other, 90);
    std::fs::remove_dir_all(folder.path().join("data/state")).unwrap();
    std::fs::rename(other.path().join("data/state"), folder.path().join("data/state")).unwrap();
    let report = report(&folder, 1);
    let grade = &report["first"][0];
    assert_eq!((&grade["what"], &grade["student"]), (&json!("grade art/P1"), &json!("s1")));
    assert_eq!((&grade["shown"]["score"], &grade["recomputed"]["score"]), (&json!("90.00"), &json!("80.00")));
    let done = folder.run(&["verify", "--config", "aulaflow.toml"]);
    done.failed(1, &["differences between what is shown and what the log says"]);
    assert!(done.stdout.contains("DIFFERS  school_1/s1: grade art/P1"), "{}", done.stdout);
}
