//! Calls of an object store, tried again where that may help.

use std::time::Duration;

use object_store::Error as StoreError;

use crate::error::{Error, Result};

/// How often and how long a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first.
    pub retries: u32,
    /// The pause before the first of them; each next one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// How long one try may take.
    pub timeout: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            retries: 3,
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// The pause after so many failures, a tenth more or less, so that many do not come back at
    /// once.
    pub fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self.pause.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.pause_max).mul_f64(rand::random_range(0.9..1.1))
    }

    /// One try, that ends in time.
    pub(super) async fn once<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(done) => done,
            Err(late) => Err(StoreError::Generic { store: "object store", source: late.into() }),
        }
    }

    /// Tries until it is done, or trying again would not help. Only for calls that may be made
    /// twice.
    pub(super) async fn call<T, F>(
        &self,
        action: &'static str,
        path: &str,
        call: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut failures = 0;
        loop {
            match self.once(call()).await {
                Ok(done) => return Ok(done),
                Err(error) if may_pass(&error) && failures < self.retries => failures += 1,
                Err(source) => {
                    return Err(Error::ObjectStore { action, path: path.to_owned(), source });
                }
            }
            tokio::time::sleep(self.pause_after(failures)).await;
        }
    }
}

/// Whether the same call may succeed later.
pub(super) fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Generic { .. } | StoreError::JoinError { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::default();
        for (failures, millis) in [(1, 100), (2, 200), (3, 400), (20, 5000), (60, 5000)] {
            let pause = retry.pause_after(failures).as_millis() as i64;
            assert!((pause - millis).abs() <= millis / 10, "{failures}: {pause}");
        }
    }
}
