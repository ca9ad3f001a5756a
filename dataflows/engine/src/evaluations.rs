//! The upsert stage of evaluations: the present value per natural key, and which grade each belongs to.
//! Pure state; the operator around it is in `operators/evaluations.rs`.
//!
//! Law: a key's records, in the order of their offsets, fold to one present value and the newest `updated_at` that was
//! given. An upsert with an `updated_at` older than that changes nothing; every other one replaces the value, also one
//! without: it is an edit at its place on the log. A tombstone removes both. So records that all give an `updated_at` fold
//! to the newest in any order. Each change of what is present leaves as an exact retraction and insertion, so nothing
//! outside can ever make a multiplicity negative.

use crate::configs::{ConfigNo, Configs};
use crate::state::StoredEvaluation;
use crate::symbols::{Symbols, TenantNo};
use aulaflow_model::event::Evaluation;
use aulaflow_model::grade::Item;
use aulaflow_model::updated_at::UpdatedAt;
use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A change of one evaluation, from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationChange {
    /// Whose.
    pub tenant: TenantNo,
    /// The natural key.
    pub evaluation_id: CompactString,
    /// Where it stands on the log; a key's records share a partition.
    pub offset: u64,
    /// The value, or a tombstone.
    pub value: Option<Box<Evaluation>>,
    /// From the state: the newest `updated_at` given before a value without one.
    pub given: Option<UpdatedAt>,
}

/// A grade's key: a student's evaluations of one subject and period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GradeKey {
    /// The tenant.
    pub tenant: u32,
    /// The student.
    pub student: u32,
    /// The subject.
    pub subject: u32,
    /// The period.
    pub period: u32,
}

/// A difference for the grades dataflow.
pub type ItemDiff = ((GradeKey, Arc<Item>), isize);

/// What to store of an evaluation: tenant, student, evaluation, and the row (`None`: it is gone).
pub type DirtyEvaluation = (TenantNo, CompactString, CompactString, Option<StoredEvaluation>);

/// A present evaluation.
struct Present {
    value: Box<Evaluation>,
    offset: u64,
    /// The newest `updated_at` given before it, where it has none of its own.
    given: Option<Box<UpdatedAt>>,
    /// The grade it counts in; `None` while no period holds it.
    placed: Option<(GradeKey, Arc<Item>)>,
}

impl Present {
    /// The newest `updated_at` given: an upsert takes effect only where its own is not older, so it is the value's own.
    fn given(&self) -> Option<&UpdatedAt> {
        self.value.updated_at.as_ref().or(self.given.as_deref())
    }
}

/// What an entry takes in memory, without the evaluation and the item behind it: for estimates.
pub const ENTRY_BYTES: usize = size_of::<(CompactString, Present)>();

/// The present evaluations of one worker.
pub struct EvaluationStore {
    symbols: Arc<Symbols>,
    configs: Arc<Configs>,
    by_tenant: FxHashMap<TenantNo, FxHashMap<CompactString, Present>>,
    config_of: FxHashMap<TenantNo, ConfigNo>,
    /// (tenant, student, evaluation): the student is part of the stored key, so that a student's rows lie together.
    dirty: FxHashSet<(TenantNo, CompactString, CompactString)>,
}

impl EvaluationStore {
    /// An empty store.
    pub fn new(symbols: Arc<Symbols>, configs: Arc<Configs>) -> Self {
        Self {
            symbols,
            configs,
            by_tenant: FxHashMap::default(),
            config_of: FxHashMap::default(),
            dirty: FxHashSet::default(),
        }
    }

    /// Applies a change; changes of one key must come in the order of their offsets. A change that the store knows
    /// already (it was replayed) does nothing.
    pub fn apply(&mut self, change: EvaluationChange, out: &mut Vec<ItemDiff>) {
        let present = self.by_tenant.entry(change.tenant).or_default();
        let stale = |old: &Present| {
            change.offset <= old.offset || change.value.as_ref().is_some_and(|new| new.yields_to(old.given()))
        };
        if present.get(&change.evaluation_id).is_some_and(stale) {
            return;
        }
        let config = self.config_of.get(&change.tenant);
        let placed = change.value.as_deref();
        let placed = placed.and_then(|new| place(&self.symbols, &self.configs, config, change.tenant, new));
        let student = change.value.as_deref().map(|new| CompactString::new(new.student_id.as_str()));
        let old = match change.value {
            Some(value) => {
                let before = present.get(&change.evaluation_id).and_then(Present::given).cloned().or(change.given);
                let given = if value.updated_at.is_none() { before.map(Box::new) } else { None };
                let new = Present { value, offset: change.offset, given, placed: placed.clone() };
                present.insert(change.evaluation_id.clone(), new)
            }
            None => present.remove(&change.evaluation_id),
        };
        let old_student = old.as_ref().map(|old| CompactString::new(old.value.student_id.as_str()));
        for student in [student, old_student].into_iter().flatten() {
            self.dirty.insert((change.tenant, student, change.evaluation_id.clone()));
        }
        emit(old.and_then(|o| o.placed), placed, out);
    }

    /// A tenant has another configuration: evaluations without a period of their own may move.
    pub fn configure(&mut self, tenant: TenantNo, config: ConfigNo, out: &mut Vec<ItemDiff>) {
        let before = self.config_of.insert(tenant, config);
        let calendar = |no: ConfigNo| {
            let config = self.configs.get(no);
            (config.timezone.clone(), config.periods.clone())
        };
        if before.is_some_and(|before| calendar(before) == calendar(config)) {
            return;
        }
        for present in self.by_tenant.entry(tenant).or_default().values_mut() {
            if present.value.period.is_none() {
                let placed = place(&self.symbols, &self.configs, Some(&config), tenant, &present.value);
                emit(std::mem::replace(&mut present.placed, placed.clone()), placed, out);
            }
        }
    }

    /// What changed since the last call.
    pub fn take_dirty(&mut self) -> Vec<DirtyEvaluation> {
        let dirty = std::mem::take(&mut self.dirty);
        let with_value = |(tenant, student, id): (TenantNo, CompactString, CompactString)| {
            let value = self.of_student(tenant, &student, &id);
            (tenant, student, id, value)
        };
        dirty.into_iter().map(with_value).collect()
    }

    fn of_student(&self, tenant: TenantNo, student: &str, id: &str) -> Option<StoredEvaluation> {
        let Present { value, offset, given, .. } = self.by_tenant.get(&tenant)?.get(id)?;
        let stored =
            || StoredEvaluation { value: Evaluation::clone(value), offset: *offset, given: given.as_deref().cloned() };
        (value.student_id.as_str() == student).then(stored)
    }

    /// Forgets that anything changed: what is loaded from the state is stored already.
    pub fn clear_dirty(&mut self) {
        self.dirty.clear();
    }

    /// Evaluations present.
    pub fn len(&self) -> usize {
        self.by_tenant.values().map(FxHashMap::len).sum()
    }
}

/// Which grade an evaluation counts in, and as what.
fn place(
    symbols: &Symbols,
    configs: &Configs,
    config: Option<&ConfigNo>,
    tenant: TenantNo,
    value: &Evaluation,
) -> Option<(GradeKey, Arc<Item>)> {
    let period = match &value.period {
        Some(period) => symbols.word(period.as_str()),
        None => symbols.word(configs.get(*config?).period_at(value.graded_at)?.as_str()),
    };
    let tenant_id = symbols.tenant_id(tenant);
    let student = symbols.student(symbols.tenant(tenant_id.as_str()), value.student_id.as_str());
    let key = GradeKey { tenant, student: student.number, subject: symbols.word(value.subject.as_str()), period };
    Some((key, Arc::new(value.item())))
}

fn emit(old: Option<(GradeKey, Arc<Item>)>, new: Option<(GradeKey, Arc<Item>)>, out: &mut Vec<ItemDiff>) {
    if old != new {
        out.extend(old.map(|o| (o, -1)));
        out.extend(new.map(|n| (n, 1)));
    }
}
