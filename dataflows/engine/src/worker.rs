//! One timely worker: its dataflow, and the loop that feeds it epochs and reports which are complete.

use crate::operators::ask::{self, AskRef, Question};
use crate::operators::behavior::{self, BehaviorInput};
use crate::operators::evaluations::{self, EvaluationInput};
use crate::operators::tenants::{self, TenantInput};
use crate::operators::{cohorts, features, grades, profiles};
use crate::sampler::SamplerSink;
use crate::shared::{AskedFeature, Handed, Local, Shared, Tell, Time};
use aulaflow_sink::Fanout;
use crossbeam_channel::{Receiver, TryRecvError};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;
use timely::dataflow::operators::probe;
use timely::dataflow::operators::vec::{Broadcast, Input};
use timely::worker::Worker;

/// One epoch for one worker.
#[derive(Default)]
pub struct EpochInput {
    /// When.
    pub time: Time,
    /// Behaviour events.
    pub behavior: Vec<BehaviorInput>,
    /// Evaluations.
    pub evaluations: Vec<EvaluationInput>,
    /// Tenants' configurations.
    pub tenants: Vec<TenantInput>,
    /// Questions to the grades' arrangements; on one worker.
    pub asks: Vec<(AskRef, Question)>,
    /// Questions to the panes; on every worker.
    pub asked_features: Vec<AskedFeature>,
    /// Whether to export the state after it.
    pub barrier: bool,
    /// Whether it comes from the state.
    pub loading: bool,
    /// What versions of grades are cut to.
    pub versions_bound: u32,
    /// Which changed rows of features leave after it.
    pub tell: Tell,
}

/// What a worker is told.
pub enum ToWorker {
    /// Work on an epoch, and close it.
    Epoch(EpochInput),
    /// End.
    Stop,
}

/// How far the workers are.
pub struct Progress {
    /// The last complete epoch by worker.
    complete: Vec<AtomicU64>,
    /// The workers' threads, once they run, to be woken.
    threads: Mutex<Vec<Option<Thread>>>,
    /// The thread that waits for completion.
    waiter: Mutex<Option<Thread>>,
}

impl Progress {
    /// Nothing is complete.
    pub fn new(workers: usize) -> Self {
        Self {
            complete: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            threads: Mutex::new(vec![None; workers]),
            waiter: Mutex::default(),
        }
    }

    /// The last epoch that is complete on all workers.
    pub fn complete(&self) -> Time {
        self.complete.iter().map(|t| t.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Wakes a worker that waits for input.
    pub fn wake(&self, worker: usize) {
        if let Some(Some(thread)) = self.threads.lock().get(worker) {
            thread.unpark();
        }
    }

    /// The calling thread is woken when an epoch is complete.
    pub fn wait_here(&self) {
        *self.waiter.lock() = Some(std::thread::current());
    }

    fn report(&self, worker: usize, time: Time) {
        self.complete[worker].store(time, Ordering::Release);
        if let Some(thread) = self.waiter.lock().as_ref() {
            thread.unpark();
        }
    }
}

/// How long a worker without input sleeps at most.
const PARK_IDLE: Duration = Duration::from_secs(1);
/// How long it sleeps while an epoch is under way and other workers have the next step.
const PARK_BUSY: Duration = Duration::from_millis(5);

/// Runs a worker until it is told to stop.
pub fn run(worker: &mut Worker, shared: Arc<Shared>, sinks: Fanout, epochs: &Receiver<ToWorker>, progress: &Progress) {
    let index = worker.index();
    let known = Rc::new(RefCell::new(BTreeMap::new()));
    let peers = worker.peers();
    let loading = Rc::new(Cell::new(false));
    let local = Local {
        shared,
        index,
        peers,
        epochs: known.clone(),
        loading,
        spare: Rc::default(),
        asked_features: Rc::default(),
    };
    let probe = probe::Handle::new();
    let sinks = Fanout::new().with(SamplerSink(local.shared.clone())).and(sinks);
    let mut inputs = build(worker, &local, sinks, &probe);
    progress.threads.lock()[index] = Some(std::thread::current());
    let mut under_way: VecDeque<Time> = VecDeque::new();
    loop {
        match epochs.try_recv() {
            Ok(ToWorker::Epoch(mut input)) => {
                local.loading.set(input.loading);
                let handed = Handed { barrier: input.barrier, versions_bound: input.versions_bound, tell: input.tell };
                known.borrow_mut().insert(input.time, handed);
                if !input.asked_features.is_empty() {
                    let asked = std::mem::take(&mut input.asked_features);
                    local.asked_features.borrow_mut().insert(input.time, asked);
                }
                inputs.epoch(&mut input);
                under_way.push_back(input.time);
            }
            Ok(ToWorker::Stop) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {}
        }
        worker.step_or_park(Some(if under_way.is_empty() { PARK_IDLE } else { PARK_BUSY }));
        while let Some(time) = under_way.front().copied().filter(|t| !probe.less_equal(t)) {
            under_way.pop_front();
            known.borrow_mut().remove(&time);
            local.take_asked_features(time);
            progress.report(index, time);
        }
    }
}

type Handle<D> = timely::dataflow::operators::vec::input::Handle<Time, D>;

/// The dataflow's inputs on this worker.
pub struct Inputs {
    behavior: Handle<BehaviorInput>,
    evaluations: Handle<EvaluationInput>,
    tenants: Handle<TenantInput>,
    asks: Handle<(AskRef, Question)>,
}

impl Inputs {
    /// Gives all inputs their part of an epoch, and closes it.
    fn epoch(&mut self, input: &mut EpochInput) {
        self.advance_to(input.time);
        self.behavior.send_batch(&mut input.behavior);
        self.evaluations.send_batch(&mut input.evaluations);
        self.tenants.send_batch(&mut input.tenants);
        self.asks.send_batch(&mut input.asks);
        self.advance_to(input.time + 1);
    }

    fn advance_to(&mut self, time: Time) {
        self.behavior.advance_to(time);
        self.evaluations.advance_to(time);
        self.tenants.advance_to(time);
        self.asks.advance_to(time);
    }
}

/// Builds the dataflow; its inputs.
pub fn build(worker: &mut Worker, local: &Local, sinks: Fanout, probe: &probe::Handle<Time>) -> Inputs {
    worker.dataflow_named("aulaflow", |scope| {
        let (behavior, behavior_stream) = scope.new_input();
        let (evaluations, evaluation_stream) = scope.new_input();
        let (tenants, tenant_stream) = scope.new_input();
        let (asks, ask_stream) = scope.new_input();

        let contributions = behavior::decode(behavior_stream, local.clone());
        let features = features::features(contributions, local.clone());

        let configs = tenants::tenants(tenant_stream, local.clone());
        let changes = evaluations::decode(evaluation_stream, local.clone());
        let items = evaluations::upsert(changes, configs.clone().broadcast(), local.clone());
        let (graded, askable) = grades::grades(items, configs, local.clone());
        ask::answers(ask_stream, askable, local.clone(), probe);

        let [to_profiles, to_cohorts] = sinks.split();
        cohorts::cohorts(graded.clone(), to_cohorts, local.clone(), probe);
        let grades = graded.map(|(key, grade, _)| (key, grade));
        profiles::profiles(features, grades, to_profiles, local.clone(), probe);
        Inputs { behavior, evaluations, tenants, asks }
    })
}
