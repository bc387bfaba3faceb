//! CRC-32C of an object's blocks.

use bytes::Bytes;
use chronos_catalog::ObjectMeta;

use crate::error::{Error, Result};

/// Describes an object's bytes.
pub(crate) fn describe(path: String, bytes: &[u8], block_bytes: u32) -> ObjectMeta {
    let checksums = bytes.chunks(block_bytes as usize).map(crc32c::crc32c).collect();
    ObjectMeta { path, size: bytes.len() as u64, block_bytes, checksums }
}

/// Verifies whole blocks from the given one on.
pub(crate) fn verify(meta: &ObjectMeta, first_block: usize, bytes: &Bytes) -> Result<()> {
    for (i, block) in bytes.chunks(meta.block_bytes as usize).enumerate() {
        let n = first_block + i;
        let corrupt = |reason| Error::Corrupt { path: meta.path.clone(), reason };
        let expected =
            *meta.checksums.get(n).ok_or_else(|| corrupt(format!("it has no block {n}")))?;
        let found = crc32c::crc32c(block);
        if found != expected {
            return Err(corrupt(format!(
                "block {n} has checksum {found:08x}, expected {expected:08x}"
            )));
        }
    }
    Ok(())
}
