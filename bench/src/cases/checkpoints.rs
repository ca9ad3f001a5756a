//! Goal: what checkpoints cost while events arrive: processor time, bytes, and how much later profiles show events.
//!
//! Load: as in `freshness`, at 5,000 and 50,000 events/s, once with a checkpoint each second and once with one an hour:
//! none during the measurement.
//!
//! Configuration and limit: as in `freshness`; the run without checkpoints is what the other is compared with.

use super::Case;
use super::freshness::{STUDENTS, probe};
use crate::report::Outcome;
use crate::school::{School, first_events};
use crate::setting::Setting;
use crate::write_load::WriteLoad;
use anyhow::Result;
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "checkpoints", about: "freshness and CPU with checkpoints and without", run };

const RATES: [usize; 2] = [5_000, 50_000];
const SHARES: [f64; 3] = [0.5, 0.99, 1.0];
/// Load before the first probe.
const WARM_UP: Duration = Duration::from_secs(3);
/// Bytes written by checkpoints and by merging what they wrote.
const WRITTEN: &str = "aulaflow_checkpoint_bytes_total";
const INTERVALS: [(&str, &str); 2] = [("without", "1 hour"), ("with", "1 second")];

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let probes = setting.size(500, 50);
    outcome.say(format!(
        "{STUDENTS} students, 5 features, 1 worker, live clock, {probes} probes; a checkpoint each second"
    ));
    for run in 1..=setting.runs {
        for rate in RATES {
            for (name, interval) in INTERVALS {
                setting.progress(CASE.name, &format!("run {run} of {}: {rate} events/s, {name}", setting.runs));
                measure(setting, (rate, name, interval), probes, &mut outcome)?;
            }
        }
    }
    Ok(outcome)
}

fn measure(
    setting: &Setting,
    (rate, name, interval): (usize, &str, &str),
    probes: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let school = School::make_with(setting, STUDENTS, &format!("[engine]\ncheckpoint_interval = \"{interval}\"\n"))?;
    let (server, tokens, mut client) = school.open(1)?;
    first_events(&mut client, STUDENTS)?;
    let load = WriteLoad::start(server.address, &tokens, rate, STUDENTS)?;
    std::thread::sleep(WARM_UP);
    let before = counter(&client.metrics()?, WRITTEN);
    let (cpu, began) = (server.cpu_seconds()?, Instant::now());
    let (_, mut visible) = probe(server.address, &tokens, probes)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (server.cpu_seconds()? - cpu) / seconds;
    let bytes = counter(&client.metrics()?, WRITTEN) - before;
    load.stop()?;

    let named = |name: &str, what: &str| format!("{},000/s, {name} checkpoints: {what}", rate / 1_000);
    let against = (name == "with").then(|| named("without", "due to visible"));
    outcome.add_latencies(&named(name, "due to visible"), &mut visible, &SHARES, against.as_deref());
    let what = "CPU of the instance";
    match name {
        "with" => outcome.add_against(&named(name, what), "cores", cpu, &named("without", what)),
        _ => outcome.add(&named(name, what), "cores", cpu),
    }
    outcome.add(&named(name, "written to the state"), "MiB/s", bytes / seconds / f64::from(1 << 20));
    server.stop()
}

/// A counter of the metrics' text; 0 where it is not there.
fn counter(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}
