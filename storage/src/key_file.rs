//! Looks keys up in the key-hash file of a segment.
//!
//! ```text
//! few keys, first times     blocks of the file, found by interpolation: hashes are spread evenly
//! often, or many keys       the whole file, parsed, while all of the key's files fit in memory
//! ```
//! So a first read costs two blocks a segment rather than all its keys, and keys that do not fit
//! in memory cost the same ever after.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chronos_catalog::ObjectMeta;

use crate::cache::{CacheKey, PARSED};
use crate::error::{Error, Result};
use crate::keys::{HEADER_BYTES, KeyHashes};
use crate::object::Objects;

/// A file of no more blocks is read whole.
const SMALL_BLOCKS: u64 = 4;
/// Blocks that one look-up reads, about.
const LOOKUP_BLOCKS: u64 = 2;
/// The files of one key may take this part of the cache.
const CACHE_PART: usize = 4;
/// Guesses by interpolation before the middle is taken: equal hashes are not spread evenly.
const GUESSES: u32 = 4;

/// In a cache key: how many blocks look-ups read of a file.
const READ_BLOCKS: u64 = PARSED - 1;

/// Gives each key (by index) with the positions of rows that may have it. `all_bytes` is the size
/// of the files of all segments that are looked through.
pub(crate) async fn find_keys(
    objects: &Arc<Objects>,
    file: &ObjectMeta,
    all_bytes: u64,
    hashes: &[Option<u64>],
    mut found: impl FnMut(usize, u32),
) -> Result<()> {
    if hashes.iter().flatten().next().is_none() {
        return Ok(());
    }
    let whole = match parsed_already(objects, file) {
        Some(whole) => Some(whole),
        None if is_worth_parsing(objects, file, all_bytes, hashes.len()) => {
            Some(objects.parsed(file, KeyHashes::decode).await?)
        }
        None => None,
    };
    for (i, hash) in hashes.iter().enumerate() {
        let Some(hash) = *hash else { continue };
        match &whole {
            Some(whole) => whole.find(hash).iter().for_each(|&p| found(i, p)),
            None => {
                find_in_blocks(objects, file, hash).await?.into_iter().for_each(|p| found(i, p))
            }
        }
    }
    Ok(())
}

fn parsed_already(objects: &Objects, file: &ObjectMeta) -> Option<Arc<KeyHashes>> {
    let key: CacheKey = (Arc::from(file.path.as_str()), PARSED);
    objects.cache.get(&key)
}

/// Whether looking these keys up, and those before, reads about as much as the whole file.
fn is_worth_parsing(objects: &Objects, file: &ObjectMeta, all_bytes: u64, keys: usize) -> bool {
    let blocks = file.size / u64::from(file.block_bytes.max(1));
    let now = keys as u64 * LOOKUP_BLOCKS;
    if blocks <= SMALL_BLOCKS || now >= blocks {
        return true;
    }
    if all_bytes > (objects.cache.capacity() / CACHE_PART) as u64 {
        return false;
    }
    let key: CacheKey = (Arc::from(file.path.as_str()), READ_BLOCKS);
    let read = match objects.cache.get::<AtomicU64>(&key) {
        Some(read) => read.fetch_add(now, Ordering::Relaxed) + now,
        None => {
            objects.cache.put(key, Arc::new(AtomicU64::new(now)), size_of::<AtomicU64>());
            now
        }
    };
    read >= blocks
}

/// The positions of the rows whose key has a hash.
async fn find_in_blocks(objects: &Arc<Objects>, file: &ObjectMeta, hash: u64) -> Result<Vec<u32>> {
    let body = file.size.checked_sub(HEADER_BYTES).filter(|body| body % 12 == 0);
    let count = body.ok_or_else(|| Error::Corrupt {
        path: file.path.clone(),
        reason: format!("it cannot hold keys in {} bytes", file.size),
    })? / 12;
    let block = u64::from(file.block_bytes.max(1));
    // The hashes that stand in one block with a given one.
    let around = |i: u64| -> Range<u64> {
        let n = (HEADER_BYTES + i * 8) / block;
        let first = (n * block).saturating_sub(HEADER_BYTES).div_ceil(8).min(i);
        let end = ((n + 1) * block).saturating_sub(HEADER_BYTES) / 8;
        first..end.clamp(i + 1, count)
    };
    // The first that is not less stands in low..=high, and nothing from `high` on is less.
    let (mut low, mut high) = (0, count);
    let (mut least, mut greatest) = (0_u64, u64::MAX);
    let mut guesses = 0;
    let (mut run, mut goes_on) = loop {
        if low == high {
            break (high..high, true);
        }
        let guess = match guesses {
            ..GUESSES => {
                let part = (hash.saturating_sub(least)) as f64 / (greatest - least).max(1) as f64;
                low + ((high - low) as f64 * part) as u64
            }
            _ => low + (high - low) / 2,
        };
        guesses += 1;
        let range = around(guess.min(high - 1));
        let range = range.start.max(low)..range.end.min(high);
        let values = hashes_at(objects, file, &range).await?;
        let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
            return Ok(Vec::new());
        };
        if last < hash {
            (low, least) = (range.end, last);
        } else if first >= hash && range.start > low {
            (high, greatest) = (range.start, first);
        } else {
            let at = values.partition_point(|&h| h < hash);
            let same = values[at..].iter().take_while(|&&h| h == hash).count();
            let start = range.start + at as u64;
            break (start..start + same as u64, at + same == values.len());
        }
    };
    // The same hash may go on in the blocks that follow.
    while goes_on && run.end < count {
        let values = hashes_at(objects, file, &(run.end..around(run.end).end)).await?;
        let same = values.iter().take_while(|&&h| h == hash).count();
        run.end += same as u64;
        goes_on = same > 0 && same == values.len();
    }
    let positions = HEADER_BYTES + count * 8;
    let bytes = objects.read(file, positions + run.start * 4..positions + run.end * 4).await?;
    Ok(bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
}

async fn hashes_at(
    objects: &Arc<Objects>,
    file: &ObjectMeta,
    range: &Range<u64>,
) -> Result<Vec<u64>> {
    let bytes = HEADER_BYTES + range.start * 8..HEADER_BYTES + range.end * 8;
    let bytes = objects.read(file, bytes).await?;
    Ok(bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as they come, many alike, and at the ends of the range.
    fn sets() -> Vec<Vec<u64>> {
        let even = |n: u64| (0..n).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut alike: Vec<u64> = vec![7; 3000];
        alike.extend([0, u64::MAX, 6, 8]);
        let crowded = (0..2000).chain((0..50).map(|i| u64::MAX - i)).collect();
        vec![Vec::new(), vec![5], even(10_000), alike, crowded, vec![u64::MAX; 700], vec![0; 700]]
    }

    #[tokio::test]
    async fn blocks_tell_what_the_whole_file_tells() {
        for block_bytes in [512, 4096] {
            let objects = Arc::new(Objects::open("memory:", 1 << 16, block_bytes).unwrap());
            for (n, set) in sets().into_iter().enumerate() {
                let keys: Vec<Option<u64>> = set.iter().copied().map(Some).collect();
                let whole = KeyHashes::new(&keys);
                let name = |i| format!("keys-{n}-{i}");
                let file = objects.create(name, whole.encode()).await.unwrap();
                let near = set.iter().flat_map(|&h| [h.wrapping_sub(1), h, h.wrapping_add(1)]);
                let mut asked: Vec<u64> = near.chain([0, 1, u64::MAX, u64::MAX / 2]).collect();
                asked.sort_unstable();
                asked.dedup();
                for hash in asked.into_iter().step_by(7) {
                    let found = find_in_blocks(&objects, &file, hash).await.unwrap();
                    assert_eq!(found, whole.find(hash), "set {n}, {hash}");
                }
            }
        }
    }

    #[tokio::test]
    async fn file_is_parsed_once_it_was_read_as_often_as_it_has_blocks() {
        let objects = Arc::new(Objects::open("memory:", 1 << 20, 512).unwrap());
        let keys: Vec<Option<u64>> = sets()[2].iter().copied().map(Some).collect();
        let whole = KeyHashes::new(&keys);
        let file = objects.create(|_| "keys".to_owned(), whole.encode()).await.unwrap();
        let blocks = file.size / 512;
        for n in 0.. {
            let mut found = Vec::new();
            let hash = keys[n % keys.len()];
            let note = |_, p| found.push(p);
            find_keys(&objects, &file, file.size, &[None, hash], note).await.unwrap();
            assert_eq!(found, [(n % keys.len()) as u32]);
            if parsed_already(&objects, &file).is_some() {
                assert!((n as u64) * 4 >= blocks - 8, "after {n} of {blocks} blocks");
                break;
            }
            assert!((n as u64) < blocks, "never");
        }
        // Where the keys of all segments do not fit, it stays as it is.
        let objects = Arc::new(Objects::open("memory:", 1 << 20, 512).unwrap());
        let file = objects.create(|_| "keys".to_owned(), whole.encode()).await.unwrap();
        for hash in &keys[..2000] {
            find_keys(&objects, &file, 1 << 30, &[*hash], |_, _| {}).await.unwrap();
        }
        assert!(parsed_already(&objects, &file).is_none());
    }
}
