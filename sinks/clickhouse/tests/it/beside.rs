//! Statements as analysts write them, answered through the fence and by the same engine directly, where tables of the same names have
//! the tenant's rows alone. Both answers are equal; or the refusal names what is not allowed.
//!
//! `AULAFLOW_SQL_STATEMENTS` is how many statements there are, `AULAFLOW_SQL_SEED` which.

use crate::engine::{VIEWS, access, connect, tables};
use crate::proxy::Random;
use crate::statements::{Statement, statement};
use aulaflow_clickhouse::sql::Catalog;
use aulaflow_clickhouse::{PseudonymKeys, ReadError, ReadLimits, Reader, migrate};
use aulaflow_model::ids::TenantId;
use clickhouse::Client;
use std::sync::Arc;
use std::time::Duration;

const LIMITS: ReadLimits =
    ReadLimits { sql_timeout: Duration::from_secs(20), sql_rows_max: 1_000, sql_memory_max: 512 << 20 };

/// Statements in the quick run.
const STATEMENTS: u64 = 500;

/// What is read, in the tenant's part of it.
const READ: [&str; 2] = ["grades", "grades_changes"];

struct World {
    reader: Reader,
    direct: Client,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

/// Columns, and rows in order.
type Answer = (Vec<(String, String)>, Vec<String>);

impl World {
    fn new() -> Option<Self> {
        let access = access()?;
        let connection = connect(&access);
        let tables = tables(VIEWS);
        migrate(&connection, &tables, &[], "").unwrap();
        for (tenant, students) in [("mine", 9), ("other", 7)] {
            // Texts that have what literals are about.
            let row = format!(
                "'{tenant}', toUUID(concat('0000000', toString(number % {students}), '-0000-4000-8000-000000000000')), \
                 ['mat', 'len', 'it\\'s \\\\d'][intDiv(number, {students}) + 1], ['2026-Q1', '2026-Q2'][number % 2 + 1], \
                 if(number % 5 = 4, NULL, toDecimal64(number * 7 % 31, 6) / 2), 2, number % 3 = 0, number % 4 > 0, number % 6, \
                 map('exam', tuple(toDecimal64(0.5, 6), 1, number % 3, 0)), concat('r-\\n', toString(number % 4)), number + 1, \
                 fromUnixTimestamp64Milli(toInt64(1772323200000 + number * 86400000 * 3 + number * 4567))"
            );
            let at = "fromUnixTimestamp64Milli(toInt64(1772323200000 + number * 3600000))";
            for (table, machinery) in [
                ("grades", "2, 0".to_owned()),
                ("grades_changes", "if(number % 4 = 1, -1, 1), number + 1, generateUUIDv4(), 1".to_owned()),
            ] {
                let table = connection.table(table);
                let all = format!("INSERT INTO {table} SELECT {row}, {at}, {machinery} FROM numbers({})", students * 3);
                connection.execute(&all).unwrap();
            }
        }
        let catalog = Catalog::of(&tables, &access.database);
        let other = format!("{}_beside", access.database);
        connection.execute(&format!("CREATE DATABASE {other}")).unwrap();
        for (name, shown) in catalog.names().filter(|(name, _)| READ.contains(name)) {
            let columns: Vec<_> = shown.columns.iter().map(|column| format!("`{column}`")).collect();
            let last = if name == "grades" { " FINAL" } else { "" };
            let copy = format!(
                "CREATE TABLE {other}.`{name}` ENGINE = Memory AS SELECT {} FROM {}{last} WHERE tenant = 'mine'",
                columns.join(", "),
                connection.table(name)
            );
            connection.execute(&copy).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(PseudonymKeys::open(dir.path()).unwrap());
        let direct = Client::default()
            .with_url(&access.url)
            .with_user(access.user.clone().unwrap())
            .with_password(access.password.clone().unwrap())
            .with_database(&other)
            .with_compression(clickhouse::Compression::None);
        let reader = Reader::new(Arc::new(move || Ok(access.clone())), tables, keys, LIMITS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { reader, direct, runtime, _dir: dir })
    }

    /// Through the fence.
    fn fenced(&self, text: &str) -> Result<Answer, ReadError> {
        let rows = self.runtime.block_on(self.reader.sql(&TenantId::new("mine").unwrap(), text))?;
        let line = |row: &Vec<Box<serde_json::value::RawValue>>| {
            row.iter().map(|cell| cell.get()).collect::<Vec<_>>().join(",")
        };
        Ok((rows.answered.columns, rows.answered.rows.iter().map(line).collect()))
    }

    /// By the engine, with the settings that the form of an answer depends on.
    fn direct(&self, text: &str) -> Result<Answer, String> {
        #[derive(serde::Deserialize)]
        struct Column {
            name: String,
            r#type: String,
        }
        #[derive(serde::Deserialize)]
        struct Document {
            meta: Vec<Column>,
            data: Vec<Vec<Box<serde_json::value::RawValue>>>,
        }
        let settings = [
            ("readonly", "1"),
            ("limit", "1001"),
            ("wait_end_of_query", "1"),
            ("output_format_json_quote_decimals", "1"),
            ("output_format_json_named_tuples_as_objects", "1"),
            ("output_format_json_quote_64bit_integers", "0"),
            ("output_format_json_quote_denormals", "1"),
            ("output_format_json_escape_forward_slashes", "0"),
            ("output_format_json_validate_utf8", "1"),
            ("date_time_output_format", "iso"),
        ];
        let query = settings
            .into_iter()
            .fold(self.direct.query_raw(text), |query, (name, value)| query.with_setting(name, value));
        let bytes = self.runtime.block_on(async { query.fetch_bytes("JSONCompact")?.collect().await });
        let bytes = bytes.map_err(|error| error.to_string())?;
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let columns = document.meta.into_iter().map(|column| (column.name, column.r#type)).collect();
        let line = |row: &Vec<Box<serde_json::value::RawValue>>| {
            row.iter().map(|cell| cell.get()).collect::<Vec<_>>().join(",")
        };
        Ok((columns, document.data.iter().map(line).collect()))
    }
}

/// Without the names that ClickHouse makes of expressions: the fence writes functions and types by their own names
/// (`count`, `Float32`), however the analyst spelled them (`Count`, `FLOAT`).
fn in_order((mut columns, mut rows): Answer, ordered: bool) -> Answer {
    columns.iter_mut().filter(|(name, _)| name.contains('(')).for_each(|(name, _)| name.clear());
    if !ordered {
        rows.sort();
    }
    (columns, rows)
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn answers_are_those_of_the_engine_asked_directly() {
    let Some(world) = World::new() else { return };
    let (statements, seed) = (variable("AULAFLOW_SQL_STATEMENTS", STATEMENTS), variable("AULAFLOW_SQL_SEED", 1));
    let mut random = Random(seed);
    let (mut equal, mut refused, mut failed) = (0_u64, 0_u64, 0_u64);
    let mut faults = Vec::new();
    for _ in 0..statements {
        let Statement { text, ordered, beyond } = statement(&mut random);
        match (world.fenced(&text), world.direct(&text)) {
            (Ok(fenced), Ok(direct)) => {
                let (fenced, direct) = (in_order(fenced, ordered), in_order(direct, ordered));
                if fenced == direct {
                    equal += 1;
                } else {
                    faults.push(format!("{text}\n  fenced {fenced:?}\n  direct {direct:?}"));
                }
            }
            // What the engine refuses too need not be named.
            (Err(ReadError::Refused(_)), Err(_)) => failed += 1,
            (Err(ReadError::Refused(why)), Ok(_)) => {
                refused += 1;
                // Signs that are read in another way there, which a comment behind an operator may look like.
                let is_named = |name: &&str| why.to_lowercase().contains(&name.to_lowercase());
                if !beyond.iter().chain(["||/", "//"].iter().filter(|op| text.contains(**op))).any(is_named) {
                    faults.push(format!("{text}\n  refused, without naming one of {beyond:?}: {why}"));
                }
            }
            (Err(ReadError::Unavailable(why)), _) => faults.push(format!("{text}\n  unavailable: {why}")),
            (Err(_), Err(_)) => failed += 1,
            (Err(why), Ok(_)) => faults.push(format!("{text}\n  answered directly, and not through the fence: {why}")),
            (Ok(answer), Err(why)) => {
                faults.push(format!(
                    "{text}\n  {answer:?} through the fence, and directly: {}",
                    why.chars().take(300).collect::<String>()
                ));
            }
        }
    }
    println!(
        "seed {seed}: {statements} statements, {equal} answered equally, {refused} refused by name, {failed} errors of both"
    );
    assert!(
        faults.is_empty(),
        "{} of {statements}:\n{}",
        faults.len(),
        faults.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    // They are not just all refused, nor all wrong.
    assert!(equal * 100 >= statements * 75, "{equal} of {statements} were answered");
    assert!(refused * 100 >= statements, "{refused} of {statements} were refused");
}

/// What was changed on its way once, with the right values.
#[test]
fn what_is_asked_is_what_is_answered() {
    let Some(world) = World::new() else { return };
    let table = [
        (
            r"SELECT match('abc1', '\d') AS a, splitByRegexp('\s+', 'a  b') AS b, match('a+b', 'a\+b') AS c, 'axb' NOT ILIKE 'A\_B' AS d, length('\q') AS e, '\x41' AS f",
            r#"1,["a","b"],1,1,2,"A""#,
        ),
        (
            "SELECT EXTRACT(DOW FROM toDate('2026-03-01')) AS dow, EXTRACT(ISODOW FROM toDate('2026-03-01')) AS isodow",
            "0,7",
        ),
        (
            "SELECT EXTRACT(ISOYEAR FROM toDate('2024-12-30')), EXTRACT(CENTURY FROM toDate('2026-03-01')), EXTRACT(DECADE FROM toDate('2026-03-01'))",
            "2025,21,202",
        ),
        ("SELECT count(*) FILTER (WHERE score > 5), count(*) FILTER (WHERE score IS NULL) FROM grades", "16,5"),
        ("SELECT 1 || 2 + 3, NULL IS TRUE, 1 = 2 IS NULL, 0x1F, x'4142', $$a\\d'$$", r#""15",0,0,31,"AB","a\\d'""#),
        (
            "SELECT toTypeName(1::FLOAT), toTypeName(-(1)), toTypeName(-1), inf, -5 % 3",
            r#""Float32","Int16","Int8","inf",-2"#,
        ),
        ("SELECT 1 UNION ALL SELECT 1 EXCEPT SELECT 2", "1|1"),
        (r"SELECT '\xff'", "\"\u{fffd}\""),
    ];
    for (text, expected) in table {
        let (_, rows) = world.fenced(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(rows.join("|"), expected, "{text}");
        let both = (world.fenced(text).unwrap(), world.direct(text).unwrap());
        assert_eq!(in_order(both.0, true), in_order(both.1, true), "{text}");
    }
}

/// `SHOW TABLES` and `DESCRIBE`, from what is known here.
#[test]
fn tables_and_their_columns_are_shown() {
    let Some(world) = World::new() else { return };
    let (columns, rows) = world.fenced("SHOW TABLES").unwrap();
    assert_eq!(columns, [("name".to_owned(), "String".to_owned())]);
    assert!(rows.contains(&"\"grades\"".to_owned()) && rows.contains(&"\"grades_as_of\"".to_owned()), "{rows:?}");
    assert!(!rows.iter().any(|row| row.contains("writers") || row.contains("migrations")), "{rows:?}");
    assert_eq!(world.fenced("SHOW TABLES LIKE 'grades\\_a%'").unwrap().1, ["\"grades_as_of\""]);
    for text in
        ["DESCRIBE TABLE grades", "DESC TABLE grades", "describe grades", "DESC grades;", "SHOW COLUMNS FROM grades"]
    {
        let (columns, rows) = world.fenced(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["name", "type"]);
        assert_eq!(
            rows[..3],
            ["\"student\",\"UUID\"", "\"subject\",\"LowCardinality(String)\"", "\"period\",\"LowCardinality(String)\""]
        );
        assert!(!rows.iter().any(|row| row.contains("tenant") || row.contains("is_deleted")), "{rows:?}");
    }
    // What takes an argument has columns too.
    assert_eq!(world.fenced("DESCRIBE TABLE grades_as_of").unwrap().1[0], "\"student\",\"UUID\"");
    for (text, said) in [
        ("SHOW TABLES FROM system", "no other databases"),
        ("DESCRIBE TABLE system.tables", "name alone"),
        ("DESCRIBE TABLE gradez", "did you mean \"grades\""),
        ("DESCRIBE TABLE writers", "there is no table"),
        ("SHOW DATABASES", "only SELECT"),
        ("SHOW CREATE TABLE grades", "only SELECT"),
        ("SELECT subjet FROM grades", "did you mean \"subject\""),
        ("SELECT g.zzzzzzzzzzz FROM grades AS g", "columns are: student, subject"),
    ] {
        let error = world.fenced(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}
