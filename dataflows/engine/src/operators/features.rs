//! The pane operator: duplicates out, events into panes, and per epoch the rows of every student whose windows changed.
//! Exchanged by student.
//!
//! Law: the last row of a view that left up to an epoch is the view's row at that epoch's clock, or, where the operator
//! still releases a boundary with very many panes, at the clock just before that boundary (`Settling`).

use super::behavior::{Contributions, Event};
use super::{Epochs, upper};
use crate::cells::Moment;
use crate::dead_letters::Class;
use crate::dedupe::{IdHash, Seen};
use crate::metrics::RecordLabels;
use crate::panes::{DISTINCT_MAX, FeatureUpdate, PaneStore, SETTLE_MAX, Segment};
use crate::shared::{Local, StateMessage, Tell, Time};
use crate::state::{Key, Row};
use crate::sum::Slot;
use crate::symbols::StudentNo;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::topic;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator;

/// Students whose rows leave in one epoch, of those who wait since the log was read to its end.
const TELL_MAX: usize = 16_384;

/// The rows of a student that may have changed.
pub type StudentUpdate = (StudentNo, Vec<FeatureUpdate>);

/// Students' rows as events come and the clock moves.
pub fn features<'scope>(
    stream: StreamVec<'scope, Time, Contributions>,
    local: Local,
) -> StreamVec<'scope, Time, StudentUpdate> {
    let exchange = Exchange::new(|c: &Contributions| c.worker);
    stream.unary_frontier(exchange, "Panes", move |capability, _| {
        let mut epochs = Epochs::new(local.clone());
        let mut operator = PaneOperator::new(local);
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each(|cap, data| {
                if let Some(time) = cap.least() {
                    epochs.push(*time, data);
                }
            });
            let upper = upper(frontier);
            while let Some(epoch) = epochs.next(upper) {
                operator.epoch(epoch.time, epoch.data);
                operator.answer(epoch.time);
                if let Some(cap) = &capability {
                    let cap = cap.delayed(&epoch.time);
                    output.session(&cap).give_iterator(operator.changes(epoch.tell).into_iter());
                }
                operator.report(epoch.time);
                if epoch.barrier {
                    operator.begin_export(epoch.time);
                }
                operator.export_step();
            }
            super::keep_until(&mut capability, upper);
        }
    })
}

struct PaneOperator {
    local: Local,
    store: PaneStore,
    /// Per table of the plan: the ids seen, and those that the state does not have yet.
    seen: Vec<Option<(Seen, FreshIds)>>,
    /// While what is missing is made from the log: the ids seen there, per table.
    seen_again: Vec<Option<Seen>>,
    /// How many students the export under way has.
    exporting: Option<usize>,
}

/// Ids with their routes, by generation.
type FreshIds = BTreeMap<i64, Vec<(u64, IdHash)>>;

impl PaneOperator {
    fn new(local: Local) -> Self {
        let shared = &local.shared;
        let store = PaneStore::new(shared.plan.clone(), shared.layout.clone());
        let horizons = || shared.plan.tables.iter().map(|t| t.dedupe_horizon_ms);
        let seen = horizons().map(|horizon| horizon.map(|h| (Seen::new(h), FreshIds::new()))).collect();
        let seen_again = horizons().map(|horizon| horizon.map(Seen::new)).collect();
        Self { store, seen, seen_again, exporting: None, local }
    }

    fn epoch(&mut self, time: Time, mut data: Vec<Contributions>) {
        let clock = ClockTime(time).clock();
        self.store.advance(clock, SETTLE_MAX);
        // While old records are read, what they repeat must not be forgotten.
        if !self.local.shared.behind.load(Ordering::Acquire) {
            for (seen, _) in self.seen.iter_mut().flatten() {
                seen.forget(clock);
            }
        }
        // The log's order decides which event finds a set full, not which worker was quicker.
        data.sort_by_key(|batch| {
            (batch.source.0, batch.source.1 + u64::from(batch.events.first().map_or(0, |event| event.index)))
        });
        let mut duplicates = 0;
        for mut batch in data {
            duplicates += self.events(time, &batch);
            for (student, stored) in batch.panes.drain(..) {
                self.store.load(student, stored);
            }
            for (table, generation, id) in batch.ids.drain(..) {
                let known = self.local.shared.layout.tables.iter().position(|number| *number == table);
                if let Some((seen, _)) = known.and_then(|at| self.seen[at].as_mut()) {
                    seen.insert(id, generation);
                }
            }
            self.local.give_back(batch);
        }
        if duplicates > 0 {
            let labels = RecordLabels { topic: topic::BEHAVIOR, outcome: "duplicate" };
            self.local.shared.metrics.records.get_or_create(&labels).inc_by(duplicates);
        }
    }

    /// Explains what was asked of students that are here, as of this epoch.
    fn answer(&mut self, time: Time) {
        for asked in self.local.take_asked_features(time) {
            if let Some(explanation) = self.store.explain(asked.student, asked.view) {
                self.local.shared.asks.feature(asked.no, explanation);
            }
        }
    }

    /// Adds a batch's events; returns how many were repetitions.
    fn events(&mut self, time: Time, batch: &Contributions) -> u64 {
        let (mut segments, mut names) = (batch.segments.iter(), batch.names.iter());
        let (mut amounts, mut parts) = (batch.amounts.as_slice(), batch.parts.as_slice());
        let mut own = Vec::new();
        let mut duplicates = 0;
        for event in &batch.events {
            own.clear();
            for lengths in segments.by_ref().take(usize::from(event.segments)) {
                let (mine, rest) = amounts.split_at(usize::from(lengths.amounts));
                let (mine_too, rest_too) = parts.split_at(usize::from(lengths.parts));
                (amounts, parts) = (rest, rest_too);
                own.push(Segment { grid: lengths.grid, amounts: mine, parts: mine_too });
            }
            let id = if event.named { names.next().cloned().unwrap_or_default() } else { CompactString::default() };
            if !self.is_new(event, batch.backfill) {
                duplicates += u64::from(!batch.backfill);
                continue;
            }
            let moment = Moment { at: event.occurred_at.0, id };
            let full = self.store.add(event.student, &moment, &own);
            if !batch.backfill {
                full.iter().for_each(|slot| self.refuse(time, batch, event, *slot));
            }
        }
        duplicates
    }

    /// Whether an event was not seen before; from now on it was.
    fn is_new(&mut self, event: &Event, backfill: bool) -> bool {
        let table = usize::from(event.table);
        let again = backfill && !self.local.shared.new_tables.contains(&table);
        if !backfill {
            self.seen_again[table] = None;
        }
        // What is read again is remembered here too: the views of before may have left it out as too late, and its
        // repetition may still come.
        let new = match &mut self.seen[table] {
            Some((seen, fresh)) => {
                let generation = seen.generation(event.accepted, event.occurred_at);
                let new = seen.insert(event.id, generation);
                if new {
                    fresh.entry(generation).or_default().push((event.route, event.id));
                }
                new
            }
            None => true,
        };
        match &mut self.seen_again[table] {
            Some(seen) if again => seen.insert(event.id, seen.generation(event.accepted, event.occurred_at)),
            Some(_) | None => new || again,
        }
    }

    /// Gives an event that a full set leaves out to the dead letters.
    fn refuse(&self, time: Time, batch: &Contributions, event: &Event, slot: Slot) {
        let shared = &self.local.shared;
        let info = shared.layout.slot(slot);
        let views = info.map_or(&[][..], |info| &info.views);
        let names: Vec<_> =
            views.iter().map(|view| shared.plan.views[usize::from(*view)].schema.name.as_str()).collect();
        let label = info.map_or("", |info| &info.label);
        let error = format!(
            "{}: the student has {DISTINCT_MAX} {label} in the window already, which is the most that is kept; everything \
             else counts the event",
            names.join(", ")
        );
        shared.dead_at(time, batch.source.0, batch.source.1 + u64::from(event.index), Class::Limit, error);
    }

    /// The rows that leave after an epoch.
    fn changes(&mut self, tell: Tell) -> Vec<StudentUpdate> {
        let students_max = match tell {
            Tell::All => usize::MAX,
            Tell::Some => TELL_MAX,
            Tell::Later => 0,
        };
        let changes = self.store.take_changes(students_max);
        self.local.shared.untold[self.local.index].store(self.store.untold(), Ordering::Release);
        changes
    }

    fn report(&mut self, time: Time) {
        let shared = &self.local.shared;
        shared.settling.report(self.local.index, time, self.store.unsettled());
        let due = self.store.next_due().map_or(i64::MAX, |at| at.0);
        shared.next_due[self.local.index].store(due, Ordering::Relaxed);
        shared.metrics.output_errors.inc_by(self.store.take_failed());
    }

    /// From now on the panes of this epoch are exported in steps; the new event ids go at once.
    fn begin_export(&mut self, time: Time) {
        self.exporting = Some(self.store.begin_export());
        let mut changes = Vec::new();
        for (table, entry) in self.seen.iter_mut().enumerate() {
            let Some((_, fresh)) = entry else { continue };
            for (generation, ids) in std::mem::take(fresh) {
                let number = self.local.shared.layout.tables[table];
                let key = Key::Ids(u32::from(number), generation, time, self.local.index as u32);
                changes.push((key, Some(Row::Ids(ids))));
            }
        }
        self.local.export(changes);
        let (students, panes) = self.store.len();
        self.local.gauge("features", "students", students);
        self.local.gauge("features", "panes", panes);
        self.local.gauge("features", "event_ids", self.seen.iter().flatten().map(|(seen, _)| seen.len()).sum());
    }

    /// One step of an export that is under way.
    fn export_step(&mut self) {
        let Some(total) = self.exporting else { return };
        let shared = &self.local.shared;
        let (students, last) = self.store.export(shared.export.step(total, shared.state.len()));
        self.local.export_step((!students.is_empty()).then_some(StateMessage::Panes(students)), last);
        if last {
            self.exporting = None;
        }
    }
}
