//! Grades of past periods (`serving.grades_keep`): an instance that has let go of them shows them from ClickHouse alone, and says
//! so. What may be missing is decided here again, by the calendar.

use aulaflow_engine::batch::Batch;
use aulaflow_model::ids::{PeriodId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_plan::Plan;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Takes out the recomputed grades that a profile need not show, and does not. How many.
pub fn take<G>(
    plan: &Plan,
    batch: &Batch,
    (tenant, clock): (&TenantId, Millis),
    shown: Option<&Value>,
    grades: &mut BTreeMap<(Subject, PeriodId), G>,
) -> usize {
    let (Some(keep), Some(shown)) = (plan.runtime.serving.grades_keep, shown) else { return 0 };
    let texts = |value: &Value| value.as_str().map(str::to_owned);
    let list = |name: &str| shown.get(name).and_then(Value::as_array).into_iter().flatten();
    let said: BTreeSet<String> = list("past_periods").filter_map(texts).collect();
    let there: BTreeSet<(String, String)> =
        list("grades").filter_map(|grade| Some((texts(&grade["subject"])?, texts(&grade["period"])?))).collect();
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let is_past = |period: &PeriodId| {
        let end = batch.period_end(tenant, period);
        said.contains(period.as_str()) && end.is_some_and(|end| end.0.saturating_add(keep) <= clock.0)
    };
    let before = grades.len();
    grades
        .retain(|(subject, period), _| !is_past(period) || there.contains(&(subject.to_string(), period.to_string())));
    before - grades.len()
}
