//! Cohorts: sums over all grades of a tenant, subject and period, kept in the difference, emitted per epoch.
//!
//! Law: [`CohortSum`] is an abelian group, so a cohort is the sum of its grades' parts whatever the order of epochs and
//! workers; a grade that changes is its old part subtracted and its new one added. The cost is that of the grades that
//! changed, never of those that are there. A cohort whose rule gets another scale is, within one epoch, the last sum on
//! the old scale retracted and the first on the new one inserted: its grades all changed.

use super::grades::Graded;
use super::{Epoch, Epochs, upper};
use crate::shared::{Local, Time};
use crate::symbols::{TenantNo, WordNo};
use aulaflow_model::cohort::{Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::tenant::Scale;
use aulaflow_sink::Part;
use aulaflow_sink::update::{CohortBatch, CohortChange};
use differential_dataflow::VecCollection;
use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use differential_dataflow::hashable::Hashable;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::count::CountTotal;
use differential_dataflow::trace::implementations::{KeyBatcher, KeySpine};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Probe, probe};

/// A scale's ends, in millionths.
pub type ScaleEnds = (i64, i64);

/// A cohort: tenant, subject, period.
type CohortKey = (TenantNo, WordNo, WordNo);
/// With the scale that its grades are on.
type OnScale = (CohortKey, ScaleEnds);

/// Sums over grades, as a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct CohortSum(Sums);

impl IsZero for CohortSum {
    fn is_zero(&self) -> bool {
        self.0 == Sums::default()
    }
}

impl Semigroup for CohortSum {
    fn plus_equals(&mut self, other: &Self) {
        self.0.add(&other.0);
    }
}

impl Monoid for CohortSum {
    fn zero() -> Self {
        Self::default()
    }
}

impl Abelian for CohortSum {
    fn negate(&mut self) {
        self.0.negate();
    }
}

fn scale((min, max): ScaleEnds) -> Scale {
    Scale { min: Decimal::from_micros(min), max: Decimal::from_micros(max) }
}

/// Sums the grades up per cohort, emits what changes, and has `probe` watch that it did.
pub fn cohorts<'scope>(
    grades: VecCollection<'scope, Time, Graded, isize>,
    sinks: Part,
    local: Local,
    probe: &probe::Handle<Time>,
) {
    let parts = grades.inner.unary(Pipeline, "CohortParts", |_, _| {
        move |input, output| {
            input.for_each(|cap, data| {
                let mut session = output.session(&cap);
                for ((key, grade, ends), time, diff) in data.drain(..) {
                    let Some(mut part) = Sums::of(&grade, scale(ends)).map(CohortSum) else { continue };
                    if diff < 0 {
                        part.negate();
                    }
                    // A grade is there once; a multiplicity that is not is counted where profiles are made.
                    for _ in 0..diff.unsigned_abs() {
                        session.give(((((key.tenant, key.subject, key.period), ends), ()), time, part));
                    }
                }
            });
        }
    });
    // By the cohort and not by its scale: all changes of a cohort come from one worker.
    let by_cohort = Exchange::new(|part: &((OnScale, ()), Time, CohortSum)| part.0.0.0.hashed());
    let sums =
        arrange_core::<_, _, _, KeySpine<OnScale, Time, CohortSum>>(parts, by_cohort, "Cohorts", KeyBatcher::new)
            .count_total();
    let done = sums.inner.unary_frontier::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Pipeline,
        "CohortChanges",
        move |capability, _| {
            let mut epochs = Epochs::new(local.clone());
            let mut operator = CohortOperator { local, sinks, present: 0 };
            let mut capability = Some(capability);
            move |(input, frontier), _output| {
                input.for_each(|_, data| {
                    // An update's own time counts: a message may carry several.
                    for (sum, time, diff) in data.drain(..) {
                        epochs.push_one(time, (sum, diff));
                    }
                });
                let upper = upper(frontier);
                while let Some(epoch) = epochs.next(upper) {
                    operator.epoch(epoch);
                }
                super::keep_until(&mut capability, upper);
            }
        },
    );
    done.probe_with(probe);
}

struct CohortOperator {
    local: Local,
    sinks: Part,
    /// How many cohorts there are.
    present: isize,
}

impl CohortOperator {
    fn epoch(&mut self, epoch: Epoch<((OnScale, CohortSum), isize)>) {
        let time = ClockTime(epoch.time);
        let mut rows: FxHashMap<CohortKey, [Option<Arc<Cohort>>; 2]> = FxHashMap::default();
        for (((key, ends), sum), diff) in epoch.data {
            self.present += diff;
            let [before, after] = rows.entry(key).or_default();
            let row = if diff > 0 { after } else { before };
            *row = Some(Arc::new(Cohort { scale: scale(ends), sums: sum.0 }));
        }
        if !rows.is_empty() {
            let symbols = &self.local.shared.symbols;
            let changes = rows.into_iter().map(|((tenant, subject, period), [before, after])| CohortChange {
                tenant: symbols.tenant_id(tenant),
                subject: symbols.subject(subject),
                period: symbols.period(period),
                before,
                after,
            });
            let batch = CohortBatch { time, changes: changes.collect() };
            if self.local.loading.get() {
                self.sinks.snapshot_cohorts(&batch);
            } else {
                self.sinks.apply_cohorts(&batch);
            }
        }
        if epoch.barrier {
            self.local.gauge("grades", "cohorts", usize::try_from(self.present).unwrap_or(0));
        }
        self.sinks.advance(time.next(time.clock()));
    }
}
