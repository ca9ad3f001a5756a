//! A small generated school with a quarter of history, in the tables as the recorder writes them, beside another one that has the
//! same students, subjects and periods and other grades. What it has been at every instant is known here too, to compare with.

use crate::engine::{access, connect};
use aulaflow_clickhouse::sql::Catalog;
use aulaflow_clickhouse::{
    Access, Connection, PseudonymKeys, ReadLimits, Reader, Tables, analysts, migrate, migrate_views,
};
use aulaflow_model::ids::TenantId;
use aulaflow_plan::{Source, compile, parse_runtime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

pub const DAY: i64 = 86_400_000;
pub const HOUR: i64 = 3_600_000;
/// Monday, 5 January 2026, in milliseconds.
pub const START: i64 = 1_767_571_200_000;
pub const SUBJECTS: [&str; 3] = ["historia", "matematicas", "quimica"];
/// The day of a new rule in mathematics: 16 March, at noon.
pub const NEW_RULE: i64 = START + 70 * DAY + 12 * HOUR;
const STUDENTS: u32 = 30;
const DAYS: i64 = 84;

const LIMITS: ReadLimits =
    ReadLimits { sql_timeout: Duration::from_secs(30), sql_rows_max: 10_000, sql_memory_max: 1 << 30 };

/// A grade at some time; the score in millionths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grade {
    pub score: Option<i64>,
    pub passing: bool,
    pub complete: bool,
    pub rule: &'static str,
}

/// Student, subject, period.
pub type Key = (String, &'static str, &'static str);

/// What a key has been, each from an instant on; `None`: nothing.
pub type States<T> = Vec<(i64, Option<T>)>;

#[derive(Debug, Default, Clone)]
pub struct History {
    pub grades: BTreeMap<Key, States<Grade>>,
    /// Participations of the seven days before, by day.
    pub participation: BTreeMap<String, States<i64>>,
    /// Events of the seven days before, by day.
    pub activity: BTreeMap<String, States<i64>>,
}

/// What held at an instant.
pub fn at<T>(states: &States<T>, instant: i64) -> Option<&T> {
    states.iter().rev().find(|(from, _)| *from <= instant).and_then(|(_, state)| state.as_ref())
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

pub fn student(n: u32) -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", n * 7_919, n)
}

fn grade(score: i64, updates: u32, rule: &'static str) -> Grade {
    Grade { score: Some(score), passing: score >= 60_000_000, complete: updates >= 3, rule }
}

impl History {
    /// Everything follows from the seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut history = Self::default();
        for n in 0..STUDENTS {
            for subject in SUBJECTS {
                history.grades.insert((student(n), subject, "2025-Q4"), last_year(&mut random, n, subject));
                history.grades.insert((student(n), subject, "2026-Q1"), this_year(&mut random, n, subject));
            }
            let leaves = (n % 6 == 1).then_some(40);
            history.participation.insert(student(n), by_day(&mut random, leaves, 8));
            history.activity.insert(student(n), by_day(&mut random, leaves, 40));
        }
        history
    }
}

/// Imported on the first day; some were corrected in February.
fn last_year(random: &mut Random, n: u32, subject: &str) -> States<Grade> {
    let score = 40_000_000 + random.below(6_000) as i64 * 10_000;
    let mut states = vec![(START + 8 * HOUR, Some(grade(score, 3, "r-0")))];
    if n % 7 == 3 && subject == "historia" {
        states.push((START + 36 * DAY, Some(grade(score + 5_000_000, 3, "r-0"))));
    }
    states
}

fn this_year(random: &mut Random, n: u32, subject: &str) -> States<Grade> {
    let mut score = 45_000_000 + random.below(4_000) as i64 * 10_000;
    let mut trend = random.below(9) as i64 - 4;
    if n == 13 {
        // Good, and gone.
        (score, trend) = (90_000_000, 1);
    }
    let mut clock = START + (7 + random.below(14) as i64) * DAY + random.below(24) as i64 * HOUR + n as i64;
    let mut states = Vec::new();
    if n == 0 && subject == "quimica" {
        let empty = Grade { score: None, passing: false, complete: false, rule: "r-1" };
        states.push((clock - DAY, Some(empty)));
    }
    let (mut updates, mut rule) = (0, "r-1");
    // Some are never complete.
    let most = if n % 10 == 2 { 2 } else { u32::MAX };
    while clock < START + DAYS * DAY && updates < most {
        if rule == "r-1" && subject == "matematicas" && clock >= NEW_RULE {
            rule = "r-2";
            score = (score + 8_000_000).min(100_000_000);
            states.push((NEW_RULE, Some(grade(score, updates, rule))));
        }
        updates += 1;
        score = (score + trend * 1_000_000 + random.below(400) as i64 * 10_000 - 2_000_000).clamp(0, 100_000_000);
        states.push((clock, Some(grade(score, updates, rule))));
        clock += (4 + random.below(8) as i64) * DAY + HOUR;
    }
    if rule == "r-1" && subject == "matematicas" {
        score = (score + 8_000_000).min(100_000_000);
        states.push((NEW_RULE, Some(grade(score, updates, "r-2"))));
    }
    if n == 5 && subject == "quimica" {
        states.retain(|(clock, _)| *clock < START + 60 * DAY);
        states.push((START + 60 * DAY, None));
    }
    states.dedup_by(|later, before| later.1 == before.1);
    states
}

/// A count that is told at midnights; who leaves has a last event that day, and no row a week later.
fn by_day(random: &mut Random, leaves: Option<i64>, most: u64) -> States<i64> {
    let mut states: States<i64> = Vec::new();
    let mut count = 1 + random.below(most) as i64;
    for day in 1..=DAYS {
        match leaves {
            Some(last) if day == last + 7 => {
                states.push((START + day * DAY, None));
                break;
            }
            Some(last) if day > last => count = (count - 1).max(1),
            Some(_) | None if random.below(2) == 0 => count = 1 + random.below(most) as i64,
            Some(_) | None => {}
        }
        if states.last().is_none_or(|(_, before)| *before != Some(count)) {
            states.push((START + day * DAY, Some(count)));
        }
    }
    states
}

/// What the log said in March: `events` behaviour events at noon (UTC) of each student, one a day; and what went wrong.
pub fn insert_log(connection: &Connection, tenant: &str, events: i64) {
    let mut behavior = String::new();
    for n in 0..STUDENTS {
        for day in 0..events {
            let at = instant(START + (55 + day) * DAY + 12 * HOUR);
            let taken = format!("{at}, 0, {}, '2026-03-01', '2027-03-01', '2100-01-01'", i64::from(n) * 100 + day);
            let _ =
                write!(behavior, "('{tenant}', '{}', {at}, 'e{n}-{day}', 'answer', 1, '{{}}', {taken}),", student(n));
        }
    }
    let at = instant(START + 60 * DAY);
    let taken = |offset: u8| format!("{at}, 0, {offset}, '2026-03-06', '2027-03-06', '2100-01-01'");
    let service = |offset, message, level| {
        format!("('{tenant}', 'billing', {at}, '{message}', '{{\"level\":\"{level}\"}}', {})", taken(offset))
    };
    let letter = |offset, class| {
        format!("('{tenant}', 'aula.behavior.v1', 0, {offset}, '{class}', 'x', 10, {at}, {})", taken(offset))
    };
    for (table, values) in [
        ("behavior", behavior.trim_end_matches(',').to_owned()),
        (
            "service_events",
            [service(1, "an Error", "info"), service(2, "down", "error"), service(3, "fine", "info")].join(", "),
        ),
        ("dead_letters", [letter(1, "late"), letter(2, "late"), letter(3, "json")].join(", ")),
    ] {
        connection.execute(&format!("INSERT INTO {} VALUES {values}", connection.table(table))).unwrap();
    }
}

/// The views that the guide reads, as `configs/` has them.
const FILES: [&str; 3] = [
    include_str!("../../../../configs/dataflows/behavior.sql"),
    include_str!("../../../../configs/dataflows/participation/participation.sql"),
    include_str!("../../../../configs/dataflows/activity/activity.sql"),
];

pub fn tables() -> Arc<Tables> {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", ""));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let sql: Vec<Source> = FILES.iter().map(|text| Source::new("test.sql", *text)).collect();
    let plan = compile(file, &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)));
    Arc::new(Tables::of(&plan).unwrap())
}

fn instant(millis: i64) -> String {
    // As a literal, which is read much faster than a function's call.
    let text = aulaflow_model::instant::Millis(millis).to_string();
    format!("'{}'", text.replace('T', " ").trim_end_matches('Z'))
}

fn micros(value: i64) -> String {
    format!("{}.{:06}", value / 1_000_000, value % 1_000_000)
}

/// What a table of the present and its table of changes get, as VALUES.
#[derive(Default)]
struct Rows {
    changes: String,
    present: String,
}

impl Rows {
    fn add<T>(&mut self, key: &str, states: &States<T>, row: impl Fn(&T, i64) -> String) {
        let mut before: Option<String> = None;
        for (clock, state) in states {
            let version = clock * 1_000;
            let now = state.as_ref().map(|state| row(state, *clock));
            let mut change = |row: &str, diff: i8| {
                let machinery = format!("{diff}, {version}, '{}', 1", student(0));
                let _ = write!(self.changes, "({key}, {row}, {}, {machinery}),", instant(*clock));
            };
            before.iter().for_each(|row| change(row, -1));
            now.iter().for_each(|row| change(row, 1));
            let deleted = u8::from(now.is_none());
            if let Some(row) = now.as_ref().or(before.as_ref()) {
                let _ = write!(self.present, "({key}, {row}, {}, {version}, {deleted}),", instant(*clock));
            }
            before = now;
        }
    }

    fn insert(&self, connection: &Connection, table: &str) {
        if self.changes.is_empty() {
            return;
        }
        for (name, values) in [(format!("{table}_changes"), &self.changes), (table.to_owned(), &self.present)] {
            let sql = format!("INSERT INTO {} VALUES {}", connection.table(&name), values.trim_end_matches(','));
            connection.execute(&sql).unwrap();
        }
    }
}

/// Puts a history into a database.
pub fn insert(connection: &Connection, tenant: &str, history: &History) {
    let mut grades = Rows::default();
    for ((student, subject, period), states) in &history.grades {
        let key = format!("'{tenant}', '{student}', '{subject}', '{period}'");
        grades.add(&key, states, |grade, clock| {
            let score = grade.score.map_or("NULL".to_owned(), micros);
            let exam = grade.score.map_or("NULL".to_owned(), |score| micros(score / 100));
            format!(
                "{score}, 2, {}, {}, 3, {{'exam':({exam},0.7,2,0)}}, '{}', 1, {}",
                grade.passing,
                grade.complete,
                grade.rule,
                instant(clock)
            )
        });
    }
    grades.insert(connection, "grades");
    let mut participation = Rows::default();
    for (student, states) in &history.participation {
        let row = |count: &i64, clock: i64| format!("{count}, {}, {}", micros(count * 1_500_000), instant(clock));
        participation.add(&format!("'{tenant}', '{student}'"), states, row);
    }
    participation.insert(connection, "participation_7d");
    let mut activity = Rows::default();
    for (student, states) in &history.activity {
        let row = |count: &i64, clock: i64| {
            format!("{count}, {}, 1, {}, 0, {}", micros(count * 1_000_000), count / 5, instant(clock))
        };
        activity.add(&format!("'{tenant}', '{student}'"), states, row);
    }
    activity.insert(connection, "activity_7d");
}

pub struct School {
    pub reader: Reader,
    pub access: Access,
    pub connection: Connection,
    pub history: History,
    pub tenant: TenantId,
    catalog: Catalog,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl School {
    pub fn new() -> Option<Self> {
        let access = access()?;
        let connection = connect(&access);
        let tables = tables();
        migrate(&connection, &tables, &[], "").unwrap();
        migrate_views(&connection, &tables).unwrap();
        let history = History::new(1);
        insert(&connection, "school", &history);
        insert(&connection, "other", &History::new(2));
        insert_log(&connection, "school", 5);
        insert_log(&connection, "other", 3);
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(PseudonymKeys::open(dir.path()).unwrap());
        let catalog = Catalog::of(&tables, &access.database);
        let at = access.clone();
        let reader = Reader::new(Arc::new(move || Ok(at.clone())), Arc::clone(&tables), keys, LIMITS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tenant = TenantId::new("school").unwrap();
        Some(Self { reader, access, connection, history, tenant, catalog, runtime, _dir: dir })
    }

    /// The rows of a query over HTTP.
    pub fn rows(&self, text: &str) -> Vec<Vec<Value>> {
        let rows = self.runtime.block_on(self.reader.sql(&self.tenant, text));
        let rows = rows.unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert!(!rows.truncated);
        let row = |row: &Vec<Box<serde_json::value::RawValue>>| {
            row.iter().map(|cell| serde_json::from_str(cell.get()).unwrap()).collect()
        };
        rows.answered.rows.iter().map(row).collect()
    }

    /// The rows of the same query sent to ClickHouse itself. The filter does here what a row policy does on a server.
    pub fn direct(&self, text: &str) -> Vec<Vec<Value>> {
        let client = clickhouse::Client::default()
            .with_url(&self.access.url)
            .with_user(self.access.user.clone().unwrap())
            .with_password(self.access.password.clone().unwrap())
            .with_database(analysts(&self.access.database))
            .with_compression(clickhouse::Compression::None);
        let bytes = self.runtime.block_on(async {
            let query = client
                .query_raw(text)
                .with_setting("additional_table_filters", self.catalog.filters(self.tenant.as_str()))
                .with_setting("date_time_output_format", "iso")
                .with_setting("output_format_json_quote_decimals", "1")
                .with_setting("output_format_json_quote_64bit_integers", "0");
            query.fetch_bytes("JSONCompact").unwrap().collect().await
        });
        let bytes = bytes.unwrap_or_else(|error| panic!("{text}\n{error}"));
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        answer["data"].as_array().unwrap().iter().map(|row| row.as_array().unwrap().clone()).collect()
    }

    /// The rows, the same both ways.
    pub fn both(&self, text: &str) -> Vec<Vec<Value>> {
        let rows = self.rows(text);
        assert_eq!(rows, self.direct(text), "{text}");
        rows
    }
}
