//! Previews, explanations, scheduled rules: what the dataflows are asked, and what becomes of their answers.

use crate::support::*;
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::explain::{ExplainedEvent, ExplainedPane, ExplainedWindow, FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::{Item, Preview, PreviewRow, PreviewSummary, Status, explain, grade};
use aulaflow_model::ids::{EvaluationId, EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Rule;
use aulaflow_model::topic::TENANTS;
use aulaflow_model::window::WindowKind;
use aulaflow_query_api::{AskFailure, Role};
use aulaflow_serving::WriteHalf;
use aulaflow_sink::update::{ChangeBatch, FeatureChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

const NOW: Millis = Millis(1_772_463_845_120);
const PREVIEW: &str = "/v1/rules/maths:preview";

fn rule(weights: Value) -> Rule {
    let subject = Subject::new("maths").unwrap();
    Rule::from_json_for(Some(&subject), &json!({ "weights": weights, "min_passing": 60 }), "").unwrap()
}

fn items(score: i32) -> Vec<Item> {
    vec![Item {
        evaluation_id: EvaluationId::new("e1").unwrap(),
        category: EvaluationType::new("exam").unwrap(),
        score: Decimal::from_int(score),
        max_score: Decimal::from_int(100),
        weight: Decimal::ONE,
        status: Status::Graded,
    }]
}

fn preview(rows: usize) -> Preview {
    let row = |n: usize| PreviewRow {
        student_id: StudentId::new(format!("s{n:05}")).unwrap(),
        subject: Subject::new("maths").unwrap(),
        period: PeriodId::new("p").unwrap(),
        before: None,
        after: grade(&items(80), &rule(json!("items")), "r-1"),
    };
    let changes: Vec<_> = (0..rows).map(row).collect();
    Preview {
        as_of: NOW,
        rule_version: "r-1".to_owned(),
        base_rule_versions: ["r-0".to_owned()].into(),
        summary: PreviewSummary::of(&changes),
        changes,
    }
}

fn body() -> String {
    json!({ "weights": { "exam": 0.7, "homework": "0.3" }, "min_passing": 60 }).to_string()
}

#[tokio::test]
async fn a_preview_is_asked_for_and_has_no_effect() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    *edge.dataflow.preview.lock() = Some(preview(3));
    let answer = edge.call("POST", PREVIEW, &admin, body()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    assert_eq!(shown["as_of"], NOW.to_string());
    assert_eq!((&shown["subject"], &shown["rule_version"]), (&json!("maths"), &json!("r-1")));
    assert_eq!(shown["base_rule_versions"], json!(["r-0"]));
    assert_eq!((&shown["summary"]["rows"], &shown["summary"]["newly_passing"]), (&json!(3), &json!(3)));
    assert_eq!((&shown["changes_total"], &shown["changes"][0]["before"]), (&json!(3), &Value::Null));
    let after = json!({
        "score": "80.00", "passing": true, "complete": true, "evaluations_count": 1, "rule_version": "r-1",
        "by_category": { "items": { "value": "0.8", "weight": "1", "counted": 1, "dropped": 0 } },
    });
    assert_eq!(shown["changes"][0]["after"], after);
    let Question::Preview(tenant, asked) = edge.dataflow.asked.lock().remove(0) else { panic!() };
    assert_eq!((tenant.as_str(), asked.subject.as_ref().map(Subject::as_str)), ("school_1", Some("maths")));
    for path in ["/v1/rules/*:preview", "/v1/rules/%2A:preview"] {
        assert_eq!(edge.call("POST", path, &admin, body()).await.json()["subject"], "*");
    }
    assert!(edge.log.records(TENANTS).is_empty());
}

#[tokio::test]
async fn a_preview_shows_as_many_rows_as_asked_for() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    *edge.dataflow.preview.lock() = Some(preview(1_200));
    for (query, rows) in [("", 1_000), ("?limit=1", 1), ("?limit=10000", 1_200)] {
        let shown = edge.call("POST", &format!("{PREVIEW}{query}"), &admin, body()).await.json();
        assert_eq!((shown["changes"].as_array().unwrap().len(), &shown["changes_total"]), (rows, &json!(1_200)));
    }
    for query in ["?limit=0", "?limit=10001", "?limit=all", "?max=1"] {
        edge.call("POST", &format!("{PREVIEW}{query}"), &admin, body()).await.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn a_preview_of_a_wrong_rule_is_refused_as_the_rule_is() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    let periods = json!({ "period": [{ "id": "p1", "start": "2026-01-15", "end": "2026-04-15" }] });
    edge.call("PUT", "/v1/periods", &admin, periods.to_string()).await;
    for (key, value, pointer) in [
        ("weights", json!({ "exam": -0.5 }), "/weights/exam"),
        ("periods", json!(["p2"]), "/periods/0"),
        ("effective_at", json!("soon"), "/effective_at"),
        ("colour", json!(1), "/colour"),
    ] {
        let mut body: Value = serde_json::from_str(&body()).unwrap();
        body[key] = value;
        for (method, path) in [("POST", PREVIEW), ("PUT", "/v1/rules/maths")] {
            assert_eq!(edge.call(method, path, &admin, body.to_string()).await.pointers(), [pointer], "{body}");
        }
    }
    edge.call("POST", PREVIEW, &admin, "{").await.problem(400, "broken-json");
    edge.call("POST", "/v1/rules/:preview", &admin, body()).await.problem(404, "not-found");
    assert!(edge.dataflow.asked.lock().is_empty());
}

#[tokio::test]
async fn paths_of_rules_and_of_previews_are_apart() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    for (method, path, allow) in
        [("POST", "/v1/rules/maths", "GET, HEAD, PUT, DELETE"), ("GET", PREVIEW, "POST"), ("PUT", PREVIEW, "POST")]
    {
        let answer = edge.call(method, path, &admin, body()).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test]
async fn dataflows_that_do_not_answer_are_503_with_retry_after() {
    let edge = filled();
    let admin = token("school_1", Role::Admin);
    for (failure, slug) in [
        (AskFailure::Busy, "overloaded"),
        (AskFailure::Timeout, "timeout"),
        (AskFailure::NotReady, "not-ready"),
        (AskFailure::Stopped, "not-ready"),
    ] {
        *edge.dataflow.failure.lock() = Some(failure);
        for (method, path) in [
            ("POST", PREVIEW),
            ("GET", "/v1/students/ana/explain/maths?period=p1"),
            ("GET", "/v1/students/ana/explain/participation_7d"),
        ] {
            let answer = edge.call(method, path, &admin, body()).await;
            answer.problem(503, slug);
            assert_eq!(answer.header("retry-after"), "1", "{path}");
        }
    }
}

#[tokio::test]
async fn a_scheduled_rule_is_listed_until_its_time_and_in_force_from_then_on() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    let at = Millis(NOW.0 + 60_000).to_string();
    let put = |weights: Value, at: Option<&str>| {
        let mut body = json!({ "weights": weights });
        if let Some(at) = at {
            body["effective_at"] = json!(at);
        }
        edge.call("PUT", "/v1/rules/maths", &admin, body.to_string())
    };
    let get = || edge.get("/v1/rules/maths", &admin);
    assert_eq!(put(json!({ "exam": 1 }), Some(&at)).await.status, 200);
    // There is none yet, and the answer says why.
    assert!(get().await.problem(404, "not-found")["detail"].as_str().unwrap().contains(&at));
    assert_eq!(put(json!("items"), None).await.status, 200);
    let scheduled = put(json!({ "quiz": 1 }), Some(&at)).await.json();
    assert_eq!((&scheduled["effective_at"], &scheduled["weights"]), (&json!(at), &json!({ "quiz": "1" })));
    let now = get().await.json();
    assert_eq!((&now["weights"], now.get("effective_at")), (&json!("items"), None));
    // The same instant: the one before is replaced.
    assert_eq!(now["scheduled"].as_array().unwrap().len(), 1);
    assert_eq!(now["scheduled"][0]["rule_version"], scheduled["rule_version"]);
    // What was read can be sent back, and changes nothing.
    assert_eq!(edge.call("PUT", "/v1/rules/maths", &admin, now.to_string()).await.json(), now);
    assert_eq!(edge.get("/v1/rules/other", &admin).await.status, 404);

    // It can be taken back, and be scheduled again.
    let cancel = || edge.call("DELETE", "/v1/rules/maths/scheduled", &admin, "");
    assert_eq!(cancel().await.status, 204);
    assert_eq!(get().await.json()["scheduled"], json!([]));
    cancel().await.problem(404, "not-found");
    assert_eq!(put(json!({ "quiz": 1 }), Some(&at)).await.status, 200);

    *edge.clock.lock() = Millis(NOW.0 + 60_000);
    let then = get().await.json();
    assert_eq!((&then["weights"], &then["scheduled"]), (&json!({ "quiz": "1" }), &json!([])));
    // A later change is not undone by the schedule that has passed.
    assert_eq!(put(json!({ "exam": 2 }), None).await.status, 200);
    assert_eq!(get().await.json()["weights"], json!({ "exam": "2" }));
    let last = edge.log.records(TENANTS).last().unwrap().1.json();
    assert_eq!(last["rule"].as_array().unwrap().len(), 1);
    // A past instant acts at once.
    let past = put(json!({ "exam": 3 }), Some("2020-01-01T00:00:00Z")).await.json();
    assert_eq!((&past["weights"], past.get("effective_at")), (&json!({ "exam": "3" }), None));
    assert_eq!(get().await.json(), past);
}

#[tokio::test]
async fn versions_are_kept() {
    let edge = edge();
    let admin = token("school_1", Role::Admin);
    let (edge, admin) = (&edge, &admin);
    let versions =
        |query: &'static str| async move { edge.get(&format!("/v1/rules/maths/versions{query}"), admin).await };
    assert_eq!(versions("").await.json(), json!({ "versions": [], "complete": true }));
    let put = |subject: &'static str, body: Value| async move {
        edge.call("PUT", &format!("/v1/rules/{subject}"), admin, body.to_string()).await
    };
    put("history", json!({ "weights": "items" })).await;
    put("maths", json!({ "weights": "items" })).await;
    put("history", json!({ "weights": { "exam": 1 } })).await;
    put("maths", json!({ "weights": { "quiz": 1 }, "effective_at": "2027-01-01T00:00:00Z" })).await;
    edge.call("PUT", "/v1/rules/maths", &token("school_2", Role::Admin), body()).await;
    put("maths", json!({ "weights": { "exam": 1 } })).await;
    let all = versions("").await.json();
    let shown = all["versions"].as_array().unwrap();
    let weights: Vec<_> = shown.iter().map(|version| version["rules"][0]["weights"].clone()).collect();
    assert_eq!(weights, [json!({ "exam": "1" }), json!("items"), json!("items")]);
    let scheduled: Vec<_> = shown.iter().map(|version| version["scheduled"].as_array().unwrap().len()).collect();
    assert_eq!((scheduled, &all["complete"]), (vec![1, 1, 0], &json!(true)));
    assert!(shown[0]["log_position"].as_str().unwrap().starts_with(TENANTS));
    assert!(shown[0]["rules"][0]["rule_version"].as_str().unwrap().starts_with("r-"));
    let newest = versions("?limit=1").await.json();
    assert_eq!((&newest["versions"], &newest["complete"]), (&json!([shown[0]]), &json!(false)));
    versions("?limit=0").await.problem(400, "bad-request");
}

/// Shows a grade (of `version`) and a feature.
fn put(write: &mut WriteHalf, tenant: &str, student: &str, grades: &[(&str, &str, i32, u32)], count: i64, at: Millis) {
    let grades = grades.iter().map(|(subject, period, score, version)| {
        let rule = rule(json!("items"));
        let grade = grade(&items(*score), &rule, &rule.version()).unwrap();
        let row = GradeRow { grade, version: *version, updated_at: at };
        let (subject, period) = (Subject::new(subject).unwrap(), PeriodId::new(period).unwrap());
        GradeChange { subject, period, before: None, after: Some(row) }
    });
    let row = FeatureRow { values: [FeatureValue::Int(i128::from(count))].into(), session: None, updated_at: at };
    let change = StudentChange {
        tenant: TenantId::new(tenant).unwrap(),
        student: StudentId::new(student).unwrap(),
        grades: grades.collect(),
        features: vec![FeatureChange { view: 0, before: None, after: Some(row) }],
    };
    assert_eq!(write.apply(&ChangeBatch { time: ClockTime::at(at), changes: vec![change] }), Outcome::Applied);
    write.advance(ClockTime::at(Millis(at.0 + 10)));
}

fn filled() -> Edge {
    let mut edge = edge();
    put(
        &mut edge.write,
        "school_1",
        "ana",
        &[("maths", "p1", 80, 1), ("history", "p1", 50, 1), ("history", "p2", 60, 1)],
        3,
        NOW,
    );
    put(&mut edge.write, "school_1", "bo", &[("participation_7d", "p1", 70, 1)], 1, NOW);
    put(&mut edge.write, "school_2", "cy", &[("maths", "p1", 80, 1)], 1, NOW);
    *edge.dataflow.grade.lock() = Some(grade_explanation(80));
    *edge.dataflow.feature.lock() = Some(feature_explanation(3));
    edge
}

fn grade_explanation(score: i32) -> GradeExplanation {
    let rule = Arc::new(rule(json!("items")));
    GradeExplanation { as_of: NOW, explanation: explain(&items(score), &rule), rule }
}

fn feature_explanation(count: i64) -> FeatureExplanation {
    let values: Arc<[FeatureValue]> = [FeatureValue::Int(i128::from(count))].into();
    let (start, end) = (Millis(NOW.0 - 1_000), Millis(NOW.0 + 1_000));
    FeatureExplanation {
        as_of: NOW,
        window: ExplainedWindow { kind: WindowKind::Hop, start, end },
        values: Some(values.clone()),
        panes: vec![ExplainedPane { start, end, values }],
        events: vec![ExplainedEvent { event_id: "e9".into(), occurred_at: NOW }],
    }
}

#[tokio::test]
async fn a_grade_is_explained_and_compared_with_what_is_served() {
    let edge = filled();
    let answer = edge.get("/v1/students/ana/explain/maths", &student_token("school_1", "ana")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    let same = |key: &str| shown[key].clone();
    assert_eq!([same("kind"), same("name"), same("subject"), same("period")], ["grade", "maths", "maths", "p1"]);
    assert_eq!((same("agrees"), same("as_of")), (json!(true), json!(NOW.to_string())));
    assert_eq!(shown["exact_score"], json!({ "exact": "80", "decimal": "80" }));
    assert_eq!(shown["evaluations"][0]["used"], "counted");
    assert_eq!(shown["rule"]["weights"], "items");
    assert_eq!((&shown["grade"]["score"], &shown["served"]["score"]), (&json!("80.00"), &json!("80.00")));
    assert_eq!((&shown["served"]["version"], &shown["served"]["updated_at"]), (&json!(1), &json!(NOW.to_string())));
    let asked = edge.dataflow.asked.lock().clone();
    let [Question::Grade(tenant, student, subject, period)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(
        [tenant.as_str(), student.as_str(), subject.as_str(), period.as_str()],
        ["school_1", "ana", "maths", "p1"]
    );
    assert_eq!(*edge.dataflow.compared.lock(), [("grade", true)]);
}

#[tokio::test]
async fn a_feature_is_explained() {
    let edge = filled();
    let shown = edge.get("/v1/students/ana/explain/participation_7d", &token("school_1", Role::Teacher)).await.json();
    assert_eq!((&shown["kind"], &shown["agrees"]), (&json!("feature"), &json!(true)));
    assert_eq!((&shown["values"], &shown["window"]["kind"]), (&json!({ "participations": 3 }), &json!("hop")));
    assert_eq!(shown["panes"][0]["values"], json!({ "participations": 3 }));
    assert_eq!(shown["events"], json!([{ "event_id": "e9", "occurred_at": NOW.to_string() }]));
    assert_eq!(shown["served"], json!({ "participations": 3, "updated_at": NOW.to_string() }));
    assert_eq!(*edge.dataflow.compared.lock(), [("feature", true)]);
}

#[tokio::test]
async fn names_must_be_clear() {
    let edge = filled();
    let teacher = token("school_1", Role::Teacher);
    let (edge, teacher) = (&edge, &teacher);
    let get = |path: &'static str| async move { edge.get(&format!("/v1/students/{path}"), teacher).await };
    let several = get("ana/explain/history").await.problem(400, "bad-request");
    assert!(several["detail"].as_str().unwrap().contains("`p1`, `p2`"), "{several}");
    *edge.dataflow.grade.lock() = Some(grade_explanation(60));
    assert_eq!(get("ana/explain/history?period=p2").await.json()["agrees"], true);
    let both = get("bo/explain/participation_7d").await.problem(400, "bad-request");
    assert!(both["detail"].as_str().unwrap().contains("kind=grade"), "{both}");
    *edge.dataflow.grade.lock() = Some(grade_explanation(70));
    assert_eq!(get("bo/explain/participation_7d?kind=grade").await.json()["kind"], "grade");
    assert_eq!(get("bo/explain/participation_7d?kind=feature").await.json()["kind"], "feature");
    for path in
        ["ana/explain/participation_7d?kind=feature&period=p1", "ana/explain/maths?kind=other", "ana/explain/maths?x=1"]
    {
        get(path).await.problem(400, "bad-request");
    }
    for path in ["ana/explain/nothing", "ana/explain/maths?kind=feature", "ana/explain/%00"] {
        get(path).await.problem(404, "not-found");
    }
    *edge.dataflow.grade.lock() = None;
    get("ana/explain/maths?period=p9").await.problem(404, "not-found");
}

/// Another tenant's student does not exist, and nothing is asked of it.
#[tokio::test]
async fn other_tenants_students_do_not_exist() {
    let edge = filled();
    let teacher = token("school_1", Role::Teacher);
    let never = edge.get("/v1/students/never/explain/maths", &teacher).await;
    let others = edge.get("/v1/students/cy/explain/maths", &teacher).await;
    let colleague = edge.get("/v1/students/ana/explain/maths", &student_token("school_1", "bo")).await;
    let strip = |answer: &Answer| {
        let mut problem = answer.problem(404, "not-found");
        problem["instance"] = Value::Null;
        problem
    };
    assert_eq!(strip(&never), strip(&others));
    assert_eq!(strip(&never), strip(&colleague));
    assert!(edge.dataflow.asked.lock().is_empty());
}

#[tokio::test]
async fn a_lasting_difference_is_told_and_counted() {
    let edge = filled();
    *edge.dataflow.grade.lock() = Some(grade_explanation(81));
    *edge.dataflow.feature.lock() = Some(feature_explanation(4));
    let teacher = token("school_1", Role::Teacher);
    for (name, kind) in [("maths", "grade"), ("participation_7d", "feature")] {
        let shown = edge.get(&format!("/v1/students/ana/explain/{name}"), &teacher).await.json();
        assert_eq!(shown["agrees"], false, "{shown}");
        assert_eq!(edge.dataflow.asked.lock().drain(..).count(), 3);
        assert_eq!(edge.dataflow.compared.lock().drain(..).collect::<Vec<_>>(), [(kind, false)]);
    }
}

#[tokio::test]
async fn a_row_that_changes_meanwhile_is_asked_for_again() {
    let Edge { log: _, write, state, dataflow, not_ready, clock } = filled();
    let teacher = token("school_1", Role::Teacher);
    let write = Arc::new(Mutex::new(write));
    let edge = Edge { log: MemoryLog::new(), write: edge().write, state, not_ready, dataflow, clock };
    let change = |scores: Vec<i32>| {
        let (write, mut version) = (Arc::clone(&write), 1);
        let mut scores = scores.into_iter();
        Box::new(move || {
            if let Some(score) = scores.next() {
                version += 1;
                let at = Millis(NOW.0 + 100 * i64::from(version));
                put(&mut write.lock(), "school_1", "ana", &[("maths", "p1", score, version)], 3, at);
            }
        })
    };
    // The first answer is of before a change, the second of after it.
    *edge.dataflow.grade.lock() = Some(grade_explanation(90));
    *edge.dataflow.meanwhile.lock() = Some(change(vec![70, 90]));
    let shown = edge.get("/v1/students/ana/explain/maths", &teacher).await.json();
    assert_eq!((&shown["agrees"], &shown["served"]["version"]), (&json!(true), &json!(3)));
    assert_eq!(edge.dataflow.asked.lock().len(), 2);
    // It never stands still: nothing can be said.
    *edge.dataflow.meanwhile.lock() = Some(change((0..10).collect()));
    let shown = edge.get("/v1/students/ana/explain/maths", &teacher).await.json();
    assert_eq!(shown["agrees"], Value::Null);
    assert_eq!(*edge.dataflow.compared.lock(), [("grade", true)]);
}

#[tokio::test]
async fn questions_under_way_are_bounded() {
    let edge = edge();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    *edge.dataflow.preview.lock() = Some(preview(0));
    // The stub answers one question at a time, so all wait behind the first.
    *edge.dataflow.meanwhile.lock() = Some(Box::new(move || {
        // Its end means the same.
        let _ = gate.lock().recv();
    }));
    let call = || {
        let request = axum::http::Request::builder()
            .method("POST")
            .uri(PREVIEW)
            .header("authorization", format!("Bearer {}", token("school_1", Role::Admin)))
            .body(axum::body::Body::from(body()))
            .unwrap();
        tower::ServiceExt::oneshot(aulaflow_query_api::router(edge.state.clone()), request)
    };
    let waiting: Vec<_> = (0..64).map(|_| tokio::spawn(call())).collect();
    until("all questions are asked", || edge.dataflow.asked.lock().len() == 64).await;
    let answer = edge.call("POST", PREVIEW, &token("school_1", Role::Admin), body()).await;
    answer.problem(503, "overloaded");
    assert_eq!(answer.header("retry-after"), "1");
    drop(open);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(edge.call("POST", PREVIEW, &token("school_1", Role::Admin), body()).await.status, 200);
}
