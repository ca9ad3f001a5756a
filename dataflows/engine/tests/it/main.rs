//! The engine as a whole: random logs against a plain recomputation, on 1 to 3 workers, through crashes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ask;
mod cohorts;
mod dead_letters;
mod describe;
mod harness;
mod ready;
mod recompute;
mod shares;
mod views;
