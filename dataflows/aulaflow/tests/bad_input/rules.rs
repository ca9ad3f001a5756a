//! Grading rules that cannot be meant: each is refused with its place, and the rule in force stays in force.

use crate::support::{Folder, TENANT, exam, grade, says_at};
use serde_json::{Value, json};

#[test]
fn a_key_that_stands_twice_is_refused() {
    let folder = Folder::new();
    let instance = folder.start();
    let admin = instance.caller("admin");
    let period = r#"{"id":"P1","start":"2026-01-01","end":"2026-06-30","end":"2026-07-30"}"#;
    for (call, body, pointer) in [
        (
            "PUT /v1/rules/twice",
            r#"{"weights":{"exam":1},"min_passing":60,"min_passing":90}"#.to_owned(),
            "/min_passing",
        ),
        ("PUT /v1/rules/twice", r#"{"weights":{"exam":0.7,"exam":0.3}}"#.to_owned(), "/weights/exam"),
        ("POST /v1/rules/twice:preview", r#"{"weights":{"exam":0.7,"exam":0.3}}"#.to_owned(), "/weights/exam"),
        ("PUT /v1/periods", format!(r#"{{"period":[{period}]}}"#), "/period/0/end"),
        ("PUT /v1/periods", r#"{"period":[],"timezone":"UTC","timezone":"UTC"}"#.to_owned(), "/timezone"),
        (
            "POST /v1/evaluations",
            exam("e", "s", 1).to_string().replace("\"score\":1", "\"score\":1,\"score\":2"),
            "/score",
        ),
    ] {
        admin.call(call, &body).problem(422, "invalid", Some(pointer), "is there more than once");
    }
    assert_eq!(admin.get("/v1/rules").expect(200)["rules"].as_array().unwrap().len(), 2);
    instance.finish();
}

#[test]
fn weights_that_count_for_nothing_are_told() {
    let folder = Folder::new();
    folder.write(
        "tenants/school_2.toml",
        &TENANT.replace("school_1", "school_2").replace("0.7", "0").replace("0.3", "0"),
    );
    let done = folder.run(&["check", "--config", "aulaflow.toml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("warning: `weights`: add up to 0"), "{}", done.stderr);
    let instance = folder.start();
    let admin = instance.caller("admin");
    let none = json!({ "weights": { "exam": 0, "quiz": "0.0" } });
    let answer = admin.put("/v1/rules/art", &none).expect(200);
    assert!(says_at(&answer["warnings"], "/weights", "add up to 0"), "{answer}");
    let some = json!({ "weights": { "exam": 1, "quiz": 0 } });
    let answer = admin.put("/v1/rules/art", &some).expect(200);
    assert!(says_at(&answer["warnings"], "/weights/quiz", "count for nothing"), "{answer}");
    let answer = admin.post("/v1/rules/art:preview", &some).expect(200);
    assert!(says_at(&answer["warnings"], "/weights/quiz", "count for nothing"), "{answer}");
    assert!(says_at(&answer["warnings"], "/subject", "nobody has a grade in `art` now"), "{answer}");
    // What was answered may be sent back.
    admin.put("/v1/rules/art", &admin.get("/v1/rules/art").expect(200)).expect(200);
    instance.finish();
}

#[test]
fn an_encoded_colon_belongs_to_the_subject() {
    let folder = Folder::new();
    let instance = folder.start();
    let admin = instance.caller("admin");
    let rule = json!({ "weights": { "exam": 1 } });
    for name in ["math%3Apreview", "math%3apreview"] {
        assert_eq!(admin.put(&format!("/v1/rules/{name}"), &rule).expect(200)["subject"], "math:preview");
        assert_eq!(admin.get(&format!("/v1/rules/{name}")).expect(200)["subject"], "math:preview");
    }
    assert_eq!(admin.post("/v1/rules/math%3Apreview:preview", &rule).expect(200)["subject"], "math:preview");
    assert_eq!(admin.get("/v1/rules/math").expect(200)["governs"], "math");
    instance.finish();
}

fn min_passing(answer: &Value) -> (&str, &str) {
    (answer["subject"].as_str().unwrap(), answer["min_passing"].as_str().unwrap())
}

/// What was set over HTTP stays when the file says more, and what a start would do is shown before.
#[test]
fn a_file_that_changes_leaves_what_it_does_not_name() {
    let folder = Folder::new();
    let instance = folder.start();
    let admin = instance.caller("admin");
    let rule = |min: u32| json!({ "weights": { "exam": 1 }, "min_passing": min });
    for (subject, min) in [("chemistry", 50), ("bonus", 51)] {
        admin.put(&format!("/v1/rules/{subject}"), &rule(min)).expect(200);
    }
    instance.finish();
    let more = format!("{TENANT}[[rule]]\nsubject = \"music\"\nweights = {{ exam = 1 }}\nmin_passing = 52\n");
    folder.write("tenants/school_1.toml", &more);
    let expected = [
        "tenant school_1: the rule of `bonus`: kept as it was set over HTTP, though the file says otherwise",
        "tenant school_1: the rule of `music`: added from the file",
    ];
    for command in [
        &["check", "--config", "aulaflow.toml", "--against"][..],
        &["check", "--config", "aulaflow.toml", "--against", "data"],
        &["plan", "--config", "aulaflow.toml", "--against"],
    ] {
        let done = folder.run(command);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(expected.iter().all(|line| done.stdout.contains(line)), "{}", done.stdout);
    }
    let instance = folder.start();
    let admin = instance.caller("admin");
    for (subject, min) in [("chemistry", "50"), ("bonus", "51"), ("music", "52")] {
        assert_eq!(min_passing(&admin.get(&format!("/v1/rules/{subject}")).expect(200)), (subject, min));
    }
    // A subject that both name at one time: whatever the file newly says comes with the start, after all that was set.
    admin.put("/v1/rules/music", &rule(53)).expect(200);
    instance.finish();
    folder.write("tenants/school_1.toml", &more.replace("min_passing = 52", "min_passing = 54"));
    let instance = folder.start();
    let admin = instance.caller("admin");
    assert_eq!(min_passing(&admin.get("/v1/rules/music").expect(200)), ("music", "54"));
    assert_eq!(min_passing(&admin.get("/v1/rules/chemistry").expect(200)), ("chemistry", "50"));

    // The rule of `*` governs what has none of its own, and says so; sent back, it becomes the subject's own.
    assert_eq!(admin.call("DELETE /v1/rules/chemistry", "").status, 204);
    admin.call("DELETE /v1/rules/chemistry", "").problem(404, "not-found", None, "no rule of its own");
    let general = admin.get("/v1/rules/chemistry").expect(200);
    assert_eq!((min_passing(&general), &general["governs"]), (("*", "60"), &json!("chemistry")));
    admin.put("/v1/rules/chemistry", &general).expect(200);
    let own = admin.get("/v1/rules/chemistry").expect(200);
    assert_eq!((min_passing(&own), own.get("governs")), (("chemistry", "60"), None));
    let all = admin.get("/v1/rules").expect(200);
    let subjects: Vec<_> =
        all["rules"].as_array().unwrap().iter().map(|rule| rule["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["*", "bonus", "music", "chemistry"]);
    instance.finish();
}

/// A period of the file that overlaps one set over HTTP: nothing is lost, and it is told before and at each start.
#[test]
fn a_file_that_does_not_go_with_what_was_set_is_not_applied() {
    let folder = Folder::new();
    let instance = folder.start();
    let admin = instance.caller("admin");
    let mut periods = admin.get("/v1/periods").expect(200);
    let second = json!({ "id": "P2", "start": "2026-07-01", "end": "2026-09-30" });
    periods["period"].as_array_mut().unwrap().push(second);
    admin.put("/v1/periods", &periods).expect(200);
    instance.finish();
    let clash = "[[period]]\nid = \"Q3\"\nstart = 2026-09-01\nend = 2026-12-01\n";
    folder.write("tenants/school_1.toml", &format!("{TENANT}{clash}"));
    let done = folder.run(&["check", "--config", "aulaflow.toml", "--against"]);
    assert_eq!(done.code, Some(2), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("starts on 2026-09-01, within the period `P2`"), "{}", done.stdout);
    let instance = folder.start();
    assert!(instance.said().contains("does not go together with what was set over HTTP"), "{}", instance.said());
    assert_eq!(instance.caller("admin").get("/v1/periods").expect(200), periods);
    instance.finish();
}

#[test]
fn a_bad_rule_changes_nothing() {
    let folder = Folder::new();
    let instance = folder.start();
    let (teacher, admin) = (instance.caller("teacher"), instance.caller("admin"));
    let rule = json!({ "weights": { "exam": 0.6, "homework": 0.4 }, "min_passing": 50 });
    admin.put("/v1/rules/art", &rule).expect(200);
    teacher.post("/v1/evaluations", &exam("e1", "s1", 80)).expect(201);
    teacher.profile_when("s1", |_| true);
    let before = admin.get("/v1/rules/art").expect(200);

    let bad = [
        (json!({ "weights": { "exam": -1, "homework": 1 } }), "/weights/exam", "must not be negative"),
        (json!({ "weights": { "exam": "a lot" } }), "/weights/exam", "is not a decimal number"),
        (json!({ "weights": "itens" }), "/weights", "items"),
        (json!({ "min_passing": 50 }), "/weights", "is required"),
        (json!({ "weights": { "exam": 1 }, "min_pasing": 50 }), "/min_pasing", "did you mean `min_passing`?"),
        (json!({ "weights": { "exam": 1 }, "min_passing": 101 }), "/min_passing", "must lie on the scale, 0 to 100"),
        (json!({ "weights": { "exam": 1 }, "category": { "exm": {} } }), "/category/exm", "did you mean `exam`?"),
        (
            json!({ "weights": { "exam": 1 }, "category": { "exam": { "combine": "meen" } } }),
            "/category/exam/combine",
            "did you mean `mean`?",
        ),
        (json!({ "weights": { "exam": 1 }, "rounding": { "decimals": 9 } }), "/rounding/decimals", "between 0 and 6"),
        (json!({ "weights": { "exam": 1 }, "periods": ["P9"] }), "/periods/0", "there is no period `P9`"),
        (json!([]), "", "found an array"),
    ];
    for (body, pointer, says) in bad {
        admin.put("/v1/rules/art", &body).problem(422, "invalid", Some(pointer), says);
    }
    admin.call("PUT /v1/rules/art", "{\"weights\":").problem(400, "broken-json", None, "line 1 column 11");
    let too_long = "x".repeat(200);
    admin.put(&format!("/v1/rules/{too_long}"), &rule).problem(404, "not-found", None, "no such subject");
    admin.get("/v1/rules/no-such?period=P9").expect(200);

    assert_eq!(admin.get("/v1/rules/art").expect(200), before);
    let profile = teacher.profile("s1").unwrap();
    let art = grade(&profile, "art", "P1").unwrap();
    assert_eq!((&art["score"], &art["version"]), (&json!("80.00"), &json!(1)), "{art}");
    instance.finish();
}
