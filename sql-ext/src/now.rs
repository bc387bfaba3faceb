//! The functions that tell the time: all of them constant within a transaction, as PostgreSQL's.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::error::Error;
use crate::temporal::TemporalCatalog;

/// What a function of the time gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Now,
    Date,
    Time,
    LocalTimestamp,
}

/// One function of the time.
#[derive(Debug)]
struct TimeFunction {
    name: &'static str,
    aliases: Vec<String>,
    kind: Kind,
    signature: Signature,
    catalog: Arc<dyn TemporalCatalog>,
}

impl PartialEq for TimeFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.catalog, &other.catalog)
    }
}

impl Eq for TimeFunction {}

impl Hash for TimeFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// `now()` and its relatives.
pub(crate) fn functions(catalog: &Arc<dyn TemporalCatalog>) -> Vec<Arc<ScalarUDF>> {
    [
        ("now", &["current_timestamp", "transaction_timestamp"][..], Kind::Now),
        ("current_date", &["today"], Kind::Date),
        ("current_time", &["localtime"], Kind::Time),
        ("localtimestamp", &[], Kind::LocalTimestamp),
    ]
    .into_iter()
    .map(|(name, aliases, kind)| {
        Arc::new(ScalarUDF::new_from_impl(TimeFunction {
            name,
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            kind,
            // `current_timestamp(3)` and the like.
            signature: Signature::one_of(
                vec![TypeSignature::Nullary, TypeSignature::Exact(vec![DataType::Int64])],
                Volatility::Stable,
            ),
            catalog: Arc::clone(catalog),
        }))
    })
    .collect()
}

impl TimeFunction {
    fn value(&self) -> Result<ScalarValue> {
        let now = self.catalog.now().micros();
        let local = || -> Result<NaiveDateTime> {
            DateTime::from_timestamp_micros(now)
                .map(|t| t.with_timezone(&self.catalog.time_zone()).naive_local())
                .ok_or_else(|| Error::MalformedInstant(now.to_string()).into())
        };
        Ok(match self.kind {
            Kind::Now => ScalarValue::TimestampMicrosecond(Some(now), Some("UTC".into())),
            Kind::Date => {
                // Days of the common era at the Unix epoch.
                ScalarValue::Date32(Some(local()?.num_days_from_ce() - 719_163))
            }
            Kind::Time => {
                let time = local()?.time();
                ScalarValue::Time64Microsecond(Some(
                    i64::from(time.num_seconds_from_midnight()) * 1_000_000
                        + i64::from(time.nanosecond() / 1_000),
                ))
            }
            Kind::LocalTimestamp => {
                ScalarValue::TimestampMicrosecond(Some(local()?.and_utc().timestamp_micros()), None)
            }
        })
    }
}

impl ScalarUDFImpl for TimeFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Now => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Date => DataType::Date32,
            Kind::Time => DataType::Time64(TimeUnit::Microsecond),
            Kind::LocalTimestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        })
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(self.value()?, None)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value()?))
    }
}
