//! Goal: whether readers notice that ClickHouse is away: how long after an event is due a profile shows it, before, while ClickHouse is
//! down for a minute, and while what has piled up is sent.
//!
//! Load: 2,000 behaviour events a second from 20,000 students, open loop, and the probe of `freshness`: an event each 20 ms, and a
//! thread that asks for that student's profile until it shows it. Every event changes five features, each of which is recorded.
//!
//! Configuration: five features with `analytics = 'changes'`, live clock, one worker, ClickHouse (the embedded engine) in a process of
//! its own on the same machine, which is killed and started again. Limit: the same before it is killed.

use super::Case;
use super::freshness::probe_of;
use super::kafka::product;
use crate::engine::{Engine, kept};
use crate::report::Outcome;
use crate::school::{School, first_events};
use crate::setting::Setting;
use crate::write_load::WriteLoad;
use anyhow::Result;
use std::time::{Duration, Instant};

pub const CASE: Case =
    Case { name: "clickhouse-outage", about: "event to profile while ClickHouse is down and catches up", run };

const STUDENTS: usize = 20_000;
const RATE: usize = 2_000;
const BEFORE: &str = "limit: ClickHouse is there";
const WARM_UP: Duration = Duration::from_secs(3);
const SHARES: [f64; 3] = [0.5, 0.99, 1.0];

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let (before, down) = setting.size((1_000, 3_000), (50, 100));
    outcome.say(format!(
        "{RATE} events/s of {STUDENTS} students, 5 features, all recorded; 1 worker, live clock; ClickHouse is down for {} s",
        down / 50
    ));
    for run in 1..=setting.runs {
        setting.progress(CASE.name, &format!("run {run} of {}", setting.runs));
        measure(setting, before, down, &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(setting: &Setting, before: u64, down: u64, outcome: &mut Outcome) -> Result<()> {
    let mut engine = Engine::start(setting)?;
    let school = School::make_with(setting, STUDENTS, &engine.settings())?;
    std::fs::write(school.folder().join("features.sql"), kept(include_str!("../features.sql"), "changes"))?;
    product(&school, &["clickhouse", "migrate"])?;
    let (server, tokens, mut client) = school.open(1)?;
    first_events(&mut client, STUDENTS)?;
    engine.until_sent(server.address, &tokens.service)?;

    let load = WriteLoad::start(server.address, &tokens, RATE, STUDENTS)?;
    std::thread::sleep(WARM_UP);
    let (_, mut visible) = probe_of("before", server.address, &tokens, before)?;
    outcome.add_latencies(BEFORE, &mut visible, &SHARES, None);

    engine.kill()?;
    let (_, mut visible) = probe_of("down", server.address, &tokens, down)?;
    outcome.add_latencies("ClickHouse is down", &mut visible, &SHARES, Some(BEFORE));
    let waits = client.metrics()?;
    let waits = waits.lines().find_map(|line| line.strip_prefix("aulaflow_clickhouse_outbox_bytes{")?.rsplit_once(' '));
    outcome.add("waits on the disk at its end", "MB", waits.map_or(0.0, |(_, n)| n.parse().unwrap_or(0.0)) / 1e6);

    engine.again()?;
    let started = Instant::now();
    // The load goes on; what is sent meanwhile is newer.
    let (address, token) = (server.address, tokens.service.clone());
    let (sent, probed) = std::thread::scope(|scope| {
        let sent = scope.spawn(|| engine.until_less_waits(address, &token, 2).map(|()| started.elapsed()));
        let probed = probe_of("after", server.address, &tokens, before);
        (sent.join(), probed)
    });
    let sent = sent.map_err(|_| anyhow::anyhow!("the thread that watches the sink panicked"))??;
    let (_, mut visible) = probed?;
    outcome.add_latencies("ClickHouse is back", &mut visible, &SHARES, Some(BEFORE));
    outcome.add("until what had piled up was sent", "s", sent.as_secs_f64());
    let written = load.stop()?;
    outcome.add("accepted", "events/s", written.accepted as f64 / written.seconds);
    outcome.add("refused (503)", "events", written.refused as f64);
    engine.until_sent(server.address, &tokens.service)?;
    server.stop()
}
