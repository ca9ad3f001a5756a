//! What surrounds every request.

use crate::support::*;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_query_api::{ApiConfig, Role, serve};
use aulaflow_sink::IdempotentSink;
use axum::body::Body;
use axum::http::Request;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let edge = edge();
    let answer = edge.get("/v1/nothing/here", "").await;
    let problem = answer.problem(404, "no-such-route");
    assert!(problem["instance"].as_str().unwrap().starts_with("/v1/nothing/here#"));
    let answer = edge.call("PATCH", "/v1/periods", "", "").await;
    answer.problem(405, "method-not-allowed");
    let allow = answer.header("allow");
    assert!(allow.contains("GET") && allow.contains("PUT"), "{allow:?}");
}

#[tokio::test]
async fn ids_of_requests_and_traces_are_taken_and_given_back() {
    let edge = edge();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for path in ["/healthz", "/none"] {
        let request = Request::builder().uri(path).header("x-request-id", "mine-1").header("traceparent", trace);
        let answer = edge.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-request-id"), "mine-1");
        assert_eq!(answer.header("traceparent"), trace);
        let request = Request::builder().uri(path).header("x-request-id", "two words").header("traceparent", "00-x");
        let answer = edge.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-request-id").len(), 25);
        assert_eq!(answer.header("traceparent"), "");
    }
}

#[tokio::test]
async fn media_types_are_checked() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    for (media, path) in [
        ("text/csv", "/v1/evaluations"),
        ("application/x-www-form-urlencoded", "/v1/evaluations:batch"),
        ("application/x-ndjson", "/v1/evaluations"),
    ] {
        let request = Request::builder().method("POST").uri(path).header("content-type", media);
        let request = request.header("authorization", format!("Bearer {admin}")).body(Body::from("[]")).unwrap();
        edge.send(request).await.problem(415, "unsupported-media-type");
    }
}

#[tokio::test]
async fn bodies_are_limited() {
    let edge = edge_with(ApiConfig { body_bytes_max: 1000, ..config() }, MemoryLog::new());
    let admin = token("school_1", Role::Admin);
    let body = format!("[{}]", " ".repeat(998));
    assert_eq!(edge.call("POST", "/v1/evaluations:batch", &admin, body).await.status, 200);
    let body = format!("[{}]", " ".repeat(999));
    edge.call("POST", "/v1/evaluations:batch", &admin, body).await.problem(413, "body-too-large");
}

#[tokio::test]
async fn readiness_follows_the_frontier_and_the_binary() {
    let mut edge = edge();
    assert_eq!(edge.get("/healthz", "").await.status, 200);
    let answer = edge.get("/readyz", "").await;
    answer.problem(503, "not-ready");
    assert_eq!(answer.header("retry-after"), "1");
    edge.write.advance(ClockTime::at(Millis(5)));
    assert_eq!(edge.get("/readyz", "").await.status, 200);
    *edge.not_ready.lock() = Some("the views are 20 s old".into());
    let problem = edge.get("/readyz", "").await.problem(503, "not-ready");
    assert_eq!(problem["detail"], "the views are 20 s old");
}

#[tokio::test]
async fn metrics_name_patterns_and_no_students() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    edge.get("/v1/students/secret-student/profile", &admin).await.problem(404, "not-found");
    edge.get("/v1/other/secret-student", &admin).await.problem(404, "no-such-route");
    let answer = edge.get("/metrics", "").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    let line = "aulaflow_http_request_duration_seconds_count{route=\"/v1/students/{id}/profile\",method=\"GET\",status=\"404\"} 1";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("route=\"none\""), "{text}");
    assert!(!text.contains("secret-student"));
}

#[tokio::test]
async fn lag_is_what_the_binary_says() {
    let edge = edge();
    let answer = edge.get("/v1/lag", &token("", Role::Platform)).await;
    assert_eq!(answer.status, 200);
    let lag = answer.json();
    assert_eq!(lag["clock"], "2026-03-02T15:04:05.120Z");
    assert_eq!(lag["partitions"][0]["lag_records"], 2);
    // A platform operator has no tenant, so it sees no tenant's data.
    edge.get("/v1/periods", &token("", Role::Platform)).await.problem(403, "forbidden");
}

#[tokio::test]
async fn too_many_requests_in_flight_are_refused() {
    let log = MemoryLog::new();
    let edge = edge_with(ApiConfig { requests_max: 1, ..config() }, log.clone());
    let app = aulaflow_query_api::router(edge.state.clone());
    log.set(Mood::Silent);
    let request = |path: &str, method: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", token("school_1", Role::Admin)))
            .body(Body::empty())
            .unwrap()
    };
    let waiting = tokio::spawn(tower::ServiceExt::oneshot(app.clone(), request("/v1/evaluations/e-1", "DELETE")));
    until("the first request waits for the log", || log.held() == 1).await;
    let refused = tower::ServiceExt::oneshot(app.clone(), request("/healthz", "GET")).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    log.release();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 204);
    let again = tower::ServiceExt::oneshot(app, request("/healthz", "GET")).await.unwrap();
    assert_eq!(again.status(), 200);
}

/// Over a real connection: a body of 10 MB that is written whole before the answer is read, and a stop.
#[tokio::test]
async fn a_body_of_10_mb_gets_its_answer_over_a_connection() {
    let edge = edge();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, edge.state.clone(), async move {
        let _ = stopped.await;
    }));
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let body = vec![b' '; 10_000_000];
        let head = format!(
            "POST /v1/evaluations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
            token("school_1", Role::Admin),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = vec![0; 4096];
        let n = stream.read(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer[..n]);
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
        assert!(text.contains("/docs#body-too-large"), "{text}");
        // The connection is still good.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("{\"status\":\"ok\"}"), "{rest}");
    });
    client.await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), server).await.unwrap().unwrap().unwrap();
}
