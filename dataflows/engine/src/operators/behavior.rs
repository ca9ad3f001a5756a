//! Behaviour events: decoded, checked against the clock, and evaluated by every view's expressions, on whichever
//! worker read them. What leaves is small: the student, the event's identity and what it adds to which slots.

use crate::cells::{Kind, Scalar, TEXT_TOO_LONG, number};
use crate::dead_letters::{Class, DeadLetter, oversized};
use crate::decode;
use crate::dedupe::{IdHash, id_hash};
use crate::fold::{self, Piece, kind_keeps_value};
use crate::layout::{ArgumentProgram, FilterProgram, Grid, Layout, Program};
use crate::metrics::{LeftOutLabels, Metrics, RecordLabels};
use crate::panes::{PaneNumbers, StoredStudent};
use crate::shared::{Chunk, Local, Time};
use crate::sum::{Amount, Slot};
use crate::symbols::{StudentNo, StudentRef, TenantNo};
use aulaflow_log::{Offset, RecordRef};
use aulaflow_model::event::Behavior;
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::topic;
use aulaflow_plan::sql::BehaviorField;
use aulaflow_plan::sql::expr::{EvalError, Row, Value};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::borrow::Cow;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

/// What comes in.
#[derive(Debug, Clone)]
pub enum BehaviorInput {
    /// From the log.
    Chunk(Chunk),
    /// From the log once more, for what the state has nothing of.
    Backfill(Chunk),
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
    /// The partition that the events were read from, and the offset that their indexes count from.
    pub source: (u32, Offset),
    /// Whether only what the state has nothing of is in it.
    pub backfill: bool,
    /// Events, in the order read.
    pub events: Vec<Event>,
    /// What the events add, one after the other: as a whole or not at all, by grid.
    pub segments: Vec<SegmentLengths>,
    /// Integers to add, one segment after the other.
    pub amounts: Vec<Amount>,
    /// Values to combine, one segment after the other.
    pub parts: Vec<(Slot, Scalar)>,
    /// The ids of the events that are `named`, in order.
    pub names: Vec<CompactString>,
    /// Students' stored panes.
    pub panes: Vec<(StudentNo, StoredStudent)>,
    /// Stored event ids: table, generation.
    pub ids: Vec<(u16, i64, IdHash)>,
}

impl Contributions {
    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.events.clear();
        self.segments.clear();
        self.amounts.clear();
        self.parts.clear();
        self.names.clear();
        self.panes.clear();
        self.ids.clear();
    }
}

/// How much belongs to a segment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SegmentLengths {
    /// The grid.
    pub grid: u16,
    /// Amounts.
    pub amounts: u16,
    /// Parts.
    pub parts: u16,
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
    /// When the log took it, or on the event clock the clock's reading: decides for how long its id is remembered.
    pub accepted: Millis,
    /// Whose.
    pub student: StudentNo,
    /// Its offset, from the source's.
    pub index: u32,
    /// The table's place in the plan.
    pub table: u16,
    /// How many segments are its own.
    pub segments: u16,
    /// Whether its id is among the names.
    pub named: bool,
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
                        BehaviorInput::Backfill(chunk) => decoder.backfill(&chunk, time),
                        BehaviorInput::Loaded(rows) => rows.into_iter().for_each(|row| decoder.loaded(row)),
                    }
                    // By chunk: what leaves says which records it comes from.
                    session.give_iterator(decoder.take());
                }
            });
        }
    })
}

struct Decoder {
    local: Local,
    max_skew_ms: i64,
    tenant: Option<(Vec<u8>, TenantId, (TenantNo, u64))>,
    /// Panes of events and of the clock, by grid.
    grids: Vec<(PaneNumbers, PaneNumbers)>,
    /// Whether only what is missing is wanted.
    backfill: bool,
    /// By worker.
    out: Vec<Contributions>,
    scratch: Scratch,
}

/// Used again for every event.
#[derive(Default)]
struct Scratch {
    /// By argument list; `None`: no value.
    values: Vec<Option<SmallVec<[Scalar; 2]>>>,
    amounts: Vec<Amount>,
    parts: Vec<(Slot, Scalar)>,
    segments: Vec<SegmentLengths>,
    named: bool,
}

impl Decoder {
    fn new(local: Local) -> Self {
        let (plan, layout) = (&local.shared.plan, &local.shared.layout);
        let max_skew_ms = i64::try_from(plan.runtime.engine.max_skew.as_millis()).unwrap_or(i64::MAX);
        let empty = |worker| Contributions { worker, ..Contributions::default() };
        let out = (0..local.peers as u64).map(empty).collect();
        let numbers = |grid: &Grid| (PaneNumbers::new(grid.spec.clone()), PaneNumbers::new(grid.spec.clone()));
        let grids = layout.grids.iter().map(numbers).collect();
        Self { max_skew_ms, tenant: None, grids, backfill: false, out, scratch: Scratch::default(), local }
    }

    /// What was collected since the last call.
    fn take(&mut self) -> impl Iterator<Item = Contributions> + '_ {
        let full = |c: &&mut Contributions| !(c.events.is_empty() && c.panes.is_empty() && c.ids.is_empty());
        let local = &self.local;
        self.out.iter_mut().filter(full).map(|c| std::mem::replace(c, local.batch(c.worker)))
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

    /// Events that were judged before: only what is missing is taken, and nothing is reported again.
    fn backfill(&mut self, chunk: &Chunk, time: Time) {
        self.backfill = true;
        self.begin(chunk);
        let mut high = i64::MIN;
        for record in chunk.records.iter() {
            // Whoever cannot be used is on the dead-letter topic already, or belongs there for what is new: the views that
            // are made now leave it out.
            let _known = self.record(&record, time, &mut high);
        }
        self.backfill = false;
    }

    fn begin(&mut self, chunk: &Chunk) {
        for out in &mut self.out {
            out.source = (chunk.partition, chunk.base_offset);
            out.backfill = self.backfill;
        }
    }

    fn chunk(&mut self, chunk: &Chunk, time: Time) {
        self.begin(chunk);
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
        oversized(record, self.local.shared.plan.runtime.engine.record_bytes_max)?;
        let json = record.value.ok_or_else(|| (Class::Schema, "a behaviour event cannot be deleted".to_owned()))?;
        let tenant_bytes = record.key.split(|b| *b == b'/').next().unwrap_or_default();
        if self.tenant.as_ref().is_none_or(|(bytes, ..)| bytes != tenant_bytes) {
            let id = std::str::from_utf8(tenant_bytes).ok().and_then(|t| TenantId::new(t).ok());
            let id = id.ok_or_else(|| (Class::Key, "the key does not start with a tenant's name".to_owned()))?;
            self.local.shared.check_home(id.as_str())?;
            let number = self.local.shared.symbols.tenant(id.as_str());
            self.tenant = Some((tenant_bytes.to_vec(), id, number));
        }
        let Some((_, tenant, tenant_number)) = &self.tenant else { return Ok(()) };
        let event = decode::behavior(self.local.shared.format, json, tenant)?;
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
        let mut late = !shared.layout.programs.is_empty();
        let mut failures = Failures::default();
        for program in &shared.layout.programs {
            let row = EventRow { event: &event, fields: &shared.plan.tables[program.table].columns };
            let mut open =
                Judged { layout: &shared.layout, grids: &mut self.grids, at: event.occurred_at, now, late: &mut late };
            self.scratch.clear();
            self.scratch.evaluate(program, &row, &mut open, &mut failures);
            if self.backfill {
                self.scratch.keep_missing(&shared.layout);
            }
            if !self.scratch.segments.is_empty() {
                let out = Self::of_route(&mut self.out, student.route);
                let number = shared.layout.tables[program.table];
                out.events.push(Event {
                    id: id_hash(student.route, usize::from(number), &event.event_id),
                    route: student.route,
                    occurred_at: event.occurred_at,
                    accepted: now,
                    student: student.number,
                    index: record.index,
                    table: program.table as u16,
                    segments: self.scratch.segments.len() as u16,
                    named: self.scratch.named,
                });
                if self.scratch.named {
                    out.names.push(CompactString::new(&event.event_id));
                }
                out.segments.append(&mut self.scratch.segments);
                out.amounts.append(&mut self.scratch.amounts);
                out.parts.append(&mut self.scratch.parts);
            }
        }
        if !self.backfill {
            failures.count(&shared.metrics);
        }
        match (late, failures.text.is_empty()) {
            (true, _) => {
                Err((Class::Late, format!("occurred_at {} is older than every window at {now}", event.occurred_at)))
            }
            (false, false) => Err((Class::Expression, failures.text)),
            (false, true) => Ok(()),
        }
    }
}

/// Whether an event is in time for a grid.
struct Judged<'a> {
    layout: &'a Layout,
    grids: &'a mut [(PaneNumbers, PaneNumbers)],
    at: Millis,
    now: Millis,
    late: &'a mut bool,
}

impl Judged<'_> {
    fn in_time(&mut self, grid: usize) -> bool {
        let (events, clock) = &mut self.grids[grid];
        let in_time = events.pane(self.at) + self.layout.grids[grid].panes > clock.pane(self.now);
        *self.late &= !in_time;
        in_time
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.values.clear();
        self.amounts.clear();
        self.parts.clear();
        self.segments.clear();
        self.named = false;
    }

    /// What an event adds to the grids that it is in time for. An argument that has no value leaves it out of its own
    /// aggregates, a filter that has none out of its views.
    fn evaluate(&mut self, program: &Program, row: &EventRow<'_>, open: &mut Judged<'_>, failures: &mut Failures) {
        let grids: SmallVec<[usize; 8]> = program.grids.iter().copied().filter(|grid| open.in_time(*grid)).collect();
        if grids.is_empty() {
            return;
        }
        for filter in program.filters.iter().filter(|f| f.grids.iter().any(|g| grids.contains(&g.grid))) {
            match filter.filter.as_ref().map_or(Ok(true), |expression| expression.holds(row)) {
                Ok(false) => {}
                Ok(true) => self.add(filter, row, &grids, failures),
                Err(error) => failures.filter(filter, &grids, &error),
            }
        }
    }

    fn add(&mut self, filter: &FilterProgram, row: &EventRow<'_>, grids: &[usize], failures: &mut Failures) {
        self.values.clear();
        for argument in &filter.arguments {
            let values = fold::arguments(&argument.expressions, row);
            let failure = match &values {
                Ok(values) if values.iter().any(Scalar::is_long) => Some(&TEXT_TOO_LONG),
                Ok(_) => None,
                Err(error) => Some(error),
            };
            if let Some(error) = failure {
                failures.argument(argument, grids, values.is_err(), error);
            }
            self.values.push(values.ok());
        }
        for program in filter.grids.iter().filter(|program| grids.contains(&program.grid)) {
            let (amounts, parts) = (self.amounts.len(), self.parts.len());
            self.amounts.push(Amount::new(program.rows, 1));
            for (slot, op, kind, argument) in &program.adds {
                let Some(values) = &self.values[*argument] else { continue };
                if kind_keeps_value(*kind) && values.iter().any(Scalar::is_long) {
                    continue;
                }
                match op.apply(values) {
                    Some(Piece::Amount(amount)) => self.amounts.push(Amount::new(*slot, amount)),
                    Some(Piece::Value(value)) => {
                        self.named |= matches!(kind, Kind::First | Kind::Last);
                        self.parts.push((*slot, value));
                    }
                    None => {}
                }
            }
            for slot in &program.tails {
                self.named = true;
                self.parts.push((*slot, Scalar::Null));
            }
            self.segments.push(SegmentLengths {
                grid: program.grid as u16,
                amounts: (self.amounts.len() - amounts) as u16,
                parts: (self.parts.len() - parts) as u16,
            });
        }
    }

    /// Only the slots that the state has nothing of.
    fn keep_missing(&mut self, layout: &Layout) {
        let missing = |slot: Slot| layout.slot(slot).is_some_and(|info| info.missing);
        let (mut amount, mut part) = (0, 0);
        for segment in &mut self.segments {
            let amounts = &self.amounts[amount..amount + usize::from(segment.amounts)];
            let parts = &self.parts[part..part + usize::from(segment.parts)];
            (amount, part) = (amount + amounts.len(), part + parts.len());
            segment.amounts = amounts.iter().filter(|a| missing(a.slot)).count() as u16;
            segment.parts = parts.iter().filter(|(slot, _)| missing(*slot)).count() as u16;
        }
        self.amounts.retain(|a| missing(a.slot));
        self.parts.retain(|(slot, _)| missing(*slot));
        self.segments.retain(|segment| segment.amounts > 0 || segment.parts > 0);
    }
}

/// Expressions without a value for one event.
#[derive(Default)]
struct Failures {
    /// For people: which, and why.
    text: String,
    /// The outputs whose aggregates leave it out: view and output.
    outputs: Vec<(String, String)>,
}

impl Failures {
    fn say(&mut self, what: &str, error: &EvalError) {
        let separator = if self.text.is_empty() { "" } else { "; " };
        self.text.push_str(&format!("{separator}{what}: {error}"));
    }

    /// A WHERE that has no value leaves the event out of its views.
    fn filter(&mut self, filter: &FilterProgram, grids: &[usize], error: &EvalError) {
        let names = filter.views.iter().filter(|(_, grid)| grids.contains(grid)).map(|(name, _)| name.as_str());
        self.say(&format!("WHERE of {}", names.collect::<Vec<_>>().join(", ")), error);
    }

    /// An argument that has no value, or a text that is too long for aggregates which keep it.
    fn argument(&mut self, argument: &ArgumentProgram, grids: &[usize], whole: bool, error: &EvalError) {
        let concerned = argument.readers.iter().filter(|r| grids.contains(&r.grid) && (whole || r.keeps_value));
        let outputs: Vec<_> = concerned.map(|r| (r.view.clone(), r.output.clone())).collect();
        if outputs.is_empty() {
            return;
        }
        let names: Vec<_> = outputs.iter().map(|(view, output)| format!("{view}.{output}")).collect();
        self.say(&names.join(", "), error);
        self.outputs.extend(outputs);
    }

    fn count(&self, metrics: &Metrics) {
        for (view, output) in &self.outputs {
            metrics.left_out.get_or_create(&LeftOutLabels { view: view.clone(), output: output.clone() }).inc();
        }
    }
}

/// An event as a row of a table.
pub struct EventRow<'a> {
    /// The event.
    pub event: &'a Behavior<'a>,
    /// The table's columns.
    pub fields: &'a [aulaflow_plan::sql::Column],
}

impl Row for EventRow<'_> {
    fn column(&self, index: usize) -> Value<'_> {
        let event = self.event;
        match self.fields[index].field {
            BehaviorField::EventId => Value::Text(Cow::Borrowed(event.event_id.as_ref())),
            BehaviorField::StudentId => Value::Text(Cow::Borrowed(event.student_id.as_ref())),
            BehaviorField::EventType => Value::Text(Cow::Borrowed(event.event_type.as_ref())),
            BehaviorField::Value => number(i128::from(event.value.micros())),
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
