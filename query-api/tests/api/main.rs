//! The edge from outside: requests in, answers and log records out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)]

mod ask;
mod auth;
mod batches;
mod cohorts;
mod document;
mod durability;
mod edge;
mod evaluations;
mod history;
mod profiles;
mod settings;
mod support;
