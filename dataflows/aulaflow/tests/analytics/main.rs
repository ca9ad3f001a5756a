//! An instance with its embedded ClickHouse, as users run it: what is shown is there, also after crashes, and what is wrong
//! is said.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod history;
mod instance;
mod past;
// What starts an instance and calls it; other tests use the rest of it.
#[allow(dead_code)]
#[path = "../bad_input/support.rs"]
mod support;
