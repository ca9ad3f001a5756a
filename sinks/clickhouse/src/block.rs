//! A block: rows of one table and one partition, as they are inserted. What makes blocks and what sends them is elsewhere.

use crate::Uuid;

/// Rows that go to ClickHouse in one INSERT. A block never changes once it is made, so that sending it again is the same
/// INSERT: the same bytes under the same token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its number: 1, 2, 3, … of its writer, without a gap.
    pub number: u64,
    /// The table, without its database.
    pub table: String,
    /// The columns of the rows, in order.
    pub columns: Vec<String>,
    /// How many rows.
    pub rows: u64,
    /// The rows in the format `RowBinary`.
    pub body: Vec<u8>,
    /// What ClickHouse knows the block by: `insert_deduplication_token`.
    pub token: String,
}

impl Block {
    /// The token of a writer's block: `WRITER-BLOCK`.
    pub fn token_of(writer: Uuid, number: u64) -> String {
        format!("{writer}-{number}")
    }
}
