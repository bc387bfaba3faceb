//! The bytes of a log file: a header, then blocks; a block is what one fdatasync made durable.
//!
//! ```text
//! file    "CHRONLOG"  version u32  file number u64  crc u32
//! block   "BLK1"  length u32  block number u64  header crc u32  body crc u32  records...
//! record  length u32  crc u32  kind u8  ...
//! ```
//!
//! A record that has so many zeros that a sector of it might be nothing else, or a zero at its
//! end, is masked, and the highest bit of its length says so: a sector of zeros is then always one
//! that was not written.
//!
//! Numbers are little-endian, checksums CRC-32C. Both block checksums also cover the file's
//! number and the block's offset, so that a block that a user stores in a table, and which then
//! stands inside of another, is not taken for one of ours.
//!
//! Invariants:
//! - Nothing of a block is acknowledged before all of it is durable; so a block that a crash
//!   cut short can be dropped whole.
//! - A block is written only after the one before it is durable; so a bad block that another
//!   follows is damage, not a crash.

use std::borrow::Cow;

use crate::error::{Error, Result};

pub(crate) const FILE_MAGIC: &[u8; 8] = b"CHRONLOG";
pub(crate) const FILE_VERSION: u32 = 1;
pub(crate) const FILE_HEADER_BYTES: usize = 24;
const BLOCK_MARKER: &[u8; 4] = b"BLK1";
pub(crate) const BLOCK_HEADER_BYTES: usize = 24;
pub(crate) const RECORD_HEADER_BYTES: usize = 8;
/// The unit in which disks write; a crash leaves whole ones unwritten.
const SECTOR_BYTES: usize = 512;

/// The header of the log file of that number.
pub(crate) fn file_header(number: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(FILE_MAGIC);
    header[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether the file begins as the log file of that number.
pub(crate) fn check_file_header(bytes: &[u8], number: u64, what: &str) -> Result<()> {
    let corrupt = |reason: &str| Error::Corrupt { what: what.to_owned(), reason: reason.into() };
    let header = bytes.get(..FILE_HEADER_BYTES).ok_or_else(|| corrupt("it has no header"))?;
    if &header[..8] != FILE_MAGIC {
        return Err(corrupt("it is not a log file"));
    }
    if u32_at(header, 8) != FILE_VERSION {
        return Err(corrupt(&format!("format version {} is not known", u32_at(header, 8))));
    }
    if header != file_header(number) {
        return Err(corrupt("its header is damaged"));
    }
    Ok(())
}

/// In a record's length: the record is masked.
const MASKED: u32 = 1 << 31;

/// Appends a record to a block's body.
pub(crate) fn put_record(body: &mut Vec<u8>, record: &[u8]) {
    let masked = looks_unwritten(record).then(|| {
        let mut masked = mask(record);
        // The last byte of a block must be no zero.
        masked.push(1);
        masked
    });
    let stored = masked.as_deref().unwrap_or(record);
    let flag = if masked.is_some() { MASKED } else { 0 };
    body.extend_from_slice(&(stored.len() as u32 | flag).to_le_bytes());
    body.extend_from_slice(&crc32c::crc32c(stored).to_le_bytes());
    body.extend_from_slice(stored);
}

/// Whether some sector of the record, or what of it stands in the block's last one, might be all
/// zeros.
fn looks_unwritten(record: &[u8]) -> bool {
    // As many zeros as a sector has include a half of one, wherever they begin.
    let mut halves = record.chunks_exact(SECTOR_BYTES / 2);
    record.last() == Some(&0) || halves.any(|half| half.iter().all(|&byte| byte == 0))
}

/// Changes every byte, and back again: no byte of the pattern is zero, and it does not repeat
/// within a sector.
fn mask(record: &[u8]) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let pattern = std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 | 1
    });
    record.iter().zip(pattern).map(|(byte, key)| byte ^ key).collect()
}

/// The record in `bytes`, which hold it and its own header.
pub(crate) fn read_record(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let record = bytes.get(RECORD_HEADER_BYTES..)?;
    let length = u32_at(bytes, 0);
    let good =
        (length & !MASKED) as usize == record.len() && u32_at(bytes, 4) == crc32c::crc32c(record);
    match length & MASKED {
        _ if !good => None,
        0 => Some(Cow::Borrowed(record)),
        _ => record.split_last().map(|(_, record)| Cow::Owned(mask(record))),
    }
}

/// The header of a block at that offset of the file of that number.
pub(crate) fn block_header(
    file: u64,
    offset: u64,
    number: u64,
    body: &[u8],
) -> [u8; BLOCK_HEADER_BYTES] {
    let mut header = [0; BLOCK_HEADER_BYTES];
    header[..4].copy_from_slice(BLOCK_MARKER);
    header[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&number.to_le_bytes());
    let place = place_crc(file, offset);
    let header_crc = crc32c::crc32c_append(place, &header[..16]);
    header[16..20].copy_from_slice(&header_crc.to_le_bytes());
    header[20..].copy_from_slice(&crc32c::crc32c_append(place, body).to_le_bytes());
    header
}

fn place_crc(file: u64, offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&file.to_le_bytes()), &offset.to_le_bytes())
}

/// A good block: where its body stands in the file, and its number.
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) body: std::ops::Range<usize>,
}

/// What stands at an offset of a log file.
pub(crate) enum Found {
    Block(Block),
    /// The file ends here.
    End,
    /// A crash cut the last write short here.
    Torn,
    /// The bytes were good once.
    Damaged(&'static str),
}

/// Reads the block at an offset of a file that was read whole.
pub(crate) fn block_at(bytes: &[u8], file: u64, offset: usize) -> Found {
    let rest = &bytes[offset..];
    if rest.is_empty() {
        return Found::End;
    }
    if rest.len() < BLOCK_HEADER_BYTES {
        return Found::Torn;
    }
    let place = place_crc(file, offset as u64);
    let header_good =
        &rest[..4] == BLOCK_MARKER && u32_at(rest, 16) == crc32c::crc32c_append(place, &rest[..16]);
    let length = u32_at(rest, 4) as usize;
    let end = BLOCK_HEADER_BYTES + length;
    if header_good && rest.len() < end {
        return Found::Torn;
    }
    if header_good
        && u32_at(rest, 20) == crc32c::crc32c_append(place, &rest[BLOCK_HEADER_BYTES..end])
    {
        let body = offset + BLOCK_HEADER_BYTES..offset + end;
        return Found::Block(Block { number: u64_at(rest, 8), body });
    }
    // A crash leaves sectors unwritten, which then read as zeros; anything else that is wrong
    // was right when it was written, or nobody would have been able to acknowledge it.
    let written = if header_good { &rest[..end] } else { rest };
    if !unwritten_sector(written, offset) {
        return Found::Damaged("its checksum is wrong");
    }
    if good_block_after(bytes, file, offset + 1) {
        return Found::Damaged("it is unwritten, and written blocks follow");
    }
    Found::Torn
}

fn unwritten_sector(bytes: &[u8], offset: usize) -> bool {
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(bytes.len());
    let (head, tail) = bytes.split_at(first);
    std::iter::once(head).chain(tail.chunks(SECTOR_BYTES)).any(|s| s.iter().all(|&b| b == 0))
}

fn good_block_after(bytes: &[u8], file: u64, mut from: usize) -> bool {
    while let Some(found) = bytes
        .get(from..)
        .and_then(|rest| rest.windows(BLOCK_MARKER.len()).position(|w| w == BLOCK_MARKER))
    {
        let rest = &bytes[from + found..];
        let place = place_crc(file, (from + found) as u64);
        if rest.len() >= BLOCK_HEADER_BYTES
            && u32_at(rest, 16) == crc32c::crc32c_append(place, &rest[..16])
        {
            return true;
        }
        from += found + 1;
    }
    false
}

/// The records of a block's body: the range of each in `bytes`, its header included.
pub(crate) fn records(bytes: &[u8], body: std::ops::Range<usize>) -> Option<Vec<RecordRange>> {
    let mut ranges = Vec::new();
    let mut at = body.start;
    while at < body.end {
        if body.end - at < RECORD_HEADER_BYTES {
            return None;
        }
        let end = at + RECORD_HEADER_BYTES + (u32_at(bytes, at) & !MASKED) as usize;
        if end > body.end {
            return None;
        }
        read_record(&bytes[at..end])?;
        ranges.push(at..end);
        at = end;
    }
    Some(ranges)
}

pub(crate) type RecordRange = std::ops::Range<usize>;

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = file_header(7).to_vec();
        for (number, body) in bodies.iter().enumerate() {
            let mut records = Vec::new();
            put_record(&mut records, body);
            let header = block_header(7, bytes.len() as u64, number as u64, &records);
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&records);
        }
        bytes
    }

    #[test]
    fn block_gives_back_its_records() {
        let bytes = file(&[b"one", b"two"]);
        check_file_header(&bytes, 7, "f").unwrap();
        let mut at = FILE_HEADER_BYTES;
        for body in [b"one", b"two"] {
            let Found::Block(block) = block_at(&bytes, 7, at) else { panic!("no block at {at}") };
            let ranges = records(&bytes, block.body.clone()).unwrap();
            assert_eq!(read_record(&bytes[ranges[0].clone()]).as_deref(), Some(&body[..]));
            at = block.body.end;
        }
        assert!(matches!(block_at(&bytes, 7, at), Found::End));
    }

    #[test]
    fn block_cut_anywhere_is_torn() {
        let bytes = file(&[b"one"]);
        for cut in FILE_HEADER_BYTES + 1..bytes.len() {
            assert!(matches!(block_at(&bytes[..cut], 7, FILE_HEADER_BYTES), Found::Torn), "{cut}");
        }
    }

    #[test]
    fn flipped_bit_anywhere_is_damage() {
        let bytes = file(&[b"one", b"two"]);
        for at in FILE_HEADER_BYTES..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let mut offset = FILE_HEADER_BYTES;
                let end = loop {
                    match block_at(&bytes, 7, offset) {
                        Found::Block(block) => offset = block.body.end,
                        end => break end,
                    }
                };
                assert!(matches!(end, Found::Damaged(_)), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn flipped_bit_among_zeros_is_damage_too() {
        for body in [&[0; 3000][..], b"one\0\0", &[&[7; 900][..], &[0; 1500], b"end"].concat()] {
            // Wherever the sectors begin and end.
            for before in 0..20 {
                let bytes = file(&[&vec![1; before * 37], body]);
                let Found::Block(first) = block_at(&bytes, 7, FILE_HEADER_BYTES) else {
                    panic!("no block")
                };
                let start = first.body.end;
                let Found::Block(second) = block_at(&bytes, 7, start) else { panic!("no block") };
                let range = records(&bytes, second.body).unwrap()[0].clone();
                assert_eq!(read_record(&bytes[range]).as_deref(), Some(body));
                for at in start..bytes.len() {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= 4;
                    let found = block_at(&bytes, 7, start);
                    assert!(matches!(found, Found::Damaged(_)), "byte {at} of {}", bytes.len());
                }
            }
        }
    }

    #[test]
    fn unwritten_sector_is_torn_at_the_end_and_damage_in_the_middle() {
        let large = vec![b'x'; 4 * SECTOR_BYTES];
        let mut bytes = file(&[&large]);
        bytes[2 * SECTOR_BYTES..3 * SECTOR_BYTES].fill(0);
        assert!(matches!(block_at(&bytes, 7, FILE_HEADER_BYTES), Found::Torn));
        let mut bytes = file(&[&large, b"two"]);
        bytes[2 * SECTOR_BYTES..3 * SECTOR_BYTES].fill(0);
        assert!(matches!(block_at(&bytes, 7, FILE_HEADER_BYTES), Found::Damaged(_)));
    }

    #[test]
    fn block_of_another_place_is_not_taken_for_ours() {
        let bytes = file(&[b"one"]);
        assert!(matches!(block_at(&bytes, 8, FILE_HEADER_BYTES), Found::Damaged(_)));
    }
}
