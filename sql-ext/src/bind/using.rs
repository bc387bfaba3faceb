//! The columns that JOIN … USING and NATURAL JOIN merge, by bare name in WHERE.
//!
//! DataFusion finds them ambiguous there. So they are named by the side that has the merged value.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Query, Select, VisitMut, VisitorMut,
};

use super::rows::{alias_of, columns};
use super::{Binder, hidden, last_ident, normal};
use crate::system_tables::call;

/// Names the merged columns of a WHERE by their side.
pub(super) fn qualify(binder: &Binder<'_>, select: &mut Select) {
    let Some(selection) = &mut select.selection else { return };
    let mut merged: BTreeMap<String, Expr> = BTreeMap::new();
    for table in &select.from {
        if table.joins.is_empty() {
            continue;
        }
        let Some(first) = alias_of(&table.relation) else { continue };
        let mut left: Vec<(Ident, Option<Vec<String>>)> =
            vec![(first, columns(binder, &table.relation, 0))];
        for join in &table.joins {
            let Some(alias) = alias_of(&join.relation) else { break };
            let own = columns(binder, &join.relation, 0);
            let names: Vec<String> = match hidden::constraint(&join.join_operator) {
                Some(JoinConstraint::Using(names)) => {
                    names.iter().map(|name| normal(&last_ident(name))).collect()
                }
                Some(JoinConstraint::Natural) => {
                    let of_left: BTreeSet<&String> =
                        left.iter().filter_map(|(_, c)| c.as_ref()).flatten().collect();
                    own.iter().flatten().filter(|c| of_left.contains(c)).cloned().collect()
                }
                _ => Vec::new(),
            };
            for name in names {
                let column = |alias: &Ident| {
                    let name = Ident::with_quote('"', &name);
                    Expr::CompoundIdentifier(vec![alias.clone(), name])
                };
                let of_left = merged.get(&name).cloned().or_else(|| {
                    let has = |c: &Option<Vec<String>>| c.iter().flatten().any(|c| *c == name);
                    let side = left.iter().find(|(_, c)| has(c)).or(left.first());
                    side.map(|(alias, _)| column(alias))
                });
                let Some(of_left) = of_left else { continue };
                let value = match join.join_operator {
                    JoinOperator::Right(_) | JoinOperator::RightOuter(_) => column(&alias),
                    JoinOperator::FullOuter(_) => call("coalesce", vec![of_left, column(&alias)]),
                    _ => of_left,
                };
                merged.insert(name, value);
            }
            left.push((alias, own));
        }
    }
    if !merged.is_empty() {
        let _ = selection.visit(&mut Qualifier { merged: &merged, depth: 0 });
    }
}

struct Qualifier<'a> {
    merged: &'a BTreeMap<String, Expr>,
    /// Queries around: their names are their own.
    depth: usize,
}

impl VisitorMut for Qualifier<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(name) = expr
            && let Some(value) = self.merged.get(&normal(name))
        {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}
