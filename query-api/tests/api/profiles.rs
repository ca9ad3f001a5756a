//! Reads from memory.

use crate::support::*;
use aulaflow_model::change::{FeatureRow, FeatureValue};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_query_api::Role;
use aulaflow_sink::update::{ChangeBatch, FeatureChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use serde_json::{Value, json};

const NOW: Millis = Millis(1_772_463_845_120);

fn put(edge: &mut Edge, tenant: &str, student: &str, n: i64) {
    let row = FeatureRow { values: [FeatureValue::Int(i128::from(n))].into(), session: None, updated_at: NOW };
    let change = StudentChange {
        tenant: TenantId::new(tenant).unwrap(),
        student: StudentId::new(student).unwrap(),
        grades: vec![],
        features: vec![FeatureChange { view: 0, before: None, after: Some(row) }],
    };
    assert_eq!(edge.write.apply(&ChangeBatch { time: ClockTime::at(NOW), changes: vec![change] }), Outcome::Applied);
    edge.write.advance(ClockTime::at(Millis(NOW.0 + 10)));
}

fn filled() -> Edge {
    let mut edge = edge();
    put(&mut edge, "school_1", "ana", 1);
    put(&mut edge, "school_1", "bo/é", 2);
    put(&mut edge, "school_2", "cy", 3);
    edge
}

#[tokio::test]
async fn a_profile_is_read() {
    let edge = filled();
    let answer = edge.get("/v1/students/ana/profile", &token("school_1", Role::Teacher)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let profile = answer.json();
    assert_eq!(profile["tenant_id"], "school_1");
    assert_eq!(profile["student_id"], "ana");
    assert_eq!(profile["as_of"], Millis(NOW.0 + 9).to_string());
    assert_eq!(profile["features"]["participation_7d"]["participations"], 1);
    let other = edge.get("/v1/students/bo%2F%C3%A9/profile", &token("school_1", Role::Teacher)).await;
    assert_eq!(other.json()["student_id"], "bo/é");
}

#[tokio::test]
async fn what_may_not_be_seen_is_not_there() {
    let edge = filled();
    let teacher = token("school_1", Role::Teacher);
    let never = edge.get("/v1/students/never/profile", &teacher).await;
    let others = edge.get("/v1/students/cy/profile", &teacher).await;
    let colleague = edge.get("/v1/students/ana/profile", &student_token("school_1", "bo/é")).await;
    let strip = |answer: &Answer| {
        let mut problem = answer.problem(404, "not-found");
        problem["instance"] = Value::Null;
        let headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        (problem, headers)
    };
    assert_eq!(strip(&never), strip(&others));
    assert_eq!(strip(&never), strip(&colleague));
    let own = edge.get("/v1/students/ana/profile", &student_token("school_1", "ana")).await;
    assert_eq!(own.status, 200);
    // The same id in another tenant is another student.
    edge.get("/v1/students/ana/profile", &student_token("school_2", "ana")).await.problem(404, "not-found");
    for id in ["%FF", "%00", &"x".repeat(129)] {
        edge.get(&format!("/v1/students/{id}/profile"), &teacher).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn many_profiles_come_in_the_order_asked() {
    let edge = filled();
    let service = token("school_1", Role::Service);
    let post = |body: Value| edge.call("POST", "/v1/profiles:batchGet", &service, body.to_string());
    let answer = post(json!({"student_ids": ["bo/é", "cy", "ana", "never", "ana"]})).await;
    assert_eq!(answer.status, 200);
    let result = answer.json();
    let got: Vec<_> = result["profiles"].as_array().unwrap().iter().map(|p| p["student_id"].clone()).collect();
    assert_eq!(got, ["bo/é", "ana", "ana"]);
    assert_eq!(result["missing"], json!(["cy", "never"]));
    assert_eq!(post(json!({"student_ids": []})).await.json(), json!({"profiles": [], "missing": []}));
    let many: Vec<_> = (0..500).map(|i| format!("s-{i}")).collect();
    assert_eq!(post(json!({"student_ids": many})).await.json()["missing"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn wrong_questions_are_refused() {
    let edge = filled();
    let service = token("school_1", Role::Service);
    let post = |body: String| edge.call("POST", "/v1/profiles:batchGet", &service, body);
    post("{".into()).await.problem(400, "broken-json");
    for (body, pointer) in [
        (json!([]), ""),
        (json!({}), "/student_ids"),
        (json!({"student_ids": "ana"}), "/student_ids"),
        (json!({"student_ids": ["ana", 3]}), "/student_ids/1"),
        (json!({"student_ids": [""]}), "/student_ids/0"),
        (json!({"student_ids": [], "students": []}), "/students"),
    ] {
        assert_eq!(post(body.to_string()).await.pointers(), [pointer], "{body}");
    }
    let many: Vec<_> = (0..501).map(|i| format!("s-{i}")).collect();
    post(json!({"student_ids": many}).to_string()).await.problem(413, "too-many-items");
}
