//! Goal: how long after an event is due to be sent a profile shows it, under a constant load.
//!
//! Load: open loop, 5,000 and 50,000 behaviour events a second from 20,000 students, in batches each 10 ms on four
//! connections. Beside it a probe: each 20 ms one event of a student of its own. A thread asks for that student's
//! profile, with a quarter of a millisecond between an answer and the next question (without it, asking alone takes a
//! core of two), and notes when it shows how many probes. All times count from when a request was due.
//!
//! Configuration: five features (`features.sql`), live clock, one worker, every write synced; a new instance for each
//! rate and run. Limit: a block of 4 KiB written to a file and synced, in the same folder, just before. The instance's own
//! histogram is read as well: log timestamp to visible, at its bucket's upper bound.

use super::Case;
use crate::client::{Client, number};
use crate::disk;
use crate::http::{Connection, request};
use crate::latencies::Latencies;
use crate::pace::{Schedule, sleep_until, wake_on_time};
use crate::report::Outcome;
use crate::school::{School, Tokens, event, first_events, now};
use crate::setting::Setting;
use crate::write_load::WriteLoad;
use anyhow::{Result, anyhow, bail};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "freshness", about: "event to profile at 5,000 and 50,000 events/s", run };

pub const STUDENTS: usize = 20_000;
const RATES: [usize; 2] = [5_000, 50_000];
const PROBE_EVERY: Duration = Duration::from_millis(20);
const PROBE: &str = "probe";
/// Between an answer of the profile and the next question.
const POLL_PAUSE: Duration = Duration::from_micros(250);
/// Load before the first probe.
const WARM_UP: Duration = Duration::from_secs(2);
/// A probe that is not visible by then is lost.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
const SHARES: [f64; 3] = [0.5, 0.99, 1.0];

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let probes = setting.size(1_000, 100);
    outcome.say(format!(
        "{STUDENTS} students, 5 features, 1 worker, live clock, open loop, {probes} probes per rate and run, one each \
         {} ms",
        PROBE_EVERY.as_millis()
    ));
    for run in 1..=setting.runs {
        for rate in RATES {
            setting.progress(CASE.name, &format!("run {run} of {}: {rate} events/s", setting.runs));
            measure(setting, rate, probes, &mut outcome)?;
        }
    }
    Ok(outcome)
}

fn measure(setting: &Setting, rate: usize, probes: u64, outcome: &mut Outcome) -> Result<()> {
    let school = School::make(setting, STUDENTS)?;
    let limit = disk::WRITE_AND_SYNC;
    for (name, mut times) in disk::limits(school.folder(), 200)? {
        outcome.add_latencies(name, &mut times, &SHARES, None);
    }
    let (server, tokens, mut client) = school.open(1)?;
    first_events(&mut client, STUDENTS)?;

    let load = WriteLoad::start(server.address, &tokens, rate, STUDENTS)?;
    std::thread::sleep(WARM_UP);
    let before = Histogram::read(&client.metrics()?);
    let (cpu, began) = (server.cpu_seconds()?, Instant::now());
    let (mut answered, mut visible) = probe(server.address, &tokens, probes)?;
    let cpu = (server.cpu_seconds()? - cpu) / began.elapsed().as_secs_f64();
    let own = Histogram::read(&client.metrics()?).since(&before);
    let mut written = load.stop()?;

    let named = |what: &str| format!("{}: {what}", thousands(rate));
    outcome.add_latencies(&named("due to visible"), &mut visible, &SHARES, Some(limit));
    outcome.add_latencies(&named("due to durable, probe"), &mut answered, &SHARES, Some(limit));
    outcome.add_latencies(&named("due to durable, batches"), &mut written.answered, &SHARES, Some(limit));
    for share in [0.5, 0.99] {
        let name = format!("the instance's own histogram, p{:.0} at most", share * 100.0);
        outcome.add(&named(&name), "ms", own.at_most(share) * 1e3);
    }
    outcome.add(&named("accepted"), "events/s", written.accepted as f64 / written.seconds);
    outcome.add(&named("refused (503)"), "events", written.refused as f64);
    outcome.add(&named("CPU of the instance"), "cores", cpu);
    server.stop()
}

fn thousands(rate: usize) -> String {
    format!("{},000/s", rate / 1_000)
}

/// Sends probes and watches for them; returns the times until they are durable and until they are visible.
pub fn probe(address: SocketAddr, tokens: &Tokens, probes: u64) -> Result<(Latencies, Latencies)> {
    probe_of(PROBE, address, tokens, probes)
}

/// The same with a student who has had no probe yet.
pub fn probe_of(student: &str, address: SocketAddr, tokens: &Tokens, probes: u64) -> Result<(Latencies, Latencies)> {
    let schedule = Schedule::new(Instant::now() + PROBE_EVERY, PROBE_EVERY);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sent = send_probes(student, address, &tokens.service, probes, schedule);
            failed.store(sent.is_err(), Ordering::Relaxed);
            sent
        });
        let watcher = scope.spawn(|| watch((student, address, tokens), probes, schedule, &failed));
        let sent = sender.join().map_err(|_| anyhow!("the probe's thread panicked"))?;
        let seen = watcher.join().map_err(|_| anyhow!("the watching thread panicked"))?;
        Ok((sent?, seen?))
    })
}

fn send_probes(student: &str, address: SocketAddr, token: &str, probes: u64, schedule: Schedule) -> Result<Latencies> {
    wake_on_time();
    let mut connection = Connection::open(address)?;
    let mut answered = Latencies::default();
    let mut line = Vec::new();
    for n in 0..probes {
        let due = schedule.at(n);
        sleep_until(due);
        line.clear();
        event(&mut line, format_args!("{student}-{n}"), student, &now());
        let call = request("POST", "/v1/behavior", token, Some(("application/x-ndjson", &line)));
        // A full instance says so; the probe is then sent again, and its time goes on.
        while connection.call(&call)?.status == 503 {
            if due.elapsed() > VISIBLE_WITHIN {
                bail!("the instance has been full for {} s", VISIBLE_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        answered.add(due.elapsed());
    }
    Ok(answered)
}

fn watch(
    (student, address, tokens): (&str, SocketAddr, &Tokens),
    probes: u64,
    schedule: Schedule,
    failed: &AtomicBool,
) -> Result<Latencies> {
    wake_on_time();
    let mut client = Client::open(address, tokens)?;
    let mut visible = Latencies::default();
    let mut seen = 0;
    while seen < probes {
        let shown = client.profile(student)?.and_then(|json| number(&json, "\"participations\":")).unwrap_or(0);
        let at = Instant::now();
        for n in seen..shown.min(probes) {
            visible.add(at.saturating_duration_since(schedule.at(n)));
        }
        seen = seen.max(shown);
        if failed.load(Ordering::Relaxed) || at.saturating_duration_since(schedule.at(seen)) > VISIBLE_WITHIN {
            bail!("{seen} of {probes} probes became visible");
        }
        std::thread::sleep(POLL_PAUSE);
    }
    Ok(visible)
}

/// `aulaflow_freshness_seconds`: upper bounds, and how many were at or below them.
struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    fn read(metrics: &str) -> Self {
        let buckets = metrics.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix("aulaflow_freshness_seconds_bucket{le=\"")?.split_once("\"}")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.split_whitespace().next()?.parse().ok()?))
        });
        Self(buckets.collect())
    }

    fn since(self, before: &Self) -> Self {
        let earlier = |bound: f64| before.0.iter().find(|(b, _)| b.total_cmp(&bound).is_eq()).map_or(0.0, |(_, n)| *n);
        Self(self.0.into_iter().map(|(bound, n)| (bound, n - earlier(bound))).collect())
    }

    /// The bound that at least `share` of all are at or below.
    fn at_most(&self, share: f64) -> f64 {
        let all = self.0.last().map_or(0.0, |(_, n)| *n);
        self.0.iter().find(|(_, n)| *n >= share * all).map_or(f64::NAN, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_histogram() {
        let bucket = |bound: &str, n| format!("aulaflow_freshness_seconds_bucket{{le=\"{bound}\"}} {n}\n");
        let text = bucket("0.01", 10) + &bucket("0.02", 109) + &bucket("+Inf", 110);
        let own = Histogram::read(&text).since(&Histogram::read(&bucket("0.01", 10)));
        assert!((own.at_most(0.5) - 0.02).abs() < 1e-9);
        assert!(own.at_most(1.0).is_infinite());
    }
}
