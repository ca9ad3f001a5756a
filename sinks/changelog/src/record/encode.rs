//! Profiles as bytes. There are very many of them: what is the same in each is text that was made once.

use super::value::{self, UPDATED_AT, WINDOW};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow, ViewSchema};
use aulaflow_model::decimal::write_micros;
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_serving::ProfileRead;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Writes values of profiles.
pub struct ProfileEncoder {
    /// By view.
    views: Vec<ViewText>,
    out: Out,
}

/// A view's object in a profile.
struct ViewText {
    /// Its place among the names of all views.
    rank: usize,
    /// The name and a colon.
    name: String,
    /// The outputs' names as JSON.
    outputs: Vec<String>,
    /// The object, for a row without bounds and for one with.
    unbounded: Vec<Piece>,
    bounded: Vec<Piece>,
}

/// A piece of an object.
enum Piece {
    Text(String),
    /// An output's value.
    Output(usize),
    UpdatedAt,
    Start,
    End,
}

#[derive(Serialize)]
struct GradeText<'a> {
    subject: &'a Subject,
    period: &'a PeriodId,
    #[serde(flatten)]
    grade: &'a Grade,
    version: u32,
    #[serde(with = "value::instant")]
    updated_at: Millis,
}

impl ProfileEncoder {
    /// For these views; a view's place is its number.
    pub fn new(schemas: &[ViewSchema]) -> Self {
        let mut names: Vec<&str> = schemas.iter().map(|schema| schema.name.as_str()).collect();
        names.sort_unstable();
        let view = |schema: &ViewSchema| ViewText {
            rank: names.partition_point(|name| *name < schema.name.as_str()),
            name: format!("{}:", json(&schema.name)),
            outputs: schema.outputs.iter().map(|output| json(output)).collect(),
            unbounded: object(schema, false),
            bounded: object(schema, true),
        };
        Self { views: schemas.iter().map(view).collect(), out: Out::default() }
    }

    /// A profile as it is read.
    pub fn encode(
        &mut self,
        (tenant, student): (&TenantId, &StudentId),
        profile: &ProfileRead<'_>,
        as_of: Option<Millis>,
    ) -> &[u8] {
        let Self { views, out } = self;
        out.0.clear();
        out.text("{\"tenant_id\":");
        out.json(tenant);
        out.text(",\"student_id\":");
        out.json(student);
        out.text(",\"as_of\":");
        out.instant(as_of.unwrap_or(profile.as_of()));
        out.text(",\"grades\":[");
        for (at, entry) in profile.grades().iter().enumerate() {
            out.text(if at == 0 { "" } else { "," });
            let GradeRow { grade, version, updated_at } = &entry.row;
            let (subject, period) = (&entry.subject, &entry.period);
            out.json(&GradeText { subject, period, grade, version: *version, updated_at: *updated_at });
        }
        let mut rows: Vec<(&ViewText, &FeatureRow)> =
            profile.rows().filter_map(|(view, row)| Some((views.get(usize::from(view))?, row))).collect();
        rows.sort_unstable_by_key(|(view, _)| view.rank);
        out.text("]");
        // Grades that are not here have not gone: they are read elsewhere.
        for (at, period) in profile.past_periods().enumerate() {
            out.text(if at == 0 { ",\"past_periods\":[" } else { "," });
            out.json(period);
        }
        out.text(if profile.past_periods().next().is_some() { "],\"features\":{" } else { ",\"features\":{" });
        for (at, (view, row)) in rows.iter().enumerate() {
            out.text(if at == 0 { "" } else { "," });
            out.text(&view.name);
            out.row(view, row);
        }
        out.text("},\"decimals\":{");
        let mut first = true;
        for (view, row) in rows {
            first &= !out.decimals(view, row, first);
        }
        out.text("}}");
        &out.0
    }
}

/// A view's object, its members in the order of their names, with the row's bounds in the window or without.
fn object(schema: &ViewSchema, bounded: bool) -> Vec<Piece> {
    let outputs = schema.outputs.iter().enumerate();
    let mut members: BTreeMap<&str, Vec<Piece>> =
        outputs.map(|(at, output)| (output.as_str(), vec![Piece::Output(at)])).collect();
    members.insert(WINDOW, window(schema, bounded));
    members.insert(UPDATED_AT, vec![Piece::UpdatedAt]);
    joined(members)
}

fn window(schema: &ViewSchema, bounded: bool) -> Vec<Piece> {
    let Value::Object(window) = value::window(&schema.window) else { return Vec::new() };
    let text = |(name, value): (&String, &Value)| (name.clone(), vec![Piece::Text(value.to_string())]);
    let mut members: BTreeMap<String, Vec<Piece>> = window.iter().map(text).collect();
    if bounded {
        members.insert("start".to_owned(), vec![Piece::Start]);
        members.insert("end".to_owned(), vec![Piece::End]);
    }
    joined(members)
}

/// Members as an object; texts that meet become one.
fn joined<K: AsRef<str>>(members: BTreeMap<K, Vec<Piece>>) -> Vec<Piece> {
    let mut text = String::from("{");
    let mut pieces = Vec::new();
    for (at, (name, value)) in members.into_iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(&json(name.as_ref()));
        text.push(':');
        for piece in value {
            match piece {
                Piece::Text(more) => text.push_str(&more),
                other @ (Piece::Output(_) | Piece::UpdatedAt | Piece::Start | Piece::End) => {
                    pieces.extend([Piece::Text(std::mem::take(&mut text)), other]);
                }
            }
        }
    }
    text.push('}');
    pieces.push(Piece::Text(text));
    pieces
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

/// Where a value is written.
#[derive(Default)]
struct Out(Vec<u8>);

impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

impl Out {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        let written = serde_json::to_writer(&mut self.0, value);
        written.unwrap_or_else(|e| panic!("plain values can always be written: {e}"));
    }

    /// No character of an instant needs an escape.
    fn instant(&mut self, at: Millis) {
        // Writing to bytes cannot fail.
        let _ = write!(self, "\"{at}\"");
    }

    fn row(&mut self, view: &ViewText, row: &FeatureRow) {
        let pieces = if row.session.is_some() { &view.bounded } else { &view.unbounded };
        for piece in pieces {
            match (piece, row.session) {
                (Piece::Text(text), _) => self.text(text),
                (Piece::Output(at), _) => self.value(row.values.get(*at).unwrap_or(&FeatureValue::Null)),
                (Piece::UpdatedAt, _) => self.instant(row.updated_at),
                (Piece::Start, Some((start, _))) => self.instant(start),
                (Piece::End, Some((_, end))) => self.instant(end),
                // Without bounds there is no place for them.
                (Piece::Start | Piece::End, None) => {}
            }
        }
    }

    fn value(&mut self, value: &FeatureValue) {
        match value {
            FeatureValue::Null => self.text("null"),
            FeatureValue::Int(number) => self.json(number),
            FeatureValue::Micros(micros) => {
                self.text("\"");
                // Writing to bytes cannot fail.
                let _ = write_micros(self, *micros);
                self.text("\"");
            }
            FeatureValue::Bool(yes) => self.text(if *yes { "true" } else { "false" }),
            FeatureValue::Text(text) => self.json(&**text),
        }
    }

    /// The outputs of a row whose strings are numbers; whether there are any.
    fn decimals(&mut self, view: &ViewText, row: &FeatureRow, first: bool) -> bool {
        let outputs = view.outputs.iter().zip(row.values.iter());
        let mut decimals = outputs.filter(|(_, value)| matches!(value, FeatureValue::Micros(_))).map(|(name, _)| name);
        let Some(output) = decimals.next() else { return false };
        self.text(if first { "" } else { "," });
        self.text(&view.name);
        self.text("[");
        self.text(output);
        for output in decimals {
            self.text(",");
            self.text(output);
        }
        self.text("]");
        true
    }
}
