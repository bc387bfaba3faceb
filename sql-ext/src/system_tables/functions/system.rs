//! Functions that read the catalog: names, definitions, visibility, comments, sizes.

use chronos_catalog::Oid;
use datafusion::common::Result;

use super::function::{Definition, Nulls, Returns, number, oid, text};
use super::privileges::reg;
use crate::error::Error;
use crate::system_tables::catalog::SystemCatalog;
use crate::system_tables::names::{RegKind, proc_column};
use crate::system_tables::quote::{quote_ident, quote_literal};
use crate::system_tables::rows::Cell;
use crate::system_tables::{relations, types};

type Body = fn(&SystemCatalog, &[Cell]) -> Result<Cell>;

const fn f(name: &'static str, min: usize, max: usize, returns: Returns, body: Body) -> Definition {
    Definition { name, min_args: min, max_args: max, returns, nulls: Nulls::Strict, body }
}

const fn called(name: &'static str, args: usize, returns: Returns, body: Body) -> Definition {
    Definition { name, min_args: args, max_args: args, returns, nulls: Nulls::Called, body }
}

/// A function whose object never exists here.
const fn none(name: &'static str, min: usize, max: usize, returns: Returns) -> Definition {
    f(name, min, max, returns, |_, _| Ok(Cell::Null))
}

/// Visibility of objects that only `pg_catalog` has.
const fn visible(name: &'static str) -> Definition {
    f(name, 1, 1, Returns::Bool, |_, _| Ok(true.into()))
}

macro_rules! reg_functions {
    ($in:literal, $out:literal, $to:literal, $kind:expr) => {
        [
            f($in, 1, 1, Returns::Oid, |c, a| reg(c, $kind, &a[0]).map(Into::into)),
            f($out, 1, 1, Returns::Text, |c, a| Ok(c.reg_out($kind, reg(c, $kind, &a[0])?).into())),
            f($to, 1, 1, Returns::Oid, |c, a| Ok(c.reg_in($kind, text(&a[0])).into())),
        ]
    };
}

/// Input, output and lookup of every reg-type. Rewriting turns casts into the first two.
pub(crate) static REG_FUNCTIONS: [[Definition; 3]; 8] = [
    reg_functions!("regclass", "regclass_text", "to_regclass", RegKind::Class),
    reg_functions!("regtype", "regtype_text", "to_regtype", RegKind::Type),
    reg_functions!("regproc", "regproc_text", "to_regproc", RegKind::Proc),
    reg_functions!("regoper", "regoper_text", "to_regoper", RegKind::Operator),
    reg_functions!("regnamespace", "regnamespace_text", "to_regnamespace", RegKind::Namespace),
    reg_functions!("regrole", "regrole_text", "to_regrole", RegKind::Role),
    reg_functions!("regcollation", "regcollation_text", "to_regcollation", RegKind::Collation),
    reg_functions!("regconfig", "regconfig_text", "to_regconfig", RegKind::Config),
];

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("oid", 1, 1, Returns::Oid, |_, a| match number(&a[0]) {
        Some(n) if (-i64::from(u32::MAX)..=i64::from(u32::MAX)).contains(&n) => {
            Ok(Cell::Int(i64::from(n as u32)))
        }
        _ => {
            let message = format!("invalid input syntax for type oid: \"{}\"", text(&a[0]));
            Err(Error::postgres("22P02", message).into())
        }
    }),
    Definition {
        name: "format_type",
        min_args: 2,
        max_args: 2,
        returns: Returns::Text,
        nulls: Nulls::Called,
        body: |_, a| {
            if a[0] == Cell::Null {
                return Ok(Cell::Null);
            }
            let modifier = number(&a[1]).and_then(|m| i32::try_from(m).ok());
            Ok(types::format(oid(&a[0]), modifier).unwrap_or_else(|| "???".to_owned()).into())
        },
    },
    f("pg_get_expr", 2, 3, Returns::Text, |_, a| Ok(a[0].clone())),
    f("pg_get_constraintdef", 1, 2, Returns::Text, |c, a| {
        Ok(c.constraint_definition(oid(&a[0])).into())
    }),
    f("pg_get_indexdef", 1, 3, Returns::Text, |c, a| {
        let Some(index) = c.index(oid(&a[0])) else { return Ok(Cell::Null) };
        let column = a.get(1).and_then(number).unwrap_or(0);
        if column <= 0 {
            return Ok(c.index_definition(&index, a.len() < 3).into());
        }
        let id = usize::try_from(column - 1).ok().and_then(|i| index.columns.get(i).copied());
        let name = id.and_then(|id| Some(index.table.table()?.column(id)?.name.clone()));
        Ok(name.map_or_else(String::new, |n| quote_ident(&n)).into())
    }),
    f("pg_get_viewdef", 1, 2, Returns::Text, |c, a| {
        Ok(c.view_query(reg(c, RegKind::Class, &a[0])?).into())
    }),
    f("pg_get_userbyid", 1, 1, Returns::Name, |c, a| Ok(c.role_name(oid(&a[0])).into())),
    f("pg_get_serial_sequence", 2, 2, Returns::Text, |c, a| {
        let table = reg(c, RegKind::Class, &a[0])?;
        Ok(c.serial_sequence(table, text(&a[1])).into())
    }),
    f("pg_get_function_arguments", 1, 1, Returns::Text, |_, a| Ok(arguments(oid(&a[0])).into())),
    f("pg_get_function_identity_arguments", 1, 1, Returns::Text, |_, a| {
        Ok(arguments(oid(&a[0])).into())
    }),
    f("pg_get_function_result", 1, 1, Returns::Text, |_, a| {
        let function = oid(&a[0]);
        let Some(ty) = proc_column(function, "prorettype").and_then(|t| t.parse().ok()) else {
            return Ok(Cell::Null);
        };
        let set = if proc_column(function, "proretset") == Some("t") { "SETOF " } else { "" };
        Ok(types::format(ty, None).map(|t| format!("{set}{t}")).into())
    }),
    none("pg_get_functiondef", 1, 1, Returns::Text),
    none("pg_get_function_sqlbody", 1, 1, Returns::Text),
    none("pg_get_function_arg_default", 2, 2, Returns::Text),
    none("pg_get_triggerdef", 1, 2, Returns::Text),
    none("pg_get_ruledef", 1, 2, Returns::Text),
    none("pg_get_partkeydef", 1, 1, Returns::Text),
    none("pg_get_partition_constraintdef", 1, 1, Returns::Text),
    none("pg_get_statisticsobjdef", 1, 1, Returns::Text),
    none("pg_get_statisticsobjdef_columns", 1, 1, Returns::Text),
    none("pg_get_statisticsobjdef_expressions", 1, 1, Returns::TextList),
    none("pg_partition_root", 1, 1, Returns::Oid),
    none("pg_relation_filenode", 1, 1, Returns::Oid),
    none("pg_relation_filepath", 1, 1, Returns::Text),
    none("pg_stat_get_progress_info", 1, 1, Returns::Text),
    f("pg_partition_ancestors", 1, 1, Returns::OidList, |_, _| Ok(Cell::List(Vec::new()))),
    f("pg_relation_is_publishable", 1, 1, Returns::Bool, |c, a| {
        let relation = c.relation(reg(c, RegKind::Class, &a[0])?);
        Ok(relation.is_some_and(|r| r.kind() == 'r').into())
    }),
    f("pg_relation_is_updatable", 2, 2, Returns::Int4, |c, a| {
        // Bits of UPDATE, INSERT and DELETE.
        Ok(if c.is_updatable(reg(c, RegKind::Class, &a[0])?) { 28 } else { 0 }.into())
    }),
    f("pg_column_is_updatable", 3, 3, Returns::Bool, |c, a| {
        let columns = c.updatable_columns(reg(c, RegKind::Class, &a[0])?);
        let place = number(&a[1]).and_then(|n| usize::try_from(n - 1).ok());
        Ok(place.and_then(|i| columns.get(i)).is_some_and(|(_, updatable)| *updatable).into())
    }),
    f("pg_table_is_visible", 1, 1, Returns::Bool, |c, a| Ok(c.is_visible(oid(&a[0])).into())),
    visible("pg_type_is_visible"),
    visible("pg_function_is_visible"),
    visible("pg_operator_is_visible"),
    visible("pg_opclass_is_visible"),
    visible("pg_opfamily_is_visible"),
    visible("pg_collation_is_visible"),
    visible("pg_conversion_is_visible"),
    visible("pg_statistics_obj_is_visible"),
    visible("pg_ts_config_is_visible"),
    visible("pg_ts_dict_is_visible"),
    visible("pg_ts_parser_is_visible"),
    visible("pg_ts_template_is_visible"),
    f("obj_description", 1, 2, Returns::Text, |c, a| {
        let wanted = match a.get(1) {
            Some(name) => Some(reg(c, RegKind::Class, name)?),
            None => None,
        };
        let Some(object) = c.objects.get(Oid(oid(&a[0])), c.at) else {
            return Ok(relations::key_comment(c, oid(&a[0]), wanted).into());
        };
        let class = relations::class_of(&object.relation);
        if class == 1260 || wanted.is_some_and(|w| w != class) {
            return Ok(Cell::Null);
        }
        Ok(object.comments.get(&0).cloned().into())
    }),
    f("col_description", 2, 2, Returns::Text, |c, a| {
        let column = number(&a[1]).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let object = c.objects.get(Oid(oid(&a[0])), c.at);
        Ok(object.filter(|_| column > 0).and_then(|o| o.comments.get(&column).cloned()).into())
    }),
    f("shobj_description", 2, 2, Returns::Text, |c, a| {
        let object = c.objects.get(Oid(oid(&a[0])), c.at);
        let role = object.filter(|o| relations::class_of(&o.relation) == 1260);
        Ok(role
            .filter(|_| text(&a[1]) == "pg_authid")
            .and_then(|o| o.comments.get(&0).cloned())
            .into())
    }),
    f("pg_relation_size", 1, 2, Returns::Int8, |c, a| {
        let size = c.session.table_size(Oid(reg(c, RegKind::Class, &a[0])?));
        Ok(if a.get(1).is_none_or(|fork| text(fork) == "main") { size.table_bytes } else { 0 }
            .into())
    }),
    f("pg_table_size", 1, 1, Returns::Int8, |c, a| {
        Ok(c.session.table_size(Oid(reg(c, RegKind::Class, &a[0])?)).table_bytes.into())
    }),
    f("pg_indexes_size", 1, 1, Returns::Int8, |c, a| {
        Ok(c.session.table_size(Oid(reg(c, RegKind::Class, &a[0])?)).index_bytes.into())
    }),
    f("pg_total_relation_size", 1, 1, Returns::Int8, |c, a| {
        let size = c.session.table_size(Oid(reg(c, RegKind::Class, &a[0])?));
        Ok((size.table_bytes + size.index_bytes).into())
    }),
    f("pg_database_size", 1, 1, Returns::Int8, |c, _| Ok(database_size(c).into())),
    f("pg_tablespace_size", 1, 1, Returns::Int8, |c, _| Ok(database_size(c).into())),
    f("pg_size_pretty", 1, 1, Returns::Text, |_, a| Ok(number(&a[0]).map(size_pretty).into())),
    f("quote_ident", 1, 1, Returns::Text, |_, a| Ok(quote_ident(text(&a[0])).into())),
    f("quote_literal", 1, 1, Returns::Text, |_, a| Ok(quote_literal(&printed(&a[0])).into())),
    called("quote_nullable", 1, Returns::Text, |_, a| {
        Ok(match &a[0] {
            Cell::Null => "NULL".to_owned(),
            other => quote_literal(&printed(other)),
        }
        .into())
    }),
    // Rewriting wraps it in unnest().
    f("generate_subscripts", 2, 3, Returns::Int4List, |_, a| {
        let count = match &a[0] {
            Cell::List(items) if number(&a[1]) == Some(1) => items.len(),
            _ => 0,
        };
        let mut subscripts: Vec<usize> = (1..=count).collect();
        if a.get(2) == Some(&Cell::Bool(true)) {
            subscripts.reverse();
        }
        Ok(subscripts.into())
    }),
    f("acldefault", 2, 2, Returns::TextList, |c, a| {
        let owner = c.role_name(oid(&a[1]));
        let owner = quote_ident(&owner);
        let letters = match text(&a[0]) {
            "r" => "arwdDxt",
            "s" => "rwU",
            "n" => "UC",
            "d" => "CTc",
            _ => return Ok(Cell::List(Vec::new())),
        };
        Ok(vec![format!("{owner}={letters}/{owner}")].into())
    }),
    f("pg_sequence_last_value", 1, 1, Returns::Int8, |c, a| {
        Ok(c.session.sequence_value(Oid(reg(c, RegKind::Class, &a[0])?)).into())
    }),
    f("pg_stat_get_numscans", 1, 1, Returns::Int8, |_, _| Ok(0.into())),
    f("pg_stat_get_live_tuples", 1, 1, Returns::Int8, |c, a| {
        Ok(c.session.table_size(Oid(oid(&a[0]))).live_rows.into())
    }),
    f("pg_stat_get_dead_tuples", 1, 1, Returns::Int8, |_, _| Ok(0.into())),
    f("pg_index_column_has_property", 3, 3, Returns::Bool, |c, a| {
        let Some(index) = c.index(reg(c, RegKind::Class, &a[0])?) else { return Ok(Cell::Null) };
        let column = number(&a[1]).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        if column == 0 || column > index.columns.len() {
            return Ok(Cell::Null);
        }
        let ordered = index.method == "btree";
        Ok(match text(&a[2]) {
            "asc" | "nulls_last" | "orderable" | "search_array" | "search_nulls" => ordered.into(),
            "desc" | "nulls_first" | "distance_orderable" => false.into(),
            "returnable" => ordered.into(),
            _ => Cell::Null,
        })
    }),
    f("pg_index_has_property", 2, 2, Returns::Bool, |c, a| {
        if c.index(reg(c, RegKind::Class, &a[0])?).is_none() {
            return Ok(Cell::Null);
        }
        Ok(match text(&a[1]) {
            "index_scan" | "bitmap_scan" | "backward_scan" | "clusterable" => true.into(),
            _ => Cell::Null,
        })
    }),
    f("pg_indexam_has_property", 2, 2, Returns::Bool, |_, a| {
        let tree = oid(&a[0]) == 403;
        Ok(match text(&a[1]) {
            "can_order" | "can_unique" | "can_multi_col" | "can_include" => tree.into(),
            "can_exclude" => true.into(),
            _ => Cell::Null,
        })
    }),
];

/// A value as text.
fn printed(cell: &Cell) -> String {
    match cell {
        Cell::Text(t) => t.clone(),
        Cell::Int(v) => v.to_string(),
        Cell::Float(v) => v.to_string(),
        Cell::Bool(v) => v.to_string(),
        Cell::Null | Cell::List(_) => String::new(),
    }
}

/// A function's argument types, by commas. `None` for one that does not exist.
fn arguments(function: u32) -> Option<String> {
    let types: Vec<String> = proc_column(function, "proargtypes")?
        .split(' ')
        .filter_map(|t| types::format(t.parse().ok()?, None))
        .collect();
    Some(types.join(", "))
}

fn database_size(c: &SystemCatalog) -> u64 {
    c.sizes().values().map(|s| s.table_bytes + s.index_bytes).sum()
}

/// A number of bytes in the largest unit in which it is at least ten.
fn size_pretty(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut units = ["bytes", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or("bytes");
    while value.abs() >= 10_240.0 {
        match units.next() {
            Some(next) => {
                unit = next;
                value /= 1024.0;
            }
            None => break,
        }
    }
    format!("{} {unit}", value.round())
}
