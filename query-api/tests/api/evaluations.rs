//! One evaluation at a time.

use crate::support::*;
use aulaflow_model::topic::EVALUATIONS;
use aulaflow_query_api::Role;
use serde_json::{Value, json};

fn evaluation() -> Value {
    json!({
        "evaluation_id": "e-1", "student_id": "s-1", "subject": "maths", "type": "exam",
        "score": "84.295", "max_score": 100, "graded_at": "2026-03-02T15:04:05Z",
    })
}

fn with(key: &str, value: Value) -> String {
    let mut evaluation = evaluation();
    evaluation[key] = value;
    evaluation.to_string()
}

const PERIODS: &str = r#"{"timezone":"UTC","period":[{"id":"2026-Q1","start":"2026-01-15","end":"2026-04-15"}]}"#;

#[tokio::test]
async fn an_evaluation_goes_to_its_tenant_s_partition() {
    let edge = edge();
    for tenant in ["school_1", "school_2"] {
        let answer =
            edge.call("POST", "/v1/evaluations", &token(tenant, Role::Teacher), with("weight", json!(2))).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["evaluation_id"], "e-1");
    }
    let records = edge.log.records(EVALUATIONS);
    assert_eq!(records.len(), 2);
    let (partitions, keys): (Vec<_>, Vec<_>) = records.iter().map(|(p, r)| (*p, r.key.clone())).unzip();
    assert_ne!(partitions[0], partitions[1]);
    assert!(keys.contains(&"school_1/e-1".to_owned()) && keys.contains(&"school_2/e-1".to_owned()));
    let record = records.iter().find(|(_, r)| r.key == "school_1/e-1").unwrap().1.json();
    assert_eq!((&record["tenant_id"], &record["score"]), (&json!("school_1"), &json!("84.295")));
}

#[tokio::test]
async fn the_answer_names_the_record_s_place() {
    let edge = edge();
    let teacher = token("school_1", Role::Teacher);
    let mut last = None;
    for _ in 0..2 {
        let answer = edge.call("POST", "/v1/evaluations", &teacher, evaluation().to_string()).await;
        last = Some(answer.header("x-log-position").to_owned());
    }
    let partition = edge.log.records(EVALUATIONS)[0].0;
    assert_eq!(last, Some(format!("{EVALUATIONS}/{partition}/1")));
}

#[tokio::test]
async fn bad_evaluations_are_refused_with_pointers() {
    let edge = edge();
    let teacher = token("school_1", Role::Teacher);
    let post = |body: String| edge.call("POST", "/v1/evaluations", &teacher, body);
    for broken in ["", "{", "{\"a\":NaN}", "{\"score\": 1,}", "\u{0}"] {
        let problem = post(broken.to_owned()).await.problem(400, "broken-json");
        assert!(problem["detail"].as_str().unwrap().contains("line 1 column"), "{problem}");
    }
    for (body, pointer) in [
        ("[]".to_owned(), ""),
        ("3".to_owned(), ""),
        (with("score", json!(true)), "/score"),
        (with("score", json!("NaN")), "/score"),
        (with("score", json!(-1)), "/score"),
        (with("score", json!("0.0000001")), "/score"),
        (with("score", json!(100.000001)), "/score"),
        (with("max_score", json!(0)), "/max_score"),
        (with("graded_at", json!("yesterday")), "/graded_at"),
        (with("status", json!("gradde")), "/status"),
        (with("evaluation_id", json!("")), "/evaluation_id"),
        (with("student_id", json!("x".repeat(129))), "/student_id"),
        (with("colour", json!("red")), "/colour"),
        (with("tenant_id", json!("school_1")), "/tenant_id"),
    ] {
        assert_eq!(post(body.clone()).await.pointers(), [pointer], "{body}");
    }
    let all = post(json!({"score": true, "colour": 1}).to_string()).await.pointers();
    assert!(all.len() >= 6, "all faults at once: {all:?}");
    assert!(edge.log.records(EVALUATIONS).is_empty());
}

#[tokio::test]
async fn extra_credit_is_the_rule_s_decision() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    let above = with("score", json!(110));
    let put = async |subject: &str, extra: bool| {
        let rule = json!({"weights": {"exam": 1}, "min_passing": 60, "extra_credit": extra}).to_string();
        assert_eq!(edge.call("PUT", &format!("/v1/rules/{subject}"), &admin, rule).await.status, 200);
    };
    let post = || edge.call("POST", "/v1/evaluations", &admin, above.clone());
    assert_eq!(post().await.pointers(), ["/score"]);
    put("maths", true).await;
    assert_eq!(post().await.status, 201, "no period yet: the subject's rule may come to hold");
    assert_eq!(edge.call("PUT", "/v1/periods", &admin, PERIODS).await.status, 200);
    assert_eq!(post().await.status, 201);
    put("maths", false).await;
    put("*", true).await;
    assert_eq!(post().await.pointers(), ["/score"], "the subject's own rule decides, not the default");
    // Another tenant's rules are another tenant's.
    let other = token("school_2", Role::Admin);
    assert_eq!(edge.call("POST", "/v1/evaluations", &other, above.clone()).await.pointers(), ["/score"]);
}

#[tokio::test]
async fn what_does_not_count_yet_is_taken_with_a_warning() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    let warnings = async |body: String| {
        let answer = edge.call("POST", "/v1/evaluations", &admin, body).await;
        assert_eq!(answer.status, 201);
        let warnings = answer.json()["warnings"].as_array().cloned().unwrap_or_default();
        warnings.iter().map(|w| w["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(warnings(evaluation().to_string()).await, ["/graded_at"]);
    edge.call("PUT", "/v1/periods", &admin, PERIODS).await;
    assert_eq!(warnings(evaluation().to_string()).await, ["/subject"]);
    let rule = json!({"weights": {"exam": 1}, "min_passing": 60}).to_string();
    assert_eq!(edge.call("PUT", "/v1/rules/*", &admin, rule).await.status, 200);
    assert!(warnings(evaluation().to_string()).await.is_empty());
    assert_eq!(warnings(with("type", json!("essay"))).await, ["/type"]);
    assert_eq!(warnings(with("graded_at", json!("2027-01-01T00:00:00Z"))).await, ["/graded_at"]);
    assert_eq!(warnings(with("period", json!("2031-Q1"))).await, ["/period"]);
}

#[tokio::test]
async fn deleting_writes_a_tombstone() {
    let edge = edge();
    let teacher = token("school_1", Role::Teacher);
    let answer = edge.call("DELETE", "/v1/evaluations/a%2Fb%20c", &teacher, "").await;
    assert_eq!(answer.status, 204);
    assert!(answer.body.is_empty());
    let records = edge.log.records(EVALUATIONS);
    assert_eq!(records[0].1.key, "school_1/a/b c");
    assert!(records[0].1.value.is_none());
    edge.call("DELETE", "/v1/evaluations/%FF", &teacher, "").await.problem(404, "not-found");
    edge.call("DELETE", &format!("/v1/evaluations/{}", "x".repeat(129)), &teacher, "").await.problem(404, "not-found");
}
