//! Hashes of keys, and the key-hash files.
//!
//! The hash of a key is part of a file format: it must never change. Integers of every width
//! hash alike, so that widening a column keeps its key files usable.

use std::hash::{BuildHasherDefault, Hasher};

use bytes::{BufMut, Bytes, BytesMut};
use chronos_catalog::{ColumnId, Oid, SqlType, TableDef};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type,
};

use crate::error::{Error, Result};

/// A unique key or an index: its identifier and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// The constraint or index.
    pub oid: Oid,
    /// Its columns in order.
    pub columns: Vec<ColumnId>,
}

impl KeySpec {
    /// A table's primary key or unique constraint.
    ///
    /// # Errors
    /// When the table has no such constraint.
    pub fn of_constraint(table: Oid, def: &TableDef, key: Oid) -> Result<KeySpec> {
        def.unique_keys()
            .find(|(oid, _, _)| *oid == key)
            .map(|(oid, _, columns)| KeySpec { oid, columns: columns.to_vec() })
            .ok_or(Error::NoSuchKey { table, key })
    }
}

/// A hasher for values that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.0 = (self.0 << 8) ^ u64::from(b));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

pub(crate) type HashIsHash = BuildHasherDefault<Identity>;

/// SplitMix64's finishing step.
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn add(hash: u64, word: u64) -> u64 {
    mix(hash.rotate_left(23).wrapping_add(word).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

fn add_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = add(hash, u64::from_le_bytes(word));
    }
    add(hash, bytes.len() as u64)
}

/// A decimal without its trailing zeros, so that its scale does not matter.
fn add_decimal(hash: u64, mut value: i128, mut scale: i8) -> u64 {
    while value != 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    let scale = if value == 0 { 0 } else { scale };
    add(add(add(hash, value as u64), (value >> 64) as u64), scale as u64)
}

fn add_float(hash: u64, value: f64) -> u64 {
    // PostgreSQL: -0 equals 0, and every NaN equals every other.
    let bits = if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    };
    add(hash, bits)
}

/// Values that hash alike when they are equal. Two columns of one class can share key files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashClass {
    Integer,
    Float,
    Decimal,
    Text,
    Bytes,
    Bool,
    Date,
    Time,
    Timestamp,
}

/// The class of a type; `None` for one that cannot be a key.
pub(crate) fn hash_class(ty: &SqlType) -> Option<HashClass> {
    Some(match ty {
        SqlType::Bool => HashClass::Bool,
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid => HashClass::Integer,
        SqlType::Float4 | SqlType::Float8 => HashClass::Float,
        SqlType::Numeric(_) => HashClass::Decimal,
        SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Name
        | SqlType::Uuid
        | SqlType::Jsonb
        | SqlType::Bit(_)
        | SqlType::Varbit(_)
        | SqlType::Other(_) => HashClass::Text,
        SqlType::Bytea => HashClass::Bytes,
        SqlType::Date => HashClass::Date,
        SqlType::Time => HashClass::Time,
        SqlType::Timestamp | SqlType::Timestamptz => HashClass::Timestamp,
        SqlType::Interval | SqlType::Json | SqlType::Array(_) => return None,
    })
}

/// Whether a key's columns can be hashed.
pub(crate) fn is_hashable(def: &TableDef, columns: &[ColumnId]) -> bool {
    columns.iter().all(|&id| def.column(id).is_some_and(|c| hash_class(&c.ty).is_some()))
}

/// The hash of each row's key; `None` where a part of it is NULL.
pub fn hash_key(columns: &[ArrayRef]) -> Result<Vec<Option<u64>>> {
    let rows = columns.first().map_or(0, |c| c.len());
    let mut hashes = vec![Some(columns.len() as u64); rows];
    for column in columns {
        hash_column(column, &mut hashes)?;
    }
    Ok(hashes)
}

fn hash_column(column: &ArrayRef, hashes: &mut [Option<u64>]) -> Result<()> {
    macro_rules! each {
        ($array:expr, $add:expr) => {{
            let array = $array;
            for (i, slot) in hashes.iter_mut().enumerate() {
                *slot = match *slot {
                    Some(hash) if array.is_valid(i) => Some($add(hash, array.value(i))),
                    _ => None,
                };
            }
        }};
    }
    match column.data_type() {
        DataType::Boolean => each!(column.as_boolean(), |h, v| add(h, u64::from(v))),
        DataType::Int16 => {
            each!(column.as_primitive::<Int16Type>(), |h, v| add(h, i64::from(v) as u64))
        }
        DataType::Int32 => {
            each!(column.as_primitive::<Int32Type>(), |h, v| add(h, i64::from(v) as u64))
        }
        DataType::Int64 => each!(column.as_primitive::<Int64Type>(), |h, v| add(h, v as u64)),
        DataType::UInt32 => {
            each!(column.as_primitive::<UInt32Type>(), |h, v| add(h, u64::from(v)))
        }
        DataType::Float32 => {
            each!(column.as_primitive::<Float32Type>(), |h, v| add_float(h, f64::from(v)))
        }
        DataType::Float64 => each!(column.as_primitive::<Float64Type>(), add_float),
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            each!(column.as_primitive::<Decimal128Type>(), |h, v| add_decimal(h, v, scale))
        }
        DataType::Utf8View => {
            each!(column.as_string_view(), |h, v: &str| add_bytes(h, v.as_bytes()))
        }
        DataType::BinaryView => each!(column.as_binary_view(), add_bytes),
        DataType::Date32 => {
            each!(column.as_primitive::<Date32Type>(), |h, v| add(h, i64::from(v) as u64))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            each!(column.as_primitive::<Time64MicrosecondType>(), |h, v| add(h, v as u64))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            each!(column.as_primitive::<TimestampMicrosecondType>(), |h, v| add(h, v as u64))
        }
        other => return Err(Error::Unsupported(format!("a key of Arrow type {other}"))),
    }
    Ok(())
}

const MAGIC: &[u8; 8] = b"CHRKEY01";
/// Magic and count.
pub(crate) const HEADER_BYTES: u64 = 16;

/// A segment's key hashes, ascending, each with its row's position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHashes {
    hashes: Vec<u64>,
    positions: Vec<u32>,
}

impl KeyHashes {
    /// From the keys' hashes in the order of positions; rows without a key are left out.
    pub(crate) fn new(hashes: &[Option<u64>]) -> Self {
        let mut pairs: Vec<(u64, u32)> =
            hashes.iter().enumerate().filter_map(|(i, h)| Some(((*h)?, i as u32))).collect();
        pairs.sort_unstable();
        KeyHashes {
            hashes: pairs.iter().map(|p| p.0).collect(),
            positions: pairs.iter().map(|p| p.1).collect(),
        }
    }

    /// The file: magic, count, hashes, positions; little-endian.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.hashes.len() * 12);
        out.put_slice(MAGIC);
        out.put_u64_le(self.hashes.len() as u64);
        self.hashes.iter().for_each(|&h| out.put_u64_le(h));
        self.positions.iter().for_each(|&p| out.put_u32_le(p));
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, String> {
        let body = bytes.strip_prefix(MAGIC).ok_or("it is not a key file of version 1")?;
        let (count, body) = body.split_first_chunk::<8>().ok_or("it has no count")?;
        let count = u64::from_le_bytes(*count) as usize;
        if body.len() != count.saturating_mul(12) {
            return Err(format!("it has {} bytes for {count} keys", body.len()));
        }
        let (hashes, positions) = body.split_at(count * 8);
        let hashes = hashes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let positions = positions.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        Ok(KeyHashes { hashes, positions })
    }

    /// The positions of the rows whose key has a hash.
    pub(crate) fn find(&self, hash: u64) -> &[u32] {
        let start = self.hashes.partition_point(|&h| h < hash);
        let n = self.hashes[start..].iter().take_while(|&&h| h == hash).count();
        &self.positions[start..start + n]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        Decimal128Array, Float64Array, Int16Array, Int64Array, StringViewArray,
    };

    use super::*;

    fn hash(array: impl Array + 'static) -> Vec<Option<u64>> {
        hash_key(&[Arc::new(array)]).unwrap()
    }

    #[test]
    fn equal_values_hash_alike_in_every_width_and_scale() {
        assert_eq!(hash(Int16Array::from(vec![-3])), hash(Int64Array::from(vec![-3])));
        let decimal = |value, scale| {
            let array = Decimal128Array::from(vec![value]);
            hash(array.with_precision_and_scale(38, scale).unwrap())
        };
        assert_eq!(decimal(1500, 3), decimal(15, 1));
        assert_eq!(decimal(0, 3), decimal(0, 1));
        assert_ne!(decimal(15, 0), decimal(15, 1));
        let float = |v: f64| hash(Float64Array::from(vec![v]));
        assert_eq!(float(0.0), float(-0.0));
        assert_eq!(float(f64::NAN), float(-f64::NAN));
        assert_eq!(hash(Int64Array::from(vec![None::<i64>])), [None]);
    }

    #[test]
    fn hashes_are_those_that_files_have() {
        let found = hash(Int64Array::from(vec![0, 1, -1]));
        assert_eq!(found, INTEGERS.map(Some));
        let found = hash(StringViewArray::from(vec!["", "a", "longer than eight"]));
        assert_eq!(found, TEXTS.map(Some));
    }

    const INTEGERS: [u64; 3] = [16468030106232802772, 3832670236599272327, 3786441433402598534];
    const TEXTS: [u64; 3] = [16468030106232802772, 2252578705915957263, 6980554146970457708];

    #[test]
    fn key_file_reads_back_and_a_cut_one_is_refused() {
        let hashes: Vec<Option<u64>> = vec![Some(9), None, Some(3), Some(9)];
        let bytes = KeyHashes::new(&hashes).encode();
        let read = KeyHashes::decode(&bytes).unwrap();
        assert_eq!(read.find(9), [0, 3]);
        assert_eq!(read.find(3), [2]);
        assert!(read.find(4).is_empty());
        for n in 0..bytes.len() {
            assert!(KeyHashes::decode(&bytes.slice(..n)).is_err(), "{n} bytes");
        }
    }
}
