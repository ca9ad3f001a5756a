//! Decoding: defaults, every kind of fault, round trips and fuzz.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::updated_at::UpdatedAt;
use proptest::prelude::*;
use serde_json::{Value, json};

fn tenant() -> TenantId {
    TenantId::new("school_123").unwrap()
}

fn evaluation() -> Value {
    json!({
        "evaluation_id": "e-1", "student_id": "s-1", "subject": "matematicas", "type": "exam", "score": "84.5",
        "graded_at": "2026-03-02T15:04:05.120Z",
    })
}

fn behavior() -> Value {
    json!({ "event_id": "b-1", "student_id": "s-1", "event_type": "answer", "occurred_at": "2026-03-02T15:04:05Z" })
}

/// The value with other or without (`null`: kept as null) members.
fn with(mut value: Value, changes: Value) -> Value {
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    value
}

fn told<T>(result: Result<T, Vec<Fault>>) -> Vec<String> {
    result.err().unwrap().iter().map(ToString::to_string).collect()
}

fn evaluation_faults(value: Value) -> Vec<String> {
    told(decode_evaluation(value.to_string().as_bytes(), Origin::Edge))
}

fn behavior_faults(text: &str) -> Vec<String> {
    told(decode_behavior(text.as_bytes(), Origin::Edge))
}

#[test]
fn evaluations_have_defaults() {
    let found = decode_evaluation(evaluation().to_string().as_bytes(), Origin::Edge).unwrap();
    assert_eq!(
        found,
        Evaluation {
            evaluation_id: "e-1".parse().unwrap(),
            student_id: "s-1".parse().unwrap(),
            subject: "matematicas".parse().unwrap(),
            category: "exam".parse().unwrap(),
            score: "84.5".parse().unwrap(),
            max_score: Decimal::from_int(100),
            weight: Decimal::ONE,
            graded_at: Millis(1_772_463_845_120),
            updated_at: None,
            teacher_id: None,
            period: None,
            status: Status::Graded,
        }
    );
    let nulls = json!({ "max_score": null, "weight": null, "updated_at": null, "teacher_id": null, "period": null });
    let same = decode_evaluation(with(evaluation(), nulls).to_string().as_bytes(), Origin::Edge).unwrap();
    assert_eq!(same, found);
    assert!(!found.above_max());
}

#[test]
fn scores_may_be_absent_unless_graded() {
    for status in ["missing", "excused"] {
        for score in [json!(null), json!(7)] {
            let value = with(evaluation(), json!({ "status": status, "score": score }));
            let found = decode_evaluation(value.to_string().as_bytes(), Origin::Edge).unwrap();
            let expected = if score.is_null() { 0 } else { 7 };
            assert_eq!(found.score, Decimal::from_int(expected), "{status}");
            if status == "missing" {
                assert_eq!(found.item().score, Decimal::ZERO);
            }
        }
    }
    let value = with(evaluation(), json!({ "score": null }));
    assert_eq!(evaluation_faults(value), ["/score: is required where the status is `graded`"]);
}

#[test]
fn numbers_are_taken_from_their_text() {
    for (text, expected) in [("0.1", "0.1"), ("\"0.1\"", "0.1"), ("84.295", "84.295"), ("1e2", "100"), ("-0", "0")] {
        let json = evaluation().to_string().replace("\"84.5\"", text);
        let found = decode_evaluation(json.as_bytes(), Origin::Edge).unwrap();
        assert_eq!(found.score.to_string(), expected, "{text}");
    }
    for (text, detail) in [
        ("0.10000000000000000555", "/score: has more than 6 fractional digits"),
        ("\"NaN\"", "/score: is not a decimal number"),
        ("1e400", "/score: is out of range; the magnitude must stay below 1000000000"),
        ("-0.5", "/score: must not be negative"),
        ("true", "/score: expected a decimal number, found a boolean"),
        ("[1]", "/score: expected a decimal number, found an array"),
    ] {
        let json = evaluation().to_string().replace("\"84.5\"", text);
        assert_eq!(told(decode_evaluation(json.as_bytes(), Origin::Edge)), [detail], "{text}");
    }
}

#[test]
fn the_last_day_of_the_calendar_is_a_time() {
    let last = "9999-12-31T23:59:59Z";
    let found = with(evaluation(), json!({ "graded_at": last }));
    let found = decode_evaluation(found.to_string().as_bytes(), Origin::Edge).unwrap();
    assert_eq!(found.graded_at, Millis(253_402_300_799_000));
    let found = with(behavior(), json!({ "occurred_at": last })).to_string();
    assert_eq!(decode_behavior(found.as_bytes(), Origin::Edge).unwrap().occurred_at, Millis(253_402_300_799_000));
}

#[test]
fn all_faults_of_an_evaluation_come_at_once() {
    let value = json!({
        "tenant_id": "t", "evaluation_id": "", "student_id": 7, "subject": "x".repeat(200), "tpye": "exam",
        "score": -1, "max_score": 0, "weight": "-0.1", "graded_at": "yesterday", "updated_at": 5,
        "teacher_id": "a\u{7}", "period": "", "status": "grade",
    });
    let time = "is not an RFC 3339 time with an offset, such as 2026-03-02T15:04:05.120Z";
    assert_eq!(
        evaluation_faults(value),
        [
            "/tenant_id: must not be given: the token names the tenant",
            "/tpye: unknown key `tpye`; did you mean `type`?",
            "/evaluation_id: must not be empty",
            "/student_id: expected a string, found a number",
            "/subject: is 200 bytes long; at most 128 are allowed",
            "/type: is required",
            "/status: expected one of `graded`, `excused`, `missing`, found `grade`; did you mean `graded`?",
            "/score: must not be negative",
            "/max_score: must be above 0",
            "/weight: must not be negative",
            &format!("/graded_at: {time}"),
            "/updated_at: expected a string, found a number",
            "/teacher_id: holds the character '\\u{7}', which is not allowed here",
            "/period: must not be empty",
        ]
    );
    let above = with(evaluation(), json!({ "score": 101 }));
    let above = decode_evaluation(above.to_string().as_bytes(), Origin::Edge).unwrap();
    assert!(above.above_max());
    let detail = "/score: is above `max_score`, 100, and the rule gives no extra credit";
    assert_eq!(above.above_max_fault().to_string(), detail);
}

#[test]
fn broken_documents_are_one_fault() {
    for (text, detail) in [
        (&b"{\"event_id\": NaN}"[..], "is not JSON: expected value at line 1 column 14"),
        (b"{\"event_id\": 1", "is not JSON: EOF while parsing an object at line 1 column 14"),
        (b"{} {}", "is not JSON: trailing characters at line 1 column 4"),
        (b"", "is not JSON: EOF while parsing a value at line 1 column 0"),
        (b" [1]", "expected an object, found an array"),
        (b"7", "expected an object, found a number"),
        (b"null", "expected an object, found null"),
        (b"{\"a\": \"\xff\"}", "is not UTF-8: wrong byte at offset 7"),
    ] {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(told(decode_behavior(text, Origin::Edge)), [detail], "{shown}");
        assert_eq!(told(decode_evaluation(text, Origin::Edge)), [detail], "{shown}");
        assert_eq!(told(decode_service_event(text, Origin::Edge)), [detail], "{shown}");
    }
}

#[test]
fn the_tenant_is_named_where_it_must_be() {
    let tenant = tenant();
    let named = with(behavior(), json!({ "tenant_id": "school_123" })).to_string();
    assert!(decode_behavior(named.as_bytes(), Origin::Log(&tenant)).is_ok());
    assert_eq!(behavior_faults(&named), ["/tenant_id: must not be given: the token names the tenant"]);
    let other = with(behavior(), json!({ "tenant_id": "school_9" })).to_string();
    let detail = "/tenant_id: is not `school_123`, the tenant of the record's key";
    assert_eq!(told(decode_behavior(other.as_bytes(), Origin::Log(&tenant))), [detail]);
    let none = behavior().to_string();
    assert_eq!(told(decode_behavior(none.as_bytes(), Origin::Log(&tenant))), ["/tenant_id: is required"]);
}

#[test]
fn behavior_keeps_what_it_does_not_know() {
    let json =
        with(behavior(), json!({ "context": { "a": 1 }, "room": "B 2", "x\"y": [1, { "z": null }] })).to_string();
    let found = decode_behavior(json.as_bytes(), Origin::Edge).unwrap();
    assert_eq!((found.value, found.extra.len()), (Decimal::ONE, 2));
    let context: Value = serde_json::from_str(&found.context_json().unwrap()).unwrap();
    assert_eq!(context, json!({ "a": 1, "room": "B 2", "x\"y": [1, { "z": null }] }));
    let logged: Value = serde_json::from_slice(&found.to_log_json(&tenant())).unwrap();
    assert_eq!(logged["context"], context);
    assert_eq!(logged["value"], json!("1"));

    let json = with(behavior(), json!({ "room": 2 })).to_string();
    let found = decode_behavior(json.as_bytes(), Origin::Edge).unwrap();
    assert_eq!(found.context_json().as_deref(), Some("{\"room\":2}"));
    let none = behavior().to_string();
    assert_eq!(decode_behavior(none.as_bytes(), Origin::Edge).unwrap().context_json(), None);
    let empty = with(behavior(), json!({ "context": {}, "room": 2 })).to_string().replace("{}", "{ \n}");
    let found = decode_behavior(empty.as_bytes(), Origin::Edge).unwrap();
    assert_eq!(found.context_json().as_deref(), Some("{\"room\":2}"));
}

#[test]
fn faults_of_behavior() {
    let text = with(behavior(), json!({ "context": [], "value": {}, "event_type": "" })).to_string();
    assert_eq!(
        behavior_faults(&text),
        [
            "/event_type: must not be empty",
            "/value: expected a decimal number, found an object",
            "/context: expected an object, found an array",
        ]
    );
    let text = with(behavior(), json!({ "context": { "room": 1 }, "room": 2 })).to_string();
    assert_eq!(
        behavior_faults(&text),
        ["/room: is not a known field, and `context` has a member of this name already"]
    );
    let text = behavior().to_string().replacen('{', "{\"student_id\":\"s\",\"room\":1,\"room\":2,", 1);
    assert_eq!(behavior_faults(&text), ["/student_id: is there more than once", "/room: is there more than once"]);
    let text = behavior().to_string().replace("answer", "a\\ud800");
    assert_eq!(behavior_faults(&text).len(), 1);
    assert!(behavior_faults(&text)[0].starts_with("/event_type: holds a broken escape"));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let text = behavior().to_string().replacen('{', &format!("{{\"context\":{deep},"), 1);
    assert_eq!(behavior_faults(&text), ["/context: is nested deeper than 100 levels"]);
    let brackets = format!("{{\"a\":\"{}\\\"\"}}", "[".repeat(1000));
    let text = behavior().to_string().replacen('{', &format!("{{\"context\":{brackets},"), 1);
    assert!(decode_behavior(text.as_bytes(), Origin::Edge).is_ok());
}

#[test]
fn nothing_is_copied_where_nothing_is_escaped() {
    let text = behavior().to_string();
    let found = decode_behavior(text.as_bytes(), Origin::Edge).unwrap();
    assert!(matches!(found.student_id, Cow::Borrowed("s-1")));
    let text = text.replace("\"s-1\"", "\"\\u00d1\\n\"").replace("student_id", "student\\u005fid");
    assert_eq!(behavior_faults(&text), ["/student_id: holds the character '\\n', which is not allowed here"]);
    let text = text.replace("\\n", "");
    assert_eq!(decode_behavior(text.as_bytes(), Origin::Edge).unwrap().student_id, "Ñ");
}

#[test]
fn service_events_keep_the_rest_as_metadata() {
    let json = json!({
        "timestamp": "2026-03-02T15:04:05Z", "service": "cafeteria", "message": "line\nbreak", "metadata": { "a": 1 },
        "level": "warn",
    });
    let text = json.to_string();
    let found = decode_service_event(text.as_bytes(), Origin::Edge).unwrap();
    assert_eq!((found.service.as_ref(), found.message.as_ref()), ("cafeteria", "line\nbreak"));
    assert_eq!(found.metadata_json().as_deref(), Some("{\"a\":1,\"level\":\"warn\"}"));
    let tenant = tenant();
    let logged = found.to_log_json(&tenant);
    let again = decode_service_event(&logged, Origin::Log(&tenant)).unwrap();
    assert_eq!((again.timestamp, again.message, again.extra.len()), (found.timestamp, found.message, 0));
    assert_eq!(
        told(decode_service_event(b"{\"service\":\"\",\"metadata\":1}", Origin::Edge)),
        [
            "/timestamp: is required",
            "/service: must not be empty",
            "/message: is required",
            "/metadata: expected an object, found a number"
        ]
    );
}

#[test]
fn keys_name_their_tenant() {
    assert_eq!(tenant_of_key(b"school_123/e/1"), Some(tenant()));
    assert_eq!(tenant_of_key(b"school_123"), Some(tenant()));
    assert_eq!(tenant_of_key(b"/x"), None);
    assert_eq!(tenant_of_key(b"\xff/x"), None);
    let id = EvaluationId::new("e/1").unwrap();
    assert_eq!(tombstone_key(&tenant(), &id), "school_123/e/1");
}

#[test]
fn tenants_are_spliced_in() {
    for (json, expected) in [
        ("{\"a\":1}", "{\"tenant_id\":\"school_123\",\"a\":1}"),
        (" \n{ \"a\" : 1 }\n", "{\"tenant_id\":\"school_123\",\"a\" : 1 }\n"),
        ("{ }", "{\"tenant_id\":\"school_123\"}"),
    ] {
        let mut out = b"x".to_vec();
        splice_tenant(json.as_bytes(), &tenant(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("x{expected}"));
    }
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    (0..1_000_000_000_000_000_i64).prop_map(Decimal::from_micros)
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9_-]{1,20}", "\\PC{1,20}"]
        .prop_filter("ids have limits", |text| check_printable(text).is_ok())
}

prop_compose! {
    fn any_evaluation()(
        (id, student, subject, kind) in (any_text(), any_text(), any_text(), any_text()),
        (score, max_score, weight) in (any_decimal(), any_decimal(), any_decimal()),
        graded in 0..4_000_000_000_000_i64,
        updated in prop::option::of((-4_000_000_000_000..4_000_000_000_000_i64, "[0-9]{0,12}")),
        teacher in prop::option::of(any_text()), period in prop::option::of(any_text()),
        status in prop::sample::select(vec![Status::Graded, Status::Excused, Status::Missing]),
    ) -> Evaluation {
        Evaluation {
            evaluation_id: id.parse().unwrap(),
            student_id: student.parse().unwrap(),
            subject: subject.parse().unwrap(),
            category: kind.parse().unwrap(),
            score,
            max_score: max_score.max(Decimal::from_micros(1)),
            weight,
            graded_at: Millis(graded),
            updated_at: updated.map(|(at, finer)| {
                let text = Millis(at).to_string().replace('Z', &format!("{finer}Z"));
                UpdatedAt::parse_rfc3339(&text).unwrap()
            }),
            teacher_id: teacher.map(Into::into),
            period: period.map(|period| period.parse().unwrap()),
            status,
        }
    }
}

proptest! {
    #[test]
    fn evaluations_come_back(evaluation in any_evaluation()) {
        let tenant = tenant();
        let json = evaluation.to_log_json(&tenant);
        prop_assert_eq!(decode_evaluation(&json, Origin::Log(&tenant)), Ok(evaluation.clone()));
        let key = evaluation.log_key(&tenant);
        prop_assert_eq!(tenant_of_key(key.as_bytes()), Some(tenant));
        let stored = postcard::to_allocvec(&evaluation).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Evaluation>(&stored).unwrap(), evaluation.clone());
        let derived = serde_json::to_string(&evaluation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Evaluation>(&derived).unwrap(), evaluation);
    }

    #[test]
    fn behavior_comes_back(
        (event, student, kind) in (any_text(), any_text(), any_text()),
        value in any_decimal(), at in 0..4_000_000_000_000_i64,
        context in prop::option::of(prop::collection::btree_map("[a-d]", any::<Option<i32>>(), 0..3)),
        extra in prop::collection::btree_map("[e-h\"é\\\\]{1,2}", any::<bool>(), 0..3),
    ) {
        let mut json = json!({
            "event_id": event, "student_id": student, "event_type": kind, "value": value.to_string(),
            "occurred_at": Millis(at).to_string(),
        });
        if let Some(context) = &context {
            json["context"] = json!(context);
        }
        let text = with(json, json!(extra)).to_string();
        let tenant = tenant();
        let found = decode_behavior(text.as_bytes(), Origin::Edge).unwrap();
        prop_assert_eq!(found.extra.len(), extra.len());
        let (logged, mut spliced) = (found.to_log_json(&tenant), Vec::new());
        splice_tenant(text.as_bytes(), &tenant, &mut spliced);
        for record in [logged, spliced] {
            let again = decode_behavior(&record, Origin::Log(&tenant)).unwrap();
            prop_assert_eq!(
                (&again.event_id, &again.student_id, &again.event_type, again.value, again.occurred_at),
                (&found.event_id, &found.student_id, &found.event_type, value, Millis(at))
            );
            prop_assert_eq!(again.context_json(), found.context_json());
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }

    /// A valid event with a few bytes changed, cut out or put in.
    #[test]
    fn mutated_events_do_not_panic(
        which in 0..3, cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, "[{}\\[\\]\",:\\\\0-9eu.\\-nt\u{e9}]{0,3}"), 1..5),
    ) {
        let mut bytes = match which {
            0 => with(evaluation(), json!({ "status": "missing", "weight": 2.5, "teacher_id": "t\u{e9}\"" })),
            1 => with(behavior(), json!({ "context": { "a": [1, "x"] }, "more": true, "value": -1.25e1 })),
            _ => json!({ "timestamp": "2026-03-02T15:04:05Z", "service": "s", "message": "m", "metadata": {}, "k": [] }),
        }.to_string().into_bytes();
        for (place, length, text) in cuts {
            let start = place.index(bytes.len().max(1)).min(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, text.into_bytes());
        }
        fuzz(&bytes);
    }
}

/// Whatever comes in: an event or faults, never a panic; and what was taken can be written and read again.
fn fuzz(bytes: &[u8]) {
    let tenant = tenant();
    match decode_evaluation(bytes, Origin::Edge) {
        Ok(found) => {
            assert_eq!(decode_evaluation(&found.to_log_json(&tenant), Origin::Log(&tenant)), Ok(found));
        }
        Err(faults) => assert!(!faults.is_empty()),
    }
    match decode_behavior(bytes, Origin::Edge) {
        Ok(found) => {
            let logged = found.to_log_json(&tenant);
            let again = decode_behavior(&logged, Origin::Log(&tenant)).unwrap();
            assert_eq!((again.occurred_at, again.value), (found.occurred_at, found.value));
        }
        Err(faults) => assert!(!faults.is_empty()),
    }
    match decode_service_event(bytes, Origin::Edge) {
        Ok(found) => {
            assert!(decode_service_event(&found.to_log_json(&tenant), Origin::Log(&tenant)).is_ok())
        }
        Err(faults) => assert!(!faults.is_empty()),
    }
}
