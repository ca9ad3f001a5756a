//! Explanations as of an instant. Of a grade: what `grade::explain` says, and the rule. Of a feature: the window, the panes
//! and the last events that made its values.

use crate::change::FeatureValue;
use crate::grade::Explanation;
use crate::instant::Millis;
use crate::tenant::Rule;
use crate::window::WindowKind;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// How a grade came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradeExplanation {
    /// The instant as of which it is true.
    pub as_of: Millis,
    /// The rule in force.
    pub rule: Arc<Rule>,
    /// The evaluations, and what became of each.
    pub explanation: Explanation,
}

/// How a student's feature came about, recomputed from the student's panes.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureExplanation {
    /// The instant as of which it is true.
    pub as_of: Millis,
    /// The window that was looked at.
    pub window: ExplainedWindow,
    /// The view's outputs; `None` where the window is empty, so that nothing is shown.
    pub values: Option<Arc<[FeatureValue]>>,
    /// The panes within the window that hold something, oldest first.
    pub panes: Vec<ExplainedPane>,
    /// The newest events of the window that are kept for explanations, newest first.
    pub events: Vec<ExplainedEvent>,
}

/// A window's bounds: `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedWindow {
    /// Its kind.
    pub kind: WindowKind,
    /// Inclusive.
    pub start: Millis,
    /// Exclusive.
    pub end: Millis,
}

/// What one pane holds: `[start, end)`.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedPane {
    /// Inclusive.
    pub start: Millis,
    /// Exclusive.
    pub end: Millis,
    /// The view's outputs over this pane alone.
    pub values: Arc<[FeatureValue]>,
}

/// An event that counts in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedEvent {
    /// Its id.
    pub event_id: String,
    /// When it happened.
    pub occurred_at: Millis,
}

impl ExplainedWindow {
    /// The kind's name, as profiles write it.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            WindowKind::Hop => "hop",
            WindowKind::Tumble => "tumble",
            WindowKind::Session => "session",
            WindowKind::Present => "present",
        }
    }
}

/// An explanation as JSON: values need the names of the view's outputs.
#[derive(Debug, Clone, Copy)]
pub struct ShownFeature<'a> {
    /// The explanation.
    pub explanation: &'a FeatureExplanation,
    /// The outputs' names, in the order of the values.
    pub outputs: &'a [String],
}

impl Serialize for ShownFeature<'_> {
    /// `window`, `values`, `panes` and `events`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { explanation, outputs } = *self;
        let row = |values: &Arc<[FeatureValue]>| named(outputs, values);
        let pane = |pane: &ExplainedPane| serde_json::json!({ "start": text(pane.start), "end": text(pane.end), "values": row(&pane.values) });
        let event = |event: &ExplainedEvent| serde_json::json!({ "event_id": event.event_id, "occurred_at": text(event.occurred_at) });
        let window = &explanation.window;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(
            "window",
            &serde_json::json!({ "kind": window.kind_name(), "start": text(window.start), "end": text(window.end) }),
        )?;
        map.serialize_entry("values", &explanation.values.as_ref().map(row))?;
        map.serialize_entry("panes", &explanation.panes.iter().map(pane).collect::<Vec<_>>())?;
        map.serialize_entry("events", &explanation.events.iter().map(event).collect::<Vec<_>>())?;
        map.end()
    }
}

/// A row's values by the outputs' names, as profiles write them.
pub fn named(outputs: &[String], values: &[FeatureValue]) -> serde_json::Map<String, serde_json::Value> {
    outputs.iter().zip(values).map(|(name, value)| (name.clone(), value.to_json())).collect()
}

fn text(at: Millis) -> String {
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_named_and_written_as_in_a_profile() {
        let explanation = FeatureExplanation {
            as_of: Millis(0),
            window: ExplainedWindow { kind: WindowKind::Hop, start: Millis(-1000), end: Millis(1000) },
            values: Some([FeatureValue::Int(3), FeatureValue::Micros(12_500_000)].into()),
            panes: vec![ExplainedPane {
                start: Millis(0),
                end: Millis(1000),
                values: [FeatureValue::Int(3), FeatureValue::Null].into(),
            }],
            events: vec![ExplainedEvent { event_id: "e".into(), occurred_at: Millis(1) }],
        };
        let outputs = ["n".to_owned(), "points".to_owned()];
        let shown = ShownFeature { explanation: &explanation, outputs: &outputs };
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({
                "window": { "kind": "hop", "start": "1969-12-31T23:59:59.000Z", "end": "1970-01-01T00:00:01.000Z" },
                "values": { "n": 3, "points": "12.5" },
                "panes": [{
                    "start": "1970-01-01T00:00:00.000Z", "end": "1970-01-01T00:00:01.000Z",
                    "values": { "n": 3, "points": null },
                }],
                "events": [{ "event_id": "e", "occurred_at": "1970-01-01T00:00:00.001Z" }],
            })
        );
    }
}
