//! Behaviour events: decoded, checked against the clock, and evaluated by every view's expressions, on whichever
//! worker read them. What leaves is small: the student, the event's identity and what it adds to which slots.

use crate::dead_letters::{Class, DeadLetter, describe};
use crate::dedupe::{IdHash, id_hash};
use crate::metrics::RecordLabels;
use crate::panes::{Amounts, StoredStudent};
use crate::shared::{Chunk, Local, Time};
use crate::symbols::{StudentNo, TenantNo};
use aulaflow_log::RecordRef;
use aulaflow_model::event::{Behavior, Origin, decode_behavior};
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::topic;
use aulaflow_plan::sql::BehaviorField;
use aulaflow_plan::sql::expr::{Row, Value};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

/// What comes in.
#[derive(Debug, Clone)]
pub enum BehaviorInput {
    /// From the log.
    Chunk(Chunk),
    /// From the state.
    Loaded(Vec<Contribution>),
}

/// What one event adds, or what the state holds of a student.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contribution {
    /// Chooses the worker.
    pub route: u64,
    /// What it is.
    pub kind: Kind,
}

/// Kinds of contributions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Kind {
    /// An event of a table.
    Event {
        /// Whose.
        student: StudentNo,
        /// The table.
        table: u16,
        /// Its identity.
        id: IdHash,
        /// When.
        occurred_at: Millis,
        /// What it adds.
        amounts: Amounts,
    },
    /// A student's stored panes.
    Panes(StudentNo, Box<StoredStudent>),
    /// A stored event id of a table and generation.
    Id(u16, i64, IdHash),
}

/// Decodes and evaluates.
pub fn decode<'scope>(
    stream: StreamVec<'scope, Time, BehaviorInput>,
    local: Local,
) -> StreamVec<'scope, Time, Contribution> {
    stream.unary(Pipeline, "DecodeBehavior", move |_, _| {
        let mut decoder = Decoder::new(local);
        move |input, output| {
            input.for_each(|cap, data| {
                let Some(time) = cap.least().copied() else { return };
                let mut session = output.session(&cap);
                for input in data.drain(..) {
                    match input {
                        BehaviorInput::Chunk(chunk) => decoder.chunk(&chunk, time, &mut |c| session.give(c)),
                        BehaviorInput::Loaded(loaded) => session.give_iterator(loaded.into_iter()),
                    }
                }
            });
        }
    })
}

struct Decoder {
    local: Local,
    /// Per table with views: the table, its views, and its longest window by (slide, panes).
    tables: Vec<(usize, Vec<usize>)>,
    max_skew_ms: i64,
    tenant: Option<(Vec<u8>, TenantId, (TenantNo, u64))>,
}

impl Decoder {
    fn new(local: Local) -> Self {
        let plan = &local.shared.plan;
        let views_of = |t: usize| (0..plan.views.len()).filter(|v| plan.views[*v].table == t).collect::<Vec<_>>();
        let tables = (0..plan.tables.len()).map(|t| (t, views_of(t))).filter(|(_, views)| !views.is_empty()).collect();
        let max_skew_ms = i64::try_from(plan.runtime.engine.max_skew.as_millis()).unwrap_or(i64::MAX);
        Self { tables, max_skew_ms, tenant: None, local }
    }

    fn chunk(&mut self, chunk: &Chunk, time: Time, give: &mut impl FnMut(Contribution)) {
        let (mut accepted, mut dead, mut high) = (0u64, 0u64, i64::MIN);
        for record in chunk.records.iter() {
            match self.record(&record, time, &mut high, give) {
                Ok(()) => accepted += 1,
                Err((class, error)) => {
                    dead += 1;
                    let offset = chunk.base_offset + u64::from(record.index);
                    let place = (topic::BEHAVIOR, chunk.partition, offset);
                    self.local.shared.dead(DeadLetter::new(time, place, &record, class, error));
                }
            }
        }
        self.local.shared.saw_event(chunk.partition, Millis(high));
        let count = |outcome, n| {
            let labels = RecordLabels { topic: topic::BEHAVIOR, outcome };
            self.local.shared.metrics.records.get_or_create(&labels).inc_by(n);
        };
        count("accepted", accepted);
        count("dead", dead);
    }

    fn record(
        &mut self,
        record: &RecordRef<'_>,
        time: Time,
        high: &mut i64,
        give: &mut impl FnMut(Contribution),
    ) -> Result<(), (Class, String)> {
        let json = record.value.ok_or_else(|| (Class::Schema, "a behaviour event cannot be deleted".to_owned()))?;
        let tenant_bytes = record.key.split(|b| *b == b'/').next().unwrap_or_default();
        if self.tenant.as_ref().is_none_or(|(bytes, ..)| bytes != tenant_bytes) {
            let id = std::str::from_utf8(tenant_bytes).ok().and_then(|t| TenantId::new(t).ok());
            let id = id.ok_or_else(|| (Class::Key, "the key does not start with a tenant's name".to_owned()))?;
            let number = self.local.shared.symbols.tenant(id.as_str());
            self.tenant = Some((tenant_bytes.to_vec(), id, number));
        }
        let Some((_, tenant, tenant_number)) = &self.tenant else { return Ok(()) };
        let event = decode_behavior(json, Origin::Log(tenant)).map_err(|faults| (Class::Schema, describe(&faults)))?;
        let shared = &self.local.shared;
        // On the live clock an event is judged by when the log took it: the same after a restart, however long that took.
        let now = if shared.live { record.timestamp } else { ClockTime(time).clock() };
        if shared.live && event.occurred_at.0 > now.0.saturating_add(self.max_skew_ms) {
            return Err((
                Class::Future,
                format!("occurred_at is {} ms after it was received", event.occurred_at.0 - now.0),
            ));
        }
        *high = (*high).max(event.occurred_at.0);
        let student = shared.symbols.student(*tenant_number, &event.student_id);
        let mut late = !self.tables.is_empty();
        let mut failed = String::new();
        for (table, views) in &self.tables {
            let row = EventRow { event: &event, fields: &shared.plan.tables[*table].columns };
            let mut amounts = Amounts::new();
            for index in views {
                let view = &shared.plan.views[*index];
                let window = view.schema.window;
                if event.occurred_at.pane(window.slide_ms) + window.panes() <= now.pane(window.slide_ms) {
                    continue;
                }
                late = false;
                if let Err(error) =
                    shared.layout.contribution(*index, view, &row, &mut |slot, n| amounts.push((slot, n)))
                {
                    failed.push_str(&format!(
                        "{}view {}: {error}",
                        if failed.is_empty() { "" } else { "; " },
                        view.schema.name
                    ));
                }
            }
            if !amounts.is_empty() {
                let table = *table as u16;
                let id = id_hash(student.route, usize::from(table), &event.event_id);
                let kind = Kind::Event { student: student.number, table, id, occurred_at: event.occurred_at, amounts };
                give(Contribution { route: student.route, kind });
            }
        }
        match (late, failed.is_empty()) {
            (true, _) => {
                Err((Class::Late, format!("occurred_at {} is older than every window at {now}", event.occurred_at)))
            }
            (false, false) => Err((Class::Expression, failed)),
            (false, true) => Ok(()),
        }
    }
}

/// An event as a row of a table.
struct EventRow<'a> {
    event: &'a Behavior<'a>,
    fields: &'a [aulaflow_plan::sql::Column],
}

impl Row for EventRow<'_> {
    fn column(&self, index: usize) -> Value<'_> {
        let event = self.event;
        match self.fields[index].field {
            BehaviorField::EventId => Value::Text(Cow::Borrowed(event.event_id.as_ref())),
            BehaviorField::StudentId => Value::Text(Cow::Borrowed(event.student_id.as_ref())),
            BehaviorField::EventType => Value::Text(Cow::Borrowed(event.event_type.as_ref())),
            BehaviorField::Value => Value::Double(event.value.to_f64()),
            BehaviorField::OccurredAt => Value::Timestamp(event.occurred_at),
            BehaviorField::Context => match context(event) {
                Some(json) => Value::Json(json),
                None => Value::Null,
            },
        }
    }
}

/// The context with the fields that the event's shape does not know.
fn context<'a>(event: &'a Behavior<'a>) -> Option<Cow<'a, serde_json::value::RawValue>> {
    if event.extra.is_empty() {
        return event.context.map(Cow::Borrowed);
    }
    let json = event.context_json()?.into_owned();
    serde_json::value::RawValue::from_string(json).ok().map(Cow::Owned)
}
