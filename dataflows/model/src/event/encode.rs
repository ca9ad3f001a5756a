//! Events as the log keeps them: JSON with `tenant_id`. What is written here, the decoders read back as it was.

use super::{Behavior, Evaluation, ServiceEvent};
use crate::grade::Status;
use crate::ids::{EvaluationId, TenantId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object that is being written.
struct Object(Vec<u8>);

impl Object {
    /// Opens an object with its tenant.
    fn new(tenant: &TenantId, capacity: usize) -> Self {
        let mut object = Self(Vec::with_capacity(capacity));
        object.0.push(b'{');
        object.member("tenant_id", tenant);
        object
    }

    /// A member; strings are escaped.
    fn member(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        // Neither texts nor a vector can fail to be written.
        let _ = serde_json::to_writer(&mut self.0, &value);
    }

    /// A member whose value is shown: its text needs no escape.
    fn shown(&mut self, name: &str, value: impl std::fmt::Display) {
        self.member(name, compact_str::format_compact!("{value}"));
    }

    fn name(&mut self, name: &str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
    }

    /// An object of members that come as they are, and others that join them.
    fn merged(&mut self, name: &str, object: Option<&RawValue>, extra: &[(Cow<'_, str>, &RawValue)]) {
        if object.is_none() && extra.is_empty() {
            return;
        }
        self.name(name);
        merge(object, extra, &mut self.0);
    }

    fn close(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// Writes an object with further members.
fn merge(object: Option<&RawValue>, extra: &[(Cow<'_, str>, &RawValue)], out: &mut Vec<u8>) {
    let body = object.map_or("{}", RawValue::get).strip_suffix('}').unwrap_or("{").trim_ascii_end();
    out.extend_from_slice(body.as_bytes());
    let mut first = body == "{";
    for (key, value) in extra {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let _ = serde_json::to_writer(&mut *out, key);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
}

/// An object with its further members: borrowed where there are none.
fn with_extra<'a>(object: Option<&'a RawValue>, extra: &[(Cow<'a, str>, &'a RawValue)]) -> Option<Cow<'a, str>> {
    if extra.is_empty() {
        return object.map(|object| Cow::Borrowed(object.get()));
    }
    let mut out = Vec::new();
    merge(object, extra, &mut out);
    String::from_utf8(out).ok().map(Cow::Owned)
}

impl Evaluation {
    /// The record on `aula.evaluations.v1`.
    pub fn to_log_json(&self, tenant: &TenantId) -> Vec<u8> {
        let mut object = Object::new(tenant, 320);
        object.member("evaluation_id", self.evaluation_id.as_str());
        object.member("student_id", self.student_id.as_str());
        object.member("subject", self.subject.as_str());
        object.member("type", self.category.as_str());
        object.shown("score", self.score);
        object.shown("max_score", self.max_score);
        object.shown("weight", self.weight);
        object.shown("graded_at", self.graded_at);
        if let Some(updated_at) = &self.updated_at {
            object.shown("updated_at", updated_at);
        }
        if let Some(teacher_id) = &self.teacher_id {
            object.member("teacher_id", teacher_id.as_str());
        }
        if let Some(period) = &self.period {
            object.member("period", period.as_str());
        }
        object.member("status", status_name(self.status));
        object.close()
    }

    /// Its key on `aula.evaluations.v1`.
    pub fn log_key(&self, tenant: &TenantId) -> String {
        tombstone_key(tenant, &self.evaluation_id)
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Graded => "graded",
        Status::Excused => "excused",
        Status::Missing => "missing",
    }
}

/// The key of an evaluation on `aula.evaluations.v1`: a null value at it deletes the evaluation.
pub fn tombstone_key(tenant: &TenantId, evaluation: &EvaluationId) -> String {
    format!("{tenant}/{evaluation}")
}

impl<'a> Behavior<'a> {
    /// The record on `aula.behavior.v1`, with unknown fields as members of the context.
    pub fn to_log_json(&self, tenant: &TenantId) -> Vec<u8> {
        let mut object = Object::new(tenant, 256);
        object.member("event_id", &self.event_id);
        object.member("student_id", &self.student_id);
        object.member("event_type", &self.event_type);
        object.shown("value", self.value);
        object.shown("occurred_at", self.occurred_at);
        object.merged("context", self.context, &self.extra);
        object.close()
    }

    /// The JSON text of the context with the unknown fields as further members; `None` where there is neither.
    pub fn context_json(&self) -> Option<Cow<'a, str>> {
        with_extra(self.context, &self.extra)
    }
}

impl<'a> ServiceEvent<'a> {
    /// The record on `aula.events.v1`, with unknown fields as members of the metadata.
    pub fn to_log_json(&self, tenant: &TenantId) -> Vec<u8> {
        let mut object = Object::new(tenant, 256);
        object.shown("timestamp", self.timestamp);
        object.member("service", &self.service);
        object.member("message", &self.message);
        object.merged("metadata", self.metadata, &self.extra);
        object.close()
    }

    /// The JSON text of the metadata with the unknown fields as further members; `None` where there is neither.
    pub fn metadata_json(&self) -> Option<Cow<'a, str>> {
        with_extra(self.metadata, &self.extra)
    }
}

/// Appends the JSON text of a valid object with its tenant as the first member: what the edge accepted, byte for byte.
pub fn splice_tenant(json: &[u8], tenant: &TenantId, out: &mut Vec<u8>) {
    let body = json.trim_ascii_start().strip_prefix(b"{").unwrap_or(json).trim_ascii_start();
    out.reserve(body.len() + tenant.as_str().len() + 18);
    // A tenant's name holds nothing that JSON escapes.
    out.extend_from_slice(b"{\"tenant_id\":\"");
    out.extend_from_slice(tenant.as_str().as_bytes());
    out.extend_from_slice(if body.first() == Some(&b'}') { b"\"" } else { b"\"," });
    out.extend_from_slice(body);
}
