//! `FROM lower('A')`: a function of one value stands for a relation of one row.

use std::ops::ControlFlow;

use datafusion::execution::context::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    SelectItem, Statement, TableAlias, TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
};

use super::build;

/// Makes a derived table of each function in FROM that gives one value.
pub(super) fn rewrite(statement: &mut Statement, state: &SessionState) {
    let _ = VisitMut::visit(statement, &mut Rewriter(state));
}

struct Rewriter<'a>(&'a SessionState);

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(derived) = self.derived(factor) {
            *factor = derived;
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn derived(&self, factor: &TableFactor) -> Option<TableFactor> {
        let (name, args, alias) = match factor {
            TableFactor::Table {
                name,
                args: Some(TableFunctionArgs { args, settings: None }),
                alias,
                with_ordinality: false,
                ..
            }
            | TableFactor::Function { name, args, alias, with_ordinality: false, .. } => {
                (name, args, alias)
            }
            _ => return None,
        };
        let function = self.scalar(name)?;
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(function),
            columns: Vec::new(),
            at: None,
        });
        let column = alias.columns.first().map_or(&alias.name, |c| &c.name).clone();
        let value = Expr::Function(call(name.clone(), args.clone()));
        let item = SelectItem::ExprWithAlias { expr: value, alias: column };
        Some(TableFactor::Derived {
            lateral: true,
            subquery: Box::new(build::select(vec![item], Vec::new(), None)),
            alias: Some(TableAlias { columns: Vec::new(), ..alias }),
            sample: None,
        })
    }

    /// The name of the function, if it is one of one value and no relation's.
    fn scalar(&self, name: &ObjectName) -> Option<String> {
        let [part] = name.0.as_slice() else { return None };
        let name = super::names::fold(part.as_ident()?);
        let known = self.0.scalar_functions().contains_key(&name);
        (known && !self.0.table_functions().contains_key(&name)).then_some(name)
    }
}

fn call(name: ObjectName, args: Vec<FunctionArg>) -> Function {
    Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}
