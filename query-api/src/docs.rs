//! The page at `/docs`: the OpenAPI document for people. Made once, of nothing but itself: no script, nothing loaded.

use crate::error::Kind;
use serde_json::{Map, Value};
use std::fmt::Write;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}h3{margin-bottom:.2rem}code,pre{font:14px/1.45 ui-monospace,monospace;\
background:#f3f5f7;border-radius:4px}code{padding:.1em .3em}pre{padding:.8rem;overflow:auto}.m{color:#0550ae;font-weight:600}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px \
solid #e4e8ec}@media(prefers-color-scheme:dark){body{background:#0f1317;color:#dbe1e8}code,pre{background:#1b2128}.m{color:\
#79b8ff}td,th,h2{border-color:#2c343d}a{color:#79b8ff}}";

/// The page of a document.
pub(crate) fn page(document: &Value) -> Vec<u8> {
    let mut out = String::with_capacity(32 << 10);
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, document);
    out.into_bytes()
}

fn write_page(out: &mut String, document: &Value) -> std::fmt::Result {
    let info = &document["info"];
    write!(out, "<!doctype html><html lang=en><meta charset=utf-8><title>{} API</title>", text(&info["title"]))?;
    write!(out, "<meta name=viewport content=\"width=device-width\"><style>{STYLE}</style>")?;
    write!(out, "<h1>{} API</h1><p>{}</p>", text(&info["title"]), prose(&info["description"]))?;
    write!(out, "<p>As a document: <a href=\"/openapi.json\">/openapi.json</a>.</p><h2>Calls</h2>")?;
    for (path, method, operation) in operations(document) {
        write_operation(out, path, method, operation)?;
    }
    write!(out, "<h2>Shapes</h2>")?;
    for (name, schema) in members(&document["components"]["schemas"]) {
        let json = serde_json::to_string_pretty(schema).unwrap_or_default();
        write!(out, "<h3 id=\"schema-{0}\">{0}</h3><pre>{1}</pre>", escape(name), escape(&json))?;
    }
    write!(out, "<h2>Problems</h2><table><tr><th>Problem<th>Status<th>What to do</tr>")?;
    for kind in Kind::ALL {
        let about = kind.about();
        write!(out, "<tr id=\"{0}\"><td><code>{0}</code><br>{1}", about.slug, escape(about.title))?;
        write!(out, "<td>{}<td>{}</tr>", about.status.as_u16(), code(about.advice))?;
    }
    write!(out, "</table></html>")
}

fn write_operation(out: &mut String, path: &str, method: &str, operation: &Value) -> std::fmt::Result {
    write!(out, "<h3 id=\"{}\"><span class=m>{}</span> ", text(&operation["operationId"]), method.to_uppercase())?;
    write!(out, "<code>{}</code></h3><p><b>{}</b>", escape(path), text(&operation["summary"]))?;
    match operation["x-roles"].as_array() {
        Some(roles) => {
            let names: Vec<_> = roles.iter().filter_map(Value::as_str).collect();
            write!(out, " — {}", escape(&names.join(", ")))?;
        }
        None => write!(out, " — no token needed")?,
    }
    write!(out, "</p><p>{}</p><table>", prose(&operation["description"]))?;
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        write!(out, "<tr><td>{} <code>{}</code>", text(&parameter["in"]), text(&parameter["name"]))?;
        write!(out, "<td>{}</tr>", prose(&parameter["description"]))?;
    }
    for (media, content) in members(&operation["requestBody"]["content"]) {
        write!(out, "<tr><td>body<td><code>{}</code> {}</tr>", escape(media), shape(&content["schema"]))?;
    }
    for (status, response) in members(&operation["responses"]) {
        let schema = members(&response["content"]).map(|(_, content)| shape(&content["schema"])).next();
        write!(out, "<tr><td>{}", escape(status))?;
        write!(out, "<td>{} {}</tr>", prose(&response["description"]), schema.unwrap_or_default())?;
    }
    write!(out, "</table>")
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    members(&document["paths"])
        .flat_map(|(path, item)| members(item).map(move |(method, operation)| (path, method, operation)))
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(key, value)| (key.as_str(), value))
}

/// A link to a schema, or to the schema of an array's items.
fn shape(schema: &Value) -> String {
    let reference = |schema: &Value| {
        let name = schema["$ref"].as_str()?.rsplit('/').next()?.to_owned();
        Some(format!("<a href=\"#schema-{0}\">{0}</a>", escape(&name)))
    };
    match reference(schema) {
        Some(link) => link,
        None => reference(&schema["items"]).map(|link| format!("array of {link}")).unwrap_or_default(),
    }
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn prose(value: &Value) -> String {
    code(value.as_str().unwrap_or_default())
}

/// Escaped, with what stands between backticks as code.
fn code(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            out.push_str("<code>");
            out.push_str(&escape(part));
            out.push_str("</code>");
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
