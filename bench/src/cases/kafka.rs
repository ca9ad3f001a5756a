//! Goal: how fast events go from a Kafka broker on the same machine to visible profiles.
//!
//! Load: 3,000,000 behaviour events of 20,000 students of one school, about 190 bytes each, in one of four partitions. An
//! instance starts with nothing and is waited for until `/readyz` says that the views are complete; then further events
//! go through it over HTTP. Nothing else runs but the broker, which takes its share of the processors.
//!
//! Configuration: five features, live clock, two workers. Limits, in the same run and from the same topics: the
//! product's own consumer on one thread that only counts records, and the same with every record decoded. The broker is
//! started by `docker/kafka.sh` (Java 17 and Maven), with its data beside the instance's.

use super::Case;
use crate::client::{Client, Kind};
use crate::report::Outcome;
use crate::school::{School, event, now, student};
use crate::setting::Setting;
use anyhow::{Context, Result, bail};
use aulaflow_log::kafka::{KafkaConfig, KafkaLog};
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::event::{Origin, decode_behavior};
use aulaflow_model::ids::TenantId;
use aulaflow_model::topic;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const CASE: Case = Case { name: "kafka", about: "from a Kafka broker on this machine to visible profiles", run };

const STUDENTS: usize = 20_000;
const WORKERS: usize = 2;
const PARTITIONS: u32 = 4;
/// How long reading everything may take.
const WITHIN: Duration = Duration::from_secs(600);
const COUNTED: &str = "limit: the same consumer, only counting";
const DECODED: &str = "limit: the same consumer, with every record decoded";

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let events = setting.size(3_000_000, 50_000);
    outcome.say(format!(
        "{events} events, {STUDENTS} students, {PARTITIONS} partitions, 5 features, {WORKERS} workers, live clock; the \
         broker on the same machine"
    ));
    for run in 1..=setting.runs {
        let say = |what: &str| setting.progress(CASE.name, &format!("run {run} of {}: {what}", setting.runs));
        measure(setting, events, &say, &mut outcome)?;
    }
    Ok(outcome)
}

fn measure(setting: &Setting, events: usize, say: &dyn Fn(&str), outcome: &mut Outcome) -> Result<()> {
    say("starting a broker");
    let folder = setting.folder()?;
    let broker = Broker::start(&folder.path().join("kafka"))?;
    let school = School::make_with(setting, STUDENTS, &settings(&broker, "never"))?;
    product(&school, &["topics", "ensure"])?;
    say("putting events on the topics");
    let started = Instant::now();
    school.import_events("", STUDENTS, events)?;
    outcome.add("put on the topics by `aulaflow import`", "events/s", events as f64 / started.elapsed().as_secs_f64());

    say("the consumer alone");
    let counted = consume(&broker, events, false)?;
    outcome.add(COUNTED, "events/s", counted);
    let decoded = consume(&broker, events, true)?;
    outcome.add_against(DECODED, "events/s", decoded, COUNTED);

    say("an instance");
    instance(&school, events, "", outcome)?;
    say("an instance that writes the changelog");
    let school = School::make_with(setting, STUDENTS, &settings(&broker, "auto"))?;
    instance(&school, events, ", with the changelog", outcome)
}

/// Starts an instance with nothing, and waits until all is visible; then sends more through it.
fn instance(school: &School, events: usize, how: &str, outcome: &mut Outcome) -> Result<()> {
    let server = school.start(WORKERS)?;
    server.until_ready(WITHIN)?;
    let seconds = server.started.elapsed().as_secs_f64();
    outcome.add_against(&format!("start to visible{how}"), "events/s", events as f64 / seconds, DECODED);
    outcome.add(&format!("CPU of the instance{how}"), "s", server.cpu_seconds()?);
    outcome.add(&format!("memory, peak{how}"), "MiB", server.memory()?.peak as f64 / f64::from(1 << 20));
    let tokens = school.tokens()?;
    let mut client = Client::open(server.address, &tokens)?;
    let names: Vec<_> = (0..STUDENTS).step_by(STUDENTS / 200).map(student).collect();
    let expected = format!("\"participations\":{},", events / STUDENTS);
    if how.is_empty() {
        let found = client.count_in_profiles(&names, &expected)?;
        if found != (names.len(), names.len()) {
            bail!("of {} profiles (read, right) are {found:?}", names.len());
        }
    }
    let at = now();
    let started = Instant::now();
    let further = events / 4 / STUDENTS * STUDENTS;
    client.load(Kind::Events, further, |lines, n| {
        event(lines, format_args!("http{how}-{n}"), &student(n % STUDENTS), &at);
    })?;
    let rate = further as f64 / started.elapsed().as_secs_f64();
    outcome.add_against(&format!("over HTTP, through the broker: visible{how}"), "events/s", rate, DECODED);
    server.stop()
}

/// `changelog`: whether it is written.
pub fn settings(broker: &Broker, changelog: &str) -> String {
    format!(
        "[log]\nkind = \"kafka\"\npartitions = {PARTITIONS}\n\n[log.kafka]\nbootstrap = \"127.0.0.1:{}\"\n\
         group = \"bench\"\nreplication = 1\nmin_isr = 1\n\n[changelog]\nwrite = \"{changelog}\"\n",
        broker.port
    )
}

/// Runs a command of the product to its end.
pub fn product(school: &School, arguments: &[&str]) -> Result<()> {
    let output = school.command(arguments).output()?;
    if !output.status.success() {
        bail!("`aulaflow {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Reads all behaviour events with the product's consumer, on one thread; events per second.
fn consume(broker: &Broker, events: usize, decode: bool) -> Result<f64> {
    let log =
        KafkaLog::open(KafkaConfig::new(&format!("127.0.0.1:{}", broker.port), "bench-limit", [topic::BEHAVIOR]))?;
    let tenant = TenantId::new("bench")?;
    let places = (0..PARTITIONS).map(|partition| TopicPartition { topic: topic::BEHAVIOR.to_owned(), partition });
    let mut positions: Vec<(TopicPartition, u64)> = places.map(|place| (place, 0)).collect();
    let started = Instant::now();
    let (mut read, mut seen, mut good) = (0, 0, 0);
    while read < events {
        let before = read;
        for (place, next) in &mut positions {
            let fetched = log.read(place, *next, 1 << 20)?;
            *next = fetched.next_offset;
            read += fetched.records.len() as usize;
            if decode {
                let values = fetched.records.iter().filter_map(|record| record.value);
                good += values.filter(|value| decode_behavior(value, Origin::Log(&tenant)).is_ok()).count();
            }
        }
        if read == before {
            seen = log.wait(seen, Duration::from_millis(100));
        }
        if started.elapsed() > WITHIN {
            bail!("{read} of {events} events were read in {} s", WITHIN.as_secs());
        }
    }
    if decode && good != read {
        bail!("of {read} events {good} could be decoded");
    }
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

/// A broker, ended when this is dropped.
pub struct Broker {
    script: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Broker {
    /// Starts one with its data in a folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/kafka.sh");
        // The controller's port is the next one; both are free for all that can be known.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let broker = Self { script, folder: folder.to_owned(), port };
        broker.run("start")?;
        Ok(broker)
    }

    fn run(&self, what: &str) -> Result<()> {
        let mut command = Command::new(&self.script);
        command.arg(what).arg("--dir").arg(&self.folder).args(["--port", &self.port.to_string()]);
        let output = command.stdin(Stdio::null()).output().with_context(|| self.script.display().to_string())?;
        if !output.status.success() {
            bail!("docker/kafka.sh {what}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // What cannot be ended is said by whoever finds it.
        let _ = self.run("kill");
    }
}
