//! Which views can be written through: those that show rows of one relation as they are.

use datafusion::sql::sqlparser::ast::{
    self, Expr, GroupByExpr, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor,
};
use std::ops::ControlFlow;

use crate::bind::normal;
use crate::parser::take_time_clause;
use crate::statement::{StatementKind, parse};
use crate::temporal::is_hidden;

/// The parts of a view through which rows of one relation can be written.
#[derive(Clone, Debug)]
pub struct SimpleView {
    /// What it reads.
    pub relation: ObjectName,
    /// The name by which its own expressions know that.
    pub alias: String,
    /// Its select list.
    pub items: Vec<SelectItem>,
    /// Which rows it shows.
    pub selection: Option<Expr>,
}

impl SimpleView {
    /// The view of a query's text. `is_aggregate` tells the names of aggregate functions.
    ///
    /// # Errors
    /// PostgreSQL's sentence about why nothing can be written through it.
    pub fn of(text: &str, is_aggregate: &dyn Fn(&str) -> bool) -> Result<SimpleView, &'static str> {
        const SINGLE: &str =
            "Views that do not select from a single table or view are not automatically updatable.";
        let statement = parse(text).ok().and_then(|mut s| s.pop()).map(|s| s.kind);
        let Some(StatementKind::Sql(statement)) = statement else { return Err(SINGLE) };
        let ast::Statement::Query(query) = *statement else { return Err(SINGLE) };
        let Query { with, body, limit_clause, fetch, .. } = *query;
        if !matches!(*body, SetExpr::Select(_)) {
            return Err(match *body {
                SetExpr::SetOperation { .. } => {
                    "Views containing UNION, INTERSECT, or EXCEPT are not automatically updatable."
                }
                _ => SINGLE,
            });
        }
        let SetExpr::Select(select) = *body else { return Err(SINGLE) };
        let Select { distinct, mut projection, mut from, selection, group_by, having, .. } =
            *select;
        if distinct.is_some() {
            return Err("Views containing DISTINCT are not automatically updatable.");
        }
        if !matches!(&group_by, GroupByExpr::Expressions(e, _) if e.is_empty()) {
            return Err("Views containing GROUP BY are not automatically updatable.");
        }
        if having.is_some() {
            return Err("Views containing HAVING are not automatically updatable.");
        }
        if with.is_some() {
            return Err("Views containing WITH are not automatically updatable.");
        }
        if limit_clause.is_some() || fetch.is_some() {
            return Err("Views containing LIMIT or OFFSET are not automatically updatable.");
        }
        refuse_functions(&projection, is_aggregate)?;
        let [item] = from.as_mut_slice() else { return Err(SINGLE) };
        if !item.joins.is_empty() {
            return Err(SINGLE);
        }
        match take_time_clause(&mut item.relation) {
            Ok(None) => {}
            _ => {
                return Err("Views that read a relation as of an instant are not updatable.");
            }
        }
        let TableFactor::Table { name, alias, args: None, version: None, sample, .. } =
            &item.relation
        else {
            return Err(SINGLE);
        };
        if sample.is_some() {
            return Err("Views containing TABLESAMPLE are not automatically updatable.");
        }
        if alias.as_ref().is_some_and(|a| !a.columns.is_empty()) {
            return Err(
                "Views that rename the columns of their relation in FROM are not updatable.",
            );
        }
        let last = name.0.last().and_then(|part| part.as_ident());
        let alias = alias.as_ref().map(|a| &a.name).or(last).map(normal).unwrap_or_default();
        projection.retain(|item| !matches!(item, SelectItem::ExprWithAliases { .. }));
        Ok(SimpleView { relation: name.clone(), alias, items: projection, selection })
    }

    /// The view's columns: an expression each, over the columns of what it reads.
    pub fn expressions(&self, below: &[String]) -> Vec<Expr> {
        let all = || {
            below.iter().map(|name| {
                Expr::CompoundIdentifier(vec![
                    ast::Ident::with_quote('"', self.alias.as_str()),
                    ast::Ident::with_quote('"', name),
                ])
            })
        };
        let mut expressions = Vec::new();
        for item in &self.items {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    expressions.push(expr.clone());
                }
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                    expressions.extend(all());
                }
                SelectItem::ExprWithAliases { .. } => {}
            }
        }
        expressions
    }

    /// The column of what it reads that an expression is.
    pub fn column_of<'a>(&self, expr: &Expr, below: &'a [String]) -> Option<&'a String> {
        let name = match expr {
            Expr::Nested(inner) => return self.column_of(inner, below),
            Expr::Identifier(name) => normal(name),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., relation, name] if normal(relation) == self.alias => normal(name),
                _ => return None,
            },
            _ => return None,
        };
        below.iter().find(|column| **column == name && !is_hidden(column))
    }
}

fn refuse_functions(
    items: &[SelectItem],
    is_aggregate: &dyn Fn(&str) -> bool,
) -> Result<(), &'static str> {
    const SETS: [&str; 17] = [
        "generate_series",
        "generate_subscripts",
        "unnest",
        "regexp_matches",
        "regexp_split_to_table",
        "string_to_table",
        "json_each",
        "json_each_text",
        "jsonb_each",
        "jsonb_each_text",
        "json_array_elements",
        "json_array_elements_text",
        "jsonb_array_elements",
        "jsonb_array_elements_text",
        "json_object_keys",
        "jsonb_object_keys",
        "jsonb_path_query",
    ];
    let refused = items.iter().find_map(|item| {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            return None;
        };
        let found = ast::visit_expressions(expr, |e| {
            let Expr::Function(function) = e else { return ControlFlow::Continue(()) };
            let name = function.name.0.last().and_then(|part| part.as_ident()).map(normal);
            let name = name.unwrap_or_default();
            if function.over.is_some() {
                ControlFlow::Break(
                    "Views that return window functions are not automatically updatable.",
                )
            } else if is_aggregate(&name) {
                ControlFlow::Break(
                    "Views that return aggregate functions are not automatically updatable.",
                )
            } else if SETS.contains(&name.as_str()) {
                ControlFlow::Break(
                    "Views that return set-returning functions are not automatically updatable.",
                )
            } else {
                ControlFlow::Continue(())
            }
        });
        found.break_value()
    });
    refused.map_or(Ok(()), Err)
}

/// The names of PostgreSQL's aggregate functions.
pub fn is_aggregate(name: &str) -> bool {
    const NAMES: [&str; 44] = [
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "covar_pop",
        "covar_samp",
        "cume_dist",
        "dense_rank",
        "every",
        "json_agg",
        "json_object_agg",
        "jsonb_agg",
        "jsonb_object_agg",
        "max",
        "min",
        "mode",
        "percent_rank",
        "percentile_cont",
        "percentile_disc",
        "range_agg",
        "range_intersect_agg",
        "rank",
        "regr_avgx",
        "regr_avgy",
        "regr_count",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "var_pop",
        "var_samp",
        "variance",
    ];
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> &'static str {
        SimpleView::of(text, &is_aggregate).err().unwrap_or("updatable")
    }

    #[test]
    fn views_of_one_relation_as_it_is_are_updatable() {
        assert_eq!(why("SELECT * FROM t"), "updatable");
        assert_eq!(why("SELECT a, a + b AS c FROM s.t AS x WHERE x.a > 1 ORDER BY a"), "updatable");
    }

    #[test]
    fn other_views_say_what_is_in_the_way() {
        for (text, word) in [
            ("SELECT DISTINCT a FROM t", "DISTINCT"),
            ("SELECT a FROM t GROUP BY a", "GROUP BY"),
            ("SELECT a FROM t LIMIT 1", "LIMIT"),
            ("WITH w AS (SELECT 1) SELECT a FROM t", "WITH"),
            ("SELECT a FROM t UNION SELECT 1", "UNION"),
            ("SELECT count(*) FROM t", "aggregate"),
            ("SELECT sum(a) OVER () FROM t", "window"),
            ("SELECT generate_series(1, 2) FROM t", "set-returning"),
            ("SELECT 1 AS a FROM t, u", "single table"),
            ("SELECT 1 AS a", "single table"),
            ("SELECT a FROM t FOR SYSTEM_TIME AS OF '2026-01-01'", "as of an instant"),
        ] {
            assert!(why(text).contains(word), "{text}: {}", why(text));
        }
    }
}
