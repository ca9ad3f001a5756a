//! The last operator: what changed of each student in an epoch, as rows before and after it with their version and time of
//! change, emitted to the worker's sinks whole. Exchanged by student, so that a student's updates come from one worker, in
//! order.
//!
//! A row that comes out as it was is no change: averages and rounded scores often don't move when their inputs do.

use super::{Epoch, Epochs, upper};
use crate::evaluations::GradeKey;
use crate::operators::features::StudentUpdate;
use crate::panes::{FeatureUpdate, RowValues};
use crate::shared::{Local, Shared, StateMessage, Time};
use crate::state::StoredHistory;
use crate::symbols::{StudentNo, WordNo};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow, ViewIndex};
use aulaflow_model::grade::Grade;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_sink::Part;
use aulaflow_sink::update::{ChangeBatch, FeatureChange, GradeChange, StudentChange};
use differential_dataflow::VecCollection;
use differential_dataflow::hashable::Hashable;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Probe, probe};
use xxhash_rust::xxh3::xxh3_64;

type GradeOf = (GradeKey, Arc<Grade>);
/// Subject and period.
type RowKey = (WordNo, WordNo);

/// Joins features and grades per student and epoch, emits what changes, and is what `probe` watches.
pub fn profiles<'scope>(
    features: StreamVec<'scope, Time, StudentUpdate>,
    grades: VecCollection<'scope, Time, GradeOf, isize>,
    sinks: Part,
    local: Local,
    probe: &probe::Handle<Time>,
) {
    let by_student = Exchange::new(|update: &StudentUpdate| update.0.hashed());
    let by_student_too = Exchange::new(|update: &(GradeOf, Time, isize)| update.0.0.student.hashed());
    let done = features.binary_frontier::<_, timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _, _>(
        grades.inner,
        by_student,
        by_student_too,
        "Profiles",
        move |capability, _| {
            let mut epochs = Epochs::new(local.clone());
            let mut operator = ProfileOperator::new(local, sinks);
            let mut capability = Some(capability);
            move |(features, features_frontier), (grades, grades_frontier), _output| {
                features.for_each(|cap, data| {
                    // The pane operator gives each epoch's updates a capability of their own.
                    if let Some(time) = cap.least() {
                        for update in data.drain(..) {
                            epochs.push_one(*time, Update::Feature(update));
                        }
                    }
                });
                grades.for_each(|cap, data| {
                    if cap.least().is_some() {
                        for (grade, time, diff) in data.drain(..) {
                            epochs.push_one(time, Update::Grade(grade, diff));
                        }
                    }
                });
                let upper = upper(features_frontier).min(upper(grades_frontier));
                while let Some(epoch) = epochs.next(upper) {
                    operator.epoch(epoch);
                }
                super::keep_until(&mut capability, upper);
            }
        },
    );
    done.probe_with(probe);
}

enum Update {
    Feature(StudentUpdate),
    Grade(GradeOf, isize),
}

/// What history adds to a grade.
#[derive(Debug, Clone, Copy)]
struct GradeMark {
    version: u32,
    updated_at: i64,
    /// Of the row's content; 0: there is no row now.
    digest: u64,
    /// Whether this process has emitted it: what the state remembers may have left while no process ran.
    emitted: bool,
}

impl GradeMark {
    /// Whether the row was emitted by an earlier process, and was not made again by this one.
    fn is_pending(&self) -> bool {
        !self.emitted && self.digest != 0
    }
}

/// What history adds to a feature.
#[derive(Debug, Clone)]
struct FeatureMark {
    updated_at: i64,
    row: LastRow,
}

/// A feature's last row.
#[derive(Debug, Clone)]
enum LastRow {
    /// That of an earlier process, which only its digest is known of; 0: there was none, or it has gone.
    Stored(u64),
    /// What this process has emitted: the values are the serving store's, and a session has bounds.
    Emitted(Arc<[FeatureValue]>, Option<Box<(Millis, Millis)>>),
}

impl FeatureMark {
    /// As [`GradeMark::is_pending`].
    fn is_pending(&self) -> bool {
        matches!(self.row, LastRow::Stored(digest) if digest != 0)
    }

    /// The row that this process has emitted last.
    fn emitted(&self) -> Option<FeatureRow> {
        match &self.row {
            LastRow::Stored(_) => None,
            LastRow::Emitted(values, session) => Some(FeatureRow {
                values: Arc::clone(values),
                session: session.as_deref().copied(),
                updated_at: Millis(self.updated_at),
            }),
        }
    }

    /// Whether the last row is this one.
    fn is(&self, row: Option<&RowValues>) -> bool {
        match (&self.row, row) {
            (LastRow::Stored(last), row) => *last == row.map_or(0, digest),
            (LastRow::Emitted(..), None) => false,
            (LastRow::Emitted(values, session), Some(row)) => *values == row.0 && session.as_deref() == row.1.as_ref(),
        }
    }

    /// A digest of the row's content; 0: there is none.
    fn digest(&self) -> u64 {
        match &self.row {
            LastRow::Stored(digest) => *digest,
            LastRow::Emitted(values, session) => digest(&(values, session)),
        }
    }
}

/// What an epoch gives to the rows that change in it.
#[derive(Debug, Clone, Copy)]
struct Now {
    time: Time,
    clock: Millis,
    versions_bound: u32,
}

impl Now {
    /// A grade's version, after it had `before`.
    fn version(self, shared: &Shared, before: u32) -> u32 {
        shared.versions.next(before, self.versions_bound)
    }
}

#[derive(Default)]
struct History {
    grades: FxHashMap<RowKey, GradeMark>,
    features: FxHashMap<ViewIndex, FeatureMark>,
}

/// What a student's history takes in memory, and what its marks take: for estimates.
pub const HISTORY_BYTES: usize = size_of::<(StudentNo, History)>();
/// A grade's mark.
pub const GRADE_MARK_BYTES: usize = size_of::<(RowKey, GradeMark)>();
/// A feature's mark.
pub const FEATURE_MARK_BYTES: usize = size_of::<(ViewIndex, FeatureMark)>();

struct ProfileOperator {
    local: Local,
    sinks: Part,
    history: FxHashMap<StudentNo, History>,
    /// Whether the rows that left while no process ran were looked for.
    settled: bool,
    dirty: FxHashSet<StudentNo>,
    /// Students to export as of the last barrier, and those among them that are not exported yet.
    exporting: Vec<StudentNo>,
    pending: FxHashSet<StudentNo>,
    /// What was exported early, because it was about to change.
    exported: Vec<(StudentNo, StoredHistory)>,
    /// How many students the export under way has.
    export_total: Option<usize>,
}

/// What is emitted of one student at one time.
#[derive(Default)]
struct Emitted {
    /// Rows that are as an earlier process emitted them.
    same: Rows,
    changed: Rows,
}

#[derive(Default)]
struct Rows {
    grades: Vec<GradeChange>,
    features: Vec<FeatureChange>,
}

impl Rows {
    fn is_empty(&self) -> bool {
        self.grades.is_empty() && self.features.is_empty()
    }
}

/// Differences of one student at one time.
#[derive(Default)]
struct Differences {
    features: Vec<FeatureUpdate>,
    grades: Vec<(RowKey, Arc<Grade>, isize)>,
}

impl ProfileOperator {
    fn new(local: Local, sinks: Part) -> Self {
        Self {
            local,
            sinks,
            history: FxHashMap::default(),
            settled: false,
            dirty: FxHashSet::default(),
            exporting: Vec::new(),
            pending: FxHashSet::default(),
            exported: Vec::new(),
            export_total: None,
        }
    }

    fn epoch(&mut self, epoch: Epoch<Update>) {
        let now = Now { time: epoch.time, clock: ClockTime(epoch.time).clock(), versions_bound: epoch.versions_bound };
        let mut students: FxHashMap<StudentNo, Differences> = FxHashMap::default();
        for update in epoch.data {
            match update {
                Update::Feature((student, mut rows)) => {
                    students.entry(student).or_default().features.append(&mut rows);
                }
                Update::Grade((key, grade), diff) => {
                    students.entry(key.student).or_default().grades.push(((key.subject, key.period), grade, diff));
                }
            }
        }
        let time = ClockTime(epoch.time);
        let mut departed = if self.local.loading.get() { FxHashMap::default() } else { self.departed(now) };
        let (mut changes, mut snapshot) = (Vec::new(), Vec::new());
        for (student, differences) in students {
            let gone = departed.remove(&student);
            let rows = self.student(student, differences, now);
            snapshot.extend(self.of_student(student, rows.same));
            match (gone, self.of_student(student, rows.changed)) {
                // One change per student and epoch: nobody is to see a row go that is back in the same epoch.
                (Some(gone), Some(change)) => changes.push(with_departed(change, gone)),
                (gone, change) => changes.extend(gone.or(change)),
            }
        }
        changes.extend(departed.into_values());
        if !snapshot.is_empty() {
            self.sinks.snapshot(&ChangeBatch { time, changes: snapshot });
        }
        if !changes.is_empty() {
            self.sinks.apply(&ChangeBatch { time, changes });
        }
        if epoch.barrier {
            self.begin_export();
        }
        self.export_step();
        self.sinks.expiring(self.local.shared.settling.oldest(epoch.time));
        self.sinks.advance(time.next(time.clock()));
    }

    /// Once, when the state is loaded as of its own clock: rows that were emitted before it was written, and that nothing
    /// made again. Newer code or another configuration leaves them out, and sinks must hear of it.
    fn departed(&mut self, now: Now) -> FxHashMap<StudentNo, StudentChange> {
        if std::mem::replace(&mut self.settled, true) {
            return FxHashMap::default();
        }
        let shared = self.local.shared.clone();
        let (index, peers) = (self.local.index as u64, self.local.peers as u64);
        // Students of whom nothing came. They belong to the worker that their rows would have come to.
        let silent = shared.histories.iter().map(|entry| *entry.key()).filter(|s| s.hashed() % peers == index);
        for student in silent.collect::<Vec<_>>() {
            self.history.entry(student).or_insert_with(|| load(&self.local, student));
        }
        let mut changes = FxHashMap::default();
        for (student, history) in &mut self.history {
            let (mut grades, mut features) = (Vec::new(), Vec::new());
            for (key, mark) in history.grades.iter_mut().filter(|(_, mark)| mark.is_pending()) {
                let version = now.version(&shared, mark.version);
                *mark = GradeMark { version, updated_at: now.clock.0, digest: 0, emitted: true };
                let (subject, period) = (shared.symbols.subject(key.0), shared.symbols.period(key.1));
                grades.push(GradeChange { subject, period, before: None, after: None });
            }
            for (view, mark) in history.features.iter_mut().filter(|(_, mark)| mark.is_pending()) {
                *mark = FeatureMark { updated_at: now.clock.0, row: LastRow::Stored(0) };
                features.push(FeatureChange { view: *view, before: None, after: None });
            }
            if !grades.is_empty() || !features.is_empty() {
                self.dirty.insert(*student);
                shared.note_unsaved(now.time);
                let (tenant, id) = shared.symbols.student_id(*student);
                let tenant = shared.symbols.tenant_id(tenant);
                changes.insert(*student, StudentChange { tenant, student: id, grades, features });
            }
        }
        changes
    }

    /// What a student's differences make.
    fn student(&mut self, student: StudentNo, differences: Differences, now: Now) -> Emitted {
        let shared = self.local.shared.clone();
        if self.pending.remove(&student) {
            let stored = self.stored(student);
            self.exported.extend(stored);
        }
        let history = self.history.entry(student).or_insert_with(|| load(&self.local, student));
        let mut emitted = Emitted::default();
        for NetGrade { key, before, after } in net_grades(differences.grades, &self.local) {
            let digest = after.as_ref().map_or(0, |g| digest(&**g));
            let last = history.grades.get(&key).copied();
            let (mark, is_new) = step(last, digest, now.clock, self.local.loading.get());
            let Some(mut mark) = mark else { continue };
            if is_new {
                mark.version = now.version(&shared, mark.version);
            }
            history.grades.insert(key, mark);
            let row =
                |grade, mark: GradeMark| GradeRow { grade, version: mark.version, updated_at: Millis(mark.updated_at) };
            let last = last.filter(|last| is_new && last.emitted);
            let rows = if is_new { &mut emitted.changed } else { &mut emitted.same };
            rows.grades.push(GradeChange {
                subject: shared.symbols.subject(key.0),
                period: shared.symbols.period(key.1),
                before: before.zip(last).map(|(grade, last)| row(grade, last)),
                after: after.map(|grade| row(grade, mark)),
            });
        }
        features(self.local.loading.get(), history, differences.features, now.clock, &mut emitted);
        if !emitted.changed.is_empty() {
            self.dirty.insert(student);
            shared.note_unsaved(now.time);
        }
        emitted
    }

    /// Rows with whose they are; `None`: there are none.
    fn of_student(&self, student: StudentNo, rows: Rows) -> Option<StudentChange> {
        let symbols = &self.local.shared.symbols;
        let Rows { grades, features } = rows;
        (!grades.is_empty() || !features.is_empty()).then(|| {
            let (tenant, id) = symbols.student_id(student);
            StudentChange { tenant: symbols.tenant_id(tenant), student: id, grades, features }
        })
    }

    /// From now on the histories of this epoch are exported in steps.
    fn begin_export(&mut self) {
        self.pending = std::mem::take(&mut self.dirty);
        self.exporting = self.pending.iter().copied().collect();
        self.export_total = Some(self.exporting.len());
        self.local.gauge("profiles", "students", self.history.len());
    }

    /// One step of an export that is under way. What changed in between was exported as it was before.
    fn export_step(&mut self) {
        let Some(total) = self.export_total else { return };
        let mut histories = std::mem::take(&mut self.exported);
        let shared = &self.local.shared;
        let step = shared.export.step(total, shared.state.len()).min(self.exporting.len());
        for student in self.exporting.split_off(self.exporting.len() - step) {
            if self.pending.remove(&student) {
                histories.extend(self.stored(student));
            }
        }
        let last = self.exporting.is_empty();
        self.local.export_step((!histories.is_empty()).then_some(StateMessage::Histories(histories)), last);
        if last {
            self.export_total = None;
        }
    }

    fn stored(&self, student: StudentNo) -> Option<(StudentNo, StoredHistory)> {
        self.history.get(&student).map(|history| (student, store(&self.local, history)))
    }
}

/// A student's change with the rows that have departed, but for those that the change has anew.
fn with_departed(mut change: StudentChange, gone: StudentChange) -> StudentChange {
    let key = |grade: &GradeChange| (grade.subject.clone(), grade.period.clone());
    let grades = gone.grades.into_iter().filter(|g| change.grades.iter().all(|c| key(c) != key(g)));
    let grades = grades.collect::<Vec<_>>();
    let features = gone.features.into_iter().filter(|f| change.features.iter().all(|c| c.view != f.view));
    let features = features.collect::<Vec<_>>();
    change.grades.extend(grades);
    change.features.extend(features);
    change
}

/// A grade before and after an epoch.
struct NetGrade {
    key: RowKey,
    before: Option<Arc<Grade>>,
    after: Option<Arc<Grade>>,
}

/// The grades that the differences change: consolidated, since equal grades cancel.
fn net_grades(mut differences: Vec<(RowKey, Arc<Grade>, isize)>, local: &Local) -> Vec<NetGrade> {
    differences.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut net = Vec::new();
    for group in differences.chunk_by(|a, b| a.0 == b.0) {
        let [mut before, mut after] = [None, None];
        let mut changed = false;
        for same in group.chunk_by(|a, b| a.1 == b.1) {
            let sum: isize = same.iter().map(|(.., diff)| diff).sum();
            changed |= sum != 0;
            let grade = || same.first().map(|(_, grade, _)| grade.clone());
            match sum {
                1 => after = grade(),
                -1 => before = grade(),
                0 => {}
                _ => {
                    local.shared.metrics.negative.inc();
                    tracing::error!("a multiplicity of a grade is {sum}");
                }
            }
        }
        if changed {
            net.extend(group.first().map(|(key, ..)| NetGrade { key: *key, before, after }));
        }
    }
    net
}

/// The features whose rows changed, or are to be emitted again while the state is loaded.
fn features(loading: bool, history: &mut History, updates: Vec<FeatureUpdate>, clock: Millis, emitted: &mut Emitted) {
    for FeatureUpdate { view, row } in updates {
        let last = history.features.get(&view);
        if last.is_none() && row.is_none() {
            continue;
        }
        let same = last.filter(|last| last.is(row.as_ref()));
        // Content that is as an earlier process emitted it is emitted again while loading, since sinks in memory start empty.
        if same.is_some_and(|same| !same.is_pending()) {
            continue;
        }
        let again = same.filter(|_| loading);
        let (updated_at, before) = match again {
            Some(same) => (same.updated_at, None),
            None => (clock.0, last.and_then(FeatureMark::emitted)),
        };
        let rows = if again.is_some() { &mut emitted.same } else { &mut emitted.changed };
        let last = match &row {
            None => LastRow::Stored(0),
            Some((values, session)) => LastRow::Emitted(Arc::clone(values), session.map(Box::new)),
        };
        history.features.insert(view, FeatureMark { updated_at, row: last });
        let updated_at = Millis(updated_at);
        let after = row.map(|(values, session)| FeatureRow { values, session, updated_at });
        rows.features.push(FeatureChange { view, before, after });
    }
}

/// A grade's mark after its content became `digest`, with the version that it had, and whether the content is new; no mark:
/// nothing is emitted.
/// While loading, content that is as an earlier process emitted it keeps its mark and is emitted again, since sinks in memory
/// start empty.
fn step(last: Option<GradeMark>, digest: u64, clock: Millis, loading: bool) -> (Option<GradeMark>, bool) {
    match last {
        Some(last) if last.digest == digest && !last.is_pending() => (None, false),
        Some(last) if last.digest == digest && loading => (Some(GradeMark { emitted: true, ..last }), false),
        None if digest == 0 => (None, false),
        last => {
            let version = last.map_or(0, |m| m.version);
            (Some(GradeMark { version, updated_at: clock.0, digest, emitted: true }), true)
        }
    }
}

/// A digest of a row's content, never 0.
fn digest(content: &(impl serde::Serialize + ?Sized)) -> u64 {
    let bytes =
        postcard::to_stdvec(content).unwrap_or_else(|e| panic!("a row of plain values can always be encoded: {e}"));
    xxh3_64(&bytes).max(1)
}

fn load(local: &Local, student: StudentNo) -> History {
    let shared = &local.shared;
    let Some((_, stored)) = shared.histories.remove(&student) else { return History::default() };
    let mut history = History::default();
    for (subject, period, version, updated_at, digest) in stored.grades {
        let key = (shared.symbols.word(&subject), shared.symbols.word(&period));
        history.grades.insert(key, GradeMark { version, updated_at, digest, emitted: false });
    }
    for (identity, updated_at, digest) in stored.features {
        if let Some(view) = shared.identities.iter().position(|id| *id == identity) {
            history.features.insert(view as ViewIndex, FeatureMark { updated_at, row: LastRow::Stored(digest) });
        }
    }
    history
}

fn store(local: &Local, history: &History) -> StoredHistory {
    let shared = &local.shared;
    let word = |no: WordNo| shared.symbols.subject(no).to_string();
    StoredHistory {
        grades: history
            .grades
            .iter()
            .map(|((subject, period), m)| (word(*subject), word(*period), m.version, m.updated_at, m.digest))
            .collect(),
        features: history
            .features
            .iter()
            .map(|(view, m)| (shared.identities[usize::from(*view)], m.updated_at, m.digest()))
            .collect(),
    }
}
