//! Cohorts from memory.

use crate::support::*;
use aulaflow_model::cohort::{Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Scale;
use aulaflow_query_api::Role;
use aulaflow_sink::update::{CohortBatch, CohortChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use serde_json::{Value, json};
use std::sync::Arc;

fn change(tenant: &str, subject: &str, period: &str, scores: &[&str]) -> CohortChange {
    let scale = Scale { min: Decimal::ZERO, max: Decimal::from_int(10) };
    let mut sums = Sums::default();
    for score in scores {
        let grade = Grade {
            score: Some((*score).into()),
            passing: Decimal::parse(score).unwrap() >= Decimal::from_int(6),
            complete: true,
            evaluations_count: 1,
            by_category: Default::default(),
            rule_version: "r".into(),
        };
        sums.add(&Sums::of(&grade, scale).unwrap());
    }
    CohortChange {
        tenant: TenantId::new(tenant).unwrap(),
        subject: Subject::new(subject).unwrap(),
        period: PeriodId::new(period).unwrap(),
        before: None,
        after: Some(Arc::new(Cohort { scale, sums })),
    }
}

fn filled() -> Edge {
    let mut edge = edge();
    let changes = vec![
        change("school_1", "matemáticas", "2026-Q2", &["5.0"]),
        change("school_1", "matemáticas", "2026-Q1", &["5.0", "6.0", "10.0", "10.0"]),
        change("school_1", "historia", "2026-Q1", &["7.25"]),
        change("school_2", "historia", "2026-Q1", &["1.0"]),
    ];
    let batch = CohortBatch { time: ClockTime::at(Millis(1)), changes };
    assert_eq!(edge.write.apply_cohorts(&batch), Outcome::Applied);
    edge
}

fn keys(answer: &Answer) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cohorts = answer.json()["cohorts"].as_array().unwrap().clone();
    cohorts.iter().map(|c| format!("{} {}", text(&c["subject"]), text(&c["period"]))).collect()
}

#[tokio::test]
async fn cohorts_are_read_in_order() {
    let edge = filled();
    let teacher = token("school_1", Role::Teacher);
    let all = edge.get("/v1/cohorts", &teacher).await;
    assert_eq!(all.status, 200);
    assert_eq!(keys(&all), ["historia 2026-Q1", "matemáticas 2026-Q1", "matemáticas 2026-Q2"]);
    let body = all.json();
    assert_eq!(body["next_cursor"], Value::Null);
    let maths = &body["cohorts"][1];
    assert_eq!(maths["count"], 4);
    assert_eq!(maths["mean"], "7.75");
    // Deviations -2.75, -1.75, 2.25, 2.25: the root of 5.1875.
    assert_eq!(maths["stddev"], "2.277608");
    assert_eq!(maths["pass_rate"], "0.75");
    let histogram = maths["histogram"].as_array().unwrap();
    assert_eq!(histogram.len(), 20);
    assert_eq!(histogram[10], json!({"from": "5", "to": "5.5", "count": 1}));
    assert_eq!(histogram[19], json!({"from": "9.5", "to": "10", "count": 2}));
    assert_eq!(histogram.iter().map(|bin| bin["count"].as_i64().unwrap()).sum::<i64>(), 4);
}

#[tokio::test]
async fn cohorts_are_chosen_and_paged() {
    let edge = filled();
    let admin = token("school_1", Role::Admin);
    let maths = edge.get("/v1/cohorts?subject=matem%C3%A1ticas", &admin).await;
    assert_eq!(keys(&maths), ["matemáticas 2026-Q1", "matemáticas 2026-Q2"]);
    let first = edge.get("/v1/cohorts?period=2026-Q1", &admin).await;
    assert_eq!(keys(&first), ["historia 2026-Q1", "matemáticas 2026-Q1"]);
    let one = edge.get("/v1/cohorts?period=2026-Q2&subject=historia", &admin).await;
    assert_eq!(keys(&one), Vec::<String>::new());
    let mut paged = Vec::new();
    let mut path = "/v1/cohorts?limit=1".to_owned();
    loop {
        let page = edge.get(&path, &admin).await;
        paged.extend(keys(&page));
        match page.json()["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/cohorts?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, ["historia 2026-Q1", "matemáticas 2026-Q1", "matemáticas 2026-Q2"]);
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=zz", "cursor=00", "cursor=%C3%A1", "subject=", "who=me"] {
        edge.get(&format!("/v1/cohorts?{query}"), &admin).await.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_and_students_see_none() {
    let edge = filled();
    assert_eq!(keys(&edge.get("/v1/cohorts", &token("school_3", Role::Teacher)).await), Vec::<String>::new());
    let second = edge.get("/v1/cohorts", &token("school_2", Role::Service)).await;
    assert_eq!(keys(&second), ["historia 2026-Q1"]);
    assert_eq!(second.json()["cohorts"][0]["mean"], "1");
    edge.get("/v1/cohorts", &student_token("school_1", "ana")).await.problem(403, "forbidden");
    edge.get("/v1/cohorts", &token("school_1", Role::Analyst)).await.problem(403, "forbidden");
}
