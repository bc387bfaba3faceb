//! ALTER TABLE.

use std::sync::Arc;

use chronos_catalog::{ColumnId, ConstraintKind, Object, Relation, SqlType, TableDef};
use datafusion::arrow::array::Array;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, DropBehavior, Expr, GeneratedAs, Ident,
    ObjectName, RenameTableNameKind, SelectItem, Statement, TableConstraint,
};

use super::columns::{self, NewKind};
use super::rename::{rename_constraint, rename_in};
use crate::error::{PgError, PgResult};
use crate::session::build;
use crate::session::names::{fold, single};
use crate::session::session::Session;
use crate::session::write::WriteTarget;

impl Session {
    pub(super) async fn alter_table(&mut self, alter: &AlterTable) -> PgResult<String> {
        let tag = "ALTER TABLE".to_owned();
        if alter.if_exists
            && self.scope()?.lookup().relation(&self.relation_name(&alter.name)?).is_none()
        {
            let message = format!("relation \"{}\" does not exist, skipping", alter.name);
            self.notice(PgError::notice(message));
            return Ok(tag);
        }
        for operation in &alter.operations {
            // Each one sees what the ones before it made of the table.
            let target = self.write_target(&alter.name)?;
            self.require_owner(&self.scope()?, target.oid)?;
            let object = self.table_object(&target)?;
            match operation {
                AlterTableOperation::RenameTable { table_name } => {
                    self.rename_table(&target, table_name).await?;
                    return Ok(tag);
                }
                AlterTableOperation::AlterColumn {
                    column_name,
                    op: AlterColumnOperation::SetDataType { data_type, using, .. },
                } if self.needs_rewrite(&target, column_name, data_type, using.as_ref())? => {
                    let rewrite = self.rewrite_column(
                        &target,
                        object,
                        column_name,
                        data_type,
                        using.as_ref(),
                    );
                    Box::pin(rewrite).await?;
                }
                operation => Box::pin(self.alter_one(&target, object, operation)).await?,
            }
        }
        Ok(tag)
    }

    pub(super) fn table_object(&self, target: &WriteTarget) -> PgResult<Object> {
        let scope = self.scope()?;
        let object = scope.objects.get(target.oid, scope.at);
        object.map(|o| (**o).clone()).ok_or_else(|| PgError::internal("the altered table is gone"))
    }

    async fn alter_one(
        &mut self,
        target: &WriteTarget,
        mut object: Object,
        operation: &AlterTableOperation,
    ) -> PgResult<()> {
        use AlterTableOperation as Op;
        let mut def = TableDef::clone(&target.def);
        // Rows written before and after a change of shape are in different shapes.
        def.schema_version += 1;
        match operation {
            Op::AddColumn { if_not_exists, column_def, .. } => {
                let add = self.add_column(target, object, def, column_def, *if_not_exists);
                return Box::pin(add).await;
            }
            Op::DropColumn { column_names, if_exists, drop_behavior, .. } => {
                let cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
                for name in column_names {
                    let now = self.target_of(target.oid)?;
                    Box::pin(self.drop_column(&now, name, *if_exists, cascade)).await?;
                }
                return Ok(());
            }
            Op::RenameColumn { old_column_name, new_column_name } => {
                let (old, new) = (fold(old_column_name), fold(new_column_name));
                let place = target.column(&old)?;
                if def.column_named(&new).is_some() || chronos_sql_ext::is_hidden(&new) {
                    let message =
                        format!("column \"{new}\" of relation \"{}\" already exists", target.name);
                    return Err(PgError::new("42701", message));
                }
                let views = self.views_of_renamed_column(target, &old, &new)?;
                for constraint in &mut def.constraints {
                    if let ConstraintKind::Check(sql) = &mut constraint.kind {
                        *sql = rename_in(sql, &old, &new)?;
                    }
                }
                for column in &mut def.columns {
                    if let Some(sql) = &mut column.generated {
                        *sql = rename_in(sql, &old, &new)?;
                    }
                }
                def.columns[place].name.clone_from(&new);
                super::options::rename_column(&mut def, &old, &new);
                super::policy::rename_column(&mut object, &old, &new)?;
                object.relation = Relation::Table(Arc::new(def));
                self.change(target.oid, Some(object)).await?;
                return self.change_views_after(views).await;
            }
            Op::AlterColumn { column_name, op } => {
                self.alter_column(target, &mut def, column_name, op).await?;
            }
            Op::AddConstraint { constraint, not_valid } => {
                let add =
                    self.add_table_constraint(target, &object, &mut def, constraint, *not_valid);
                Box::pin(add).await?;
            }
            Op::DropConstraint { if_exists, name, drop_behavior }
                if columns::period_of(Some(name)).is_some() =>
            {
                let period = columns::period_of(Some(name)).unwrap_or_default();
                let cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
                self.drop_period(target, &mut def, period, (*if_exists, cascade))?;
            }
            Op::DropConstraint { if_exists, name, drop_behavior } => {
                let name = fold(name);
                let before = def.constraints.len();
                def.constraints.retain(|c| c.name != name);
                if def.constraints.len() == before {
                    let message = format!(
                        "constraint \"{name}\" of relation \"{}\" does not exist",
                        target.name
                    );
                    if !*if_exists {
                        return Err(PgError::new("42704", message));
                    }
                    self.notice(PgError::notice(format!("{message}, skipping")));
                    return Ok(());
                }
                for gone in target.def.constraints.iter().filter(|c| c.name == name) {
                    object.comments.remove(&gone.oid.0);
                    object.comments.remove(&(gone.oid.0 | chronos_catalog::INDEX_COMMENT));
                }
                let what = format!("constraint {name} on table {}", target.name);
                let cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
                self.release_keys(target, &mut def, &what, cascade).await?;
            }
            Op::ValidateConstraint { name } => {
                self.validate_constraint(target, &mut def, &fold(name)).await?;
            }
            Op::RenameConstraint { old_name, new_name } => {
                rename_constraint(&mut def, &fold(old_name), &fold(new_name), &target.name)?;
                // The rows' shape and the key files go by identifiers.
                def.schema_version -= 1;
            }
            Op::SetOptionsParens { options } => {
                super::options::set(&mut def.options, options, &target.def.columns)?;
                if chronos_storage::Expiry::of(&def).is_some()
                    && !self.referring(target.oid)?.is_empty()
                {
                    let what = format!("ttl on \"{}\", which foreign keys refer to", target.name);
                    return Err(PgError::unsupported(what));
                }
                // The rows' shape stays.
                def.schema_version -= 1;
            }
            Op::EnableRowLevelSecurity => {
                return self.set_row_security(target, object, Some(true), None).await;
            }
            Op::DisableRowLevelSecurity => {
                return self.set_row_security(target, object, Some(false), None).await;
            }
            Op::ForceRowLevelSecurity => {
                return self.set_row_security(target, object, None, Some(true)).await;
            }
            Op::NoForceRowLevelSecurity => {
                return self.set_row_security(target, object, None, Some(false)).await;
            }
            Op::OwnerTo { new_owner } => {
                return self.change_owner(target.oid, &super::roles::owner_name(new_owner)).await;
            }
            other => return Err(PgError::unsupported(format!("ALTER TABLE … {other}"))),
        }
        super::options::check_column(&def, &target.name)?;
        object.relation = Relation::Table(Arc::new(def));
        self.change(target.oid, Some(object)).await
    }

    async fn constrain(
        &mut self,
        target: &WriteTarget,
        object: &Object,
        def: &mut TableDef,
        constraint: columns::NewConstraint,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let Some(namespace) = object.namespace else {
            return Err(PgError::internal("a table without a schema"));
        };
        let own = (target.oid, target.name.as_str());
        self.add_constraint(&scope, namespace, own, def, constraint).await
    }

    async fn add_table_constraint(
        &mut self,
        target: &WriteTarget,
        object: &Object,
        def: &mut TableDef,
        constraint: &TableConstraint,
        not_valid: bool,
    ) -> PgResult<()> {
        let mut new = columns::table_constraint(constraint)?;
        if not_valid && !matches!(new.kind, NewKind::Check(..) | NewKind::ForeignKey(_)) {
            let kind = match new.kind {
                NewKind::PrimaryKey(_) => "PRIMARY KEY",
                _ => "UNIQUE",
            };
            let message = format!("{kind} constraints cannot be marked NOT VALID");
            return Err(PgError::new("0A000", message));
        }
        new.not_valid = not_valid;
        self.add_new_constraint(target, object, def, new).await
    }

    /// Adds a constraint that the rows satisfy.
    pub(super) async fn add_new_constraint(
        &mut self,
        target: &WriteTarget,
        object: &Object,
        def: &mut TableDef,
        new: columns::NewConstraint,
    ) -> PgResult<()> {
        let not_valid = new.not_valid;
        let overlaps = matches!(new.kind, NewKind::WithoutOverlaps(..));
        match &new.kind {
            NewKind::Period(name, start, end) => {
                self.check_period_rows(target, (name, start, end)).await?;
            }
            NewKind::WithoutOverlaps(true, names, _) => {
                columns::column_ids(&def.columns, names)?;
                for name in names {
                    self.refuse_nulls(target, name).await?;
                }
            }
            _ => {}
        }
        if let Some(name) = &new.name
            && def.constraints.iter().any(|c| c.name == *name)
        {
            let message =
                format!("constraint \"{name}\" for relation \"{}\" already exists", target.name);
            return Err(PgError::new("42710", message));
        }
        let foreign = matches!(new.kind, NewKind::ForeignKey(_));
        if let NewKind::PrimaryKey(names) | NewKind::Unique(names) = &new.kind {
            columns::column_ids(&def.columns, names)?;
            if matches!(new.kind, NewKind::PrimaryKey(_)) {
                for name in names {
                    self.refuse_nulls(target, name).await?;
                }
            }
            let default = || columns::default_name(&target.name, &new.kind);
            let name = new.name.clone().unwrap_or_else(default);
            self.refuse_duplicates(target, &name, names).await?;
        }
        if let NewKind::Check(expr, _) = &new.kind
            && !not_valid
        {
            let default = || columns::default_name(&target.name, &new.kind);
            let name = new.name.clone().unwrap_or_else(default);
            self.check_rows(target, &name, expr.clone()).await?;
        }
        self.constrain(target, object, def, new).await?;
        match def.constraints.last().cloned() {
            Some(constraint) if overlaps => {
                let target = WriteTarget { def: Arc::new(def.clone()), ..target.clone() };
                self.check_standing_periods(&target, &constraint).await
            }
            Some(constraint) if foreign && !not_valid => {
                self.check_standing(target, &constraint).await
            }
            _ => Ok(()),
        }
    }

    /// The rows that stand satisfy a CHECK.
    pub(in crate::session) async fn check_rows(
        &mut self,
        target: &WriteTarget,
        name: &str,
        expr: Expr,
    ) -> PgResult<()> {
        let violated = Expr::UnaryOp {
            op: datafusion::sql::sqlparser::ast::UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(expr))),
        };
        if !self.any_row(target, violated).await? {
            return Ok(());
        }
        let message = format!(
            "check constraint \"{name}\" of relation \"{}\" is violated by some row",
            target.name
        );
        let mut error = PgError::new("23514", message);
        error.schema = Some(target.schema.clone());
        error.table = Some(target.name.clone());
        error.constraint = Some(name.to_owned());
        Err(error)
    }

    /// VALIDATE CONSTRAINT: looks at the rows that stood when it was made.
    async fn validate_constraint(
        &mut self,
        target: &WriteTarget,
        def: &mut TableDef,
        name: &str,
    ) -> PgResult<()> {
        let Some(place) = def.constraints.iter().position(|c| c.name == name) else {
            let message =
                format!("constraint \"{name}\" of relation \"{}\" does not exist", target.name);
            return Err(PgError::new("42704", message));
        };
        let constraint = def.constraints[place].clone();
        match &constraint.kind {
            ConstraintKind::ForeignKey { .. } => self.check_standing(target, &constraint).await?,
            ConstraintKind::Check(sql) => {
                let expr = crate::session::write::parse_expr(sql)?;
                self.check_rows(target, name, expr).await?;
            }
            ConstraintKind::PrimaryKey(_)
            | ConstraintKind::Unique(_)
            | ConstraintKind::WithoutOverlaps { .. } => {
                let message = format!(
                    "constraint \"{name}\" of relation \"{}\" is not a foreign key or check \
                     constraint",
                    target.name
                );
                return Err(PgError::new("42809", message));
            }
        }
        def.constraints[place].not_valid = false;
        Ok(())
    }

    async fn alter_column(
        &mut self,
        target: &WriteTarget,
        def: &mut TableDef,
        name: &Ident,
        operation: &AlterColumnOperation,
    ) -> PgResult<()> {
        use AlterColumnOperation as Op;
        let name = fold(name);
        let place = target.column(&name)?;
        match operation {
            Op::SetNotNull => {
                self.refuse_nulls(target, &name).await?;
                def.columns[place].not_null = true;
            }
            Op::DropNotNull if def.columns[place].identity_always.is_some() => {
                let message = format!(
                    "column \"{name}\" of relation \"{}\" is an identity column",
                    target.name
                );
                return Err(PgError::new("42601", message));
            }
            Op::DropNotNull => {
                let id = def.columns[place].id;
                if def.primary_key().is_some_and(|key| key.contains(&id)) {
                    let message = format!("column \"{name}\" is in a primary key");
                    return Err(PgError::new("42P16", message));
                }
                def.columns[place].not_null = false;
            }
            Op::SetDefault { .. } | Op::DropDefault
                if def.columns[place].generated.is_some()
                    || def.columns[place].identity_always.is_some() =>
            {
                let (what, hint) = match def.columns[place].generated.is_some() {
                    true => (
                        "a generated column",
                        "Use ALTER TABLE ... ALTER COLUMN ... DROP EXPRESSION instead.",
                    ),
                    false => (
                        "an identity column",
                        "Use ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY instead.",
                    ),
                };
                let message =
                    format!("column \"{name}\" of relation \"{}\" is {what}", target.name);
                let error = PgError::new("42601", message);
                return Err(match op_is_drop(operation) {
                    true => error.hint(hint),
                    false => error,
                });
            }
            Op::SetDefault { value } => {
                self.check_default(&def.columns[place], value).await?;
                def.columns[place].default = Some(value.to_string());
            }
            Op::DropDefault => def.columns[place].default = None,
            Op::SetDataType { data_type, using, .. } => {
                let ty = chronos_sql_ext::sql_type(data_type)?;
                self.refuse_for_views(target, "changing a column of a table that a view reads")?;
                if using.is_some() || !widens(&def.columns[place].ty, &ty) {
                    return Err(PgError::internal("a rewrite of rows in the wrong place"));
                }
                def.columns[place].ty = ty;
            }
            Op::AddGenerated { generated_as, sequence_options } => {
                let always = generated_as.as_ref().unwrap_or(&GeneratedAs::Always);
                let ty = def.columns[place].ty.clone();
                let serial = columns::identity(&ty, always, sequence_options.as_deref())?;
                self.add_identity(target, def, place, &serial).await?;
            }
        }
        Ok(())
    }

    async fn rename_table(
        &mut self,
        target: &WriteTarget,
        name: &RenameTableNameKind,
    ) -> PgResult<()> {
        let (RenameTableNameKind::As(name) | RenameTableNameKind::To(name)) = name;
        let name = single(name)?;
        self.move_relation(target.oid, None, Some(&name)).await
    }

    /// Views name tables and columns by their text.
    fn refuse_for_views(&self, target: &WriteTarget, what: &str) -> PgResult<()> {
        if self.is_read_by_view(target.oid)? { Err(PgError::unsupported(what)) } else { Ok(()) }
    }

    /// The value, as SQL text, that rows written before a column was added show for it.
    pub(super) async fn missing_value(
        &mut self,
        column: &chronos_catalog::Column,
    ) -> PgResult<Option<String>> {
        let value = self.defaults(column, 1).await?;
        if value.is_null(0) {
            return Ok(None);
        }
        if matches!(column.ty, SqlType::Interval | SqlType::Array(_)) {
            return Err(PgError::unsupported("adding an interval or array column with a default"));
        }
        let formatter = ArrayFormatter::try_new(value.as_ref(), &FormatOptions::new())?;
        let mut text = formatter.value(0).to_string();
        if column.ty == SqlType::Bytea {
            text.insert_str(0, "\\x");
        }
        let bare = matches!(
            column.ty,
            SqlType::Bool
                | SqlType::Int2
                | SqlType::Int4
                | SqlType::Int8
                | SqlType::Float4
                | SqlType::Float8
                | SqlType::Numeric(_)
        );
        Ok(Some(if bare { text } else { format!("'{}'", text.replace('\'', "''")) }))
    }

    /// 23502 where a column has a NULL.
    pub(in crate::session) async fn refuse_nulls(
        &mut self,
        target: &WriteTarget,
        name: &str,
    ) -> PgResult<()> {
        let null = Expr::IsNull(Box::new(build::column(name)));
        if self.any_row(target, null).await? {
            let message =
                format!("column \"{name}\" of relation \"{}\" contains null values", target.name);
            return Err(PgError::new("23502", message));
        }
        Ok(())
    }

    /// 23505 where two rows have one key. Segments that were written before the key have no
    /// key file for it; look-ups compute their hashes from the rows.
    pub(super) async fn refuse_duplicates(
        &mut self,
        target: &WriteTarget,
        key: &str,
        columns: &[String],
    ) -> PgResult<()> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let list: Vec<String> = columns.iter().map(|c| quoted(c)).collect();
        let present: Vec<String> = list.iter().map(|c| format!("{c} IS NOT NULL")).collect();
        let text = format!(
            "SELECT 1 FROM {}.{} WHERE {} GROUP BY {} HAVING count(*) > 1 LIMIT 1",
            quoted(&target.schema),
            quoted(&target.name),
            present.join(" AND "),
            list.join(", ")
        );
        let parsed = chronos_sql_ext::parse(&text)?.pop().map(|s| s.kind);
        let Some(chronos_sql_ext::StatementKind::Sql(statement)) = parsed else {
            return Err(PgError::internal("the search for duplicates does not parse"));
        };
        let planned = self.plan(&statement).await?;
        if self.collect(planned).await?.iter().any(|b| b.num_rows() > 0) {
            let message = format!("could not create unique index \"{key}\"");
            let mut error = PgError::new("23505", message)
                .detail(format!("A value of ({}) stands in several rows.", columns.join(", ")));
            error.schema = Some(target.schema.clone());
            error.table = Some(target.name.clone());
            error.constraint = Some(key.to_owned());
            return Err(error);
        }
        Ok(())
    }

    /// Whether a new type of a column takes new values in every row.
    fn needs_rewrite(
        &self,
        target: &WriteTarget,
        name: &Ident,
        data_type: &datafusion::sql::sqlparser::ast::DataType,
        using: Option<&Expr>,
    ) -> PgResult<bool> {
        let place = target.column(&fold(name))?;
        let ty = chronos_sql_ext::sql_type(data_type)?;
        Ok(using.is_some() || !widens(&target.def.columns[place].ty, &ty))
    }

    /// Gives a column another type by writing every row again. The past keeps the old column:
    /// the new one has a number of its own.
    async fn rewrite_column(
        &mut self,
        target: &WriteTarget,
        mut object: Object,
        name: &Ident,
        data_type: &datafusion::sql::sqlparser::ast::DataType,
        using: Option<&Expr>,
    ) -> PgResult<()> {
        self.refuse_for_views(target, "changing a column of a table that a view reads")?;
        let name = fold(name);
        let place = target.column(&name)?;
        let old = target.def.columns[place].clone();
        let scope = self.scope()?;
        let indexed = scope.objects.iter(scope.at).any(|(_, o)| {
            matches!(&o.relation, Relation::Index { table, columns, .. }
                if *table == target.oid && columns.contains(&old.id))
        });
        let referenced = scope.objects.iter(scope.at).any(|(_, o)| match &o.relation {
            Relation::Table(def) => def.constraints.iter().any(|c| {
                matches!(&c.kind, ConstraintKind::ForeignKey { table, referenced, .. }
                    if *table == target.oid && referenced.contains(&old.id))
            }),
            _ => false,
        });
        let generated = target.def.columns.iter().any(|c| c.generated.is_some())
            || !crate::session::periods::of_column(&target.def, old.id).is_empty();
        if indexed || referenced || generated || old.identity_always.is_some() {
            return Err(PgError::unsupported(
                "changing the type of a column that an index, key or generated column needs",
            ));
        }
        let mut def = TableDef::clone(&target.def);
        def.schema_version += 1;
        let id = ColumnId(def.next_column);
        def.next_column += 1;
        let column = &mut def.columns[place];
        column.id = id;
        column.ty = chronos_sql_ext::sql_type(data_type)?;
        column.missing = None;
        for constraint in &mut def.constraints {
            let columns = match &mut constraint.kind {
                ConstraintKind::PrimaryKey(columns) | ConstraintKind::Unique(columns) => columns,
                ConstraintKind::ForeignKey { columns, .. } => columns,
                ConstraintKind::WithoutOverlaps { columns, .. } => columns,
                ConstraintKind::Check(_) => continue,
            };
            columns.iter_mut().filter(|c| **c == old.id).for_each(|c| *c = id);
        }
        if let Some(comment) = object.comments.remove(&old.id.0) {
            object.comments.insert(id.0, comment);
        }
        let value = match using {
            Some(expr) => expr.clone(),
            None => build::column(&name),
        };
        let rows = self.converted_rows(target, place, value, &def.columns[place]).await?;
        if let Some(default) = def.columns[place].default.clone() {
            let expr = crate::session::write::parse_expr(&default)?;
            self.check_default(&def.columns[place], &expr).await?;
        }
        object.relation = Relation::Table(Arc::new(def));
        // Own rows of the old shape are ended before the shape changes.
        self.end_rewritten(target, &rows).await?;
        self.change(target.oid, Some(object)).await?;
        let after = self.write_target_named(&crate::session::names::RelationName {
            schema: Some(target.schema.clone()),
            name: target.name.clone(),
        })?;
        self.insert_rewritten(&after, rows).await
    }

    pub(super) async fn has_rows_now(&mut self, target: &WriteTarget) -> PgResult<bool> {
        let always = Expr::value(datafusion::sql::sqlparser::ast::Value::Boolean(true));
        self.any_row(target, always).await
    }

    /// Whether a current row meets a condition.
    async fn any_row(&mut self, target: &WriteTarget, condition: Expr) -> PgResult<bool> {
        let name = ObjectName::from(vec![build::ident(&target.schema), build::ident(&target.name)]);
        let one = Expr::value(datafusion::sql::sqlparser::ast::Value::Boolean(true));
        let items: Vec<SelectItem> = vec![build::aliased(one, "found")];
        let query = build::select(items, vec![build::table_named(name)], Some(condition));
        let planned = self.plan(&Statement::Query(Box::new(query))).await?;
        let mut rows = self.stream(planned).await?;
        while let Some(batch) = futures::StreamExt::next(&mut rows).await {
            if batch?.num_rows() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether every value of one type is one of the other, in the same representation or a wider.
fn widens(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    match (from, to) {
        (a, b) if a == b => true,
        (T::Int2, T::Int4 | T::Int8) | (T::Int4, T::Int8) | (T::Float4, T::Float8) => true,
        (T::Varchar(_), T::Text | T::Varchar(None)) | (T::Text, T::Varchar(None)) => true,
        (T::Varchar(Some(a)), T::Varchar(Some(b))) => a <= b,
        _ => false,
    }
}

fn op_is_drop(operation: &AlterColumnOperation) -> bool {
    matches!(operation, AlterColumnOperation::DropDefault)
}
