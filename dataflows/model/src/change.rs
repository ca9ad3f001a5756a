//! What the dataflows tell the sinks: which rows of a student changed, and as of when.

use crate::grade::Grade;
use crate::ids::{PeriodId, StudentId, Subject, TenantId};
use crate::instant::{ClockTime, Millis};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A view's number: its place in the plan's list of views.
pub type ViewIndex = u16;

/// One value of a feature row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FeatureValue {
    /// SQL's NULL.
    Null,
    /// A BIGINT: a JSON number.
    Int(i64),
    /// An exact sum or average, in millionths: a JSON string such as `"12.5"`.
    Micros(i128),
    /// A BOOLEAN.
    Bool(bool),
    /// A TEXT.
    Text(Arc<str>),
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

/// A feature row with what its history adds. Its window's bounds follow from the clock, so they are not here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    /// The values, in the order of the view's outputs.
    pub values: Arc<[FeatureValue]>,
    /// The clock at the last change.
    pub updated_at: Millis,
}

/// A grade of a student that changed; `None`: there is none any more.
#[derive(Debug, Clone, PartialEq)]
pub struct GradeChange {
    /// The subject.
    pub subject: Subject,
    /// The period.
    pub period: PeriodId,
    /// The row now.
    pub row: Option<GradeRow>,
}

/// A feature of a student that changed; `None`: the window is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureChange {
    /// Which view.
    pub view: ViewIndex,
    /// The row now.
    pub row: Option<FeatureRow>,
}

/// Everything of one student that changed at one time. A sink applies it whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentChange {
    /// The student's tenant.
    pub tenant: TenantId,
    /// The student.
    pub student: StudentId,
    /// Changed grades; each (subject, period) at most once.
    pub grades: Vec<GradeChange>,
    /// Changed features; each view at most once.
    pub features: Vec<FeatureChange>,
}

/// The changes that one worker saw at one time. A student's changes always come from the same worker, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeBatch {
    /// When.
    pub time: ClockTime,
    /// Per student.
    pub changes: Vec<StudentChange>,
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

/// A window cut into panes of its slide: at clock T, with `P = floor(T / slide)`, it covers panes
/// `P - size/slide + 1 ..= P`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSpec {
    /// What it is called.
    pub kind: WindowKind,
    /// Width of a pane, in milliseconds.
    pub slide_ms: i64,
    /// Width of the window, in milliseconds; a multiple of the slide.
    pub size_ms: i64,
}

/// The window functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKind {
    /// `tumble(size)`: panes of the whole size.
    Tumble,
    /// `hop(slide, size)`.
    Hop,
}

impl WindowSpec {
    /// How many panes the window covers.
    pub fn panes(&self) -> i64 {
        self.size_ms / self.slide_ms
    }

    /// The window's bounds at a clock: `[start, end)`.
    pub fn bounds(&self, clock: Millis) -> (Millis, Millis) {
        let end = (clock.pane(self.slide_ms) + 1) * self.slide_ms;
        (Millis(end - self.size_ms), Millis(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_covers_its_panes() {
        let hop = WindowSpec { kind: WindowKind::Hop, slide_ms: 1000, size_ms: 3000 };
        assert_eq!(hop.panes(), 3);
        assert_eq!(hop.bounds(Millis(5000)), (Millis(3000), Millis(6000)));
        assert_eq!(hop.bounds(Millis(5999)), (Millis(3000), Millis(6000)));
        let tumble = WindowSpec { kind: WindowKind::Tumble, slide_ms: 1000, size_ms: 1000 };
        assert_eq!(tumble.bounds(Millis(-1)), (Millis(-1000), Millis(0)));
    }

    #[test]
    fn rows_can_be_stored() {
        use FeatureValue::{Bool, Int, Micros, Null, Text};
        let values = [Null, Int(-7), Micros(i128::MIN), Bool(true), Text("añ".into())];
        let row = FeatureRow { values: values.into(), updated_at: Millis(-1) };
        let stored = postcard::to_allocvec(&row);
        assert_eq!(stored.and_then(|bytes| postcard::from_bytes(&bytes)), Ok(row));
    }
}
