//! Goal: how many profiles an instance answers over loopback and how long one takes, beside the same HTTP server that
//! answers a constant of the same size.
//!
//! Load: 32 keep-alive connections driven by one thread: as fast as answers come (closed loop) for the throughput,
//! then at a constant rate (open loop, timed from when each request was due) for the tail. Both idle and beside
//! 5,000 behaviour events a second, of which the constant server's run has as many beside it.
//!
//! Configuration: 10,000 students with three grades and five features each, live clock, one worker. Limit:
//! `serve-constant`, asked with the same requests; constant and profile take turns in each run.

use super::Case;
use crate::client::{Client, Kind};
use crate::constant;
use crate::read_load::{Found, Pace, Reads};
use crate::report::Outcome;
use crate::school::{School, evaluation, event, now, student};
use crate::server::Server;
use crate::setting::Setting;
use crate::write_load::WriteLoad;
use anyhow::{Context, Result, bail};
use std::time::Duration;

pub const CASE: Case =
    Case { name: "reads", about: "profile reads beside a constant answer, idle and under ingest", run };

const SUBJECTS: [&str; 3] = ["mathematics", "history", "biology"];
/// Evaluations of a student in a subject.
const EVALUATIONS: usize = 3;
const CONNECTIONS: usize = 32;
/// Reads a second in the open loop.
const OPEN_RATE: u32 = 5_000;
const INGEST_RATE: usize = 5_000;
const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let students = setting.size(10_000, 1_000);
    let school = School::make(setting, students)?;
    let (server, tokens, mut client) = school.open(1)?;
    setting.progress(CASE.name, &format!("loading {students} students"));
    fill(&mut client, students)?;

    let bytes = client.profile(&student(7))?.context("a student has no profile")?.len();
    let constant_folder = setting.folder()?;
    let constant = constant::start(bytes, constant_folder.path())?;
    // Every student once, in an order that is not the store's.
    let requests: Vec<_> = (0..students).map(|n| client.ask_profile(&student(n * 7_919 % students))).collect();
    outcome.say(format!(
        "{students} students, {bytes} bytes per profile, {CONNECTIONS} connections by one thread, closed loop and open \
         loop at {OPEN_RATE} reads/s; 1 worker, live clock"
    ));
    for run in 1..=setting.runs {
        for beside in ["idle", "under ingest"] {
            setting.progress(CASE.name, &format!("run {run} of {}: {beside}", setting.runs));
            let load = match beside {
                "idle" => None,
                _ => Some(WriteLoad::start(server.address, &tokens, INGEST_RATE, students)?),
            };
            let mut servers = [("constant", &constant), ("profile", &server)];
            if run % 2 == 0 {
                servers.reverse();
            }
            for (name, server) in servers {
                measure(setting, (name, server), &requests, beside, &mut outcome)?;
            }
            if let Some(load) = load {
                let written = load.stop()?;
                let accepted = written.accepted as f64 / written.seconds;
                outcome.add("events accepted meanwhile", "events/s", accepted);
            }
        }
    }
    constant.kill()?;
    server.stop()?;
    Ok(outcome)
}

/// Loads grades and features, and reads every profile once.
fn fill(client: &mut Client, students: usize) -> Result<()> {
    let at = now();
    let per_student = SUBJECTS.len() * EVALUATIONS;
    client.load(Kind::Evaluations, students * per_student, |lines, n| {
        let (who, which) = (student(n / per_student), n % per_student);
        let score = 40 + (n % 61) as u32;
        evaluation(lines, &who, SUBJECTS[which % SUBJECTS.len()], which / SUBJECTS.len(), score, &at);
    })?;
    client.load(Kind::Events, students * 2, |lines, n| {
        event(lines, format_args!("first-{n}"), &student(n % students), &at);
    })?;
    let names: Vec<_> = (0..students).map(student).collect();
    let (read, features) = client.count_in_profiles(&names, "\"time_on_task_7d\"")?;
    if (read, features) != (students, students) {
        bail!("{read} of {students} students have profiles, {features} with features");
    }
    Ok(())
}

fn measure(
    setting: &Setting,
    (name, server): (&str, &Server),
    requests: &[Vec<u8>],
    beside: &str,
    outcome: &mut Outcome,
) -> Result<()> {
    let time = Duration::from_secs(setting.size(10, 1));
    let run = |pace| -> Result<Found> {
        let warm_up = Duration::from_millis(500);
        Reads { address: server.address, requests, connections: CONNECTIONS, pace, warm_up, time }.run()
    };
    let named = |what: &str| format!("{name}, {beside}: {what}");
    let limit = |what: &str| (name != "constant").then(|| format!("constant, {beside}: {what}"));
    let add = |outcome: &mut Outcome, what: &str, unit: &str, value: f64| match limit(what) {
        Some(limit) => outcome.add_against(&named(what), unit, value, &limit),
        None => outcome.add(&named(what), unit, value),
    };
    let before = server.cpu_seconds()?;
    let mut closed = run(Pace::Closed)?;
    let cpu = server.cpu_seconds()? - before;
    add(outcome, "throughput", "reads/s", closed.rate);
    if beside == "idle" {
        // Where the asking thread is what is slow, the rates are nearly equal, and this still tells.
        add(outcome, "CPU of the server per read", "µs", cpu * 1e6 / closed.answers as f64);
    }
    outcome.add_latencies(&named("closed loop"), &mut closed.times, &[0.5], limit("closed loop").as_deref());
    let mut open = run(Pace::PerSecond(OPEN_RATE))?;
    outcome.add_latencies(&named("open loop"), &mut open.times, &SHARES, limit("open loop").as_deref());
    if (open.rate - f64::from(OPEN_RATE)).abs() > f64::from(OPEN_RATE) * 0.01 {
        outcome.say(format!("the open loop did not keep its rate: {name}, {beside}: {:.0} reads/s", open.rate));
    }
    Ok(())
}
