//! CancelRequest: which running statements a client may stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::error::PgError;

/// The connections of a node by process id.
pub struct CancelRegistry {
    shutdown: CancellationToken,
    next: AtomicI32,
    connections: Mutex<HashMap<i32, Entry>>,
}

struct Entry {
    secret: i32,
    running: Arc<Mutex<CancellationToken>>,
}

/// A connection's place in the registry; it leaves when this is dropped.
pub struct CancelHandle {
    registry: Arc<CancelRegistry>,
    /// The process id of BackendKeyData.
    pub process_id: i32,
    /// The secret key of BackendKeyData.
    pub secret: i32,
    running: Arc<Mutex<CancellationToken>>,
}

impl CancelRegistry {
    /// An empty registry. A shutdown cancels whatever runs.
    pub fn new(shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(CancelRegistry {
            shutdown,
            next: AtomicI32::new(0),
            connections: Mutex::new(HashMap::new()),
        })
    }

    /// Gives a connection its process id and secret.
    pub fn register(self: &Arc<Self>) -> CancelHandle {
        let secret = rand::random::<i32>();
        let running = Arc::new(Mutex::new(self.shutdown.child_token()));
        let mut connections = self.connections.lock();
        let process_id = loop {
            let id = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if id != 0 && !connections.contains_key(&id) {
                break id;
            }
        };
        connections.insert(process_id, Entry { secret, running: Arc::clone(&running) });
        CancelHandle { registry: Arc::clone(self), process_id, secret, running }
    }

    /// Cancels what the connection of that process id runs, if the secret is its own.
    pub fn cancel(&self, process_id: i32, secret: i32) -> bool {
        match self.connections.lock().get(&process_id) {
            Some(entry) if entry.secret == secret => {
                entry.running.lock().cancel();
                true
            }
            _ => false,
        }
    }
}

impl CancelHandle {
    /// A token for what runs from now on; requests that came while nothing ran are forgotten.
    pub fn start(&self) -> CancellationToken {
        let mut running = self.running.lock();
        if running.is_cancelled() {
            *running = self.registry.shutdown.child_token();
        }
        running.clone()
    }
}

impl Drop for CancelHandle {
    fn drop(&mut self) {
        self.registry.connections.lock().remove(&self.process_id);
    }
}

/// What a cancelled statement answers.
pub fn canceled() -> PgError {
    PgError::new("57014", "canceling statement due to user request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_cancels() {
        let registry = CancelRegistry::new(CancellationToken::new());
        let handle = registry.register();
        let token = handle.start();
        assert!(!registry.cancel(handle.process_id, handle.secret.wrapping_add(1)));
        assert!(!token.is_cancelled());
        assert!(registry.cancel(handle.process_id, handle.secret));
        assert!(token.is_cancelled());
        assert!(!handle.start().is_cancelled());
        let id = handle.process_id;
        drop(handle);
        assert!(!registry.cancel(id, 0));
    }
}
