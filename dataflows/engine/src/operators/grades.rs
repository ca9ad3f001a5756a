//! Grades: items grouped per student, subject and period, joined with the rule in force, through the grade function.
//!
//! A change of a rule re-grades exactly the groups whose rule changed: rules are resolved per (tenant, subject), where an
//! equal set of rules is no difference. Groups stay on the worker that grouped them, and rules go to all workers, so that
//! one subject's thousands of groups are re-graded by all of them.

use super::ask::Askable;
use super::cohorts::ScaleEnds;
use super::evaluations::ItemUpdate;
use super::tenants::ConfigDiff;
use crate::configs::RuleSetNo;
use crate::evaluations::GradeKey;
use crate::shared::{Local, Time};
use crate::symbols::{TenantNo, WordNo};
use aulaflow_model::grade::{Grade, Item, grade, unweighted_types};
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::arrangement::{Arranged, arrange_core};
use differential_dataflow::trace::implementations::{ValBatcher, ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, VecCollection};
use std::sync::Arc;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::Broadcast;

/// A subject of a tenant.
pub type SubjectKey = (TenantNo, WordNo);
/// A group as the join needs it: student, period, items.
pub type Group = (u32, WordNo, Arc<[Item]>);

/// What keys and values of the arrangements by subject take in memory, without the items behind them: for estimates.
pub const SUBJECT_KEY_BYTES: usize = size_of::<SubjectKey>();
/// A group.
pub const GROUP_BYTES: usize = size_of::<Group>();

/// A grade by its key, with the scale of the rule that made it.
pub type Graded = (GradeKey, Arc<Grade>, ScaleEnds);

/// Grades by key, and what they are made from.
pub fn grades<'scope>(
    items: StreamVec<'scope, Time, ItemUpdate>,
    configs: StreamVec<'scope, Time, ConfigDiff>,
    local: Local,
) -> (VecCollection<'scope, Time, Graded, isize>, Askable<'scope>) {
    let items = items.as_collection();
    let subjects = items.clone().map(|(key, _)| (key.tenant, key.subject)).distinct().arrange_by_key_named("Subjects");
    let rules = rules(subjects.clone(), configs, local.clone());
    let groups = groups(items, local.clone());
    let by_subject = by_subject(groups.clone());
    let askable = Askable { groups, by_subject: by_subject.clone(), rules: rules.clone(), subjects };
    let grades =
        by_subject.join_core(rules, move |key: &SubjectKey, (student, period, items): &Group, rules: &RuleSetNo| {
            let rules = local.shared.configs.get_rule_set(*rules);
            let period_id = local.shared.symbols.period(*period);
            let (rule, version) = rules.rule(&period_id)?;
            let unweighted = unweighted_types(items, rule).len();
            if unweighted > 0 {
                local.shared.metrics.unweighted.inc_by(unweighted as u64);
            }
            let key = GradeKey { tenant: key.0, student: *student, subject: key.1, period: *period };
            let ends = (rule.scale.min.micros(), rule.scale.max.micros());
            grade(items, rule, version).map(|grade| (key, grade, ends))
        });
    (grades, askable)
}

/// Subjects that have evaluations, by tenant.
pub type Subjects<'scope> = Arranged<'scope, TraceAgent<ValSpine<TenantNo, WordNo, Time, isize>>>;
/// The rules in force by subject.
pub type Rules<'scope> = Arranged<'scope, TraceAgent<ValSpine<SubjectKey, RuleSetNo, Time, isize>>>;

/// The rules in force per subject that has evaluations, on every worker.
fn rules<'scope>(
    subjects: Subjects<'scope>,
    configs: StreamVec<'scope, Time, ConfigDiff>,
    local: Local,
) -> Rules<'scope> {
    let configs = configs.as_collection().arrange_by_key_named("Configs");
    let rules = subjects.join_core(configs, move |tenant, subject, config| {
        let rules = local.shared.configs.rule_set(*config, &local.shared.symbols.subject(*subject));
        [((*tenant, *subject), rules)]
    });
    let rules = rules.consolidate().inner.broadcast();
    arrange_core::<_, _, _, ValSpine<SubjectKey, RuleSetNo, Time, isize>>(rules, Pipeline, "Rules", ValBatcher::new)
}

/// Items per grade.
pub type Groups<'scope> = Arranged<'scope, TraceAgent<ValSpine<GradeKey, Arc<[Item]>, Time, isize>>>;
/// The same by subject, where they are.
pub type GroupsBySubject<'scope> = Arranged<'scope, TraceAgent<ValSpine<SubjectKey, Group, Time, isize>>>;

fn groups<'scope>(items: VecCollection<'scope, Time, (GradeKey, Arc<Item>), isize>, local: Local) -> Groups<'scope> {
    items
        .arrange_by_key_named("Items")
        .reduce_abelian::<_, ValBuilder<GradeKey, Arc<[Item]>, Time, isize>, ValSpine<GradeKey, Arc<[Item]>, Time, isize>, _, _>(
            "Groups",
            move |_key, input, output| {
                if input.iter().any(|(_, n)| *n != 1) {
                    local.shared.metrics.negative.inc();
                    tracing::error!("a multiplicity of an evaluation is not 1");
                }
                let items = input.iter().filter(|(_, n)| *n > 0).map(|(item, _)| Item::clone(item));
                output.push((items.collect::<Arc<[Item]>>(), 1));
            },
            |out, key, updates| {
                out.clear();
                out.extend(updates.drain(..).map(|(v, t, r)| ((*key, v), t, r)));
            },
        )
}

fn by_subject(groups: Groups<'_>) -> GroupsBySubject<'_> {
    let groups =
        groups.as_collection(|key, items| ((key.tenant, key.subject), (key.student, key.period, items.clone())));
    arrange_core::<_, _, _, ValSpine<SubjectKey, Group, Time, isize>>(
        groups.inner,
        Pipeline,
        "GroupsBySubject",
        ValBatcher::new,
    )
}
