//! Goal: memory stays flat under a steady load.
//!
//! Load: open loop, 5,000 behaviour events a second from 20,000 students, for 60 seconds; memory is taken after 20 and
//! after 60. Ids of events are kept for a day, so that an event counts once: they are the part that grows.
//!
//! Configuration: five features, live clock, one worker. Limit: the memory after 20 seconds.

use super::Case;
use crate::report::Outcome;
use crate::school::{School, first_events};
use crate::setting::Setting;
use crate::write_load::WriteLoad;
use anyhow::Result;
use std::time::Duration;

pub const CASE: Case = Case { name: "steady", about: "memory under 5,000 events/s for a minute", run };

const STUDENTS: usize = 20_000;
const RATE: usize = 5_000;

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let (early, late) = setting.size((20, 60), (2, 6));
    outcome.say(format!("{STUDENTS} students, {RATE} events/s, 1 worker, live clock"));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        let school = School::make(setting, STUDENTS)?;
        let (server, tokens, mut client) = school.open(1)?;
        first_events(&mut client, STUDENTS)?;
        drop(client);
        let cpu = server.cpu_seconds()?;
        let load = WriteLoad::start(server.address, &tokens, RATE, STUDENTS)?;
        std::thread::sleep(Duration::from_secs(early));
        let before = server.memory()?.resident as f64;
        std::thread::sleep(Duration::from_secs(late - early));
        let after = server.memory()?.resident as f64;
        let cpu = server.cpu_seconds()? - cpu;
        let written = load.stop()?;
        let reference = format!("memory after {early} s");
        outcome.add(&reference, "MiB", before / f64::from(1 << 20));
        outcome.add_against(&format!("memory after {late} s"), "MiB", after / f64::from(1 << 20), &reference);
        let events = (RATE as u64 * (late - early)) as f64;
        outcome.add("growth per event", "bytes", (after - before) / events);
        outcome.add("accepted", "events/s", written.accepted as f64 / written.seconds);
        outcome.add("CPU of the instance", "cores", cpu / written.seconds);
        server.stop()?;
    }
    Ok(outcome)
}
