//! Whose data a request may touch. A [`Scope`] is made by a verified token and by nothing else, and every access to a
//! tenant's data asks for one.

use crate::edge::Trail;
use crate::error::{ApiError, Kind};
use crate::state::ApiState;
use aulaflow_model::ids::{StudentId, TenantId};
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads itself, reports its own behaviour.
    Student,
    /// Grades and reads.
    Teacher,
    /// Reads.
    Counsellor,
    /// Everything of its tenant.
    Admin,
    /// Queries pseudonymous tables.
    Analyst,
    /// Another system of the tenant.
    Service,
    /// Deals with the government.
    Gov,
    /// Watches the system.
    Ops,
    /// Runs the platform; has no tenant.
    Platform,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Student,
        Self::Teacher,
        Self::Counsellor,
        Self::Admin,
        Self::Analyst,
        Self::Service,
        Self::Gov,
        Self::Ops,
        Self::Platform,
    ];

    /// The role's name in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
            Self::Counsellor => "counsellor",
            Self::Admin => "admin",
            Self::Analyst => "analyst",
            Self::Service => "service",
            Self::Gov => "gov",
            Self::Ops => "ops",
            Self::Platform => "platform",
        }
    }

    /// The role of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who calls: what a verified token says.
#[derive(Debug)]
pub(crate) struct Caller {
    role: Role,
    tenant: Option<TenantId>,
    subject: Option<String>,
}

impl Caller {
    pub(crate) fn new(role: Role, tenant: Option<TenantId>, subject: Option<String>) -> Self {
        Self { role, tenant, subject }
    }

    /// The role.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// The tenant; none for a platform operator.
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// Refuses roles that are not among these.
    pub(crate) fn require(&self, roles: &[Role]) -> Result<(), ApiError> {
        if roles.contains(&self.role) {
            return Ok(());
        }
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        Err(ApiError::new(
            Kind::Forbidden,
            format!("the role {} may not do this; these may: {}", self.role, names.join(", ")),
        ))
    }
}

/// Whoever a token names, with or without a tenant: for routes that show no tenant's data.
pub(crate) struct AnyCaller(pub(crate) Arc<Caller>);

/// A caller within one tenant. Its fields are private and it has no constructor: only a token makes one.
pub(crate) struct Scope {
    caller: Arc<Caller>,
    tenant: TenantId,
}

impl Scope {
    /// The tenant, which every key of what is read or written starts with.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The role.
    pub(crate) fn role(&self) -> Role {
        self.caller.role
    }

    /// Who, as the token says.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.caller.subject.as_deref()
    }

    pub(crate) fn require(&self, roles: &[Role]) -> Result<(), ApiError> {
        self.caller.require(roles)
    }

    /// Whether the caller may see or write a student's data, as far as the student decides: a student its own only.
    pub(crate) fn may_touch(&self, student: &str) -> bool {
        self.caller.role != Role::Student || self.subject() == Some(student)
    }

    /// As [`Scope::may_touch`], for a checked id.
    pub(crate) fn may_see(&self, student: &StudentId) -> bool {
        self.may_touch(student.as_str())
    }
}

impl FromRequestParts<ApiState> for AnyCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        caller(parts, state).map(Self)
    }
}

impl FromRequestParts<ApiState> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = caller(parts, state)?;
        let Some(tenant) = caller.tenant.clone() else {
            return Err(ApiError::new(Kind::Forbidden, "a platform operator has no tenant, and this needs one"));
        };
        Ok(Self { caller, tenant })
    }
}

fn caller(parts: &Parts, state: &ApiState) -> Result<Arc<Caller>, ApiError> {
    let missing = || ApiError::new(Kind::MissingToken, "send the header `Authorization: Bearer <token>`");
    let header = parts.headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    let (scheme, token) = header.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let caller = state.verifier.verify(token.trim(), now_s)?;
    if let Some(trail) = parts.extensions.get::<Trail>() {
        trail.caller(&caller);
    }
    Ok(caller)
}
