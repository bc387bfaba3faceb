//! A bounded map of things that can be read again.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

/// What is cached: an object's path and a number (a block's, or one of the constants here).
pub(crate) type CacheKey = (Arc<str>, u64);

/// The whole object, parsed.
pub(crate) const PARSED: u64 = u64::MAX;

type Value = Arc<dyn Any + Send + Sync>;

/// A least-recently-used map bounded by bytes.
#[derive(Debug)]
pub(crate) struct Cache {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    used: usize,
    tick: u64,
    entries: HashMap<CacheKey, (Value, usize, u64)>,
    order: BTreeMap<u64, CacheKey>,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Cache { capacity, inner: Mutex::default() }
    }

    /// The most bytes that it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn get<T: Any + Send + Sync>(&self, key: &CacheKey) -> Option<Arc<T>> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.tick += 1;
        let tick = inner.tick;
        let (value, _, used_at) = inner.entries.get_mut(key)?;
        let value = Arc::clone(value);
        if let Some(key) = inner.order.remove(used_at) {
            inner.order.insert(tick, key);
        }
        *used_at = tick;
        drop(guard);
        value.downcast().ok()
    }

    pub(crate) fn put<T: Any + Send + Sync>(&self, key: CacheKey, value: Arc<T>, bytes: usize) {
        if bytes > self.capacity {
            return;
        }
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.tick += 1;
        let tick = inner.tick;
        if let Some((_, old, used_at)) = inner.entries.insert(key.clone(), (value, bytes, tick)) {
            inner.used -= old;
            inner.order.remove(&used_at);
        }
        inner.order.insert(tick, key);
        inner.used += bytes;
        while inner.used > self.capacity {
            let Some((_, oldest)) = inner.order.pop_first() else { break };
            if let Some((_, bytes, _)) = inner.entries.remove(&oldest) {
                inner.used -= bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_entry_leaves_first() {
        let cache = Cache::new(100);
        let key = |n| (Arc::from("a"), n);
        cache.put(key(1), Arc::new(1_u32), 40);
        cache.put(key(2), Arc::new(2_u32), 40);
        assert_eq!(cache.get::<u32>(&key(1)).as_deref(), Some(&1));
        cache.put(key(3), Arc::new(3_u32), 40);
        assert!(cache.get::<u32>(&key(2)).is_none());
        assert_eq!(cache.get::<u32>(&key(1)).as_deref(), Some(&1));
        assert_eq!(cache.get::<u32>(&key(3)).as_deref(), Some(&3));
    }
}
