//! What analysts may read: names, and the subquery that stands for each in the written text.

use super::TENANT;
use crate::connection::quoted;
use crate::raw::Raw;
use crate::tables::{Column, TableKind, Tables};
use std::collections::BTreeMap;

/// The suffix of a relation as it was at an instant: `grades_as_of(t = '2026-03-01')`.
const AS_OF: &str = "_as_of";

/// What the name of a table is in a subquery of ours. Names that analysts write never begin so.
const OURS: &str = "`__t`";

/// Where the instant goes in the subquery of a relation at an instant.
pub(super) const INSTANT: &str = "{instant}";

/// More rows than there are.
const NO_LIMIT: u64 = u64::MAX;

/// All that may be read.
#[derive(Debug, Clone)]
pub struct Catalog {
    database: String,
    shown: BTreeMap<String, Shown>,
    /// Tables with a tenant, by which ClickHouse is told to filter once more.
    filtered: Vec<String>,
}

/// One name that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its columns, without the tenant and without what versions are made of.
    pub columns: Vec<String>,
    /// Whether it takes `(t = '…')`.
    pub at_instant: bool,
    /// What stands for it, in parentheses.
    pub(super) subquery: String,
}

impl Catalog {
    /// What follows from the tables: of each relation its present (`grades`), its differences (`grades_changes`), and what it was
    /// at an instant (`grades_as_of(t = '…')`); and what the log said.
    pub fn of(tables: &Tables, database: &str) -> Self {
        let mut shown = BTreeMap::new();
        let mut filtered = Vec::new();
        for (place, relation) in tables.relations.iter().enumerate() {
            let present = &tables.of_relation(place, TableKind::Present).name;
            let changes = &tables.of_relation(place, TableKind::Changes).name;
            let columns: Vec<&Column> = relation.columns().filter(|column| column.name != TENANT).collect();
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            let mut with_machinery = names.clone();
            with_machinery.extend(["clock".to_owned(), "diff".to_owned()]);
            let from = |table: &str| format!("{}.{} AS {OURS}", quoted(database), quoted(table));
            let subquery = format!("(SELECT {} FROM {} FINAL {})", list(&names), from(present), prewhere());
            let of_present = Shown { columns: names.clone(), at_instant: false, subquery };
            let subquery = format!("(SELECT {} FROM {} {})", list(&with_machinery), from(changes), prewhere());
            let of_changes = Shown { columns: with_machinery, at_instant: false, subquery };
            let subquery = as_of(&relation.key, &relation.values, &from(changes));
            let of_past = Shown { columns: names, at_instant: true, subquery };
            shown.insert(present.clone(), of_present);
            shown.insert(changes.clone(), of_changes);
            shown.insert(format!("{}{AS_OF}", relation.name), of_past);
            filtered.extend([present.clone(), changes.clone()]);
        }
        // What the log said.
        for raw in Raw::ALL {
            let (name, columns) = (raw.name(), raw.shown());
            let from = format!("{}.{} AS {OURS}", quoted(database), quoted(name));
            let subquery = format!("(SELECT {} FROM {from} {})", list(&columns), prewhere());
            shown.insert(name.to_owned(), Shown { columns, at_instant: false, subquery });
            filtered.push(name.to_owned());
        }
        Self { database: database.to_owned(), shown, filtered }
    }

    /// Adds a table or view of the database that has a column `tenant`, of which `columns` are shown.
    #[must_use]
    pub fn with(mut self, name: &str, columns: Vec<String>) -> Self {
        // PREWHERE is for tables. No condition is moved to before a LIMIT, so that others are looked at after ours here too.
        let subquery = format!(
            "(SELECT {} FROM {}.{} AS {OURS} WHERE {OURS}.{} = {{{TENANT}:String}} LIMIT {NO_LIMIT})",
            list(&columns),
            quoted(&self.database),
            quoted(name),
            quoted(TENANT),
        );
        self.shown.insert(name.to_owned(), Shown { columns, at_instant: false, subquery });
        self
    }

    /// The database.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<(&str, &Shown)> {
        self.shown.get_key_value(name).map(|(name, shown)| (name.as_str(), shown))
    }

    /// All names, in order, with their columns.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Shown)> {
        self.shown.iter().map(|(name, shown)| (name.as_str(), shown))
    }

    /// The setting `additional_table_filters` for a tenant: a second fence, by ClickHouse itself, for tables that are named. It
    /// is none alone: `merge()` walks around it.
    pub fn filters(&self, tenant: &str) -> String {
        let condition = format!("{} = {}", quoted(TENANT), text(tenant));
        let one = |table: &String| format!("{}: {}", text(&format!("{}.{table}", self.database)), text(&condition));
        let all: Vec<_> = self.filtered.iter().map(one).collect();
        format!("{{{}}}", all.join(", "))
    }
}

fn text(text: &str) -> String {
    crate::connection::literal(text)
}

fn prewhere() -> String {
    format!("PREWHERE {OURS}.{} = {{{TENANT}:String}}", quoted(TENANT))
}

fn list(names: &[String]) -> String {
    let one = |name: &String| format!("{OURS}.{name} AS {name}", name = quoted(name));
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Of each key the last row up to the instant, if it is there then.
fn as_of(key: &[Column], values: &[Column], from: &str) -> String {
    let key: Vec<String> =
        key.iter().filter(|column| column.name != TENANT).map(|column| column.name.clone()).collect();
    let ours = |name: &String| format!("{OURS}.{}", quoted(name));
    let shown_keys = key.iter().map(|name| format!("`__r`.{name} AS {name}", name = quoted(name)));
    let shown_values = values
        .iter()
        .enumerate()
        .map(|(place, column)| format!("tupleElement(`__r`.`__row`, {}) AS {}", place + 1, quoted(&column.name)));
    let shown: Vec<_> = shown_keys.chain(shown_values).collect();
    let row: Vec<_> = values.iter().map(|column| ours(&column.name)).collect();
    let groups: Vec<_> = key.iter().map(ours).collect();
    let newest = format!("({OURS}.`version`, {OURS}.`diff`)");
    format!(
        "(SELECT {} FROM (SELECT {}, argMax(tuple({}), {newest}) AS `__row`, argMax({OURS}.`diff`, {newest}) AS `__last` FROM \
         {from} {} WHERE {OURS}.`clock` <= {INSTANT} GROUP BY {}) AS `__r` WHERE `__r`.`__last` = 1)",
        shown.join(", "),
        list(&key),
        row.join(", "),
        prewhere(),
        groups.join(", "),
    )
}
