//! What passes, with the text that is written; and everything that we could think of that must not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use super::{Catalog, Fenced, Refusal, fence};
use crate::tables::Tables;
use aulaflow_plan::{Source, compile, parse_runtime};

const VIEWS: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id', dedupe_horizon = '30 days');
CREATE MATERIALIZED VIEW often WITH (analytics = 'changes') AS SELECT student_id, count(*) AS n, sum(value) AS points
  FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day');
";

fn catalog() -> Catalog {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", ""));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let plan = compile(file, &[], &[Source::new("test.sql", VIEWS)]).unwrap_or_else(|d| panic!("{d:?}"));
    Catalog::of(&Tables::of(&plan).unwrap(), "aula")
}

/// The written text, with the name of each relation where its subquery is.
fn written(text: &str) -> Result<String, Refusal> {
    let catalog = catalog();
    let Fenced { mut text, relations } = fence(text, &catalog)?;
    for name in &relations {
        text = text.replace(&catalog.get(name).unwrap().1.subquery, &format!("<{name}>"));
    }
    Ok(text)
}

#[test]
fn tables_are_the_tenants_part_of_them() {
    let catalog = catalog();
    let all: Vec<_> = catalog.names().map(|(name, _)| name).collect();
    let expected = [
        "behavior",
        "cohort_comparison",
        "cohorts",
        "cohorts_as_of",
        "cohorts_changes",
        "dead_letters",
        "grades",
        "grades_as_of",
        "grades_changes",
        "grades_weekly",
        "often",
        "often_as_of",
        "often_changes",
        "service_events",
        "training_set",
        "training_set_at",
    ];
    assert_eq!(all, expected);
    for (name, shown) in catalog.names() {
        assert!(
            !shown.columns.iter().any(|column| ["tenant", "version", "writer", "block"].contains(&column.as_str())),
            "{name}"
        );
        // Each table is under its own condition.
        assert_eq!(shown.subquery.matches("PREWHERE `__t`.`tenant` = {tenant:String}").count(), shown.tables, "{name}");
        assert_eq!(shown.subquery.matches("`aula`.").count(), shown.tables, "{name}");
    }
    assert_eq!(
        fence("SELECT * FROM often", &catalog).unwrap().text,
        "SELECT * FROM (SELECT `__t`.`student` AS `student`, `__t`.`n` AS `n`, `__t`.`points` AS `points`, `__t`.`updated_at` AS \
         `updated_at` FROM `aula`.`often` AS `__t` FINAL PREWHERE `__t`.`tenant` = {tenant:String}) AS `often`"
    );
    assert_eq!(
        fence("SELECT n FROM often_as_of(t = '2026-03-01') x", &catalog).unwrap().text,
        "SELECT `n` FROM (SELECT `__r`.`student` AS `student`, `__r`.`n` AS `n`, `__r`.`points` AS `points`, `__r`.`updated_at` AS \
         `updated_at` FROM (SELECT `__t`.`tenant` AS `tenant`, `__t`.`student` AS `student`, `__t`.`n` AS `n`, `__t`.`points` AS \
         `points`, `__t`.`updated_at` AS `updated_at`, `__t`.`diff` AS `__diff` FROM `aula`.`often_changes` AS `__t` PREWHERE \
         `__t`.`tenant` = {tenant:String} WHERE `__t`.`clock` <= fromUnixTimestamp64Milli(1772323200000, 'UTC') ORDER BY \
         `__t`.`tenant` DESC, `__t`.`student` DESC, `__t`.`version` DESC, `__t`.`diff` DESC LIMIT 1 BY `__t`.`tenant`, \
         `__t`.`student`) AS `__r` WHERE `__r`.`__diff` = 1) AS `x`"
    );
    let filters = [
        "behavior",
        "cohorts",
        "cohorts_changes",
        "dead_letters",
        "grades",
        "grades_changes",
        "often",
        "often_changes",
        "service_events",
    ];
    let filters = filters.map(|table| format!(r"'aula.{table}': '`tenant` = \'it\\\'s\''"));
    assert_eq!(catalog.filters("it's"), format!("{{{}}}", filters.join(", ")));
}

#[test]
fn queries_that_pass() {
    let table = [
        ("select 1", "SELECT 1"),
        ("SELECT 1;", "SELECT 1"),
        ("SELECT subject FROM grades", "SELECT `subject` FROM <grades> AS `grades`"),
        ("SELECT g.subject, g.* FROM grades AS g", "SELECT `g`.`subject`, `g`.* FROM <grades> AS `g`"),
        (
            "SELECT * EXCEPT (student, period) FROM \"grades\"",
            "SELECT * EXCEPT (`student`, `period`) FROM <grades> AS `grades`",
        ),
        ("SELECT * FROM `grades` -- all of them", "SELECT * FROM <grades> AS `grades`"),
        ("SELECT/* x */subject/**/FROM grades", "SELECT `subject` FROM <grades> AS `grades`"),
        (
            "SELECT subject, COUNT(*) AS n FROM grades WHERE passing AND score >= 50.5 GROUP BY subject HAVING n > 3 ORDER BY n DESC NULLS LAST, 1 LIMIT 10 OFFSET 2",
            "SELECT `subject`, count(*) AS `n` FROM <grades> AS `grades` WHERE `passing` AND `score` >= 50.5 GROUP BY `subject` HAVING `n` > 3 ORDER BY `n` DESC NULLS LAST, 1 LIMIT 10 OFFSET 2",
        ),
        (
            "SELECT 1 FROM grades WHERE a = 1 OR b = 2 OR c = 3",
            "SELECT 1 FROM <grades> AS `grades` WHERE `a` = 1 OR `b` = 2 OR `c` = 3",
        ),
        // A text stays one, whatever its escapes are in the one and the other dialect.
        (r"SELECT 'it''s', 'a\'b', 'c\\', '\\\'; DROP'", r"SELECT 'it\'s', 'a\'b', 'c\\', '\\\'; DROP'"),
        ("SELECT '{tenant:String}', '-- no comment', '/*'", "SELECT '{tenant:String}', '-- no comment', '/*'"),
        // A named subquery has the name of a table: within it the name is the table's, behind it the subquery's.
        (
            "WITH grades AS (SELECT * FROM grades) SELECT * FROM grades",
            "WITH `__1` AS (SELECT * FROM <grades> AS `grades`) SELECT * FROM `__1` AS `grades`",
        ),
        (
            "WITH a AS (SELECT n FROM often), b AS (SELECT n FROM a) SELECT a.n FROM a JOIN b USING (n)",
            "WITH `__1` AS (SELECT `n` FROM <often> AS `often`), `__2` AS (SELECT `n` FROM `__1` AS `a`) SELECT `a`.`n` FROM \
             `__1` AS `a` INNER JOIN `__2` AS `b` USING (`n`)",
        ),
        // A name that was given within a subquery is not known outside.
        (
            "SELECT * FROM (WITH often AS (SELECT 1) SELECT * FROM often) x, often",
            "SELECT * FROM (WITH `__1` AS (SELECT 1) SELECT * FROM `__1` AS `often`) AS `x`, <often> AS `often`",
        ),
        ("(SELECT 1) UNION (SELECT 2) EXCEPT SELECT 3", "(SELECT 1) UNION DISTINCT (SELECT 2) EXCEPT SELECT 3"),
        (
            "SELECT * FROM grades g LEFT JOIN often AS o ON g.student = o.student WHERE o.n IS NULL",
            "SELECT * FROM <grades> AS `g` LEFT JOIN <often> AS `o` ON `g`.`student` = `o`.`student` WHERE `o`.`n` IS NULL",
        ),
        (
            "SELECT * FROM grades WHERE student IN (SELECT student FROM often) AND NOT EXISTS (SELECT 1 FROM cohorts)",
            "SELECT * FROM <grades> AS `grades` WHERE `student` IN (SELECT `student` FROM <often> AS `often`) AND NOT EXISTS (SELECT 1 FROM <cohorts> AS `cohorts`)",
        ),
        // What a name alone behind IN would be to ClickHouse, is a table.
        (
            "SELECT 1 FROM grades WHERE subject IN (often) AND period IN ('a', 'b') AND (subject, period) IN (('a', 'b')) AND score IN [1]",
            "SELECT 1 FROM <grades> AS `grades` WHERE `subject` IN tuple(`often`) AND `period` IN ('a', 'b') AND (`subject`, `period`) IN (('a', 'b')) AND `score` IN [1]",
        ),
        (
            "SELECT (SELECT max(score) FROM grades) - avg(score) FROM grades",
            "SELECT (SELECT max(`score`) FROM <grades> AS `grades`) - avg(`score`) FROM <grades> AS `grades`",
        ),
        (
            "SELECT QUANTILE(0.5)(score), sumIf(1, passing) FROM grades",
            "SELECT quantile(0.5)(`score`), sumIf(1, `passing`) FROM <grades> AS `grades`",
        ),
        (
            "SELECT count(DISTINCT student), uniq(student) FROM grades",
            "SELECT count(DISTINCT `student`), uniq(`student`) FROM <grades> AS `grades`",
        ),
        // A name of two parts is a column's, and within tuple() ClickHouse takes it for nothing else.
        (
            "SELECT 1 FROM grades WHERE student IN aula.grades",
            "SELECT 1 FROM <grades> AS `grades` WHERE `student` IN tuple(`aula`.`grades`)",
        ),
        (
            "SELECT row_number() OVER (PARTITION BY subject ORDER BY score DESC), sum(score) OVER w FROM grades WINDOW w AS (ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
            "SELECT row_number() OVER ( PARTITION BY `subject` ORDER BY `score` DESC), sum(`score`) OVER `w` FROM <grades> AS `grades` \
             WINDOW `w` AS ( ORDER BY `score` ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
        ),
        (
            "SELECT arrayMap(x -> x * 2, histogram), arrayFilter((x, y) -> y > 1, a, b) FROM cohorts",
            "SELECT arrayMap((`x`) -> `x` * 2, `histogram`), arrayFilter((`x`, `y`) -> `y` > 1, `a`, `b`) FROM <cohorts> AS `cohorts`",
        ),
        (
            "SELECT h FROM cohorts ARRAY JOIN histogram AS h",
            "SELECT `h` FROM <cohorts> AS `cohorts` ARRAY JOIN `histogram` AS `h`",
        ),
        (
            "SELECT h FROM cohorts c LEFT ARRAY JOIN c.histogram AS h",
            "SELECT `h` FROM <cohorts> AS `c` LEFT ARRAY JOIN `c`.`histogram` AS `h`",
        ),
        (
            "SELECT by_category['exam'].value, histogram[1] FROM grades",
            "SELECT tupleElement(arrayElement(`by_category`, 'exam'), 'value'), arrayElement(`histogram`, 1) FROM <grades> AS `grades`",
        ),
        (
            "SELECT CASE WHEN passing THEN 'y' ELSE 'n' END, if(passing, 1, 0), CAST(score AS Float64), score::Int32 FROM grades",
            "SELECT CASE WHEN `passing` THEN 'y' ELSE 'n' END, if(`passing`, 1, 0), CAST(`score` AS Float64), `score`::Int32 FROM <grades> AS `grades`",
        ),
        (
            "SELECT toStartOfWeek(clock), sum(diff) FROM grades_changes WHERE clock >= now() - INTERVAL 7 DAY GROUP BY ALL",
            "SELECT toStartOfWeek(`clock`), sum(`diff`) FROM <grades_changes> AS `grades_changes` WHERE `clock` >= now() - INTERVAL 7 DAY GROUP BY ALL",
        ),
        (
            "SELECT DATE '2026-01-01', EXTRACT(YEAR FROM clock) FROM grades_changes",
            "SELECT toDate('2026-01-01'), EXTRACT(YEAR FROM `clock`) FROM <grades_changes> AS `grades_changes`",
        ),
        (
            "SELECT score BETWEEN 1 AND 2, NOT passing, -score, subject LIKE 'm%', subject NOT ILIKE '_x' FROM grades",
            "SELECT `score` BETWEEN 1 AND 2, NOT `passing`, -`score`, `subject` LIKE 'm%', `subject` NOT ILIKE '_x' FROM <grades> AS `grades`",
        ),
        (
            "SELECT subject FROM grades ORDER BY score LIMIT 1 BY subject",
            "SELECT `subject` FROM <grades> AS `grades` ORDER BY `score` LIMIT 1 BY `subject`",
        ),
        (
            "SELECT subject FROM grades GROUP BY subject, period WITH ROLLUP",
            "SELECT `subject` FROM <grades> AS `grades` GROUP BY `subject`, `period` WITH ROLLUP",
        ),
        (
            "SELECT DISTINCT subject || '-' || period FROM grades QUALIFY rank() OVER () = 1",
            "SELECT DISTINCT `subject` || '-' || `period` FROM <grades> AS `grades` QUALIFY rank() OVER () = 1",
        ),
        (
            "SELECT week FROM grades_weekly LIMIT 3, 5",
            "SELECT `week` FROM <grades_weekly> AS `grades_weekly` LIMIT 5 OFFSET 3",
        ),
        (
            "SELECT \"número de alumnos\" FROM (SELECT 1 AS `número de alumnos`)",
            "SELECT `número de alumnos` FROM (SELECT 1 AS `número de alumnos`)",
        ),
        (
            "SELECT trim(subject), substring(subject FROM 2 FOR 3), ceil(score), floor(score) FROM grades",
            "SELECT trimBoth(`subject`), substring(`subject`, 2, 3), ceil(`score`), floor(`score`) FROM <grades> AS `grades`",
        ),
        (
            "SELECT first_value(score) IGNORE NULLS OVER (ORDER BY subject) FROM grades",
            "SELECT first_value(`score`) IGNORE NULLS OVER ( ORDER BY `subject`) FROM <grades> AS `grades`",
        ),
        ("SELECT \"FROM\", `aula` FROM grades AS `SETTINGS`", "SELECT `FROM`, `aula` FROM <grades> AS `SETTINGS`"),
        ("SELECT a.tenant FROM grades a", "SELECT `a`.`tenant` FROM <grades> AS `a`"),
    ];
    let mut faults = Vec::new();
    for (text, expected) in table {
        match written(text) {
            Ok(found) if found == expected => {}
            Ok(found) => faults.push(format!("{text}\n  expected {expected}\n  found    {found}")),
            Err(refusal) => faults.push(format!("{text}\n  refused: {refusal}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for text in [
        "grades_as_of(t = '2026-03-01T12:00:00Z')",
        "grades_as_of(t = '2026-03-01') AS g JOIN grades_as_of(t = '2026-04-01') AS h USING (student)",
    ] {
        fence(&format!("SELECT * FROM {text}"), &catalog()).unwrap();
    }
}

/// Attacks, and what is said of them (a part of it).
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn queries_that_are_refused() {
    let table = [
        // Other tables and databases.
        ("SELECT * FROM aula.grades", "name alone"),
        ("SELECT * FROM `aula`.`grades`", "name alone"),
        ("SELECT * FROM \"aula\".\"grades\"", "name alone"),
        ("SELECT * FROM aula . grades", "name alone"),
        ("SELECT * FROM system.tables", "name alone"),
        ("SELECT * FROM system.query_log", "name alone"),
        ("SELECT * FROM information_schema.tables", "name alone"),
        ("SELECT * FROM `aula.grades`", "no table"),
        ("SELECT * FROM writers", "no table"),
        ("SELECT * FROM migrations", "no table"),
        ("SELECT * FROM one", "no table"),
        ("SELECT * FROM Grades", "did you mean \"grades\""),
        ("SELECT * FROM grades, system.tables", "name alone"),
        ("SELECT * FROM grades JOIN aula.grades AS b ON 1", "name alone"),
        ("SELECT * FROM __1", "two underscores"),
        ("WITH __1 AS (SELECT 1) SELECT 1", "two underscores"),
        ("SELECT * FROM grades AS __t", "two underscores"),
        ("SELECT __t.tenant FROM grades", "two underscores"),
        ("WITH x AS (SELECT 1) SELECT * FROM (SELECT * FROM y)", "no table"),
        ("SELECT * FROM (WITH x AS (SELECT 1) SELECT 1) z JOIN x ON 1", "no table"),
        ("WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x", "RECURSIVE"),
        ("WITH x (a, b) AS (SELECT 1, 2) SELECT * FROM x", "names of columns"),
        ("WITH x AS (SELECT * FROM x) SELECT * FROM x", "no table"),
        ("WITH 'other' AS tenant SELECT * FROM grades", ""),
        ("WITH (SELECT 'other') AS tenant SELECT * FROM grades", ""),
        ("SELECT aula.grades.score FROM grades", "at most one name"),
        ("SELECT aula.grades.* FROM grades", "one name"),
        // Table functions.
        ("SELECT * FROM numbers(10)", "table functions"),
        ("SELECT * FROM merge('aula', '.*')", "table functions"),
        ("SELECT * FROM merge(aula, '.*')", "table functions"),
        ("SELECT * FROM remote('127.0.0.1', aula.grades)", "table functions"),
        ("SELECT * FROM cluster('default', aula, grades)", "table functions"),
        ("SELECT * FROM url('http://169.254.169.254/', CSV, 'a String')", "table functions"),
        ("SELECT * FROM file('/etc/passwd', LineAsString)", "table functions"),
        ("SELECT * FROM s3('http://x/y', CSV)", "table functions"),
        ("SELECT * FROM dictionary('d')", "table functions"),
        ("SELECT * FROM view(SELECT * FROM aula.grades)", ""),
        ("SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))", ""),
        ("SELECT * FROM executable('x', CSV, 'a String')", "table functions"),
        ("SELECT * FROM format(CSV, '1')", "table functions"),
        ("SELECT * FROM values('a Int8', 1)", ""),
        ("SELECT * FROM grades(1)", "table functions"),
        ("SELECT * FROM grades(t = '2026-01-01')", "table functions"),
        ("SELECT * FROM TABLE(grades)", ""),
        ("SELECT * FROM LATERAL numbers(1)", ""),
        ("SELECT * FROM (SELECT * FROM (SELECT * FROM merge('aula', '.*')))", "table functions"),
        ("SELECT 1 UNION ALL SELECT * FROM numbers(1)", "table functions"),
        ("SELECT 1 UNION ALL (SELECT 1 UNION ALL SELECT * FROM system.one)", "name alone"),
        ("WITH x AS (SELECT * FROM system.one) SELECT 1", "name alone"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM system.one)", "name alone"),
        ("SELECT 1 WHERE 1 IN (SELECT 1 FROM system.one)", "name alone"),
        ("SELECT (SELECT 1 FROM system.one)", "name alone"),
        ("SELECT sum((SELECT 1 FROM system.one)) OVER ()", "name alone"),
        ("SELECT arrayMap(x -> (SELECT 1 FROM system.one), [1])", "name alone"),
        ("SELECT 1 ORDER BY (SELECT 1 FROM system.one)", "name alone"),
        ("SELECT 1 GROUP BY (SELECT 1 FROM system.one)", "name alone"),
        ("SELECT 1 HAVING (SELECT 1 FROM system.one) = 1", "name alone"),
        ("SELECT * FROM grades g JOIN grades h ON g.student IN (SELECT student FROM aula.grades)", "name alone"),
        ("SELECT CASE WHEN 1 THEN (SELECT 1 FROM system.one) END", "name alone"),
        ("SELECT row_number() OVER (ORDER BY (SELECT 1 FROM system.one))", "name alone"),
        ("SELECT row_number() OVER (PARTITION BY (SELECT 1 FROM aula.grades))", "name alone"),
        ("SELECT sum(1) OVER w FROM grades WINDOW w AS (ORDER BY (SELECT 1 FROM system.one))", "name alone"),
        ("SELECT [(SELECT 1 FROM system.one)]", "name alone"),
        ("SELECT 1 LIMIT (SELECT 1 FROM system.one)", "take a number"),
        ("SELECT INTERVAL (SELECT 1 FROM system.one) DAY", "name alone"),
        ("SELECT sumIf(1, (SELECT 1 FROM system.one) = 1)", "name alone"),
        ("SELECT 1 FROM grades WHERE student IN (aula.grades.x)", "at most one name"),
        ("SELECT 1 FROM grades WHERE student IN numbers(10)", ""),
        ("SELECT 1 FROM grades WHERE student IN (numbers(10))", "numbers is not allowed"),
        ("SELECT 1 FROM grades WHERE student = ANY (SELECT 1)", "not allowed"),
        ("SELECT 1 FROM cohorts ARRAY JOIN (SELECT [1] FROM system.one) AS x", ""),
        ("SELECT 1 FROM cohorts ARRAY JOIN a.b.c AS x", "takes a column"),
        ("SELECT 1 FROM cohorts ARRAY JOIN merge('aula', '.*') AS x", ""),
        ("SELECT 1 FROM cohorts GLOBAL JOIN grades ON 1", ""),
        // Arguments of what takes an instant.
        ("SELECT * FROM grades_as_of", "needs an instant"),
        ("SELECT * FROM grades_as_of()", "needs an instant"),
        ("SELECT * FROM grades_as_of(t = now())", "needs an instant"),
        ("SELECT * FROM grades_as_of(t = '2026-01-01', u = '1')", "needs an instant"),
        ("SELECT * FROM grades_as_of(t = '2026-01-01'') OR 1 = 1 --')", "is not a day"),
        ("SELECT * FROM grades_as_of(t = (SELECT 1))", "needs an instant"),
        ("SELECT * FROM grades_as_of(t = '2026-13-01')", "is not a day"),
        ("WITH grades_as_of AS (SELECT 1) SELECT * FROM grades_as_of(t = '2026-01-01')", "takes no arguments"),
        // Functions.
        ("SELECT dictGet('d', 'a', 1)", "dictGet is not allowed"),
        ("SELECT DICTGETSTRING('d', 'a', 1)", "is not allowed"),
        ("SELECT joinGet('aula.grades', 'score', 1)", "joinGet is not allowed"),
        ("SELECT getSetting('max_threads')", "getSetting is not allowed"),
        ("SELECT currentDatabase()", "currentDatabase is not allowed"),
        ("SELECT currentUser(), hostName()", "currentUser is not allowed"),
        ("SELECT file('/etc/passwd')", "file is not allowed"),
        ("SELECT version()", "version is not allowed"),
        ("SELECT sleep(3)", "sleep is not allowed"),
        ("SELECT throwIf(score > 1) FROM grades", "throwIf is not allowed"),
        ("SELECT hasColumnInTable('aula', 'grades', 'x')", "is not allowed"),
        ("SELECT arrayReduce('sum', [1])", "is not allowed"),
        ("SELECT initializeAggregation('sum', 1)", "is not allowed"),
        ("SELECT evalMLMethod(1, 2)", "is not allowed"),
        ("SELECT sumState(score) FROM grades", "is not allowed"),
        ("SELECT arrayMap(x -> file(x), ['/etc/passwd'])", "file is not allowed"),
        ("SELECT `file`('/etc/passwd')", "file is not allowed"),
        ("SELECT \"dictGet\"('d', 'a', 1)", "is not allowed"),
        ("SELECT system.file('/etc/passwd')", "one word"),
        ("SELECT {fn file('/etc/passwd')}", ""),
        ("SELECT COLUMNS('.*') FROM grades", "is not allowed"),
        ("SELECT tokem('x')", "did you mean"),
        ("SELECT toYear(*) FROM grades", "without `*`"),
        ("SELECT toYear(x) OVER () FROM grades", "without OVER"),
        ("SELECT rank() FROM grades", "needs OVER"),
        ("SELECT CAST(1 AS AggregateFunction(sum, Int8))", "is not allowed in a CAST"),
        ("SELECT CAST(1 AS Enum8('a' = 1))", ""),
        // Settings, formats, files.
        ("SELECT * FROM grades SETTINGS max_threads = 1", "SETTINGS"),
        ("SELECT * FROM grades SETTINGS additional_table_filters = {'a': 'b'}", ""),
        ("SELECT * FROM (SELECT 1 FROM grades SETTINGS readonly = 0)", "SETTINGS"),
        ("SELECT 1 UNION ALL SELECT 2 FROM grades SETTINGS readonly = 0", "SETTINGS"),
        ("SELECT * FROM grades FORMAT JSON", "FORMAT"),
        ("SELECT * FROM grades INTO OUTFILE '/tmp/x'", ""),
        ("SELECT * INTO x FROM grades", "INTO"),
        ("SELECT * FROM grades PREWHERE tenant = 'other'", "PREWHERE"),
        ("SELECT * FROM grades FINAL", "FINAL is not needed"),
        ("SELECT * FROM grades SAMPLE 0.1", ""),
        ("SELECT * FROM grades FOR UPDATE", ""),
        ("SELECT {tenant:String}", ""),
        ("SELECT * FROM {t:Identifier}", ""),
        ("SELECT ?", ""),
        ("SELECT $1", ""),
        ("SELECT :x", ""),
        ("SELECT @@version", ""),
        ("SELECT subject FROM grades UNION ALL SELECT subject FROM cohorts ORDER BY 1", "behind several SELECTs"),
        // Signs that ClickHouse reads in another way.
        ("SELECT 7 // 2", "`//` begins a comment"),
        ("SELECT 7 //* x */ 2", "`//` begins a comment"),
        ("SELECT 'a' ||/* x */ 'b'", "`||/` is not read"),
        // More than a SELECT.
        ("SELECT 1; SELECT 2", "one query"),
        ("SELECT 1; DROP TABLE grades", "one query"),
        ("SELECT 1;; SELECT 2", "one query"),
        ("DROP TABLE grades", "only SELECT"),
        ("INSERT INTO grades SELECT * FROM grades", "only SELECT"),
        ("ALTER TABLE grades DELETE WHERE 1", ""),
        ("SET max_threads = 1", ""),
        ("SHOW TABLES FROM system", "no other databases"),
        ("EXPLAIN SELECT 1", "only SELECT"),
        ("DESCRIBE TABLE system.tables", "no other databases"),
        ("SYSTEM SHUTDOWN", ""),
        ("KILL QUERY WHERE 1", ""),
        ("VALUES (1)", ""),
        ("TABLE grades", ""),
        ("FROM grades SELECT *", ""),
        ("FROM grades", ""),
        ("", "send a SELECT"),
        (" ; -- nothing", "one query"),
        ("/* SELECT 1 */", "send a SELECT"),
        ("SELECT /* * FROM grades", ""),
        ("SELECT 'a", ""),
        ("SELECT `a", ""),
        // Names that would need an escape.
        ("SELECT 1 AS `a``b`", "may not have"),
        ("SELECT 1 AS `a\\`", "may not have"),
        ("SELECT 1 AS \"a\"\"b\"", "may not have"),
        ("SELECT 1 AS \"a{x:String}\"", "may not have"),
        ("SELECT 1 AS \"\"", "empty"),
        ("SELECT * FROM grades AS `g`, (SELECT 1) AS `x\ny`", "may not have"),
    ];
    let mut faults = Vec::new();
    for (text, said) in table {
        match fence(text, &catalog()) {
            Ok(fenced) => faults.push(format!("{text}\n  passed as {}", fenced.text)),
            Err(refusal) if refusal.to_string().contains(said) => {}
            Err(refusal) => faults.push(format!("{text}\n  refused, but not by {said:?}: {refusal}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn places_are_said() {
    let refusal = fence("SELECT 1,\n  dictGet('d', 'a', 1)", &catalog()).unwrap_err();
    assert_eq!(refusal.to_string(), "line 2, column 3: the function dictGet is not allowed");
    let refusal = fence("SELECT *\nFROM system.tables", &catalog()).unwrap_err();
    assert_eq!(refusal.place, Some((2, 6)));
}

#[test]
fn depth_and_length_have_limits() {
    let refused = |text: String, said: &str| {
        let refusal = fence(&text, &catalog()).unwrap_err().to_string();
        assert!(refusal.contains(said), "{refusal}");
    };
    refused(format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)), "");
    refused(format!("SELECT {}1{}", "(".repeat(2_000), ")".repeat(2_000)), "nested too deeply");
    refused(format!("SELECT 1{}", " + 1".repeat(2_000)), "nested too deeply");
    refused(format!("SELECT {}1", "- ".repeat(2_000)), "nested too deeply");
    refused(format!("SELECT {}1{}", "[".repeat(500), "]".repeat(500)), "nested too deeply");
    refused(format!("SELECT {}", "(SELECT ".repeat(200) + "1" + &")".repeat(200)), "nested too deeply");
    refused(format!("SELECT {}1", "1, ".repeat(3_000)), "too long");
    refused(format!("SELECT '{}'", "x".repeat(40_000)), "bytes");
    refused(format!("SELECT 1 AS {}", "x".repeat(200)), "too long");
    refused(format!("SELECT a{}", "[1]".repeat(200)), "nested too deeply");
    // A chain that is long and not deep.
    let chain = format!("SELECT 1 FROM grades WHERE score = 0{}", " OR score = 1".repeat(500));
    assert_eq!(written(&chain).unwrap().matches(" OR ").count(), 500);
    // ClickHouse would put two to the thirtieth tables in.
    let mut text = "WITH a0 AS (SELECT 1 AS x FROM grades)".to_owned();
    for n in 1..=30 {
        text.push_str(&format!(", a{n} AS (SELECT 1 AS x FROM a{p} AS l, a{p} AS r)", p = n - 1));
    }
    refused(text + " SELECT 1 FROM a30", "reads more than");
    refused(format!("SELECT 1 FROM grades{}", ", grades".repeat(50)), "reads more than");
}

/// The second look, on texts that the writer would never write.
#[test]
fn the_second_look_trusts_nothing() {
    let catalog = catalog();
    let grades = &catalog.get("grades").unwrap().1.subquery;
    let read = ["grades"].into_iter().collect();
    let look = |text: &str| super::inspect::inspect(text, &catalog, &read).is_ok();
    assert!(look(&format!("SELECT `a` FROM {grades} AS `grades` WHERE (`a` IN tuple('x'))")));
    for bad in [
        "SELECT `a` FROM `aula`.`grades`",
        "SELECT `a` FROM `grades`",
        "SELECT `a` FROM grades",
        "SELECT `a` FROM numbers(1)",
        "SELECT file('x')",
        "SELECT 1; SELECT 2",
        "SELECT {tenant:String}",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 FORMAT `JSON`",
        "SELECT (1 IN `grades`)",
        "SELECT (1 IN numbers(3))",
        "SELECT 1 FROM (SELECT 1) AS `x` INNER JOIN `aula`.`grades` AS `y`",
        "SELECT @a",
        "SELECT 1 FROM 'x'",
        "INSERT INTO `x` SELECT 1",
    ] {
        assert!(!look(bad), "{bad}");
    }
    // A subquery whose condition was changed is not the one that is known.
    assert!(!look(&format!("SELECT `a` FROM {} AS `grades`", grades.replace("{tenant:String}", "'other'"))));
    assert!(!look(&format!("SELECT `a` FROM {} AS `grades`", grades.replace("PREWHERE", "WHERE 1 OR"))));
}

#[test]
fn patterns_of_like_are_those_of_clickhouse_and_take_no_time() {
    let fits = |name: &str, pattern: &str| super::parse::is_like(name, pattern);
    for (name, pattern, expected) in [
        ("grades", "grades", true),
        ("grades", "gr%", true),
        ("grades", "%es", true),
        ("grades", "g_ades", true),
        ("grades", "%a%e%", true),
        ("grades", "%a%a%", false),
        ("grades", "grade", false),
        ("a_b", r"a\_b", true),
        ("axb", r"a\_b", false),
        ("", "%", true),
        ("", "_", false),
    ] {
        assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
    }
    // As many ways to share the letters out as there are, and none fits.
    assert!(!fits(&"a".repeat(200), &format!("{}b", "%a".repeat(100))));
}
