//! Time and chance, which the rest of the system asks for here only, so that tests can give
//! both.
//!
//! ```text
//! clock      100   101    90    90   103      (someone set it back)
//! next()     100   101   102   103   104      unique, strictly increasing, never waits
//! ```
//!
//! Invariants:
//! - [`HybridClock::next`] never returns an instant twice, nor one at or before an instant
//!   given to [`HybridClock::observe`].
//! - What it returns is at most the allowed skew ahead of the clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng, TryRngCore};
use uhlc::NTP64;

use crate::error::{Error, Result};
use crate::time::CommitTs;

/// Where a node reads the time.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since the Unix epoch. May jump, forwards and backwards.
    fn now_micros(&self) -> i64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's time")]
    fn now_micros(&self) -> i64 {
        // A clock before 1970 reads 0; the hybrid clock goes on from the last commit.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Where a node gets random bytes.
pub trait Rng: Send + Sync + 'static {
    /// Fills the slice.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}

/// The operating system's random bytes, fit for secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Rng for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        OsRng.try_fill_bytes(bytes).map_err(|e| Error::Io {
            action: "get random bytes".to_owned(),
            source: std::io::Error::other(e),
        })
    }
}

/// Bytes that follow from a seed, for tests and simulation.
#[derive(Debug)]
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Rng for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        self.0.lock().fill_bytes(bytes);
        Ok(())
    }
}

/// How far ahead of the clock commit timestamps may run by default.
pub const SKEW_MAX_DEFAULT: Duration = Duration::from_millis(500);

/// Gives commits their instants: the clock where it can, one microsecond more than the last
/// where the clock stands or has been set back.
///
/// The reading is kept in uhlc's fixed-point time (32 bits of seconds, 32 of fraction), which
/// is the form that nodes exchange; each instant given out is a whole microsecond of it.
pub struct HybridClock {
    clock: Arc<dyn Clock>,
    skew_max_micros: i64,
    last: Mutex<NTP64>,
}

impl std::fmt::Debug for HybridClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HybridClock")
            .field("last", &micros(*self.last.lock()))
            .field("skew_max_micros", &self.skew_max_micros)
            .finish_non_exhaustive()
    }
}

impl HybridClock {
    /// A clock that allows [`SKEW_MAX_DEFAULT`].
    pub fn new(clock: Arc<dyn Clock>) -> HybridClock {
        Self::with_skew_max(clock, SKEW_MAX_DEFAULT)
    }

    /// A clock that refuses to run further than this ahead of `clock`.
    pub fn with_skew_max(clock: Arc<dyn Clock>, skew_max: Duration) -> HybridClock {
        let skew_max_micros = i64::try_from(skew_max.as_micros()).unwrap_or(i64::MAX);
        HybridClock { clock, skew_max_micros, last: Mutex::new(NTP64(0)) }
    }

    /// The next commit's instant.
    ///
    /// # Errors
    /// [`Error::ClockSkew`] when it would be too far ahead of the clock: someone set the clock
    /// back, or the log comes from a machine whose clock was ahead. Nothing is used up; the
    /// same call succeeds when the clock has caught up.
    pub fn next(&self) -> Result<CommitTs> {
        let mut last = self.last.lock();
        let now = self.clock.now_micros();
        let next = now.max(micros(*last).saturating_add(1));
        let ahead_micros = next.saturating_sub(now);
        if ahead_micros > self.skew_max_micros {
            return Err(Error::ClockSkew { clock: CommitTs(now), ahead_micros });
        }
        *last = ntp64(next);
        Ok(CommitTs(next))
    }

    /// Raises the clock: [`HybridClock::next`] is greater than `ts` from now on. For the log's
    /// last commit at start, for instants that other nodes gave, and to close an instant that
    /// is about to be read.
    pub fn observe(&self, ts: CommitTs) {
        let mut last = self.last.lock();
        *last = (*last).max(ntp64(ts.micros()));
    }

    /// The present: at or after every instant given out, and using up none.
    pub fn now(&self) -> CommitTs {
        let last = self.last.lock();
        CommitTs(self.clock.now_micros().max(micros(*last)))
    }

    /// The clock below.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// The largest instant that the fixed-point form can hold: in the year 2106.
const MICROS_MAX: i64 = ((u32::MAX as i64) + 1) * 1_000_000 - 1;

/// The least fixed-point reading within the microsecond; so [`micros`] returns it unchanged.
fn ntp64(micros: i64) -> NTP64 {
    let micros = micros.clamp(0, MICROS_MAX) as u64;
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    NTP64((seconds << 32) | (fraction << 32).div_ceil(1_000_000))
}

/// The microsecond that a fixed-point reading lies in.
fn micros(time: NTP64) -> i64 {
    let (seconds, fraction) = (time.0 >> 32, time.0 & u64::from(u32::MAX));
    (seconds * 1_000_000 + ((fraction * 1_000_000) >> 32)) as i64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Debug)]
    struct FakeClock(AtomicI64);

    impl Clock for FakeClock {
        fn now_micros(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    const START: i64 = 1_790_000_000_000_000;

    fn fake() -> (Arc<FakeClock>, HybridClock) {
        let clock = Arc::new(FakeClock(AtomicI64::new(START)));
        let hybrid = HybridClock::new(Arc::clone(&clock) as Arc<dyn Clock>);
        (clock, hybrid)
    }

    #[test]
    fn every_microsecond_survives_the_fixed_point_form() {
        for m in (0..3_000_000).chain(START..START + 3_000).chain([MICROS_MAX]) {
            assert_eq!(micros(ntp64(m)), m);
        }
    }

    #[test]
    fn next_follows_the_clock_and_is_unique_while_it_stands() {
        let (clock, hybrid) = fake();
        assert_eq!(hybrid.next().unwrap(), CommitTs(START));
        assert_eq!(hybrid.next().unwrap(), CommitTs(START + 1));
        clock.0.store(START + 50, Ordering::SeqCst);
        assert_eq!(hybrid.next().unwrap(), CommitTs(START + 50));
    }

    #[test]
    fn next_keeps_order_when_the_clock_is_set_back() {
        let (clock, hybrid) = fake();
        let before = hybrid.next().unwrap();
        clock.0.store(START - 400_000, Ordering::SeqCst);
        assert_eq!(hybrid.next().unwrap(), CommitTs(before.0 + 1));
        assert!(hybrid.now() > before);
    }

    #[test]
    fn next_refuses_beyond_the_skew_and_recovers_when_the_clock_catches_up() {
        let (clock, hybrid) = fake();
        let before = hybrid.next().unwrap();
        clock.0.store(START - 600_000, Ordering::SeqCst);
        for _ in 0..3 {
            let error = hybrid.next().unwrap_err();
            assert!(
                matches!(error, Error::ClockSkew { ahead_micros: 600_001, .. }),
                "got {error:?}"
            );
        }
        clock.0.store(START + 10, Ordering::SeqCst);
        assert_eq!(hybrid.next().unwrap(), CommitTs(before.0 + 10));
    }

    #[test]
    fn next_is_after_what_was_observed() {
        let (_clock, hybrid) = fake();
        hybrid.observe(CommitTs(START + 7));
        hybrid.observe(CommitTs(START + 3));
        assert_eq!(hybrid.now(), CommitTs(START + 7));
        assert_eq!(hybrid.next().unwrap(), CommitTs(START + 8));
    }

    #[test]
    fn next_is_unique_across_threads() {
        let hybrid = Arc::new(HybridClock::new(Arc::new(SystemClock)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let hybrid = Arc::clone(&hybrid);
                std::thread::spawn(move || {
                    (0..2_000).map(|_| hybrid.next().unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            let times = thread.join().unwrap();
            assert!(times.is_sorted());
            all.extend(times);
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8_000);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let bytes = |seed| {
            let mut bytes = [0; 16];
            SeededRandom::new(seed).fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
