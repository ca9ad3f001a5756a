//! Random views over random events, on real workers, against a slow recomputation by the definition: equal after every
//! epoch, through restarts, changed configurations and repeated records. The log, the clock and the disk are played by
//! `stepper`, so that a case takes a millisecond; the definition is in `reference`, which shares no code with the engine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod multisets;
mod random;
mod reference;
pub mod stepper;
