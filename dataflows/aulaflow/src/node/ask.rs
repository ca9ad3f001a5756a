//! The running dataflows as the HTTP server may ask them.

use aulaflow_engine::{AskError, Asker, Monitor};
use aulaflow_model::change::ViewIndex;
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::Preview;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::tenant::Rule;
use aulaflow_query_api::{Ask, AskFailure};
use std::time::Duration;

/// The engine, and which of its views are served: the others have no row that an explanation could be of.
pub struct Dataflow {
    pub asker: Asker,
    pub served: Vec<bool>,
    pub monitor: Monitor,
}

impl Ask for Dataflow {
    fn grade(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        subject: &Subject,
        period: &PeriodId,
        timeout: Duration,
    ) -> Result<Option<GradeExplanation>, AskFailure> {
        self.asker.grade(tenant, student, subject, period, timeout).map_err(failure)
    }

    fn feature(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        view: ViewIndex,
        timeout: Duration,
    ) -> Result<Option<FeatureExplanation>, AskFailure> {
        if !self.served.get(usize::from(view)).is_some_and(|served| *served) {
            return Ok(None);
        }
        self.asker.feature(tenant, student, view, timeout).map_err(failure)
    }

    fn preview(&self, tenant: &TenantId, rule: &Rule, timeout: Duration) -> Result<Preview, AskFailure> {
        self.asker.preview(tenant, rule, timeout).map_err(failure)
    }

    fn refused(&self, topic: &'static str, class: &'static str, count: usize) {
        self.asker.refused(topic, class, count);
    }

    fn resume(&self, topic: &str) -> Vec<u32> {
        self.monitor.resume(topic)
    }

    fn compared(&self, kind: &'static str, agrees: bool) {
        self.asker.compared(kind, agrees);
    }
}

fn failure(error: AskError) -> AskFailure {
    match error {
        AskError::Busy => AskFailure::Busy,
        AskError::NotReady => AskFailure::NotReady,
        AskError::Timeout => AskFailure::Timeout,
        AskError::Stopped => AskFailure::Stopped,
    }
}
