//! Which part of the log one engine works on. Tenants never meet, and a tenant's records of every topic have one
//! partition's number, so that a number is a part of the world that can live anywhere.

use std::fmt;

/// The partitions that one engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share {
    /// All of them.
    All,
    /// Those with this number, one of each topic.
    Partition(u32),
}

impl Share {
    /// Whether a partition with this number belongs to it.
    pub fn has(self, partition: u32) -> bool {
        match self {
            Self::All => true,
            Self::Partition(own) => own == partition,
        }
    }
}

impl fmt::Display for Share {
    /// `all`, or the partition's number: a label and a folder's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Partition(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_own_partition() {
        assert!(Share::All.has(3) && Share::Partition(3).has(3) && !Share::Partition(3).has(2));
        assert_eq!([Share::All.to_string(), Share::Partition(7).to_string()], ["all", "7"]);
    }
}
