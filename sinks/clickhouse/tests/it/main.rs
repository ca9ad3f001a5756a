//! The recorder as the dataflows, the checkpoints and the sender use it (`model`), and the whole sink against the ClickHouse
//! engine itself.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bridge;
mod engine;
mod faults;
mod harness;
mod model;
mod process;
mod proxy;
mod restart;
mod said;
mod schema;
mod sql;
mod trouble;
mod world;
