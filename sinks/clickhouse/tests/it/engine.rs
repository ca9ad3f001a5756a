//! A ClickHouse for the tests, and a plan.

use aulaflow_clickhouse::{Access, Connection, Stop, Tables};
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const TABLE: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id', dedupe_horizon = '30 days');
";

/// Two views: one recorded with every change, one by day.
pub const VIEWS: &str = "
CREATE MATERIALIZED VIEW often WITH (analytics = 'changes') AS SELECT student_id, count(*) AS n, sum(value) AS points,
  last(event_type) AS latest FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day');
CREATE MATERIALIZED VIEW daily WITH (analytics = 'daily') AS SELECT student_id, count(*) AS n
  FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day');
";

pub fn plan(views: &str) -> Plan {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", ""));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let sql = [Source::new("test.sql", format!("{TABLE}{views}"))];
    compile(file, &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)))
}

pub fn tables(views: &str) -> Arc<Tables> {
    Arc::new(Tables::of(&plan(views)).unwrap())
}

/// A database of its own on the tests' ClickHouse; `None`: there is none.
pub fn access() -> Option<Access> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("AULAFLOW_TEST_CLICKHOUSE").ok()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let database = format!("test_{}_{number}", std::process::id());
    Some(Access { url, database, user: None, password: None, timeout: Duration::from_secs(5) })
}

pub fn connect(access: &Access) -> Connection {
    Connection::new(access, &Stop::default()).unwrap()
}
