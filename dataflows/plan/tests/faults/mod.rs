//! What the tests of wrong SQL share: a good table, and the faults of a text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aulaflow_plan::sql::{SqlFault, compile};

/// A source table that is right.
pub const TABLE: &str = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE,
  occurred_at TIMESTAMP, context JSON) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
  lateness = '10 minutes', dedupe = 'event_id', dedupe_horizon = '24 hours');\n";

/// What follows the outputs of a view that is right.
pub const GROUP: &str = "FROM behavior GROUP BY student_id, tumble(interval '1 day')";

/// The faults of one text, as (message, text pointed at, help).
pub fn faults(text: &str) -> Vec<(String, String, String)> {
    let found = match compile(&[("test.sql".to_owned(), text.to_owned())]) {
        Ok(_) => Vec::new(),
        Err(faults) => faults,
    };
    found
        .into_iter()
        .map(|(_, SqlFault { span, message, help })| {
            (
                message,
                text.get(span.clone()).unwrap_or_else(|| panic!("{span:?} of {text}")).to_owned(),
                help.unwrap_or_default(),
            )
        })
        .collect()
}

/// The text has exactly this fault.
pub fn check(text: &str, message: &str, at: &str) {
    let found = faults(text);
    assert_eq!(found.len(), 1, "{text}: {found:#?}");
    assert_eq!((found[0].0.as_str(), found[0].1.as_str()), (message, at), "{text}");
}

/// Views over the good table: what follows `AS SELECT`.
pub fn check_selects(cases: &[(&str, &str, &str)]) {
    for (select, message, at) in cases {
        check(&format!("{TABLE}CREATE MATERIALIZED VIEW v AS SELECT {select};"), message, at);
    }
}
