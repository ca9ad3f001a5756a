//! The stores of a process, one per share of the partitions. A tenant's profiles are all in one of them.

use crate::ReadHalf;
use crate::metrics::StoreMetrics;
use aulaflow_model::change::ViewSchema;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::share::Share;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The stores of a process; cheap to clone. A share comes and goes while others are read.
#[derive(Clone)]
pub struct Stores {
    shares: Arc<RwLock<Vec<(Share, ReadHalf)>>>,
    schemas: Arc<[ViewSchema]>,
}

impl Stores {
    /// No share yet; `schemas` are the views of all of them.
    pub fn new(schemas: Arc<[ViewSchema]>) -> Self {
        Self { shares: Arc::default(), schemas }
    }

    /// One store for everything.
    pub fn single(store: ReadHalf) -> Self {
        let stores = Self::new(Arc::clone(store.schemas()));
        stores.put(Share::All, store);
        stores
    }

    /// From now on this store answers for the share.
    pub fn put(&self, share: Share, store: ReadHalf) {
        let mut shares = self.shares.write();
        shares.retain(|(known, _)| *known != share);
        shares.push((share, store));
        // One that has the partition alone goes before one that has all.
        shares.sort_by_key(|(share, _)| std::cmp::Reverse(*share));
    }

    /// The share is not answered for any more. Readers that have a profile of it keep it.
    pub fn remove(&self, share: Share) {
        let removed: Vec<_> = self.shares.write().extract_if(.., |(known, _)| *known == share).collect();
        // Outside the lock: a store with many profiles takes a while to go.
        drop(removed);
    }

    /// The store that answers for the tenants of a partition; `None`: this process does not.
    pub fn of(&self, partition: u32) -> Option<ReadHalf> {
        self.shares.read().iter().find(|(share, _)| share.has(partition)).map(|(_, store)| store.clone())
    }

    /// The views whose rows the stores hold; a view's place is its `ViewIndex`.
    pub fn schemas(&self) -> &Arc<[ViewSchema]> {
        &self.schemas
    }

    /// How many students have a profile.
    pub fn students(&self) -> usize {
        self.shares.read().iter().map(|(_, store)| store.students()).sum()
    }

    /// The least frontier: everything before it is visible. [`ClockTime::ZERO`] where there is no store, and until every
    /// one has published a frontier.
    pub fn frontier(&self) -> ClockTime {
        self.shares.read().iter().map(|(_, store)| store.frontier()).min().unwrap_or(ClockTime::ZERO)
    }

    /// Adds the stores' metrics (`serving_students`, `serving_frontier_seconds`) to a registry, whose prefix they take.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(StoreMetrics(self.clone())));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store;
    use aulaflow_sink::IdempotentSink;

    fn at(time: u64) -> ReadHalf {
        let (mut writers, read) = store([].into(), vec![], 0, 1);
        writers[0].advance(ClockTime(time));
        read
    }

    #[test]
    fn a_partition_is_answered_by_its_own_store() {
        let stores = Stores::new([].into());
        assert_eq!(stores.frontier(), ClockTime::ZERO);
        assert!(stores.of(1).is_none());
        stores.put(Share::Partition(1), at(10));
        stores.put(Share::Partition(2), at(20));
        assert_eq!(stores.of(2).unwrap().frontier(), ClockTime(20));
        assert!(stores.of(3).is_none());
        assert_eq!(stores.frontier(), ClockTime(10));
        stores.put(Share::All, at(30));
        assert_eq!(stores.of(3).unwrap().frontier(), ClockTime(30));
        assert_eq!(stores.of(1).unwrap().frontier(), ClockTime(10));
        stores.put(Share::Partition(1), at(15));
        assert_eq!(stores.of(1).unwrap().frontier(), ClockTime(15));
        stores.remove(Share::Partition(1));
        assert_eq!(stores.of(1).unwrap().frontier(), ClockTime(30));
    }
}
