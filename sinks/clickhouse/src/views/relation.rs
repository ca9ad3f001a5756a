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

/// Of each key the last row up to the instant, if it is there then.
fn as_of(text: Text<'_>, columns: &[String], (key, values): (&[Column], &[Column]), changes: &str) -> String {
    let ours = |name: &str| format!("`__t`.{}", quoted(name));
    let keys: Vec<String> = key.iter().map(|column| quoted(&column.name)).collect();
    let row: Vec<String> = values.iter().map(|column| ours(&column.name)).collect();
    let shown = values
        .iter()
        .enumerate()
        .map(|(place, column)| format!("tupleElement(`__r`.`__row`, {}) AS {}", place + 1, quoted(&column.name)));
    let shown_keys = columns.get(..key.len() - 1).unwrap_or_default();
    let shown: Vec<String> = std::iter::once(text.shown(shown_keys, "`__r`")).chain(shown).collect();
    let keys_of_ours: Vec<String> = keys.iter().map(|name| format!("`__t`.{name}")).collect();
    let keys_shown: Vec<String> = keys.iter().map(|name| format!("`__t`.{name} AS {name}")).collect();
    format!(
        "SELECT {} FROM (SELECT {}, argMax(tuple({}), (`__t`.`version`, `__t`.`diff`)) AS `__row`, argMax(`__t`.`diff`, \
         (`__t`.`version`, `__t`.`diff`)) AS `__last` FROM {} WHERE `__t`.`clock` <= {} GROUP BY {}) AS `__r` WHERE `__r`.`__last` \
         = 1",
        shown.join(", "),
        keys_shown.join(", "),
        row.join(", "),
        text.table(changes, false),
        text.argument(Parameter::Instant),
        keys_of_ours.join(", "),
    )
}
