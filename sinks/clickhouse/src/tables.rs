//! What the tables of a plan look like: names, columns, sorting keys, engines. Pure: how a table is made, and what is written to it,
//! is elsewhere.
//!
//! A [`Relation`] is what is kept of one thing (the grades, a view, the cohorts): a key and values. It has two tables: `X_changes`
//! holds its differences, of which each row says by how much (`diff`) it is there from an instant on (`clock`); `X` holds the
//! present, the newest row per key.

use crate::Form;
use crate::views;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::window::WindowKind;
use aulaflow_plan::Plan;
use aulaflow_plan::sql::expr::Type;
use aulaflow_plan::sql::{Analytics, View};
use sha2::{Digest, Sha256};

/// All of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// What is kept: the grades, the cohorts, then views in the plan's order.
    pub relations: Vec<Relation>,
    /// Its tables: of each relation the changes, then the present.
    pub tables: Vec<Table>,
    /// A hash of everything that rows follow from: the columns and the views' definitions. After another one rows may differ
    /// though no event came.
    pub made_by: [u8; 32],
}

/// A thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name, and the name of the table of its present.
    pub name: String,
    /// What its rows are.
    pub source: Source,
    /// How often it is recorded.
    pub cadence: Cadence,
    /// What a row is found by; the tenant first.
    pub key: Vec<Column>,
    /// What a row says.
    pub values: Vec<Column>,
}

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The grades.
    Grades,
    /// The cohorts.
    Cohorts,
    /// A view.
    View(ViewIndex),
}

/// How often changes are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cadence {
    /// Every one, at the clock of its epoch.
    Changes,
    /// What a day (UTC) has changed in all, at the midnight that ends it.
    Daily,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, without the database.
    pub name: String,
    /// Which of the two.
    pub kind: TableKind,
    /// Whose: the place in [`Tables::relations`].
    pub relation: usize,
    /// Its columns: the key, the values, then what makes differences and versions.
    pub columns: Vec<Column>,
    /// The engine with its arguments.
    pub engine: &'static str,
    /// The sorting key; the tenant first.
    pub order_by: Vec<String>,
    /// The partition key's expression. A row's never changes.
    pub partition_by: Option<&'static str>,
}

/// The two tables of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// `X_changes`: differences, append-only.
    Changes,
    /// `X`: the present.
    Present,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in ClickHouse's spelling, as `system.columns` shows it.
    pub r#type: String,
    /// Its type.
    pub form: Form,
    /// What it is for.
    pub role: Role,
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A row is found by it.
    Key,
    /// What a row says.
    Value,
    /// What makes differences and versions.
    Machinery,
}

/// Why a plan has no tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// Two things would have one table.
    #[error(
        "the view \"{view}\" needs a table \"{table}\", which is there for something else: rename the view, or leave its analytics off"
    )]
    Name {
        /// The view.
        view: String,
        /// The table.
        table: String,
    },
    /// An output has the name of a column that every table has.
    #[error(
        "the output \"{column}\" of the view \"{view}\" has the name of a column that its table has already: give it another one with AS"
    )]
    Column {
        /// The view.
        view: String,
        /// The output.
        column: String,
    },
}

/// Tables that are no relation's.
const OTHERS: [&str; 10] = [
    "writers",
    "migrations",
    "behavior",
    "service_events",
    "dead_letters",
    "bridge_positions",
    "retention_log",
    "gov_ledger",
    "erasures",
    "audit",
];

impl Tables {
    /// The tables of a plan.
    pub fn of(plan: &Plan) -> Result<Self, TablesError> {
        let mut relations = vec![grades(), cohorts()];
        let mut hash = Sha256::new();
        for (index, view) in plan.views.iter().enumerate() {
            // The text of a view that another one reads counts as well, though it is not kept itself.
            hash.update(view.schema.name.as_bytes());
            hash.update([0]);
            hash.update(view.text.as_bytes());
            hash.update([0]);
            let cadence = match view.analytics {
                Analytics::Off => continue,
                Analytics::Daily => Cadence::Daily,
                Analytics::Changes => Cadence::Changes,
            };
            // A plan has fewer views than a `ViewIndex` can count.
            relations.push(of_view(view, index as ViewIndex, cadence));
        }
        let mut names: Vec<String> = OTHERS.iter().chain(&views::NAMES).map(|name| (*name).to_owned()).collect();
        let mut tables = Vec::new();
        for (index, relation) in relations.iter().enumerate() {
            for table in [Table::changes(index, relation), Table::present(index, relation)] {
                if names.contains(&table.name) {
                    return Err(TablesError::Name { view: relation.name.clone(), table: table.name });
                }
                names.push(table.name.clone());
                let mut seen: Vec<&str> = Vec::new();
                for column in &table.columns {
                    if seen.contains(&column.name.as_str()) {
                        return Err(TablesError::Column { view: relation.name.clone(), column: column.name.clone() });
                    }
                    seen.push(&column.name);
                    hash.update(format!("{} {} {}\n", table.name, column.name, column.r#type).as_bytes());
                }
                tables.push(table);
            }
            let as_of = format!("{}{}", relation.name, views::AS_OF);
            if names.contains(&as_of) {
                return Err(TablesError::Name { view: relation.name.clone(), table: as_of });
            }
            names.push(as_of);
            hash.update(format!("{:?}\n", relation.cadence).as_bytes());
        }
        Ok(Self { relations, tables, made_by: hash.finalize().into() })
    }

    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// A relation's table.
    pub fn of_relation(&self, relation: usize, kind: TableKind) -> &Table {
        let offset = match kind {
            TableKind::Changes => 0,
            TableKind::Present => 1,
        };
        &self.tables[2 * relation + offset]
    }
}

impl Relation {
    /// The columns of a row: those of its key, then what it says.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().chain(&self.values)
    }
}

impl Table {
    fn changes(index: usize, relation: &Relation) -> Self {
        let machinery = [
            ("clock", Form::Instant),
            ("diff", Form::Int8),
            ("version", Form::UInt64),
            ("writer", Form::Uuid),
            ("block", Form::UInt64),
        ];
        let mut order_by: Vec<String> = relation.key.iter().map(|column| column.name.clone()).collect();
        order_by.extend(["version".to_owned(), "diff".to_owned()]);
        Self {
            name: format!("{}_changes", relation.name),
            kind: TableKind::Changes,
            relation: index,
            columns: with_machinery(relation, machinery),
            engine: "MergeTree",
            order_by,
            partition_by: Some("toYYYYMM(clock)"),
        }
    }

    fn present(index: usize, relation: &Relation) -> Self {
        let machinery = [("clock", Form::Instant), ("version", Form::UInt64), ("is_deleted", Form::UInt8)];
        Self {
            name: relation.name.clone(),
            kind: TableKind::Present,
            relation: index,
            columns: with_machinery(relation, machinery),
            engine: "ReplacingMergeTree(version, is_deleted)",
            order_by: relation.key.iter().map(|column| column.name.clone()).collect(),
            partition_by: None,
        }
    }

    /// The columns that a row is read back by: the key's and the values'.
    pub fn row_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.role != Role::Machinery)
    }
}

fn with_machinery<const N: usize>(relation: &Relation, machinery: [(&str, Form); N]) -> Vec<Column> {
    let machinery = machinery.map(|(name, form)| Column::new(name, form, Role::Machinery));
    relation.columns().cloned().chain(machinery).collect()
}

impl Column {
    pub(crate) fn new(name: &str, form: Form, role: Role) -> Self {
        Self { name: name.to_owned(), r#type: form.to_string(), form, role }
    }
}

fn columns<const N: usize>(role: Role, columns: [(&str, Form); N]) -> Vec<Column> {
    columns.into_iter().map(|(name, form)| Column::new(name, form, role)).collect()
}

fn grades() -> Relation {
    let category = Form::Tuple(vec![
        ("value", Form::Decimal18.nullable()),
        ("weight", Form::Decimal18),
        ("counted", Form::UInt32),
        ("dropped", Form::UInt32),
    ]);
    let key = [("tenant", Form::Name), ("student", Form::Uuid), ("subject", Form::Name), ("period", Form::Name)];
    let values = [
        ("score", Form::Decimal18.nullable()),
        // A score's text has as many digits as its rule says, which a number does not keep.
        ("score_decimals", Form::UInt8.nullable()),
        ("passing", Form::Bool),
        ("complete", Form::Bool),
        ("evaluations_count", Form::UInt32),
        ("by_category", Form::Map(Box::new(Form::Name), Box::new(category))),
        ("rule_version", Form::Name),
        ("row_version", Form::UInt32),
        ("updated_at", Form::Instant),
    ];
    Relation {
        name: "grades".to_owned(),
        source: Source::Grades,
        cadence: Cadence::Changes,
        key: columns(Role::Key, key),
        values: columns(Role::Value, values),
    }
}

fn cohorts() -> Relation {
    let values = [
        ("count", Form::Int64),
        ("mean", Form::Decimal38.nullable()),
        ("stddev", Form::Decimal38.nullable()),
        ("pass_rate", Form::Decimal38.nullable()),
        ("histogram", Form::Array(Box::new(Form::Int64))),
        ("scale_min", Form::Decimal18),
        ("scale_max", Form::Decimal18),
    ];
    Relation {
        name: "cohorts".to_owned(),
        source: Source::Cohorts,
        cadence: Cadence::Daily,
        key: columns(Role::Key, [("tenant", Form::Name), ("subject", Form::Name), ("period", Form::Name)]),
        values: columns(Role::Value, values),
    }
}

fn of_view(view: &View, index: ViewIndex, cadence: Cadence) -> Relation {
    let mut values = Vec::with_capacity(view.schema.outputs.len() + 3);
    for (at, (name, ty)) in view.schema.outputs.iter().zip(&view.output_types).enumerate() {
        let form = match ty {
            Type::Boolean => Form::Bool,
            Type::Bigint if view.is_wide(at) => Form::Int128,
            Type::Bigint => Form::Int64,
            Type::Double => Form::Decimal38,
            Type::Timestamp => Form::Instant,
            // Intervals and JSON are no outputs' values: what is shown of them is null or a text.
            Type::Text | Type::Interval | Type::Json => Form::Text,
        };
        values.push(Column::new(name, form.nullable(), Role::Value));
    }
    if view.schema.window.kind == WindowKind::Session {
        for name in ["session_start", "session_end"] {
            values.push(Column::new(name, Form::Instant.nullable(), Role::Value));
        }
    }
    values.push(Column::new("updated_at", Form::Instant, Role::Value));
    let name = view.schema.name.clone();
    let key = columns(Role::Key, [("tenant", Form::Name), ("student", Form::Uuid)]);
    Relation { name, source: Source::View(index), cadence, key, values }
}
