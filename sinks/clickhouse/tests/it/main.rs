//! The recorder as the dataflows, the checkpoints and the sender use it (`model`), and the whole sink against the ClickHouse
//! engine itself.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod beside;
mod bridge;
mod canary;
mod engine;
mod faults;
mod grants;
mod guide;
mod harness;
mod model;
mod process;
mod proxy;
mod restart;
mod said;
mod schema;
mod school;
mod sql;
mod statements;
mod trouble;
mod views;
mod world;
