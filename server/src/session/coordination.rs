//! What sessions do to one another: LISTEN and NOTIFY, advisory locks, cancelling and ending.

use std::time::Duration;

use chronos_catalog::schema::OtherType;
use chronos_catalog::{NameKind, SqlType, roles};
use chronos_sql_ext::privileges::is_superuser;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::Ident;

use super::backends::{self, Listen};
use super::functions::{Entry, string, text, wait};
use super::locks::{Key, Mode, Refusal};
use super::names::fold;
use super::session::Session;
use super::shared::Shared;
use crate::error::{PgError, PgResult};

/// The functions of this module: name, least and most arguments, type of the result.
pub(super) const FUNCTIONS: [Entry; 17] = {
    use SqlType::Bool;
    const VOID: SqlType = SqlType::Other(OtherType::Void);
    use Volatility::Volatile;
    [
        ("pg_notify", (2, 2), VOID, Volatile, pg_notify),
        ("pg_sleep", (1, 1), VOID, Volatile, pg_sleep),
        ("pg_cancel_backend", (1, 1), Bool, Volatile, pg_cancel_backend),
        ("pg_terminate_backend", (1, 2), Bool, Volatile, pg_terminate_backend),
        ("pg_advisory_lock", (1, 2), VOID, Volatile, |s, a, _| lock(s, a, SESSION)),
        ("pg_advisory_lock_shared", (1, 2), VOID, Volatile, |s, a, _| lock(s, a, SHARED)),
        ("pg_advisory_xact_lock", (1, 2), VOID, Volatile, |s, a, _| lock(s, a, OF_TRANSACTION)),
        ("pg_advisory_xact_lock_shared", (1, 2), VOID, Volatile, |s, a, _| {
            lock(s, a, Mode { shared: true, ..OF_TRANSACTION })
        }),
        ("pg_try_advisory_lock", (1, 2), Bool, Volatile, |s, a, _| try_lock(s, a, SESSION)),
        ("pg_try_advisory_lock_shared", (1, 2), Bool, Volatile, |s, a, _| try_lock(s, a, SHARED)),
        ("pg_try_advisory_xact_lock", (1, 2), Bool, Volatile, |s, a, _| {
            try_lock(s, a, OF_TRANSACTION)
        }),
        ("pg_try_advisory_xact_lock_shared", (1, 2), Bool, Volatile, |s, a, _| {
            try_lock(s, a, Mode { shared: true, ..OF_TRANSACTION })
        }),
        ("pg_advisory_unlock", (1, 2), Bool, Volatile, |s, a, _| unlock(s, a, false)),
        ("pg_advisory_unlock_shared", (1, 2), Bool, Volatile, |s, a, _| unlock(s, a, true)),
        ("pg_advisory_unlock_all", (0, 0), VOID, Volatile, unlock_all),
        ("pg_notification_queue_usage", (0, 0), SqlType::Float8, Volatile, |_, _, _| {
            Ok(ScalarValue::Float64(Some(0.0)))
        }),
        ("pg_sleep_for", (1, 1), VOID, Volatile, pg_sleep_for),
    ]
};

const SESSION: Mode = Mode { shared: false, transaction: false };
const SHARED: Mode = Mode { shared: true, transaction: false };
const OF_TRANSACTION: Mode = Mode { shared: false, transaction: true };

fn whole(value: &ScalarValue) -> PgResult<Option<i64>> {
    match value.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(n) => Ok(n),
        _ => Ok(None),
    }
}

fn pid(value: &ScalarValue) -> PgResult<Option<i32>> {
    Ok(whole(value)?.map(|n| i32::try_from(n).unwrap_or(0)))
}

impl Shared {
    /// Refuses to stop the session of another role.
    fn check_signal(&self, pid: i32, what: &str) -> PgResult<()> {
        let Some(user) = self.backends.user(pid) else { return Ok(()) };
        let (objects, at) = self.objects_or_committed();
        let rights = self.rights(&objects, at);
        let other = objects.lookup(NameKind::Role, None, &user, at).map(|(oid, _)| oid);
        let superuser = other.is_some_and(|oid| is_superuser(&objects, at, oid));
        if superuser && !rights.superuser() {
            let message = format!("must be a superuser to {what} of superuser");
            return Err(PgError::new("42501", message));
        }
        if other.is_none_or(|oid| rights.has_role(oid)) || rights.has_role(roles::SIGNAL_BACKEND) {
            return Ok(());
        }
        let message = format!(
            "must be a member of the role whose {} or member of pg_signal_backend",
            match what {
                "cancel query" => "query is being canceled",
                _ => "process is being terminated",
            }
        );
        Err(PgError::new("42501", message))
    }

    fn process_id(&self) -> i32 {
        self.identity.process_id
    }

    /// Waits, unless the statement is stopped meanwhile or takes too long.
    pub fn wait_unless_stopped<T>(&self, future: impl Future<Output = T>) -> PgResult<T> {
        let (running, deadline) = {
            let scope = self.scope.lock();
            (scope.running.clone(), scope.deadline)
        };
        wait(async {
            tokio::select! {
                biased;
                value = future => Ok(value),
                () = running.cancelled() => Err(super::transaction::stopped("user request")),
                () = super::transaction::reached(deadline) => {
                    Err(super::transaction::stopped("statement timeout"))
                }
            }
        })
    }

    /// NOTIFY, at once or with the transaction that is open.
    pub fn notify(&self, channel: String, payload: String) -> PgResult<()> {
        backends::check(&channel, &payload)?;
        self.backends.check_room(&channel)?;
        self.pending.lock().notify(channel, payload);
        self.settle_unless_open();
        Ok(())
    }

    fn listen(&self, listen: Listen) {
        self.pending.lock().listens.push(listen);
        self.settle_unless_open();
    }

    /// Without a transaction, what was said takes effect now.
    fn settle_unless_open(&self) {
        if self.transaction.try_read().is_ok_and(|open| open.is_none()) {
            self.settle();
        }
    }

    /// What the transaction said takes effect, for it has committed.
    pub fn settle(&self) {
        let pending = std::mem::take(&mut *self.pending.lock());
        if !pending.listens.is_empty() || !pending.notifications.is_empty() {
            self.backends.deliver(self.process_id(), pending);
        }
    }
}

impl Session {
    pub(super) fn listen(&self, channel: &Ident) -> String {
        self.shared.listen(Listen::To(fold(channel)));
        "LISTEN".to_owned()
    }

    pub(super) fn unlisten(&self, channel: &Ident) -> String {
        self.shared.listen(match channel.value.as_str() {
            "*" if channel.quote_style.is_none() => Listen::ToNothing,
            _ => Listen::NotTo(fold(channel)),
        });
        "UNLISTEN".to_owned()
    }

    pub(super) fn notify(&self, channel: &Ident, payload: Option<&str>) -> PgResult<String> {
        self.shared.notify(fold(channel), payload.unwrap_or_default().to_owned())?;
        Ok("NOTIFY".to_owned())
    }
}

fn pg_notify(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let channel = text(&args[0]).unwrap_or_default();
    shared.notify(channel, text(&args[1]).unwrap_or_default())?;
    Ok(string(""))
}

fn pg_sleep(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let seconds = match args[0].cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(seconds)) => seconds,
        _ => return Ok(ScalarValue::Utf8View(None)),
    };
    if seconds > 0.0 {
        // A century, for what cannot be counted.
        let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1 << 31));
        shared.wait_unless_stopped(tokio::time::sleep(time))?;
    }
    Ok(string(""))
}

fn pg_sleep_for(shared: &Shared, args: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    let interval = match &args[0] {
        ScalarValue::IntervalMonthDayNano(Some(i)) => *i,
        other => {
            let Some(text) = text(other) else { return Ok(ScalarValue::Utf8View(None)) };
            match crate::pgwire::decode::from_text(
                &SqlType::Interval,
                &text,
                &shared.text_settings(),
            )? {
                ScalarValue::IntervalMonthDayNano(Some(i)) => i,
                _ => return Ok(ScalarValue::Utf8View(None)),
            }
        }
    };
    let days = f64::from(interval.months) * 30.0 + f64::from(interval.days);
    let seconds = days * 86_400.0 + interval.nanoseconds as f64 / 1e9;
    pg_sleep(shared, &[ScalarValue::Float64(Some(seconds))], &[])
}

/// Does that to the session of a process id, where the role may.
fn signal(
    shared: &Shared,
    args: &[ScalarValue],
    what: &str,
    send: impl FnOnce(i32) -> bool,
) -> PgResult<ScalarValue> {
    let Some(pid) = pid(&args[0])? else { return Ok(ScalarValue::Boolean(None)) };
    shared.check_signal(pid, what)?;
    Ok(ScalarValue::Boolean(Some(send(pid))))
}

fn pg_cancel_backend(
    shared: &Shared,
    args: &[ScalarValue],
    _: &[FieldRef],
) -> PgResult<ScalarValue> {
    signal(shared, args, "cancel query", |pid| shared.backends.cancel(pid))
}

fn pg_terminate_backend(
    shared: &Shared,
    args: &[ScalarValue],
    _: &[FieldRef],
) -> PgResult<ScalarValue> {
    signal(shared, args, "terminate process", |pid| shared.backends.terminate(pid))
}

/// What is locked; `None` where an argument is NULL.
fn key(args: &[ScalarValue]) -> PgResult<Option<Key>> {
    let small =
        |n: i64| i32::try_from(n).map_err(|_| PgError::new("22003", "integer out of range"));
    Ok(match args {
        [one] => whole(one)?.map(Key::One),
        [one, two] => match (whole(one)?, whole(two)?) {
            (Some(one), Some(two)) => Some(Key::Two(small(one)?, small(two)?)),
            _ => None,
        },
        _ => None,
    })
}

fn lock(shared: &Shared, args: &[ScalarValue], mode: Mode) -> PgResult<ScalarValue> {
    let Some(key) = key(args)? else { return Ok(ScalarValue::Utf8View(None)) };
    let limit = shared.settings.read().milliseconds("lock_timeout");
    let locks = &shared.backends.locks;
    match shared.wait_unless_stopped(locks.lock(shared.process_id(), key, mode, limit))? {
        Ok(()) => Ok(string("")),
        Err(Refusal::Timeout) => {
            Err(PgError::new("55P03", "canceling statement due to lock timeout"))
        }
        Err(Refusal::Deadlock) => Err(PgError::new("40P01", "deadlock detected")),
    }
}

fn try_lock(shared: &Shared, args: &[ScalarValue], mode: Mode) -> PgResult<ScalarValue> {
    let key = key(args)?;
    let got = key.map(|key| shared.backends.locks.try_lock(shared.process_id(), key, mode));
    Ok(ScalarValue::Boolean(got))
}

fn unlock(shared: &Shared, args: &[ScalarValue], of_shared: bool) -> PgResult<ScalarValue> {
    let key = key(args)?;
    let had = key.map(|key| shared.backends.locks.unlock(shared.process_id(), key, of_shared));
    Ok(ScalarValue::Boolean(had))
}

fn unlock_all(shared: &Shared, _: &[ScalarValue], _: &[FieldRef]) -> PgResult<ScalarValue> {
    shared.backends.locks.unlock_all(shared.process_id());
    Ok(string(""))
}

/// The channels that the session listens to, as a list.
pub(super) fn listening_channels(
    shared: &Shared,
    _: &[ScalarValue],
    _: &[FieldRef],
) -> PgResult<ScalarValue> {
    let names: Vec<ScalarValue> =
        shared.backends.channels(shared.process_id()).into_iter().map(string).collect();
    Ok(ScalarValue::List(ScalarValue::new_list(&names, &DataType::Utf8View, true)))
}
