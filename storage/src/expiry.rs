//! Rows that expire: `ttl` and `ttl_column`.
//!
//! ```text
//! ttl = '7d'                          7 days after the version was written
//! ttl = '7d', ttl_column = 'at'       7 days after the instant in the column
//! ttl_column = 'until'                at the instant in the column
//! ```
//! A row without an instant in the column never expires. A read of one instant leaves out what
//! had expired by then; reads of periods show every version as it was recorded.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{RowRef, SqlType, TableDef};
use datafusion::arrow::array::{AsArray, new_empty_array};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{DFSchema, ScalarValue, internal_err};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    ident, lit,
};
use datafusion::physical_expr::create_physical_expr;

use crate::error::Result;
use crate::lookup::fetch_rows;
use crate::overlay::Overlay;
use crate::provider::SYSTEM_FROM;
use crate::table::TableStore;

/// The table option with the time that a row lives.
pub const TTL: &str = "ttl";
/// The table option with the column that it counts from.
pub const TTL_COLUMN: &str = "ttl_column";

const DAY: i64 = 86_400_000_000;

/// Units of an age in microseconds. A month has 30 days, a year 365.
const UNITS: &[(&[&str], i64)] = &[
    (&["s", "sec", "second"], 1_000_000),
    (&["m", "min", "minute"], 60_000_000),
    (&["h", "hour"], 3_600_000_000),
    (&["d", "day"], DAY),
    (&["w", "week"], 7 * DAY),
    (&["month", "mon"], 30 * DAY),
    (&["y", "year"], 365 * DAY),
];

/// An age such as `90 days`, `7d` or `1 year`, in microseconds; `None` for anything else.
pub fn parse_age(text: &str) -> Option<i64> {
    let text = text.trim().to_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let named = |name: &&str| unit == *name || unit.strip_suffix('s') == Some(*name);
    let (_, micros) = UNITS.iter().find(|(names, _)| names.iter().any(named))?;
    number.checked_mul(*micros).filter(|age| *age > 0)
}

/// When the rows of a table expire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// The column that an instant stands in.
    column: String,
    ty: SqlType,
    /// What is added to it, in microseconds.
    age: i64,
}

impl Expiry {
    /// What a table's options say; `None` where its rows do not expire.
    pub fn of(def: &TableDef) -> Option<Expiry> {
        let age = def.options.get(TTL).and_then(|text| parse_age(text));
        match def.options.get(TTL_COLUMN) {
            Some(name) => {
                let column = def.column_named(name)?;
                let age = age.unwrap_or_default();
                Some(Expiry { column: column.name.clone(), ty: column.ty.clone(), age })
            }
            None => {
                let column = SYSTEM_FROM.to_owned();
                age.map(|age| Expiry { column, ty: SqlType::Timestamptz, age })
            }
        }
    }

    /// Whether a column of that type can tell when a row expires. A `bigint` is milliseconds
    /// since the Unix epoch.
    pub fn can_tell(ty: &SqlType) -> bool {
        matches!(ty, SqlType::Timestamptz | SqlType::Timestamp | SqlType::Date | SqlType::Int8)
    }

    /// The column that it counts from.
    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    /// What holds for the rows that have not expired at an instant, in microseconds since the
    /// Unix epoch.
    pub fn alive(&self, at: i64) -> Expr {
        let column = ident(self.column.as_str());
        column.clone().gt(self.bound(at)).or(column.is_null())
    }

    /// What holds for the rows that have not expired at the instant which `at`, a timestamptz,
    /// is for each of them.
    pub fn alive_at(&self, at: Expr) -> Expr {
        let column = ident(self.column.as_str());
        let bound =
            Bound { expiry: self.clone(), signature: Signature::any(1, Volatility::Immutable) };
        let bound = ScalarUDF::new_from_impl(bound).call(vec![at]);
        column.clone().gt(bound).or(column.is_null())
    }

    /// What holds for those that have.
    pub fn expired(&self, at: i64) -> Expr {
        ident(self.column.as_str()).lt_eq(self.bound(at))
    }

    /// The greatest value with which a row has expired.
    fn bound(&self, at: i64) -> Expr {
        lit(self.bound_value(at))
    }

    fn bound_value(&self, at: i64) -> ScalarValue {
        let at = at.saturating_sub(self.age);
        match &self.ty {
            SqlType::Date => {
                let days = at.div_euclid(DAY).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                ScalarValue::Date32(Some(days as i32))
            }
            SqlType::Int8 => ScalarValue::Int64(Some(at.div_euclid(1000))),
            SqlType::Timestamp => ScalarValue::TimestampMicrosecond(Some(at), None),
            _ => ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())),
        }
    }
}

/// The greatest value with which a row has expired at an instant.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bound {
    expiry: Expiry,
    signature: Signature,
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        "expired_until"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.expiry.bound_value(0).data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [at] = args.args.as_slice() else {
            return internal_err!("an instant of several values");
        };
        let at = at.to_array(args.number_rows)?;
        let none = ScalarValue::try_from(self.expiry.bound_value(0).data_type())?;
        let bounds = at.as_primitive::<TimestampMicrosecondType>().iter().map(|at| match at {
            Some(at) => self.expiry.bound_value(at),
            None => none.clone(),
        });
        let bounds: Vec<ScalarValue> = bounds.collect();
        if bounds.is_empty() {
            return Ok(ColumnarValue::Array(new_empty_array(&none.data_type())));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(bounds)?))
    }
}

/// Which of a table's rows have expired at an instant, in microseconds since the Unix epoch.
///
/// # Errors
/// When an object cannot be read.
pub async fn expired_among(
    table: &TableStore,
    overlay: &Overlay,
    def: &Arc<TableDef>,
    rows: &[RowRef],
    at: i64,
) -> Result<HashSet<RowRef>> {
    let Some(expiry) = Expiry::of(def).filter(|_| !rows.is_empty()) else {
        return Ok(HashSet::new());
    };
    // The hidden columns follow the table's own, the beginning first.
    let place = def.columns.iter().position(|c| c.name == expiry.column);
    let column = place.unwrap_or(def.columns.len());
    let values = fetch_rows(table, overlay, def, rows, &[column]).await?;
    let schema = DFSchema::try_from(values.schema().as_ref().clone())?;
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let expired = create_physical_expr(&expiry.expired(at), &schema, &properties, &context)?;
    let expired = expired.evaluate(&values)?.into_array(rows.len())?;
    let expired = expired.as_boolean().iter();
    let gone = rows.iter().zip(expired).filter(|(_, expired)| *expired == Some(true));
    Ok(gone.map(|(row, _)| *row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_number_and_a_unit() {
        for (text, age) in [("90 days", 90 * DAY), ("7d", 7 * DAY), ("1 Year", 365 * DAY)] {
            assert_eq!(parse_age(text), Some(age), "{text}");
        }
        for text in ["", "7", "d", "0 days", "-1d", "7 fortnights", "99999999999999 years"] {
            assert_eq!(parse_age(text), None, "{text}");
        }
    }

    #[test]
    fn day_has_expired_at_its_midnight_and_not_before() {
        let expiry = Expiry { column: "d".to_owned(), ty: SqlType::Date, age: DAY };
        let bound = |at| match expiry.bound(at) {
            Expr::Literal(ScalarValue::Date32(Some(day)), _) => day,
            other => panic!("{other:?}"),
        };
        assert_eq!((bound(5 * DAY - 1), bound(5 * DAY)), (3, 4));
        assert_eq!(bound(-1), -2);
    }
}
