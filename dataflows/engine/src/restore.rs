//! Loading the state into the dataflows, in bounded steps: each is one epoch, complete before the next is read.
//! A step never cuts a student's rows in two, so that no half-loaded grade is taken for a change.

use crate::coordinator::Coordinator;
use crate::evaluations::EvaluationChange;
use crate::operators::behavior::{BehaviorInput, Loaded};
use crate::operators::evaluations::EvaluationInput;
use crate::operators::tenants::TenantInput;
use crate::shared::Shared;
use crate::state::{self, Key, Row, StateStore, StoredEvaluation};
use crate::worker::EpochInput;
use compact_str::CompactString;

/// Rows in one step.
const STEP_ROWS: usize = 20_000;

/// Loads everything, and returns how many rows; `progress` is told how many so far.
pub fn load(coordinator: &mut Coordinator, store: &StateStore, progress: &dyn Fn(u64)) -> Result<u64, String> {
    let shared = coordinator.shared.clone();
    let workers = coordinator.workers.len();
    let mut step = Step::new(workers);
    let mut group = None;
    let mut load = store.load().map_err(|e| e.to_string())?;
    while let Some(loaded) = load.next() {
        let loaded = loaded.map_err(|e| e.to_string())?;
        let of = step_group(&loaded);
        if step.rows >= STEP_ROWS && group != Some(of.clone()) {
            coordinator.load(std::mem::replace(&mut step, Step::new(workers)).inputs)?;
            progress(load.rows_read());
        }
        group = Some(of);
        step.add(&shared, loaded)?;
    }
    coordinator.load(step.inputs)?;
    progress(load.rows_read());
    Ok(load.rows_read())
}

/// Rows of one group belong in one step.
fn step_group(loaded: &state::Loaded) -> (u8, String, String) {
    let key = match loaded {
        state::Loaded::Row(key, _) => key,
        state::Loaded::Student(tenant, student, _) => return (4, tenant.clone(), student.clone()),
    };
    match key {
        Key::Tenant(tenant) => (0, tenant.clone(), String::new()),
        Key::History(tenant, student) => (1, tenant.clone(), student.clone()),
        Key::Evaluation(tenant, student, _) => (2, tenant.clone(), student.clone()),
        Key::Ids(table, generation, time, worker) => (3, format!("{table}/{generation}"), format!("{time}/{worker}")),
        Key::Pane(tenant, student, ..) => (4, tenant.clone(), student.clone()),
    }
}

/// One bounded step: rows on their way to the operators that keep them.
pub struct Step {
    /// By worker.
    pub inputs: Vec<EpochInput>,
    rows: usize,
}

impl Step {
    /// Nothing yet.
    pub fn new(workers: usize) -> Self {
        Self { inputs: (0..workers).map(|_| EpochInput::default()).collect(), rows: 0 }
    }

    /// Adds what was loaded.
    pub fn add(&mut self, shared: &Shared, loaded: state::Loaded) -> Result<(), String> {
        self.rows += 1;
        let turn = self.rows % self.inputs.len();
        let student = |tenant: &str, student: &str| shared.symbols.student(shared.symbols.tenant(tenant), student);
        let input = &mut self.inputs[turn];
        let (key, row) = match loaded {
            state::Loaded::Row(key, row) => (key, row),
            state::Loaded::Student(tenant, id, panes) => {
                push_loaded(&mut input.behavior, [Loaded::Panes(student(&tenant, &id), panes)]);
                return Ok(());
            }
        };
        match (key, row) {
            (Key::Tenant(tenant), Row::Tenant { json, .. }) => {
                self.inputs[0].tenants.push(TenantInput::Loaded(tenant, json));
            }
            (Key::History(tenant, id), Row::History(history)) => {
                shared.histories.insert(student(&tenant, &id).number, history);
            }
            (Key::Evaluation(tenant, _, id), Row::Evaluation(stored)) => {
                let StoredEvaluation { value, offset, given } = *stored;
                let (tenant, _) = shared.symbols.tenant(&tenant);
                let evaluation_id = CompactString::new(id);
                let change = EvaluationChange { tenant, evaluation_id, offset, value: Some(Box::new(value)), given };
                push(&mut input.evaluations, change);
            }
            (Key::Ids(table, generation, ..), Row::Ids(ids)) => {
                self.rows += ids.len();
                let one = |(route, id)| Loaded::Id(route, table as u16, generation, id);
                push_loaded(&mut input.behavior, ids.into_iter().map(one));
            }
            (key, _) => return Err(format!("the state holds a row of another kind under {key:?}")),
        }
        Ok(())
    }
}

fn push(inputs: &mut Vec<EvaluationInput>, change: EvaluationChange) {
    match inputs.last_mut() {
        Some(EvaluationInput::Loaded(changes)) => changes.push(change),
        Some(EvaluationInput::Chunk(_)) | None => inputs.push(EvaluationInput::Loaded(vec![change])),
    }
}

fn push_loaded(inputs: &mut Vec<BehaviorInput>, rows: impl IntoIterator<Item = Loaded>) {
    match inputs.last_mut() {
        Some(BehaviorInput::Loaded(all)) => all.extend(rows),
        Some(BehaviorInput::Chunk(_) | BehaviorInput::Backfill(_)) | None => {
            inputs.push(BehaviorInput::Loaded(rows.into_iter().collect()))
        }
    }
}
