//! The changelog against the store that it copies: records, and a writer and a replica around a running engine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod follow;
mod harness;
mod record;
mod restart;
mod suite;
