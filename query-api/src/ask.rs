//! Questions to the running dataflows, which the edge knows by a trait only: bounded in number and in time.

use crate::error::{ApiError, Kind};
use crate::state::ApiState;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::Preview;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::tenant::Rule;
use std::time::Duration;

/// Questions under way at most; each holds a thread while it waits.
pub(crate) const ASKS_MAX: usize = 64;

/// The running dataflows, as far as they can be asked. Calls block until the answer is there, at most for `timeout`;
/// every answer is true as of one instant, which it names.
pub trait Ask: Send + Sync {
    /// How a grade came about; `None` where there are no evaluations or no rule.
    fn grade(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        subject: &Subject,
        period: &PeriodId,
        timeout: Duration,
    ) -> Result<Option<GradeExplanation>, AskFailure>;

    /// How a feature came about; `None` where nothing is known of the student, or the view is not served.
    fn feature(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        view: ViewIndex,
        timeout: Duration,
    ) -> Result<Option<FeatureExplanation>, AskFailure>;

    /// What would change if this rule replaced the present rules of its subject. It has no effect.
    fn preview(&self, tenant: &TenantId, rule: &Rule, timeout: Duration) -> Result<Preview, AskFailure>;

    /// Counts an explanation that was compared with what is served (`kind`: `grade` or `feature`).
    fn compared(&self, kind: &'static str, agrees: bool);

    /// Counts records that were refused at the edge and kept as dead letters.
    fn refused(&self, _topic: &'static str, _class: &'static str, _count: usize) {}

    /// Reads a source on whose error budget was spent; the partitions that were stopped.
    fn resume(&self, _topic: &str) -> Vec<u32> {
        Vec::new()
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskFailure {
    /// Too many questions wait.
    Busy,
    /// The views are not complete yet.
    NotReady,
    /// No answer in time.
    Timeout,
    /// The dataflows have stopped.
    Stopped,
    /// No dataflow of this process has the tenant.
    NotHere,
    /// This process runs no dataflows at all.
    ServesOnly,
}

impl From<AskFailure> for ApiError {
    fn from(failure: AskFailure) -> Self {
        let (kind, detail) = match failure {
            AskFailure::Busy => (Kind::Overloaded, "too many questions wait for the dataflows"),
            AskFailure::NotReady => (Kind::NotReady, "the views are not complete yet"),
            AskFailure::Timeout => (Kind::Timeout, "the dataflows did not answer in time"),
            AskFailure::Stopped => (Kind::NotReady, "the dataflows have stopped"),
            AskFailure::ServesOnly => (Kind::OtherRole, "this process serves only: ask one with the role dataflow"),
            AskFailure::NotHere => (Kind::NotServedHere, "no dataflow of this process has the tenant"),
        };
        Self::new(kind, detail).retry_after(Duration::from_secs(1))
    }
}

/// Asks off the async threads.
pub(crate) async fn ask<T: Send + 'static>(
    state: &ApiState,
    question: impl FnOnce(&ApiState, Duration) -> Result<T, AskFailure> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = state.asks.clone().try_acquire_owned().map_err(|_| AskFailure::Busy)?;
    let inner = state.clone();
    let asked = tokio::task::spawn_blocking(move || {
        // Held until the answer is there, also where the caller is gone.
        let _turn = turn;
        question(&inner, inner.config.ask_timeout)
    });
    match asked.await {
        Ok(answer) => Ok(answer?),
        Err(error) => {
            tracing::error!(%error, "a question failed");
            Err(ApiError::new(Kind::Internal, "the question failed"))
        }
    }
}
