//! Goal: what an instance costs that has state and nothing to do.
//!
//! Load: none, for 20 seconds, after 20,000 students with five features each were loaded and the checkpoint was
//! written.
//!
//! Configuration: live clock, one and two workers. Limit: none but zero.

use super::Case;
use crate::report::{Outcome, workers_named};
use crate::school::{School, first_events};
use crate::setting::Setting;
use anyhow::Result;
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "idle", about: "CPU of an instance with state and no events", run };

const STUDENTS: usize = 20_000;

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let watched = Duration::from_secs(setting.size(20, 3));
    outcome.say(format!("{STUDENTS} students, 5 features, live clock, watched for {} s", watched.as_secs()));
    for run in 1..=setting.runs {
        for workers in [1, 2] {
            setting.progress(CASE.name, &format!("run {run} of {}: {}", setting.runs, workers_named(workers)));
            let school = School::make(setting, STUDENTS)?;
            let (server, _, mut client) = school.open(workers)?;
            first_events(&mut client, STUDENTS)?;
            client.until_checkpointed()?;
            let (before, started) = (server.cpu_seconds()?, Instant::now());
            std::thread::sleep(watched);
            let used = (server.cpu_seconds()? - before) / started.elapsed().as_secs_f64();
            outcome.add(&format!("CPU, {}", workers_named(workers)), "% of a core", used * 100.0);
            server.stop()?;
        }
    }
    Ok(outcome)
}
