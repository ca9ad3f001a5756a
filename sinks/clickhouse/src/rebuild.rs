//! Making the local store again from what ClickHouse holds: where a share comes from another process, or the folder was lost.
//! How ClickHouse is asked is elsewhere.
//!
//! The rows must be those that the differences add up to (`GROUP BY` all columns of a row, `HAVING sum(diff) > 0`), since further
//! differences start from them. The table of the present says the same unless the process before was lost, with its disk, after it
//! had sent differences and before it sent the rows that follow from them: whoever rebuilds has to mend the present then.

use crate::outbox::Outbox;
use crate::rows;
use crate::store::{Store, StoreError};
use crate::tables::Tables;
use aulaflow_model::instant::Millis;
use std::sync::Arc;

/// Rows written in one go.
const STEP_ROWS: usize = 10_000;

/// Why a rebuild cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The recorder is at work, and does not lay it down.
    #[error("the recorder is at work, perhaps waiting for its disk")]
    AtWork,
    /// No such table.
    #[error("there is no table \"{0}\" of what is kept")]
    Table(String),
    /// The local store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A rebuild under way. Dropped without [`Rebuild::finish`], it leaves an empty store.
pub struct Rebuild {
    store: Arc<Store>,
    tables: Arc<Tables>,
    outbox: Outbox,
    step: Vec<(Vec<u8>, Vec<u8>)>,
    rows: u64,
}

impl Rebuild {
    /// Forgets rows and blocks, and takes another writer's name.
    pub(crate) fn begin(store: Arc<Store>, tables: Arc<Tables>, outbox: Outbox) -> Result<Self, RebuildError> {
        store.reset(&tables, true)?;
        outbox.reset()?;
        Ok(Self { store, tables, outbox, step: Vec::new(), rows: 0 })
    }

    /// Takes rows that are there, of a relation that is named by either of its tables, in RowBinary: the columns [`crate::Table::row_columns`], in their order. Answers how many bytes
    /// it took: a row that is cut short at the end has to come again, whole.
    pub fn put(&mut self, table: &str, row_binary: &[u8]) -> Result<usize, RebuildError> {
        let found = self.tables.table(table);
        let index = found.ok_or_else(|| RebuildError::Table(table.to_owned()))?.relation;
        let tables = Arc::clone(&self.tables);
        let relation = &tables.relations[index];
        let number = self.store.number(index).to_be_bytes();
        let mut used = 0;
        while let Some(rest) = row_binary.get(used..).filter(|rest| !rest.is_empty())
            && let Some((values, end)) = rows::split(relation, rest)
        {
            self.step.push(([&number, &rest[..values]].concat(), rest[values..end].to_vec()));
            used += end;
            if self.step.len() >= STEP_ROWS {
                self.write()?;
            }
        }
        Ok(used)
    }

    /// How many rows it took.
    pub fn rows(&self) -> u64 {
        self.rows + self.step.len() as u64
    }

    /// All rows are there. `last_version` and `last_clock`: the highest that ClickHouse holds of these tenants.
    pub fn finish(mut self, last_version: u64, last_clock: Millis) -> Result<(), RebuildError> {
        self.write()?;
        let mut meta = self.store.meta();
        meta.rebuilding = false;
        meta.is_new = false;
        meta.version = last_version;
        meta.clock = last_clock.0;
        self.store.commit(self.store.batch(0), meta)?;
        self.store.sync()?;
        tracing::info!(rows = self.rows, writer = %self.outbox.writer(), "made the local store again from ClickHouse");
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut batch = self.store.batch(self.step.len());
        for (key, values) in &self.step {
            self.store.put_row(&mut batch, key, Some(values));
        }
        self.store.commit(batch, self.store.meta())?;
        self.rows += self.step.len() as u64;
        self.step.clear();
        Ok(())
    }
}
