//! The rows that views are made of. What happens to them, and when, is `aulaflow_sink::update`.

use crate::grade::Grade;
use crate::instant::Millis;
use crate::window::WindowSpec;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A view's number: its place in the plan's list of views.
pub type ViewIndex = u16;

/// One value of a feature row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FeatureValue {
    /// SQL's NULL.
    Null,
    /// A BIGINT, or a sum of BIGINTs, which may exceed 64 bits: a JSON number.
    Int(i128),
    /// An exact sum or average, in millionths: a JSON string such as `"12.5"`.
    Micros(i128),
    /// A BOOLEAN.
    Bool(bool),
    /// A TEXT.
    Text(Arc<str>),
}

impl FeatureValue {
    /// As profiles write it.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            // A `Value` has no numbers beyond 64 bits: as a text they keep their digits.
            Self::Int(n) => match (i64::try_from(*n), u64::try_from(*n)) {
                (Ok(n), _) => n.into(),
                (_, Ok(n)) => n.into(),
                (Err(_), Err(_)) => n.to_string().into(),
            },
            Self::Micros(micros) => {
                let mut digits = String::new();
                // Writing to a String cannot fail.
                let _ = crate::decimal::write_micros(&mut digits, *micros);
                digits.into()
            }
            Self::Bool(b) => (*b).into(),
            Self::Text(text) => (**text).into(),
        }
    }
}

/// A grade row with what its history adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeRow {
    /// What the grade function said.
    pub grade: Arc<Grade>,
    /// 1, 2, … each time the row changes.
    pub version: u32,
    /// The clock at the last change.
    pub updated_at: Millis,
}

/// A feature row with what its history adds. Its window's bounds follow from the clock, so they are not here, except
/// a session's, which follow from its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    /// The values, in the order of the view's outputs.
    pub values: Arc<[FeatureValue]>,
    /// Of a session: its first event, and when it ends if nothing comes (its last event and the gap).
    pub session: Option<(Millis, Millis)>,
    /// The clock at the last change.
    pub updated_at: Millis,
}

/// How a feature view looks to whoever shows it: its name, window and outputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ViewSchema {
    /// The view's name: the key in a profile's `features`.
    pub name: String,
    /// Its window.
    pub window: WindowSpec,
    /// The outputs' names, in the order of [`FeatureRow::values`].
    pub outputs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_can_be_stored() {
        use FeatureValue::{Bool, Int, Micros, Null, Text};
        let values = [Null, Int(-7), Micros(i128::MIN), Bool(true), Text("añ".into())];
        let row = FeatureRow { values: values.into(), session: Some((Millis(1), Millis(2))), updated_at: Millis(-1) };
        let stored = postcard::to_allocvec(&row);
        assert_eq!(stored.and_then(|bytes| postcard::from_bytes(&bytes)), Ok(row));
    }
}
