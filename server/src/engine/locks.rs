//! Row locks: who is about to change a row version, so that others wait instead of failing at
//! their commit.
//!
//! Invariants:
//! - A version has any number of sharers or one exclusive owner.
//! - An owner's locks live until it ends, which it does after its commit shows.
//! - Nobody waits in a circle: who would close one gets 40P01.
//!
//! Locks are this process's. What keeps commits right is the sequencer's check, which does not
//! rely on them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chronos_catalog::{Oid, RowRef, SegmentId};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio_util::sync::CancellationToken;

use crate::engine::error::{EngineResult, Error};

/// How strongly rows are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// FOR SHARE: others may share.
    Shared,
    /// FOR UPDATE, and every change.
    Exclusive,
}

/// What to do about a row that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Wait until the transaction ends, for ever or that long.
    Wait(Option<Duration>),
    /// 55P03.
    NoWait,
    /// Leave the row out.
    Skip,
}

/// The locks of all transactions.
#[derive(Debug, Default)]
pub(super) struct RowLocks(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    held: HashMap<(Oid, SegmentId), Vec<Held>>,
    /// Whom each waiting owner waits for.
    waits: HashMap<u64, Vec<u64>>,
}

#[derive(Debug)]
struct Held {
    owner: u64,
    mode: LockMode,
    positions: RoaringBitmap,
    ended: CancellationToken,
}

/// One transaction's locks; dropping it releases them.
#[derive(Debug)]
pub(super) struct LockOwner {
    locks: Arc<RowLocks>,
    id: u64,
    ended: CancellationToken,
    segments: Mutex<HashSet<(Oid, SegmentId)>>,
}

type Blockers = Vec<(u64, CancellationToken)>;

impl RowLocks {
    pub(super) fn owner(self: &Arc<Self>) -> LockOwner {
        let id = {
            let mut inner = self.0.lock();
            inner.next += 1;
            inner.next
        };
        LockOwner {
            locks: Arc::clone(self),
            id,
            ended: CancellationToken::new(),
            segments: Mutex::default(),
        }
    }
}

impl Inner {
    /// Those who hold one of the rows against `owner`.
    fn blockers(
        &self,
        owner: u64,
        table: Oid,
        segment: SegmentId,
        positions: &RoaringBitmap,
        mode: LockMode,
    ) -> impl Iterator<Item = &Held> {
        self.held.get(&(table, segment)).into_iter().flatten().filter(move |held| {
            held.owner != owner
                && (mode == LockMode::Exclusive || held.mode == LockMode::Exclusive)
                && !held.positions.is_disjoint(positions)
        })
    }

    fn take(
        &mut self,
        owner: &LockOwner,
        table: Oid,
        segment: SegmentId,
        positions: &RoaringBitmap,
        mode: LockMode,
    ) {
        let held = self.held.entry((table, segment)).or_default();
        match held.iter_mut().find(|h| h.owner == owner.id && h.mode == mode) {
            Some(own) => own.positions |= positions,
            None => held.push(Held {
                owner: owner.id,
                mode,
                positions: positions.clone(),
                ended: owner.ended.clone(),
            }),
        }
        owner.segments.lock().insert((table, segment));
    }

    /// Whether waiting for those would close a circle.
    fn closes_circle(&self, owner: u64, blockers: &Blockers) -> bool {
        let mut next: Vec<u64> = blockers.iter().map(|(id, _)| *id).collect();
        let mut seen = HashSet::new();
        while let Some(id) = next.pop() {
            if id == owner {
                return true;
            }
            if seen.insert(id) {
                next.extend(self.waits.get(&id).into_iter().flatten());
            }
        }
        false
    }
}

/// Takes a note of waiting back, also where the wait is given up.
struct Waiting<'a>(&'a LockOwner);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.locks.0.lock().waits.remove(&self.0.id);
    }
}

impl LockOwner {
    /// Locks rows, all or none of them; with [`LockWait::Skip`] those that are free, which it
    /// gives.
    ///
    /// # Errors
    /// [`Error::Deadlock`], [`Error::LockTimeout`], [`Error::LockNotAvailable`].
    pub(super) async fn lock(
        &self,
        table: Oid,
        rows: &[RowRef],
        mode: LockMode,
        wait: LockWait,
        name: &str,
    ) -> EngineResult<Vec<RowRef>> {
        let mut wanted: BTreeMap<SegmentId, RoaringBitmap> = BTreeMap::new();
        for row in rows {
            wanted.entry(row.segment).or_default().insert(row.position);
        }
        if wait == LockWait::Skip {
            let mut inner = self.locks.0.lock();
            for (&segment, positions) in &mut wanted {
                let mut taken = RoaringBitmap::new();
                for held in inner.blockers(self.id, table, segment, positions, mode) {
                    taken |= &held.positions;
                }
                *positions -= taken;
                inner.take(self, table, segment, positions, mode);
            }
            let free =
                |row: &&RowRef| wanted.get(&row.segment).is_some_and(|p| p.contains(row.position));
            return Ok(rows.iter().filter(free).copied().collect());
        }
        let deadline = match wait {
            LockWait::Wait(limit) => limit.map(|limit| tokio::time::Instant::now() + limit),
            LockWait::NoWait | LockWait::Skip => None,
        };
        loop {
            let blockers = self.try_lock(table, &wanted, mode, wait, name)?;
            let Some((_, ended)) = blockers.first() else { return Ok(rows.to_vec()) };
            let _waiting = Waiting(self);
            match deadline {
                None => ended.cancelled().await,
                Some(deadline) => {
                    tokio::time::timeout_at(deadline, ended.cancelled())
                        .await
                        .map_err(|_| Error::LockTimeout)?;
                }
            }
        }
    }

    /// Locks the rows, or notes for whom this waits.
    fn try_lock(
        &self,
        table: Oid,
        wanted: &BTreeMap<SegmentId, RoaringBitmap>,
        mode: LockMode,
        wait: LockWait,
        name: &str,
    ) -> EngineResult<Blockers> {
        let mut inner = self.locks.0.lock();
        let mut blockers = Blockers::new();
        for (&segment, positions) in wanted {
            let held = inner.blockers(self.id, table, segment, positions, mode);
            blockers.extend(held.map(|h| (h.owner, h.ended.clone())));
        }
        if blockers.is_empty() {
            for (&segment, positions) in wanted {
                inner.take(self, table, segment, positions, mode);
            }
        } else if wait == LockWait::NoWait {
            return Err(Error::LockNotAvailable { table: name.to_owned() });
        } else if inner.closes_circle(self.id, &blockers) {
            return Err(Error::Deadlock { table: name.to_owned() });
        } else {
            let whom = blockers.iter().map(|(id, _)| *id).collect();
            inner.waits.insert(self.id, whom);
        }
        Ok(blockers)
    }
}

impl Drop for LockOwner {
    fn drop(&mut self) {
        let mut inner = self.locks.0.lock();
        for key in self.segments.get_mut().drain() {
            if let Some(held) = inner.held.get_mut(&key) {
                held.retain(|h| h.owner != self.id);
                if held.is_empty() {
                    inner.held.remove(&key);
                }
            }
        }
        drop(inner);
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Oid = Oid(7);

    fn row(position: u32) -> RowRef {
        RowRef { segment: SegmentId(1), position }
    }

    async fn lock(owner: &LockOwner, position: u32, wait: LockWait) -> EngineResult<Vec<RowRef>> {
        owner.lock(TABLE, &[row(position)], LockMode::Exclusive, wait, "t").await
    }

    #[tokio::test]
    async fn a_lock_is_free_when_its_owner_has_ended() {
        let locks = Arc::new(RowLocks::default());
        let (a, b) = (locks.owner(), locks.owner());
        lock(&a, 1, LockWait::NoWait).await.unwrap();
        assert!(matches!(lock(&b, 1, LockWait::NoWait).await, Err(Error::LockNotAvailable { .. })));
        assert!(lock(&b, 1, LockWait::Skip).await.unwrap().is_empty());
        let short = LockWait::Wait(Some(Duration::from_millis(5)));
        assert!(matches!(lock(&b, 1, short).await, Err(Error::LockTimeout)));
        let waits = tokio::spawn(async move {
            lock(&b, 1, LockWait::Wait(None)).await.unwrap();
            b
        });
        tokio::task::yield_now().await;
        drop(a);
        drop(waits.await.unwrap());
        assert!(locks.0.lock().held.is_empty());
    }

    #[tokio::test]
    async fn who_would_wait_in_a_circle_is_refused() {
        let locks = Arc::new(RowLocks::default());
        let (a, b) = (Arc::new(locks.owner()), locks.owner());
        lock(&a, 1, LockWait::NoWait).await.unwrap();
        lock(&b, 2, LockWait::NoWait).await.unwrap();
        let waiting = Arc::clone(&a);
        let waits = tokio::spawn(async move { lock(&waiting, 2, LockWait::Wait(None)).await });
        while locks.0.lock().waits.is_empty() {
            tokio::task::yield_now().await;
        }
        let refused = lock(&b, 1, LockWait::Wait(None)).await;
        assert!(matches!(refused, Err(Error::Deadlock { .. })));
        drop(b);
        waits.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn sharers_do_not_wait_for_each_other() {
        let locks = Arc::new(RowLocks::default());
        let (a, b) = (locks.owner(), locks.owner());
        for owner in [&a, &b] {
            owner.lock(TABLE, &[row(1)], LockMode::Shared, LockWait::NoWait, "t").await.unwrap();
        }
        assert!(lock(&a, 1, LockWait::NoWait).await.is_err());
    }
}
