//! Rules and periods.

use crate::support::*;
use aulaflow_log::{Log, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic::TENANTS;
use aulaflow_query_api::{Role, router, serve};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use std::time::Duration;
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
async fn changes_at_another_process_are_not_lost() {
    let log = MemoryLog::new();
    let (here, there) = (edge_with(config(), log.clone()), edge_with(config(), log.clone()));
    let admin = token("school_1", Role::Admin);
    let subjects = || {
        let config = log.records(TENANTS).last().unwrap().1.json();
        let rules = config["rule"].as_array().unwrap().iter();
        rules.map(|rule| rule["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // One after the other: nobody has followed the topic in between.
    assert_eq!(here.call("PUT", "/v1/rules/maths", &admin, rule().to_string()).await.status, 200);
    assert_eq!(there.call("PUT", "/v1/rules/art", &admin, rule().to_string()).await.status, 200);
    assert_eq!(subjects(), ["maths", "art"]);
    // At the same time: the one whose record comes later sees the other's and makes its change once more.
    log.set(Mood::Silent);
    let call = |edge: &Edge, subject: &str| {
        let request = Request::builder()
            .method("PUT")
            .uri(format!("/v1/rules/{subject}"))
            .header("authorization", format!("Bearer {admin}"))
            .body(Body::from(rule().to_string()))
            .unwrap();
        tokio::spawn(router(edge.state.clone()).oneshot(request))
    };
    let calls = [call(&here, "music"), call(&there, "history")];
    until("both are queued", || log.held() == 2).await;
    log.release();
    until("one is made again", || log.held() == 1).await;
    log.release();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    let mut all = subjects();
    all.sort();
    assert_eq!(all, ["art", "history", "maths", "music"]);
    assert_eq!(log.records(TENANTS).len(), 5);
}

#[tokio::test]
async fn a_change_carries_on_what_the_file_said() {
    let log = MemoryLog::new();
    let edge = edge_with(config(), log.clone());
    let admin = token("school_1", Role::Admin);
    let file = json!({"tenant": "school_1", "rule": [{"subject": "*", "weights": "items"}]}).to_string();
    let place = TopicPartition { topic: TENANTS.to_owned(), partition: log.partition_of(TENANTS, "school_1").unwrap() };
    let append = |value: Option<&[u8]>, headers: &[(&str, &[u8])]| {
        let mut set = RecordSetBuilder::default();
        set.push(Millis(0), b"school_1", value, headers);
        log.append_wait(&place, set.finish(), Duration::from_secs(1)).unwrap();
    };
    // As an earlier version wrote it: the value is the file's.
    append(Some(file.as_bytes()), &[("file-hash", b"h1")]);
    for subject in ["maths", "art"] {
        edge.call("PUT", &format!("/v1/rules/{subject}"), &admin, rule().to_string()).await;
        let (_, last) = log.records(TENANTS).last().cloned().unwrap();
        assert_eq!((last.headers["file-hash"].as_str(), last.headers["file"].as_str()), ("h1", file.as_str()));
    }
    // A tombstone deletes no settings, as in the dataflows.
    append(None, &[]);
    edge.call("PUT", "/v1/rules/music", &admin, rule().to_string()).await;
    assert_eq!(log.records(TENANTS).last().unwrap().1.json()["rule"].as_array().unwrap().len(), 4);
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
