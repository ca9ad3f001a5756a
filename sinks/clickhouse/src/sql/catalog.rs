//! What analysts may read: names, and the subquery that stands for each in the written text.

use super::{Refusal, TENANT};
use crate::connection::quoted;
use crate::tables::Tables;
use crate::views::{Parameter, views};
use sqlparser::ast::Ident;
use std::collections::{BTreeMap, BTreeSet};

/// All that may be read.
#[derive(Debug, Clone)]
pub struct Catalog {
    database: String,
    shown: BTreeMap<String, Shown>,
    /// Tables with a tenant, by which ClickHouse is told to filter once more.
    filtered: BTreeSet<String>,
}

/// One name that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its columns, without the tenant and without what versions are made of.
    pub columns: Vec<String>,
    /// What it takes in parentheses.
    pub parameter: Option<Parameter>,
    /// How many tables it reads.
    pub(super) tables: usize,
    /// The tables that say how new it is, and their columns for it.
    pub(crate) newest: Vec<(String, &'static str)>,
    /// What stands for it, in parentheses.
    pub(super) subquery: String,
}

impl Catalog {
    /// What follows from the tables: their [views](crate::View).
    pub fn of(tables: &Tables, database: &str) -> Self {
        let mut shown = BTreeMap::new();
        let mut filtered = BTreeSet::new();
        for view in views(tables, database) {
            let subquery = format!("({})", view.fenced);
            let (columns, parameter, tables) = (view.columns, view.parameter, view.reads.len());
            filtered.extend(view.reads);
            shown.insert(view.name, Shown { columns, parameter, tables, newest: view.newest, subquery });
        }
        Self { database: database.to_owned(), shown, filtered }
    }

    /// The database.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// What a name stands for.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, &Shown)> {
        self.shown.get_key_value(name).map(|(name, shown)| (name.as_str(), shown))
    }

    /// All names, in order, with their columns.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Shown)> {
        self.shown.iter().map(|(name, shown)| (name.as_str(), shown))
    }

    /// That a name is not among them, nor among `others`.
    pub(super) fn unknown<'a>(&'a self, ident: &Ident, others: impl IntoIterator<Item = &'a str>) -> Refusal {
        let all = self.names().map(|(name, _)| name).chain(others);
        let message = match aulaflow_model::fault::nearest(&ident.value, all) {
            Some(near) => format!("there is no table {:?}; did you mean {near:?}?", ident.value),
            None => {
                let names: Vec<_> = self.names().map(|(name, _)| name).collect();
                format!("there is no table {:?}; there are: {}", ident.value, names.join(", "))
            }
        };
        Refusal::at(message, ident.span)
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
