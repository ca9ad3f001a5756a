//! Goal: how long after a single mark is sent (and corrected) the profile shows it.
//!
//! Load: 1,000 students with eight evaluations in one subject; 300 times `POST /v1/evaluations` with another score for
//! one of them, then its profile is asked for until the grade's version has grown. One at a time.
//!
//! Configuration: live clock, one worker, every write synced. Limit: a block of 4 KiB written to a file and synced.

use super::Case;
use crate::client::{Client, Kind, number};
use crate::disk;
use crate::http::{Connection, request};
use crate::latencies::Latencies;
use crate::report::Outcome;
use crate::school::{SUBJECT, School, evaluation, now, student};
use crate::setting::Setting;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "correction", about: "a single evaluation to visible in the profile", run };

const STUDENTS: usize = 1_000;
const EVALUATIONS: usize = 8;
const SHARES: [f64; 3] = [0.5, 0.99, 1.0];
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);
/// Between an answer of the profile and the next question.
const POLL_PAUSE: Duration = Duration::from_micros(100);

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let corrections = setting.size(300, 30);
    outcome.say(format!(
        "{STUDENTS} students with {EVALUATIONS} evaluations, {corrections} corrections per run; 1 worker, live clock"
    ));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        measure(setting, corrections, &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(setting: &Setting, corrections: usize, outcome: &mut Outcome) -> Result<()> {
    let school = School::make(setting, STUDENTS)?;
    let limit = disk::WRITE_AND_SYNC;
    for (name, mut times) in disk::limits(school.folder(), 200)? {
        outcome.add_latencies(name, &mut times, &SHARES, None);
    }
    let (server, tokens, mut client) = school.open(1)?;
    let at = now();
    client.load(Kind::Evaluations, STUDENTS * EVALUATIONS, |lines, n| {
        evaluation(lines, &student(n / EVALUATIONS), SUBJECT, n % EVALUATIONS, 50, &at);
    })?;
    let mut writer = Connection::open(server.address)?;
    let (mut durable, mut visible) = (Latencies::default(), Latencies::default());
    let mut body = Vec::new();
    for n in 0..corrections {
        let who = student(n % STUDENTS);
        let before = version(&mut client, &who)?;
        // At any point of the dataflow's tick.
        std::thread::sleep(Duration::from_micros(5_000 + (n as u64 * 7_919) % 10_000));
        body.clear();
        evaluation(&mut body, &who, SUBJECT, 0, 60 + (n % 40) as u32, &now());
        let call = request("POST", "/v1/evaluations", &tokens.admin, Some(("application/json", &body)));
        let started = Instant::now();
        writer.call(&call)?.success("POST /v1/evaluations")?;
        durable.add(started.elapsed());
        while version(&mut client, &who)? <= before {
            if started.elapsed() > VISIBLE_WITHIN {
                bail!("a correction is not visible after {} s", VISIBLE_WITHIN.as_secs());
            }
            std::thread::sleep(POLL_PAUSE);
        }
        visible.add(started.elapsed());
    }
    outcome.add_latencies("POST to durable", &mut durable, &SHARES, Some(limit));
    outcome.add_latencies("POST to visible", &mut visible, &SHARES, Some(limit));
    server.stop()
}

/// The version of a student's only grade.
fn version(client: &mut Client, student: &str) -> Result<u64> {
    let profile = client.profile(student)?.context("a student has no profile")?;
    number(&profile, "\"version\":").context("a profile has no grade")
}
