//! Grades that are not in memory, and analysts' queries, over a history that counts what it is asked.

use crate::support::*;
use aulaflow_model::change::GradeRow;
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_query_api::{History, HistoryFailure, Later, PastGrades, Role, SqlRows};
use aulaflow_serving::GradeEntry;
use aulaflow_sink::update::{ChangeBatch, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use axum::body::Body;
use axum::http::Request;
use parking_lot::Mutex;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

const NOW: Millis = Millis(1_772_463_845_120);

/// Answers with one grade for the period `old` and nothing for others, or fails as the test says.
struct Fake {
    asked: Mutex<Vec<String>>,
    failure: Mutex<Option<HistoryFailure>>,
    /// Answers wait for one of these.
    gate: Semaphore,
}

struct Shared(Arc<Fake>);

fn row() -> GradeRow {
    let grade = Grade {
        score: Some("8.4".into()),
        passing: true,
        complete: false,
        evaluations_count: 3,
        by_category: BTreeMap::new(),
        rule_version: "r-1".into(),
    };
    GradeRow { grade: Arc::new(grade), version: 2, updated_at: NOW }
}

fn entry(period: &str) -> GradeEntry {
    GradeEntry { subject: Subject::new("mat").unwrap(), period: PeriodId::new(period).unwrap(), row: row() }
}

impl Fake {
    async fn ask(&self, question: String) -> Result<(), HistoryFailure> {
        self.asked.lock().push(question);
        self.gate.acquire().await.unwrap().forget();
        let failure = self.failure.lock().clone();
        failure.map_or(Ok(()), Err)
    }

    fn count(&self) -> usize {
        self.asked.lock().len()
    }
}

impl History for Shared {
    fn grades<'a>(
        &'a self,
        tenant: &'a TenantId,
        student: &'a StudentId,
        period: &'a PeriodId,
    ) -> Later<'a, PastGrades> {
        Box::pin(async move {
            self.0.ask(format!("{tenant}/{student}/{period}")).await?;
            let grades = if period.as_str() == "old" { vec![entry("old")] } else { vec![] };
            Ok(PastGrades { grades, as_of: NOW })
        })
    }

    fn sql<'a>(&'a self, tenant: &'a TenantId, text: &'a str) -> Later<'a, SqlRows> {
        Box::pin(async move {
            self.0.ask(format!("{tenant}: {text}")).await?;
            let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
            Ok(SqlRows {
                columns: vec![("subject".into(), "String".into()), ("n".into(), "UInt64".into())],
                rows: vec![
                    vec![raw("\"a \\\"b\\\", c\""), raw("18446744073709551615")],
                    vec![raw("null"), raw("[1,2]")],
                ],
                truncated: true,
                as_of: Some(NOW),
            })
        })
    }
}

fn edge_with_history() -> (Edge, Arc<Fake>) {
    let fake = Arc::new(Fake { asked: Mutex::default(), failure: Mutex::default(), gate: Semaphore::new(1_000_000) });
    let mut edge = edge_over(config(), MemoryLog::new(), Box::new(Shared(Arc::clone(&fake))));
    let change = StudentChange {
        tenant: TenantId::new("school_1").unwrap(),
        student: StudentId::new("ana").unwrap(),
        grades: vec![GradeChange {
            subject: Subject::new("mat").unwrap(),
            period: PeriodId::new("new").unwrap(),
            before: None,
            after: Some(row()),
        }],
        features: vec![],
    };
    assert_eq!(edge.write.apply(&ChangeBatch { time: ClockTime::at(NOW), changes: vec![change] }), Outcome::Applied);
    edge.write.advance(ClockTime::at(Millis(NOW.0 + 10)));
    (edge, fake)
}

#[tokio::test]
async fn periods_in_memory_are_not_asked_for() {
    let (edge, fake) = edge_with_history();
    let teacher = token("school_1", Role::Teacher);
    for path in ["/v1/students/ana/grades", "/v1/students/ana/grades?period=new"] {
        let grades = edge.get(path, &teacher).await.json();
        assert_eq!(grades["source"], "memory");
        assert_eq!(grades["as_of"], Millis(NOW.0 + 9).to_string());
        let expected = json!({ "subject": "mat", "period": "new", "score": "8.4", "passing": true, "complete": false,
            "evaluations_count": 3, "by_category": {}, "rule_version": "r-1", "version": 2, "updated_at": NOW.to_string() });
        assert_eq!(grades["grades"], json!([expected]));
    }
    edge.get("/v1/students/nobody/grades", &teacher).await.problem(404, "not-found");
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn other_periods_are_read_once_and_kept() {
    let (edge, fake) = edge_with_history();
    let teacher = token("school_1", Role::Teacher);
    for _ in 0..3 {
        let grades = edge.get("/v1/students/ana/grades?period=old", &teacher).await.json();
        assert_eq!((&grades["source"], &grades["as_of"]), (&json!("history"), &json!(NOW.to_string())));
        assert_eq!(grades["grades"][0]["period"], "old");
        // Nothing is kept as well.
        let none = edge.get("/v1/students/ana/grades?period=never", &teacher).await.json();
        assert_eq!((&none["source"], &none["grades"]), (&json!("memory"), &json!([])));
        edge.get("/v1/students/zoe/grades?period=never", &teacher).await.problem(404, "not-found");
    }
    assert_eq!(*fake.asked.lock(), ["school_1/ana/old", "school_1/ana/never", "school_1/zoe/never"]);
    // A student who is no longer in memory at all; the same in another tenant is another one.
    let grades = edge.get("/v1/students/zoe/grades?period=old", &teacher).await.json();
    assert_eq!(grades["student_id"], "zoe");
    edge.get("/v1/students/ana/grades?period=old", &token("school_2", Role::Teacher)).await;
    assert_eq!(fake.asked.lock()[3..], ["school_1/zoe/old", "school_2/ana/old"]);
}

#[tokio::test]
async fn a_student_reads_its_own_only() {
    let (edge, fake) = edge_with_history();
    let bo = student_token("school_1", "bo");
    for path in ["/v1/students/ana/grades", "/v1/students/ana/grades?period=new", "/v1/students/ana/grades?period=old"]
    {
        edge.get(path, &bo).await.problem(404, "not-found");
    }
    assert_eq!(fake.count(), 0);
    edge.get("/v1/students/ana/grades", &token("school_1", Role::Analyst)).await.problem(403, "forbidden");
    let ana = student_token("school_1", "ana");
    assert_eq!(edge.get("/v1/students/ana/grades?period=old", &ana).await.status, 200);
    edge.get("/v1/students/ana/grades?periods=old", &ana).await.problem(400, "bad-request");
}

/// A thousand callers of one period that nobody has read yet: one read.
#[tokio::test]
async fn a_stampede_is_one_read() {
    let (edge, fake) = edge_with_history();
    fake.gate.forget_permits(1_000_000);
    let (edge, teacher) = (Arc::new(edge), token("school_1", Role::Teacher));
    let read = |_| {
        let (edge, teacher) = (Arc::clone(&edge), teacher.clone());
        tokio::spawn(async move { edge.get("/v1/students/ana/grades?period=old", &teacher).await })
    };
    let readers: Vec<_> = (0..1_000).map(read).collect();
    until("the read is asked", || fake.count() == 1).await;
    // All of them wait by then, or come later; there is one answer to have.
    tokio::task::yield_now().await;
    fake.gate.add_permits(1);
    for reader in readers {
        let answer = reader.await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["source"], "history");
    }
    assert_eq!(fake.count(), 1);
    let reads = |outcome| reads(&edge, outcome);
    assert_eq!((reads("read").await, reads("shared").await + reads("kept").await), (1, 999));
}

/// How often a past period was asked for and ended so.
async fn reads(edge: &Edge, outcome: &str) -> u64 {
    let metrics = String::from_utf8(edge.get("/metrics", "").await.body).unwrap();
    let name = format!("aulaflow_history_reads_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_history_that_does_not_answer_is_left_alone() {
    let (edge, fake) = edge_with_history();
    let teacher = token("school_1", Role::Teacher);
    *fake.failure.lock() = Some(HistoryFailure::Unavailable("/secret/place refused".into()));
    for _ in 0..5 {
        let answer = edge.get("/v1/students/ana/grades?period=old", &teacher).await;
        let problem = answer.problem(503, "analytics-unavailable");
        assert!(!problem.to_string().contains("secret"));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(fake.count(), 5, "failures are not kept");
    let answer = edge.get("/v1/students/ana/grades?period=old", &teacher).await;
    answer.problem(503, "analytics-unavailable");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(fake.count(), 5, "nobody was asked");
    assert_eq!((reads(&edge, "failed").await, reads(&edge, "refused").await), (5, 1));
    let metrics = String::from_utf8(edge.get("/metrics", "").await.body).unwrap();
    assert!(metrics.contains("aulaflow_history_resting 1\n"), "{metrics}");
    // Memory answers all the while.
    assert_eq!(edge.get("/v1/students/ana/grades?period=new", &teacher).await.status, 200);
}

#[tokio::test]
async fn without_a_history_memory_is_all_there_is() {
    let mut edge = edge();
    edge.write.advance(ClockTime::at(NOW));
    edge.get("/v1/students/ana/grades?period=old", &token("school_1", Role::Teacher)).await.problem(404, "not-found");
    let problem = edge.call("POST", "/v1/sql", &token("school_1", Role::Analyst), "{\"query\":\"SELECT 1\"}").await;
    assert_eq!(problem.problem(503, "analytics-off")["detail"], OFF);
}

async fn ask(edge: &Edge, role: Role, media: &str, accept: &str, body: &str) -> Answer {
    let request =
        Request::builder().method("POST").uri("/v1/sql").header("content-type", media).header("accept", accept);
    let request = request.header("authorization", format!("Bearer {}", token("school_1", role)));
    edge.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn queries_are_asked_as_text_or_json_and_answered_in_three_forms() {
    let (edge, fake) = edge_with_history();
    let answer = ask(&edge, Role::Analyst, "text/plain", "*/*", "SELECT 1").await;
    let mut document = answer.json();
    assert!(document["elapsed_ms"].take().is_u64());
    let columns = json!([{ "name": "subject", "type": "String" }, { "name": "n", "type": "UInt64" }]);
    assert_eq!(
        document,
        json!({ "columns": columns, "rows": [["a \"b\", c", u64::MAX], [null, [1, 2]]], "rows_count": 2, "truncated": true,
                "elapsed_ms": null, "as_of": NOW.to_string() })
    );
    let csv = ask(&edge, Role::Admin, "application/json", "text/csv", "{\"query\":\"SELECT 2\"}").await;
    assert_eq!(
        String::from_utf8(csv.body.clone()).unwrap(),
        "subject,n\r\n\"a \"\"b\"\", c\",18446744073709551615\r\n,\"[1,2]\"\r\n"
    );
    assert_eq!((csv.header("x-truncated"), csv.header("cache-control")), ("true", "no-store"));
    let lines = ask(&edge, Role::Analyst, "application/sql", "application/x-ndjson;q=1", "SELECT 3").await;
    let expected = "{\"subject\":\"a \\\"b\\\", c\",\"n\":18446744073709551615}\n{\"subject\":null,\"n\":[1,2]}\n";
    assert_eq!(String::from_utf8(lines.body).unwrap(), expected);
    assert_eq!(*fake.asked.lock(), ["school_1: SELECT 1", "school_1: SELECT 2", "school_1: SELECT 3"]);
}

#[tokio::test]
async fn queries_that_are_not_answered_say_why() {
    let (edge, fake) = edge_with_history();
    for role in [Role::Teacher, Role::Counsellor, Role::Service, Role::Gov, Role::Ops] {
        ask(&edge, role, "text/plain", "", "SELECT 1").await.problem(403, "forbidden");
    }
    ask(&edge, Role::Platform, "text/plain", "", "SELECT 1").await.problem(403, "forbidden");
    let analyst = Role::Analyst;
    ask(&edge, analyst, "image/png", "", "SELECT 1").await.problem(415, "unsupported-media-type");
    ask(&edge, analyst, "application/json", "", "SELECT 1").await.problem(400, "broken-json");
    for body in ["{}", "[]", "{\"query\":1}", "{\"query\":\"SELECT 1\",\"tenant\":\"school_2\"}"] {
        assert_eq!(ask(&edge, analyst, "application/json", "", body).await.pointers(), [""]);
    }
    ask(&edge, analyst, "text/plain", "", &"x".repeat(300 << 10)).await.problem(413, "body-too-large");
    assert_eq!(fake.count(), 0);
    for (failure, status, slug) in [
        (HistoryFailure::Refused("no".into()), 422, "sql-refused"),
        (HistoryFailure::Failed("no".into()), 422, "sql-failed"),
        (HistoryFailure::Limit("no".into()), 422, "sql-limit"),
        (HistoryFailure::Busy, 503, "overloaded"),
        (HistoryFailure::Timeout, 503, "analytics-unavailable"),
        (HistoryFailure::Unavailable("no".into()), 503, "analytics-unavailable"),
    ] {
        *fake.failure.lock() = Some(failure);
        ask(&edge, analyst, "text/plain", "", "SELECT 1").await.problem(status, slug);
    }
}

/// Beyond the queries under way others are refused at once.
#[tokio::test]
async fn few_queries_are_under_way_at_once() {
    let (edge, fake) = edge_with_history();
    fake.gate.forget_permits(1_000_000);
    let edge = Arc::new(edge);
    let one = |_| {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move { ask(&edge, Role::Analyst, "text/plain", "", "SELECT 1").await })
    };
    let running: Vec<_> = (0..4).map(one).collect();
    until("four are under way", || fake.count() == 4).await;
    let refused = ask(&edge, Role::Analyst, "text/plain", "", "SELECT 1").await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    fake.gate.add_permits(4);
    for answer in running {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    fake.gate.add_permits(1);
    assert_eq!(ask(&edge, Role::Analyst, "text/plain", "", "SELECT 1").await.status, 200);
}
