//! Goal: reads at a serve-only replica while the process with the dataflows is killed and started again: errors, and how
//! old what is shown says that it is.
//!
//! Load: 20,000 students; 5,000 events/s into the dataflow process; four connections read profiles at the replica as fast
//! as they are answered. After five seconds the dataflow process is killed, stays away for five seconds, and is started
//! again; the load of events goes on once it is ready.
//!
//! Configuration: five features, live clock, one worker, a log in Kafka on the same machine. Limit: the same reads before
//! the kill.

use super::Case;
use super::kafka::{Broker, product, settings};
use crate::client::{Client, number};
use crate::http::{Connection, request};
use crate::latencies::Latencies;
use crate::report::Outcome;
use crate::school::{School, Tokens, first_events, student};
use crate::setting::Setting;
use crate::write_load::WriteLoad;
use anyhow::{Result, anyhow, bail};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "replica", about: "reads at a replica while the dataflows are killed", run };

const STUDENTS: usize = 20_000;
const RATE: usize = 5_000;
const READERS: usize = 4;
/// With everything running, and with the dataflow process away.
const PHASE: Duration = Duration::from_secs(5);
/// How long anything may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Time between two looks at the staleness.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SHARES: [f64; 2] = [0.5, 0.99];

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    outcome.say(format!(
        "{STUDENTS} students, {RATE} events/s, {READERS} connections reading at the replica; the dataflow process is \
         killed, and started again after {} s",
        PHASE.as_secs()
    ));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        measure(setting, &mut outcome)?;
    }
    Ok(outcome)
}

/// What the readers have counted.
#[derive(Default)]
struct Reads {
    stop: AtomicBool,
    good: AtomicU64,
    failed: AtomicU64,
}

fn measure(setting: &Setting, outcome: &mut Outcome) -> Result<()> {
    let folder = setting.folder()?;
    let broker = Broker::start(&folder.path().join("kafka"))?;
    let school = School::make_with(setting, STUDENTS, &settings(&broker, "auto"))?;
    product(&school, &["topics", "ensure"])?;
    let dataflow = school.start(1)?;
    dataflow.until_ready(READY_WITHIN)?;
    let tokens = school.tokens()?;
    let mut client = Client::open(dataflow.address, &tokens)?;
    first_events(&mut client, STUDENTS)?;
    drop(client);
    let replica = school.start_replica()?;
    replica.until_ready(READY_WITHIN)?;
    let address = replica.address;
    until_all_are_there(address, &tokens)?;

    let reads = Reads::default();
    std::thread::scope(|scope| {
        let (counted, token) = (&reads, tokens.service.as_str());
        let readers: Vec<_> = (0..READERS).map(|n| scope.spawn(move || read(address, token, n, counted))).collect();
        let outcome = phases(&school, dataflow, address, &reads, outcome);
        reads.stop.store(true, Ordering::Relaxed);
        let mut times = Latencies::default();
        for reader in readers {
            times.merge(reader.join().map_err(|_| anyhow!("a reader panicked"))??);
        }
        outcome.map(|outcome| outcome.add_latencies("a read at the replica, all phases", &mut times, &SHARES, None))
    })?;
    replica.stop()
}

/// Waits until the changelog's writer, and the replica, have come to the last of the students.
fn until_all_are_there(replica: SocketAddr, tokens: &Tokens) -> Result<()> {
    let names: Vec<_> = (0..STUDENTS).map(student).collect();
    let mut client = Client::open(replica, tokens)?;
    let began = Instant::now();
    while began.elapsed() < READY_WITHIN {
        let mut found = 0;
        for part in names.chunks(500) {
            found += client.count_in_profiles(part, "\"participations\":")?.1;
        }
        if found == STUDENTS {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("the replica does not have all students after {} s", READY_WITHIN.as_secs())
}

/// What happens to the dataflow process, and what the replica says meanwhile.
fn phases<'o>(
    school: &School,
    dataflow: crate::server::Server,
    replica: SocketAddr,
    reads: &Reads,
    outcome: &'o mut Outcome,
) -> Result<&'o mut Outcome> {
    let tokens = school.tokens()?;
    let load = WriteLoad::start(dataflow.address, &tokens, RATE, STUDENTS)?;
    let running = watch(replica, reads)?;
    load.stop()?;
    dataflow.kill()?;
    let away = watch(replica, reads)?;
    let again = school.start(1)?;
    let began = Instant::now();
    again.until_ready(READY_WITHIN)?;
    let load = WriteLoad::start(again.address, &tokens, RATE, STUDENTS)?;
    let restarted = began.elapsed();
    let after = watch(replica, reads)?;
    load.stop()?;
    again.stop()?;
    let limit = "limit: reads with everything running";
    outcome.add(limit, "reads/s", running.reads_per_second);
    outcome.add_against("reads with the dataflow process away", "reads/s", away.reads_per_second, limit);
    outcome.add_against("reads after its restart", "reads/s", after.reads_per_second, limit);
    outcome.add("reads that failed, all phases", "reads", reads.failed.load(Ordering::Relaxed) as f64);
    outcome.add("staleness shown, everything running, at most", "s", running.stalest);
    outcome.add("staleness shown, dataflow process away, at most", "s", away.stalest);
    outcome.add("staleness shown, at the end", "s", after.last);
    outcome.add("dataflow process: start to ready", "s", restarted.as_secs_f64());
    Ok(outcome)
}

/// What one phase looked like from the replica.
struct Phase {
    reads_per_second: f64,
    stalest: f64,
    last: f64,
}

fn watch(replica: SocketAddr, reads: &Reads) -> Result<Phase> {
    let mut connection = Connection::open(replica)?;
    let ask = request("GET", "/readyz", "", None);
    let (began, before) = (Instant::now(), reads.good.load(Ordering::Relaxed));
    let (mut stalest, mut last) = (0.0, 0.0);
    while began.elapsed() < PHASE {
        let answer = connection.call(&ask)?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if let Some(seconds) =
            body.split("\"staleness_seconds\":").nth(1).and_then(|rest| rest.trim_end_matches('}').parse().ok())
        {
            last = seconds;
            stalest = f64::max(stalest, seconds);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let read = reads.good.load(Ordering::Relaxed) - before;
    Ok(Phase { reads_per_second: read as f64 / began.elapsed().as_secs_f64(), stalest, last })
}

/// Reads profiles, one after the other, until told to stop.
fn read(replica: SocketAddr, token: &str, first: usize, reads: &Reads) -> Result<Latencies> {
    let mut connection = Connection::open(replica)?;
    let mut times = Latencies::default();
    let mut n = first;
    while !reads.stop.load(Ordering::Relaxed) {
        n = (n + 7_919) % STUDENTS;
        let ask = request("GET", &format!("/v1/students/{}/profile", student(n)), token, None);
        let asked = Instant::now();
        let answer = connection.call(&ask)?;
        times.add(asked.elapsed());
        let right = answer.status == 200 && number(&answer.body, "\"participations\":").is_some();
        if right { &reads.good } else { &reads.failed }.fetch_add(1, Ordering::Relaxed);
    }
    Ok(times)
}
