//! The OpenAPI 3.1 document. A route cannot be added without its description ([`Api::route`]), so that the document
//! and the router cannot disagree on what there is. The shapes of bodies are in `schemas.json`.

use crate::error::Kind;
use crate::scope::Role;
use crate::state::ApiState;
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{MethodRouter, get};
use serde_json::{Map, Value, json};

/// The groups of operations.
pub(crate) const TAGS: &[(&str, &str)] = &[
    ("events", "What is sent: evaluations and behaviour"),
    ("students", "What is shown of students: profiles, grades, explanations, cohorts"),
    ("rules", "Grading rules and periods"),
    ("analytics", "The past, in SQL"),
    ("operations", "Lag, dead letters, sources"),
    ("service", "The process and this interface"),
];

/// Routes and their descriptions, together.
#[derive(Default)]
pub(crate) struct Api {
    pub(crate) router: Router<ApiState>,
    /// Method in lower case, and path.
    pub(crate) routes: Vec<(&'static str, &'static str)>,
    paths: Map<String, Value>,
}

/// What an operation does, takes and answers.
pub(crate) struct Operation {
    object: Map<String, Value>,
    parameters: Vec<Value>,
    responses: Map<String, Value>,
}

/// One answer of an operation.
pub(crate) struct Answer(Value);

pub(crate) fn routes(api: Api) -> Api {
    let document = operation("This interface as an OpenAPI 3.1 document", &[])
        .answer("200", answer("The document").schema("Document"))
        .tag("service");
    let docs = operation("This interface as a page to read", &[])
        .answer("200", answer("The page").text(&["text/html"]))
        .tag("service");
    let root = operation("To the page", &[]).answer("303", answer("It is at `/docs`")).tag("service");
    let api = api.route("get", "/", get(|| async { Redirect::to("/docs") }), root);
    api.route("get", "/openapi.json", get(document_json), document).route("get", "/docs", get(docs_page), docs)
}

async fn document_json(State(state): State<ApiState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], state.document.clone())
}

async fn docs_page(State(state): State<ApiState>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    (headers, state.docs_page.clone())
}

/// An operation that callers of these roles may use; none: everybody, without a token.
pub(crate) fn operation(summary: &str, roles: &[Role]) -> Operation {
    let mut object = Map::new();
    object.insert("summary".to_owned(), json!(summary));
    let mut responses = Map::new();
    if roles.is_empty() {
        object.insert("security".to_owned(), json!([]));
    } else {
        object.insert("x-roles".to_owned(), json!(roles));
        responses.insert("401".to_owned(), problem(&[Kind::MissingToken, Kind::InvalidToken]));
        responses.insert("403".to_owned(), problem(&[Kind::Forbidden]));
    }
    responses.insert("503".to_owned(), problem(&[Kind::Overloaded, Kind::Timeout]));
    Operation { object, parameters: Vec::new(), responses }
}

/// An answer.
pub(crate) fn answer(description: &str) -> Answer {
    Answer(json!({ "description": description }))
}

impl Answer {
    /// With a JSON body of a shape in `schemas.json`.
    pub(crate) fn schema(mut self, name: &str) -> Self {
        self.0["content"]["application/json"] = json!({ "schema": reference(name) });
        self
    }

    /// As a text of these media types.
    pub(crate) fn text(mut self, media: &[&str]) -> Self {
        for media in media {
            self.0["content"][media] = json!({ "schema": { "type": "string" } });
        }
        self
    }
}

impl Operation {
    /// More words.
    pub(crate) fn describe(mut self, description: &str) -> Self {
        self.object.insert("description".to_owned(), json!(description));
        self
    }

    /// The group that it belongs to: one of [`TAGS`].
    pub(crate) fn tag(mut self, tag: &str) -> Self {
        self.object.insert("tags".to_owned(), json!([tag]));
        self
    }

    /// Something that may go wrong besides what goes wrong with every call.
    pub(crate) fn problem(mut self, status: &str, kinds: &[Kind]) -> Self {
        self.responses.insert(status.to_owned(), problem(kinds));
        self
    }

    /// A body as somebody might send it.
    pub(crate) fn example(mut self, example: Value) -> Self {
        if let Some(Value::Object(content)) =
            self.object.get_mut("requestBody").and_then(|body| body.get_mut("content"))
        {
            for (media, content) in content {
                // Of JSON lines the array's items would be the lines: shown once is enough.
                if media == "application/json" {
                    content["example"] = example.clone();
                }
            }
        }
        self
    }

    /// A part of the path.
    pub(crate) fn path_parameter(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" },
        }));
        self.responses.insert("404".to_owned(), problem(&[Kind::NotFound]));
        self
    }

    /// A parameter of the query.
    pub(crate) fn query(mut self, name: &str, kind: &str, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "query", "required": false, "description": description, "schema": { "type": kind },
        }));
        self.responses.insert("400".to_owned(), problem(&[Kind::BadRequest]));
        self
    }

    /// A JSON body.
    pub(crate) fn body(self, schema: &str) -> Self {
        self.any_body(&reference(schema), &["application/json"])
    }

    /// A text, or a JSON body with it.
    pub(crate) fn body_text(mut self, schema: &str, example: &str) -> Self {
        self = self.any_body(&reference(schema), &["application/json"]);
        self.object["requestBody"]["content"]["application/json"]["example"] = json!({ "query": example });
        self.object["requestBody"]["content"]["text/plain"] =
            json!({ "schema": { "type": "string" }, "example": example });
        for (status, kinds) in [
            ("422", &[Kind::SqlRefused, Kind::SqlFailed, Kind::SqlLimit, Kind::Invalid][..]),
            ("503", &[Kind::AnalyticsOff, Kind::AnalyticsUnavailable, Kind::Overloaded, Kind::Timeout]),
        ] {
            self.responses.insert(status.to_owned(), problem(kinds));
        }
        self
    }

    /// An array, or JSON lines.
    pub(crate) fn body_array(self, item: &str) -> Self {
        let array = json!({ "type": "array", "maxItems": crate::batch::ITEMS_MAX, "items": reference(item) });
        self.any_body(&array, &["application/json", "application/x-ndjson"])
    }

    fn any_body(mut self, schema: &Value, media: &[&str]) -> Self {
        self.object.insert("requestBody".to_owned(), json!({ "required": true, "content": content(schema, media) }));
        for (status, kinds) in [
            ("400", &[Kind::BrokenJson, Kind::BadRequest][..]),
            ("413", &[Kind::BodyTooLarge, Kind::TooManyItems]),
            ("415", &[Kind::UnsupportedMediaType]),
            ("422", &[Kind::Invalid]),
            ("503", &[Kind::LogFull, Kind::LogUnavailable, Kind::Overloaded, Kind::Timeout]),
        ] {
            self.responses.insert(status.to_owned(), problem(kinds));
        }
        self
    }

    /// What it answers when all is well.
    pub(crate) fn answer(mut self, status: &str, answer: Answer) -> Self {
        self.responses.insert(status.to_owned(), answer.0);
        self
    }

    fn build(mut self, method: &str, path: &str) -> Value {
        let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty() && *word != "v1");
        let id = std::iter::once(method).chain(words).collect::<Vec<_>>().join("_");
        self.object.insert("operationId".to_owned(), json!(id));
        if !self.parameters.is_empty() {
            self.object.insert("parameters".to_owned(), Value::Array(self.parameters));
        }
        self.object.insert("responses".to_owned(), Value::Object(self.responses));
        Value::Object(self.object)
    }
}

/// What stands before the action at the end of a path, such as `:preview`; `None` where the path has no such end. `last` is
/// the path's last part, decoded: a colon that is encoded belongs to a name and not to the route.
pub(crate) fn before_action<'a>(uri: &Uri, last: &'a str, action: &str) -> Option<&'a str> {
    if uri.path().ends_with(action) { last.strip_suffix(action) } else { None }
}

impl Api {
    /// Adds a route with its description. `handler` answers `method`, and that only.
    pub(crate) fn route(
        self,
        method: &'static str,
        path: &'static str,
        handler: MethodRouter<ApiState>,
        operation: Operation,
    ) -> Self {
        self.action(method, path, path, handler, operation)
    }

    /// Adds a route whose path ends in `{parameter}:action`, which the router cannot match: it is matched as `routed`,
    /// and the handler looks at the parameter's end.
    pub(crate) fn action(
        mut self,
        method: &'static str,
        path: &'static str,
        routed: &'static str,
        handler: MethodRouter<ApiState>,
        operation: Operation,
    ) -> Self {
        self.router = self.router.route(routed, handler);
        self.routes.push((method, routed));
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation.build(method, path);
        self
    }

    /// The document.
    pub(crate) fn document(self) -> Value {
        // A part of the program; a test reads it.
        let schemas: Value = serde_json::from_str(include_str!("schemas.json")).unwrap_or_default();
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Aulaflow",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Students' grades and behaviour features, kept correct from a stream of events. Errors are \
                    RFC 9457 problems; every answer has `X-Request-Id`; an answered write is durable.",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/" }],
            "security": [{ "bearer": [] }],
            "tags": TAGS.iter().map(|(name, description)| json!({ "name": name, "description": description })).collect::<Vec<_>>(),
            "paths": self.paths,
            "components": {
                "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
                "schemas": schemas,
            },
        })
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn content(schema: &Value, media: &[&str]) -> Value {
    media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

fn problem(kinds: &[Kind]) -> Value {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.about().title).collect();
    json!({
        "description": titles.join(" · "),
        "content": content(&reference("Problem"), &["application/problem+json"]),
    })
}
