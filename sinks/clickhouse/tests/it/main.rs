//! The sink against the ClickHouse engine itself.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod engine;
mod faults;
mod process;
mod proxy;
mod schema;
mod world;
