//! Behaviour events: decoded, checked against the clock, and evaluated by every view's expressions, on whichever
//! worker read them. What leaves is small: the student, the event's identity and what it adds to which slots.

use crate::aggregate::Slot;
use crate::dead_letters::{Class, DeadLetter, describe};
use crate::dedupe::{IdHash, id_hash};
use crate::metrics::RecordLabels;
use crate::panes::StoredStudent;
use crate::shared::{Chunk, Local, Time};
use crate::symbols::{StudentNo, StudentRef, TenantNo};
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
    Loaded(Vec<Loaded>),
}

/// A row of the state, with the route of its student.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// A student's stored panes.
    Panes(StudentRef, StoredStudent),
    /// A stored event id: route, table, generation.
    Id(u64, u16, i64, IdHash),
}

/// What one chunk adds to the students of one worker. A batch is one record of the dataflow, so that an event costs no
/// allocation and no routing of its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Contributions {
    /// The worker.
    pub worker: u64,
    /// Events, in the order read.
    pub events: Vec<Event>,
    /// What the events add, one after the other: slots in ascending order within an event.
    pub amounts: Vec<(Slot, i64)>,
    /// Students' stored panes.
    pub panes: Vec<(StudentNo, StoredStudent)>,
    /// Stored event ids: table, generation.
    pub ids: Vec<(u16, i64, IdHash)>,
}

/// An event of a table.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Event {
    /// Its identity.
    pub id: IdHash,
    /// Chooses the worker; stored with the id.
    pub route: u64,
    /// When.
    pub occurred_at: Millis,
    /// Whose.
    pub student: StudentNo,
    /// The table.
    pub table: u16,
    /// How many amounts are its own.
    pub amounts: u16,
}

/// Decodes and evaluates.
pub fn decode<'scope>(
    stream: StreamVec<'scope, Time, BehaviorInput>,
    local: Local,
) -> StreamVec<'scope, Time, Contributions> {
    stream.unary(Pipeline, "DecodeBehavior", move |_, _| {
        let mut decoder = Decoder::new(local);
        move |input, output| {
            input.for_each(|cap, data| {
                let Some(time) = cap.least().copied() else { return };
                let mut session = output.session(&cap);
                for input in data.drain(..) {
                    match input {
                        BehaviorInput::Chunk(chunk) => decoder.chunk(&chunk, time),
                        BehaviorInput::Loaded(loaded) => loaded.into_iter().for_each(|row| decoder.loaded(row)),
                    }
                }
                session.give_iterator(decoder.take());
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
    /// By worker.
    out: Vec<Contributions>,
}

impl Decoder {
    fn new(local: Local) -> Self {
        let plan = &local.shared.plan;
        let views_of = |t: usize| {
            (0..plan.views.len())
                .filter(|v| plan.views[*v].source == aulaflow_plan::sql::Relation::Table(t))
                .collect::<Vec<_>>()
        };
        let tables = (0..plan.tables.len()).map(|t| (t, views_of(t))).filter(|(_, views)| !views.is_empty()).collect();
        let max_skew_ms = i64::try_from(plan.runtime.engine.max_skew.as_millis()).unwrap_or(i64::MAX);
        let empty = |worker| Contributions { worker, ..Contributions::default() };
        let out = (0..local.peers as u64).map(empty).collect();
        Self { tables, max_skew_ms, tenant: None, out, local }
    }

    /// What was collected since the last call.
    fn take(&mut self) -> impl Iterator<Item = Contributions> + '_ {
        let full = |c: &&mut Contributions| !(c.events.is_empty() && c.panes.is_empty() && c.ids.is_empty());
        self.out.iter_mut().filter(full).map(|c| {
            let next = Contributions {
                worker: c.worker,
                events: Vec::with_capacity(c.events.len()),
                amounts: Vec::with_capacity(c.amounts.len()),
                ..Contributions::default()
            };
            std::mem::replace(c, next)
        })
    }

    fn of_route(out: &mut [Contributions], route: u64) -> &mut Contributions {
        let worker = (route % out.len() as u64) as usize;
        &mut out[worker]
    }

    fn loaded(&mut self, row: Loaded) {
        match row {
            Loaded::Panes(student, stored) => {
                Self::of_route(&mut self.out, student.route).panes.push((student.number, stored));
            }
            Loaded::Id(route, table, generation, id) => {
                Self::of_route(&mut self.out, route).ids.push((table, generation, id));
            }
        }
    }

    fn chunk(&mut self, chunk: &Chunk, time: Time) {
        let (mut accepted, mut dead, mut high) = (0u64, 0u64, i64::MIN);
        for record in chunk.records.iter() {
            match self.record(&record, time, &mut high) {
                Ok(()) => accepted += 1,
                Err((class, error)) => {
                    dead += 1;
                    let offset = chunk.base_offset + u64::from(record.index);
                    let place = (topic::BEHAVIOR, chunk.partition, offset);
                    self.local.shared.dead(DeadLetter::new(time, place, &record, class, error));
                }
            }
        }
        if high > i64::MIN {
            self.local.shared.saw_event(time, chunk.partition, Millis(high));
        }
        let count = |outcome, n| {
            let labels = RecordLabels { topic: topic::BEHAVIOR, outcome };
            self.local.shared.metrics.records.get_or_create(&labels).inc_by(n);
        };
        count("accepted", accepted);
        count("dead", dead);
    }

    fn record(&mut self, record: &RecordRef<'_>, time: Time, high: &mut i64) -> Result<(), (Class, String)> {
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
            let out = Self::of_route(&mut self.out, student.route);
            let before = out.amounts.len();
            for index in views {
                let view = &shared.plan.views[*index];
                let window = &view.schema.window;
                if event.occurred_at.pane(window.slide_ms) + window.panes() <= now.pane(window.slide_ms) {
                    continue;
                }
                late = false;
                let mut add = |slot, amount| out.amounts.push((slot, amount));
                if let Err(error) = shared.layout.contribution(*index, view, &row, &mut add) {
                    let separator = if failed.is_empty() { "" } else { "; " };
                    failed.push_str(&format!("{separator}view {}: {error}", view.schema.name));
                }
            }
            let amounts = (out.amounts.len() - before) as u16;
            if amounts > 0 {
                let table = *table as u16;
                let id = id_hash(student.route, usize::from(table), &event.event_id);
                let (route, occurred_at) = (student.route, event.occurred_at);
                out.events.push(Event { id, route, occurred_at, student: student.number, table, amounts });
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
