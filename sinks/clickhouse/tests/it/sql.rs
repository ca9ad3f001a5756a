//! Reads for people against the engine itself: two tenants whose rows lie side by side, of which one asks.

use crate::engine::{VIEWS, access, connect, tables};
use aulaflow_clickhouse::sql::{Catalog, fence};
use aulaflow_clickhouse::{Connection, PseudonymKeys, ReadError, ReadLimits, Reader, Rows, migrate};
use aulaflow_model::ids::{PeriodId, StudentId, TenantId};
use aulaflow_model::instant::Millis;
use std::sync::Arc;
use std::time::Duration;

/// What is in every row of the other tenant, and nowhere else.
const MARKER: &str = "canary";

const LIMITS: ReadLimits =
    ReadLimits { sql_timeout: Duration::from_secs(10), sql_rows_max: 50, sql_memory_max: 256 << 20 };

/// Midnight of 1 March 2026, in milliseconds.
const MARCH: i64 = 1_772_323_200_000;

struct World {
    reader: Reader,
    connection: Connection,
    catalog: Catalog,
    runtime: tokio::runtime::Runtime,
    mine: TenantId,
    student: StudentId,
    _dir: tempfile::TempDir,
}

impl World {
    /// Ten students of each tenant, with a grade each that was 1 at the beginning of March and is 2 since the 15th.
    fn new(limits: ReadLimits) -> Option<Self> {
        let access = access()?;
        let connection = connect(&access);
        let tables = tables(VIEWS);
        migrate(&connection, &tables, &[], "").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(PseudonymKeys::open(dir.path()).unwrap());
        let (mine, other) = (TenantId::new("mine").unwrap(), TenantId::new("other").unwrap());
        for (tenant, word) in [(&mine, "7"), (&other, MARKER)] {
            for n in 0..10 {
                let student = keys.pseudonym(tenant, &StudentId::new(format!("s{n}")).unwrap()).unwrap();
                let row = |score: i64| {
                    format!(
                        "'{tenant}', '{student}', 'sub-{word}', '{word}', {score}, 2, {}, true, 3, map('exam', tuple(0.5, 1, 2, 0)), \
                         'r-{word}', 1, fromUnixTimestamp64Milli({MARCH})",
                        score > 1
                    )
                };
                let day = 86_400_000;
                let at = |days: i64| format!("fromUnixTimestamp64Milli({})", MARCH + days * day);
                let changes = connection.table("grades_changes");
                let machinery = |diff: i64, version: i64| format!("{diff}, {version}, generateUUIDv4(), 1");
                // A block has one partition.
                connection
                    .execute(&format!(
                        "INSERT INTO {changes} VALUES ({}, {}, {}), ({}, {}, {}), ({}, {}, {})",
                        row(1),
                        at(0),
                        machinery(1, 1),
                        row(1),
                        at(14),
                        machinery(-1, 2),
                        row(2),
                        at(14),
                        machinery(1, 2)
                    ))
                    .unwrap();
                let grades = connection.table("grades");
                connection.execute(&format!("INSERT INTO {grades} VALUES ({}, {}, 2, 0)", row(2), at(14))).unwrap();
            }
        }
        // Rows of both in one part, side by side.
        for table in ["grades", "grades_changes"] {
            connection.execute(&format!("OPTIMIZE TABLE {} FINAL", connection.table(table))).unwrap();
        }
        let catalog = Catalog::of(&tables, &access.database);
        let reader = Reader::new(Arc::new(move || Ok(access.clone())), tables, keys, limits);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { reader, connection, catalog, runtime, mine, student: StudentId::new("s3").unwrap(), _dir: dir })
    }

    fn sql(&self, text: &str) -> Result<Rows, ReadError> {
        self.runtime.block_on(self.reader.sql(&self.mine, text))
    }

    /// The rows as JSON.
    fn rows(&self, text: &str) -> String {
        let rows = self.sql(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let row = |row: &Vec<Box<serde_json::value::RawValue>>| {
            let cells: Vec<_> = row.iter().map(|cell| cell.get()).collect();
            format!("[{}]", cells.join(","))
        };
        rows.answered.rows.iter().map(row).collect::<Vec<_>>().join("")
    }
}

#[test]
fn queries_are_answered_from_the_tenants_own_rows() {
    let Some(world) = World::new(LIMITS) else { return };
    let table = [
        ("SELECT count(*), sum(score), min(subject) FROM grades", r#"[10,"20","sub-7"]"#),
        ("SELECT count(*), sum(score) FROM grades_as_of(t = '2026-03-10')", r#"[10,"10"]"#),
        ("SELECT count(*), sum(score) FROM grades_as_of(t = '2026-03-15T00:00:00Z')", r#"[10,"20"]"#),
        ("SELECT count(*) FROM grades_as_of(t = '2026-02-28')", "[0]"),
        ("SELECT sum(diff), count(*) FROM grades_changes", "[10,30]"),
        ("SELECT count(*) FROM cohorts", "[0]"),
        ("SELECT count(*) FROM often_changes", "[0]"),
        ("WITH grades AS (SELECT * FROM grades WHERE score > 1) SELECT count(*) FROM grades", "[10]"),
        (
            "WITH a AS (SELECT student FROM grades), b AS (SELECT student FROM a) SELECT count(*) FROM a JOIN b USING (student)",
            "[10]",
        ),
        ("SELECT count(*) FROM grades g, grades h", "[100]"),
        ("SELECT count(*) FROM (SELECT 1 FROM grades UNION ALL SELECT 2 FROM grades_changes)", "[40]"),
        ("SELECT * FROM (SELECT subject FROM grades UNION SELECT period FROM grades) ORDER BY 1", r#"["7"]["sub-7"]"#),
        (
            "SELECT count(*) FROM grades WHERE student IN (SELECT student FROM grades) AND period IN ('7', 'x') AND period NOT IN ('y')",
            "[10]",
        ),
        ("SELECT count(*) FROM grades WHERE (subject, period) IN (('sub-7', '7')) AND score IN [2, 3]", "[10]"),
        ("SELECT quantile(0.5)(toFloat64(score)), sumIf(1, passing), uniq(student) FROM grades", "[2,10,10]"),
        ("SELECT by_category['exam'].value, by_category['exam'].counted FROM grades LIMIT 1", r#"["0.5",2]"#),
        (
            "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY period ORDER BY student) AS n FROM grades)",
            "[10]",
        ),
        (
            "SELECT arrayMap(x -> x * 2, [1, 2]), CASE WHEN true THEN 'y' END, CAST('5' AS Int32), '7'::Int64",
            r#"[[2,4],"y",5,7]"#,
        ),
        (
            "SELECT toDate(clock), sum(diff) FROM grades_changes WHERE clock >= toDateTime('2026-03-01 00:00:00', 'UTC') - INTERVAL 1 DAY GROUP BY ALL ORDER BY 1",
            r#"["2026-03-01",10]["2026-03-15",0]"#,
        ),
        ("SELECT h FROM (SELECT [1, 2] AS a) AS x ARRAY JOIN a AS h", "[1][2]"),
        (r"SELECT 'it''s', 'a\'b', 'c\\', '{tenant:String} -- /*'", r#"["it's","a'b","c\\","{tenant:String} -- /*"]"#),
        ("SELECT score FROM grades ORDER BY student LIMIT 1 BY subject", r#"["2"]"#),
        (
            "SELECT EXTRACT(YEAR FROM DATE '2026-02-03'), 1 BETWEEN 0 AND 2, NOT false, -(-1), 'mat' LIKE 'm%'",
            "[2026,1,true,1,1]",
        ),
        (
            "SELECT count(*) FROM grades WHERE 1 IN (SELECT 1) AND EXISTS (SELECT 1 FROM grades) AND NOT EXISTS (SELECT 1 FROM cohorts)",
            "[10]",
        ),
        // A column of another table behind IN is a column.
        ("SELECT count(*) FROM grades g WHERE period IN (g.period)", "[10]"),
        (
            "SELECT * EXCEPT (student, updated_at, by_category) FROM grades LIMIT 1",
            r#"["sub-7","7","2",2,true,true,3,"r-7",1]"#,
        ),
        ("SELECT subject, count(*) FROM grades GROUP BY subject WITH ROLLUP ORDER BY 2, 1", r#"["",10]["sub-7",10]"#),
        (
            "SELECT first_value(score) IGNORE NULLS OVER (ORDER BY student ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM grades LIMIT 1",
            r#"["2"]"#,
        ),
    ];
    for (text, expected) in table {
        assert_eq!(world.rows(text), expected, "{text}");
    }
    let rows = world.sql("SELECT student AS s, score FROM grades").unwrap();
    let types: Vec<_> = rows.answered.columns.iter().map(|(name, r#type)| format!("{name} {type}")).collect();
    assert_eq!(types, ["s UUID", "score Nullable(Decimal(18, 6))"]);
    assert_eq!((rows.truncated, rows.as_of), (false, Some(Millis(MARCH + 14 * 86_400_000))));
    assert_eq!(world.sql("SELECT 1").unwrap().as_of, None);
    let chain = format!("SELECT count(*) FROM grades WHERE score = 2{}", " OR score = 1".repeat(500));
    assert_eq!(world.rows(&chain), "[10]");
}

/// Whatever is asked, nothing of the other tenant is in the answer, nor in what is said of errors; and whether there is an error
/// does not depend on the other's rows.
#[test]
fn the_other_tenant_is_not_seen() {
    let Some(world) = World::new(LIMITS) else { return };
    let tables = ["grades", "grades_changes", "grades_as_of(t = '2026-03-20')"];
    let shapes = [
        "SELECT * FROM {}",
        "SELECT count(*) FROM {} WHERE period = 'canary' OR subject LIKE '%canary%'",
        "SELECT groupArray(period), groupUniqArray(subject), max(rule_version) FROM {}",
        "SELECT count(*) FROM {} WHERE 1 = 1 OR true",
        "SELECT count(*) FROM {} AS a RIGHT JOIN {} AS b ON a.student = b.student AND a.period != b.period",
        "SELECT * FROM {} AS a FULL JOIN {} AS b ON a.student = b.student",
        "SELECT period FROM {} UNION ALL SELECT subject FROM {}",
        "SELECT period FROM {} EXCEPT SELECT 'x'",
        "SELECT (SELECT max(period) FROM {}), 1",
        "WITH tenant AS (SELECT 'other' AS tenant) SELECT g.*, tenant.tenant FROM {} AS g, tenant",
        "SELECT 'other' AS tenant, g.* FROM {} AS g WHERE tenant = 'other'",
        "SELECT arrayMap(tenant -> tenant, ['other']), period FROM {}",
        "SELECT * FROM (SELECT 'other' AS tenant) AS x JOIN {} AS g ON true",
        "SELECT max(period) OVER () FROM {}",
        // Would fail on a row of the other tenant: `canary` is no number.
        "SELECT count(*) FROM {} WHERE toUInt8(period) = 7",
        "SELECT sum(toUInt8(period)) FROM {}",
        "SELECT count(*) FROM {} WHERE subject = 'sub-7' AND toUInt8(period) > 0",
        "SELECT count(*) FROM {} AS g WHERE intDiv(1, if(period = 'canary', 0, 1)) = 1",
        "SELECT count(*) FROM {} GROUP BY toUInt8(period)",
        "SELECT count(*) FROM {} WHERE CAST(period AS Int32) IN (7)",
    ];
    for shape in shapes {
        for table in tables {
            let text = shape.replace("{}", table);
            let rows = world.rows(&text);
            // What the query says itself is not from a row.
            assert!(!rows.contains(MARKER), "{text}: {rows}");
        }
    }
    // The same errors, with the same words, as a tenant alone would get.
    for text in [
        "SELECT foo FROM grades",
        "SELECT tenant FROM grades",
        "SELECT g.version FROM grades g",
        "SELECT writer FROM grades_changes",
        "SELECT _part FROM grades",
        "SELECT toUInt8(subject) FROM grades",
        "SELECT subject, count(*) FROM grades",
        "SELECT sum(subject) FROM grades",
        "SELECT 1 FROM grades WHERE subject IN aula.grades",
        "SELECT 1 FROM grades WHERE subject IN (often)",
        "SELECT * FROM system.tables",
        "SELECT * FROM merge('test_0', '.*')",
    ] {
        let error = world.sql(text).map(|rows| format!("{rows:?}")).expect_err(text).to_string();
        for word in [MARKER, "'other'", "__t", "test_", "PREWHERE", "libchdb"] {
            assert!(!error.contains(word) || text.contains(word), "{text}: {error}");
        }
    }
}

#[test]
fn queries_have_limits() {
    let Some(world) =
        World::new(ReadLimits { sql_rows_max: 3, sql_timeout: Duration::from_secs(1), sql_memory_max: 16 << 20 })
    else {
        return;
    };
    for text in [
        "SELECT student FROM grades",
        "SELECT 1 FROM grades UNION ALL SELECT 2 FROM grades",
        "SELECT 1 FROM grades LIMIT 8",
    ] {
        let rows = world.sql(text).unwrap();
        assert_eq!((rows.answered.rows.len(), rows.truncated), (3, true), "{text}");
    }
    let rows = world.sql("SELECT student FROM grades LIMIT 3").unwrap();
    assert_eq!((rows.answered.rows.len(), rows.truncated), (3, false));
    let many = "SELECT arrayJoin(range(1000)) AS x FROM grades";
    let text = format!("SELECT count(*) FROM ({many}) AS a, ({many}) AS b, ({many}) AS c");
    assert!(matches!(world.sql(&text), Err(ReadError::Limit(_) | ReadError::Timeout)));
    let text = format!("SELECT length(groupArray((a.x, b.x))) FROM ({many}) AS a, ({many}) AS b");
    assert!(matches!(world.sql(&text), Err(ReadError::Limit(_))));
}

#[test]
fn grades_of_a_period_are_read() {
    let Some(world) = World::new(LIMITS) else { return };
    let read = |tenant: &TenantId, student: &StudentId, period: &str| {
        let period = PeriodId::new(period).unwrap();
        world.runtime.block_on(world.reader.grades(tenant, student, &period)).unwrap()
    };
    let (grades, as_of) = read(&world.mine, &world.student, "7");
    assert_eq!(as_of, Millis(MARCH + 14 * 86_400_000));
    let [entry] = grades.as_slice() else { panic!("{grades:?}") };
    assert_eq!((entry.subject.as_str(), entry.period.as_str()), ("sub-7", "7"));
    let (row, grade) = (&entry.row, &entry.row.grade);
    assert_eq!((grade.score.as_deref(), grade.passing, grade.complete), (Some("2.00"), true, true));
    assert_eq!((grade.evaluations_count, row.version, row.updated_at), (3, 1, Millis(MARCH)));
    let exam = &grade.by_category.iter().next().unwrap().1;
    assert_eq!((exam.value.as_deref(), exam.weight.as_str(), exam.counted, exam.dropped), (Some("0.5"), "1", 2, 0));
    assert_eq!(read(&world.mine, &world.student, MARKER).0, []);
    assert_eq!(read(&world.mine, &StudentId::new("nobody").unwrap(), "7").0, []);
    assert_eq!(read(&TenantId::new("nobody").unwrap(), &world.student, "7").0, []);
}

/// The first fence alone, without the settings: a query's own conditions see what PREWHERE leaves. With WHERE, ClickHouse looks at
/// them first, and says the other tenant's value.
#[test]
fn conditions_see_the_tenants_rows_only() {
    let Some(world) = World::new(LIMITS) else { return };
    for table in ["grades", "grades_changes", "grades_as_of(t = '2026-03-20')"] {
        for condition in ["toUInt8(period) = 7", "period = '7' AND toUInt8(period) = 7", "intDiv(1, period = '7') = 1"]
        {
            let fenced = fence(&format!("SELECT count(*) FROM {table} WHERE {condition}"), &world.catalog).unwrap();
            let text = fenced.text.replace("{tenant:String}", "'mine'");
            let rows = world.connection.number(&text).unwrap_or_else(|error| panic!("{table} {condition}: {error}"));
            assert_eq!(rows, if table == "grades_changes" { 30 } else { 10 }, "{table} {condition}");
        }
    }
    let fenced = fence("SELECT count(*) FROM grades_changes WHERE toUInt8(period) = 7", &world.catalog).unwrap();
    let text = fenced.text.replace("{tenant:String}", "'mine'").replace("PREWHERE", "WHERE");
    let error = world.connection.number(&text).unwrap_err();
    assert!(error.reason.contains(MARKER), "this test no longer shows what it is for: {error}");
}
