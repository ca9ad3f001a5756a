//! Goal: how many rows a second the sink takes to ClickHouse, beside the same rows inserted by a client that does nothing else.
//!
//! Load: five features of 20,000 students that all change, ten times: a million changes, which are two million differences (the old
//! row goes, the new one comes) but for the first time, and a million rows of the present. They are handed to the sink as workers
//! hand them over; no dataflow runs.
//!
//! Configuration: blocks as by default, the embedded engine in a process of its own on the same machine, every commit of the
//! sink's store as the product makes it. Limits, in the same run: the blocks that the sink made, byte by byte, inserted one after the
//! other over HTTP into tables that are made the same way; and the recorder alone, which writes them to the disk.

use super::Case;
use crate::engine::{Engine, kept};
use crate::report::Outcome;
use crate::school::student;
use crate::setting::Setting;
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_clickhouse::{
    Access, Block, Connection, Limits, Outbox, Pace, PseudonymKeys, Queue, Recorder, RecorderMetrics, RecorderStart,
    Sender, SenderMetrics, SenderStart, Server, Stop, Tables, TablesBy, migrate,
};
use aulaflow_model::change::{FeatureRow, FeatureValue, ViewIndex};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_plan::sql::expr::Type;
use aulaflow_plan::{Plan, Source, compile, parse_runtime, render};
use aulaflow_sink::update::{ChangeBatch, FeatureChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Participant};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const CASE: Case =
    Case { name: "clickhouse-insert", about: "rows through the ClickHouse sink, beside a bare client", run };

const BARE: &str = "limit: the same blocks, by a bare client";
const RECORDED: &str = "limit: the recorder alone";
/// Students that change at one time.
const AT_ONCE: usize = 1_000;
/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(1_200);
/// A first instant, some hours after a midnight.
const BEGIN: Millis = Millis(1_772_000_000_000);

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let (students, times) = setting.size((20_000, 10), (1_000, 3));
    outcome.say(format!("5 features of {students} students, all changed {times} times; blocks of 100,000 rows or 1 s"));
    let plan = plan()?;
    let tables = Arc::new(Tables::of(&plan)?);
    let batches = batches(&plan, students, times)?;
    for run in 1..=setting.runs {
        let say = |what: &str| setting.progress(CASE.name, &format!("run {run} of {}: {what}", setting.runs));
        let engine = Engine::start(setting)?;
        let folder = setting.folder()?;
        say("the recorder alone");
        let blocks = recorder_alone(&plan, &tables, &folder.path().join("alone"), &batches, &mut outcome)?;
        say("a bare client");
        bare(&engine, &tables, &blocks, &mut outcome)?;
        say("the sink");
        whole(&engine, &plan, &tables, &folder.path().join("whole"), (&batches, &blocks), &mut outcome)?;
    }
    Ok(outcome)
}

fn plan() -> Result<Plan> {
    let (file, faults) = parse_runtime(&Source::new("bench.toml", ""));
    let file = file.ok_or_else(|| anyhow!("{}", render(&faults)))?;
    let sql = kept(include_str!("../features.sql"), "changes");
    compile(file, &[], &[Source::new("features.sql", sql)]).map_err(|faults| anyhow!("{}", render(&faults)))
}

/// What workers tell, in the order of time.
fn batches(plan: &Plan, students: usize, times: usize) -> Result<Vec<ChangeBatch>> {
    let tenant = TenantId::new("bench")?;
    let mut batches = Vec::new();
    for n in 0..times {
        for first in (0..students).step_by(AT_ONCE) {
            let at = Millis(BEGIN.0 + i64::try_from(batches.len())? * 50);
            let changes = (first..students.min(first + AT_ONCE)).map(|of| {
                let features = (0..).zip(&plan.views).map(|(view, schema)| {
                    let values = schema.output_types.iter().map(|ty| value(*ty, n + of)).collect();
                    let row = FeatureRow { values, session: None, updated_at: at };
                    FeatureChange { view: view as ViewIndex, before: None, after: Some(row) }
                });
                let student = StudentId::new(student(of))?;
                Ok(StudentChange { tenant: tenant.clone(), student, grades: Vec::new(), features: features.collect() })
            });
            batches.push(ChangeBatch { time: ClockTime::at(at), changes: changes.collect::<Result<_>>()? });
        }
    }
    Ok(batches)
}

fn value(ty: Type, n: usize) -> FeatureValue {
    match ty {
        Type::Double => FeatureValue::Micros(n as i128 * 1_250_000),
        Type::Boolean => FeatureValue::Bool(n.is_multiple_of(2)),
        Type::Bigint | Type::Text | Type::Timestamp | Type::Interval | Type::Json => FeatureValue::Int(n as i128),
    }
}

/// A recorder on a new folder that has nothing to compare.
struct Recording {
    recorder: Recorder,
    queue: Queue,
}

impl Recording {
    fn start(plan: &Plan, tables: &Arc<Tables>, dir: &Path) -> Result<Self> {
        let schemas = plan.views.iter().map(|view| view.schema.clone()).collect();
        let (_, store) = aulaflow_serving::store(schemas, Vec::new(), 1, 1);
        let (recorder, queues) = Recorder::start(RecorderStart {
            share: Share::All,
            dir: dir.join("store"),
            tables: Arc::clone(tables),
            store,
            workers: 1,
            keys: Arc::new(PseudonymKeys::open(&dir.join("keys"))?),
            limits: Limits::default(),
            metrics: RecorderMetrics::default(),
            at: |_| {},
        })?;
        let queue = queues.into_iter().next().context("a worker has a queue")?;
        Ok(Self { recorder, queue })
    }

    /// Lets it go to work, and waits until there is nothing to compare.
    fn go(&mut self) -> Result<()> {
        let handle = self.recorder.handle();
        handle.restore(None);
        handle.caught_up();
        self.queue.advance(ClockTime::at(BEGIN));
        until("the recorder compares nothing", || handle.is_whole())
    }

    /// Hands everything over, and waits until it is on the disk.
    fn tell(&mut self, batches: &[ChangeBatch]) -> Result<()> {
        for batch in batches {
            self.queue.begin(batch.time);
            while self.queue.apply(batch) != aulaflow_sink::Outcome::Applied {}
            self.queue.advance(batch.time.next(batch.time.clock()));
        }
        let last = batches.last().context("there is something to tell")?;
        self.recorder.handle().prepare(last.time, WITHIN).map_err(|reason| anyhow!(reason)).map(drop)
    }
}

/// The recorder's rate; the blocks that it made.
fn recorder_alone(
    plan: &Plan,
    tables: &Arc<Tables>,
    dir: &Path,
    batches: &[ChangeBatch],
    outcome: &mut Outcome,
) -> Result<Vec<Block>> {
    let mut recording = Recording::start(plan, tables, dir)?;
    recording.recorder.based();
    recording.go()?;
    let started = Instant::now();
    recording.tell(batches)?;
    let seconds = started.elapsed().as_secs_f64();
    let blocks = taken(&recording.recorder.outbox())?;
    recording.recorder.close();
    outcome.add(RECORDED, "rows/s", rows(&blocks) as f64 / seconds);
    let bytes: usize = blocks.iter().map(|block| block.body.len()).sum();
    outcome.say(format!("{} rows in {} blocks, {:.0} MB", rows(&blocks), blocks.len(), bytes as f64 / 1e6));
    Ok(blocks)
}

fn taken(outbox: &Outbox) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    while let Some(block) = outbox.first()? {
        outbox.done(block.number)?;
        blocks.push(block);
    }
    Ok(blocks)
}

fn rows(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.rows).sum()
}

fn bare(engine: &Engine, tables: &Tables, blocks: &[Block], outcome: &mut Outcome) -> Result<()> {
    let access = engine.access("bare");
    migrate(&connection(&access)?, tables, &[], "")?;
    let cpu = engine.cpu_seconds()?;
    let started = Instant::now();
    for block in blocks {
        let columns = block.columns.join(",");
        engine.insert(&format!("INSERT INTO bare.{} ({columns}) FORMAT RowBinary", block.table), &block.body)?;
    }
    outcome.add(BARE, "rows/s", rows(blocks) as f64 / started.elapsed().as_secs_f64());
    outcome.add("CPU of ClickHouse, by a bare client", "s", engine.cpu_seconds()? - cpu);
    all_there(engine, "bare", tables, blocks)
}

fn connection(access: &Access) -> Result<Connection> {
    Ok(Connection::new(access, &Stop::default())?)
}

fn whole(
    engine: &Engine,
    plan: &Plan,
    tables: &Arc<Tables>,
    dir: &Path,
    (batches, blocks): (&[ChangeBatch], &[Block]),
    outcome: &mut Outcome,
) -> Result<()> {
    let mut recording = Recording::start(plan, tables, dir)?;
    let access = engine.access("sink");
    let at = Arc::new(move || Ok(access.clone()));
    let server = Server::new(at, Arc::clone(tables), TablesBy::Us, Pace::default(), SenderMetrics::default());
    let sender = Sender::start(SenderStart {
        share: Share::All,
        recorder: recording.recorder.handle(),
        server,
        is_ours: Arc::new(|_| true),
        alone: true,
        claim_wait: WITHIN,
        at: |_| {},
    })?;
    recording.go()?;
    let cpu = engine.cpu_seconds()?;
    let started = Instant::now();
    recording.tell(batches)?;
    let outbox = recording.recorder.outbox();
    until("everything is sent", || outbox.blocks() == 0)?;
    let rate = rows(blocks) as f64 / started.elapsed().as_secs_f64();
    outcome.add_against("recorder, outbox and sender", "rows/s", rate, BARE);
    outcome.add("CPU of ClickHouse, by the sink", "s", engine.cpu_seconds()? - cpu);
    recording.recorder.close();
    if !sender.stop(WITHIN) {
        bail!("the sender has not sent everything");
    }
    all_there(engine, "sink", tables, blocks)
}

/// Whether the differences are all there, each once.
fn all_there(engine: &Engine, database: &str, tables: &Tables, blocks: &[Block]) -> Result<()> {
    for table in tables.tables.iter().filter(|table| table.name.ends_with("_changes")) {
        let expected: u64 = blocks.iter().filter(|block| block.table == table.name).map(|block| block.rows).sum();
        let found = engine.number(&format!("SELECT count() FROM {database}.{}", table.name))?;
        if found != expected {
            bail!("{database}.{} has {found} of {expected} rows", table.name);
        }
    }
    Ok(())
}

fn until(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !done() {
        if started.elapsed() > WITHIN {
            bail!("not within {} s: {what}", WITHIN.as_secs());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
