//! The cases: what is measured, one file each. A file opens with its goal, its load and its configuration.

mod checkpoints;
mod clickhouse_cold;
mod clickhouse_insert;
mod clickhouse_outage;
mod clickhouse_queries;
mod correction;
mod freshness;
mod idle;
mod import;
mod kafka;
mod memory;
mod reads;
mod recovery;
mod replica;
mod rule;
mod steady;
mod views;

use crate::report::Outcome;
use crate::setting::Setting;
use anyhow::Result;

/// A case.
pub struct Case {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What it measures, in a line.
    pub about: &'static str,
    /// Measures.
    pub run: fn(&Setting) -> Result<Outcome>,
}

/// All cases, in the order in which they run.
pub const ALL: &[Case] = &[
    import::CASE,
    views::CASE,
    freshness::CASE,
    reads::CASE,
    rule::CASE,
    correction::CASE,
    idle::CASE,
    memory::CASE,
    checkpoints::CASE,
    recovery::CASE,
    kafka::CASE,
    replica::CASE,
    clickhouse_insert::CASE,
    clickhouse_outage::CASE,
    clickhouse_queries::CASE,
    clickhouse_cold::CASE,
    steady::CASE,
];
