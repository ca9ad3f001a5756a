//! A relation's own views: as it is, its differences, and as it was at an instant. And what the log said.

use super::{AS_OF, CLOCK, Made, Parameter, Text, View};
use crate::connection::quoted;
use crate::raw::Raw;
use crate::sql::TENANT;
use crate::tables::{Column, TableKind, Tables};

/// Of each relation three.
pub(super) fn views(tables: &Tables, database: &str) -> Vec<View> {
    let mut views = Vec::with_capacity(3 * tables.relations.len());
    for (place, relation) in tables.relations.iter().enumerate() {
        let present = &tables.of_relation(place, TableKind::Present).name;
        let changes = &tables.of_relation(place, TableKind::Changes).name;
        let columns: Vec<String> =
            relation.columns().filter(|column| column.name != TENANT).map(|column| column.name.clone()).collect();
        let mut with_machinery = columns.clone();
        with_machinery.extend(["clock".to_owned(), "diff".to_owned()]);
        let made = |name: &str, columns: &[String], parameter, reads: &str| Made {
            name: name.to_owned(),
            columns: columns.to_vec(),
            parameter,
            reads: vec![reads.to_owned()],
            newest: vec![(changes.clone(), CLOCK)],
        };
        views.push(made(present, &columns, None, present).view(database, |text, columns| {
            format!("SELECT {} FROM {}", text.shown(columns, "`__t`"), text.table(present, true))
        }));
        views.push(made(changes, &with_machinery, None, changes).view(database, |text, columns| {
            format!("SELECT {} FROM {}", text.shown(columns, "`__t`"), text.table(changes, false))
        }));
        let name = format!("{}{AS_OF}", relation.name);
        views.push(
            made(&name, &columns, Some(Parameter::Instant), changes)
                .view(database, |text, columns| as_of(text, columns, (&relation.key, &relation.values), changes)),
        );
    }
    views
}

/// What the log said, as it is.
pub(super) fn raw(database: &str) -> Vec<View> {
    let view = |raw: Raw| {
        let name = raw.name().to_owned();
        let newest = vec![(name.clone(), "received_at")];
        let made = Made { columns: raw.shown(), parameter: None, reads: vec![name.clone()], newest, name };
        made.view(database, |text, columns| {
            format!("SELECT {} FROM {}", text.shown(columns, "`__t`"), text.table(raw.name(), false))
        })
    };
    Raw::ALL.map(view).to_vec()
}

/// Of each key the last row up to the instant, if it is there then. The table is sorted like that, and read backwards: an aggregate
/// would hold all rows, and takes five times as long.
fn as_of(text: Text<'_>, columns: &[String], (key, values): (&[Column], &[Column]), changes: &str) -> String {
    let key: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
    let values: Vec<(String, String)> =
        values.iter().map(|column| (column.name.clone(), column.name.clone())).collect();
    let newest = newest(text, (&key, &values), changes, text.argument(Parameter::Instant));
    format!("SELECT {} FROM ({newest}) AS `__r` WHERE `__r`.`__diff` = 1", text.shown(columns, "`__r`"))
}

/// The newest row of each key of a table of differences up to an instant: its key, its values under the names that they are given,
/// and whether it came or went (`__diff`).
pub(super) fn newest(
    text: Text<'_>,
    (key, values): (&[&str], &[(String, String)]),
    changes: &str,
    until: &str,
) -> String {
    let ours = |name: &str| format!("`__t`.{}", quoted(name));
    let shown = key.iter().map(|name| format!("{} AS {}", ours(name), quoted(name)));
    let shown = shown.chain(values.iter().map(|(name, shown)| format!("{} AS {}", ours(name), quoted(shown))));
    let shown: Vec<String> = shown.collect();
    let order: Vec<String> =
        key.iter().chain(&["version", "diff"]).map(|name| format!("{} DESC", ours(name))).collect();
    let by: Vec<String> = key.iter().map(|name| ours(name)).collect();
    format!(
        "SELECT {}, `__t`.`diff` AS `__diff` FROM {} WHERE `__t`.`clock` <= {until} ORDER BY {} LIMIT 1 BY {}",
        shown.join(", "),
        text.table(changes, false),
        order.join(", "),
        by.join(", "),
    )
}
