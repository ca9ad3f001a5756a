//! Goal: how long after a new grading rule is sent every grade that it touches shows it.
//!
//! Load: 5,000 students with eight evaluations in one subject; `PUT /v1/rules/{subject}` ten times, two rules in turn.
//! Visible is when `GET /v1/lag` says that the rule's record is; then a sample of 16 profiles is read, and at last
//! every one of them, which proves that the new version is in all. The last includes the time to read 5,000 profiles.
//!
//! Configuration: live clock, one worker, every write synced. Limit: a block of 4 KiB written to a file and synced.

use super::Case;
use crate::client::Kind;
use crate::disk;
use crate::latencies::Latencies;
use crate::report::Outcome;
use crate::school::{SUBJECT, School, evaluation, now, student};
use crate::setting::Setting;
use anyhow::{Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "rule", about: "a rule that changes 5,000 grades to all of them visible", run };

const EVALUATIONS: usize = 8;
const CHANGES: usize = 10;
const SAMPLE: usize = 16;
const SHARES: [f64; 2] = [0.5, 1.0];

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let students = setting.size(5_000, 500);
    outcome.say(format!(
        "{students} grades of one subject, {EVALUATIONS} evaluations each, {CHANGES} changes per run; 1 worker, live clock"
    ));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        measure(setting, students, &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(setting: &Setting, students: usize, outcome: &mut Outcome) -> Result<()> {
    let school = School::make(setting, students)?;
    let limit = disk::WRITE_AND_SYNC;
    for (name, mut times) in disk::limits(school.folder(), 200)? {
        outcome.add_latencies(name, &mut times, &SHARES, None);
    }
    let (server, _, mut client) = school.open(1)?;
    let at = now();
    client.load(Kind::Evaluations, students * EVALUATIONS, |lines, n| {
        let (who, which) = (student(n / EVALUATIONS), n % EVALUATIONS);
        evaluation(lines, &who, SUBJECT, which, 40 + (n * 31 % 61) as u32, &at);
    })?;
    let names: Vec<_> = (0..students).map(student).collect();
    let sample: Vec<_> = names.iter().step_by(students.div_ceil(SAMPLE)).cloned().collect();

    let (mut durable, mut visible, mut shown, mut all) = Default::default();
    for change in 0..CHANGES {
        // Nothing of the last change is under way any more.
        std::thread::sleep(Duration::from_millis(300));
        let rule = rule(change);
        let started = Instant::now();
        let (version, positions) = client.put_rule(SUBJECT, &rule)?;
        Latencies::add(&mut durable, started.elapsed());
        client.until_visible(&positions)?;
        Latencies::add(&mut visible, started.elapsed());
        let text = format!("\"rule_version\":\"{version}\"");
        for (names, times) in [(&sample, &mut shown), (&names, &mut all)] {
            let found = client.count_in_profiles(names, &text)?;
            Latencies::add(times, started.elapsed());
            if found != (names.len(), names.len()) {
                bail!("the rule was said to be visible, and of {} profiles (read, new) are {found:?}", names.len());
            }
        }
    }
    outcome.add_latencies("PUT to durable", &mut durable, &SHARES, Some(limit));
    outcome.add_latencies("PUT to all visible", &mut visible, &SHARES, Some(limit));
    outcome.add_latencies("PUT to a sample read", &mut shown, &SHARES, Some(limit));
    outcome.add_latencies("PUT to every profile read", &mut all, &SHARES, Some(limit));
    server.stop()
}

/// Two rules in turn.
fn rule(change: usize) -> serde_json::Value {
    let (exam, homework) = if change.is_multiple_of(2) { ("0.6", "0.2") } else { ("0.3", "0.5") };
    json!({
        "weights": { "exam": exam, "homework": homework, "quiz": "0.2" },
        "min_passing": 60,
        "rounding": { "mode": "half_up", "decimals": 2 }
    })
}
