//! Grading rules that cannot be meant: each is refused with its place, and the rule in force stays in force.

use crate::support::{Folder, exam, grade};
use serde_json::json;

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
    admin.get("/v1/rules/no-such").problem(404, "not-found", None, "no such rule");

    assert_eq!(admin.get("/v1/rules/art").expect(200), before);
    let profile = teacher.profile("s1").unwrap();
    let art = grade(&profile, "art", "P1").unwrap();
    assert_eq!((&art["score"], &art["version"]), (&json!("80.00"), &json!(1)), "{art}");
    instance.finish();
}
