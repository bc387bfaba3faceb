//! `aclexplode`: the entries of an access list.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, ListArray, StringViewBuilder, StructArray,
    UInt32Builder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use chronos_catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::privileges::{Item, word};
use crate::system_tables::catalog::SystemCatalog;

/// Gives a list of (grantor, grantee, privilege_type, is_grantable). Where rows are wanted, the
/// list is unnested.
#[derive(Debug)]
pub(super) struct Explode {
    catalog: SystemCatalog,
    signature: Signature,
}

impl Explode {
    pub(super) fn new(catalog: SystemCatalog) -> Self {
        Explode { catalog, signature: Signature::any(1, Volatility::Stable) }
    }

    fn entries(&self, lists: &ListArray) -> Result<ArrayRef> {
        let (mut grantors, mut grantees) = (UInt32Builder::new(), UInt32Builder::new());
        let (mut privileges, mut grantable) = (StringViewBuilder::new(), BooleanBuilder::new());
        let mut lengths = Vec::with_capacity(lists.len());
        for list in lists.iter() {
            let mut length = 0;
            let items = list.map(|list| cast(&list, &DataType::Utf8View)).transpose()?;
            for item in items.iter().flat_map(|items| items.as_string_view().iter().flatten()) {
                let Ok(item) = item.parse::<Item>() else { continue };
                let role = |name: &str| self.catalog.role_oid(name).unwrap_or(0);
                for (letter, given_on) in item.letters {
                    let Some(privilege) = word(letter) else { continue };
                    grantors.append_value(role(&item.grantor));
                    // Everybody is 0.
                    grantees.append_value(role(&item.grantee));
                    privileges.append_value(privilege);
                    grantable.append_value(given_on);
                    length += 1;
                }
            }
            lengths.push(length);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(grantors.finish()),
            Arc::new(grantees.finish()),
            Arc::new(privileges.finish()),
            Arc::new(grantable.finish()),
        ];
        let rows = StructArray::try_new(entry(), columns, None)?;
        let nulls: Option<NullBuffer> = lists.nulls().cloned();
        let item = Arc::new(Field::new_list_field(DataType::Struct(entry()), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(rows), nulls)?))
    }
}

fn entry() -> Fields {
    vec![
        SqlType::Oid.field("grantor", true),
        SqlType::Oid.field("grantee", true),
        SqlType::Text.field("privilege_type", true),
        SqlType::Bool.field("is_grantable", true),
    ]
    .into()
}

impl PartialEq for Explode {
    fn eq(&self, other: &Self) -> bool {
        self.catalog.at == other.catalog.at
            && Arc::ptr_eq(&self.catalog.objects, &other.catalog.objects)
    }
}

impl Eq for Explode {}

impl std::hash::Hash for Explode {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        "aclexplode".hash(state);
    }
}

impl ScalarUDFImpl for Explode {
    fn name(&self) -> &str {
        "aclexplode"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Struct(entry()), true))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let array = cast(&array, &DataType::new_list(DataType::Utf8View, true))?;
        Ok(ColumnarValue::Array(self.entries(array.as_list())?))
    }
}
