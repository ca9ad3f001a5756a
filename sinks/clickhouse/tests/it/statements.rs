//! Generated statements: texts as analysts write them, with literals of any bytes, and with what the fence does not let through.

use crate::proxy::Random;

/// A statement, and what is known of it.
pub struct Statement {
    pub text: String,
    /// Its answer has an order.
    pub ordered: bool,
    /// What in it the fence may refuse, by the names that a refusal says.
    pub beyond: Vec<&'static str>,
}

/// Parts of a time that both know, and some that no database here does.
const PARTS: &[&str] = &[
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "DOW",
    "ISODOW",
    "DOY",
    "ISOYEAR",
    "EPOCH",
    "DECADE",
    "CENTURY",
    "MILLENNIUM",
    "dow",
    "isoyear",
    "century",
];
const UNITS: &[&str] = &["DAY", "HOUR", "MONTH", "WEEK", "YEAR", "MINUTE", "SECOND", "QUARTER", "day"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "10",
    "31",
    "255",
    "256",
    "65536",
    "1_000",
    "0x1F",
    "0xff",
    "1.5",
    "0.25",
    ".5",
    "2.",
    "1e3",
    "1.5e-2",
    "inf",
    "nan",
    "18446744073709551615",
    "9223372036854775808",
    "007",
    "NULL",
];
const DATES: &[&str] = &["2026-03-01", "2024-12-30", "2027-01-01", "1999-12-31", "2000-02-29", "2026-06-15"];
const CASTS: &[&str] = &[
    "Int32",
    "Int64",
    "UInt8",
    "Float64",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "String",
    "TEXT",
    "BIGINT",
    "SMALLINT",
    "TINYINT",
    "Decimal(18, 3)",
    "Nullable(Int64)",
    "Nullable(String)",
];
/// Whole statements that are beyond the fence.
const BEYOND: &[(&str, &str)] = &[
    ("SELECT DISTINCT ON (subject) subject, score FROM grades", "DISTINCT ON"),
    ("SELECT subject, count() FROM grades GROUP BY subject WITH TOTALS", "TOTALS"),
    ("SELECT subject, count() FROM grades GROUP BY GROUPING SETS ((subject), ())", "GROUPING SETS"),
    ("SELECT subject FROM grades SAMPLE 0.5", "SAMPLE"),
    ("SELECT subject FROM grades FINAL", "FINAL"),
    ("SELECT subject FROM grades PREWHERE passing", "PREWHERE"),
    ("SELECT subject FROM grades SETTINGS max_threads = 1", "SETTINGS"),
    ("SELECT subject FROM grades FORMAT JSON", "FORMAT"),
    (
        "SELECT a.subject FROM grades AS a ASOF JOIN grades AS b ON a.student = b.student AND a.updated_at >= b.updated_at",
        "ASOF",
    ),
    ("SELECT 1 = 1 ? 'a' : 'b'", "?"),
    ("SELECT subject FROM grades ORDER BY subject COLLATE 'es'", "COLLATE"),
    ("SELECT CAST(1, 'String')", "CAST"),
    ("SELECT subject FROM grades ORDER BY subject LIMIT 1 WITH TIES", "TIES"),
    ("SELECT subject FROM grades ORDER BY ALL", "ORDER BY ALL"),
    ("SELECT EXTRACT(JULIAN FROM toDate('2026-01-01'))", "JULIAN"),
    ("SELECT 1 UNION ALL SELECT 2 ORDER BY 1", "ORDER BY"),
    ("SELECT 1 UNION ALL SELECT 2 LIMIT 1", "LIMIT"),
    ("SELECT 7 DIV 2", "DIV"),
    ("SELECT 1 <=> 1", "<=>"),
    ("SELECT dictGet('d', 'a', 1)", "dictGet"),
    ("SELECT arrayReduce('sum', [1, 2])", "arrayReduce"),
    ("SELECT * REPLACE (1 AS score) FROM grades", "REPLACE"),
    ("SELECT COLUMNS('s') FROM grades", "COLUMNS"),
    ("SELECT 'a' LIKE 'b' ESCAPE 'c'", "ESCAPE"),
    ("SELECT number FROM numbers(3)", "numbers"),
    ("SELECT '\\xZZ'", "hexadecimal"),
    ("SELECT b'01000001'", "b'01000001'"),
    ("WITH 1 AS x SELECT x", "WITH 1 AS x"),
    ("SELECT now() AT TIME ZONE 'UTC'", "AT TIME ZONE"),
    ("SELECT {a:Int8}", "{"),
    ("SELECT 'a' RLIKE 'b'", "RLIKE"),
    ("SELECT trim('x' , 'x')", "TRIM"),
    ("SELECT TRIM(BOTH 'x' FROM 'xax')", "TRIM"),
    ("SELECT sumState(score) FROM grades", "sumState"),
    ("SELECT CAST(1 AS Enum8('a' = 1))", "Enum8"),
    ("SELECT 12abc", "12abc"),
];

struct Maker<'r> {
    random: &'r mut Random,
    /// Whether there are columns of `grades`.
    columns: bool,
}

/// The next statement.
pub fn statement(random: &mut Random) -> Statement {
    if random.below(12) == 0 {
        let at = random.below(BEYOND.len() as u64) as usize;
        let (text, name) = BEYOND[at];
        return Statement { text: text.to_owned(), ordered: false, beyond: vec![name] };
    }
    let mut maker = Maker { random, columns: false };
    let (text, ordered) = match maker.random.below(10) {
        0..=3 => (maker.scalars(), true),
        4 => maker.rows(),
        5 => (maker.aggregates(), true),
        6 => (maker.joined(), false),
        7 => (maker.windows(), false),
        8 => (maker.several(), false),
        _ => (maker.nested(), true),
    };
    Statement { text: maker.spaced(&text), ordered, beyond: vec![] }
}

impl Maker<'_> {
    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.random.below(of.len() as u64) as usize]
    }

    /// Comments and other blanks where `~` stands.
    fn spaced(&mut self, text: &str) -> String {
        let mut parts = text.split('~');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            out.push_str(self.pick(&[
                " ",
                " ",
                " ",
                "\n",
                "\t",
                " /* ' */ ",
                " -- it's \\\n",
                "  ",
                "\r\n",
                "/* /* \" */ */",
            ]));
            out.push_str(part);
        }
        out
    }

    /// A text of any characters, as somebody might write it.
    fn literal(&mut self) -> String {
        let mut raw = String::new();
        for _ in 0..self.below(7) {
            match self.below(9) {
                0 | 1 => {
                    raw.push_str(self.pick(&[
                        "a", "B", "xyz", "1", " ", "é", "ñ", "汉", "😀", "\u{300}", "%", "_", "\u{a0}", "\u{85}",
                    ]))
                }
                2 | 3 => {
                    raw.push('\\');
                    // Any character but what begins an escape of its own.
                    let c = char::from(32 + self.below(95) as u8);
                    raw.push(if c == 'x' || c == '~' { 'd' } else { c });
                }
                4 => raw.push_str(&format!("\\x{:02x}", self.below(256))),
                5 => {
                    raw.push_str(self.pick(&[
                        "''", "\\'", "\\\\", "\\\\\\'", "\\n", "\\0", "\\N", "\\é", "\\\n", "\\\u{7f}", "\\😀",
                    ]))
                }
                6 => raw.push_str(self.pick(&[
                    "{tenant:String}",
                    "--",
                    "/*",
                    "*/",
                    ";",
                    "\"",
                    "`",
                    "#",
                    "$$",
                    "?",
                    ":x",
                    "{{",
                    "@a",
                    "\\/",
                ])),
                7 => raw.push(char::from_u32(1 + self.below(31) as u32).unwrap()),
                _ => raw.push_str(self.pick(&["\\d+", "\\s", "\\.", "\\+", "\\_", "\\%", "\\w", "[a-z]", "\\bfoo"])),
            }
        }
        format!("'{raw}'")
    }

    /// A text.
    fn text(&mut self, depth: u64) -> String {
        if depth == 0 {
            return match self.below(8) {
                0 => format!("x'{:02x}{:02X}'", self.below(128), self.below(128)),
                1 => self.pick(&["$$a\\d'b$$", "$t$ it's $$ \\x41 $t$", "$$$$"]).to_owned(),
                2 if self.columns => {
                    self.pick(&["subject", "period", "rule_version", "\"subject\"", "`period`"]).to_owned()
                }
                3 => self.pick(&["'it''s'", "'a\\'b'", "'mat'", "''", "NULL"]).to_owned(),
                _ => self.literal(),
            };
        }
        let depth = depth - 1;
        match self.below(13) {
            0 => format!("upper({})", self.text(depth)),
            1 => format!("{}~||~{}", self.text(depth), self.text(depth)),
            2 => format!("concat({},~{})", self.text(depth), self.text(depth)),
            3 => format!("substring({}, {}, {})", self.text(depth), 1 + self.below(3), self.below(4)),
            4 => format!("replaceAll({}, {}, {})", self.text(depth), self.literal(), self.literal()),
            5 => format!("replaceRegexpAll({}, {}, '_')", self.text(depth), self.literal()),
            6 => format!("toString({})", self.number(depth)),
            7 => format!("arrayStringConcat(splitByRegexp({}, {}), '|')", self.literal(), self.text(depth)),
            8 => format!("if({}, {}, {})", self.condition(depth), self.text(depth), self.text(depth)),
            9 => format!("CASE~WHEN {} THEN {} ELSE {} END", self.condition(depth), self.text(depth), self.text(depth)),
            10 => format!("({})", self.text(depth)),
            11 => format!("{}::String", self.number(0)),
            _ => format!("SUBSTRING({} FROM 2 FOR 3)", self.text(depth)),
        }
    }

    fn number(&mut self, depth: u64) -> String {
        if depth == 0 {
            return match self.below(4) {
                0 if self.columns => {
                    self.pick(&["score", "evaluations_count", "row_version", "grades.row_version"]).to_owned()
                }
                1 => format!("-{}", self.pick(NUMBERS)),
                _ => self.pick(NUMBERS).to_owned(),
            };
        }
        let depth = depth - 1;
        match self.below(18) {
            // No parentheses: what binds closer is up to whoever reads it.
            0..=3 => {
                let op = self.pick(&["+", "-", "*", "/", "%", "-", "+"]);
                format!("{}~{op}~{}", self.number(depth), self.number(depth))
            }
            4 => format!("({})", self.number(depth)),
            5 => format!("-{}", self.number(depth).replacen('-', "- ", 1)),
            6 => format!("-({})", self.number(depth)),
            7 => format!("length({})", self.text(depth)),
            8 => format!("EXTRACT({} FROM {})", self.pick(PARTS), self.date(depth)),
            9 => format!("CAST({} AS {})", self.number(depth), self.pick(CASTS)),
            10 => format!("{}::{}", self.number(0), self.pick(CASTS)),
            11 => format!(
                "dateDiff('{}', {}, {})",
                self.pick(&["day", "month", "week"]),
                self.date(depth),
                self.date(depth)
            ),
            12 => format!("round({}, 2)", self.number(depth)),
            13 => format!("coalesce({}, {})", self.number(depth), self.number(depth)),
            14 => format!("arraySum({})", self.array(depth)),
            15 => format!(
                "CASE {} WHEN {} THEN {} ELSE {} END",
                self.number(0),
                self.number(0),
                self.number(depth),
                self.number(depth)
            ),
            16 => format!("position({}, {})", self.text(depth), self.literal()),
            _ => format!(
                "{}({})",
                self.pick(&["abs", "floor", "ceil", "sign", "toFloat64", "isNaN", "toInt64OrNull"]),
                self.number(depth)
            ),
        }
    }

    fn condition(&mut self, depth: u64) -> String {
        if depth == 0 {
            return match self.below(5) {
                0 if self.columns => {
                    self.pick(&["passing", "complete", "score > 5", "score IS NULL", "subject = 'mat'"]).to_owned()
                }
                1 => format!("match({}, {})", self.literal(), self.literal()),
                2 => format!("{} LIKE {}", self.literal(), self.literal()),
                _ => self.pick(&["true", "false", "1 = 1", "NULL IS NULL", "2 > 1"]).to_owned(),
            };
        }
        let depth = depth - 1;
        let not = self.pick(&["", "", "NOT "]);
        match self.below(16) {
            0 | 1 => format!(
                "{}~{}~{}",
                self.condition(depth),
                self.pick(&["AND", "OR", "and", "or"]),
                self.condition(depth)
            ),
            2 => format!("NOT~{}", self.condition(depth)),
            3 => format!("({})", self.condition(depth)),
            4 | 5 => {
                let op = self.pick(&["=", "==", "!=", "<>", "<", ">=", ">", "<="]);
                format!("{}~{op}~{}", self.number(depth), self.number(depth))
            }
            6 => format!("{} {not}BETWEEN {} AND {}", self.number(depth), self.number(0), self.number(0)),
            7 => format!("{} {not}IN ({}, {}, {})", self.number(0), self.number(0), self.number(0), self.number(depth)),
            8 => format!("{} {not}IN ({}, {})", self.text(depth), self.literal(), self.literal()),
            9 => format!("{} {not}{} {}", self.text(depth), self.pick(&["LIKE", "ILIKE"]), self.literal()),
            10 => format!("{} IS {not}NULL", self.number(depth)),
            11 => format!("{} IS {not}{}", self.condition(depth), self.pick(&["TRUE", "FALSE", "UNKNOWN"])),
            12 => format!("{} IS {not}DISTINCT FROM {}", self.number(0), self.number(0)),
            13 => format!("has({}, {})", self.array(depth), self.number(0)),
            14 => format!(
                "({}, {}) {not}IN ((1, 'a'), ({}, {}))",
                self.number(0),
                self.text(0),
                self.pick(&["2", "-3"]),
                self.literal()
            ),
            _ => format!("{} {} {}", self.text(depth), self.pick(&["=", "<", "!="]), self.text(depth)),
        }
    }

    fn date(&mut self, depth: u64) -> String {
        if depth == 0 {
            let day = self.pick(DATES);
            return match self.below(4) {
                0 if self.columns => "updated_at".to_owned(),
                0 | 1 => format!("toDate('{day}')"),
                2 => format!("DATE '{day}'"),
                _ => format!("TIMESTAMP '{day} 23:59:58'"),
            };
        }
        let depth = depth - 1;
        match self.below(5) {
            0 => format!(
                "{}~{}~INTERVAL {} {}",
                self.date(depth),
                self.pick(&["+", "-"]),
                self.below(40),
                self.pick(UNITS)
            ),
            1 => format!("toStartOfMonth({})", self.date(depth)),
            2 => format!("date_trunc('{}', {})", self.pick(&["month", "week", "day"]), self.date(depth)),
            3 => format!("addDays({}, {})", self.date(depth), self.pick(&["1", "-1", "31"])),
            _ => format!("{} + INTERVAL '{}' {}", self.date(depth), self.below(9), self.pick(UNITS)),
        }
    }

    fn array(&mut self, depth: u64) -> String {
        if depth == 0 {
            return self.pick(&["[1, 2, 3]", "[-1, 5]", "[1.5, 2]", "range(5)", "[1]", "array(1, 2)"]).to_owned();
        }
        let depth = depth - 1;
        match self.below(5) {
            0 => format!("arrayMap(x -> x~*~{}~+~1, {})", self.pick(&["2", "-3", "x"]), self.array(depth)),
            1 => format!("arrayFilter(x -> x > {} AND NOT x = 2, {})", self.below(3), self.array(depth)),
            2 => format!("arraySort((x, y) -> -y, {0}, {0})", self.array(0)),
            3 => format!("arrayConcat({}, {})", self.array(depth), self.array(depth)),
            _ => format!("arrayMap((x, i) -> x - i, {0}, {0})", self.array(0)),
        }
    }

    fn any(&mut self) -> String {
        let depth = self.below(4);
        match self.below(7) {
            0 | 1 => self.number(depth),
            2 | 3 => self.text(depth),
            4 => self.condition(depth),
            5 => self.date(depth),
            _ => {
                let array = self.array(depth);
                match self.below(3) {
                    0 => format!("{array}[{}]", 1 + self.below(3)),
                    1 => format!("({}, {array})", self.text(0)),
                    _ => array,
                }
            }
        }
    }

    fn scalars(&mut self) -> String {
        let items: Vec<_> = (0..=self.below(3)).map(|n| self.item(n)).collect();
        format!("{}~{}", self.pick(&["SELECT", "select", "SELECT DISTINCT"]), items.join(",~"))
    }

    fn item(&mut self, n: u64) -> String {
        let expr = self.any();
        match self.below(5) {
            0 => format!("{expr} AS c{n}"),
            1 => format!("{expr} AS \"Cómo {n}\""),
            2 => format!("hex(toString({expr}))"),
            3 => format!("toTypeName({expr})"),
            _ => expr,
        }
    }

    fn rows(&mut self) -> (String, bool) {
        self.columns = true;
        let (item, condition) = (self.any(), self.condition(2));
        match self.below(4) {
            0 => (format!("SELECT student, subject, {item} AS v FROM grades WHERE {condition}"), false),
            1 => {
                let nulls = self.pick(&["", " NULLS FIRST", " NULLS LAST"]);
                let text = format!(
                    "SELECT *, {item}~FROM grades WHERE {condition} ORDER BY score DESC{nulls}, student, subject LIMIT {} OFFSET {}",
                    1 + self.below(9),
                    self.below(4)
                );
                (text, true)
            }
            2 => (
                format!(
                    "SELECT subject, score AS s, s * 2 AS twice FROM grades WHERE s > {} OR {condition}",
                    self.below(9)
                ),
                false,
            ),
            _ => (
                format!(
                    "SELECT * EXCEPT (by_category) FROM grades ORDER BY subject, student LIMIT {} BY subject",
                    1 + self.below(3)
                ),
                true,
            ),
        }
    }

    fn aggregates(&mut self) -> String {
        self.columns = true;
        let mut items = vec![self.pick(&["subject", "period", "passing"]).to_owned()];
        let key = items[0].clone();
        for _ in 0..=self.below(3) {
            let (number, condition) = (self.pick(&["score", "evaluations_count", "row_version"]), self.condition(1));
            let aggregate = match self.below(9) {
                0 => "count(*)".to_owned(),
                1 => format!("count(DISTINCT {number})"),
                2 => format!("sumIf({number}, {condition})"),
                3 => format!("quantileExact({})({number})", self.pick(&["0.5", "0.9", ".25"])),
                4 => format!("arraySort(groupArray({number}))"),
                5 => format!("uniqExact({number}, subject)"),
                6 => format!("groupUniqArrayIf({number}, {number} IS NULL)"),
                _ => format!("{}({number})", self.pick(&["sum", "avg", "min", "max", "SUM", "Count", "sumOrNull"])),
            };
            let filter = match self.below(3) {
                0 if !aggregate.contains("If(") => format!("~FILTER (WHERE {})", self.condition(1)),
                _ => String::new(),
            };
            items.push(format!("{aggregate}{filter}"));
        }
        let having = if self.below(3) == 0 { format!(" HAVING count() > {}", self.below(9)) } else { String::new() };
        let group = self.pick(&["", "", " WITH ROLLUP", " WITH CUBE"]);
        format!(
            "SELECT {}~FROM grades WHERE {} GROUP BY {key}{group}{having} ORDER BY 1, count()",
            items.join(",~"),
            self.condition(1)
        )
    }

    fn joined(&mut self) -> String {
        let kind = self.pick(&[
            "JOIN",
            "INNER JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "LEFT OUTER JOIN",
            "LEFT ANTI JOIN",
            "LEFT SEMI JOIN",
        ]);
        let on = self.pick(&[
            "USING (student, subject)",
            "ON a.student = b.student AND a.subject = b.subject",
            "ON a.student = b.student AND a.row_version = b.row_version AND a.subject != 'len'",
            "USING (row_version)",
        ]);
        match self.below(3) {
            0 => format!("SELECT a.subject, a.score, a.period~FROM grades AS a {kind} grades_changes b {on}"),
            1 => format!(
                "SELECT count(), countIf(a.score > 3), sum(a.row_version) FROM grades a {kind} grades AS b {on}"
            ),
            _ => format!(
                "SELECT a.* FROM grades_changes AS a {kind} (SELECT * FROM grades WHERE subject {} {}) AS b {on}",
                self.pick(&["=", "!=", "LIKE"]),
                self.literal()
            ),
        }
    }

    fn windows(&mut self) -> String {
        let function = self.pick(&[
            "row_number()",
            "rank()",
            "sum(score)",
            "lagInFrame(score, 1)",
            "first_value(score) IGNORE NULLS",
            "max(row_version)",
            "avg(evaluations_count)",
            "count(*) FILTER (WHERE passing)",
        ]);
        let frame = self.pick(&[
            "",
            " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
            " ROWS 2 PRECEDING",
        ]);
        let order = self.pick(&["student, row_version", "row_version DESC", "score NULLS FIRST, row_version"]);
        match self.below(3) {
            0 => format!(
                "SELECT student, subject, {function}~OVER (PARTITION BY subject ORDER BY {order}{frame}) FROM grades"
            ),
            1 => format!("SELECT row_version, {function} OVER w~FROM grades WINDOW w AS (ORDER BY {order}{frame})"),
            _ => format!(
                "SELECT subject, row_version FROM grades QUALIFY row_number() OVER (PARTITION BY subject ORDER BY {order}) <= {}",
                1 + self.below(4)
            ),
        }
    }

    fn several(&mut self) -> String {
        let mut text = String::new();
        for n in 0..2 + self.below(3) {
            if n > 0 {
                text.push_str(self.pick(&[
                    " UNION ALL~",
                    " UNION DISTINCT~",
                    "~EXCEPT ",
                    " INTERSECT~",
                    " EXCEPT DISTINCT ",
                ]));
            }
            let one = match self.below(4) {
                0 => "SELECT subject FROM grades".to_owned(),
                1 => "SELECT period FROM grades_changes".to_owned(),
                2 => format!("SELECT {}", self.literal()),
                _ => "(SELECT subject FROM grades ORDER BY subject, student LIMIT 4)".to_owned(),
            };
            text.push_str(&one);
        }
        if self.below(3) == 0 { format!("SELECT count() FROM ({text})") } else { text }
    }

    fn nested(&mut self) -> String {
        let literal = self.literal();
        match self.below(7) {
            0 => format!("WITH x AS (SELECT subject, score FROM grades WHERE subject != {literal}) SELECT count(), sum(score) FROM x"),
            1 => format!("SELECT (SELECT max(score) FROM grades WHERE rule_version != {literal}) AS m, m~+~1"),
            2 => format!("SELECT count() FROM grades WHERE student IN (SELECT student FROM grades WHERE subject = {literal} OR passing)"),
            3 => "SELECT h, count() FROM (SELECT [1, 2, row_version] AS a FROM grades) ARRAY JOIN a AS h GROUP BY h ORDER BY h".to_owned(),
            4 => format!("SELECT count() FROM grades WHERE EXISTS (SELECT 1 FROM grades_changes WHERE diff = {})", self.pick(&["-1", "1", "5"])),
            5 => "SELECT by_category['exam'].counted AS c, count() FROM grades GROUP BY c ORDER BY c".to_owned(),
            _ => "WITH a AS (SELECT student FROM grades), b AS (SELECT student FROM a WHERE student != '') SELECT count() FROM a JOIN b USING (student)".to_owned(),
        }
    }
}
