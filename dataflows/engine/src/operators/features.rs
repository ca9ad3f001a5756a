//! The pane operator: duplicates out, events into panes, and per epoch one difference per student for everything that
//! its windows gained and lost. Exchanged by student. Differential takes it from there and sees windows, not events.
//!
//! Law: summed up to any epoch, a student's differences are the sums of its windows at that epoch's clock, or, where the
//! operator still releases a boundary with very many panes, at the clock just before that boundary (`Settling`).

use super::behavior::Contributions;
use super::{Epochs, upper};
use crate::aggregate::FeatureSum;
use crate::dedupe::{IdHash, Seen};
use crate::metrics::RecordLabels;
use crate::panes::{PaneStore, SETTLE_MAX};
use crate::shared::{Local, Time};
use crate::state::{Key, Row};
use crate::symbols::StudentNo;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::topic;
use differential_dataflow::operators::count::CountTotal;
use differential_dataflow::{AsCollection, VecCollection};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator;

/// Students with the sums of their windows.
pub fn features<'scope>(
    stream: StreamVec<'scope, Time, Contributions>,
    local: Local,
) -> VecCollection<'scope, Time, (StudentNo, FeatureSum), isize> {
    panes(stream, local).as_collection().arrange_by_self_named("Windows").count_total()
}

fn panes<'scope>(
    stream: StreamVec<'scope, Time, Contributions>,
    local: Local,
) -> StreamVec<'scope, Time, (StudentNo, Time, FeatureSum)> {
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
                if let Some(cap) = &capability {
                    let cap = cap.delayed(&epoch.time);
                    let changes = operator.store.take_changes().into_iter().map(|(s, sum)| (s, epoch.time, sum));
                    output.session(&cap).give_iterator(changes);
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
    /// Per table: the ids seen, and those that the state does not have yet.
    seen: Vec<Option<(Seen, FreshIds)>>,
    /// How many students the export under way has.
    exporting: Option<usize>,
}

/// Ids with their routes, by generation.
type FreshIds = BTreeMap<i64, Vec<(u64, IdHash)>>;

impl PaneOperator {
    fn new(local: Local) -> Self {
        let shared = &local.shared;
        let windows = shared.plan.views.iter().map(|v| v.schema.window.clone()).collect();
        let store = PaneStore::new(windows, &shared.layout, &shared.identities);
        let seen =
            shared.plan.tables.iter().map(|t| t.dedupe_horizon_ms.map(|h| (Seen::new(h), FreshIds::new()))).collect();
        Self { store, seen, exporting: None, local }
    }

    fn epoch(&mut self, time: Time, data: Vec<Contributions>) {
        let clock = ClockTime(time).clock();
        self.store.advance(clock, SETTLE_MAX);
        for (seen, _) in self.seen.iter_mut().flatten() {
            seen.expire(clock);
        }
        let mut duplicates = 0;
        for batch in data {
            let mut amounts = batch.amounts.as_slice();
            for event in &batch.events {
                let (mine, rest) = amounts.split_at(usize::from(event.amounts));
                amounts = rest;
                if let Some((seen, fresh)) = &mut self.seen[usize::from(event.table)] {
                    let generation = seen.generation(clock, event.occurred_at);
                    if !seen.insert(event.id, generation) {
                        duplicates += 1;
                        continue;
                    }
                    fresh.entry(generation).or_default().push((event.route, event.id));
                }
                self.store.add(event.student, event.occurred_at, mine);
            }
            for (student, stored) in batch.panes {
                self.store.load(student, stored);
            }
            for (table, generation, id) in batch.ids {
                if let Some((seen, _)) = &mut self.seen[usize::from(table)] {
                    seen.insert(id, generation);
                }
            }
        }
        if duplicates > 0 {
            let labels = RecordLabels { topic: topic::BEHAVIOR, outcome: "duplicate" };
            self.local.shared.metrics.records.get_or_create(&labels).inc_by(duplicates);
        }
    }

    fn report(&mut self, time: Time) {
        let shared = &self.local.shared;
        shared.settling.report(self.local.index, time, self.store.unsettled());
        let due = self.store.next_due().map_or(i64::MAX, |at| at.0);
        shared.next_due[self.local.index].store(due, Ordering::Relaxed);
    }

    /// From now on the panes of this epoch are exported in steps; the new event ids go at once.
    fn begin_export(&mut self, time: Time) {
        self.exporting = Some(self.store.begin_export());
        let mut changes = Vec::new();
        for (table, entry) in self.seen.iter_mut().enumerate() {
            let Some((_, fresh)) = entry else { continue };
            for (generation, ids) in std::mem::take(fresh) {
                let key = Key::Ids(table as u32, generation, time, self.local.index as u32);
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
        let (students, last) = self.store.export(shared.export.step(total));
        let change = |(student, stored): (StudentNo, Option<_>)| {
            let (tenant, id) = shared.symbols.student_id(student);
            let key = Key::Panes(shared.symbols.tenant_id(tenant).to_string(), id.to_string());
            (key, stored.map(Row::Panes))
        };
        self.local.export_step(students.into_iter().map(change).collect(), last);
        if last {
            self.exporting = None;
        }
    }
}
