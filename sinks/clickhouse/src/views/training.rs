//! Training sets: what each grade has become, beside what was known of the student before. A feature's row is taken from its
//! differences up to an instant, so that nothing that came after it is in it.

use super::relation::newest;
use super::{CLOCK, Made, Parameter, Text, View};
use crate::connection::quoted;
use crate::tables::{Relation, Source, TableKind, Tables};

const GRADES: &str = "grades";
const CHANGES: &str = "grades_changes";
/// What is known of the outcome, and of the grade itself at the instant of the features.
const OUTCOME: [&str; 9] =
    ["student", "subject", "period", "score", "passing", "complete", "outcome_at", "features_at", "score_then"];

/// A view whose rows are features: the table of its differences, and its columns with their names here.
struct Features {
    changes: String,
    columns: Vec<(String, String)>,
}

/// Two: features so many days before each outcome, and features at one instant.
pub(super) fn views(tables: &Tables, database: &str) -> [View; 2] {
    let features = features(tables);
    let made = |name: &str, parameter| {
        let shown = features.iter().flat_map(|one| one.columns.iter().map(|(_, shown)| shown.clone()));
        let mut changes: Vec<String> = features.iter().map(|one| one.changes.clone()).collect();
        changes.push(CHANGES.to_owned());
        let mut reads = changes.clone();
        reads.push(GRADES.to_owned());
        let columns = OUTCOME.iter().map(|name| (*name).to_owned()).chain(shown).collect();
        let newest = changes.into_iter().map(|name| (name, CLOCK)).collect();
        Made { name: name.to_owned(), columns, parameter: Some(parameter), reads, newest }
    };
    [("training_set", Parameter::Days), ("training_set_at", Parameter::Instant)].map(|(name, parameter)| {
        made(name, parameter).view(database, |text, columns| written(text, columns, parameter, &features))
    })
}

fn features(tables: &Tables) -> Vec<Features> {
    let mut taken: Vec<String> = OUTCOME.iter().map(|name| (*name).to_owned()).collect();
    let mut features = Vec::new();
    for (place, relation) in tables.relations.iter().enumerate() {
        match relation.source {
            Source::Grades | Source::Cohorts => continue,
            Source::View(_) => {}
        }
        let changes = tables.of_relation(place, TableKind::Changes).name.clone();
        features.push(Features { changes, columns: named(relation, &mut taken) });
    }
    features
}

/// `VIEW__OUTPUT`; where two would be the same, the second gets a number.
fn named(relation: &Relation, taken: &mut Vec<String>) -> Vec<(String, String)> {
    let outputs = relation.values.iter().filter(|column| column.name != "updated_at");
    let mut columns = Vec::new();
    for output in outputs {
        let plain = format!("{}__{}", relation.name, output.name);
        let mut name = plain.clone();
        let mut number = 2;
        while taken.contains(&name) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        taken.push(name.clone());
        columns.push((output.name.clone(), name));
    }
    columns
}

fn written(text: Text<'_>, columns: &[String], parameter: Parameter, features: &[Features]) -> String {
    let argument = text.argument(parameter);
    let (at, which) = match parameter {
        Parameter::Days => (format!("`__t`.clock - toIntervalDay({argument})"), String::new()),
        // What has been so since before the instant is no outcome any more, it is known.
        Parameter::Instant => {
            (format!("toDateTime64({argument}, 3, 'UTC')"), " WHERE `__t`.clock > features_at".to_owned())
        }
    };
    let outcomes = format!(
        "SELECT `__t`.tenant AS tenant, `__t`.student AS student, `__t`.subject AS subject, `__t`.period AS period, `__t`.score AS \
         score, `__t`.passing AS passing, `__t`.complete AS complete, `__t`.clock AS outcome_at, {at} AS features_at FROM {}{which}",
        text.table(GRADES, true)
    );
    let own = [("score".to_owned(), "score_then".to_owned())];
    let (of_grade, of_student) = (["tenant", "student", "subject", "period"], ["tenant", "student"]);
    // What the rows have so far.
    let mut known: Vec<String> = std::iter::once("tenant").chain(OUTCOME).map(str::to_owned).collect();
    known.retain(|name| name != "score_then");
    let mut joined = outcomes;
    let all = std::iter::once((CHANGES, own.as_slice(), of_grade.as_slice()));
    let all =
        all.chain(features.iter().map(|one| (one.changes.as_str(), one.columns.as_slice(), of_student.as_slice())));
    for (changes, columns, key) in all {
        let past = Past { changes, columns, key };
        joined = match parameter {
            Parameter::Days => past.before_each(text, &joined, &known),
            Parameter::Instant => past.before(text, &joined),
        };
        known.extend(columns.iter().map(|(_, shown)| shown.clone()));
    }
    format!("SELECT {} FROM ({joined}) AS `__c`", text.shown(columns, "`__c`"))
}

/// What a table of differences says of a key at `features_at`, beside rows; nulls where there was nothing, or it was gone.
#[derive(Clone, Copy)]
struct Past<'a> {
    changes: &'a str,
    /// Its columns, and their names beside the rows.
    columns: &'a [(String, String)],
    key: &'a [&'a str],
}

impl Past<'_> {
    fn on(self) -> String {
        let on: Vec<String> = self.key.iter().map(|name| format!("`__o`.{name} = `__f`.{name}")).collect();
        on.join(" AND ")
    }

    /// At one instant.
    fn before(self, text: Text<'_>, rows: &str) -> String {
        let place = |(place, (name, _)): (usize, &(String, String))| (name.clone(), format!("__{place}"));
        let renamed: Vec<(String, String)> = self.columns.iter().enumerate().map(place).collect();
        let shown = self.columns.iter().zip(&renamed);
        let shown = shown.map(|((_, shown), (_, name))| {
            format!("if(`__f`.`__diff` = 1, `__f`.`{name}`, NULL) AS {}", quoted(shown))
        });
        let shown: Vec<String> = shown.collect();
        let states = newest(text, (self.key, &renamed), self.changes, text.argument(Parameter::Instant));
        format!(
            "SELECT `__o`.*, {} FROM ({rows}) AS `__o` LEFT JOIN ({states}) AS `__f` ON {}",
            shown.join(", "),
            self.on()
        )
    }

    /// At an instant of each row. The differences stream past the rows: with ASOF JOIN they would all be in memory. `known` are
    /// the columns of the rows.
    fn before_each(self, text: Text<'_>, rows: &str, known: &[String]) -> String {
        let outcome = ["tenant", "student", "subject", "period"];
        let carried = known.iter().map(|name| {
            let column = format!("`__o`.{}", quoted(name));
            let column = if outcome.contains(&name.as_str()) { column } else { format!("any({column})") };
            format!("{column} AS {}", quoted(name))
        });
        // Where nothing came before, all of them are zero. Nulls by themselves: argMax looks past them.
        let last = |value: &str| format!("argMaxIf({value}, `__f`.`__order`, `__f`.`__from` <= `__o`.features_at)");
        let shown = self.columns.iter().enumerate().map(|(place, (_, shown))| {
            let (value, null) = (format!("assumeNotNull(`__f`.`__{place}`)"), format!("isNull(`__f`.`__{place}`)"));
            let nothing = format!("{} != 1 OR {}", last("`__f`.`__diff`"), last(&null));
            format!("if({nothing}, NULL, {}) AS {}", last(&value), quoted(shown))
        });
        let shown: Vec<String> = carried.chain(shown).collect();
        let key = self.key.iter().map(|name| format!("`__t`.{name} AS {name}"));
        let values = self.columns.iter().enumerate();
        let values = values.map(|(place, (name, _))| format!("`__t`.{} AS `__{place}`", quoted(name)));
        let columns: Vec<String> = key.chain(values).collect();
        let states = format!(
            "SELECT {}, `__t`.clock AS `__from`, `__t`.diff AS `__diff`, `__t`.version * 2 + (`__t`.diff = 1) AS `__order` FROM {}",
            columns.join(", "),
            text.table(self.changes, false),
        );
        let by = outcome.map(|name| format!("`__o`.{name}")).join(", ");
        format!(
            "SELECT {} FROM ({states}) AS `__f` RIGHT JOIN ({rows}) AS `__o` ON {} GROUP BY {by}",
            shown.join(", "),
            self.on()
        )
    }
}
