//! Builds the columns of a batch from the values of COPY data.

use std::sync::Arc;

use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
use datafusion::arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder,
    StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
    new_empty_array,
};
use datafusion::common::ScalarValue;

use crate::error::{PgError, PgResult};
use crate::pgwire::decode;
use crate::pgwire::text::{self, datetime, number};
use crate::session::api::TextSettings;

/// A column that grows.
pub(super) struct Column {
    ty: SqlType,
    values: Values,
}

enum Values {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(UInt32Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric(Decimal128Builder),
    Text(StringViewBuilder),
    Bytea(BinaryViewBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    /// Arrays, which have no builder of one type.
    Scalars(Vec<ScalarValue>),
}

impl Column {
    pub(super) fn new(ty: &SqlType) -> Column {
        let values = match ty {
            SqlType::Bool => Values::Bool(BooleanBuilder::new()),
            SqlType::Int2 => Values::Int2(Int16Builder::new()),
            SqlType::Int4 => Values::Int4(Int32Builder::new()),
            SqlType::Int8 => Values::Int8(Int64Builder::new()),
            SqlType::Oid => Values::Oid(UInt32Builder::new()),
            SqlType::Float4 => Values::Float4(Float32Builder::new()),
            SqlType::Float8 => Values::Float8(Float64Builder::new()),
            SqlType::Numeric(_) => {
                Values::Numeric(Decimal128Builder::new().with_data_type(ty.arrow()))
            }
            SqlType::Text
            | SqlType::Varchar(_)
            | SqlType::Char(_)
            | SqlType::Name
            | SqlType::Uuid
            | SqlType::Json
            | SqlType::Jsonb
            | SqlType::Bit(_)
            | SqlType::Varbit(_)
            | SqlType::Other(_) => Values::Text(StringViewBuilder::new()),
            SqlType::Bytea => Values::Bytea(BinaryViewBuilder::new()),
            SqlType::Date => Values::Date(Date32Builder::new()),
            SqlType::Time => Values::Time(Time64MicrosecondBuilder::new()),
            SqlType::Timestamp | SqlType::Timestamptz => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(ty.arrow()))
            }
            SqlType::Interval => Values::Interval(IntervalMonthDayNanoBuilder::new()),
            SqlType::Array(_) => Values::Scalars(Vec::new()),
        };
        Column { ty: ty.clone(), values }
    }

    /// Appends the value of this text.
    ///
    /// # Errors
    /// Those of the type's input; the column is as it was.
    pub(super) fn text(&mut self, text: &str, settings: &TextSettings) -> PgResult<()> {
        let int = |least, most, name| number::parse_int(text, least, most, name);
        match (&mut self.values, &self.ty) {
            (Values::Text(b), SqlType::Text | SqlType::Name | SqlType::Varchar(None)) => {
                b.append_value(text);
            }
            (Values::Int8(b), _) => b.append_value(int(i64::MIN, i64::MAX, "bigint")?),
            (Values::Int4(b), _) => {
                b.append_value(int(i32::MIN.into(), i32::MAX.into(), "integer")? as i32);
            }
            (Values::Int2(b), _) => {
                b.append_value(int(i16::MIN.into(), i16::MAX.into(), "smallint")? as i16);
            }
            (Values::Float8(b), _) => b.append_value(number::parse_float8(text)?),
            (Values::Float4(b), _) => b.append_value(number::parse_float4(text)?),
            (Values::Bool(b), _) => b.append_value(text::parse_bool(text)?),
            (Values::Date(b), _) => b.append_value(datetime::parse_date(text)?),
            (Values::Time(b), _) => b.append_value(datetime::parse_time(text)?),
            (Values::Timestamp(b), SqlType::Timestamp) => {
                b.append_value(datetime::parse_timestamp(text)?);
            }
            (Values::Timestamp(b), _) => {
                b.append_value(datetime::parse_timestamptz(text, settings.time_zone)?);
            }
            (Values::Numeric(b), SqlType::Numeric(declared)) => {
                let (p, s) = declared.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
                b.append_value(number::parse_numeric(text, p, s, declared.is_none())?);
            }
            _ => {
                let value = decode::from_text(&self.ty, text, settings)?;
                self.scalar(value)?;
            }
        }
        Ok(())
    }

    /// Appends the value of these bytes in the binary format.
    ///
    /// # Errors
    /// Those of the type's binary input; the column is as it was.
    pub(super) fn binary(&mut self, bytes: &[u8]) -> PgResult<()> {
        let value = decode::from_binary(&self.ty, bytes)?;
        self.scalar(value)
    }

    fn scalar(&mut self, value: ScalarValue) -> PgResult<()> {
        match (&mut self.values, value) {
            (Values::Bool(b), ScalarValue::Boolean(v)) => b.append_option(v),
            (Values::Int2(b), ScalarValue::Int16(v)) => b.append_option(v),
            (Values::Int4(b), ScalarValue::Int32(v)) => b.append_option(v),
            (Values::Int8(b), ScalarValue::Int64(v)) => b.append_option(v),
            (Values::Oid(b), ScalarValue::UInt32(v)) => b.append_option(v),
            (Values::Float4(b), ScalarValue::Float32(v)) => b.append_option(v),
            (Values::Float8(b), ScalarValue::Float64(v)) => b.append_option(v),
            (Values::Numeric(b), ScalarValue::Decimal128(v, ..)) => b.append_option(v),
            (Values::Text(b), ScalarValue::Utf8View(v)) => b.append_option(v),
            (Values::Bytea(b), ScalarValue::BinaryView(v)) => b.append_option(v),
            (Values::Date(b), ScalarValue::Date32(v)) => b.append_option(v),
            (Values::Time(b), ScalarValue::Time64Microsecond(v)) => b.append_option(v),
            (Values::Timestamp(b), ScalarValue::TimestampMicrosecond(v, _)) => b.append_option(v),
            (Values::Interval(b), ScalarValue::IntervalMonthDayNano(v)) => b.append_option(v),
            (Values::Scalars(values), value) => values.push(value),
            (_, value) => {
                return Err(PgError::internal(format_args!(
                    "a value of {} for a column of {:?}",
                    value.data_type(),
                    self.ty
                )));
            }
        }
        Ok(())
    }

    /// Appends NULL.
    pub(super) fn null(&mut self) -> PgResult<()> {
        match &mut self.values {
            Values::Bool(b) => b.append_null(),
            Values::Int2(b) => b.append_null(),
            Values::Int4(b) => b.append_null(),
            Values::Int8(b) => b.append_null(),
            Values::Oid(b) => b.append_null(),
            Values::Float4(b) => b.append_null(),
            Values::Float8(b) => b.append_null(),
            Values::Numeric(b) => b.append_null(),
            Values::Text(b) => b.append_null(),
            Values::Bytea(b) => b.append_null(),
            Values::Date(b) => b.append_null(),
            Values::Time(b) => b.append_null(),
            Values::Timestamp(b) => b.append_null(),
            Values::Interval(b) => b.append_null(),
            Values::Scalars(values) => {
                values.push(ScalarValue::try_from(&self.ty.arrow()).map_err(PgError::internal)?);
            }
        }
        Ok(())
    }

    /// The column, which is empty again afterwards.
    pub(super) fn finish(&mut self) -> PgResult<ArrayRef> {
        Ok(match &mut self.values {
            Values::Bool(b) => Arc::new(b.finish()),
            Values::Int2(b) => Arc::new(b.finish()),
            Values::Int4(b) => Arc::new(b.finish()),
            Values::Int8(b) => Arc::new(b.finish()),
            Values::Oid(b) => Arc::new(b.finish()),
            Values::Float4(b) => Arc::new(b.finish()),
            Values::Float8(b) => Arc::new(b.finish()),
            Values::Numeric(b) => Arc::new(b.finish()),
            Values::Text(b) => Arc::new(b.finish()),
            Values::Bytea(b) => Arc::new(b.finish()),
            Values::Date(b) => Arc::new(b.finish()),
            Values::Time(b) => Arc::new(b.finish()),
            Values::Timestamp(b) => Arc::new(b.finish()),
            Values::Interval(b) => Arc::new(b.finish()),
            Values::Scalars(values) if values.is_empty() => new_empty_array(&self.ty.arrow()),
            Values::Scalars(values) => {
                ScalarValue::iter_to_array(values.drain(..)).map_err(PgError::internal)?
            }
        })
    }
}
