//! An answer comes after the log's, and says what the log said.

use crate::support::*;
use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog};
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::topic::{self, EVALUATIONS};
use aulaflow_query_api::{ApiConfig, ApiState, Role, router};
use axum::body::Body;
use axum::http::Request;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

const EVALUATION: &str = r#"{"evaluation_id":"e-1","student_id":"s-1","subject":"maths","type":"exam","score":80,"graded_at":"2026-03-02T15:04:05Z"}"#;
const EVENTS: &str =
    r#"[{"event_id":"v-1","student_id":"s-1","event_type":"answer","occurred_at":"2026-03-02T15:04:05Z"}]"#;
const RULE: &str = r#"{"weights":{"exam":1},"min_passing":60}"#;
const PERIODS: &str = r#"{"period":[]}"#;

/// Every kind of write.
fn writes() -> [(&'static str, &'static str, Role, String); 6] {
    [
        ("POST", "/v1/evaluations", Role::Teacher, EVALUATION.into()),
        ("POST", "/v1/evaluations:batch", Role::Teacher, format!("[{EVALUATION}]")),
        ("DELETE", "/v1/evaluations/e-1", Role::Teacher, String::new()),
        ("POST", "/v1/behavior", Role::Service, EVENTS.into()),
        ("PUT", "/v1/rules/maths", Role::Admin, RULE.into()),
        ("PUT", "/v1/periods", Role::Admin, PERIODS.into()),
    ]
}

fn request(method: &str, path: &str, role: Role, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", token("school_1", role)))
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn no_write_is_answered_before_it_is_durable() {
    let edge = edge();
    edge.log.set(Mood::Silent);
    for (method, path, role, body) in writes() {
        let app = router(edge.state.clone());
        let call = tokio::spawn(app.oneshot(request(method, path, role, &body)));
        until("the append is queued", || edge.log.held() == 1).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(!call.is_finished(), "{method} {path} was answered before the log did");
        edge.log.release();
        let status = call.await.unwrap().unwrap().status();
        assert!(status.is_success(), "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn a_full_log_is_503_with_retry_after() {
    let edge = edge();
    edge.log.set(Mood::Full);
    for (method, path, role, body) in writes() {
        let answer = edge.send(request(method, path, role, &body)).await;
        answer.problem(503, "log-full");
        assert_eq!(answer.header("retry-after"), "2");
    }
}

#[tokio::test]
async fn a_broken_log_is_503_and_its_reason_stays_inside() {
    let edge = edge();
    edge.log.set(Mood::Broken);
    for (method, path, role, body) in writes() {
        let answer = edge.send(request(method, path, role, &body)).await;
        let problem = answer.problem(503, "log-unavailable");
        assert!(!answer.header("retry-after").is_empty());
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    // What failed is not in force.
    let admin = token("school_1", Role::Admin);
    edge.get("/v1/rules/maths", &admin).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_silent_log_is_503_after_the_timeout() {
    let log = MemoryLog::new();
    let edge = edge_with(ApiConfig { append_timeout: Duration::from_millis(20), ..config() }, log);
    edge.log.set(Mood::Silent);
    edge.send(request("POST", "/v1/behavior", Role::Service, EVENTS)).await.problem(503, "log-unavailable");
    let log = MemoryLog::new();
    let edge = edge_with(ApiConfig { request_timeout: Duration::from_millis(20), ..config() }, log);
    edge.log.set(Mood::Silent);
    edge.send(request("POST", "/v1/behavior", Role::Service, EVENTS)).await.problem(503, "timeout");
    // An acknowledgement that comes late finds nobody, and harms nobody.
    edge.log.release();
}

#[tokio::test]
async fn writes_reach_the_embedded_log() {
    let dir = tempfile::tempdir().unwrap();
    let topics = topic::SOURCES.iter().map(|t| (*t).to_owned());
    let topics: Vec<_> = topics.chain(topic::SOURCES.iter().map(|t| topic::dead_letters(t))).collect();
    let log = Arc::new(EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"), topics)).unwrap());
    let state = |log: &Arc<EmbeddedLog>| -> ApiState { state_over(log.clone()) };
    for (method, path, role, body) in writes() {
        let answer = router(state(&log)).oneshot(request(method, path, role, &body)).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    }
    let partition = log.partition_of(EVALUATIONS, "school_1").unwrap();
    let place = TopicPartition { topic: EVALUATIONS.into(), partition };
    assert_eq!(log.end_offset(&place).unwrap(), 3, "two evaluations and a tombstone");
    // A new edge reads the tenants' topic at its start.
    let answer = router(state(&log)).oneshot(request("GET", "/v1/rules/maths", Role::Admin, "")).await.unwrap();
    assert_eq!(answer.status(), 200);
}
