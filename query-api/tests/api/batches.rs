//! Many at a time: evaluations and behaviour.

use crate::support::*;
use aulaflow_model::topic::{BEHAVIOR, EVALUATIONS};
use aulaflow_query_api::Role;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

fn event(i: usize) -> Value {
    json!({"event_id": format!("v-{i}"), "student_id": format!("s-{}", i % 3), "event_type": "answer",
           "occurred_at": "2026-03-02T15:04:05Z", "device": "tablet"})
}

fn evaluation(i: usize) -> Value {
    json!({"evaluation_id": format!("e-{i}"), "student_id": "s-1", "subject": "maths", "type": "exam", "score": 80,
           "graded_at": "2026-03-02T15:04:05Z"})
}

#[tokio::test]
async fn good_events_are_taken_and_bad_ones_named() {
    let edge = edge();
    let service = token("school_1", Role::Service);
    let body = json!([event(0), {"event_id": 3}, event(2), "text", event(4)]);
    let answer = edge.call("POST", "/v1/behavior", &service, body.to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let result = answer.json();
    assert_eq!(result["accepted"], 3);
    let indexes: Vec<_> = result["errors"].as_array().unwrap().iter().map(|e| e["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [1, 3]);
    assert!(result["errors"][0]["errors"].as_array().unwrap().len() >= 3);
    let records = edge.log.records(BEHAVIOR);
    let keys: Vec<_> = records.iter().map(|(_, r)| r.key.as_str()).collect();
    assert_eq!(keys, ["school_1/s-0", "school_1/s-2", "school_1/s-1"]);
    assert_eq!(answer.header("x-log-position"), format!("{BEHAVIOR}/{}/2", records[0].0));
    let mut expected = event(0);
    expected["tenant_id"] = json!("school_1");
    assert_eq!(records[0].1.json(), expected, "the caller's own fields with the tenant");
    assert!(edge.log.records("aula.behavior.v1.dlq").is_empty());
}

#[tokio::test]
async fn json_lines_are_taken_and_named_by_line() {
    let edge = edge();
    let service = token("school_1", Role::Service);
    let body = format!("{}\r\n\n{}\n{{broken\n{}", event(0), event(1), event(2));
    for media in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        let request = Request::builder().method("POST").uri("/v1/behavior").header("content-type", media);
        let request = request.header("authorization", format!("Bearer {service}"));
        let answer = edge.send(request.body(Body::from(body.clone())).unwrap()).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json()["accepted"], 3);
        assert_eq!(answer.json()["errors"][0]["index"], 3);
    }
    assert_eq!(edge.log.records(BEHAVIOR).len(), 6);
}

#[tokio::test]
async fn whole_bodies_can_be_wrong() {
    let edge = edge();
    let service = token("school_1", Role::Service);
    let post = |body: String| edge.call("POST", "/v1/behavior", &service, body);
    post("[{]".into()).await.problem(400, "broken-json");
    post("[{\"value\": NaN}]".into()).await.problem(400, "broken-json");
    assert_eq!(post(event(0).to_string()).await.pointers(), [""]);
    let all_bad = post(json!([{"event_id": 3}, 7]).to_string()).await.pointers();
    assert!(all_bad.contains(&"/0/event_id".to_owned()) && all_bad.contains(&"/1".to_owned()), "{all_bad:?}");
    let none = post("[]".into()).await;
    assert_eq!((none.status.as_u16(), none.json()), (202, json!({"accepted": 0, "errors": []})));
    assert!(edge.log.records(BEHAVIOR).is_empty());
}

#[tokio::test]
async fn five_thousand_are_taken_and_one_more_is_not() {
    let edge = edge();
    let many = |n: usize, item: fn(usize) -> Value| Value::Array((0..n).map(item).collect()).to_string();
    for (path, role, item, status) in [
        ("/v1/behavior", Role::Service, event as fn(usize) -> Value, 202),
        ("/v1/evaluations:batch", Role::Admin, evaluation, 200),
    ] {
        let token = token("school_1", role);
        let answer = edge.call("POST", path, &token, many(5000, item)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["accepted"]), (status, &json!(5000)));
        let problem = edge.call("POST", path, &token, many(5001, item)).await.problem(413, "too-many-items");
        assert!(problem["detail"].as_str().unwrap().contains("5000"), "{problem}");
    }
    assert_eq!(edge.log.records(BEHAVIOR).len() + edge.log.records(EVALUATIONS).len(), 10_000);
}

#[tokio::test]
async fn a_student_reports_only_itself() {
    let edge = edge();
    let body = json!([event(0), event(1), event(3)]).to_string();
    let answer = edge.call("POST", "/v1/behavior", &student_token("school_1", "s-0"), body).await;
    let result = answer.json();
    assert_eq!((answer.status.as_u16(), &result["accepted"]), (202, &json!(2)));
    assert_eq!(result["errors"][0]["index"], 1);
    assert_eq!(result["errors"][0]["errors"][0]["pointer"], "/student_id");
}

#[tokio::test]
async fn importers_can_have_dead_letters() {
    let edge = edge();
    let service = token("school_1", Role::Service);
    let bad = r#"{"event_id": "x",   "student_id": 3}"#;
    let body = format!("[{},{bad}]", event(0));
    let answer = edge.call("POST", "/v1/behavior?dead_letters=true", &service, body.clone()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["accepted"]), (202, &json!(1)));
    let (partition, dead) = edge.log.records("aula.behavior.v1.dlq").remove(0);
    assert_eq!(partition, edge.log.records(BEHAVIOR)[0].0);
    assert_eq!(dead.value.as_deref(), Some(bad.as_bytes()), "the original bytes, unchanged");
    assert_eq!(dead.headers["source-topic"], BEHAVIOR);
    assert_eq!(dead.headers["error-class"], "schema");
    assert!(dead.headers["error"].contains("/student_id"), "{:?}", dead.headers);
    assert!(dead.headers.contains_key("failed-at"));
    for (role, query, status, slug) in [
        (Role::Teacher, "?dead_letters=true", 403, "forbidden"),
        (Role::Service, "?dead_letters=maybe", 400, "bad-request"),
        (Role::Service, "?deadletters=true", 400, "bad-request"),
    ] {
        let answer = edge.call("POST", &format!("/v1/behavior{query}"), &token("school_1", role), body.clone()).await;
        answer.problem(status, slug);
    }
}

#[tokio::test]
async fn batches_of_evaluations_are_judged_one_by_one() {
    let edge = edge();
    let mut above = evaluation(1);
    above["score"] = json!(101);
    let body = json!([evaluation(0), above, evaluation(2)]).to_string();
    let answer = edge.call("POST", "/v1/evaluations:batch", &token("school_1", Role::Teacher), body).await;
    assert_eq!(answer.status, 200);
    let result = answer.json();
    assert_eq!(result["accepted"], 2);
    assert_eq!(result["errors"][0]["index"], 1);
    assert_eq!(result["errors"][0]["errors"][0]["pointer"], "/score");
    assert_eq!(result["warnings"][0]["warnings"][0]["pointer"], "/graded_at");
    let keys: Vec<_> = edge.log.records(EVALUATIONS).into_iter().map(|(_, r)| r.key).collect();
    assert_eq!(keys, ["school_1/e-0", "school_1/e-2"]);
}

#[tokio::test]
async fn an_event_that_nobody_would_look_at_is_refused() {
    let edge = edge();
    let large =
        r#"{"event_id":"e","student_id":"s1","event_type":"a","occurred_at":"2026-03-02T15:04:05Z","context":{"x":""#;
    let large = format!("{large}{}\"}}}}", "y".repeat(1 << 20));
    let body = format!("[{},{large}]", event(0));
    let answer = edge.call("POST", "/v1/behavior", &token("school_1", Role::Service), body).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["accepted"]), (202, &json!(1)));
    let fault = &answer.json()["errors"][0];
    assert_eq!(fault["index"], 1);
    let detail = fault["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("engine.record_bytes_max allows 1048576"), "{detail}");
    assert_eq!(edge.log.records(BEHAVIOR).len(), 1);
}
