//! The OpenAPI document and the page made of it.

use crate::support::*;
use aulaflow_query_api::{Role, openapi_document};
use serde_json::Value;
use std::collections::BTreeSet;

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let methods = item.as_object().unwrap().clone();
        methods.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.iter().flat_map(of).collect()
}

/// Every operation of the document is a route, and a method that the document does not name is none.
#[tokio::test]
async fn the_document_and_the_router_agree() {
    let edge = edge();
    let document = openapi_document();
    let operations = operations(&document);
    let known: BTreeSet<_> = operations.iter().map(|(m, p, _)| (m.clone(), p.clone())).collect();
    for (_, path, _) in &operations {
        let concrete = path.replace("{id}", "x").replace("{subject}", "x").replace("{name}", "x");
        for method in ["get", "put", "post", "delete"] {
            let answer = edge.call(&method.to_uppercase(), &concrete, "", "").await;
            if known.contains(&(method.to_owned(), path.clone())) {
                assert_ne!(answer.status, 405, "{method} {path}");
                let no_such_route = answer.status == 404 && answer.json()["type"] == "/docs#no-such-route";
                assert!(!no_such_route, "{method} {path}");
            } else {
                answer.problem(405, "method-not-allowed");
            }
        }
    }
    let named = |m: &str, p: &str| assert!(known.contains(&(m.to_owned(), p.to_owned())), "{m} {p}");
    for (method, path) in [
        ("post", "/v1/evaluations"),
        ("post", "/v1/evaluations:batch"),
        ("delete", "/v1/evaluations/{id}"),
        ("post", "/v1/behavior"),
        ("get", "/v1/students/{id}/profile"),
        ("post", "/v1/profiles:batchGet"),
        ("get", "/v1/cohorts"),
        ("get", "/v1/rules/{subject}"),
        ("put", "/v1/rules/{subject}"),
        ("post", "/v1/rules/{subject}:preview"),
        ("get", "/v1/rules/{subject}/versions"),
        ("delete", "/v1/rules/{subject}/scheduled"),
        ("get", "/v1/students/{id}/explain/{name}"),
        ("get", "/v1/periods"),
        ("put", "/v1/periods"),
        ("get", "/v1/lag"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/openapi.json"),
        ("get", "/docs"),
    ] {
        named(method, path);
    }
}

/// A route without roles needs no token, one with roles does; the document says so.
#[tokio::test]
async fn the_document_says_who_needs_a_token() {
    let edge = edge();
    for (method, path, operation) in operations(&openapi_document()) {
        let concrete = path.replace("{id}", "x").replace("{subject}", "x").replace("{name}", "x");
        let answer = edge.call(&method.to_uppercase(), &concrete, "", "").await;
        match operation["x-roles"].as_array() {
            Some(roles) => {
                answer.problem(401, "missing-token");
                assert!(roles.iter().all(|role| role.as_str().and_then(Role::parse).is_some()), "{roles:?}");
                assert!(operation.get("security").is_none());
            }
            None => {
                assert_ne!(answer.status, 401, "{method} {path}");
                assert_eq!(operation["security"], Value::Array(vec![]));
            }
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(target)) => drop(found.insert(target.clone())),
                        (_, value) => references(value, found),
                    }
                }
            }
            Value::Array(array) => array.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = openapi_document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for target in &found {
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target} is missing");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "nothing uses {name}");
    }
    let ids: Vec<_> = operations(&document).into_iter().map(|(_, _, o)| o["operationId"].to_string()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// Nothing that a generator of clients would have to guess at: a schema says what it is, an array of what, an object what its members
/// are, and an answer with a body its media types and schemas.
#[test]
fn every_schema_says_what_it_is() {
    fn look(schema: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(object) = schema.as_object() else {
            if !schema.is_boolean() {
                faults.push(format!("{at}: no schema"));
            }
            return;
        };
        let named: Vec<&str> = match &object.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let combined = ["oneOf", "anyOf", "allOf"].iter().filter_map(|word| object.get(*word)).collect::<Vec<_>>();
        // Any value is one that its description calls so.
        let any = named.is_empty() && at.ends_with("/rows/items/items") && object.contains_key("description");
        if named.is_empty() && combined.is_empty() && !object.contains_key("$ref") && !any {
            faults.push(format!("{at}: neither a type nor a reference"));
        }
        if object.contains_key("nullable") {
            faults.push(format!("{at}: `nullable` is not OpenAPI 3.1"));
        }
        if named.contains(&"array") && !object.contains_key("items") {
            faults.push(format!("{at}: an array of what?"));
        }
        if named.contains(&"object")
            && !object.contains_key("properties")
            && !object.contains_key("additionalProperties")
        {
            faults.push(format!("{at}: an object of what?"));
        }
        for name in object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let known = object.get("properties").is_some_and(|properties| properties.get(name).is_some());
            if !known && object.get("additionalProperties") != Some(&Value::Bool(true)) {
                faults.push(format!("{at}: {name} is required and not described"));
            }
        }
        for (name, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            look(property, &format!("{at}/{name}"), faults);
        }
        for word in ["items", "additionalProperties"] {
            if let Some(inner) = object.get(word) {
                look(inner, &format!("{at}/{word}"), faults);
            }
        }
        for inner in combined.iter().filter_map(|list| list.as_array()).flatten() {
            look(inner, &format!("{at}/…"), faults);
        }
    }
    fn bodies(content: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(content) = content.as_object().filter(|content| !content.is_empty()) else {
            return faults.push(format!("{at}: no media type"));
        };
        for (media, body) in content {
            look(&body["schema"], &format!("{at} {media}"), faults);
        }
    }
    let document = openapi_document();
    let mut faults = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        look(schema, name, &mut faults);
    }
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].clone()).collect();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            look(&parameter["schema"], &format!("{at} {}", parameter["name"]), &mut faults);
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if !matches!(status.as_str(), "204" | "303") {
                bodies(&response["content"], &format!("{at} {status}"), &mut faults);
            }
        }
        if let Some(body) = operation.get("requestBody") {
            bodies(&body["content"], &at, &mut faults);
            if body["content"].as_object().unwrap().values().all(|body| body.get("example").is_none()) {
                faults.push(format!("{at}: no example of a body"));
            }
        }
        match operation["tags"].as_array().map(Vec::as_slice) {
            Some([tag]) if tags.contains(tag) => {}
            other => faults.push(format!("{at}: the tags {other:?}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn both_are_served_and_load_nothing() {
    let edge = edge();
    let served = edge.get("/openapi.json", "").await;
    assert_eq!((served.status.as_u16(), served.json()), (200, openapi_document()));
    let page = edge.get("/docs", "").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let html = String::from_utf8(page.body).unwrap();
    for (method, path, _) in operations(&openapi_document()) {
        let shown = format!("<span class=m>{}</span> <code>{path}</code>", method.to_uppercase());
        assert!(html.contains(&shown), "{method} {path}");
    }
    // Every problem's `type` has its place on the page.
    for slug in ["invalid-token", "invalid", "log-full", "not-found", "too-many-items"] {
        assert!(html.contains(&format!("id=\"{slug}\"")), "{slug}");
    }
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
}
