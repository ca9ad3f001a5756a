//! The recorder as the dataflows, the checkpoints and the sender use it, without ClickHouse.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;
mod model;
mod restart;
