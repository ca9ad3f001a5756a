//! Goal: what a view costs, and how many events a second go through ten of them.
//!
//! Load: the Open University dataset, as in `import`, put on the log once per run; then an instance with two workers that
//! starts on that log, with the first 1, 5, 10 and all 20 views of `views.sql`, each time without a state. And through a
//! running instance with ten views, over HTTP. Limit: reading and decoding the same JSON on one thread.

use super::Case;
use super::import::{DECODE, Place, READY_WITHIN, dataset, decode, keep};
use crate::report::Outcome;
use crate::setting::Setting;
use anyhow::{Context, Result};
use std::fs;

pub const CASE: Case = Case { name: "views", about: "1, 5, 10 and 20 views over the Open University dataset", run };

const SQL: &str = include_str!("../views.sql");
const COUNTS: [usize; 4] = [1, 5, 10, 20];
/// The number of views that is asked for over HTTP.
const OVER_HTTP: usize = 10;
const WORKERS: usize = 2;

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let lines = setting.folder()?;
    let dataset = dataset(setting, lines.path())?;
    let events = keep(setting, &dataset, lines.path())?.events;
    outcome.say(format!("{events} events; event clock; {WORKERS} workers; views of every kind, see views.sql"));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        let mut cpu_of = Vec::new();
        for count in COUNTS {
            outcome.add(DECODE, "events/s", decode(lines.path(), events)?);
            let place = Place::make(setting)?;
            place.write_views(&first(count))?;
            place.import(setting, &dataset, None, false)?;
            let server = place.start(setting, WORKERS)?;
            let ready = server.until_ready(READY_WITHIN)?;
            let cpu = server.cpu_seconds()?;
            let named = |what: &str| format!("from the log, {count} views: {what}");
            outcome.add_against(&named("start to visible"), "events/s", events as f64 / ready.as_secs_f64(), DECODE);
            outcome.add(&named("CPU of the instance"), "s", cpu);
            outcome.add(&named("memory, peak"), "MiB", server.memory()?.peak as f64 / f64::from(1 << 20));
            cpu_of.push((count, cpu));
            server.kill()?;
        }
        for pair in cpu_of.windows(2) {
            if let [(few, before), (many, after)] = pair {
                let each = (after - before) / (many - few) as f64 / events as f64 * 1e9;
                outcome.add(&format!("each further view, from {few} to {many}"), "ns of CPU per event", each);
            }
        }
        let place = Place::make(setting)?;
        place.write_views(&first(OVER_HTTP))?;
        let server = place.start(setting, WORKERS)?;
        server.until_ready(READY_WITHIN)?;
        let import = place.import(setting, &dataset, Some(server.address), true)?;
        let overall = import.overall_rate.context("the importer does not say when all was visible")?;
        outcome.add_against(&format!("over HTTP, {OVER_HTTP} views: visible"), "events/s", overall, DECODE);
        server.kill()?;
        fs::remove_dir_all(place.data())?;
    }
    Ok(outcome)
}

/// The table and the first views.
fn first(views: usize) -> String {
    let statements = SQL.split_inclusive(';').take(views + 1);
    statements.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_views_as_asked_for() {
        for count in COUNTS {
            assert_eq!(first(count).matches("CREATE MATERIALIZED VIEW").count(), count);
        }
    }
}
