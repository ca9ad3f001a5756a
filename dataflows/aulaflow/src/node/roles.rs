//! What a process does of all that an instance can do.

use std::fmt;

/// The roles that a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Takes writes over HTTP.
    pub edge: bool,
    /// Maintains the views.
    pub dataflow: bool,
    /// Answers reads: from its own views, or, where it maintains none, from the changelog.
    pub serve: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self { edge: true, dataflow: true, serve: true };

    /// Whether its reads are answered from the changelog.
    pub fn is_replica(self) -> bool {
        self.serve && !self.dataflow
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [(self.edge, "edge"), (self.dataflow, "dataflow"), (self.serve, "serve")];
        let names: Vec<_> = named.into_iter().filter(|(plays, _)| *plays).map(|(_, name)| name).collect();
        f.write_str(&names.join(","))
    }
}
