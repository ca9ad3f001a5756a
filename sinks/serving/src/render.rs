//! A profile as JSON. Rendered once per change with room for the parts that move with the clock; a read
//! copies the bytes, puts in what changes more often than the profile (cohorts, and rows of views over it), and writes
//! the instants into the copy.

use crate::cohorts::Kept;
use crate::profile::{FeatureEntry, GradeEntry, Profile};
use crate::stamp::{STAMP_BYTES, Stamp, stamp};
use crate::view::{Bounds, ViewText, Views};
use aulaflow_model::change::{FeatureValue, ViewIndex};
use aulaflow_model::cohort::score_micros;
use aulaflow_model::decimal::write_micros;
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;

/// A profile's JSON without the values that move with the clock, and without cohorts and derived rows.
pub(crate) struct Rendered {
    bytes: Box<[u8]>,
    as_of_at: u32,
    /// Per grade, in order.
    cohorts: Box<[CohortPlace]>,
    /// All after the last cohort's place.
    windows: Box<[WindowPatch]>,
}

/// Where a grade's cohort goes, and the score (in millionths) that its percentile is for.
struct CohortPlace {
    at: u32,
    score: Option<i128>,
}

/// Where the bounds of a feature's window go: its place among the different windows.
struct WindowPatch {
    window: usize,
    start_at: u32,
    end_at: u32,
}

/// What a read adds to the rendered profile.
pub(crate) struct Fresh<'a> {
    pub(crate) as_of: Millis,
    /// Per grade, in order.
    pub(crate) cohorts: &'a [Option<Arc<Kept>>],
    /// Rows of views over the profile.
    pub(crate) derived: &'a [(ViewIndex, Arc<[FeatureValue]>)],
}

/// Room for an instant.
const BLANK: &[u8; STAMP_BYTES] = b"0000-00-00T00:00:00.000Z";
/// The ends of `features` and of the profile: derived rows go before them.
const END: &[u8] = b"}}";
/// Room for a cohort and for a derived row, roughly.
const COHORT_BYTES: usize = 120;
const DERIVED_BYTES: usize = 160;

impl Rendered {
    /// Renders a profile. Features of views that `views` does not have are left out; the write half refuses them.
    pub(crate) fn new(tenant: &TenantId, student: &StudentId, profile: &Profile, views: &Views) -> Self {
        let mut out = Vec::with_capacity(512 + 320 * profile.grades.len() + 320 * profile.features.len());
        out.extend_from_slice(b"{\"tenant_id\":");
        string(&mut out, tenant.as_str());
        out.extend_from_slice(b",\"student_id\":");
        string(&mut out, student.as_str());
        out.extend_from_slice(b",\"as_of\":\"");
        let as_of_at = blank(&mut out);
        out.extend_from_slice(b"\",\"grades\":[");
        let mut cohorts = Vec::with_capacity(profile.grades.len());
        for (i, entry) in profile.grades.iter().enumerate() {
            comma(&mut out, i);
            write_grade(&mut out, entry);
            let score = entry.row.grade.score.as_deref().and_then(score_micros);
            cohorts.push(CohortPlace { at: place(&out), score });
            out.push(b'}');
        }
        out.push(b']');
        if !profile.past.is_empty() {
            out.extend_from_slice(b",\"past_periods\":[");
            for (i, past) in profile.past.iter().enumerate() {
                comma(&mut out, i);
                string(&mut out, past.period.as_str());
            }
            out.push(b']');
        }
        out.extend_from_slice(b",\"features\":{");
        let mut windows = Vec::with_capacity(profile.features.len());
        let texts = profile.features.iter().filter_map(|entry| Some((entry, views.text(entry.view)?)));
        for (i, (entry, text)) in texts.enumerate() {
            comma(&mut out, i);
            windows.extend(write_feature(&mut out, entry, text));
        }
        out.extend_from_slice(END);
        Self { bytes: out.into(), as_of_at, cohorts: cohorts.into(), windows: windows.into() }
    }

    /// Appends the profile as of an instant.
    pub(crate) fn write(&self, out: &mut Vec<u8>, fresh: &Fresh<'_>, views: &Views) {
        let base = out.len();
        let room = COHORT_BYTES * self.cohorts.len() + DERIVED_BYTES * fresh.derived.len();
        out.reserve(self.bytes.len() + room);
        let mut copied = 0;
        for (place, cohort) in self.cohorts.iter().zip(fresh.cohorts) {
            out.extend_from_slice(&self.bytes[copied..place.at as usize]);
            copied = place.at as usize;
            out.extend_from_slice(b",\"cohort\":");
            match cohort {
                Some(kept) => kept.write(out, place.score),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(&self.bytes[copied..]);
        let copy = &mut out[base..];
        let moved = copy.len() - self.bytes.len();
        let as_of = stamp(fresh.as_of);
        patch(copy, self.as_of_at as usize, &as_of);
        // Views mostly share a window: its bounds are written out once for all that follow each other.
        let mut last: Option<(usize, Stamp, Stamp)> = None;
        for at in &self.windows {
            let known = last.filter(|(window, ..)| *window == at.window);
            let bounds = || views.bounds(at.window, fresh.as_of).map(|(s, e)| (at.window, stamp(s), stamp(e)));
            let Some((window, start, end)) = known.or_else(bounds) else { continue };
            last = Some((window, start, end));
            patch(copy, at.start_at as usize + moved, &start);
            patch(copy, at.end_at as usize + moved, &end);
        }
        if !fresh.derived.is_empty() {
            out.truncate(out.len() - END.len());
            write_derived(out, fresh.derived, &as_of, views);
            out.extend_from_slice(END);
        }
    }
}

/// A stored feature; where its window's bounds go, if they follow from the clock.
fn write_feature(out: &mut Vec<u8>, entry: &FeatureEntry, text: &ViewText) -> Option<WindowPatch> {
    write_outputs(out, text, &entry.row.values);
    let mut patch = None;
    match (text.bounds, entry.row.session) {
        (Bounds::Clock(window), _) => {
            out.extend_from_slice(b",\"start\":\"");
            let start_at = blank(out);
            out.extend_from_slice(b"\",\"end\":\"");
            let end_at = blank(out);
            out.push(b'"');
            patch = Some(WindowPatch { window, start_at, end_at });
        }
        (Bounds::Row, Some((start, end))) => {
            out.extend_from_slice(b",\"start\":\"");
            out.extend_from_slice(&stamp(start));
            out.extend_from_slice(b"\",\"end\":\"");
            out.extend_from_slice(&stamp(end));
            out.push(b'"');
        }
        // The write half refuses a session without bounds and a stored row of a view without a window.
        (Bounds::Row, None) | (Bounds::None, _) => {}
    }
    close_row(out, &stamp(entry.row.updated_at));
    patch
}

/// Rows of views over the profile: as fresh as the profile is.
fn write_derived(out: &mut Vec<u8>, rows: &[(ViewIndex, Arc<[FeatureValue]>)], as_of: &Stamp, views: &Views) {
    for (view, values) in rows {
        let Some(text) = views.text(*view) else { continue };
        // `features` is not empty once it does not end in its opening brace.
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        write_outputs(out, text, values);
        close_row(out, as_of);
    }
}

/// A row from its name to the window's description, which is left open.
fn write_outputs(out: &mut Vec<u8>, text: &ViewText, values: &[FeatureValue]) {
    out.extend_from_slice(&text.open);
    for (name, value) in text.outputs.iter().zip(values) {
        out.extend_from_slice(name);
        write_value(out, value);
        out.push(b',');
    }
    out.extend_from_slice(&text.window);
}

fn close_row(out: &mut Vec<u8>, updated_at: &Stamp) {
    out.extend_from_slice(b"},\"updated_at\":\"");
    out.extend_from_slice(updated_at);
    out.extend_from_slice(b"\"}");
}

/// A grade up to where its cohort goes.
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
    out.push(b'"');
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

/// A JSON string, escaped.
pub(crate) fn string(out: &mut Vec<u8>, s: &str) {
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

fn place(out: &[u8]) -> u32 {
    u32::try_from(out.len()).unwrap_or(u32::MAX)
}

/// Leaves room for an instant and says where.
fn blank(out: &mut Vec<u8>) -> u32 {
    let at = place(out);
    out.extend_from_slice(BLANK);
    at
}

fn patch(copy: &mut [u8], at: usize, instant: &Stamp) {
    if let Some(room) = copy.get_mut(at..at + STAMP_BYTES) {
        room.copy_from_slice(instant);
    }
}
