//! Tokens and roles.

use crate::support::*;
use aulaflow_query_api::Role;
use aulaflow_query_api::auth::{TokenClaims, make_token};
use axum::body::Body;
use axum::http::Request;

#[tokio::test]
async fn without_a_token_there_is_a_challenge() {
    let edge = edge();
    let answer = edge.get("/v1/periods", "").await;
    answer.problem(401, "missing-token");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    for header in ["Basic YTpi", "Bearer", "token x"] {
        let request = Request::builder().uri("/v1/periods").header("authorization", header);
        edge.send(request.body(Body::empty()).unwrap()).await.problem(401, "missing-token");
    }
}

#[tokio::test]
async fn bad_tokens_are_refused_with_their_reason() {
    let edge = edge();
    let good = token("school_1", Role::Admin);
    assert_eq!(edge.get("/v1/periods", &good).await.status, 200);
    let expired = TokenClaims { exp: 1_000_000, ..claims("school_1", Role::Admin, None) };
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let other = token("school_2", Role::Admin);
    let payload = other.split('.').nth(1).unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for (token, says) in [
        (make_token(&key(), &expired).unwrap(), "expired"),
        (format!("{header}.{payload}.{signature}"), "signature"),
        (format!("{none}.{payload}."), "algorithm"),
        ("garbage".to_owned(), "not a JWT"),
    ] {
        let answer = edge.get("/v1/periods", &token).await;
        let problem = answer.problem(401, "invalid-token");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
        assert!(!problem.to_string().contains(payload), "the token leaks");
    }
}

#[tokio::test]
async fn roles_are_enforced() {
    let edge = edge();
    let table: [(&str, &str, &[Role]); 14] = [
        ("POST", "/v1/evaluations", &[Role::Teacher, Role::Admin]),
        ("POST", "/v1/evaluations:batch", &[Role::Teacher, Role::Admin]),
        ("DELETE", "/v1/evaluations/x", &[Role::Teacher, Role::Admin]),
        ("POST", "/v1/behavior", &[Role::Student, Role::Teacher, Role::Service]),
        (
            "GET",
            "/v1/students/x/profile",
            &[Role::Student, Role::Teacher, Role::Counsellor, Role::Admin, Role::Service],
        ),
        ("POST", "/v1/profiles:batchGet", &[Role::Service]),
        ("GET", "/v1/rules/x", &[Role::Teacher, Role::Counsellor, Role::Admin, Role::Service]),
        ("PUT", "/v1/rules/x", &[Role::Admin]),
        ("POST", "/v1/rules/x:preview", &[Role::Admin]),
        ("DELETE", "/v1/rules/x/scheduled", &[Role::Admin]),
        ("GET", "/v1/rules/x/versions", &[Role::Teacher, Role::Counsellor, Role::Admin, Role::Service]),
        (
            "GET",
            "/v1/students/x/explain/y",
            &[Role::Student, Role::Teacher, Role::Counsellor, Role::Admin, Role::Service],
        ),
        ("PUT", "/v1/periods", &[Role::Admin]),
        ("GET", "/v1/lag", &[Role::Ops, Role::Admin, Role::Service, Role::Platform]),
    ];
    for (method, path, allowed) in table {
        for role in Role::ALL {
            let token = make_token(&key(), &claims("school_1", role, Some("s"))).unwrap();
            let answer = edge.call(method, path, &token, "[]").await;
            if allowed.contains(&role) {
                assert_ne!(answer.status, 403, "{method} {path} as {role}");
                assert_ne!(answer.status, 401, "{method} {path} as {role}");
            } else {
                answer.problem(403, "forbidden");
            }
        }
    }
}
