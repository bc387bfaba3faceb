//! `jsonb_populate_record(null::t, x)` and its like: the columns are those of the table `t`.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, TableAlias, TableAliasColumnDef,
    TableFactor, Value,
};

use super::{Binder, hidden, normal};
use crate::error::Error;
use crate::system_tables::record_of;
use crate::temporal::Resolved;
use crate::types::ast_type;

/// Writes out a call in FROM.
pub(super) fn write_out(binder: &Binder<'_>, factor: &mut TableFactor) -> Result<(), Error> {
    let (name, args, alias) = match &*factor {
        TableFactor::Table { name, args: Some(args), alias, .. } => (name, &args.args, alias),
        TableFactor::Function { name, args, alias, .. } => (name, args, alias),
        _ => return Ok(()),
    };
    let Some(function) = name.0.last().and_then(|part| part.as_ident()).map(normal) else {
        return Ok(());
    };
    if !matches!(
        function.as_str(),
        "jsonb_populate_record"
            | "json_populate_record"
            | "jsonb_populate_recordset"
            | "json_populate_recordset"
    ) {
        return Ok(());
    }
    let arg = |at: usize| match args.get(at) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => Some(expr),
        _ => None,
    };
    let (
        Some(Expr::Cast { expr: base, data_type: DataType::Custom(table, _), .. }),
        Some(document),
    ) = (arg(0), arg(1))
    else {
        return Err(Error::unsupported(format!("{function} of what is no table's row")));
    };
    if !matches!(base.as_ref(), Expr::Value(value) if value.value == Value::Null) {
        return Err(Error::unsupported(format!("{function} with a row to start from")));
    }
    let reference = super::table_reference(table)?;
    let no_type =
        || Error::postgres("42704", format!("type \"{}\" does not exist", reference.table()));
    let Ok(Resolved::Table(provider)) = binder.catalog.resolve(&reference, None) else {
        return Err(no_type());
    };
    let names = hidden::table_columns(binder, table, &std::collections::BTreeSet::new());
    let schema = provider.schema();
    let columns = names
        .ok_or_else(no_type)?
        .iter()
        .filter_map(|name| {
            let field = schema.field_with_name(name).ok()?;
            let ty = chronos_catalog::SqlType::of_field(field)?;
            let name = Ident::with_quote('"', name);
            Some(TableAliasColumnDef { name, data_type: Some(ast_type(&ty)) })
        })
        .collect();
    let name = alias.as_ref().map_or_else(|| Ident::new(&function), |a| a.name.clone());
    let alias = TableAlias { explicit: true, name, columns, at: None };
    let to_record = function.replace("populate", "to");
    match record_of(&to_record, std::slice::from_ref(document), Some(alias)) {
        Some(written) => {
            *factor = written;
            Ok(())
        }
        None => Err(Error::unsupported(function)),
    }
}
