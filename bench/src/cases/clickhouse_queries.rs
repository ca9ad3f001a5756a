//! Goal: how long an analyst waits for an answer.
//!
//! Load: the Open University dataset (753,564 clicks and 46,181 results), imported by the product, which records five views, grades
//! and behaviour events; then each student twenty times, under pseudonyms of their own, by inserts of the product's own rows: the
//! history that about 15 million clicks leave. Twenty questions (`clickhouse_queries.sql`), each five times over `POST /v1/sql`.
//!
//! Configuration: views with `analytics = 'daily'`, event clock, the embedded engine in a process of its own on the same machine, the
//! limits of `POST /v1/sql` as by default but for time and memory, and a retention that keeps all events. What an answer took is the median of the five, the first one
//! included; rows that were read come from the engine's counter. Beside: the rows in all tables, and their bytes on the disk.

use super::Case;
use super::import::{Place, READY_WITHIN, TENANT, dataset};
use crate::engine::{DATABASE, Engine, kept};
use crate::http::{Connection, request};
use crate::report::Outcome;
use crate::school::token;
use crate::setting::Setting;
use anyhow::{Result, bail};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

pub const CASE: Case =
    Case { name: "clickhouse-queries", about: "twenty analysts' queries on the history of 15 million events", run };

const QUESTIONS: &str = include_str!("clickhouse_queries.sql");
/// How often the product looks whether there is more to copy.
const COPIED_EVERY: Duration = Duration::from_secs(5);
const LOOKS_MAX: usize = 60;
const TIMES: usize = 5;
const LIMITS: &str = "sql_timeout = \"2 minutes\"\nsql_memory_max = \"8 GiB\"\n\
                      [clickhouse.retention]\nbehavior = \"3650 days\"\n";

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let copies = setting.size(20, 2);
    let engine = Engine::start(setting)?;
    let place = Place::make(setting)?;
    place.write_views(&kept(include_str!("../../../configs/dataflows/oulad/oulad.sql"), "daily"))?;
    let mut config = OpenOptions::new().append(true).open(place.config())?;
    write!(config, "{}{LIMITS}", engine.settings())?;

    let folder = setting.folder()?;
    let dataset = dataset(setting, folder.path())?;
    place.product(setting, &["clickhouse", "migrate"])?;
    let server = place.start(setting, 2)?;
    server.until_ready(READY_WITHIN)?;
    setting.progress(CASE.name, "importing");
    let import = place.import(setting, &dataset, Some(server.address), true)?;
    let admin = token(&setting.binary, &place.config(), TENANT, "admin")?;
    engine.until_sent(server.address, &admin)?;
    until_copied(&engine)?;
    setting.progress(CASE.name, "copying students");
    let rows = copy(&engine, copies)?;
    let bytes = engine
        .number(&format!("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{DATABASE}'"))?;
    outcome.say(format!(
        "{} events, students {copies} times: {rows} rows in all tables, {:.0} MB; median of {TIMES}",
        import.events,
        bytes as f64 / 1e6
    ));
    for (title, query) in questions() {
        setting.progress(CASE.name, title);
        ask(&engine, server.address, &admin, (title, &query), &mut outcome)?;
    }
    server.stop()?;
    Ok(outcome)
}

/// Waits until the behaviour events are there, which come apart from views: until there are no more than some seconds ago.
fn until_copied(engine: &Engine) -> Result<()> {
    let mut last = 0;
    for _ in 0..LOOKS_MAX {
        let now = engine.number(&format!("SELECT count() FROM {DATABASE}.behavior"))?;
        if now > 0 && now == last {
            return Ok(());
        }
        last = now;
        std::thread::sleep(COPIED_EVERY * 2);
    }
    bail!("behaviour events are still being copied to ClickHouse: {last} so far")
}

/// Puts each student's rows as often as said; how many rows there are then. Cohorts are as they were.
fn copy(engine: &Engine, copies: usize) -> Result<u64> {
    let tables = engine.ask(&format!(
        "SELECT table FROM system.columns WHERE database = '{DATABASE}' AND name = 'student' AND type = 'UUID' AND table IN \
         (SELECT name FROM system.tables WHERE database = '{DATABASE}' AND engine LIKE '%MergeTree')"
    ))?;
    let mut rows = 0;
    for table in tables.split_whitespace() {
        let name = format!("{DATABASE}.{table}");
        // All at once: what is inserted is not read again.
        engine.ask(&format!(
            "INSERT INTO {name} SELECT * REPLACE (reinterpretAsUUID(sipHash128(student, copy)) AS student) FROM {name} ARRAY JOIN \
             range(1, {copies}) AS copy SETTINGS max_partitions_per_insert_block = 0"
        ))?;
        engine.ask(&format!("OPTIMIZE TABLE {name}"))?;
        rows += engine.number(&format!("SELECT count() FROM {name}"))?;
    }
    Ok(rows)
}

fn ask(
    engine: &Engine,
    address: std::net::SocketAddr,
    token: &str,
    (title, query): (&str, &str),
    outcome: &mut Outcome,
) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let call = request("POST", "/v1/sql", token, Some(("text/plain", query.as_bytes())));
    let before = engine.counter("SelectedRows")?;
    for _ in 0..TIMES {
        let started = Instant::now();
        connection.call(&call)?.success(title)?;
        outcome.add(title, "ms", started.elapsed().as_secs_f64() * 1e3);
    }
    let read = engine.counter("SelectedRows")?.saturating_sub(before);
    outcome.add(&format!("{title} (rows read)"), "rows", read as f64 / TIMES as f64);
    Ok(())
}

/// The questions: each has a title, and the query behind it.
fn questions() -> impl Iterator<Item = (&'static str, String)> {
    QUESTIONS.split("\n\n-- ").skip(1).filter_map(|part| {
        let (title, query) = part.split_once('\n')?;
        Some((title, query.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_are_twenty_questions() {
        let all: Vec<_> = questions().collect();
        assert_eq!(all.len(), 20);
        assert!(all.iter().all(|(title, query)| !title.is_empty() && query.starts_with("SELECT ")));
    }
}
