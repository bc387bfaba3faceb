//! Advisory locks: numbers that the sessions of a node agree to hold one another off with.
//!
//! Invariants:
//! - An exclusive lock has one session as its holder; shared ones exclude only exclusive ones.
//! - A session never waits for itself, and of sessions that wait in a circle one gives up.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What is locked: one number of 64 bits, or two of 32, which are different spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    One(i64),
    Two(i32, i32),
}

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub shared: bool,
    /// Held to the end of the transaction and not of the session.
    pub transaction: bool,
}

#[derive(Debug)]
struct Held {
    process_id: i32,
    mode: Mode,
    count: u32,
}

#[derive(Debug, Default)]
struct Table {
    held: HashMap<Key, Vec<Held>>,
    waiting: HashMap<i32, (Key, Mode)>,
}

/// Why a lock was not got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `lock_timeout` passed.
    Timeout,
    /// Sessions wait for each other.
    Deadlock,
}

/// The advisory locks of a node.
#[derive(Debug, Default)]
pub(super) struct AdvisoryLocks {
    table: Mutex<Table>,
    released: Notify,
}

impl Table {
    /// The other sessions whose locks are in the way.
    fn blockers(&self, process_id: i32, key: Key, mode: Mode) -> impl Iterator<Item = i32> {
        self.held
            .get(&key)
            .into_iter()
            .flatten()
            .filter(move |h| h.process_id != process_id && !(h.mode.shared && mode.shared))
            .map(|h| h.process_id)
    }

    fn take(&mut self, process_id: i32, key: Key, mode: Mode) -> bool {
        if self.blockers(process_id, key, mode).next().is_some() {
            return false;
        }
        let holders = self.held.entry(key).or_default();
        match holders.iter_mut().find(|h| h.process_id == process_id && h.mode == mode) {
            Some(held) => held.count += 1,
            None => holders.push(Held { process_id, mode, count: 1 }),
        }
        true
    }

    /// Whether whoever is in the way waits, directly or not, for this session.
    fn in_a_circle(&self, process_id: i32) -> bool {
        let mut seen = vec![];
        let mut next = vec![process_id];
        while let Some(waiter) = next.pop() {
            let Some((key, mode)) = self.waiting.get(&waiter) else { continue };
            for blocker in self.blockers(waiter, *key, *mode) {
                if blocker == process_id {
                    return true;
                }
                if !seen.contains(&blocker) {
                    seen.push(blocker);
                    next.push(blocker);
                }
            }
        }
        false
    }

    fn retain(&mut self, mut keep: impl FnMut(&Held) -> bool) -> bool {
        let mut any = false;
        for holders in self.held.values_mut() {
            let before = holders.len();
            holders.retain(&mut keep);
            any |= holders.len() < before;
        }
        self.held.retain(|_, holders| !holders.is_empty());
        any
    }
}

/// A waiter is no longer one when its statement is stopped.
struct Waiting<'a>(&'a AdvisoryLocks, i32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.table.lock().waiting.remove(&self.1);
    }
}

impl AdvisoryLocks {
    /// Takes a lock if nobody is in the way.
    pub fn try_lock(&self, process_id: i32, key: Key, mode: Mode) -> bool {
        self.table.lock().take(process_id, key, mode)
    }

    /// Takes a lock as soon as nobody is in the way; cancel safe.
    pub async fn lock(
        &self,
        process_id: i32,
        key: Key,
        mode: Mode,
        limit: Option<Duration>,
    ) -> Result<(), Refusal> {
        let waiting = async {
            loop {
                let released = self.released.notified();
                tokio::pin!(released);
                // Registered before the look, so that no release is missed.
                released.as_mut().enable();
                {
                    let mut table = self.table.lock();
                    if table.take(process_id, key, mode) {
                        return Ok(());
                    }
                    table.waiting.insert(process_id, (key, mode));
                    if table.in_a_circle(process_id) {
                        return Err(Refusal::Deadlock);
                    }
                }
                released.await;
            }
        };
        let _waiting = Waiting(self, process_id);
        match limit {
            None => waiting.await,
            Some(limit) => {
                tokio::time::timeout(limit, waiting).await.unwrap_or(Err(Refusal::Timeout))
            }
        }
    }

    /// Gives back one hold on a session's lock. Gives whether there was one.
    pub fn unlock(&self, process_id: i32, key: Key, shared: bool) -> bool {
        let mode = Mode { shared, transaction: false };
        let mut table = self.table.lock();
        let Some(holders) = table.held.get_mut(&key) else { return false };
        let Some(i) = holders.iter().position(|h| h.process_id == process_id && h.mode == mode)
        else {
            return false;
        };
        holders[i].count -= 1;
        if holders[i].count == 0 {
            holders.swap_remove(i);
            if holders.is_empty() {
                table.held.remove(&key);
            }
            self.released.notify_waiters();
        }
        true
    }

    fn release(&self, keep: impl FnMut(&Held) -> bool) {
        if self.table.lock().retain(keep) {
            self.released.notify_waiters();
        }
    }

    /// Gives back a session's own locks, not those of its transaction.
    pub fn unlock_all(&self, process_id: i32) {
        self.release(|h| h.process_id != process_id || h.mode.transaction);
    }

    /// The session's transaction has ended.
    pub fn end_transaction(&self, process_id: i32) {
        self.release(|h| h.process_id != process_id || !h.mode.transaction);
    }

    /// The session has ended.
    pub fn leave(&self, process_id: i32) {
        self.release(|h| h.process_id != process_id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const EXCLUSIVE: Mode = Mode { shared: false, transaction: false };
    const SHARED: Mode = Mode { shared: true, transaction: false };
    const KEY: Key = Key::One(42);

    #[test]
    fn an_exclusive_lock_is_one_sessions_and_counted() {
        let locks = AdvisoryLocks::default();
        assert!(locks.try_lock(1, KEY, EXCLUSIVE) && locks.try_lock(1, KEY, EXCLUSIVE));
        assert!(!locks.try_lock(2, KEY, EXCLUSIVE) && !locks.try_lock(2, KEY, SHARED));
        assert!(locks.try_lock(2, Key::Two(0, 42), EXCLUSIVE));
        assert!(locks.unlock(1, KEY, false));
        assert!(!locks.try_lock(2, KEY, EXCLUSIVE));
        assert!(locks.unlock(1, KEY, false) && !locks.unlock(1, KEY, false));
        assert!(locks.try_lock(2, KEY, EXCLUSIVE));
    }

    #[test]
    fn shared_locks_keep_only_exclusive_ones_off() {
        let locks = AdvisoryLocks::default();
        assert!(locks.try_lock(1, KEY, SHARED) && locks.try_lock(2, KEY, SHARED));
        assert!(!locks.try_lock(3, KEY, EXCLUSIVE));
        locks.leave(1);
        locks.unlock_all(2);
        assert!(locks.try_lock(3, KEY, EXCLUSIVE));
    }

    #[tokio::test]
    async fn who_waits_gets_the_lock_when_it_is_given_back() {
        let locks = Arc::new(AdvisoryLocks::default());
        assert!(locks.try_lock(1, KEY, EXCLUSIVE));
        let waiter = {
            let locks = Arc::clone(&locks);
            tokio::spawn(async move { locks.lock(2, KEY, EXCLUSIVE, None).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        locks.leave(1);
        assert_eq!(waiter.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn of_two_that_wait_for_each_other_one_gives_up() {
        let locks = Arc::new(AdvisoryLocks::default());
        let other = Key::One(7);
        assert!(locks.try_lock(1, KEY, EXCLUSIVE) && locks.try_lock(2, other, EXCLUSIVE));
        let waiter = {
            let locks = Arc::clone(&locks);
            tokio::spawn(async move { locks.lock(1, other, EXCLUSIVE, None).await })
        };
        tokio::task::yield_now().await;
        assert_eq!(locks.lock(2, KEY, EXCLUSIVE, None).await, Err(Refusal::Deadlock));
        locks.leave(2);
        assert_eq!(waiter.await.unwrap(), Ok(()));
    }
}
