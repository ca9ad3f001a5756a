//! The program against everything that can be wrong around it: requests, tokens, configurations, files, disks, signals.
//! Every test starts the real program in a folder of its own and asks what a user would ask: is the answer exact, does
//! it say what is wrong, is nothing good lost, and does the process stay up.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod behavior;
mod configuration;
mod disk;
mod evaluations;
mod import;
mod load;
mod reading;
mod requests;
mod rules;
mod start;
mod stop;
mod streams;
mod support;
mod trust;
