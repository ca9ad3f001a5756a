//! Questions to the running dataflow: what a grade is made of, and what a subject's groups are.
//!
//! A question is a record that is inserted at its epoch's time `t` and removed at `t + 1`. In between it is joined with
//! the arrangements that the grades are made from, so that what it finds is exactly what the views are made from as of
//! `t`; the removal cleans the arrangement of questions, whether or not anybody still waits. What is found at any other
//! time is the retraction of the answer, and is dropped. No join computes a grade here: that is the asker's work, off
//! the workers.

use super::grades::{Groups, GroupsBySubject, Rules, SubjectKey, Subjects};
use super::{Epochs, upper};
use crate::configs::RuleSetNo;
use crate::evaluations::GradeKey;
use crate::shared::{Local, Time};
use crate::symbols::{TenantNo, WordNo};
use aulaflow_model::grade::Item;
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::arrangement::{Arranged, arrange_core};
use differential_dataflow::trace::implementations::{ValBatcher, ValSpine};
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Probe, probe};

/// A question's number and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AskRef {
    /// Its number in this process.
    pub no: u64,
    /// The epoch that answers it.
    pub at: Time,
}

/// What the grades' arrangements are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Question {
    /// The evaluations of one grade, and its subject's rules.
    Grade(GradeKey),
    /// The groups of one subject of a tenant, or of all, and their subjects' rules.
    Groups(TenantNo, Option<WordNo>),
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A group's evaluations.
    Group(GradeKey, Arc<[Item]>),
    /// A subject's rules.
    Rules(WordNo, RuleSetNo),
}

/// The arrangements that questions are joined with.
pub struct Askable<'scope> {
    /// Evaluations by grade.
    pub groups: Groups<'scope>,
    /// The same by subject.
    pub by_subject: GroupsBySubject<'scope>,
    /// Rules by subject, on every worker.
    pub rules: Rules<'scope>,
    /// Subjects with evaluations, by tenant.
    pub subjects: Subjects<'scope>,
}

/// Finds what is asked for and gives it to [`crate::ask::Open`]. `probe` passes an epoch once its answers are there.
pub fn answers<'scope>(
    asks: StreamVec<'scope, Time, (AskRef, Question)>,
    askable: Askable<'scope>,
    local: Local,
    probe: &probe::Handle<Time>,
) {
    let asks = inserted_and_removed(asks);
    let Askable { groups, by_subject, rules, subjects } = askable;
    let one = asks.clone().flat_map(|(ask, question)| match question {
        Question::Grade(key) => Some((key, ask)),
        Question::Groups(..) => None,
    });
    let group = one
        .arrange_by_key_named("AskedGrades")
        .join_core(groups, |key: &GradeKey, ask: &AskRef, items: &Arc<[Item]>| {
            Some((*ask, Found::Group(*key, items.clone())))
        });

    let asked_subjects = asked_subjects(asks.clone(), subjects);
    let of_grades = asks.flat_map(|(ask, question)| match question {
        Question::Grade(key) => Some(((key.tenant, key.subject), ask)),
        Question::Groups(..) => None,
    });
    // Rules are on every worker: one look where the question happens to be.
    let rules = by_subject_here(asked_subjects.clone().concat(of_grades), "AskedRules")
        .join_core(rules, |key: &SubjectKey, ask: &AskRef, rules: &RuleSetNo| {
            Some((*ask, Found::Rules(key.1, *rules)))
        });
    // A subject's groups are on all workers.
    let everywhere = asked_subjects.inner.broadcast().as_collection();
    let groups = by_subject_here(everywhere, "AskedSubjects").join_core(
        by_subject,
        |key: &SubjectKey, ask: &AskRef, (student, period, items): &super::grades::Group| {
            let key = GradeKey { tenant: key.0, student: *student, subject: key.1, period: *period };
            Some((*ask, Found::Group(key, items.clone())))
        },
    );
    deliver(group.concat(groups).concat(rules), local, probe);
}

type Asks<'scope> = VecCollection<'scope, Time, (AskRef, Question), isize>;
type BySubject<'scope> = VecCollection<'scope, Time, (SubjectKey, AskRef), isize>;

fn inserted_and_removed<'scope>(asks: StreamVec<'scope, Time, (AskRef, Question)>) -> Asks<'scope> {
    let updates = asks.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Ask", |_, _| {
        |input, output| {
            input.for_each(|cap, data| {
                let mut session = output.session(&cap);
                for ask in data.drain(..) {
                    session.give((ask, ask.0.at, 1));
                    session.give((ask, ask.0.at + 1, -1));
                }
            });
        }
    });
    updates.as_collection()
}

/// The subjects whose groups are asked for; where all are, those that have evaluations.
fn asked_subjects<'scope>(asks: Asks<'scope>, subjects: Subjects<'scope>) -> BySubject<'scope> {
    let named = asks.clone().flat_map(|(ask, question)| match question {
        Question::Groups(tenant, Some(subject)) => Some(((tenant, subject), ask)),
        Question::Groups(_, None) | Question::Grade(_) => None,
    });
    let all = asks.flat_map(|(ask, question)| match question {
        Question::Groups(tenant, None) => Some((tenant, ask)),
        Question::Groups(_, Some(_)) | Question::Grade(_) => None,
    });
    let all = all
        .arrange_by_key_named("AskedTenants")
        .join_core(subjects, |tenant: &TenantNo, ask: &AskRef, subject: &WordNo| Some(((*tenant, *subject), *ask)));
    named.concat(all)
}

type AskedSubjects<'scope> = Arranged<'scope, TraceAgent<ValSpine<SubjectKey, AskRef, Time, isize>>>;

fn by_subject_here<'scope>(asks: BySubject<'scope>, name: &str) -> AskedSubjects<'scope> {
    arrange_core::<_, _, _, ValSpine<SubjectKey, AskRef, Time, isize>>(asks.inner, Pipeline, name, ValBatcher::new)
}

/// Hands what was found at a question's own time to whoever collects it.
fn deliver<'scope>(
    found: VecCollection<'scope, Time, (AskRef, Found), isize>,
    local: Local,
    probe: &probe::Handle<Time>,
) {
    let done = found.inner.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Pipeline,
        "Answers",
        move |capability, _| {
            let mut epochs = Epochs::new(local.clone());
            let mut capability = Some(capability);
            move |(input, frontier), _output| {
                input.for_each(|_, data| {
                    for ((ask, found), time, diff) in data.drain(..) {
                        if time == ask.at {
                            epochs.push_one(time, ((ask.no, found), diff));
                        }
                    }
                });
                let upper = upper(frontier);
                while let Some(epoch) = epochs.next(upper) {
                    // A group that changes at this very time comes as it was, taken back, and as it is.
                    let mut updates = epoch.data.into_iter().map(|(data, diff)| (data, 0_u64, diff)).collect();
                    consolidate_updates(&mut updates);
                    local.shared.asks.found(updates.into_iter().filter(|(.., n)| *n > 0).map(|(data, ..)| data));
                }
                super::keep_until(&mut capability, upper);
            }
        },
    );
    done.probe_with(probe);
}

#[cfg(test)]
mod tests {
    use super::*;
    use differential_dataflow::trace::TraceReader;
    use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
    use timely::dataflow::operators::vec::Input;
    use timely::progress::frontier::AntichainRef;

    #[test]
    fn questions_that_were_asked_leave_the_arrangement() {
        let kept = timely::execute_directly(|worker| {
            let (mut input, mut trace, probe) = worker.dataflow::<Time, _, _>(|scope| {
                let (input, asks) = scope.new_input();
                let asks = inserted_and_removed(asks).flat_map(|(ask, question)| match question {
                    Question::Grade(key) => Some(((key.tenant, key.subject), ask)),
                    Question::Groups(tenant, subject) => Some(((tenant, subject?), ask)),
                });
                let arranged = by_subject_here(asks, "Asked");
                let probe = arranged.stream.clone().probe().0;
                (input, arranged.trace, probe)
            });
            let mut largest = 0;
            for epoch in 1..=3_000_u64 {
                // Times between epochs are none of theirs.
                let at = epoch * 7;
                input.advance_to(at);
                for no in epoch * 4..epoch * 4 + 4 {
                    input.send((AskRef { no, at }, Question::Groups(no as u32 % 3, Some(no as u32 % 5))));
                }
                input.advance_to(at + 1);
                while probe.less_than(&(at + 1)) {
                    worker.step();
                }
                trace.set_logical_compaction(AntichainRef::new(&[at + 1]));
                trace.set_physical_compaction(AntichainRef::new(&[at + 1]));
                let batches = trace.batches_through(AntichainRef::new(&[])).unwrap();
                largest = largest.max(batches.iter().map(|batch| batch.len()).sum::<usize>());
            }
            largest
        });
        assert!(kept < 200, "{kept} updates were kept of 12,000 questions");
    }
}
