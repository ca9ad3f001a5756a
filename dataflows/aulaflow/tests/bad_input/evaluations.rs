//! Evaluations that are well formed and still odd: what no rule weighs, what is above the maximum, what no period holds.

use crate::support::{Caller, Folder, eventually, exam, grade, hours_from_now, says_at, with};
use serde_json::json;

#[test]
fn a_type_without_a_weight_is_taken_with_a_warning() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let essay = with(exam("essay-1", "s1", 20), json!({ "type": "essay" }));
    let answer = teacher.post("/v1/evaluations", &essay).expect(201);
    assert!(says_at(&answer["warnings"], "/type", "has no weight in the rule, so it does not count"), "{answer}");
    teacher.post("/v1/evaluations", &exam("exam-1", "s1", 80)).expect(201);
    // Alone it gives no score; beside an exam it changes none.
    let counted = |profile: &serde_json::Value| {
        grade(profile, "art", "P1").is_some_and(|grade| grade["evaluations_count"] == 2 && grade["score"] == "80.00")
    };
    teacher.profile_when("s1", counted);
    assert!(instance.metric("aulaflow_unweighted_evaluations_total") > 0);
    // The rule learns of it: it counts.
    let rule = json!({ "weights": { "exam": 0.5, "essay": 0.5 } });
    instance.caller("admin").put("/v1/rules/*", &rule).expect(200);
    teacher.profile_when("s1", |profile| grade(profile, "art", "P1").is_some_and(|grade| grade["score"] == "50.00"));
    instance.finish();
}

/// The score once everything that was sent before is visible: by then a later record on the log is. Each call has its own.
fn score(teacher: &Caller, call: u32) -> String {
    let barrier = format!("barrier-{call}");
    teacher.post("/v1/evaluations", &exam(&barrier, &barrier, 1)).expect(201);
    teacher.profile_when(&barrier, |profile| grade(profile, "art", "P1").is_some());
    let profile = teacher.profile("s1").unwrap();
    grade(&profile, "art", "P1").unwrap()["score"].as_str().unwrap().to_owned()
}

#[test]
fn a_correction_wins_at_its_place_and_a_given_update_only_over_older_ones() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let at = |score: u32, members: serde_json::Value| {
        teacher.post("/v1/evaluations", &with(exam("e", "s1", score), members)).expect(201);
    };
    at(40, json!({ "graded_at": "2026-03-05T10:00:00Z" }));
    at(90, json!({ "graded_at": "2026-03-02T10:00:00Z" }));
    assert_eq!(score(&teacher, 1), "90.00", "a correction with an earlier graded_at");
    // Of two updates within a millisecond the newer one wins, whichever comes last.
    for (score, digits) in [(70, "900"), (40, "100")] {
        let body =
            json!([with(exam("e", "s1", score), json!({ "updated_at": format!("2026-02-01T10:00:00.123{digits}Z") }))]);
        teacher.post("/v1/evaluations:batch", &body).expect(200);
    }
    assert_eq!(score(&teacher, 2), "70.00", "updates within a millisecond");
    // An edit wins over what was given, and does not make an older update win.
    at(55, json!({}));
    assert_eq!(score(&teacher, 3), "55.00", "an edit");
    at(40, json!({ "updated_at": "2026-02-01T10:00:00.1238Z" }));
    assert_eq!(score(&teacher, 4), "55.00", "an update older than one that was given");
    at(60, json!({ "updated_at": "2026-02-01T10:00:00.124Z" }));
    assert_eq!(score(&teacher, 5), "60.00", "a newer update");
    instance.finish();
}

#[test]
fn an_update_from_the_future_is_refused() {
    let folder = Folder::new();
    let instance = folder.start();
    let (teacher, admin) = (instance.caller("teacher"), instance.caller("admin"));
    let ahead = with(exam("e", "s1", 10), json!({ "updated_at": hours_from_now(1) }));
    teacher.post("/v1/evaluations", &ahead).problem(
        422,
        "invalid",
        Some("/updated_at"),
        "more than `max_skew` (300 s)",
    );
    let both = json!([with(exam("e", "s1", 80), json!({ "updated_at": hours_from_now(0) })), ahead]);
    let answer = admin.post("/v1/evaluations:batch?dead_letters=true", &both).expect(200);
    assert!(says_at(&answer["errors"][0]["errors"], "/updated_at", "after it was received"), "{answer}");
    assert_eq!(score(&teacher, 6), "80.00");
    assert_eq!(instance.metric("aulaflow_dlq_records_total{topic=\"aula.evaluations.v1\",error_class=\"future\"}"), 1);
    instance.finish();
}

#[test]
fn a_score_above_the_maximum_needs_extra_credit() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let above = with(exam("a1", "s1", 101), json!({}));
    let says = "is above `max_score`, 100, and the rule gives no extra credit";
    teacher.post("/v1/evaluations", &above).problem(422, "invalid", Some("/score"), says);
    let bonus = with(exam("b1", "s1", 110), json!({ "subject": "bonus" }));
    assert_eq!(teacher.post("/v1/evaluations", &bonus).expect(201)["warnings"], json!(null));
    let profile = teacher.profile_when("s1", |profile| grade(profile, "bonus", "P1").is_some());
    assert_eq!(grade(&profile, "bonus", "P1").unwrap()["score"], "110.00");
    assert_eq!(grade(&profile, "art", "P1"), None);
    instance.finish();
}

#[test]
fn a_date_outside_every_period_counts_once_a_period_covers_it() {
    let folder = Folder::new();
    let instance = folder.start();
    let (teacher, admin) = (instance.caller("teacher"), instance.caller("admin"));
    let autumn = with(exam("autumn", "s1", 70), json!({ "graded_at": "2026-10-02T15:04:05Z" }));
    let answer = teacher.post("/v1/evaluations", &autumn).expect(201);
    assert!(says_at(&answer["warnings"], "/graded_at", "no period of the tenant holds it yet"), "{answer}");
    teacher.post("/v1/evaluations", &exam("spring", "s1", 90)).expect(201);
    let profile = teacher.profile_when("s1", |profile| grade(profile, "art", "P1").is_some());
    assert_eq!(profile["grades"].as_array().unwrap().len(), 1, "{profile}");

    let first = json!({ "id": "P1", "start": "2026-01-01", "end": "2026-06-30" });
    let bad = [
        (json!({ "periods": [] }), "/periods", "did you mean `period`?"),
        (
            json!({ "period": [{ "id": "P2", "start": "2026-09-01", "end": "2026-01-31" }] }),
            "/period/0/end",
            "before its start",
        ),
        (
            json!({ "period": [first, { "id": "P2", "start": "2026-06-30", "end": "2026-12-31" }] }),
            "/period/1/start",
            "within the period `P1`",
        ),
        (json!({ "period": [first, first] }), "/period/1/id", "is there twice"),
        (json!({ "timezone": "Mars/Olympus", "period": [] }), "/timezone", ""),
    ];
    for (body, pointer, says) in bad {
        admin.put("/v1/periods", &body).problem(422, "invalid", Some(pointer), says);
    }
    let periods = json!({ "period": [first, { "id": "P2", "start": "2026-09-01", "end": "2026-12-31" }] });
    admin.put("/v1/periods", &periods).expect(200);
    let profile = teacher.profile_when("s1", |profile| grade(profile, "art", "P2").is_some());
    assert_eq!(grade(&profile, "art", "P2").unwrap()["score"], "70.00");
    assert_eq!(grade(&profile, "art", "P1").unwrap()["score"], "90.00");
    instance.finish();
}

/// A period that is given by name is that period, whether the tenant has told of it or not.
#[test]
fn a_period_that_the_tenant_does_not_have_is_said_and_shown_by_its_name() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let mistyped = |score: u32| with(exam("m1", "s1", score), json!({ "period": "P11", "type": "essay" }));
    let answer = teacher.post("/v1/evaluations", &mistyped(70)).expect(201);
    assert!(says_at(&answer["warnings"], "/period", "the tenant has no such period; did you mean `P1`?"), "{answer}");
    assert!(says_at(&answer["warnings"], "/type", "has no weight in the rule"), "{answer}");
    let answer = teacher.post("/v1/evaluations", &mistyped(101));
    answer.problem(422, "invalid", Some("/score"), "gives no extra credit");
    let profile = teacher.profile_when("s1", |profile| grade(profile, "art", "P11").is_some());
    assert_eq!(profile["grades"].as_array().unwrap().len(), 1, "{profile}");
    // The same evaluation with the right name: the wrong grade goes.
    teacher.post("/v1/evaluations", &exam("m1", "s1", 70)).expect(201);
    let moved = teacher.profile_when("s1", |profile| grade(profile, "art", "P1").is_some());
    assert_eq!(moved["grades"].as_array().unwrap().len(), 1, "{moved}");
    instance.finish();
}

#[test]
fn good_evaluations_of_a_bad_batch_are_taken() {
    let folder = Folder::new();
    let instance = folder.start();
    let teacher = instance.caller("teacher");
    let batch = json!([
        exam("g1", "s1", 80),
        exam("g2", "s1", 101),
        7,
        with(exam("g3", "s1", 60), json!({ "typ": "exam" })),
        with(exam("g4", "s1", 60), json!({ "type": "essay" })),
        exam("g5", "s1", 90),
    ]);
    let answer = teacher.post("/v1/evaluations:batch", &batch).expect(200);
    assert_eq!(answer["accepted"], 3, "{answer}");
    let indices: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["index"].clone()).collect();
    assert_eq!(indices, [1, 2, 3]);
    assert!(says_at(&answer["errors"][0]["errors"], "/score", "is above `max_score`"), "{answer}");
    assert!(says_at(&answer["errors"][1]["errors"], "", "expected an object, found a number"), "{answer}");
    assert!(says_at(&answer["errors"][2]["errors"], "/typ", "did you mean `type`?"), "{answer}");
    assert_eq!(answer["warnings"][0]["index"], 4, "{answer}");
    let scored =
        |profile: &serde_json::Value| grade(profile, "art", "P1").is_some_and(|grade| grade["score"] == "85.00");
    let profile = teacher.profile_when("s1", scored);
    assert_eq!(grade(&profile, "art", "P1").unwrap()["evaluations_count"], 3);
    // Where none is good the whole request is refused, with places from its root.
    let answer = teacher.post("/v1/evaluations:batch", &json!([exam("b1", "s1", 101), { "evaluation_id": "" }]));
    answer.problem(422, "invalid", Some("/0/score"), "is above");
    answer.problem(422, "invalid", Some("/1/evaluation_id"), "must not be empty");
    teacher.call("POST /v1/evaluations:batch", "{}").problem(
        422,
        "invalid",
        Some(""),
        "expected an array of evaluations",
    );
    // A deletion of what was never there is none that fails.
    assert_eq!(teacher.call("DELETE /v1/evaluations/never", "").status, 204);
    assert_eq!(teacher.call("DELETE /v1/evaluations/g5", "").status, 204);
    eventually("the deletion", || {
        let profile = teacher.profile("s1")?;
        (grade(&profile, "art", "P1")?["score"] == "80.00").then_some(())
    });
    instance.finish();
}
