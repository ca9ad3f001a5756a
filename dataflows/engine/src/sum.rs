//! Exact integers by slot: what adds up over events and panes.
//!
//! Law: `(Sums, +)` is commutative and associative, zero is the empty vector, and every element has an inverse. So a
//! window is the sum of its panes, a pane that leaves is subtracted, and the order of events and epochs cannot matter.

use serde::{Deserialize, Serialize};

/// A number of an aggregate's part: a count, a sum, a set of one view or of several. The same in every checkpoint.
pub type Slot = u16;

/// A slot's integer, as two halves so that a cell takes 24 bytes and not 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// The slot.
    pub slot: Slot,
    high: i64,
    low: u64,
}

impl Amount {
    /// An integer for a slot.
    pub fn new(slot: Slot, amount: i128) -> Self {
        Self { slot, high: (amount >> 64) as i64, low: amount as u64 }
    }

    /// The integer.
    pub fn get(self) -> i128 {
        (i128::from(self.high) << 64) | i128::from(self.low)
    }
}

/// Exact integers by slot, sorted, without zeros.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums(Vec<Amount>);

impl Sums {
    /// Adds to one slot.
    pub fn add(&mut self, slot: Slot, amount: i128) {
        match self.0.binary_search_by_key(&slot, |c| c.slot) {
            Ok(at) => {
                let sum = self.0[at].get() + amount;
                if sum == 0 {
                    self.0.remove(at);
                } else {
                    self.0[at] = Amount::new(slot, sum);
                }
            }
            Err(at) if amount != 0 => {
                if self.0.len() == self.0.capacity() {
                    // Most windows have few slots: growing by doubling from four would waste half of the memory.
                    self.0.reserve_exact(1 + self.0.len() / 2);
                }
                self.0.insert(at, Amount::new(slot, amount));
            }
            Err(_) => {}
        }
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for cell in &other.0 {
            self.add(cell.slot, cell.get());
        }
    }

    /// A slot's integer.
    pub fn get(&self, slot: Slot) -> i128 {
        self.0.binary_search_by_key(&slot, |c| c.slot).map_or(0, |at| self.0[at].get())
    }

    /// The slots that are not zero, with their integers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, i128)> + '_ {
        self.0.iter().map(|c| (c.slot, c.get()))
    }

    /// Forgets the slots that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(Slot) -> bool) {
        self.0.retain(|c| keep(c.slot));
    }

    /// Whether all slots are zero.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Slot, i128)> for Sums {
    fn from_iter<I: IntoIterator<Item = (Slot, i128)>>(cells: I) -> Self {
        let mut sums = Self::default();
        for (slot, amount) in cells {
            sums.add(slot, amount);
        }
        sums
    }
}

/// A sum of squares or products that exceeds 128 bits takes a second cell; nobody else pays for it.
const _: () = assert!(std::mem::size_of::<Amount>() == 24);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_sums() -> impl Strategy<Value = Sums> {
        proptest::collection::vec((0u16..6, -3i128..4), 0..8).prop_map(|cells| cells.into_iter().collect())
    }

    fn plus(a: &Sums, b: &Sums) -> Sums {
        let mut sum = a.clone();
        sum.add_all(b);
        sum
    }

    proptest! {
        #[test]
        fn is_an_abelian_group(a in any_sums(), b in any_sums(), c in any_sums()) {
            prop_assert_eq!(plus(&a, &b), plus(&b, &a));
            prop_assert_eq!(plus(&plus(&a, &b), &c), plus(&a, &plus(&b, &c)));
            prop_assert_eq!(plus(&a, &Sums::default()), a.clone());
            let inverse: Sums = a.iter().map(|(slot, n)| (slot, -n)).collect();
            prop_assert!(plus(&a, &inverse).is_empty());
        }

        #[test]
        fn cells_hold_any_integer(amount in any::<i128>()) {
            prop_assert_eq!(Amount::new(1, amount).get(), amount);
        }
    }
}
