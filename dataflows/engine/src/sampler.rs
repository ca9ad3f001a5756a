//! Once a second at most, the engine explains a grade or a feature that has just changed, in turns, through the way that
//! askers go, and compares the explanation with the row shown as of the same epoch. They must never differ.

use crate::ask::{Answer, Ask, Asked};
use crate::evaluations::GradeKey;
use crate::operators::ask::Question;
use crate::shared::{Shared, Time};
use aulaflow_model::change::{FeatureValue, ViewIndex};
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::ClockTime;
use aulaflow_sink::update::{ChangeBatch, CohortBatch, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two samples at least.
const EVERY: Duration = Duration::from_secs(1);

/// Where a worker leaves a row that it shows.
#[derive(Default)]
pub struct Sampler {
    /// Whether anybody looks: else showing a batch costs one load.
    open: AtomicBool,
    /// Whether a feature is wanted first.
    features: AtomicBool,
    sample: Mutex<Option<Sample>>,
}

/// What was shown, from when on.
type Rows<R> = Vec<(Time, Option<R>)>;

/// A row that is being watched.
struct Sample {
    tenant: TenantId,
    student: StudentId,
    row: Watched,
}

enum Watched {
    Grade(Subject, PeriodId, Rows<Arc<Grade>>),
    Feature(ViewIndex, Rows<Arc<[FeatureValue]>>),
}

impl Watched {
    /// Takes the row in, if a student's changes have it.
    fn see(&mut self, change: &StudentChange, time: Time) {
        match self {
            Self::Grade(subject, period, shown) => {
                let same = change.grades.iter().filter(|grade| grade.subject == *subject && grade.period == *period);
                shown.extend(same.map(|grade| (time, grade.after.as_ref().map(|row| row.grade.clone()))));
            }
            Self::Feature(view, shown) => {
                let same = change.features.iter().filter(|feature| feature.view == *view);
                shown.extend(same.map(|feature| (time, feature.after.as_ref().map(|row| row.values.clone()))));
            }
        }
    }

    /// A row of a student's changes: a feature or a grade, whichever is wanted, or the other.
    fn pick(change: &StudentChange, feature: bool) -> Option<Self> {
        let grade = || {
            let grade = change.grades.first()?;
            Some(Self::Grade(grade.subject.clone(), grade.period.clone(), Vec::new()))
        };
        let of_features = || Some(Self::Feature(change.features.first()?.view, Vec::new()));
        if feature { of_features().or_else(grade) } else { grade().or_else(of_features) }
    }

    /// What was shown last up to a time.
    fn shown<R: Clone>(rows: &Rows<R>, time: Time) -> Option<R> {
        rows.iter().rev().find(|(at, _)| *at <= time).and_then(|(_, row)| row.clone())
    }
}

impl Sampler {
    /// A worker shows these rows.
    fn saw(&self, batch: &ChangeBatch) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut sample = self.sample.lock();
        // Closed meanwhile: what is left there now would miss its next changes.
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        if let Some(sample) = &mut *sample {
            let own = |c: &&StudentChange| c.student == sample.student && c.tenant == sample.tenant;
            if let Some(change) = batch.changes.iter().find(own) {
                sample.row.see(change, batch.time.0);
            }
            return;
        }
        let wanted = self.features.load(Ordering::Acquire);
        *sample = batch.changes.iter().find_map(|change| {
            let mut row = Watched::pick(change, wanted)?;
            row.see(change, batch.time.0);
            Some(Sample { tenant: change.tenant.clone(), student: change.student.clone(), row })
        });
    }
}

/// The sampler as the first sink of a worker: it sees what the others are given.
pub struct SamplerSink(pub Arc<Shared>);

impl IdempotentSink for SamplerSink {
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        self.0.sampler.saw(batch);
        Outcome::Applied
    }

    fn apply_cohorts(&mut self, _batch: &CohortBatch) -> Outcome {
        Outcome::Applied
    }

    fn advance(&mut self, _frontier: ClockTime) {}
}

/// The coordinator's side.
#[derive(Default)]
pub struct Sampling {
    /// When the last sample began.
    last: Option<Instant>,
    /// The question under way, and what keeps it awaited.
    asked: Option<(Receiver<Answer>, Arc<()>)>,
}

impl Sampling {
    /// A question about a row that was shown, if there is one to ask.
    pub fn ask(&mut self, shared: &Shared) -> Option<Ask> {
        if self.asked.is_some() {
            return None;
        }
        if self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            shared.sampler.open.store(true, Ordering::Release);
        }
        let asked = {
            let sample = shared.sampler.sample.lock();
            let sample = sample.as_ref()?;
            let word = |word| shared.symbols.find_word(word);
            let (tenant, student) = shared.symbols.find_student(sample.tenant.as_str(), sample.student.as_str())?;
            match &sample.row {
                Watched::Grade(subject, period, _) => {
                    let (subject, period) = (word(subject.as_str())?, word(period.as_str())?);
                    Asked::Dataflow(Question::Grade(GradeKey { tenant, student, subject, period }))
                }
                Watched::Feature(view, _) => Asked::Feature { student, view: *view },
            }
        };
        let waits = Arc::new(());
        let (ask, answer) = Ask::new(asked, Arc::downgrade(&waits));
        self.asked = Some((answer, waits));
        Some(ask)
    }

    /// Compares, once the answer is there.
    pub fn check(&mut self, shared: &Shared) {
        let Some(answer) = self.asked.as_ref().and_then(|(answer, _)| answer.try_recv().ok()) else { return };
        self.asked = None;
        let sample = {
            let mut sample = shared.sampler.sample.lock();
            shared.sampler.open.store(false, Ordering::Release);
            sample.take()
        };
        let Some(sample) = sample else { return };
        let time = answer.time;
        // Later epochs may have shown the next row already.
        let (kind, agrees) = match &sample.row {
            Watched::Grade(_, period, rows) => {
                let explained = answer.explain(&shared.configs, period).and_then(|e| e.explanation.grade);
                ("grade", explained.as_ref() == Watched::shown(rows, time).as_deref())
            }
            Watched::Feature(_, rows) => {
                let explained = answer.feature.and_then(|explanation| explanation.values);
                ("feature", explained == Watched::shown(rows, time))
            }
        };
        shared.sampler.features.store(kind == "grade", Ordering::Release);
        shared.metrics.compared(kind, agrees);
        if !agrees {
            tracing::error!(kind, "an explanation differs from the row shown");
        }
    }
}
