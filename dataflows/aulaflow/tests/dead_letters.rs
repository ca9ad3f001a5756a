//! Dead letters as an operator meets them: over HTTP and from the terminal, beside a running instance and without one; who
//! may see which; and a source that was stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs)]

#[path = "bad_input/support.rs"]
mod support;

use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Log, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Folder, Instance, eventually, hours_from_now};

fn now() -> Millis {
    Millis(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

/// Puts records on the log that no edge would take: a producer of one's own.
fn produce(folder: &Folder, records: &[(&str, &[u8])]) {
    let topics = topic::SOURCES.iter().map(|name| (*name).to_owned());
    let topics = topics.chain(topic::SOURCES.iter().map(|name| topic::dead_letters(name)));
    let log = EmbeddedLog::open(EmbeddedConfig::new(folder.path().join("data/log"), topics)).unwrap();
    for (key, value) in records {
        let tenant = key.split('/').next().unwrap();
        let partition = log.partition_of(topic::BEHAVIOR, tenant).unwrap();
        let mut set = RecordSetBuilder::default();
        set.push(now(), key.as_bytes(), Some(value), &[("trace", b"abc")]);
        let place = TopicPartition { topic: topic::BEHAVIOR.to_owned(), partition };
        log.append_wait(&place, set.finish(), Duration::from_secs(10)).unwrap();
    }
}

/// A folder whose instance has met three records that it cannot use: of two tenants, and of nobody.
fn with_letters() -> Folder {
    let folder = Folder::new();
    folder.start().finish();
    produce(&folder, &[("school_1/s1", b"{\"event_id\": \xff"), ("school_2/s2", b"{"), ("", b"nobody's")]);
    let instance = folder.start();
    visible(&instance);
    instance.finish();
    folder
}

fn visible(instance: &Instance<'_>) {
    eventually("all visible", || {
        let lag = instance.caller("ops").get("/v1/lag").json();
        lag["partitions"].as_array().unwrap().iter().all(|p| p["lag_records"] == 0).then_some(())
    });
}

fn platform(folder: &Folder) -> String {
    let done = folder.run(&["token", "--config", "aulaflow.toml", "--role", "platform"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.trim().to_owned()
}

fn listed(answer: &Value) -> Vec<(String, Value)> {
    let letters = answer["dead_letters"].as_array().unwrap();
    letters.iter().map(|letter| (letter["class"].as_str().unwrap().to_owned(), letter["tenant"].clone())).collect()
}

#[test]
fn everybody_sees_the_own_tenants_and_the_platform_all() {
    let folder = with_letters();
    let instance = folder.start();
    let all = instance.bearer(&platform(&folder));
    let mut letters = listed(&all.get("/v1/dead-letters").json());
    letters.sort_by_key(|(class, tenant)| (class.clone(), tenant.to_string()));
    let expected = [("key", Value::Null), ("schema", json!("school_1")), ("schema", json!("school_2"))];
    assert_eq!(letters, expected.map(|(class, tenant)| (class.to_owned(), tenant)));
    let own = vec![("schema".to_owned(), json!("school_1"))];
    for role in ["admin", "ops"] {
        assert_eq!(listed(&instance.caller(role).get("/v1/dead-letters").json()), own, "{role}");
        assert_eq!(instance.caller(role).get("/v1/dead-letters?tenant=school_2").status, 403, "{role}");
    }
    for role in ["teacher", "student", "service", "counsellor"] {
        assert_eq!(instance.caller(role).get("/v1/dead-letters").status, 403, "{role}");
    }
    assert_eq!(instance.anybody().get("/v1/dead-letters").status, 401);
    let of_other = all.get("/v1/dead-letters?tenant=school_2").json();
    let id = of_other["dead_letters"][0]["id"].as_str().unwrap().to_owned();
    let whole = all.get(&format!("/v1/dead-letters/{id}")).json();
    assert_eq!((&whole["key"]["bytes"], &whole["value"]["bytes"]), (&json!("school_2/s2"), &json!("{")));
    assert_eq!(whole["headers"], json!([["trace", { "encoding": "text", "bytes": "abc" }]]));
    assert_eq!(instance.caller("admin").get(&format!("/v1/dead-letters/{id}")).status, 404);
    let own = all.get("/v1/dead-letters?tenant=school_1").json()["dead_letters"][0]["id"].as_str().unwrap().to_owned();
    let shown = instance.caller("admin").get(&format!("/v1/dead-letters/{own}")).json();
    assert_eq!(shown["value"], json!({ "encoding": "hex", "bytes": "7b226576656e745f6964223a20ff" }));
    // An admin replays the own tenant's and no other.
    let again = instance.caller("admin").post("/v1/dead-letters:replay", &json!({})).json();
    assert_eq!((&again["replayed"], &again["skipped"]), (&json!(1), &json!([])));
    let again =
        instance.caller("admin").post("/v1/dead-letters:replay", &json!({ "letters": [id, own], "dry_run": true }));
    let again = again.json();
    assert_eq!((&again["replayed"], &again["skipped"][0]["id"]), (&json!(1), &json!(id)));
    for bad in ["?class=x&limit=0", "?since=yesterday", "?cursor=x", "?topic=aula.nothing.v1", "?color=red"] {
        assert_eq!(all.get(&format!("/v1/dead-letters{bad}")).status, 400, "{bad}");
    }
    assert_eq!(all.post("/v1/dead-letters:replay", &json!({ "color": "red" })).status, 422);
    instance.finish();
}

#[test]
fn letters_are_listed_shown_and_replayed_from_the_terminal() {
    let folder = with_letters();
    let dlq = |arguments: &[&str]| {
        let all: Vec<&str> = [&["dlq"][..], arguments, &["--config", "aulaflow.toml"]].concat();
        let done = folder.run(&all);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        done.stdout
    };
    let by_class = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(by_class(&dlq(&["list", "--summary"])), ["aula.behavior.v1 key 1", "aula.behavior.v1 schema 2"]);
    let list = dlq(&["list", "--tenant", "school_1", "--class", "schema", "--topic", "aula.behavior.v1"]);
    let id = list.split_whitespace().next().unwrap().to_owned();
    let shown = dlq(&["show", &id]);
    assert!(
        shown.contains("key        school_1/s1 (text)") && shown.contains("7b226576656e745f6964223a20ff"),
        "{shown}"
    );
    assert!(shown.contains("header     trace: abc (text)"), "{shown}");
    let none = folder.run(&["dlq", "list", "--since", &hours_from_now(1), "--config", "aulaflow.toml"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{}", none.stderr);
    assert!(none.stderr.contains("there are no dead letters that match"), "{}", none.stderr);
    assert_eq!(dlq(&["replay", "--dry-run"]), "3 records can be written once more\n");
    let done = folder.run(&["dlq", "replay", "--config", "aulaflow.toml"]);
    done.failed(2, &["say --yes, or --dry-run"]);
    // A replay makes letters of what is still dead; it ends, and they say where they were.
    assert!(dlq(&["replay", "--tenant", "school_1", "--yes"]).ends_with("1 records were written once more\n"));
    let instance = folder.start();
    visible(&instance);
    let url = instance.url.clone();
    let summary = by_class(&dlq(&["list", "--summary", "--url", &url]));
    assert_eq!(summary, ["aula.behavior.v1 key 1", "aula.behavior.v1 schema 3"]);
    let list = dlq(&["list", "--tenant", "school_1", "--url", &url]);
    let again = list.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let shown = dlq(&["show", &again, "--url", &url]);
    assert!(shown.contains(&format!("header     replayed-from: {id} (text)")), "{shown}");
    let replayed = dlq(&["replay", "--class", "key", "--yes", "--url", &url]);
    assert!(replayed.ends_with("1 records were written once more\n"), "{replayed}");
    visible(&instance);
    assert_eq!(instance.metric("aulaflow_dlq_records_total{topic=\"aula.behavior.v1\",error_class=\"key\"} "), 1);
    instance.finish();
    assert_eq!(folder.run(&["verify", "--config", "aulaflow.toml"]).code, Some(0));
}

#[test]
fn what_was_mended_counts_once_when_it_is_replayed() {
    let folder = Folder::new();
    folder.start().finish();
    // An event from tomorrow, as a phone with a wrong clock sends it: dead, until tomorrow comes.
    let event = format!(
        r#"{{"tenant_id":"school_1","event_id":"e1","student_id":"s1","event_type":"answer","occurred_at":"{}"}}"#,
        Millis(now().0 + 310_000)
    );
    produce(&folder, &[("school_1/s1", event.as_bytes())]);
    let instance = folder.start();
    visible(&instance);
    instance.finish();
    let text = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    folder.write("aulaflow.toml", &text.replace("workers = 2", "workers = 2\nmax_skew = \"1 hour\""));
    for _ in 0..2 {
        let done = folder.run(&["dlq", "replay", "--class", "future", "--yes", "--config", "aulaflow.toml"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    let instance = folder.start();
    visible(&instance);
    // In time now, and seen twice.
    let labels = "aulaflow_source_records_total{topic=\"aula.behavior.v1\",outcome=\"duplicate\"} ";
    assert_eq!(instance.metric(labels), 1);
    instance.finish();
}

#[test]
fn what_the_edge_keeps_counts_too_and_cannot_be_replayed() {
    let folder = Folder::new();
    let instance = folder.start();
    let service = instance.caller("service");
    assert_eq!(service.call("POST /v1/behavior?dead_letters=true", "[{\"event_id\": 5}, 7]").status, 422);
    assert_eq!(instance.metric("aulaflow_dlq_records_total{topic=\"aula.behavior.v1\",error_class=\"schema\"} "), 2);
    let outcome = instance.caller("admin").post("/v1/dead-letters:replay", &json!({})).json();
    assert_eq!(outcome["replayed"], 0);
    let reason = outcome["skipped"][1]["reason"].as_str().unwrap();
    assert!(reason.contains("refused before it was on the log"), "{reason}");
    instance.finish();
}

#[test]
fn a_stopped_source_is_told_and_resumed() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    let budget = "workers = 2\nerror_budget_records = 20\nerror_budget_records_min = 10";
    folder.write("aulaflow.toml", &text.replace("workers = 2", budget));
    folder.start().finish();
    produce(&folder, &[("school_1/s1", &b"{"[..]); 12]);
    let instance = folder.start();
    let stalled = |instance: &Instance<'_>| {
        let lag = instance.caller("ops").get("/v1/lag").json();
        let partitions = lag["partitions"].as_array().unwrap().clone();
        partitions.into_iter().find(|place| place["state"] == "stalled")
    };
    let place = eventually("the source stops", || stalled(&instance));
    let reason = place["reason"].as_str().unwrap();
    assert!(reason.starts_with("error budget: 12 of the last 12 records of aula.behavior.v1"), "{reason}");
    // The others go on, and so does whoever reads.
    assert_eq!(instance.anybody().get("/readyz").status, 200);
    assert_eq!(instance.caller("teacher").post("/v1/evaluations", &support::exam("x", "s1", 80)).status, 201);
    eventually("a grade", || (instance.caller("service").get("/v1/students/s1/profile").status == 200).then_some(()));
    let event = support::event("e1", "s1");
    assert_eq!(instance.caller("teacher").post("/v1/behavior", &json!([event])).status, 202);
    let profile = || instance.caller("service").get("/v1/students/s1/profile").json();
    assert_eq!(profile()["features"], json!({}));
    let url = instance.url.clone();
    let lag = folder.run(&["lag", "--config", "aulaflow.toml", "--url", &url]);
    assert!(lag.stdout.contains(" stalled ") && lag.stdout.contains("is stalled: error budget"), "{}", lag.stdout);
    assert_eq!(instance.caller("admin").post("/v1/sources/aula.behavior.v1:resume", &json!({})).status, 403);
    assert_eq!(instance.caller("ops").post("/v1/sources/aula.nothing.v1:resume", &json!({})).status, 404);
    let resumed = folder.run(&["resume", "aula.behavior.v1", "--config", "aulaflow.toml", "--url", &url]);
    assert!(resumed.stdout.contains(" is read on"), "{}{}", resumed.stdout, resumed.stderr);
    eventually("the event that waited", || (profile()["features"] != json!({})).then_some(()));
    assert_eq!(stalled(&instance), None);
    instance.finish();
}
