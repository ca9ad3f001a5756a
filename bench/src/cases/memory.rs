//! Goal: memory and disk per student, and how long a killed instance takes until it serves the same state again.
//!
//! Load: 1,000,000 students with one event each, which all five features count. Then the process is killed, started
//! again, and waited for until `/readyz` says that the views are complete. A fifth of the students is loaded with one of
//! the features, and with all of them where each keeps its last 20 events. Beside each stands what `aulaflow plan`
//! estimates for one event per student.
//!
//! Configuration: live clock, one worker. Limit: an instance without students, and the bytes of the events as sent.

use super::Case;
use crate::client::{Client, Kind};
use crate::disk;
use crate::report::Outcome;
use crate::school::{FEATURES, School, event, first_events, now, student};
use crate::setting::Setting;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "memory", about: "memory and disk of 1,000,000 students, and recovery", run };

/// How long loading the state may take.
const READY_WITHIN: Duration = Duration::from_secs(600);
const MIB: f64 = (1 << 20) as f64;

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let students = setting.size(1_000_000, 20_000);
    outcome
        .say(format!("{students} students, 5 features, 1 worker, live clock; killed once all is visible and stored"));
    for run in 1..=setting.runs {
        measure(setting, run, students, &mut outcome)?;
        for (name, features) in [("one feature", one_feature()), ("20 events kept", with_explain())] {
            measure_loaded(setting, students / 5, name, &features, &mut outcome)?;
        }
    }
    Ok(outcome)
}

/// The table and its second feature.
fn one_feature() -> String {
    let statements: Vec<&str> = FEATURES.split("\n\n").collect();
    [statements[0], statements[2]].join("\n\n")
}

fn with_explain() -> String {
    FEATURES.replace("serve = true", "serve = true, explain = 20")
}

/// Memory with other features.
fn measure_loaded(setting: &Setting, students: usize, name: &str, features: &str, outcome: &mut Outcome) -> Result<()> {
    let school = School::make_of(setting, students, "", features)?;
    let (server, _, mut client) = school.open(1)?;
    setting.progress(CASE.name, &format!("{name}: loading {students} students"));
    first_events(&mut client, students)?;
    client.until_checkpointed()?;
    let measured = format!("memory, {students} students, {name}");
    outcome.add(&measured, "MiB", server.memory()?.resident as f64 / MIB);
    outcome.add_against(&format!("{name}: estimated by `plan`"), "MiB", estimated(&school, students)? / MIB, &measured);
    drop(client);
    server.stop()
}

/// What `aulaflow plan` estimates, in bytes.
fn estimated(school: &School, students: usize) -> Result<f64> {
    let students = students.to_string();
    let one_event = ["--active-panes", "1", "--events-per-day", "1", "--evaluations", "0", "--grades", "0"];
    let arguments = [&["plan", "--format", "json", "--students", &students], one_event.as_slice()].concat();
    let output = school.command(&arguments).output()?;
    if !output.status.success() {
        bail!("`aulaflow plan` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let kept = plan["nodes"].as_array().into_iter().flatten().flat_map(|node| node["keeps"].as_array());
    let bytes: f64 = kept.flatten().filter_map(|kept| kept["size"]["bytes"].as_f64()).sum();
    match plan["process_bytes"].as_f64() {
        Some(process) => Ok(process + bytes),
        None => bail!("`aulaflow plan` says nothing of the process"),
    }
}

fn measure(setting: &Setting, run: usize, students: usize, outcome: &mut Outcome) -> Result<()> {
    let school = School::make(setting, students)?;
    let (server, tokens, mut client) = school.open(1)?;
    let empty = server.memory()?.resident as f64;
    outcome.add("memory, no students", "MiB", empty / MIB);

    setting.progress(CASE.name, &format!("run {run} of {}: loading {students} students", setting.runs));
    let (mut sent, started, at) = (0, Instant::now(), now());
    client.load(Kind::Events, students, |lines, n| {
        let before = lines.len();
        event(lines, format_args!("{n}"), &student(n), &at);
        sent += lines.len() - before;
    })?;
    outcome.add("load to visible", "events/s", students as f64 / started.elapsed().as_secs_f64());
    client.until_checkpointed()?;
    let full = server.memory()?;
    outcome.add_against("memory, all students", "MiB", full.resident as f64 / MIB, "memory, no students");
    outcome.add_against("estimated by `plan`", "MiB", estimated(&school, students)? / MIB, "memory, all students");
    outcome.add("memory, peak", "MiB", full.peak as f64 / MIB);
    outcome.add("memory per student", "bytes", (full.resident as f64 - empty) / students as f64);
    outcome.add("events as sent, per student", "bytes", sent as f64 / students as f64);
    let on_disk = |name: &str| disk::allocated(&school.data().join(name)).map(|bytes| bytes as f64 / students as f64);
    for name in ["log", "state"] {
        outcome.add_against(
            &format!("{name} on disk, per student"),
            "bytes",
            on_disk(name)?,
            "events as sent, per student",
        );
    }

    setting.progress(CASE.name, &format!("run {run} of {}: killing it and starting again", setting.runs));
    drop(client);
    server.kill()?;
    let server = school.start(1)?;
    let ready = server.until_ready(READY_WITHIN)?;
    let names: Vec<_> = (0..students).step_by(students / 500).map(student).collect();
    let found = Client::open(server.address, &tokens)?.count_in_profiles(&names, "\"participations\":1,")?;
    if found != (names.len(), names.len()) {
        bail!("after the restart, of {} profiles (read, right) are {found:?}", names.len());
    }
    outcome.add("start to all visible, after a kill", "s", ready.as_secs_f64());
    let again = server.memory()?;
    outcome.add_against("memory, after the restart", "MiB", again.resident as f64 / MIB, "memory, all students");
    outcome.add("memory, peak of the restart", "MiB", again.peak as f64 / MIB);
    server.stop()
}
