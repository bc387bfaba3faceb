//! `_pg_expandarray`, by which drivers read the columns of keys: the elements of an array with
//! their places.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Gives a list of (x, n): each element and its place from 1. Where rows are wanted, the list is
/// unnested.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Expand {
    signature: Signature,
}

impl Default for Expand {
    fn default() -> Self {
        Expand { signature: Signature::any(1, Volatility::Immutable) }
    }
}

fn element(x: &DataType) -> Fields {
    vec![Field::new("x", x.clone(), true), Field::new("n", DataType::Int32, true)].into()
}

fn list_of(x: &DataType) -> DataType {
    DataType::new_list(DataType::Struct(element(x)), true)
}

fn item(list: &DataType) -> DataType {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().clone()
        }
        _ => DataType::Int32,
    }
}

impl ScalarUDFImpl for Expand {
    fn name(&self) -> &str {
        "_pg_expandarray"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(list_of(&item(&arguments[0])))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let of = item(array.data_type());
        let array = cast(&array, &DataType::new_list(of.clone(), true))?;
        Ok(ColumnarValue::Array(expand(array.as_list(), &of)?))
    }
}

fn expand(lists: &ListArray, of: &DataType) -> Result<ArrayRef> {
    let places: Int32Array =
        lists.offsets().windows(2).flat_map(|ends| 1..=ends[1] - ends[0]).collect();
    let (first, last) = (lists.offsets()[0], lists.offsets()[lists.len()]);
    let (first, last) = (first as usize, last as usize);
    let values = lists.values().slice(first, last - first);
    let elements = StructArray::try_new(element(of), vec![values, Arc::new(places)], None)?;
    let DataType::List(field) = list_of(of) else {
        return Err(exec_datafusion_err!("not a list"));
    };
    let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths(
        lists.offsets().windows(2).map(|ends| (ends[1] - ends[0]) as usize),
    );
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(elements), lists.nulls().cloned())?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn elements_get_their_places_in_each_list() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(5), Some(7)]),
            None,
            Some(vec![]),
            Some(vec![Some(9)]),
        ]);
        let expanded = expand(&lists.slice(0, 4), &DataType::Int32).unwrap();
        let expanded = expanded.as_list::<i32>();
        let places = |row: usize| {
            let row = expanded.value(row);
            row.as_struct().column(1).as_primitive::<Int32Type>().values().to_vec()
        };
        assert_eq!((places(0), places(3)), (vec![1, 2], vec![1]));
        assert!(expanded.is_null(1) && expanded.value(2).is_empty());
    }
}
