//! What workers hand to the recorder: bounded, and in the order of each worker's times. What becomes of it is not known here.
//!
//! Changes are only taken where they are *wanted*: while a restarted process reads again what an earlier one has told, they are
//! not, since the comparison that follows makes good for all of them at once. The order that this depends on:
//!
//! - A worker says of which time its batch is and looks whether it is wanted (`begin`), then shows the batch in the serving
//!   store, then hands it over (`apply`).
//! - The recorder wants changes first, and then asks for the newest time that was said. Whatever was not handed over is in the
//!   store once that time is complete.
//! - Where it takes up its work anew, what was begun before that is not handed over any more: the comparison makes good for it, too.

use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::ClockTime;
use aulaflow_sink::update::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a worker that waits for room looks whether it still has to.
const LOOK: Duration = Duration::from_millis(500);

/// One worker's end: a sink behind the worker's serving store.
pub struct Queue {
    inbox: Arc<Inbox>,
    worker: usize,
    /// Since when changes have been wanted as the batch under way began; `None`: they were not.
    turn: Option<Turn>,
}

/// How often changes have become wanted; 0: they are not.
type Turn = u64;

pub(crate) enum Told {
    Students(ClockTime, Vec<StudentChange>),
    Cohorts(ClockTime, Vec<CohortChange>),
    /// Everything up to this time was told.
    Complete(ClockTime),
}

/// Where all workers hand over.
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Wakes the recorder.
    pub work: Condvar,
    /// Wakes workers that wait for room.
    room: Condvar,
    wanted: AtomicU64,
    /// The latest time of which anything may be in the serving store.
    newest: AtomicU64,
    /// Whether a view's rows are kept.
    views: Vec<bool>,
    rows_max: usize,
}

#[derive(Default)]
struct State {
    told: VecDeque<(usize, Told)>,
    rows: usize,
    turns: Turn,
    /// Nobody takes anything any more.
    closed: bool,
}

impl Queue {
    pub(crate) fn new(inbox: &Arc<Inbox>, worker: usize) -> Self {
        Self { inbox: Arc::clone(inbox), worker, turn: None }
    }
}

impl IdempotentSink for Queue {
    fn begin(&mut self, time: ClockTime) {
        self.turn = self.inbox.says(time);
    }

    /// The batch is shown by now. Holds the dataflow back while the recorder is too far behind.
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        let Some(turn) = self.turn else { return Outcome::Applied };
        let kept = |feature: &&FeatureChange| self.inbox.keeps(feature.view);
        let of_student = |change: &StudentChange| StudentChange {
            tenant: change.tenant.clone(),
            student: change.student.clone(),
            grades: change.grades.clone(),
            features: change.features.iter().filter(kept).cloned().collect(),
        };
        let mut changes: Vec<_> = batch.changes.iter().map(of_student).collect();
        changes.retain(|change| !change.grades.is_empty() || !change.features.is_empty());
        if changes.is_empty() {
            return Outcome::Applied;
        }
        self.inbox.push(self.worker, Told::Students(batch.time, changes), turn)
    }

    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        match self.turn.filter(|_| !batch.changes.is_empty()) {
            Some(turn) => self.inbox.push(self.worker, Told::Cohorts(batch.time, batch.changes.clone()), turn),
            None => Outcome::Applied,
        }
    }

    /// Rows that did not change are recorded already.
    fn snapshot(&mut self, _batch: &ChangeBatch) -> Outcome {
        Outcome::Applied
    }

    /// Cohorts that only add up while the state is loaded are no changes.
    fn snapshot_cohorts(&mut self, _batch: &CohortBatch) -> Outcome {
        Outcome::Applied
    }

    fn advance(&mut self, frontier: ClockTime) {
        self.inbox.complete(self.worker, ClockTime(frontier.0.saturating_sub(1)));
    }
}

impl Inbox {
    pub fn new(views: Vec<bool>, rows_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            wanted: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            views,
            rows_max,
        }
    }

    fn keeps(&self, view: ViewIndex) -> bool {
        self.views.get(usize::from(view)).copied().unwrap_or(false)
    }

    /// Notes a batch's time; whether its changes are wanted.
    fn says(&self, time: ClockTime) -> Option<Turn> {
        self.newest.fetch_max(time.0, Ordering::SeqCst);
        Some(self.wanted.load(Ordering::SeqCst)).filter(|turn| *turn > 0)
    }

    /// Takes changes from now on.
    pub fn want(&self) {
        let mut state = self.state.lock();
        if !self.is_wanted() {
            state.turns += 1;
            self.wanted.store(state.turns, Ordering::SeqCst);
        }
    }

    /// Takes none, and forgets those that nobody has taken yet.
    pub fn want_not(&self) {
        let mut state = self.state.lock();
        self.wanted.store(0, Ordering::SeqCst);
        state.told.retain(|(_, told)| matches!(told, Told::Complete(_)));
        state.rows = state.told.len();
        drop(state);
        self.room.notify_all();
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > 0
    }

    /// Nothing of a later time is in the serving store.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// Hands over what has been wanted since `turn`. Where there is no room it waits a little, and holds the batch then.
    fn push(&self, worker: usize, told: Told, turn: Turn) -> Outcome {
        let mut state = self.state.lock();
        if state.rows >= self.rows_max && !state.closed {
            self.room.wait_for(&mut state, LOOK);
            if state.rows >= self.rows_max && !state.closed {
                return Outcome::Hold(Duration::ZERO);
            }
        }
        if !state.closed && turn == self.wanted.load(Ordering::SeqCst) {
            self.put(state, (worker, told));
        }
        Outcome::Applied
    }

    /// Everything of a worker up to and including `complete` was handed over. It takes no room: frontiers follow one another,
    /// and the last says it all.
    fn complete(&self, worker: usize, complete: ClockTime) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        match state.told.iter_mut().rev().find(|(of, _)| *of == worker) {
            Some((_, Told::Complete(before))) => *before = complete,
            Some((_, Told::Students(..) | Told::Cohorts(..))) | None => {
                self.put(state, (worker, Told::Complete(complete)));
            }
        }
    }

    fn put(&self, mut state: MutexGuard<'_, State>, (worker, told): (usize, Told)) {
        state.rows += told.rows();
        let first = state.told.is_empty();
        state.told.push_back((worker, told));
        drop(state);
        if first {
            self.work.notify_all();
        }
    }

    /// All that was handed over. Waits for it where there is nothing, for `timeout` at most.
    pub fn take(&self, timeout: Duration) -> VecDeque<(usize, Told)> {
        let mut state = self.state.lock();
        if state.told.is_empty() && !timeout.is_zero() {
            self.work.wait_for(&mut state, timeout);
        }
        state.rows = 0;
        let told = std::mem::take(&mut state.told);
        drop(state);
        self.room.notify_all();
        told
    }

    /// Wakes the recorder.
    pub fn wake(&self) {
        // Under the lock: the recorder is either waiting, or will look again.
        drop(self.state.lock());
        self.work.notify_all();
    }

    /// Nobody waits for room any more, and nothing is taken.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.told.clear();
        state.rows = 0;
        drop(state);
        self.room.notify_all();
    }

    pub fn rows(&self) -> usize {
        self.state.lock().rows
    }
}

impl Told {
    /// How much room it takes: never nothing.
    fn rows(&self) -> usize {
        match self {
            Self::Students(_, changes) => {
                changes.iter().map(|change| 1 + change.grades.len() + change.features.len()).sum()
            }
            Self::Cohorts(_, changes) => changes.len(),
            Self::Complete(_) => 1,
        }
    }

    /// When.
    pub fn time(&self) -> ClockTime {
        match self {
            Self::Students(time, _) | Self::Cohorts(time, _) | Self::Complete(time) => *time,
        }
    }
}
