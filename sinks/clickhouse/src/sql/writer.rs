//! The text that is written, and what is known while it is: names in scope, how deep we are, what was read.

use super::Refusal;
use super::catalog::{Catalog, Shown};
use crate::connection::quoted;
use sqlparser::ast::Ident;
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;

/// How deep expressions and queries may be within each other.
const DEPTH_MAX: usize = 60;

/// Tables that ClickHouse reads at most for one query: it puts a named subquery in wherever its name is.
const TABLES_MAX: usize = 40;

/// The longest text that is written.
const WRITTEN_BYTES_MAX: usize = 512 << 10;

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 128;

/// Writes a query.
pub(super) struct Writer<'c> {
    pub(super) catalog: &'c Catalog,
    pub(super) out: String,
    /// The named subqueries that can be seen here; the last one of a name counts.
    pub(super) ctes: Vec<Cte>,
    /// How many there were.
    pub(super) ctes_made: usize,
    depth: usize,
    /// Tables that are read so far, each as often as ClickHouse does.
    pub(super) tables: usize,
    relations: BTreeSet<&'c str>,
}

/// A named subquery.
pub(super) struct Cte {
    /// As the analyst wrote it.
    pub(super) name: String,
    /// As we do.
    pub(super) ours: String,
    /// Tables that it reads.
    pub(super) tables: usize,
}

/// What a name in FROM stands for.
pub(super) enum Named<'c> {
    /// A named subquery, under our name.
    Cte(String),
    /// A relation of the catalog.
    Relation(&'c Shown),
}

impl<'c> Writer<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Self {
        Self {
            catalog,
            out: String::new(),
            ctes: Vec::new(),
            ctes_made: 0,
            depth: 0,
            tables: 0,
            relations: BTreeSet::new(),
        }
    }

    pub(super) fn finish(self) -> (String, BTreeSet<&'c str>) {
        (self.out, self.relations)
    }

    pub(super) fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// One level deeper.
    pub(super) fn within(
        &mut self,
        span: Span,
        write: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if self.depth >= DEPTH_MAX {
            return Err(Refusal::at("the query is nested too deeply", span));
        }
        if self.out.len() > WRITTEN_BYTES_MAX {
            return Err(Refusal::at("the query is too long", span));
        }
        self.depth += 1;
        let written = write(self);
        self.depth -= 1;
        written
    }

    /// Items with commas between them.
    pub(super) fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.put(", ");
            }
            write(self, item)?;
        }
        Ok(())
    }

    /// A name, quoted. Those that would need an escape, or that look like ours, are refused.
    pub(super) fn name(&mut self, ident: &Ident) -> Result<(), Refusal> {
        let name = checked(ident)?;
        self.out.push_str(&quoted(name));
        Ok(())
    }

    /// What a name in FROM means. It counts what is read.
    pub(super) fn table(&mut self, ident: &Ident) -> Result<Named<'c>, Refusal> {
        let name = checked(ident)?;
        let (named, tables) = match self.ctes.iter().rev().find(|cte| cte.name == name) {
            Some(cte) => (Named::Cte(cte.ours.clone()), cte.tables),
            None => {
                let (known, shown) = self
                    .catalog
                    .get(name)
                    .ok_or_else(|| self.catalog.unknown(ident, self.ctes.iter().map(|cte| cte.name.as_str())))?;
                self.relations.insert(known);
                (Named::Relation(shown), shown.tables)
            }
        };
        self.tables += tables;
        if self.tables > TABLES_MAX {
            let message = format!(
                "the query reads more than {TABLES_MAX} tables: a subquery of WITH counts as often as its name is used"
            );
            return Err(Refusal::at(message, ident.span));
        }
        Ok(named)
    }
}

/// The text of a name that may be written.
pub(super) fn checked(ident: &Ident) -> Result<&str, Refusal> {
    let name = ident.value.as_str();
    let refused = |why: &str| Err(Refusal::at(format!("the name {name:?} {why}"), ident.span));
    if name.is_empty() || name.chars().nth(NAME_CHARS_MAX).is_some() {
        return refused("is empty or too long");
    }
    if ident.quote_style == Some('\'') {
        return refused("stands in single quotes, which are for texts: write double ones, or `…`");
    }
    if name.starts_with("__") {
        return refused("begins with two underscores, which is for names of ours");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '`' | '\\' | '"' | '\'' | '{' | '}' | '@' | ';')) {
        return refused("has a character that names may not have here");
    }
    Ok(name)
}
