//! Once a second at most, the engine explains a grade that has just changed, through the way that askers go, and
//! compares the explanation with the row shown as of the same epoch. They must never differ.

use crate::Outlet;
use crate::ask::{Answer, Ask, Asked};
use crate::evaluations::GradeKey;
use crate::operators::ask::Question;
use crate::shared::{Shared, Time};
use aulaflow_model::change::{ChangeBatch, StudentChange};
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two samples at least.
const EVERY: Duration = Duration::from_secs(1);

/// Where a worker leaves a grade that it shows.
#[derive(Default)]
pub struct Sampler {
    /// Whether anybody looks: else showing a batch costs one load.
    open: AtomicBool,
    sample: Mutex<Option<Sample>>,
}

/// A grade that is being watched.
struct Sample {
    tenant: TenantId,
    student: StudentId,
    subject: Subject,
    period: PeriodId,
    /// What was shown from when on.
    shown: Vec<(Time, Option<Arc<Grade>>)>,
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
        match &mut *sample {
            Some(sample) => {
                let own = |c: &&StudentChange| c.student == sample.student && c.tenant == sample.tenant;
                let change = batch.changes.iter().find(own);
                let grades = change.into_iter().flat_map(|change| &change.grades);
                let same = grades.filter(|grade| grade.subject == sample.subject && grade.period == sample.period);
                let rows = same.map(|grade| (batch.time.0, grade.row.as_ref().map(|row| row.grade.clone())));
                sample.shown.extend(rows);
            }
            None => {
                *sample = batch.changes.iter().find_map(|change| {
                    let grade = change.grades.first()?;
                    Some(Sample {
                        tenant: change.tenant.clone(),
                        student: change.student.clone(),
                        subject: grade.subject.clone(),
                        period: grade.period.clone(),
                        shown: vec![(batch.time.0, grade.row.as_ref().map(|row| row.grade.clone()))],
                    })
                });
            }
        }
    }
}

/// An outlet whose rows the sampler sees first.
pub struct Sampled {
    /// The outlet.
    pub outlet: Box<dyn Outlet>,
    /// With the sampler.
    pub shared: Arc<Shared>,
}

impl Outlet for Sampled {
    fn apply(&mut self, batch: ChangeBatch) {
        self.shared.sampler.saw(&batch);
        self.outlet.apply(batch);
    }

    fn expiring(&mut self, boundary: Option<Millis>) {
        self.outlet.expiring(boundary);
    }

    fn advance(&mut self, complete: ClockTime) {
        self.outlet.advance(complete);
    }
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
    /// A question about a grade that was shown, if there is one to ask.
    pub fn ask(&mut self, shared: &Shared) -> Option<Ask> {
        if self.asked.is_some() {
            return None;
        }
        if self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            shared.sampler.open.store(true, Ordering::Release);
        }
        let key = {
            let sample = shared.sampler.sample.lock();
            let sample = sample.as_ref()?;
            let word = |word| shared.symbols.find_word(word);
            let (tenant, student) = shared.symbols.find_student(sample.tenant.as_str(), sample.student.as_str())?;
            let (subject, period) = (word(sample.subject.as_str())?, word(sample.period.as_str())?);
            GradeKey { tenant, student, subject, period }
        };
        let waits = Arc::new(());
        let (ask, answer) = Ask::new(Asked::Dataflow(Question::Grade(key)), Arc::downgrade(&waits));
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
        let explained = answer.explain(&shared.configs, &sample.period).and_then(|e| e.explanation.grade);
        // Later epochs may have shown the next one already.
        let shown = sample.shown.iter().rev().find(|(at, _)| *at <= time).and_then(|(_, grade)| grade.as_deref());
        let agrees = explained.as_ref() == shown;
        shared.metrics.compared("grade", agrees);
        if !agrees {
            tracing::error!("the explanation of a grade differs from the row shown");
        }
    }
}
