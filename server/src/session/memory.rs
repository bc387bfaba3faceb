//! How much memory queries may hold for sorts, joins and groups.
//!
//! Every session has a limit of its own, and all of them together have one. What meets either
//! spills to disk if it can, and otherwise fails with 53200.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// What hands rows from some partitions to others. It is never refused memory, only counted: when
/// it goes to disk, DataFusion 55.2 may wait for ever. It holds a few batches for each partition.
const REPARTITION: &str = "RepartitionExec";

/// One session's share of the memory of all.
#[derive(Debug)]
pub(super) struct SessionPool {
    own: FairSpillPool,
    limit: usize,
    all: Arc<dyn MemoryPool>,
}

impl SessionPool {
    pub fn new(limit: usize, all: Arc<dyn MemoryPool>) -> Self {
        SessionPool { own: FairSpillPool::new(limit), limit, all }
    }
}

impl fmt::Display for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} of {})", self.name(), self.own.reserved(), self.limit)
    }
}

fn exhausted(whose: &str, setting: &str) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!("out of memory: {whose} ({setting})"))
}

impl MemoryPool for SessionPool {
    fn name(&self) -> &str {
        "session"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if reservation.consumer().name().starts_with(REPARTITION) {
            self.grow(reservation, additional);
            return Ok(());
        }
        if self.own.try_grow(reservation, additional).is_err() {
            return Err(exhausted("the query needs more than it may have", "query_bytes_max"));
        }
        if self.all.try_grow(reservation, additional).is_err() {
            self.own.shrink(reservation, additional);
            let whose = "all queries together need more than they may have";
            return Err(exhausted(whose, "queries_bytes_max"));
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn a_session_has_its_own_limit_and_a_share_of_that_of_all() {
        let all: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(150));
        let session =
            || -> Arc<dyn MemoryPool> { Arc::new(SessionPool::new(100, Arc::clone(&all))) };
        let (a, b) = (session(), session());
        let of = |pool| MemoryConsumer::new("test").register(pool);
        let (first, second) = (of(&a), of(&b));
        first.try_grow(100).unwrap();
        let error = first.try_grow(1).unwrap_err().to_string();
        assert!(error.contains("query_bytes_max"), "{error}");
        second.try_grow(50).unwrap();
        let error = second.try_grow(1).unwrap_err().to_string();
        assert!(error.contains("queries_bytes_max"), "{error}");
        assert_eq!((a.reserved(), b.reserved(), all.reserved()), (100, 50, 150));
        drop(first);
        second.try_grow(1).unwrap();
        let handed = MemoryConsumer::new("RepartitionExec[0]").register(&a);
        handed.try_grow(1000).unwrap();
        drop((second, handed));
        assert_eq!((a.reserved(), b.reserved(), all.reserved()), (0, 0, 0));
    }
}
