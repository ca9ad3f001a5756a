//! Two tenants side by side, of which the other's every value is a marker. One asks everything that we could think of. Nothing of the
//! other is in an answer or in what is said of an error; and every answer and every error is the same as where there is no other
//! tenant, so that not even whether something fails depends on his rows.

use crate::engine::{access, connect};
use crate::school::tables;
use aulaflow_clickhouse::{Connection, PseudonymKeys, ReadError, ReadLimits, Reader, migrate, migrate_views, views};
use aulaflow_model::ids::TenantId;
use std::sync::Arc;
use std::time::Duration;

/// What is in every text of the other tenant, in his students' pseudonyms, and in his numbers.
const MARKERS: [&str; 3] = ["zanahoria", "cafecafe", "98765"];
const DATABASE: &str = "DATABASE";

const LIMITS: ReadLimits =
    ReadLimits { sql_timeout: Duration::from_secs(20), sql_rows_max: 500, sql_memory_max: 512 << 20 };

struct World {
    reader: Reader,
    database: String,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

/// What one tenant's rows are made of.
struct Values {
    tenant: &'static str,
    word: &'static str,
    student: &'static str,
    number: i64,
}

const MINE: Values = Values { tenant: "mine", word: "7", student: "00000007-0000-4000-8000-000000000000", number: 7 };
const OTHER: Values = Values {
    tenant: "zanahoria_other",
    word: "zanahoria",
    student: "cafecafe-cafe-4afe-8afe-cafecafecafe",
    number: 98_765,
};

impl World {
    fn new(of: &[Values]) -> Option<Self> {
        let access = access()?;
        let connection = connect(&access);
        let tables = tables();
        migrate(&connection, &tables, &[], "").unwrap();
        migrate_views(&connection, &tables).unwrap();
        of.iter().for_each(|values| insert(&connection, values));
        for table in ["grades", "grades_changes", "behavior", "service_events", "dead_letters"] {
            // Rows of both in one part, side by side.
            connection.execute(&format!("OPTIMIZE TABLE {table} FINAL")).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(PseudonymKeys::open(dir.path()).unwrap());
        let database = access.database.clone();
        let reader = Reader::new(Arc::new(move || Ok(access.clone())), tables, keys, LIMITS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { reader, database, runtime, _dir: dir })
    }

    /// Everything that comes out, as one text; rows in any order.
    fn ask(&self, text: &str) -> String {
        let text = text.replace(DATABASE, &self.database);
        let mine = TenantId::new("mine").unwrap();
        let said = match self.runtime.block_on(self.reader.sql(&mine, &text)) {
            Ok(rows) => {
                let line = |row: &Vec<Box<serde_json::value::RawValue>>| {
                    row.iter().map(|cell| cell.get()).collect::<Vec<_>>().join(",")
                };
                let mut lines: Vec<_> = rows.answered.rows.iter().map(line).collect();
                lines.sort();
                format!("{:?} {:?} {} {:?}", rows.answered.columns, lines, rows.truncated, rows.as_of)
            }
            Err(ReadError::Unavailable(why)) => format!("unavailable: {why}"),
            Err(error) => error.to_string(),
        };
        // The query's own words may be said again, the database's name among them.
        said.replace(&self.database, DATABASE)
    }
}

fn insert(connection: &Connection, values: &Values) {
    let Values { tenant, word, student, number } = values;
    let at = "'2026-03-02 08:00:00.000'";
    let id = "'00000000-0000-4000-8000-000000000001'";
    let grade = format!(
        "'{tenant}', '{student}', '{word}', '{word}', {number}, 2, true, true, {number}, {{'{word}':(0.5,1,{number},0)}}, '{word}', 1, {at}"
    );
    let changes = format!("{at}, 1, 1, {id}, 1");
    let cohort = format!(
        "'{tenant}', '{word}', '{word}', {number}, {number}, {number}, {number}, [{number}], {number}, {number}"
    );
    let taken = format!("{at}, 0, {number}, '2026-03-02', '2027-03-02', '2100-01-01'");
    for (table, row) in [
        ("grades", format!("{grade}, {at}, 1, 0")),
        ("grades_changes", format!("{grade}, {changes}")),
        ("cohorts", format!("{cohort}, {at}, 1, 0")),
        ("cohorts_changes", format!("{cohort}, {changes}")),
        ("participation_7d", format!("'{tenant}', '{student}', {number}, {number}, {at}, {at}, 1, 0")),
        ("participation_7d_changes", format!("'{tenant}', '{student}', {number}, {number}, {at}, {changes}")),
        (
            "behavior",
            format!(
                "'{tenant}', '{student}', {at}, '{word}', '{word}', {number}, '{{\"{word}\":\"{word}\"}}', {taken}"
            ),
        ),
        ("service_events", format!("'{tenant}', '{word}', {at}, '{word}', '{{\"{word}\":{number}}}', {taken}")),
        ("dead_letters", format!("'{tenant}', '{word}', 0, {number}, '{word}', '{word}', {number}, {at}, {taken}")),
    ] {
        connection
            .execute(&format!("INSERT INTO {table} VALUES ({row})"))
            .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
}

/// Asked of every name.
const OF_EVERY_NAME: &[&str] = &[
    "SELECT * FROM {}",
    "SELECT toString(tuple(x.*)), count(*) FROM {} AS x GROUP BY ALL",
    "SELECT count(*) FROM {} WHERE 1 = 1 OR true",
    "SELECT x.tenant FROM {} AS x",
    "SELECT count(*) FROM {} AS tenant WHERE tenant != 'mine'",
    "SELECT * FROM {} AS a FULL JOIN {} AS b ON toString(tuple(a.*)) != toString(tuple(b.*))",
    "SELECT throwIf(1) FROM {}",
    "SELECT _part, _table, _partition_id FROM {}",
];

/// Asked of names with texts, whose values do not fit the other's.
const OF_TEXTS: &[&str] = &[
    "SELECT toUInt8({c}) FROM {t}",
    "SELECT count(*) FROM {t} WHERE toUInt8({c}) = 7",
    "SELECT count(*) FROM {t} WHERE {c} = '7' AND CAST({c} AS Int32) = 7",
    "SELECT intDiv(1, length({c}) - 9) FROM {t}",
    "SELECT count(*) FROM {t} WHERE 1 / (length({c}) - 9) < 0 AND modulo(1, length({c}) - 9) != 7",
    "SELECT toDate({c}), toUUID({c}) FROM {t}",
    "SELECT count(*) FROM {t} GROUP BY toDecimal32({c}, 2)",
    "SELECT count(*) FROM {t} ORDER BY sum(toInt64({c}))",
    "SELECT (SELECT toUInt8({c}) FROM {t})",
    "SELECT 1 WHERE 1 IN (SELECT toUInt8({c}) FROM {t})",
    "SELECT arrayMap(x -> toUInt8(x), groupArray({c})) FROM {t}",
    "SELECT max(toUInt8({c})) OVER () FROM {t}",
    "SELECT match('7', {c}), extractAll('7', concat('(', {c})) FROM {t}",
    "SELECT x FROM {t} ARRAY JOIN [toUInt8({c})] AS x",
    "SELECT count(*) FROM {t} AS a JOIN {t} AS b ON toUInt8(a.{c}) = toUInt8(b.{c})",
    "SELECT if({c} = 'zanahoria', toUInt8('x'), 1) FROM {t}",
    "SELECT min({c}), max({c}), any({c}), uniq({c}), topK(5)({c}), entropy({c}) FROM {t}",
    "SELECT toDateTime64({c}, 3), parseDateTimeBestEffort({c}) FROM {t}",
];

const COLUMNS: &[(&str, &str)] = &[
    ("grades", "subject"),
    ("grades_changes", "rule_version"),
    ("grades_as_of(t = '2026-03-20')", "period"),
    ("grades_weekly", "subject"),
    ("cohort_comparison", "period"),
    ("training_set(days = 1)", "subject"),
    ("behavior", "event_type"),
    ("service_events", "message"),
    ("dead_letters", "error"),
];

/// Everything else.
const TRICKS: &[&str] = &[
    // Other tables, databases, and how they may be spelled.
    "SELECT * FROM DATABASE.grades",
    "SELECT * FROM `DATABASE`.`grades`",
    "SELECT * FROM `DATABASE.grades`",
    "SELECT * FROM DATABASE_analysts.grades",
    "SELECT * FROM default.grades",
    "SELECT * FROM writers",
    "SELECT * FROM migrations",
    "SELECT * FROM bridge_positions",
    "SELECT * FROM retention_log",
    "SELECT * FROM system.tables",
    "SELECT * FROM system.parts_columns",
    "SELECT * FROM system.columns",
    "SELECT * FROM system.query_log",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.one",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM INFORMATION_SCHEMA.COLUMNS",
    "SELECT * FROM GRADES",
    "SELECT * FROM `gr\\x61des`",
    "SELECT * FROM `grades\\0`",
    "SELECT * FROM `grades``; SELECT 1`",
    "SELECT * FROM \"grades\\\"\"",
    "SELECT * FROM ｇｒａｄｅｓ",
    "SELECT * FROM `grades\u{200b}`",
    "SELECT * FROM gradeѕ",
    "SELECT * FROM `DATABASE``.``grades`",
    "SELECT * FROM 'DATABASE.grades'",
    "SELECT * FROM [grades]",
    "SELECT * FROM $$DATABASE.grades$$",
    "SELECT * FROM 7",
    // Table functions.
    "SELECT * FROM merge('DATABASE', '.*')",
    "SELECT * FROM merge(DATABASE, 'grades')",
    "SELECT * FROM merge(REGEXP('.*'), 'grades')",
    "SELECT * FROM remote('127.0.0.1', 'DATABASE', 'grades')",
    "SELECT * FROM remoteSecure('127.0.0.1', DATABASE.grades)",
    "SELECT * FROM cluster('default', DATABASE.grades)",
    "SELECT * FROM clusterAllReplicas('default', DATABASE.grades)",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/x', 'CSV')",
    "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM sqlite('x', 't')",
    "SELECT * FROM input('a String')",
    "SELECT * FROM numbers(10)",
    "SELECT * FROM zeros(10)",
    "SELECT * FROM generateRandom('a String')",
    "SELECT * FROM values('a String', 'x')",
    "SELECT * FROM view(SELECT * FROM DATABASE.grades)",
    "SELECT * FROM viewIfPermitted(SELECT * FROM DATABASE.grades ELSE null('a String'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM DATABASE.grades))",
    "SELECT * FROM null('a String')",
    "SELECT * FROM dictionary('d')",
    "SELECT * FROM executable('x', 'CSV', 'a String')",
    "SELECT * FROM format('CSV', '1')",
    "SELECT * FROM mergeTreeIndex('DATABASE', 'grades')",
    "SELECT * FROM mergeTreeProjection('DATABASE', 'grades', 'p')",
    "SELECT * FROM loop(DATABASE.grades)",
    "SELECT * FROM fuzzQuery('SELECT 1')",
    "SELECT * FROM TABLE(grades)",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM merge('DATABASE', '.*')))",
    "SELECT * FROM grades UNION ALL SELECT * FROM DATABASE.grades",
    "SELECT 1 FROM grades WHERE 1 IN (SELECT 1 FROM merge('DATABASE', '.*'))",
    "SELECT 1 FROM grades WHERE subject IN DATABASE.grades",
    "SELECT 1 FROM grades WHERE subject IN (DATABASE.grades)",
    "SELECT 1 FROM grades WHERE subject IN grades",
    "SELECT 1 FROM grades WHERE subject IN (grades)",
    "SELECT 1 FROM grades WHERE subject GLOBAL IN (SELECT subject FROM grades)",
    "SELECT 1 FROM grades WHERE subject GLOBAL NOT IN (SELECT subject FROM DATABASE.grades)",
    "SELECT 1 FROM grades GLOBAL JOIN DATABASE.grades AS b ON 1",
    "SELECT in(subject, grades) FROM grades",
    "SELECT globalIn(subject, 'DATABASE.grades') FROM grades",
    // Functions that read what is not an argument.
    "SELECT dictGet('DATABASE.d', 'a', 1)",
    "SELECT joinGet('DATABASE.grades', 'subject', 'x')",
    "SELECT getSetting('additional_table_filters')",
    "SELECT getSetting('param_tenant')",
    "SELECT getServerSetting('x')",
    "SELECT currentDatabase(), currentUser(), hostName(), version()",
    "SELECT database()",
    "SELECT user()",
    "SELECT file('/etc/passwd')",
    "SELECT hasColumnInTable('DATABASE', 'grades', 'tenant')",
    "SELECT throwIf(subject = 'zanahoria') FROM grades",
    "SELECT sleepEachRow(0.1) FROM grades",
    "SELECT arrayReduce('max', groupArray(subject)) FROM grades",
    "SELECT finalizeAggregation(maxState(subject)) FROM grades",
    "SELECT initializeAggregation('max', subject) FROM grades",
    "SELECT neighbor(subject, 1), runningDifference(score) FROM grades",
    "SELECT blockNumber(), rowNumberInAllBlocks(), blockSize() FROM grades",
    "SELECT partitionId(subject) FROM grades",
    "SELECT queryString(), queryID()",
    "SELECT catboostEvaluate('/etc/passwd', 1)",
    "SELECT evalMLMethod(subject, 1) FROM grades",
    "SELECT filesystemAvailable(), uptime(), tcpPort(), serverUUID()",
    "SELECT addressToLine(1)",
    "SELECT getClientHTTPHeader('Authorization')",
    "SELECT showCertificate()",
    "SELECT reinterpret(subject, 'UInt64') FROM grades",
    "SELECT accurateCast(subject, 'UInt8') FROM grades",
    "SELECT lowCardinalityKeys(subject), lowCardinalityIndices(subject) FROM grades",
    "SELECT estimateCompressionRatio(subject) FROM grades",
    "SELECT structureToProtobufSchema('a String', 'm')",
    // Other statements, settings and formats.
    "SHOW TABLES FROM DATABASE",
    "SHOW CREATE TABLE DATABASE.grades",
    "DESCRIBE TABLE DATABASE.grades",
    "DESCRIBE (SELECT * FROM DATABASE.grades)",
    "EXPLAIN SELECT * FROM grades",
    "EXPLAIN ESTIMATE SELECT * FROM DATABASE.grades",
    "EXPLAIN indexes = 1 SELECT * FROM grades",
    "EXISTS TABLE DATABASE.grades",
    "CHECK TABLE DATABASE.grades",
    "USE DATABASE",
    "SET additional_table_filters = {}",
    "INSERT INTO grades SELECT * FROM grades",
    "ALTER TABLE grades DELETE WHERE 1",
    "TRUNCATE TABLE grades",
    "CREATE TABLE x ENGINE = Memory AS SELECT * FROM DATABASE.grades",
    "CREATE TEMPORARY TABLE x AS SELECT * FROM DATABASE.grades",
    "KILL QUERY WHERE 1",
    "SYSTEM FLUSH LOGS",
    "BACKUP TABLE DATABASE.grades TO File('x')",
    "EXECUTE AS default SELECT 1",
    "PARALLEL WITH DROP TABLE grades PARALLEL WITH DROP TABLE grades_changes",
    "SELECT * FROM grades SETTINGS additional_table_filters = {}",
    "SELECT * FROM grades SETTINGS param_tenant = 'zanahoria_other'",
    "SELECT * FROM (SELECT * FROM grades SETTINGS readonly = 0)",
    "SELECT * FROM grades FORMAT Vertical",
    "SELECT * FROM grades INTO OUTFILE '/tmp/x'",
    "SELECT * FROM grades; SELECT * FROM DATABASE.grades",
    "SELECT 1;;SELECT 2",
    "SELECT {tenant:String}",
    "SELECT {tenant:Identifier} FROM grades",
    "SELECT * FROM {t:Identifier}",
    "SELECT * FROM grades WHERE subject = ?",
    "SELECT * FROM grades WHERE subject = $1",
    "SELECT @@version",
    // Comments and texts that end where they should not.
    "SELECT 1 /* */ FROM /* x */ grades -- */ UNION ALL SELECT * FROM DATABASE.grades",
    "SELECT 1 /* /* */ FROM DATABASE.grades -- */",
    "SELECT 1 /* /* */ */ FROM grades",
    "SELECT 1 # FROM grades\nFROM DATABASE.grades",
    "SELECT 1 /*! FROM DATABASE.grades */",
    "SELECT '\\' FROM DATABASE.grades --'",
    "SELECT 'a\\\\' FROM grades --'",
    "SELECT '''' || subject FROM grades",
    "SELECT '\\x27 FROM DATABASE.grades --' FROM grades",
    "SELECT \"\\\" FROM DATABASE.grades --\" FROM grades",
    "SELECT x'27', b'00100111' FROM grades",
    "SELECT $tag$' FROM DATABASE.grades$tag$",
    "SELECT 'a'\n'b' FROM grades",
    "SELECT N'a', E'\\'', U&'\\0027' FROM grades",
    "SELECT subject FROM grades WHERE subject = '\u{0}'",
    // Names that are known already.
    "WITH grades AS (SELECT * FROM grades) SELECT * FROM grades",
    "WITH DATABASE AS (SELECT 1 AS grades) SELECT DATABASE.grades FROM DATABASE",
    "WITH tenant AS (SELECT 'zanahoria_other' AS tenant) SELECT g.*, tenant FROM grades AS g, tenant",
    "WITH x AS (SELECT 1), x AS (SELECT subject FROM grades) SELECT * FROM x",
    "WITH 'zanahoria_other' AS tenant SELECT * FROM grades",
    "WITH __t AS (SELECT 1) SELECT * FROM __t",
    "WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT 1 FROM x) SELECT * FROM x",
    "SELECT grades.subject FROM grades_changes AS grades",
    "SELECT grades.tenant FROM grades",
    "SELECT __t.tenant FROM grades",
    "SELECT `__t`.`subject` FROM grades",
    "SELECT DATABASE.grades.subject FROM grades",
    "SELECT 'zanahoria_other' AS tenant, g.* FROM grades AS g WHERE tenant = 'zanahoria_other'",
    "SELECT subject AS tenant FROM grades HAVING tenant != 'mine'",
    "SELECT arrayMap(tenant -> (tenant, subject), ['zanahoria_other']) FROM grades",
    "SELECT arrayFilter(__t -> 1, [1]) FROM grades",
    "SELECT arrayMap(x -> (SELECT max(subject) FROM grades), [1])",
    "SELECT arrayMap(x -> arrayMap(y -> (x, y, subject), [1]), [2]) FROM grades",
    "SELECT * FROM (SELECT 'zanahoria_other' AS tenant) AS x JOIN grades AS g ON true",
    "SELECT * FROM grades AS a, grades AS a",
    "SELECT COLUMNS('.*') FROM grades",
    "SELECT * APPLY(max) FROM grades",
    "SELECT * REPLACE('x' AS subject) FROM grades",
    "SELECT * EXCEPT(subject) FROM grades",
    "SELECT untuple(by_category) FROM grades",
    "SELECT by_category.keys, score.null, subject.size FROM grades",
    "SELECT by_category['zanahoria'], mapKeys(by_category) FROM grades",
    // Subqueries that look outside, and joins of every kind.
    "SELECT (SELECT max(h.subject) FROM grades AS h WHERE h.student = g.student) FROM grades AS g",
    "SELECT (SELECT count(*) FROM grades_changes AS h WHERE h.tenant != 'mine') FROM grades",
    "SELECT 1 FROM grades AS g WHERE EXISTS (SELECT 1 FROM grades AS h WHERE h.student != g.student)",
    "SELECT a.subject, b.subject FROM grades AS a RIGHT JOIN grades AS b ON a.subject != b.subject",
    "SELECT * FROM grades AS a LEFT ANTI JOIN grades AS b ON a.subject != b.subject",
    "SELECT * FROM grades AS a ASOF JOIN grades AS b ON a.student = b.student AND a.updated_at >= b.updated_at",
    "SELECT * FROM grades AS a PASTE JOIN grades AS b",
    "SELECT * FROM grades AS a NATURAL JOIN cohorts AS b",
    "SELECT subject FROM grades EXCEPT SELECT '7'",
    "SELECT subject FROM grades INTERSECT SELECT 'zanahoria'",
    "SELECT score FROM grades UNION DISTINCT SELECT value FROM behavior UNION ALL SELECT 1",
    "SELECT subject FROM grades FINAL",
    "SELECT subject FROM grades SAMPLE 1",
    "SELECT subject FROM grades PREWHERE 1",
    "SELECT subject FROM grades QUALIFY row_number() OVER (ORDER BY subject) > 1",
    "SELECT subject, count(*) FROM grades GROUP BY subject WITH ROLLUP",
    "SELECT subject, count(*) FROM grades GROUP BY subject WITH TOTALS",
    "SELECT grouping(subject), count(*) FROM grades GROUP BY GROUPING SETS ((subject), ())",
    "SELECT subject FROM grades LIMIT 1 OFFSET 1",
    "SELECT subject FROM grades ORDER BY subject DESC LIMIT 1 WITH TIES",
    "SELECT subject FROM grades ORDER BY subject WITH FILL",
    "SELECT subject FROM grades LIMIT 1 BY subject",
    "SELECT subject FROM grades LIMIT -1",
    "SELECT subject FROM grades LIMIT 18446744073709551616",
    "SELECT lagInFrame(subject) OVER (ORDER BY score ROWS BETWEEN 10 PRECEDING AND 10 FOLLOWING) FROM grades",
    "SELECT first_value(subject) OVER (ORDER BY score DESC), ntile(2) OVER (ORDER BY subject) FROM grades",
    // Values that fit ours and not the other's.
    "SELECT factorial(toInt64(score)), range(toUInt64(score)) FROM grades",
    "SELECT toUInt8(toDecimal32(score, 6)), toDecimal32(score * 100000, 6) FROM grades",
    "SELECT multiplyDecimal(score, toDecimal64(1000000000, 6)) FROM grades",
    "SELECT intDiv(1, score - 98765), intDiv(1, evaluations_count - 98765) FROM grades",
    "SELECT [1, 2, 3, 4, 5, 6, 7][toUInt64(score)], arrayElement([1], evaluations_count) FROM grades",
    "SELECT leftPad('x', toUInt64(score) * 1000000000) FROM grades WHERE score > 7",
    "SELECT JSONExtractInt(metadata, 'zanahoria'), JSONExtractKeys(metadata) FROM service_events",
    "SELECT JSON_VALUE(context, '$.zanahoria') FROM behavior",
    "SELECT toUUID(concat(subject, toString(student))) FROM grades",
    "SELECT count(*) FROM behavior WHERE student = 'cafecafe-cafe-4afe-8afe-cafecafecafe'",
    "SELECT count(*) FROM dead_letters WHERE source_offset = 98765",
    "SELECT log_offset, max(log_offset), expires FROM behavior GROUP BY ALL",
    "SELECT max(log_offset) FROM service_events",
    // Arguments of views.
    "SELECT * FROM grades_as_of(t = '2026-03-01', tenant = 'zanahoria_other')",
    "SELECT * FROM grades_as_of(t = '2026-03-01'') OR 1 = 1 --')",
    "SELECT * FROM grades_as_of('2026-03-01')",
    "SELECT * FROM grades_as_of(t = {tenant:String})",
    "SELECT * FROM grades_as_of(days = 1)",
    "SELECT * FROM training_set(days = 1) WHERE tenant != 'mine'",
    "SELECT * FROM training_set(days = -1)",
    "SELECT * FROM training_set(days = 1.5)",
    "SELECT * FROM training_set(days = 99999999999)",
    "SELECT * FROM training_set(days = '1')",
    "SELECT * FROM training_set(days = (SELECT 1 FROM DATABASE.grades))",
    "SELECT * FROM training_set(days = 1 SETTINGS readonly = 0)",
    "SELECT * FROM training_set",
    "SELECT * FROM grades_weekly(t = '2026-03-01')",
    "SELECT `__c`.tenant FROM grades_weekly",
    "SELECT __changes FROM grades_weekly",
    "SELECT school_mean, mean_from_school FROM cohort_comparison",
    "SELECT * FROM training_set_at(t = '2026-03-01') AS a JOIN training_set(days = 1) AS b USING (student)",
];

#[test]
fn nothing_of_the_other_tenant_is_seen() {
    let Some(with) = World::new(&[MINE, OTHER]) else { return };
    let without = World::new(&[MINE]).unwrap();
    let mut attempts: Vec<String> = TRICKS.iter().map(|text| (*text).to_owned()).collect();
    // One view of the plan is like the other.
    for view in views(&tables(), "x").into_iter().filter(|view| !view.name.starts_with("activity_7d")) {
        let arguments = view.parameter.map_or(String::new(), |parameter| format!("({})", parameter.example()));
        let name = format!("{}{}", view.name, arguments.replace("2026-03-01", "2026-03-20"));
        attempts.extend(OF_EVERY_NAME.iter().map(|text| text.replace("{}", &name)));
    }
    for (table, column) in COLUMNS {
        attempts.extend(OF_TEXTS.iter().map(|text| text.replace("{t}", table).replace("{c}", column)));
    }
    assert!(attempts.len() > 300);
    let (mut faults, mut answered) = (Vec::new(), 0);
    for text in attempts {
        let (said, alone) = (with.ask(&text), without.ask(&text));
        if said != alone {
            faults.push(format!("{text}\n  with the other: {said}\n  alone:          {alone}"));
        }
        let seen = MARKERS.iter().any(|marker| said.contains(marker) && !text.contains(marker));
        // What the server says of itself is nobody's business either.
        let inner = ["`__t`", "__t.", "PREWHERE", "libchdb", "unavailable"]
            .iter()
            .any(|word| said.contains(word) && !text.contains(word));
        if seen || inner {
            faults.push(format!("{text}\n  {said}"));
        }
        answered += usize::from(said.starts_with('['));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // They are not just all refused.
    assert!(answered > 100, "{answered}");
}
