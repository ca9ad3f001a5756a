//! Rules and periods.

use crate::support::*;
use aulaflow_model::topic::TENANTS;
use aulaflow_query_api::{Role, router, serve};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

fn rule() -> Value {
    json!({"weights": {"exam": 0.7, "homework": "0.3"}, "min_passing": 60})
}

fn periods() -> Value {
    json!({"timezone": "America/Mexico_City", "period": [{"id": "2026-Q1", "start": "2026-01-15", "end": "2026-04-15"}]})
}

#[tokio::test]
async fn rules_are_set_and_read() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    edge.get("/v1/rules/maths", &admin).await.problem(404, "not-found");
    let put = edge.call("PUT", "/v1/rules/maths", &admin, rule().to_string()).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert!(put.header("x-log-position").starts_with(TENANTS));
    let answer = put.json();
    assert_eq!(answer["subject"], "maths");
    assert_eq!(answer["weights"]["exam"], "0.7");
    assert!(answer["rule_version"].as_str().unwrap().starts_with("r-"));
    let got = edge.get("/v1/rules/maths", &token("school_1", Role::Teacher)).await.json();
    assert_eq!(got, answer);
    // What was read can be sent back, and means the same.
    let again = edge.call("PUT", "/v1/rules/maths", &admin, got.to_string()).await;
    assert_eq!(again.json(), answer);
    // The default rule has a name of its own, raw or encoded.
    for path in ["/v1/rules/*", "/v1/rules/%2A"] {
        assert_eq!(edge.call("PUT", path, &admin, rule().to_string()).await.json()["subject"], "*");
        assert_eq!(edge.get(path, &admin).await.status, 200);
    }
    edge.get("/v1/rules/maths", &token("school_2", Role::Admin)).await.problem(404, "not-found");
}

#[tokio::test]
async fn bad_rules_are_refused_with_pointers() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    let put = |body: String| edge.call("PUT", "/v1/rules/maths", &admin, body);
    put("{".into()).await.problem(400, "broken-json");
    for (key, value, pointer) in [
        ("weights", json!({"exam": -0.5, "homework": 1}), "/weights/exam"),
        ("weights", json!({"exam": "lots"}), "/weights/exam"),
        ("min_passing", json!(true), "/min_passing"),
        ("subject", json!("history"), "/subject"),
        ("colour", json!(1), "/colour"),
    ] {
        let mut body = rule();
        body[key] = value;
        assert_eq!(put(body.to_string()).await.pointers(), [pointer], "{body}");
    }
    assert!(edge.log.records(TENANTS).is_empty());
}

#[tokio::test]
async fn periods_are_set_and_read() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    assert_eq!(edge.get("/v1/periods", &admin).await.json(), json!({"timezone": "UTC", "period": []}));
    let put = edge.call("PUT", "/v1/periods", &admin, periods().to_string()).await;
    assert_eq!((put.status.as_u16(), put.json()), (200, periods()));
    assert_eq!(edge.get("/v1/periods", &admin).await.json(), periods());
    // Without a time zone the present one stays.
    let put = edge.call("PUT", "/v1/periods", &admin, json!({"period": []}).to_string()).await;
    assert_eq!(put.json(), json!({"timezone": "America/Mexico_City", "period": []}));
    for (body, pointer) in [
        (json!([]), ""),
        (json!({}), "/period"),
        (json!({"period": [], "rule": []}), "/rule"),
        (json!({"period": [], "timezone": "Mars/Olympus"}), "/timezone"),
        (json!({"period": [{"id": "a", "start": "2026-02-30", "end": "2026-04-15"}]}), "/period/0/start"),
    ] {
        let pointers = edge.call("PUT", "/v1/periods", &admin, body.to_string()).await.pointers();
        assert_eq!(pointers, [pointer], "{body}");
    }
}

#[tokio::test]
async fn a_change_keeps_the_rest_of_the_configuration() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    edge.call("PUT", "/v1/periods", &admin, periods().to_string()).await;
    edge.call("PUT", "/v1/rules/maths", &admin, rule().to_string()).await;
    edge.call("PUT", "/v1/rules/*", &admin, rule().to_string()).await;
    let records = edge.log.records(TENANTS);
    assert_eq!(records.len(), 3);
    let (_, last) = records.last().unwrap();
    assert_eq!(last.key, "school_1");
    let config = last.json();
    assert_eq!(config["tenant"], "school_1");
    assert_eq!(config["period"], periods()["period"]);
    assert_eq!(config["rule"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn concurrent_changes_of_a_tenant_are_not_lost() {
    let edge = edge();
    edge.log.set(Mood::Silent);
    let calls: Vec<_> = (0..8)
        .map(|i| {
            let request = Request::builder()
                .method("PUT")
                .uri(format!("/v1/rules/subject-{i}"))
                .header("authorization", format!("Bearer {}", token("school_1", Role::Admin)))
                .body(Body::from(rule().to_string()))
                .unwrap();
            tokio::spawn(router(edge.state.clone()).oneshot(request))
        })
        .collect();
    for _ in 0..8 {
        until("one append is queued", || edge.log.held() == 1).await;
        edge.log.release();
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    let config = edge.log.records(TENANTS).last().unwrap().1.json();
    assert_eq!(config["rule"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn a_new_edge_reads_what_an_old_one_wrote_and_a_running_one_follows() {
    let old = edge();
    let admin = token("school_1", Role::Admin);
    old.call("PUT", "/v1/rules/maths", &admin, rule().to_string()).await;
    let new = edge_with(config(), old.log.clone());
    assert_eq!(new.get("/v1/rules/maths", &admin).await.status, 200);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, new.state.clone(), async move {
        let _ = stopped.await;
    }));
    old.call("PUT", "/v1/rules/history", &admin, rule().to_string()).await;
    let mut followed = false;
    for _ in 0..2000 {
        if new.get("/v1/rules/history", &admin).await.status == 200 {
            followed = true;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(followed, "the other edge's change never came");
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
