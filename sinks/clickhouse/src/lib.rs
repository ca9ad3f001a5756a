//! Everything of the ClickHouse sink that needs no network.
mod block;
mod form;
mod tables;
mod uuid;
pub use block::Block;
pub use form::Form;
pub use tables::{Cadence, Column, Relation, Role, Source, Table, TableKind, Tables, TablesError};
pub use uuid::Uuid;
