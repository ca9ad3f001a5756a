//! The names of the log's topics.

/// Evaluations, keyed `tenant/evaluation_id`; a null value deletes. Compacted.
pub const EVALUATIONS: &str = "aula.evaluations.v1";
/// Behaviour events, keyed `tenant/student_id`.
pub const BEHAVIOR: &str = "aula.behavior.v1";
/// Service events, keyed `tenant/service`.
pub const EVENTS: &str = "aula.events.v1";
/// Tenants' configurations, keyed `tenant`. Compacted.
pub const TENANTS: &str = "aula.tenants.v1";

/// What the serving store shows, keyed `tenant/student_id`, for whoever keeps a copy of it. Compacted.
pub const PROFILES: &str = "aula.profiles.v1";

/// The topics that are read, in the order of their ids in the embedded log.
pub const SOURCES: [&str; 4] = [EVALUATIONS, BEHAVIOR, EVENTS, TENANTS];

/// The dead-letter topic of a topic.
pub fn dead_letters(topic: &str) -> String {
    format!("{topic}.dlq")
}
