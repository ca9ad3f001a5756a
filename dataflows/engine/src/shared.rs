//! What the workers of a process share, and what one worker's operators share.

use crate::configs::Configs;
use crate::dead_letters::{Class, DeadLetter};
use crate::layout::Layout;
use crate::metrics::{DeadLabels, Metrics, ShareLabels};
use crate::operators::behavior::Contributions;
use crate::panes::StoredStudent;
use crate::state::{Change, KnownView, StoredHistory};
use crate::symbols::{StudentNo, Symbols};
use aulaflow_log::{Offset, RecordSet};
use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_plan::sql::Format;
use crossbeam_channel::Sender;
use dashmap::DashMap;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// Differential's timestamp: a `ClockTime` as its number.
pub type Time = u64;

/// A part of a fetched set of records, for one worker.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The partition.
    pub partition: u32,
    /// The offset of the record with index 0 in the set that was fetched.
    pub base_offset: Offset,
    /// The records.
    pub records: RecordSet,
}

/// What goes to the thread that writes dead letters and checkpoints.
pub enum StateMessage {
    /// A record that cannot be used.
    Dead(DeadLetter),
    /// A behaviour event that cannot be used, found where only its place is known.
    DeadAt {
        /// The epoch that met it.
        time: Time,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: Offset,
        /// Why.
        class: Class,
        /// For people.
        error: String,
    },
    /// Changes of the state as of a barrier; encoded by the thread that writes them, since workers have events to serve.
    Changes(Vec<Change>),
    /// Likewise, histories by student.
    Histories(Vec<(StudentNo, StoredHistory)>),
    /// Likewise, panes by student: names are looked up where they are encoded.
    Panes(Vec<(StudentNo, StoredStudent)>),
    /// One of the parts that export in steps has exported all of the barrier.
    Exported,
    /// An epoch is complete: its letters can be written.
    Complete(Time),
    /// A barrier is complete: with the parts that export in steps, everything sent since the one before belongs to it.
    Barrier {
        /// Its time.
        time: Time,
        /// Where to read on after a restart.
        offsets: BTreeMap<(String, u32), Offset>,
        /// Highest event time by behaviour partition, as of it.
        event_high: BTreeMap<u32, Millis>,
    },
    /// Write what is there and end.
    Stop {
        /// Whether the next start has nothing to make good.
        clean: bool,
    },
}

/// The partition where a tenant's records belong.
pub type Home = Box<dyn Fn(&str) -> u32 + Send + Sync>;
/// Dead records by source partition.
pub type DeadBySource = BTreeMap<(&'static str, u32), crate::budget::Dead>;
/// By epoch.
pub type DeadByEpoch = BTreeMap<Time, DeadBySource>;

/// What all workers share.
pub struct Shared {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// What views share.
    pub layout: Arc<Layout>,
    /// Tables that the state has nothing of, by their place in the plan.
    pub new_tables: Vec<usize>,
    /// Views' identities: a hash of what a view computes.
    pub identities: Vec<u64>,
    /// Names and numbers.
    pub symbols: Arc<Symbols>,
    /// Configurations and rule sets.
    pub configs: Arc<Configs>,
    /// Which partitions are read.
    pub share: Share,
    /// The partition where a tenant's records belong.
    pub home: Home,
    /// How behaviour events are written.
    pub format: Format,
    /// Counters.
    pub metrics: Metrics,
    /// Boundaries whose panes are being released.
    pub settling: Settling,
    /// Histories loaded from the state, until a student's rows are computed.
    pub histories: DashMap<StudentNo, StoredHistory>,
    /// Highest event time by epoch and behaviour partition, until the epoch is complete.
    pub event_high: Mutex<BTreeMap<Time, BTreeMap<u32, Millis>>>,
    /// Dead records by epoch and source partition, until the epoch is complete.
    pub dead: Mutex<DeadByEpoch>,
    /// When the next pane enters or leaves, by worker.
    pub next_due: Vec<AtomicI64>,
    /// The thread for dead letters and checkpoints.
    pub state: Sender<StateMessage>,
    /// The checkpoint under way.
    pub export: Export,
    /// The last epoch that made something which a checkpoint holds: rows with their versions and times of change, a floor of
    /// versions, or what the plan changed. Records are not counted: their offsets say that they were read.
    pub unsaved: AtomicU64,
    /// What bounds the versions of grades.
    pub versions: Versions,
    /// Students whose rows have not been told yet, by worker.
    pub untold: Vec<AtomicUsize>,
    /// Whether records are read that are older than now: at the start, and while more is waiting than one epoch takes.
    pub behind: AtomicBool,
    /// Questions that the workers work on.
    pub asks: crate::ask::Open,
    /// Where rows are left that the engine explains to itself.
    pub sampler: crate::sampler::Sampler,
    /// When the next scheduled rule comes into force.
    pub next_switch: AtomicI64,
    /// Whether lateness is judged by the log's timestamps (live) or by the clock (event).
    pub live: bool,
}

impl Shared {
    /// How many students' rows have not been told yet.
    pub fn untold(&self) -> usize {
        self.untold.iter().map(|untold| untold.load(Ordering::Acquire)).sum()
    }

    /// An epoch has made something that a checkpoint holds.
    pub fn note_unsaved(&self, time: Time) {
        self.unsaved.fetch_max(time, Ordering::AcqRel);
    }

    /// The metrics' label of the partitions that are read.
    pub fn share_labels(&self) -> ShareLabels {
        ShareLabels { share: self.share.to_string() }
    }

    /// Refuses a tenant's record in a partition where it does not belong: another engine has the tenant's other records.
    /// One that has all partitions has all of the tenant's records wherever they are.
    pub fn check_home(&self, tenant: &str) -> Result<(), (Class, String)> {
        let Share::Partition(own) = self.share else { return Ok(()) };
        let home = (self.home)(tenant);
        if home == own {
            return Ok(());
        }
        Err((
            Class::Partition,
            format!(
                "records of tenant {tenant} belong in partition {home} and not in {own}: producers partition by the \
                 tenant, with murmur2"
            ),
        ))
    }

    /// The views, for whoever compares a later plan with this one.
    pub fn known_views(&self) -> Vec<KnownView> {
        let views = self.plan.views.iter().zip(&self.identities);
        views.map(|(view, identity)| KnownView { name: view.schema.name.clone(), identity: *identity }).collect()
    }

    /// Keeps a record that cannot be used.
    pub fn dead(&self, letter: DeadLetter) {
        let labels = DeadLabels { topic: letter.topic, error_class: letter.class.name() };
        self.metrics.dead.get_or_create(&labels).inc();
        let place = (letter.topic, letter.partition);
        *self.dead.lock().entry(letter.time).or_default().entry(place).or_default().entry(letter.class).or_default() +=
            1;
        if letter.class == Class::Late {
            let topic = crate::metrics::PartitionTopic { topic: letter.topic };
            self.metrics.late.get_or_create(&topic).inc();
        }
        self.send(StateMessage::Dead(letter));
    }

    /// Keeps a behaviour event that cannot be used, found where only its place is known.
    pub fn dead_at(&self, time: Time, partition: u32, offset: Offset, class: Class, error: String) {
        let labels = DeadLabels { topic: aulaflow_model::topic::BEHAVIOR, error_class: class.name() };
        self.metrics.dead.get_or_create(&labels).inc();
        self.send(StateMessage::DeadAt { time, partition, offset, class, error });
    }

    /// Waits while the thread is behind: that is the backpressure. Its end is the process's end.
    pub fn send(&self, message: StateMessage) {
        if self.state.send(message).is_err() {
            tracing::error!("the thread that writes the state has ended");
        }
    }

    /// The dead records of the epochs up to `complete`; they are not kept any longer.
    pub fn take_dead(&self, complete: Time) -> DeadBySource {
        let mut dead = self.dead.lock();
        let later = dead.split_off(&(complete + 1));
        let mut taken = DeadBySource::new();
        for (place, classes) in std::mem::replace(&mut *dead, later).into_values().flatten() {
            let sum = taken.entry(place).or_default();
            classes.into_iter().for_each(|(class, count)| *sum.entry(class).or_default() += count);
        }
        taken
    }

    /// Remembers the highest event time of a behaviour partition in an epoch.
    pub fn saw_event(&self, time: Time, partition: u32, at: Millis) {
        let mut highs = self.event_high.lock();
        let high = highs.entry(time).or_default().entry(partition).or_insert(at);
        *high = at.max(*high);
    }

    /// The highest event times of the epochs up to `complete`, by partition; they are not kept any longer.
    pub fn take_event_highs(&self, complete: Time) -> BTreeMap<u32, Millis> {
        let mut highs = self.event_high.lock();
        let later = highs.split_off(&(complete + 1));
        let mut taken = BTreeMap::new();
        for (partition, at) in std::mem::replace(&mut *highs, later).into_values().flatten() {
            let high = taken.entry(partition).or_insert(at);
            *high = at.max(*high);
        }
        taken
    }
}

/// What keeps the versions of grades from going back, whatever an engine before this one had shown and not kept.
///
/// A change of a grade adds one to its version. After an *unclean* start (a crash, an older checkpoint, a state that was taken
/// from elsewhere) rows may have been shown with versions that the state does not know. Let E be what all records on the log
/// can change of one grade at most, counted generously by offsets ([`crate::coordinator::versions_bound`]); it never falls.
///
/// *No version that was ever shown is above the E of that moment.* In a life after a clean start a version is a number of
/// changes, or `floor` and a number of changes made by records that came after it was set; each is one that E counts. In a
/// life after an unclean start each version is cut to E as it is when the epoch is made, with what was on the log at the
/// start, read or not (`EpochInput::versions_bound`).
///
/// *So no changed row goes back.* An unclean start sets `floor` to its E, which no version shown before is above, and a grade
/// that changes from then on, in this life or in a later one (the checkpoint keeps `floor`), has it at least. That holds
/// however epochs are cut, for rows that the state has nothing of, and for any number of crashes in a row, since it depends on
/// the log alone. A life that ends before it has read to its start's E counts as unclean.
///
/// What this does not give: while records are read again, a row that changes in several epochs has the version `floor` in each;
/// and a row that had changed and changed back is shown with the version of the checkpoint, with the content that this has.
#[derive(Debug, Default)]
pub struct Versions {
    /// A grade that changes has this version at least.
    pub floor: u32,
    /// Whether this life began uncleanly: versions are cut to the epoch's bound.
    pub capped: bool,
}

impl Versions {
    /// The version of a grade that changes, after `before`, in an epoch with this bound.
    pub fn next(&self, before: u32, bound: u32) -> u32 {
        let next = before.saturating_add(1).max(self.floor);
        if self.capped { next.min(bound).max(before) } else { next }
    }
}

/// How far the workers are with what a barrier exports. Large parts are exported in steps of an epoch each, as of the
/// barrier, so that fresh events don't wait behind a checkpoint.
#[derive(Default)]
pub struct Export {
    /// From the barrier's epoch until the checkpoint is written: no other barrier meanwhile.
    pub open: AtomicBool,
    /// Parts that have something left to export.
    pub parts: AtomicUsize,
    /// All at once: the process is about to end.
    pub hurry: AtomicBool,
}

/// Parts of each worker that export in steps: panes and histories.
pub const EXPORT_PARTS: usize = 2;
/// Messages that may wait for the thread that writes, for a further step to be made.
const EXPORT_WAITING_MAX: usize = 16;
/// Students in one step at least, and steps at most.
const EXPORT_STEP_MIN: usize = 256;
const EXPORT_STEPS_MAX: usize = 200;

impl Export {
    /// How many of `total` students one step exports: none while many of the messages before it are `waiting`.
    pub fn step(&self, total: usize, waiting: usize) -> usize {
        if self.hurry.load(Ordering::Acquire) {
            usize::MAX
        } else if waiting > EXPORT_WAITING_MAX {
            0
        } else {
            EXPORT_STEP_MIN.max(total / EXPORT_STEPS_MAX)
        }
    }
}

/// What one worker had left to release, from when on: the oldest boundary.
type Reports = VecDeque<(Time, Option<Millis>)>;

/// Which boundaries' panes are still being released, as of which time, by worker.
pub struct Settling {
    workers: Vec<Mutex<Reports>>,
    complete: AtomicU64,
}

impl Settling {
    /// Nothing is being released.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Mutex::default()).collect(), complete: AtomicU64::new(0) }
    }

    /// What a worker has left to release after an epoch: the oldest boundary.
    pub fn report(&self, worker: usize, time: Time, oldest: Option<Millis>) {
        let mut reports = self.workers[worker].lock();
        if reports.back().and_then(|(_, last)| *last) != oldest {
            reports.push_back((time, oldest));
        }
        let complete = self.complete.load(Ordering::Acquire);
        while reports.get(1).is_some_and(|(time, _)| *time <= complete) {
            reports.pop_front();
        }
    }

    /// Every worker's sinks have all epochs up to `time`.
    pub fn complete(&self, time: Time) {
        self.complete.store(time, Ordering::Release);
    }

    /// The oldest boundary that was not wholly released after the epoch at `time`, over all workers.
    pub fn oldest(&self, time: Time) -> Option<Millis> {
        let of = |reports: &Mutex<Reports>| {
            reports.lock().iter().rev().find(|(t, _)| *t <= time).and_then(|(_, oldest)| *oldest)
        };
        self.workers.iter().filter_map(of).min()
    }

    /// Whether any worker has panes to release as of its last report.
    pub fn any(&self) -> bool {
        self.workers.iter().any(|w| w.lock().back().is_some_and(|(_, oldest)| oldest.is_some()))
    }
}

/// Batches that a worker keeps for later at most.
const SPARE_MAX: usize = 32;

/// What operators know of an epoch that was handed to the worker.
#[derive(Debug, Clone, Copy)]
pub struct Handed {
    /// Whether they export what changed, after it.
    pub barrier: bool,
    /// See [`Versions`].
    pub versions_bound: u32,
    /// Which changed rows of features leave.
    pub tell: Tell,
}

/// Which changed rows of features leave after an epoch. While a log is read to where it ended at the start nobody is told
/// that they are true, so that a student who changes in many epochs needs to be told of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tell {
    /// All: what left is true as of the epoch.
    #[default]
    All,
    /// Those of some students who wait: fresh events don't wait behind all of them.
    Some,
    /// None: more is waiting on the log.
    Later,
}

/// What the operators of one worker share.
#[derive(Clone)]
pub struct Local {
    /// With all workers.
    pub shared: Arc<Shared>,
    /// Which worker.
    pub index: usize,
    /// How many workers.
    pub peers: usize,
    /// Epochs that were handed to the worker and are not complete.
    pub epochs: Rc<RefCell<BTreeMap<Time, Handed>>>,
    /// Whether the state is being loaded: what comes in is stored already.
    pub loading: Rc<Cell<bool>>,
    /// Batches that were worked on, to be filled again: memory that is given back and taken anew is cleared each time.
    pub spare: Rc<RefCell<Vec<Contributions>>>,
    /// Features to be explained as of an epoch. Every worker is told; the one that has the student's panes answers.
    pub asked_features: Rc<RefCell<BTreeMap<Time, Vec<AskedFeature>>>>,
}

/// A question for a student's panes.
#[derive(Debug, Clone, Copy)]
pub struct AskedFeature {
    /// The question's number.
    pub no: u64,
    /// Whose.
    pub student: StudentNo,
    /// Which view.
    pub view: ViewIndex,
}

impl Local {
    /// The features to be explained as of an epoch, once. To be answered with `shared.asks.feature`.
    pub fn take_asked_features(&self, time: Time) -> Vec<AskedFeature> {
        self.asked_features.borrow_mut().remove(&time).unwrap_or_default()
    }

    /// A batch to fill.
    pub fn batch(&self, worker: u64) -> Contributions {
        let mut batch = self.spare.borrow_mut().pop().unwrap_or_default();
        batch.worker = worker;
        batch
    }

    /// A batch that nobody needs any more.
    pub fn give_back(&self, mut batch: Contributions) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            batch.clear();
            spare.push(batch);
        }
    }

    /// Sends changes of the state as of a barrier.
    pub fn export(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.shared.send(StateMessage::Changes(changes));
        }
    }

    /// Sends a step of an export, if there is one; with the last one, says so.
    pub fn export_step(&self, step: Option<StateMessage>, last: bool) {
        if let Some(step) = step {
            self.shared.send(step);
        }
        if last {
            self.shared.send(StateMessage::Exported);
            self.shared.export.parts.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Reports how much an operator keeps.
    pub fn gauge(&self, dataflow: &'static str, operator: &'static str, records: usize) {
        let labels = crate::metrics::OperatorLabels {
            dataflow,
            operator,
            share: self.shared.share.to_string(),
            worker: self.index as u32,
        };
        self.shared.metrics.arrangement.get_or_create(&labels).set(records as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_floor_and_after_an_unclean_start_a_bound() {
        let clean = Versions { floor: 10, ..Versions::default() };
        assert_eq!([0, 9, 10, 11].map(|before| clean.next(before, 0)), [10, 10, 11, 12]);
        let unclean = Versions { capped: true, ..clean };
        assert_eq!([0, 9, 10].map(|before| unclean.next(before, 10)), [10, 10, 10]);
        assert_eq!([0, 10, 11, 12, u32::MAX].map(|before| unclean.next(before, 12)), [10, 11, 12, 12, u32::MAX]);
    }
}
