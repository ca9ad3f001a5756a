//! Training sets: what each grade has become, beside what was known of the student before. A feature's row is taken from its
//! differences up to an instant, so that nothing that came after it is in it.

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
    let mut joined = beside(text, &outcomes, &["tenant", "student", "subject", "period"], (CHANGES, &own));
    for one in features {
        joined = beside(text, &joined, &["tenant", "student"], (&one.changes, &one.columns));
    }
    format!("SELECT {} FROM ({joined}) AS `__c`", text.shown(columns, "`__c`"))
}

/// Rows with what the newest row of the same key at `features_at` says; nulls where there was none, or it was gone.
fn beside(text: Text<'_>, rows: &str, key: &[&str], (changes, columns): (&str, &[(String, String)])) -> String {
    // A clock's last row is what holds from then on.
    let newest = "(`__t`.version, `__t`.diff)";
    let keys: Vec<String> = key.iter().map(|name| format!("`__t`.{name} AS {name}")).collect();
    let row: Vec<String> = columns.iter().map(|(name, _)| format!("`__t`.{}", quoted(name))).collect();
    let states = format!(
        "SELECT {}, `__t`.clock AS `__from`, argMax(tuple({}), {newest}) AS `__row`, argMax(`__t`.diff, {newest}) AS `__there` FROM {} \
         GROUP BY {}, `__from`",
        keys.join(", "),
        row.join(", "),
        text.table(changes, false),
        key.join(", "),
    );
    let on: Vec<String> = key.iter().map(|name| format!("`__o`.{name} = `__f`.{name}")).collect();
    let shown: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(place, (_, shown))| {
            let value = format!("tupleElement(`__f`.`__row`, {})", place + 1);
            format!("if(`__f`.`__there` = 1, {value}, NULL) AS {}", quoted(shown))
        })
        .collect();
    format!(
        "SELECT `__o`.*, {} FROM ({rows}) AS `__o` ASOF LEFT JOIN ({states}) AS `__f` ON {} AND `__o`.features_at >= `__f`.`__from`",
        shown.join(", "),
        on.join(" AND "),
    )
}
