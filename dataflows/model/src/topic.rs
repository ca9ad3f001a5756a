//! The log's topics: one table says what each is, who reads it, and what becomes of its records. A new topic is a row here, and a
//! reader where the row says so.

/// What is known of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name, which the log and every message use.
    pub name: &'static str,
    /// What the keys of its records are.
    pub key: &'static str,
    /// Whether the log may keep the newest record of a key alone.
    pub compacted: bool,
    /// Whether records are removed from the log when its retention is over.
    pub expires: bool,
    /// Whether there is a dead-letter topic for its records.
    pub has_dead_letters: bool,
    /// As what the dataflows read it, if they do.
    pub input: Option<Input>,
    /// Whether its records are copied to ClickHouse as they are.
    pub copied: bool,
}

/// The inputs of the dataflows, in the order in which they are read: rules and periods before the evaluations that they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Tenants' configurations.
    Tenants,
    /// Evaluations.
    Evaluations,
    /// Behaviour events.
    Behavior,
}

/// Evaluations.
pub const EVALUATIONS: &str = "aula.evaluations.v1";
/// Behaviour events.
pub const BEHAVIOR: &str = "aula.behavior.v1";
/// Service events.
pub const EVENTS: &str = "aula.events.v1";
/// Tenants' configurations.
pub const TENANTS: &str = "aula.tenants.v1";
/// What the serving store shows, for whoever keeps a copy of it.
pub const PROFILES: &str = "aula.profiles.v1";

/// All topics but those of dead letters. New ones go to the end: dead letters are looked through in this order.
pub const TOPICS: [Topic; 5] = [
    Topic {
        name: EVALUATIONS,
        key: "tenant/evaluation_id; a null value deletes",
        compacted: true,
        expires: false,
        has_dead_letters: true,
        input: Some(Input::Evaluations),
        copied: false,
    },
    Topic {
        name: BEHAVIOR,
        key: "tenant/student_id",
        compacted: false,
        expires: true,
        has_dead_letters: true,
        input: Some(Input::Behavior),
        copied: true,
    },
    Topic {
        name: EVENTS,
        key: "tenant/service",
        compacted: false,
        expires: true,
        has_dead_letters: true,
        input: None,
        copied: true,
    },
    Topic {
        name: TENANTS,
        key: "tenant",
        compacted: true,
        expires: false,
        has_dead_letters: true,
        input: Some(Input::Tenants),
        copied: false,
    },
    Topic {
        name: PROFILES,
        key: "tenant/student_id",
        compacted: true,
        expires: false,
        has_dead_letters: false,
        input: None,
        copied: false,
    },
];

/// The names of the topics whose records can become dead letters.
pub const SOURCES: [&str; sources_count()] = sources();

const fn sources_count() -> usize {
    let (mut at, mut count) = (0, 0);
    while at < TOPICS.len() {
        count += TOPICS[at].has_dead_letters as usize;
        at += 1;
    }
    count
}

const fn sources() -> [&'static str; sources_count()] {
    let mut names = [""; sources_count()];
    let (mut at, mut count) = (0, 0);
    while at < TOPICS.len() {
        if TOPICS[at].has_dead_letters {
            names[count] = TOPICS[at].name;
            count += 1;
        }
        at += 1;
    }
    names
}

/// A topic of the table.
pub fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The topics that the dataflows read, in the order in which they are read.
pub fn inputs() -> impl Iterator<Item = (Input, &'static str)> {
    let mut inputs: Vec<_> = TOPICS.iter().filter_map(|topic| Some((topic.input?, topic.name))).collect();
    inputs.sort_unstable();
    inputs.into_iter()
}

/// The dead-letter topic of a topic.
pub fn dead_letters(topic: &str) -> String {
    format!("{topic}.dlq")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_consistent() {
        let names: BTreeSet<_> = TOPICS.iter().map(|topic| topic.name).collect();
        assert_eq!(names.len(), TOPICS.len(), "a name twice");
        assert_eq!(SOURCES, [EVALUATIONS, BEHAVIOR, EVENTS, TENANTS]);
        let inputs: Vec<_> = inputs().collect();
        assert_eq!(inputs, [(Input::Tenants, TENANTS), (Input::Evaluations, EVALUATIONS), (Input::Behavior, BEHAVIOR)]);
        for topic in &TOPICS {
            assert!(!(topic.compacted && topic.expires), "{}: the newest record of a key would be removed", topic.name);
            assert!(topic.input.is_none() || topic.has_dead_letters, "{}: what is read can be wrong", topic.name);
        }
    }
}
