//! The running dataflows as the HTTP server may ask them.

use super::shares::Shares;
use aulaflow_engine::{AskError, Asker};
use aulaflow_model::change::ViewIndex;
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::Preview;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::tenant::Rule;
use aulaflow_query_api::{Ask, AskFailure};
use std::sync::Arc;
use std::time::Duration;

/// The engines, and which of their views are served: the others have no row that an explanation could be of.
pub struct Dataflow {
    pub shares: Arc<Shares>,
    pub served: Vec<bool>,
}

impl Dataflow {
    fn asker(&self, tenant: &TenantId) -> Result<Asker, AskFailure> {
        self.shares.asker(tenant).ok_or(AskFailure::NotHere)
    }
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
        self.asker(tenant)?.grade(tenant, student, subject, period, timeout).map_err(failure)
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
        self.asker(tenant)?.feature(tenant, student, view, timeout).map_err(failure)
    }

    fn preview(&self, tenant: &TenantId, rule: &Rule, timeout: Duration) -> Result<Preview, AskFailure> {
        self.asker(tenant)?.preview(tenant, rule, timeout).map_err(failure)
    }

    fn refused(&self, topic: &'static str, class: &'static str, count: usize) {
        self.shares.refused(topic, class, count);
    }

    fn resume(&self, topic: &str) -> Vec<u32> {
        self.shares.resume(topic)
    }

    fn compared(&self, kind: &'static str, agrees: bool) {
        self.shares.compared(kind, agrees);
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
