//! Tokens that must not open anything, roles that may not, and students whom the caller must not see.

use crate::support::{Folder, SECRET, event, exam, says_at, with};
use aulaflow_query_api::Role;
use aulaflow_query_api::auth::{AuthKey, KeyMaterial, TokenClaims, make_token};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

fn now_s() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn signed(kid: &str, secret: &str, exp: i64) -> String {
    let material = KeyMaterial::Hs256(secret.as_bytes().to_vec());
    let key = AuthKey { id: kid.to_owned(), material, development: true };
    let claims = TokenClaims {
        tenant: Some("school_1".parse().unwrap()),
        role: Role::Admin,
        sub: Some("x".to_owned()),
        sections: Vec::new(),
        iss: None,
        aud: None,
        iat: exp - 3_600,
        exp,
    };
    make_token(&key, &claims).unwrap()
}

/// Base64 with the alphabet of URLs, without padding (RFC 4648 §5).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let letter = |at: usize| char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]);
        text.extend((0..=chunk.len()).map(letter));
    }
    text
}

fn part(value: &Value) -> String {
    base64(value.to_string().as_bytes())
}

#[test]
fn tokens_that_are_not_ours_are_refused() {
    let folder = Folder::new();
    let instance = folder.start();
    let good = signed("test", SECRET, now_s() + 3_600);
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let claims = json!({ "tenant": "school_2", "role": "admin", "sub": "x", "exp": now_s() + 3_600 });
    let unsigned =
        |alg: &str| format!("{}.{}.", part(&json!({ "alg": alg, "kid": "test", "typ": "JWT" })), part(&claims));
    let refused = [
        (signed("test", SECRET, now_s() - 120), "it has expired"),
        (format!("{head}.{}.{signature}", part(&claims)), "its signature is wrong"),
        (signed("test", &"x".repeat(40), now_s() + 3_600), "its signature is wrong"),
        (signed("other", SECRET, now_s() + 3_600), "no known key has its `kid`"),
        (unsigned("none"), "an algorithm that is accepted here (HS256, EdDSA)"),
        (unsigned("NONE"), "an algorithm that is accepted here (HS256, EdDSA)"),
        (unsigned("HS512"), "its algorithm is not its key's"),
        (unsigned("HS256"), "its signature is wrong"),
        ("nonsense".to_owned(), "it is not a JWT"),
        ("a.b.c".to_owned(), "it is not a JWT"),
        (format!("{good}{}", "x".repeat(9_000)), "it is too long"),
    ];
    for (token, says) in refused {
        let answer = instance.bearer(&token).get("/v1/students/s1/profile");
        answer.problem(401, "invalid-token", None, says);
        assert!(answer.header("www-authenticate").contains("invalid_token"), "{:?}", answer.headers);
    }
    let answer = instance.anybody().get("/v1/students/s1/profile");
    answer.problem(401, "missing-token", None, "`Authorization: Bearer <token>`");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let basic = [("authorization", "Basic c2Nob29sOnNjaG9vbA==")];
    let answer = instance.anybody().send("GET /v1/students/s1/profile", &basic, b"").unwrap();
    answer.problem(401, "missing-token", None, "Bearer");
    // No token, no word about the body either.
    instance.anybody().call("POST /v1/evaluations", "not json").problem(401, "missing-token", None, "Bearer");

    assert_eq!(instance.bearer(&good).get("/v1/students/s1/profile").status, 404);
    // Clocks may differ by less than a minute.
    assert_eq!(instance.bearer(&signed("test", SECRET, now_s() - 20)).get("/v1/students/s1/profile").status, 404);
    instance.finish();
}

#[test]
fn whom_a_token_may_not_see_is_not_there() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    teacher.post("/v1/evaluations:batch", &json!([exam("e1", "s1", 80), exam("e2", "s2", 90)])).expect(200);
    teacher.profile_when("s1", |_| true);
    teacher.profile_when("s2", |_| true);

    let stranger = instance.bearer(&folder.token("school_2", "admin", "x"));
    let student = instance.caller("student");
    for (caller, other) in [(&stranger, "s1"), (&student, "s2")] {
        let hidden = caller.get(&format!("/v1/students/{other}/profile"));
        let unknown = caller.get("/v1/students/nobody/profile");
        hidden.problem(404, "not-found", None, "there is no such student");
        let shape = |answer: &crate::support::Answer| {
            let mut problem = answer.json();
            // The path and the request's id.
            assert!(problem.as_object_mut().unwrap().remove("instance").is_some());
            let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            (problem, names)
        };
        assert_eq!(shape(&hidden), shape(&unknown));
    }
    let service = instance.bearer(&folder.token("school_2", "service", "x"));
    let many = service.post("/v1/profiles:batchGet", &json!({ "student_ids": ["s1", "nobody"] })).expect(200);
    assert_eq!(many, json!({ "profiles": [], "missing": ["s1", "nobody"] }));
    // A stranger's deletion is one among the stranger's own.
    assert_eq!(stranger.call("DELETE /v1/evaluations/e1", "").status, 204);
    stranger.put("/v1/rules/*", &json!({ "weights": "items" })).expect(200);
    stranger.post("/v1/evaluations", &with(exam("e1", "s1", 10), json!({ "period": "P1" }))).expect(201);
    stranger.profile_when("s1", |_| true);
    let own = student.profile("s1").unwrap();
    assert_eq!((&own["tenant_id"], &own["grades"][0]["score"]), (&json!("school_1"), &json!("80.00")));
    instance.finish();
}

#[test]
fn a_role_does_only_its_own() {
    let folder = Folder::new();
    let instance = folder.start();
    let may_not = [
        ("student", "POST /v1/evaluations", "teacher, admin"),
        ("student", "POST /v1/evaluations:batch", "teacher, admin"),
        ("counsellor", "DELETE /v1/evaluations/e1", "teacher, admin"),
        ("counsellor", "POST /v1/behavior", "student, teacher, service"),
        ("analyst", "GET /v1/students/s1/profile", "student, teacher, counsellor, admin, service"),
        ("ops", "GET /v1/students/s1/profile", "student, teacher, counsellor, admin, service"),
        ("teacher", "POST /v1/profiles:batchGet", "service"),
        ("teacher", "PUT /v1/rules/art", "admin"),
        ("teacher", "PUT /v1/periods", "admin"),
        ("student", "GET /v1/rules/art", "admin, teacher, counsellor, service"),
        ("student", "GET /v1/lag", "ops, admin, service, platform"),
    ];
    for (role, call, may) in may_not {
        let answer = instance.caller(role).call(call, "{}");
        answer.problem(403, "forbidden", None, &format!("the role {role} may not do this; these may: {may}"));
    }
    let arguments = ["token", "--config", "aulaflow.toml", "--role", "platform"];
    let platform = instance.bearer(folder.run(&arguments).stdout.trim());
    platform.get("/v1/students/s1/profile").problem(403, "forbidden", None, "has no tenant");

    // A student's own events are taken, those of another are named.
    let student = instance.caller("student");
    let answer = student.post("/v1/behavior", &json!([event("b1", "s1"), event("b2", "s2")])).expect(202);
    assert_eq!(answer["accepted"], 1, "{answer}");
    assert!(says_at(&answer["errors"][0]["errors"], "/student_id", "reports its own events only"), "{answer}");
    student.events_of("s1", 1);
    assert_eq!(instance.caller("teacher").profile("s2"), None);
    instance.finish();
}
