//! What the live clock reads: the system's clock, or a clock that stands where it was set by hand, for tests of views.

use aulaflow_model::instant::Millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The live clock's source.
#[derive(Debug, Clone, Default)]
pub enum Wall {
    /// The system's clock.
    #[default]
    System,
    /// One set by hand.
    Hand(Arc<HandClock>),
}

/// A clock that stands still until it is set. It must not be set back: the views' clock would stay where it is.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that stands at an instant.
    pub fn new(at: Millis) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Where it stands.
    pub fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Acquire))
    }

    /// Moves it. The engine looks at it when something is appended to the log, or when `Log::wake` is called.
    pub fn set(&self, at: Millis) {
        self.0.store(at.0, Ordering::Release);
    }
}

impl Wall {
    /// What it reads.
    pub fn now(&self) -> Millis {
        match self {
            Self::System => crate::checkpoint::now(),
            Self::Hand(clock) => clock.now(),
        }
    }

    /// Whether it goes on by itself.
    pub fn moves(&self) -> bool {
        match self {
            Self::System => true,
            Self::Hand(_) => false,
        }
    }
}
