//! Goal: how long a reader waits for grades of a period that is not in memory any more, and what a thousand of them cost at once.
//!
//! Load: `GET /v1/students/{id}/grades?period=` of 5,000 students with ten subjects each, of a period that ClickHouse alone has (its
//! rows are the product's own, put there under another period). First one reader after another, each of another student, so that nothing
//! is known yet; the same again, when it is known; then a thousand readers on as many connections, all of one student whom nobody has
//! asked for, at the same moment.
//!
//! Configuration: live clock, one worker, the embedded engine in a process of its own on the same machine. Limit: the same of a period
//! in memory. A proxy between the two
//! counts the queries.

use super::Case;
use super::kafka::product;
use crate::client::{Client, Kind};
use crate::counting::Counting;
use crate::engine::{DATABASE, Engine};
use crate::http::{Connection, request};
use crate::latencies::Latencies;
use crate::report::Outcome;
use crate::school::{School, evaluation, now, student};
use crate::setting::Setting;
use anyhow::{Context, Result, anyhow, bail};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Instant;

pub const CASE: Case = Case {
    name: "clickhouse-cold",
    about: "grades of a period that only ClickHouse has; a thousand readers at once",
    run,
};

const SUBJECTS: usize = 10;
const OLD: &str = "2019-Q1";
const IN_MEMORY: &str = "limit: a period in memory";
const SHARES: [f64; 3] = [0.5, 0.99, 1.0];
/// A thread that reads needs little.
const STACK: usize = 256 << 10;

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let (students, reads, readers) = setting.size((5_000, 1_000, 1_000), (200, 50, 100));
    outcome.say(format!("{students} students, {SUBJECTS} subjects; {reads} cold reads, {readers} readers at once"));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        measure(setting, (students, reads, readers), &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(setting: &Setting, (students, reads, readers): (usize, usize, usize), outcome: &mut Outcome) -> Result<()> {
    let engine = Engine::start(setting)?;
    let proxy = Counting::start(engine.address())?;
    let school = School::make_with(setting, students, &engine.settings_at(proxy.address))?;
    product(&school, &["clickhouse", "migrate"])?;
    let (server, tokens, mut client) = school.open(1)?;
    fill(&mut client, students)?;
    engine.until_sent(server.address, &tokens.service)?;
    engine.ask(&format!(
        "INSERT INTO {DATABASE}.grades SELECT * REPLACE ('{OLD}' AS period) FROM {DATABASE}.grades FINAL"
    ))?;

    let token = tokens.service.as_str();
    let mut warm = read(server.address, token, "all", reads)?;
    outcome.add_latencies(IN_MEMORY, &mut warm, &SHARES, None);
    let mut cold = read(server.address, token, OLD, reads)?;
    outcome.add_latencies("a cold period", &mut cold, &SHARES, Some(IN_MEMORY));
    let mut known = read(server.address, token, OLD, reads)?;
    outcome.add_latencies("the same again", &mut known, &SHARES, Some(IN_MEMORY));

    // Nobody has asked for this one.
    let one = student(students - 1);
    let (before, began) = (proxy.requests(), Instant::now());
    let mut times = stampede(server.address, token, &one, readers)?;
    let took = began.elapsed();
    let queries = proxy.requests() - before;
    outcome.add(&format!("queries for {readers} readers at once"), "queries", queries as f64);
    outcome.add_latencies(&format!("{readers} readers at once"), &mut times, &SHARES, None);
    outcome.add("all of them answered, with connecting", "s", took.as_secs_f64());
    server.stop()
}

fn fill(client: &mut Client, students: usize) -> Result<()> {
    let at = now();
    client.load(Kind::Evaluations, students * SUBJECTS, |lines, n| {
        let subject = format!("subject-{}", n % SUBJECTS);
        evaluation(lines, &student(n / SUBJECTS), &subject, 0, (n % 101) as u32, &at);
    })
}

fn ask(token: &str, student: &str, period: &str) -> Vec<u8> {
    request("GET", &format!("/v1/students/{student}/grades?period={period}"), token, None)
}

/// Reads a period of so many students, one after the other.
fn read(address: SocketAddr, token: &str, period: &str, reads: usize) -> Result<Latencies> {
    let mut connection = Connection::open(address)?;
    let mut times = Latencies::default();
    for n in 0..reads {
        let call = ask(token, &student(n), period);
        let started = Instant::now();
        let answer = connection.call(&call)?.success("GET grades")?;
        times.add(started.elapsed());
        whole(&answer.body)?;
    }
    Ok(times)
}

/// An answer has a grade of each subject.
fn whole(body: &[u8]) -> Result<()> {
    let found = body.windows(9).filter(|nine| nine == b"\"subject\"").count();
    if found != SUBJECTS {
        bail!("an answer has {found} of {SUBJECTS} grades: {}", String::from_utf8_lossy(body));
    }
    Ok(())
}

/// So many readers, each on a connection of its own, that ask for the same at the same moment.
fn stampede(address: SocketAddr, token: &str, student: &str, readers: usize) -> Result<Latencies> {
    let call = ask(token, student, OLD);
    let barrier = Barrier::new(readers);
    std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(readers);
        for _ in 0..readers {
            let reader = || {
                let connection = Connection::open(address);
                // Also where there is none: the others wait here.
                barrier.wait();
                let started = Instant::now();
                let answer = connection?.call(&call)?.success("GET grades")?;
                let took = started.elapsed();
                whole(&answer.body)?;
                anyhow::Ok(took)
            };
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, reader);
            threads.push(thread.context("a machine that measures has room for this many threads")?);
        }
        let mut times = Latencies::default();
        for thread in threads {
            times.add(thread.join().map_err(|_| anyhow!("a reading thread panicked"))??);
        }
        Ok(times)
    })
}
