//! Identity columns and sequences after they were made: ALTER SEQUENCE, ALTER COLUMN … SET
//! GENERATED, DROP IDENTITY, RESTART.

use std::sync::Arc;

use chronos_catalog::{Column, Object, Oid, Relation, SqlType, TableDef};
use chronos_sql_ext::{AlterSequence, ColumnChange};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, SequenceOptions};

use super::{object, table};
use crate::error::{PgError, PgResult};
use crate::session::names::{fold, no_relation, quote};
use crate::session::session::Session;
use crate::session::write::WriteTarget;

impl Session {
    /// A sequence for a column, which belongs to it. Gives the default that draws from it.
    pub(super) async fn serve(
        &mut self,
        (own, table): (Oid, &str),
        namespace: Oid,
        column: &Column,
        serial: &super::columns::Serial,
    ) -> PgResult<String> {
        let scope = self.scope()?;
        let schema = scope.lookup().schema_name(Some(namespace));
        let sequence = match &serial.name {
            Some(name) => {
                self.name_is_free(&scope, namespace, name, false)?;
                name.clone()
            }
            None => table::free_name(&scope, namespace, &format!("{table}_{}_seq", column.name)),
        };
        let oid = self.allocate_oid().await?;
        let owned_by = Some((own, column.id));
        let relation = super::sequence::relation(&serial.options, serial.ty.clone(), owned_by)?;
        let owner = self.owner(&scope);
        self.change(oid, Some(object(&sequence, Some(namespace), owner, relation))).await?;
        let full = format!("{}.{}", quote(&schema), quote(&sequence));
        Ok(format!("nextval('{}'::regclass)", full.replace('\'', "''")))
    }

    /// The sequence that belongs to a column.
    fn sequence_of(&self, table: Oid, column: &Column) -> PgResult<Option<(Oid, Object)>> {
        let scope = self.scope()?;
        Ok(scope.objects.iter(scope.at).find_map(|(oid, o)| match &o.relation {
            Relation::Sequence { owned_by: Some((of, id)), .. }
                if *of == table && *id == column.id =>
            {
                Some((oid, Object::clone(o)))
            }
            _ => None,
        }))
    }

    /// Begins the sequences of tables anew. A sequence that begins anew is another one of the same
    /// name, so that a rollback undoes it.
    pub(super) async fn restart_identity(&mut self, targets: &[WriteTarget]) -> PgResult<()> {
        for target in targets {
            for column in &target.def.columns {
                if let Some((oid, object)) = self.sequence_of(target.oid, column)? {
                    self.begin_anew(oid, object, None).await?;
                }
            }
        }
        Ok(())
    }

    async fn begin_anew(&mut self, oid: Oid, object: Object, value: Option<i64>) -> PgResult<()> {
        let relation = object.relation.clone();
        self.change(oid, None).await?;
        let new = self.allocate_oid().await?;
        self.change(new, Some(object)).await?;
        if let Some(value) = value {
            self.shared.engine.set_value(new, &relation, value, false).await?;
        }
        Ok(())
    }

    /// ALTER SEQUENCE.
    pub(in crate::session) async fn alter_sequence(
        &mut self,
        alter: &AlterSequence,
    ) -> PgResult<String> {
        let tag = "ALTER SEQUENCE".to_owned();
        let name = self.relation_name(&alter.name)?;
        let scope = self.scope()?;
        let found = scope.lookup().relation(&name).map(|(oid, o)| (oid, Object::clone(o)));
        let Some((oid, object)) = found else {
            if alter.if_exists {
                let text = format!("relation \"{name}\" does not exist, skipping");
                self.notice(PgError::notice(text));
                return Ok(tag);
            }
            return Err(no_relation(&name));
        };
        if !matches!(object.relation, Relation::Sequence { .. }) {
            return Err(PgError::new("42809", format!("\"{}\" is not a sequence", name.name)));
        }
        self.change_sequence(oid, object, alter).await?;
        Ok(tag)
    }

    async fn change_sequence(
        &mut self,
        oid: Oid,
        mut object: Object,
        alter: &AlterSequence,
    ) -> PgResult<()> {
        let Relation::Sequence { start, increment, min, max, cycle, ty, owned_by } =
            object.relation.clone()
        else {
            return Err(PgError::internal("not a sequence"));
        };
        let new_ty = match &alter.data_type {
            Some(ty) => chronos_sql_ext::sql_type(ty)?,
            None => ty.clone(),
        };
        let mut options = kept(start, increment, min, max, cycle, &ty, &new_ty);
        options.extend(alter.options.iter().cloned());
        let owned_by = match &alter.owned_by {
            None => owned_by,
            Some(None) => None,
            Some(Some(owner)) => Some(self.owning_column(owner)?),
        };
        object.relation = super::sequence::relation(&options, new_ty, owned_by)?;
        let Relation::Sequence { start, min, max, .. } = object.relation else {
            return Err(PgError::internal("not a sequence"));
        };
        match alter.restart {
            None => self.change(oid, Some(object)).await,
            Some(value) => {
                let value = value.unwrap_or(start);
                if value < min || value > max {
                    let (word, limit, bound) = match value < min {
                        true => ("less than MINVALUE", min, "RESTART"),
                        false => ("greater than MAXVALUE", max, "RESTART"),
                    };
                    let message = format!("{bound} value ({value}) cannot be {word} ({limit})");
                    return Err(PgError::new("22023", message));
                }
                self.begin_anew(oid, object, Some(value)).await
            }
        }
    }

    /// The column that OWNED BY names.
    pub(super) fn owning_column(
        &self,
        owner: &ObjectName,
    ) -> PgResult<(Oid, chronos_catalog::ColumnId)> {
        let mut owner = owner.clone();
        let column = owner.0.pop().and_then(|p| p.as_ident().map(fold)).unwrap_or_default();
        if owner.0.is_empty() {
            return Err(PgError::new("42601", "invalid OWNED BY option")
                .hint("Specify OWNED BY table.column or OWNED BY NONE."));
        }
        let target = self.write_target(&owner)?;
        let place = target.column(&column)?;
        Ok((target.oid, target.def.columns[place].id))
    }

    /// The forms of ALTER COLUMN that are about identity and generation.
    pub(in crate::session) async fn alter_identity(
        &mut self,
        table: &ObjectName,
        if_exists: bool,
        column: &Ident,
        change: &ColumnChange,
    ) -> PgResult<String> {
        let tag = "ALTER TABLE".to_owned();
        if if_exists && self.skip_absent(table)? {
            return Ok(tag);
        }
        let target = self.write_target(table)?;
        let name = fold(column);
        let place = target.column(&name)?;
        let mut def = TableDef::clone(&target.def);
        let column = &mut def.columns[place];
        let identity = column.identity_always.is_some();
        let not_identity = || {
            let message = format!(
                "column \"{name}\" of relation \"{}\" is not an identity column",
                target.name
            );
            PgError::new("55000", message)
        };
        match change {
            ColumnChange::SetGenerated { .. } if !identity => return Err(not_identity()),
            ColumnChange::SetGenerated { always } => column.identity_always = Some(*always),
            ColumnChange::Sequence(_) if !identity => return Err(not_identity()),
            ColumnChange::Sequence(alter) => {
                let Some((oid, object)) = self.sequence_of(target.oid, column)? else {
                    return Err(PgError::internal("an identity column without a sequence"));
                };
                self.change_sequence(oid, object, alter).await?;
                return Ok(tag);
            }
            ColumnChange::DropIdentity { missing_ok } if !identity => {
                if !*missing_ok {
                    return Err(not_identity());
                }
                let text = format!("{}, skipping", not_identity().message);
                self.notice(PgError::notice(text));
                return Ok(tag);
            }
            ColumnChange::DropIdentity { .. } => {
                column.identity_always = None;
                column.default = None;
                if let Some((oid, _)) = self.sequence_of(target.oid, &target.def.columns[place])? {
                    self.change(oid, None).await?;
                }
            }
            ColumnChange::DropExpression { missing_ok } if column.generated.is_none() => {
                let message = format!(
                    "column \"{name}\" of relation \"{}\" is not a stored generated column",
                    target.name
                );
                if !*missing_ok {
                    return Err(PgError::new("55000", message));
                }
                self.notice(PgError::notice(format!("{message}, skipping")));
                return Ok(tag);
            }
            ColumnChange::DropExpression { .. } => column.generated = None,
        }
        self.redefine(&target, def).await?;
        Ok(tag)
    }

    /// ALTER COLUMN … ADD GENERATED … AS IDENTITY.
    pub(super) async fn add_identity(
        &mut self,
        target: &WriteTarget,
        def: &mut TableDef,
        place: usize,
        serial: &super::columns::Serial,
    ) -> PgResult<()> {
        let column = def.columns[place].clone();
        let told = |what: &str| {
            format!("column \"{}\" of relation \"{}\" {what}", column.name, target.name)
        };
        if !matches!(column.ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
            let message = "identity column type must be smallint, integer, or bigint";
            return Err(PgError::new("22023", message));
        }
        if !column.not_null {
            let what = "must be declared NOT NULL before identity can be added";
            return Err(PgError::new("55000", told(what)));
        }
        if column.identity_always.is_some() {
            return Err(PgError::new("55000", told("is already an identity column")));
        }
        if column.default.is_some() || column.generated.is_some() {
            return Err(PgError::new("55000", told("already has a default value")));
        }
        let scope = self.scope()?;
        let object = scope.objects.get(target.oid, scope.at);
        let Some(namespace) = object.and_then(|o| o.namespace) else {
            return Err(PgError::internal("a table without a schema"));
        };
        let own = (target.oid, target.name.as_str());
        let default = self.serve(own, namespace, &column, serial).await?;
        def.columns[place].identity_always = serial.identity;
        def.columns[place].default = Some(default);
        Ok(())
    }

    /// Forms of ALTER TABLE that change no answer: the table has to be there.
    pub(in crate::session) fn alter_storage(
        &mut self,
        table: &ObjectName,
        if_exists: bool,
    ) -> PgResult<String> {
        if !(if_exists && self.skip_absent(table)?) {
            self.write_target(table)?;
        }
        Ok("ALTER TABLE".to_owned())
    }

    /// Whether a table that may be absent is; it is told.
    fn skip_absent(&mut self, table: &ObjectName) -> PgResult<bool> {
        let name = self.relation_name(table)?;
        let absent = self.scope()?.lookup().relation(&name).is_none();
        if absent {
            let text = format!("relation \"{name}\" does not exist, skipping");
            self.notice(PgError::notice(text));
        }
        Ok(absent)
    }

    /// Gives a table another definition.
    pub(super) async fn redefine(&mut self, target: &WriteTarget, def: TableDef) -> PgResult<()> {
        let scope = self.scope()?;
        let Some(object) = scope.objects.get(target.oid, scope.at) else {
            return Err(PgError::internal("the altered table is gone"));
        };
        let relation = Relation::Table(Arc::new(def));
        self.change(target.oid, Some(Object { relation, ..Object::clone(object) })).await
    }
}

/// What a sequence keeps, as options. Bounds that were those of its type follow another type.
fn kept(
    start: i64,
    increment: i64,
    min: i64,
    max: i64,
    cycle: bool,
    ty: &SqlType,
    new_ty: &SqlType,
) -> Vec<SequenceOptions> {
    let number = super::sequence::number;
    let mut options = vec![
        SequenceOptions::IncrementBy(number(increment), true),
        SequenceOptions::StartWith(number(start), true),
        SequenceOptions::Cycle(!cycle),
    ];
    let (least, greatest) = super::sequence::bounds(ty);
    if ty == new_ty || min != least {
        options.push(SequenceOptions::MinValue(Some(number(min))));
    }
    if ty == new_ty || max != greatest {
        options.push(SequenceOptions::MaxValue(Some(number(max))));
    }
    options
}
