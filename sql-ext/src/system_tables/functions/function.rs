//! One scalar function over rows of cells.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use chronos_catalog::SqlType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::system_tables::catalog::SystemCatalog;
use crate::system_tables::rows::{Cell, cells_to_array};

/// What a function answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Returns {
    Bool,
    Int4,
    Int8,
    Text,
    Name,
    Oid,
    Timestamptz,
    TextList,
    NameList,
    OidList,
    Int4List,
}

impl Returns {
    fn sql_type(self) -> SqlType {
        let list = |t| SqlType::Array(Box::new(t));
        match self {
            Returns::Bool => SqlType::Bool,
            Returns::Int4 => SqlType::Int4,
            Returns::Int8 => SqlType::Int8,
            Returns::Text => SqlType::Text,
            Returns::Name => SqlType::Name,
            Returns::Oid => SqlType::Oid,
            Returns::Timestamptz => SqlType::Timestamptz,
            Returns::TextList => list(SqlType::Text),
            Returns::NameList => list(SqlType::Name),
            Returns::OidList => list(SqlType::Oid),
            Returns::Int4List => list(SqlType::Int4),
        }
    }
}

/// How a function treats NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// NULL in, NULL out.
    Strict,
    /// The body sees them.
    Called,
}

/// A function's name, arity, result and body.
pub(crate) struct Definition {
    pub name: &'static str,
    pub min_args: usize,
    pub max_args: usize,
    pub returns: Returns,
    pub nulls: Nulls,
    pub body: fn(&SystemCatalog, &[Cell]) -> Result<Cell>,
}

/// A [`Definition`] bound to a catalog.
pub(crate) struct SystemFunction {
    definition: &'static Definition,
    catalog: SystemCatalog,
    signature: Signature,
}

impl SystemFunction {
    pub fn new(definition: &'static Definition, catalog: SystemCatalog) -> Self {
        // Calls are few and cheap to refuse here; coercing reg-types by signature is not
        // possible.
        let signature = Signature::user_defined(Volatility::Stable);
        SystemFunction { definition, catalog, signature }
    }
}

impl fmt::Debug for SystemFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.definition.name)
    }
}

impl PartialEq for SystemFunction {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
            && self.catalog.at == other.catalog.at
            && Arc::ptr_eq(&self.catalog.objects, &other.catalog.objects)
    }
}

impl Eq for SystemFunction {}

impl Hash for SystemFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl ScalarUDFImpl for SystemFunction {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let d = self.definition;
        if args.len() < d.min_args || args.len() > d.max_args {
            return plan_err!("function {} takes no {} arguments", d.name, args.len());
        }
        Ok(args.to_vec())
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.definition.returns.sql_type().arrow())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(self.definition.returns.sql_type().field(self.definition.name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> =
            args.args.iter().map(|a| a.to_array(rows)).collect::<Result<_>>()?;
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            let cells: Vec<Cell> =
                arrays.iter().map(|a| cell(a.as_ref(), row)).collect::<Result<_>>()?;
            let null = self.definition.nulls == Nulls::Strict && cells.contains(&Cell::Null);
            results.push(if null {
                Cell::Null
            } else {
                (self.definition.body)(&self.catalog, &cells)?
            });
        }
        let array = cells_to_array(&args.return_field, &results)?;
        if scalar {
            // A list's scalar made from an array forgets its items' metadata.
            let value = match array.as_list_opt::<i32>() {
                Some(list) => ScalarValue::List(Arc::new(list.clone())),
                None => ScalarValue::try_from_array(&array, 0)?,
            };
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// One value of an argument.
fn cell(array: &dyn Array, row: usize) -> Result<Cell> {
    use ScalarValue as S;
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    let value = S::try_from_array(array, row)?;
    Ok(match value {
        S::Null => Cell::Null,
        S::Boolean(Some(v)) => Cell::Bool(v),
        S::Int8(Some(v)) => Cell::Int(v.into()),
        S::Int16(Some(v)) => Cell::Int(v.into()),
        S::Int32(Some(v)) => Cell::Int(v.into()),
        S::Int64(Some(v)) => Cell::Int(v),
        S::UInt8(Some(v)) => Cell::Int(v.into()),
        S::UInt16(Some(v)) => Cell::Int(v.into()),
        S::UInt32(Some(v)) => Cell::Int(v.into()),
        S::UInt64(Some(v)) => v.into(),
        S::Float32(Some(v)) => Cell::Float(v.into()),
        S::Float64(Some(v)) => Cell::Float(v),
        S::Utf8(Some(v)) | S::LargeUtf8(Some(v)) | S::Utf8View(Some(v)) => Cell::Text(v),
        S::Decimal128(Some(v), _, scale) => Cell::Float(v as f64 / 10_f64.powi(i32::from(scale))),
        S::List(list) => {
            let items = list.value(0);
            (0..items.len())
                .map(|i| cell(items.as_ref(), i))
                .collect::<Result<Vec<_>>>()
                .map(Cell::List)?
        }
        other if other.is_null() => Cell::Null,
        other => return exec_err!("a system function takes no {}", other.data_type()),
    })
}

/// The number in a cell; texts of numbers pass, as unknown literals do in PostgreSQL.
pub(crate) fn number(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(v) => Some(*v),
        Cell::Float(v) => Some(*v as i64),
        Cell::Text(t) => t.trim().parse().ok(),
        _ => None,
    }
}

/// The object identifier in a cell.
pub(crate) fn oid(cell: &Cell) -> u32 {
    number(cell).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// The text in a cell.
pub(crate) fn text(cell: &Cell) -> &str {
    match cell {
        Cell::Text(t) => t,
        _ => "",
    }
}
