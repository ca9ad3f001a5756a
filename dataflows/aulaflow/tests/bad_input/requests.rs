//! What is wrong with a request as such: its body, its headers, its path, its method.

use crate::support::{Folder, Instance, event, exam, with};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Bodies for `POST /v1/evaluations` that are refused: body, status, place of the fault, what is said of it.
fn bad_evaluations() -> Vec<(String, u16, &'static str, &'static str)> {
    let exam = || exam("bad", "s1", 80);
    let but = |members: Value| with(exam(), members).to_string();
    let raw = |score: &str| exam().to_string().replace("\"score\":80", &format!("\"score\":{score}"));
    vec![
        ("".into(), 400, "", "is not JSON: EOF"),
        ("{\"evaluation_id\": \"bad\",".into(), 400, "", "line 1 column 24"),
        ("not json".into(), 400, "", "is not JSON"),
        (format!("{}{}", exam(), exam()), 400, "", "trailing characters"),
        (raw("NaN"), 400, "", "is not JSON"),
        (exam().to_string().replace("\"s1\"", "\"s\n1\""), 400, "", "control character"),
        ("[1]".into(), 422, "", "expected an object, found an array"),
        ("7".into(), 422, "", "expected an object, found a number"),
        (but(json!({ "evaluation_id": 7 })), 422, "/evaluation_id", "expected a string, found a number"),
        (but(json!({ "score": true })), 422, "/score", "expected a decimal number, found a boolean"),
        (but(json!({ "subject": [] })), 422, "/subject", "expected a string, found an array"),
        (but(json!({ "student_id": null })), 422, "/student_id", "is required"),
        (but(json!({ "scor": 1 })), 422, "/scor", "unknown key `scor`; did you mean `score`?"),
        (but(json!({ "tenant_id": "school_2" })), 422, "/tenant_id", "the token names the tenant"),
        (but(json!({ "status": "exscused" })), 422, "/status", "did you mean `excused`?"),
        (but(json!({ "score": "NaN" })), 422, "/score", "is not a decimal number"),
        (but(json!({ "score": "Infinity" })), 422, "/score", "is not a decimal number"),
        (raw("1e999"), 422, "/score", "is out of range"),
        (but(json!({ "score": -1 })), 422, "/score", "must not be negative"),
        (but(json!({ "score": "-0.5" })), 422, "/score", "must not be negative"),
        (but(json!({ "score": "1.1234567" })), 422, "/score", "more than 6 fractional digits"),
        (but(json!({ "score": 100.5 })), 422, "/score", "is above `max_score`, 100"),
        (but(json!({ "max_score": 0 })), 422, "/max_score", "must be above 0"),
        (but(json!({ "weight": -1 })), 422, "/weight", "must not be negative"),
        (but(json!({ "graded_at": "2026-02-30T10:00:00Z" })), 422, "/graded_at", "is not an RFC 3339 time"),
        (but(json!({ "graded_at": "2026-03-02 10:00" })), 422, "/graded_at", "such as 2026-03-02T15:04:05.120Z"),
        (but(json!({ "student_id": "" })), 422, "/student_id", "must not be empty"),
        (but(json!({ "student_id": "x".repeat(200) })), 422, "/student_id", "at most 128 are allowed"),
        (but(json!({ "student_id": "a\u{0}b" })), 422, "/student_id", "holds the character '\\0'"),
        (but(json!({ "evaluation_id": "a\nb" })), 422, "/evaluation_id", "holds the character '\\n'"),
        (exam().to_string().replace("\"score\":80", "\"score\":80,\"score\":90"), 422, "/score", "more than once"),
        ("[".repeat(100_000) + &"]".repeat(100_000), 422, "", "expected an object, found an array"),
        ("{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000), 422, "/a", "unknown key `a`"),
        ("[".repeat(100_000), 400, "", "is not JSON"),
    ]
}

#[test]
fn a_bad_body_is_refused_with_its_place_and_nothing_of_it_is_taken() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    for (body, status, pointer, says) in bad_evaluations() {
        let answer = teacher.call("POST /v1/evaluations", &body);
        match status {
            400 => answer.problem(400, "broken-json", None, says),
            _ => answer.problem(422, "invalid", Some(pointer), says),
        }
    }
    // All faults at once.
    let answer = teacher.post("/v1/evaluations", &with(exam("", "s1", 80), json!({ "score": [], "subject": null })));
    assert_eq!(answer.expect(422)["errors"].as_array().unwrap().len(), 3);

    teacher.post("/v1/evaluations", &exam("good", "s1", 90)).expect(201);
    let profile = teacher.profile_when("s1", |profile| !profile["grades"].as_array().unwrap().is_empty());
    assert_eq!(profile["grades"][0]["evaluations_count"], 1, "{profile}");
    assert_eq!(profile["grades"][0]["score"], "90.00", "{profile}");
    let help = instance.anybody().get("/docs").body;
    for slug in ["broken-json", "invalid", "too-many-items", "body-too-large", "log-unavailable", "invalid-token"] {
        assert!(help.contains(&format!("id=\"{slug}\"")), "{slug} is not explained at /docs");
    }
    instance.finish();
}

#[test]
fn what_is_too_large_is_413_and_what_just_fits_is_taken() {
    let folder = Folder::new();
    let instance = folder.start();
    let service = instance.caller("service");
    let batch = |count: usize, student: &str| {
        Value::from((0..count).map(|i| event(&format!("{student}-{i}"), student)).collect::<Vec<_>>())
    };
    let ten_megabytes = format!("[{}]", " ".repeat(10 << 20));
    let answer = service.call("POST /v1/behavior", &ten_megabytes);
    answer.problem(413, "body-too-large", None, "`server.body_bytes_max`");
    let says = "5001 events were sent, at most 5000";
    service.post("/v1/behavior", &batch(5_001, "many")).problem(413, "too-many-items", None, says);
    let lines: String = batch(5_001, "many").as_array().unwrap().iter().map(|event| format!("{event}\n")).collect();
    let lines = service.send("POST /v1/behavior", &[("content-type", "application/x-ndjson")], lines.as_bytes());
    lines.unwrap().problem(413, "too-many-items", None, says);
    let exams: Value = (0..5_001).map(|i| exam(&format!("e{i}"), "many", 50)).collect();
    let answer = instance.caller("teacher").post("/v1/evaluations:batch", &exams);
    answer.problem(413, "too-many-items", None, "5001 evaluations were sent");
    let asked = |count: usize| json!({ "student_ids": vec!["s1"; count] });
    let answer = service.post("/v1/profiles:batchGet", &asked(501));
    answer.problem(413, "too-many-items", None, "501 students were asked for, at most 500");

    assert_eq!(service.post("/v1/behavior", &batch(5_000, "s1")).expect(202)["accepted"], 5_000);
    service.events_of("s1", 5_000);
    assert_eq!(service.profile("many"), None, "something of a refused batch was taken");
    let profiles = service.post("/v1/profiles:batchGet", &asked(500)).expect(200);
    assert_eq!(profiles["profiles"].as_array().unwrap().len(), 500);
    instance.finish();
}

#[test]
fn headers_that_cannot_be_honoured_are_named() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let body = exam("e1", "s1", 80).to_string();
    let send = |headers: &[(&str, &str)], body: &[u8]| teacher.send("POST /v1/evaluations", headers, body).unwrap();
    for wrong in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/x-ndjson"] {
        let answer = send(&[("content-type", wrong)], body.as_bytes());
        answer.problem(415, "unsupported-media-type", None, "`Content-Type: application/json`");
    }
    // A gzip header and what need not be read.
    let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
    for (coding, body) in [("gzip", &packed[..]), ("gzip", body.as_bytes()), ("br", &packed[..])] {
        let answer = send(&[JSON, ("content-encoding", coding)], body);
        answer.problem(415, "unsupported-encoding", None, "without `Content-Encoding`");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    assert_eq!(teacher.profile("s1"), None);
    let answer =
        send(&[("content-type", "APPLICATION/JSON; charset=utf-8"), ("content-encoding", "identity")], body.as_bytes());
    answer.expect(201);
    teacher.profile_when("s1", |_| true);
    instance.finish();
}

#[test]
fn routes_and_methods_that_are_none_are_named() {
    let folder = Folder::new();
    let instance = folder.start();
    let admin = instance.caller("admin");
    for path in
        ["/v1/nothing", "/v2/evaluations", "/v1/students/s1", "/v1/students/a/b/profile", "/v1/students/s1/profile/"]
    {
        admin.get(path).problem(404, "no-such-route", None, "/docs lists all of them");
    }
    let wrong = [
        ("GET /v1/evaluations", "POST"),
        ("PUT /v1/behavior", "POST"),
        ("DELETE /v1/students/s1/profile", "GET"),
        ("PATCH /v1/rules/art", "PUT"),
        ("POST /v1/periods", "PUT"),
    ];
    for (call, allowed) in wrong {
        let answer = admin.call(call, "{}");
        answer.problem(405, "method-not-allowed", None, "the Allow header");
        assert!(answer.header("allow").contains(allowed), "{call}: {:?}", answer.headers);
    }
    let answer = admin.call("POST /v1/behavior?dead_leters=true", "[]");
    assert_eq!(answer.status, 403, "an admin reports no behaviour: {}", answer.body);
    let answer = instance.caller("service").call("POST /v1/behavior?dead_leters=true", "[]");
    answer.problem(400, "bad-request", None, "expected `dead_letters`");
    instance.finish();
}

#[test]
fn ids_of_other_systems_go_through_the_path() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    teacher.post("/v1/evaluations", &exam("sl/1", "a/b c%é", 80)).expect(201);
    let encoded = "a%2Fb%20c%25%C3%A9";
    let profile = teacher.profile_when(encoded, |_| true);
    assert_eq!(profile["student_id"], "a/b c%é");
    for none in ["a", "a%2Fb", "%ff", "%00", "%2e%2e%2f%2e%2e", &"x".repeat(200)] {
        teacher.get(&format!("/v1/students/{none}/profile")).problem(404, "not-found", None, "no such student");
    }
    assert_eq!(teacher.call("DELETE /v1/evaluations/sl%2F1", "").status, 204);
    crate::support::eventually("the deletion", || teacher.profile(encoded).is_none().then_some(()));
    instance.finish();
}

#[test]
fn deep_nesting_harms_nobody() {
    let folder = Folder::new();
    let instance = folder.start();
    let service = instance.caller("service");
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let deep = |id: &str, depth: usize| {
        with(event(id, "s1"), json!({ "context": "@" })).to_string().replace("\"@\"", &nested(depth))
    };
    let body = format!("[{},{},{},{}]", deep("d1", 101), deep("d2", 100_000), deep("d3", 100), event("d4", "s1"));
    let answer = service.call("POST /v1/behavior", &body).expect(202);
    assert_eq!(answer["accepted"], 2, "{answer}");
    for index in [0, 1] {
        assert_eq!(answer["errors"][index]["index"], index);
        assert!(crate::support::says_at(&answer["errors"][index]["errors"], "/context", "deeper than 100 levels"));
    }
    service.events_of("s1", 2);
    let too_deep = nested(100_000);
    service.call("POST /v1/profiles:batchGet", &too_deep).problem(400, "broken-json", None, "recursion limit");
    instance.caller("admin").call("PUT /v1/rules/art", &too_deep).problem(400, "broken-json", None, "recursion limit");
    instance.finish();
}

/// Bytes that are no HTTP at all, and a body that never comes to its end.
#[test]
fn half_a_request_harms_nobody() {
    use std::io::{Read, Write};
    let folder = Folder::new();
    let instance = folder.start();
    let address = instance.url.strip_prefix("http://").unwrap();
    let send = |bytes: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // The connection may also just be closed.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(send("\u{1}\u{2}\u{3} what\r\n\r\n").starts_with("HTTP/1.1 400"));
    let token = folder.token("school_1", "service", "x");
    let half = format!(
        "POST /v1/behavior HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n[{}",
        event("half", "s1")
    );
    let answer = send(&half);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    still_takes(&instance);
    assert_eq!(crate::support::events(&instance.caller("service").profile("s1").unwrap()), 1);
    instance.finish();
}

fn still_takes(instance: &Instance<'_>) {
    let service = instance.caller("service");
    service.post("/v1/behavior", &json!([event("good", "s1")])).expect(202);
    service.events_of("s1", 1);
}
