//! A profile as JSON. Rendered once per change with room for the parts that move with the clock; a read
//! copies the bytes and writes those parts into the copy.

use crate::profile::{GradeEntry, Profile};
use crate::stamp::{STAMP_BYTES, Stamp, stamp};
use aulaflow_model::change::{FeatureValue, ViewIndex, ViewSchema};
use aulaflow_model::decimal::write_micros;
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::window::{WindowKind, WindowSpec};
use serde::Serialize;
use std::io::Write;

/// A profile's JSON without the values that move with the clock.
pub(crate) struct Rendered {
    bytes: Box<[u8]>,
    as_of_at: u32,
    windows: Box<[WindowPatch]>,
}

/// Where a feature's window bounds go.
struct WindowPatch {
    view: ViewIndex,
    start_at: u32,
    end_at: u32,
}

/// What every profile says the same way about a view: made once, at start.
pub(crate) struct ViewText {
    spec: WindowSpec,
    /// `"participation_7d":{`
    open: Vec<u8>,
    /// `"participations":`, per output.
    outputs: Vec<Vec<u8>>,
    /// `"window":{"kind":"hop","slide_s":3600,"size_s":604800,"start":"`
    window: Vec<u8>,
}

/// Room for an instant.
const BLANK: &[u8; STAMP_BYTES] = b"0000-00-00T00:00:00.000Z";

impl ViewText {
    pub(crate) fn new(schema: &ViewSchema) -> Self {
        let key = |name: &str| {
            let mut text = Vec::new();
            string(&mut text, name);
            text.push(b':');
            text
        };
        let mut open = key(&schema.name);
        open.push(b'{');
        let kind = match schema.window.kind {
            WindowKind::Hop => "hop",
            WindowKind::Tumble => "tumble",
            WindowKind::Session => "session",
            WindowKind::Present => "present",
        };
        let (slide, size) = (seconds(schema.window.slide_ms), seconds(schema.window.size_ms));
        let window = format!(r#""window":{{"kind":"{kind}","slide_s":{slide},"size_s":{size},"start":""#).into_bytes();
        let spec = schema.window.clone();
        Self { spec, open, outputs: schema.outputs.iter().map(|name| key(name)).collect(), window }
    }
}

impl Rendered {
    /// Renders a profile. Features of views that `views` does not have are left out; the write half refuses them.
    pub(crate) fn new(tenant: &TenantId, student: &StudentId, profile: &Profile, views: &[ViewText]) -> Self {
        let mut out = Vec::with_capacity(512 + 320 * profile.grades.len() + 320 * profile.features.len());
        out.extend_from_slice(b"{\"tenant_id\":");
        string(&mut out, tenant.as_str());
        out.extend_from_slice(b",\"student_id\":");
        string(&mut out, student.as_str());
        out.extend_from_slice(b",\"as_of\":\"");
        let as_of_at = blank(&mut out);
        out.extend_from_slice(b"\",\"grades\":[");
        for (i, entry) in profile.grades.iter().enumerate() {
            comma(&mut out, i);
            write_grade(&mut out, entry);
        }
        out.extend_from_slice(b"],\"features\":{");
        let mut windows = Vec::with_capacity(profile.features.len());
        for entry in profile.features.iter() {
            let Some(text) = views.get(usize::from(entry.view)) else {
                continue;
            };
            comma(&mut out, windows.len());
            out.extend_from_slice(&text.open);
            for (name, value) in text.outputs.iter().zip(entry.row.values.iter()) {
                out.extend_from_slice(name);
                write_value(&mut out, value);
                out.push(b',');
            }
            out.extend_from_slice(&text.window);
            let start_at = blank(&mut out);
            out.extend_from_slice(b"\",\"end\":\"");
            let end_at = blank(&mut out);
            out.extend_from_slice(b"\"},\"updated_at\":\"");
            out.extend_from_slice(&stamp(entry.row.updated_at));
            out.extend_from_slice(b"\"}");
            windows.push(WindowPatch { view: entry.view, start_at, end_at });
        }
        out.extend_from_slice(b"}}");
        Self { bytes: out.into(), as_of_at, windows: windows.into() }
    }

    /// Appends the profile as of an instant.
    pub(crate) fn write(&self, out: &mut Vec<u8>, as_of: Millis, views: &[ViewText]) {
        let base = out.len();
        out.extend_from_slice(&self.bytes);
        let copy = &mut out[base..];
        patch(copy, self.as_of_at, &stamp(as_of));
        // Views mostly share a window: its bounds are worked out once for all that follow each other.
        let mut last: Option<(&WindowSpec, Stamp, Stamp)> = None;
        for window in &self.windows {
            let Some(text) = views.get(usize::from(window.view)) else { continue };
            let (start, end) = match last {
                Some((spec, start, end)) if *spec == text.spec => (start, end),
                Some(_) | None => {
                    let (start, end) = text.spec.bounds(as_of);
                    (stamp(start), stamp(end))
                }
            };
            last = Some((&text.spec, start, end));
            patch(copy, window.start_at, &start);
            patch(copy, window.end_at, &end);
        }
    }
}

fn write_grade(out: &mut Vec<u8>, entry: &GradeEntry) {
    let (row, grade) = (&entry.row, &entry.row.grade);
    out.extend_from_slice(b"{\"subject\":");
    string(out, entry.subject.as_str());
    out.extend_from_slice(b",\"period\":");
    string(out, entry.period.as_str());
    out.extend_from_slice(b",\"score\":");
    optional(out, grade.score.as_deref());
    text(out, format_args!(",\"passing\":{},\"complete\":{}", grade.passing, grade.complete));
    text(out, format_args!(",\"evaluations_count\":{},\"by_category\":{{", grade.evaluations_count));
    for (i, (category, result)) in grade.by_category.iter().enumerate() {
        comma(out, i);
        string(out, category.as_str());
        out.extend_from_slice(b":{\"value\":");
        optional(out, result.value.as_deref());
        out.extend_from_slice(b",\"weight\":");
        string(out, &result.weight);
        text(out, format_args!(",\"counted\":{},\"dropped\":{}}}", result.counted, result.dropped));
    }
    out.extend_from_slice(b"},\"rule_version\":");
    string(out, &grade.rule_version);
    text(out, format_args!(",\"version\":{},\"updated_at\":\"", row.version));
    out.extend_from_slice(&stamp(row.updated_at));
    out.extend_from_slice(b"\"}");
}

fn write_value(out: &mut Vec<u8>, value: &FeatureValue) {
    match value {
        FeatureValue::Null => out.extend_from_slice(b"null"),
        FeatureValue::Int(n) => text(out, format_args!("{n}")),
        FeatureValue::Micros(micros) => {
            let mut digits = String::new();
            // Writing to a String cannot fail.
            let _ = write_micros(&mut digits, *micros);
            out.push(b'"');
            out.extend_from_slice(digits.as_bytes());
            out.push(b'"');
        }
        FeatureValue::Bool(b) => text(out, format_args!("{b}")),
        FeatureValue::Text(s) => string(out, s),
    }
}

/// Whole seconds as an integer, others with their milliseconds.
fn seconds(ms: i64) -> String {
    if ms % 1000 == 0 {
        (ms / 1000).to_string()
    } else {
        format!("{}.{:03}", ms / 1000, ms % 1000).trim_end_matches('0').to_owned()
    }
}

/// A JSON string, escaped.
fn string(out: &mut Vec<u8>, s: &str) {
    // Writing to a Vec cannot fail, and a str always serialises.
    let _ = s.serialize(&mut serde_json::Serializer::new(out));
}

fn optional(out: &mut Vec<u8>, s: Option<&str>) {
    match s {
        Some(s) => string(out, s),
        None => out.extend_from_slice(b"null"),
    }
}

fn text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

/// Leaves room for an instant and says where.
fn blank(out: &mut Vec<u8>) -> u32 {
    let at = out.len();
    out.extend_from_slice(BLANK);
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn patch(copy: &mut [u8], at: u32, instant: &Stamp) {
    let at = at as usize;
    if let Some(room) = copy.get_mut(at..at + STAMP_BYTES) {
        room.copy_from_slice(instant);
    }
}
