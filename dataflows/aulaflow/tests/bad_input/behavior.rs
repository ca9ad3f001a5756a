//! Behaviour events: bad ones among good ones, and those whose time cannot be right.

use crate::support::{Folder, event, events, hours_from_now, says_at, with};
use serde_json::json;

#[test]
fn good_events_of_a_bad_batch_are_taken() {
    let folder = Folder::new();
    let instance = folder.start();
    let service = instance.caller("service");
    let bad = |members| with(event("bad", "s1"), members);
    let batch = json!([
        event("b1", "s1"),
        bad(json!({ "occurred_at": null })),
        bad(json!({ "student_id": "" })),
        bad(json!({ "value": "NaN" })),
        bad(json!({ "context": [1] })),
        bad(json!({ "occurred_at": "yesterday" })),
        "text",
        with(event("b2", "s1"), json!({ "device": "phone" })),
    ]);
    let answer = service.post("/v1/behavior", &batch).expect(202);
    assert_eq!(answer["accepted"], 2, "an unknown field goes to the context: {answer}");
    let expected = [
        ("/occurred_at", "is required"),
        ("/student_id", "must not be empty"),
        ("/value", "is not a decimal number"),
        ("/context", "expected an object, found an array"),
        ("/occurred_at", "is not an RFC 3339 time"),
        ("", "expected an object, found a string"),
    ];
    for (at, (pointer, says)) in expected.into_iter().enumerate() {
        assert_eq!(answer["errors"][at]["index"], at + 1);
        assert!(says_at(&answer["errors"][at]["errors"], pointer, says), "{pointer} {says}: {answer}");
    }
    // Lines: what is no JSON spoils its own line only; an index is a line, from 0.
    let lines = format!("{}\nnot json\n\n{}\n", event("b3", "s1"), event("b3", "s1"));
    let answer = service.send("POST /v1/behavior", &[("content-type", "application/x-ndjson")], lines.as_bytes());
    let answer = answer.unwrap().expect(202);
    assert_eq!((&answer["accepted"], &answer["errors"][0]["index"]), (&json!(2), &json!(1)), "{answer}");
    // In an array it spoils the array.
    let broken = format!("[{}, oops]", event("b4", "s1"));
    service.call("POST /v1/behavior", &broken).problem(400, "broken-json", None, "line 1 column");
    service.post("/v1/behavior", &json!([bad(json!({ "value": [] }))])).problem(
        422,
        "invalid",
        Some("/0/value"),
        "decimal",
    );

    service.post("/v1/behavior", &json!([event("last", "s1")])).expect(202);
    // b1, b2, b3 once, last.
    let profile = service.events_of("s1", 4);
    assert_eq!(events(&profile), 4, "{profile}");
    assert_eq!(profile["features"]["points_7d"]["points"], "4", "{profile}");
    instance.finish();
}

#[test]
fn times_that_cannot_be_right_are_dead_letters() {
    let folder = Folder::new();
    let instance = folder.start();
    let service = instance.caller("service");
    let at = |id: &str, time: &str| with(event(id, "s1"), json!({ "occurred_at": time }));
    let week = 7 * 24;
    let batch = json!([
        at("f1", &hours_from_now(24)),
        at("f2", "9999-12-31T23:59:59Z"),
        at("l1", &hours_from_now(-week - 2)),
        at("l2", "0001-01-01T00:00:00Z"),
        at("ok", &hours_from_now(-week + 2)),
        event("now", "s1"),
    ]);
    let answer = service.post("/v1/behavior", &batch).expect(202);
    assert_eq!(answer["accepted"], 6, "{answer}");
    let profile = service.events_of("s1", 2);
    assert_eq!(events(&profile), 2, "{profile}");
    let dead = |class: &str| {
        instance.metric(&format!("aulaflow_dlq_records_total{{topic=\"aula.behavior.v1\",error_class=\"{class}\"}}"))
    };
    crate::support::eventually("dead letters", || (dead("future") == 2 && dead("late") == 2).then_some(()));
    assert_eq!(instance.metric("aulaflow_late_records_total{topic=\"aula.behavior.v1\"}"), 2);
    instance.finish();

    let letters = crate::import::dead_letters(&folder, "aula.behavior.v1");
    let mut classes: Vec<_> =
        letters.iter().map(|letter| (letter.header("error-class"), letter.header("source-offset"))).collect();
    classes.sort();
    let expected = [("future", "0"), ("future", "1"), ("late", "2"), ("late", "3")];
    assert_eq!(classes, expected.map(|(class, offset)| (class.to_owned(), offset.to_owned())));
    for letter in &letters {
        assert_eq!(letter.header("source-topic"), "aula.behavior.v1");
        assert!(!letter.header("error").is_empty() && !letter.header("failed-at").is_empty());
    }

    // A restart changes nothing: neither the counts nor the letters.
    let again = folder.start();
    assert_eq!(events(&again.caller("service").profile("s1").unwrap()), 2);
    again.finish();
    assert_eq!(crate::import::dead_letters(&folder, "aula.behavior.v1").len(), 4);
}
