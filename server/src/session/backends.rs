//! The sessions of a node as they see each other: who is there, who listens to what, and whom
//! to stop.
//!
//! Invariants:
//! - A notification reaches those who listen when its transaction has committed, in the order of
//!   the commits, and once however often the transaction sent it.
//! - LISTEN and UNLISTEN hold from the commit of their transaction.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::locks::AdvisoryLocks;
use super::shared::Shared;
use crate::error::{PgError, PgResult};

/// Notifications that a session may have waiting; more are refused to their sender.
const MAILBOX_LIMIT: usize = 1 << 16;
/// Bytes of a payload and of a channel's name, as in PostgreSQL.
const PAYLOAD_LIMIT: usize = 8000;
const CHANNEL_LIMIT: usize = 63;

/// Sender's process id, channel, payload.
pub(super) type Notification = (i32, String, String);

/// The sessions of a node.
#[derive(Default)]
pub(super) struct Backends {
    entries: Mutex<HashMap<i32, Entry>>,
    pub locks: AdvisoryLocks,
}

struct Entry {
    /// The session, once it is made.
    session: Weak<Shared>,
    user: String,
    mailbox: Arc<Mailbox>,
    channels: BTreeSet<String>,
    /// Stops what runs.
    running: CancellationToken,
    /// Ends the connection.
    connection: CancellationToken,
}

/// What waits to be sent to one client.
#[derive(Default)]
pub(super) struct Mailbox {
    queue: Mutex<VecDeque<Notification>>,
    arrived: Notify,
}

/// What a transaction said with LISTEN, UNLISTEN and NOTIFY, to take effect when it commits.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub listens: Vec<Listen>,
    pub notifications: Vec<(String, String)>,
}

/// A change of what a session listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    To(String),
    NotTo(String),
    ToNothing,
}

impl Mailbox {
    /// What came so far.
    pub fn take(&self) -> Vec<Notification> {
        self.queue.lock().drain(..).collect()
    }

    /// The next one; cancel safe.
    pub async fn next(&self) -> Notification {
        loop {
            let arrived = self.arrived.notified();
            if let Some(notification) = self.queue.lock().pop_front() {
                return notification;
            }
            arrived.await;
        }
    }
}

/// A session's place among the others; it leaves when this is dropped.
pub(super) struct Backend {
    pub backends: Arc<Backends>,
    process_id: i32,
    pub mailbox: Arc<Mailbox>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.backends.entries.lock().remove(&self.process_id);
        self.backends.locks.leave(self.process_id);
    }
}

impl Backends {
    pub fn join(self: &Arc<Self>, process_id: i32, user: &str) -> Backend {
        let mailbox = Arc::<Mailbox>::default();
        let entry = Entry {
            session: Weak::new(),
            user: user.to_owned(),
            mailbox: Arc::clone(&mailbox),
            channels: BTreeSet::new(),
            running: CancellationToken::new(),
            connection: CancellationToken::new(),
        };
        self.entries.lock().insert(process_id, entry);
        Backend { backends: Arc::clone(self), process_id, mailbox }
    }

    /// Shows a session to the others.
    pub fn introduce(&self, session: &Arc<Shared>) {
        if let Some(entry) = self.entries.lock().get_mut(&session.identity.process_id) {
            entry.session = Arc::downgrade(session);
        }
    }

    /// The sessions that are there, by process id.
    pub fn sessions(&self) -> Vec<Arc<Shared>> {
        let mut sessions: Vec<Arc<Shared>> =
            self.entries.lock().values().filter_map(|entry| entry.session.upgrade()).collect();
        sessions.sort_by_key(|session| session.identity.process_id);
        sessions
    }

    /// Whose session it is.
    pub fn user(&self, process_id: i32) -> Option<String> {
        self.entries.lock().get(&process_id).map(|entry| entry.user.clone())
    }

    /// How many sessions a role has.
    pub fn count(&self, user: &str) -> usize {
        self.entries.lock().values().filter(|entry| entry.user == user).count()
    }

    /// What stops the statement that the session runs next.
    pub fn watch(&self, process_id: i32, running: CancellationToken) {
        if let Some(entry) = self.entries.lock().get_mut(&process_id) {
            entry.running = running;
        }
    }

    /// What ends the session's connection.
    pub fn attach(&self, process_id: i32, connection: CancellationToken) {
        if let Some(entry) = self.entries.lock().get_mut(&process_id) {
            entry.connection = connection;
        }
    }

    /// Stops what a session runs. Gives whether there is such a session.
    pub fn cancel(&self, process_id: i32) -> bool {
        let entries = self.entries.lock();
        let found = entries.get(&process_id);
        found.map(|entry| entry.running.cancel()).is_some()
    }

    /// Ends a session. Gives whether there is such a session.
    pub fn terminate(&self, process_id: i32) -> bool {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(&process_id) else { return false };
        entry.connection.cancel();
        entry.running.cancel();
        true
    }

    /// The channels that a session listens to.
    pub fn channels(&self, process_id: i32) -> Vec<String> {
        let entries = self.entries.lock();
        entries.get(&process_id).map(|e| e.channels.iter().cloned().collect()).unwrap_or_default()
    }

    /// Refuses a notification that a listener has no room for.
    pub fn check_room(&self, channel: &str) -> PgResult<()> {
        let entries = self.entries.lock();
        let full = entries
            .values()
            .any(|e| e.channels.contains(channel) && e.mailbox.queue.lock().len() >= MAILBOX_LIMIT);
        if full {
            return Err(PgError::new("54000", "too many notifications in the NOTIFY queue"));
        }
        Ok(())
    }

    /// The transaction has committed: what it said takes effect.
    pub fn deliver(&self, process_id: i32, pending: Pending) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(&process_id) {
            for listen in pending.listens {
                match listen {
                    Listen::To(channel) => {
                        entry.channels.insert(channel);
                    }
                    Listen::NotTo(channel) => {
                        entry.channels.remove(&channel);
                    }
                    Listen::ToNothing => entry.channels.clear(),
                }
            }
        }
        for (channel, payload) in pending.notifications {
            for entry in entries.values().filter(|e| e.channels.contains(&channel)) {
                let notification = (process_id, channel.clone(), payload.clone());
                entry.mailbox.queue.lock().push_back(notification);
                entry.mailbox.arrived.notify_one();
            }
        }
    }
}

/// Checks what NOTIFY is given.
///
/// # Errors
/// 22023 for a channel without a name and for what is too long.
pub(super) fn check(channel: &str, payload: &str) -> PgResult<()> {
    let what = match (channel.len(), payload.len()) {
        (0, _) => "channel name cannot be empty",
        (n, _) if n > CHANNEL_LIMIT => "channel name too long",
        (_, n) if n >= PAYLOAD_LIMIT => "payload string too long",
        _ => return Ok(()),
    };
    Err(PgError::new("22023", what))
}

impl Pending {
    /// Adds a notification unless the transaction has sent the same before.
    pub fn notify(&mut self, channel: String, payload: String) {
        let notification = (channel, payload);
        if !self.notifications.contains(&notification) {
            self.notifications.push(notification);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(backends: &Arc<Backends>, process_id: i32, channel: &str) -> Backend {
        let backend = backends.join(process_id, "ann");
        let listens = vec![Listen::To(channel.to_owned())];
        backends.deliver(process_id, Pending { listens, notifications: vec![] });
        backend
    }

    fn sent(channel: &str, payload: &str) -> Pending {
        let mut pending = Pending::default();
        pending.notify(channel.to_owned(), payload.to_owned());
        pending.notify(channel.to_owned(), payload.to_owned());
        pending
    }

    #[test]
    fn a_notification_reaches_listeners_once_and_nobody_else() {
        let backends = Arc::<Backends>::default();
        let (a, b) = (listening(&backends, 1, "news"), listening(&backends, 2, "other"));
        backends.deliver(2, sent("news", "x"));
        assert_eq!(a.mailbox.take(), [(2, "news".to_owned(), "x".to_owned())]);
        assert!(b.mailbox.take().is_empty());
    }

    #[test]
    fn a_session_that_left_is_not_there_to_be_stopped() {
        let backends = Arc::<Backends>::default();
        let a = backends.join(1, "ann");
        assert_eq!((backends.count("ann"), backends.count("bob")), (1, 0));
        let token = CancellationToken::new();
        backends.watch(1, token.clone());
        assert!(backends.cancel(1) && token.is_cancelled());
        drop(a);
        assert!(!backends.cancel(1) && !backends.terminate(1));
    }

    #[test]
    fn a_payload_that_is_too_long_is_refused() {
        assert!(check("c", &"x".repeat(PAYLOAD_LIMIT - 1)).is_ok());
        assert_eq!(check("c", &"x".repeat(PAYLOAD_LIMIT)).unwrap_err().code, "22023");
        assert_eq!(check("", "").unwrap_err().code, "22023");
    }
}
