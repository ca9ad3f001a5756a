//! Rows of all kinds made of a number, what they must look like in ClickHouse, and a ClickHouse that adds blocks up. The texts that
//! rows are compared by are written here from their definition, not by the code under test.

use aulaflow_clickhouse::{Block, Form, Outbox, Queue, Role, Table, TableKind, Tables, Uuid};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow};
use aulaflow_model::cohort::{Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::EvaluationType;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Scale;
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use aulaflow_sink::update::ChangeBatch;
use aulaflow_sink::{IdempotentSink, Outcome};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id');
CREATE MATERIALIZED VIEW unkept AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '6 hours');
CREATE MATERIALIZED VIEW daily WITH (analytics = 'daily') AS
SELECT student_id, count(*) AS events, sum(value) AS points, max(event_type) AS kind FROM behavior
GROUP BY student_id, hop(interval '1 hour', interval '6 hours');
CREATE MATERIALIZED VIEW visit WITH (analytics = 'changes') AS
SELECT student_id, count(*) AS events, max(occurred_at) AS latest, count(*) > 3 AS busy FROM behavior
GROUP BY student_id, session(interval '40 minutes');
";

/// Views' numbers.
pub const UNKEPT: u16 = 0;
pub const DAILY: u16 = 1;
pub const VISIT: u16 = 2;

pub fn plan() -> Plan {
    plan_of(SQL)
}

pub fn plan_of(sql: &str) -> Plan {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", ""));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    compile(file, &[], &[Source::new("test.sql", sql)]).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)))
}

/// A grade made of a number.
pub fn grade(n: u32, version: u32, updated_at: Millis) -> GradeRow {
    let category = |value: Option<&str>| CategoryResult {
        value: value.map(Into::into),
        weight: "0.7".into(),
        counted: n % 5,
        dropped: 1,
    };
    let mut by_category = BTreeMap::new();
    for (name, value) in [("exam", Some("0.85")), ("añ", None)].into_iter().take((n % 3) as usize) {
        by_category.insert(EvaluationType::new(name).unwrap(), category(value));
    }
    let grade = Grade {
        score: (!n.is_multiple_of(4)).then(|| format!("{}.5", n % 100).as_str().into()),
        passing: n.is_multiple_of(2),
        complete: n.is_multiple_of(3),
        evaluations_count: n,
        by_category,
        rule_version: "r-1".into(),
    };
    GradeRow { grade: Arc::new(grade), version, updated_at }
}

pub fn grade_text(n: u32, version: u32, updated_at: Millis) -> Vec<String> {
    let score = if !n.is_multiple_of(4) { format!("{}", (n % 100) * 1_000_000 + 500_000) } else { "NULL".to_owned() };
    // In the order of the categories' names.
    let exam = format!("exam:(850000,700000,{},1)", n % 5);
    let other = format!("añ:(NULL,700000,{},1)", n % 5);
    let categories = match n % 3 {
        0 => "{}".to_owned(),
        1 => format!("{{{exam}}}"),
        _ => format!("{{{other},{exam}}}"),
    };
    let decimals = if score == "NULL" { "NULL" } else { "1" };
    vec![
        score,
        decimals.to_owned(),
        n.is_multiple_of(2).to_string(),
        n.is_multiple_of(3).to_string(),
        n.to_string(),
        categories,
        "r-1".to_owned(),
        version.to_string(),
        updated_at.0.to_string(),
    ]
}

pub fn feature(view: u16, n: u32, updated_at: Millis) -> FeatureRow {
    let n64 = i64::from(n);
    let values: Vec<FeatureValue> = match view {
        DAILY => vec![
            FeatureValue::Int(i128::from(n64)),
            if n.is_multiple_of(3) { FeatureValue::Null } else { FeatureValue::Micros(-i128::from(n) * 1_500_000) },
            FeatureValue::Text("clic".into()),
        ],
        VISIT => vec![
            FeatureValue::Int(i128::from(-n64)),
            FeatureValue::Text(Millis(n64 * 1_000).to_string().as_str().into()),
            FeatureValue::Bool(n > 3),
        ],
        _ => vec![FeatureValue::Int(i128::from(n64))],
    };
    let session = (view == VISIT).then_some((Millis(n64), Millis(n64 + 5)));
    FeatureRow { values: values.into(), session, updated_at }
}

pub fn feature_text(view: u16, n: u32, updated_at: Millis) -> Vec<String> {
    let mut text = match view {
        DAILY => {
            let points =
                if n.is_multiple_of(3) { "NULL".to_owned() } else { format!("{}", -i128::from(n) * 1_500_000) };
            vec![n.to_string(), points, "clic".to_owned()]
        }
        _ => {
            let latest = (u64::from(n) * 1_000).to_string();
            vec![format!("{}", -i64::from(n)), latest, (n > 3).to_string(), n.to_string(), (n + 5).to_string()]
        }
    };
    text.push(updated_at.0.to_string());
    text
}

/// `n` grades of 50 and one of 100.
pub fn cohort(n: u32) -> Cohort {
    let scale = Scale { min: Decimal::ZERO, max: Decimal::from_int(100) };
    let mut sums = Sums { count: i64::from(n) + 1, passing: 1, ..Sums::default() };
    sums.sum = (i128::from(n) * 50 + 100) * 1_000_000;
    sums.squares = (i128::from(n) * 2_500 + 10_000) * 1_000_000_000_000;
    (sums.bins[10], sums.bins[19]) = (i64::from(n), 1);
    Cohort { scale, sums }
}

pub fn cohort_text(n: u32) -> Vec<String> {
    let count = f64::from(n) + 1.0;
    let mean = (f64::from(n) * 50.0 + 100.0) / count;
    let deviation = ((f64::from(n) * 2_500.0 + 10_000.0) / count - mean * mean).max(0.0).sqrt();
    let bins: Vec<String> = (0..20).map(|bin| if bin == 10 { n } else { u32::from(bin == 19) }.to_string()).collect();
    let micros = |number: f64| ((number * 1e6).round() as i64).to_string();
    vec![
        (n + 1).to_string(),
        micros(mean),
        micros(deviation),
        micros(1.0 / count),
        format!("[{}]", bins.join(",")),
        "0".to_owned(),
        "100000000".to_owned(),
    ]
}

/// A value as a text, and how many bytes it takes.
fn decode(form: &Form, bytes: &[u8]) -> (String, usize) {
    fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes[..N].try_into().unwrap()
    }
    let many = |forms: &[&Form], join: fn(Vec<String>) -> String| {
        // No test has more than 127 of anything.
        let (mut at, mut texts) = (1, Vec::new());
        for _ in 0..bytes[0] {
            let parts = forms.iter().map(|form| {
                let (text, width) = decode(form, &bytes[at..]);
                at += width;
                text
            });
            texts.push(parts.collect::<Vec<_>>().join(":"));
        }
        (join(texts), at)
    };
    match form {
        Form::Bool => ((bytes[0] == 1).to_string(), 1),
        Form::UInt8 => (bytes[0].to_string(), 1),
        Form::Int8 => ((bytes[0] as i8).to_string(), 1),
        Form::Date => (u16::from_le_bytes(fixed(bytes)).to_string(), 2),
        Form::UInt32 => (u32::from_le_bytes(fixed(bytes)).to_string(), 4),
        Form::Int128 => (i128::from_le_bytes(fixed(bytes)).to_string(), 16),
        Form::Int64 | Form::Decimal18 | Form::Instant => (i64::from_le_bytes(fixed(bytes)).to_string(), 8),
        Form::UInt64 => (u64::from_le_bytes(fixed(bytes)).to_string(), 8),
        Form::Decimal38 => (i128::from_le_bytes(fixed(bytes)).to_string(), 16),
        Form::Uuid => (Uuid::from_row_binary(fixed(bytes)).to_string(), 16),
        Form::Text | Form::Name => {
            let end = 1 + usize::from(bytes[0]);
            (String::from_utf8(bytes[1..end].to_vec()).unwrap(), end)
        }
        Form::Nullable(_) if bytes[0] == 1 => ("NULL".to_owned(), 1),
        Form::Nullable(form) => {
            let (text, width) = decode(form, &bytes[1..]);
            (text, width + 1)
        }
        Form::Array(form) => many(&[form], |texts| format!("[{}]", texts.join(","))),
        Form::Map(key, value) => many(&[key, value], |texts| format!("{{{}}}", texts.join(","))),
        Form::Tuple(fields) => {
            let (mut at, mut texts) = (0, Vec::new());
            for (_, form) in fields {
                let (text, width) = decode(form, &bytes[at..]);
                texts.push(text);
                at += width;
            }
            (format!("({})", texts.join(",")), at)
        }
    }
}

/// A row of a table, as texts.
#[derive(Debug, Clone)]
pub struct Row {
    pub key: Vec<String>,
    pub values: Vec<String>,
    pub clock: i64,
    /// Of differences; else 1 or, where it is deleted, 0.
    pub diff: i64,
    pub version: u64,
    /// Key and values as they came.
    pub bytes: Vec<u8>,
}

fn decode_rows(table: &Table, block: &Block) -> Vec<Row> {
    let names: Vec<_> = table.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(block.columns, names);
    let (mut at, mut rows) = (0, Vec::new());
    while at < block.body.len() {
        let begin = at;
        let mut row = Row { key: vec![], values: vec![], clock: 0, diff: 1, version: 0, bytes: vec![] };
        for column in &table.columns {
            if column.role == Role::Machinery && row.bytes.is_empty() {
                row.bytes = block.body[begin..at].to_vec();
            }
            let (text, width) = decode(&column.form, &block.body[at..]);
            assert_eq!(column.form.width(&block.body[at..]), Some(width), "{}", column.name);
            at += width;
            match (column.role, column.name.as_str()) {
                (Role::Key, _) => row.key.push(text),
                (Role::Value, _) => row.values.push(text),
                (_, "clock") => row.clock = text.parse().unwrap(),
                (_, "version") => row.version = text.parse().unwrap(),
                (_, "diff") => row.diff = text.parse().unwrap(),
                (_, "is_deleted") => row.diff = 1 - text.parse::<i64>().unwrap(),
                (_, "block") => assert_eq!(text, block.number.to_string()),
                (_, "writer") => assert!(block.token.starts_with(&text)),
                (_, other) => panic!("{other}"),
            }
        }
        rows.push(row);
    }
    assert_eq!(rows.len() as u64, block.rows);
    rows
}

/// Rows that are there: by key, what they say.
pub type Present = BTreeMap<Vec<String>, Vec<String>>;

/// What ClickHouse would hold: blocks count once by their tokens.
pub struct ClickHouse {
    pub tables: Arc<Tables>,
    blocks: BTreeMap<String, Block>,
    pub rows: BTreeMap<String, Vec<Row>>,
}

impl ClickHouse {
    pub fn new(tables: Arc<Tables>) -> Self {
        Self { tables, blocks: BTreeMap::new(), rows: BTreeMap::new() }
    }

    /// Takes up to this many blocks. `done`: whether the sender learns that the last one has arrived.
    pub fn take(&mut self, outbox: &Outbox, blocks: usize, done: bool) {
        for n in 0..blocks {
            let Some(block) = outbox.first().unwrap() else { return };
            assert_eq!(block.token, format!("{}-{}", outbox.writer(), block.number));
            if done || n + 1 < blocks {
                outbox.done(block.number).unwrap();
            }
            self.insert(block);
        }
    }

    fn insert(&mut self, block: Block) {
        if let Some(before) = self.blocks.get(&block.token) {
            assert_eq!(*before, block, "a block has changed");
            return;
        }
        let table = self.tables.table(&block.table).unwrap();
        let rows = decode_rows(table, &block);
        assert!(!rows.is_empty());
        if table.kind == TableKind::Changes {
            let month = |row: &Row| Millis(row.clock).to_string()[..7].to_owned();
            assert!(rows.iter().all(|row| month(row) == month(&rows[0])), "a block has two partitions");
        }
        self.rows.entry(block.table.clone()).or_default().extend(rows);
        self.blocks.insert(block.token.clone(), block);
    }

    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// What the differences up to a clock add up to: no row is there twice, or less than never.
    pub fn as_of(&self, table: &str, clock: i64) -> Present {
        let mut sums: BTreeMap<(Vec<String>, Vec<String>), i64> = BTreeMap::new();
        for row in self.rows.get(&format!("{table}_changes")).into_iter().flatten().filter(|row| row.clock <= clock) {
            *sums.entry((row.key.clone(), row.values.clone())).or_default() += row.diff;
        }
        let mut present = Present::new();
        for ((key, values), sum) in sums {
            assert!(sum == 0 || sum == 1, "{table} as of {clock}: {key:?} {values:?} is there {sum} times");
            if sum == 1 {
                let other = present.insert(key.clone(), values);
                assert_eq!(other, None, "{table} as of {clock}: {key:?} has two rows");
            }
        }
        present
    }

    /// The table of the present: by key the row of the highest version.
    pub fn present(&self, table: &str) -> Present {
        let mut newest: BTreeMap<&Vec<String>, &Row> = BTreeMap::new();
        for row in self.rows.get(table).into_iter().flatten() {
            let known = newest.entry(&row.key).or_insert(row);
            if row.version > known.version {
                *known = row;
            } else if row.version == known.version {
                assert_eq!((&row.values, row.diff), (&known.values, known.diff), "one version, two rows");
            }
        }
        let there = newest.into_iter().filter(|(_, row)| row.diff == 1);
        there.map(|(key, row)| (key.clone(), row.values.clone())).collect()
    }

    /// What a rebuild reads: rows that the differences add up to, the highest version and the last clock.
    pub fn rebuilt(&self, table: &str) -> Vec<u8> {
        let mut sums: BTreeMap<&[u8], i64> = BTreeMap::new();
        for row in self.rows.get(&format!("{table}_changes")).into_iter().flatten() {
            *sums.entry(&row.bytes).or_default() += row.diff;
        }
        sums.into_iter().filter(|(_, sum)| *sum > 0).flat_map(|(bytes, _)| bytes.to_vec()).collect()
    }

    /// Mends the present after a sender was lost between differences and the rows that follow from them.
    pub fn mend(&mut self) {
        let (version, clock) = self.last();
        for relation in self.tables.relations.clone() {
            let (sums, present) = (self.as_of(&relation.name, i64::MAX), self.present(&relation.name));
            let rows = self.rows.entry(relation.name.clone()).or_default();
            let row = |key: &Vec<String>, values: &Vec<String>, diff| Row {
                key: key.clone(),
                values: values.clone(),
                clock,
                diff,
                version,
                bytes: vec![],
            };
            rows.extend(sums.iter().filter(|(k, v)| present.get(*k) != Some(v)).map(|(k, v)| row(k, v, 1)));
            rows.extend(present.iter().filter(|(k, _)| !sums.contains_key(*k)).map(|(k, v)| row(k, v, 0)));
        }
    }

    /// The highest version, and one more; the last clock.
    pub fn last(&self) -> (u64, i64) {
        let all = || self.rows.values().flatten();
        (all().map(|row| row.version).max().unwrap_or(0) + 1, all().map(|row| row.clock).max().unwrap_or(0))
    }
}

/// A small generator of random numbers: one seed, one sequence (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The frontier behind a time that is complete.
pub fn after(time: ClockTime) -> ClockTime {
    time.next(time.clock())
}

/// Hands a batch over until there is room for it.
pub fn hand_over(queue: &mut Queue, batch: &ChangeBatch) {
    while queue.apply(batch) != Outcome::Applied {}
}
