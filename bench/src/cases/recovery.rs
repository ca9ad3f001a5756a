//! Goal: how long a killed instance takes until it is ready again, with a large state and a long tail of the log that no
//! checkpoint covers; and what memory it takes meanwhile.
//!
//! Load: 1,000,000 students with one event each, which all five features count, in a checkpoint. The process is killed.
//! 10,000,000 further events of the same students are put on the log while nothing runs. Then it is started and waited
//! for until `/readyz` says that the views are complete; then the same once more from a copy of the folder, with a budget
//! of memory that is a little above what the caught-up instance takes.
//!
//! Configuration: live clock, two workers. Limits: reading the checkpoint's files from start to end, and memory with
//! the same state and nothing to catch up with.

use super::Case;
use crate::client::Client;
use crate::disk;
use crate::http::{Connection, request};
use crate::procfs::Memory;
use crate::report::Outcome;
use crate::school::{School, first_events, student};
use crate::server::Server;
use crate::setting::Setting;
use anyhow::{Result, bail};
use std::fs;
use std::time::{Duration, Instant};

pub const CASE: Case =
    Case { name: "recovery", about: "kill, and start again with 10,000,000 events to catch up with", run };

/// How long catching up may take.
const READY_WITHIN: Duration = Duration::from_secs(600);
/// Time between two looks at how far a start is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The budget, in percent of what the instance takes when it has caught up.
const BUDGET_PERCENT: u64 = 106;
const MIB: f64 = (1 << 20) as f64;
const WORKERS: usize = 2;

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let students = setting.size(1_000_000, 20_000);
    let behind = setting.size(10_000_000, 100_000);
    outcome.say(format!("{students} students, 5 features, {WORKERS} workers, live clock; {behind} events behind"));
    for run in 1..=setting.runs {
        measure(setting, run, students, behind, &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(setting: &Setting, run: usize, students: usize, behind: usize, outcome: &mut Outcome) -> Result<()> {
    let school = School::make(setting, students)?;
    let (server, _, mut client) = school.open(WORKERS)?;
    let say = |what: &str| setting.progress(CASE.name, &format!("run {run} of {}: {what}", setting.runs));
    say("loading the students");
    first_events(&mut client, students)?;
    client.until_checkpointed()?;
    drop(client);
    server.kill()?;

    say("starting with nothing to catch up with");
    let server = school.start(WORKERS)?;
    let ready = server.until_ready(READY_WITHIN)?;
    outcome.add("start to ready, nothing behind", "s", ready.as_secs_f64());
    outcome.add("memory, nothing behind", "MiB", server.memory()?.resident as f64 / MIB);
    outcome.add("memory, peak, nothing behind", "MiB", server.memory()?.peak as f64 / MIB);
    server.kill()?;

    say("putting the tail on the log");
    school.import_events("tail-", students, behind)?;
    let state = school.data().join("state");
    let started = Instant::now();
    let bytes = disk::read_all(&state)?;
    let plain = started.elapsed();
    outcome.add("limit: the checkpoint's files, read from start to end", "s", plain.as_secs_f64());
    outcome.add("the checkpoint's files", "MiB", bytes as f64 / MIB);
    let copy = school.folder().join("copy");
    disk::copy(&school.data(), &copy)?;

    say("starting with the tail to catch up with");
    let limit = "limit: the checkpoint's files, read from start to end";
    let CaughtUp { loaded, ready, memory } = catch_up(&school, students, behind)?;
    outcome.add_against("start to state loaded", "s", loaded.as_secs_f64(), limit);
    outcome.add_against("start to ready", "s", ready.as_secs_f64(), limit);
    outcome.add("catching up", "events/s", behind as f64 / (ready - loaded).as_secs_f64());
    let before = "memory, peak, nothing behind";
    outcome.add_against("memory, peak while catching up", "MiB", memory.peak as f64 / MIB, before);
    outcome.add("memory, caught up", "MiB", memory.resident as f64 / MIB);

    say("starting with the tail, with a budget of memory");
    let budget = memory.resident / 100 * BUDGET_PERCENT;
    fs::remove_dir_all(school.data())?;
    fs::rename(copy, school.data())?;
    school.set(&format!("[engine]\nmemory_max = {budget}\n"))?;
    let CaughtUp { loaded, ready, memory } = catch_up(&school, students, behind)?;
    outcome.add("budget of memory", "MiB", budget as f64 / MIB);
    outcome.add_against("memory, peak, with a budget", "MiB", memory.peak as f64 / MIB, "budget of memory");
    let rate = behind as f64 / (ready - loaded).as_secs_f64();
    outcome.add_against("catching up, with a budget", "events/s", rate, "catching up");
    Ok(())
}

/// How a start with a tail went: from its beginning until the state was loaded, and until all was visible.
struct CaughtUp {
    loaded: Duration,
    ready: Duration,
    memory: Memory,
}

/// Starts an instance with the tail, sees that it shows everything, and kills it.
fn catch_up(school: &School, students: usize, behind: usize) -> Result<CaughtUp> {
    let server = school.start(WORKERS)?;
    let loaded = until_loaded(&server)?;
    let ready = server.until_ready(READY_WITHIN)?;
    let memory = server.memory()?;
    check(&server, school, students, behind)?;
    server.kill()?;
    Ok(CaughtUp { loaded, ready, memory })
}

/// Waits until the state is loaded, whether or not the log was read to its end.
fn until_loaded(server: &Server) -> Result<Duration> {
    let ask = request("GET", "/readyz", "", None);
    let mut connection = Connection::open(server.address)?;
    loop {
        let answer = connection.call(&ask)?;
        if answer.status == 200 || !String::from_utf8_lossy(&answer.body).contains("is being loaded") {
            return Ok(server.started.elapsed());
        }
        if server.started.elapsed() > READY_WITHIN {
            answer.success("/readyz")?;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What is shown at the end counts every event once.
fn check(server: &Server, school: &School, students: usize, behind: usize) -> Result<()> {
    let each = 1 + behind / students;
    let names: Vec<_> = (0..students).step_by(students.div_ceil(500)).map(student).collect();
    let expected = format!("\"participations\":{each},");
    let found = Client::open(server.address, &school.tokens()?)?.count_in_profiles(&names, &expected)?;
    if found != (names.len(), names.len()) {
        bail!("after catching up, of {} profiles (read, right) are {found:?}", names.len());
    }
    Ok(())
}
