//! Sets of views as bits.

use aulaflow_model::change::ViewIndex;
use smallvec::SmallVec;

/// A set of views.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewSet(SmallVec<[u64; 1]>);

impl ViewSet {
    /// Adds views.
    pub fn extend(&mut self, views: &[ViewIndex]) {
        for view in views {
            let word = usize::from(*view) / 64;
            if word >= self.0.len() {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= 1 << (view % 64);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The views, in order.
    pub fn iter(&self) -> impl Iterator<Item = ViewIndex> + '_ {
        let of_word = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| (at * 64 + bit) as ViewIndex)
        };
        self.0.iter().enumerate().flat_map(of_word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_come_back_in_order() {
        let mut set = ViewSet::default();
        assert!(set.is_empty());
        set.extend(&[130, 3]);
        set.extend(&[3, 63, 64]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 63, 64, 130]);
    }
}
