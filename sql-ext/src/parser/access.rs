//! Statements about roles and privileges, of which sqlparser knows only some forms.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::begins;
use super::extensions::Cursor;
use crate::access::{Access, Grant, GrantObjects, Hidden, RoleName, RoleOption};
use crate::bind::normal;
use crate::error::{Error, Result};

/// The statement about access that the tokens are, if they are one.
pub(super) fn parse(
    cursor: &mut Cursor<'_, '_>,
    tokens: &[TokenWithSpan],
) -> Result<Option<Access>> {
    let is = |words: &[&str]| begins(tokens, words);
    let role_kind =
        |verb: &str| ["ROLE", "USER", "GROUP"].into_iter().find(|kind| is(&[verb, kind]));
    if is(&["CREATE", "USER", "MAPPING"]) || is(&["ALTER", "USER", "MAPPING"]) {
        return Ok(None);
    }
    Ok(Some(if let Some(kind) = role_kind("CREATE") {
        cursor.skip(2);
        let name = cursor.ident()?;
        cursor.word("WITH");
        let mut options = vec![RoleOption::Login(kind == "USER")];
        options.extend(role_options(cursor)?);
        Access::CreateRole { name, options }
    } else if let Some(kind) = role_kind("ALTER") {
        cursor.skip(2);
        let role = role(cursor)?;
        if cursor.word("RENAME") {
            cursor.expect("TO")?;
            Access::RenameRole { role, name: cursor.ident()? }
        } else if kind == "GROUP" {
            let add = cursor.word("ADD");
            if !add {
                cursor.expect("DROP")?;
            }
            cursor.expect("USER")?;
            Access::AlterGroup { group: role, add, members: roles(cursor)? }
        } else if cursor.words(&["IN", "DATABASE"]) {
            cursor.ident()?;
            role_setting(cursor, role)?
        } else if cursor.next_is("SET") || cursor.next_is("RESET") {
            role_setting(cursor, role)?
        } else {
            cursor.word("WITH");
            Access::AlterRole { role, options: role_options(cursor)? }
        }
    } else if role_kind("DROP").is_some() {
        cursor.skip(2);
        let if_exists = cursor.word("IF");
        if if_exists {
            cursor.expect("EXISTS")?;
        }
        Access::DropRole { if_exists, names: roles(cursor)? }
    } else if is(&["GRANT"]) || is(&["REVOKE"]) {
        cursor.skip(1);
        grant(cursor, is(&["GRANT"]))?
    } else if is(&["ALTER", "DEFAULT", "PRIVILEGES"]) {
        cursor.skip(3);
        default_privileges(cursor)?
    } else if is(&["REASSIGN", "OWNED", "BY"]) {
        cursor.skip(3);
        let from = roles(cursor)?;
        cursor.expect("TO")?;
        Access::ReassignOwned { from, to: role(cursor)? }
    } else if is(&["RESET", "ROLE"]) {
        cursor.skip(2);
        Access::SetRole { local: false, role: None }
    } else if is(&["RESET", "SESSION", "AUTHORIZATION"]) {
        cursor.skip(3);
        Access::SetSessionAuthorization { local: false, role: None }
    } else if is(&["SET"]) {
        match set(cursor, tokens)? {
            Some(access) => access,
            None => return Ok(None),
        }
    } else {
        return Ok(None);
    }))
}

/// `SET [SESSION | LOCAL] ROLE …` and `SET [SESSION | LOCAL] SESSION AUTHORIZATION …`.
fn set(cursor: &mut Cursor<'_, '_>, tokens: &[TokenWithSpan]) -> Result<Option<Access>> {
    let local = begins(tokens, &["SET", "LOCAL"]);
    let scoped = local
        || begins(tokens, &["SET", "SESSION", "ROLE"])
        || begins(tokens, &["SET", "SESSION", "SESSION"]);
    let rest = tokens.get(1 + usize::from(scoped)..).unwrap_or_default();
    let words = if begins(rest, &["ROLE"]) || begins(rest, &["SESSION_AUTHORIZATION"]) {
        1
    } else if begins(rest, &["SESSION", "AUTHORIZATION"]) {
        2
    } else {
        return Ok(None);
    };
    cursor.skip(1 + usize::from(scoped) + words);
    if !cursor.word("TO") {
        cursor.take(&Token::Eq);
    }
    let role = match cursor.text()? {
        Some(text) => Some(text),
        None => {
            let ident = cursor.ident()?;
            let own = if begins(rest, &["ROLE"]) { "none" } else { "default" };
            Some(normal(&ident))
                .filter(|name| ident.quote_style.is_some() || (name != own && name != "default"))
        }
    };
    Ok(Some(if begins(rest, &["ROLE"]) {
        Access::SetRole { local, role: role.filter(|r| r != "none") }
    } else {
        Access::SetSessionAuthorization { local, role }
    }))
}

fn role(cursor: &mut Cursor<'_, '_>) -> Result<RoleName> {
    let ident = cursor.ident()?;
    let plain = ident.quote_style.is_none();
    Ok(match normal(&ident).as_str() {
        "current_user" | "current_role" if plain => RoleName::Current,
        "session_user" if plain => RoleName::Session,
        "public" => RoleName::Public,
        _ => RoleName::Named(ident),
    })
}

/// One or more, by commas.
fn list<T>(
    cursor: &mut Cursor<'_, '_>,
    mut one: impl FnMut(&mut Cursor<'_, '_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut items = Vec::new();
    loop {
        items.push(one(cursor)?);
        if !cursor.take(&Token::Comma) {
            return Ok(items);
        }
    }
}

fn roles(cursor: &mut Cursor<'_, '_>) -> Result<Vec<RoleName>> {
    list(cursor, |cursor| {
        cursor.word("GROUP");
        role(cursor)
    })
}

fn idents(cursor: &mut Cursor<'_, '_>) -> Result<Vec<Ident>> {
    list(cursor, |cursor| cursor.ident())
}

fn names(cursor: &mut Cursor<'_, '_>) -> Result<Vec<ObjectName>> {
    list(cursor, |cursor| cursor.name())
}

fn role_options(cursor: &mut Cursor<'_, '_>) -> Result<Vec<RoleOption>> {
    const ATTRIBUTES: [(&str, &str, &str); 5] = [
        ("CREATEDB", "NOCREATEDB", "createdb"),
        ("CREATEROLE", "NOCREATEROLE", "createrole"),
        ("INHERIT", "NOINHERIT", "inherit"),
        ("REPLICATION", "NOREPLICATION", "replication"),
        ("BYPASSRLS", "NOBYPASSRLS", "bypassrls"),
    ];
    let mut options = Vec::new();
    'next: while !cursor.at_end() {
        for (on, off, name) in ATTRIBUTES {
            let given = cursor.word(on);
            if given || cursor.word(off) {
                options.push(RoleOption::Attribute(name, given));
                continue 'next;
            }
        }
        let option = if cursor.word("LOGIN") {
            RoleOption::Login(true)
        } else if cursor.word("NOLOGIN") {
            RoleOption::Login(false)
        } else if cursor.word("SUPERUSER") {
            RoleOption::Superuser(true)
        } else if cursor.word("NOSUPERUSER") {
            RoleOption::Superuser(false)
        } else if cursor.word("CONNECTION") {
            cursor.expect("LIMIT")?;
            RoleOption::ConnectionLimit(cursor.whole()?.ok_or_else(|| cursor.unexpected())?)
        } else if cursor.word("ENCRYPTED") {
            cursor.expect("PASSWORD")?;
            password(cursor)?
        } else if cursor.word("PASSWORD") {
            password(cursor)?
        } else if cursor.word("VALID") {
            cursor.expect("UNTIL")?;
            RoleOption::ValidUntil(cursor.text()?.ok_or_else(|| cursor.unexpected())?)
        } else if cursor.word("IN") {
            if !cursor.word("ROLE") {
                cursor.expect("GROUP")?;
            }
            RoleOption::InRole(roles(cursor)?)
        } else if cursor.word("ROLE") || cursor.word("USER") {
            RoleOption::Members { admin: false, members: roles(cursor)? }
        } else if cursor.word("ADMIN") {
            RoleOption::Members { admin: true, members: roles(cursor)? }
        } else if cursor.word("SYSID") {
            cursor.whole()?;
            continue;
        } else {
            return Err(cursor.unexpected());
        };
        options.push(option);
    }
    Ok(options)
}

/// `SET name = value` and `RESET name` of a role.
fn role_setting(cursor: &mut Cursor<'_, '_>, role: RoleName) -> Result<Access> {
    if matches!(&role, RoleName::Named(ident) if ident.quote_style.is_none() && normal(ident) == "all")
    {
        return Err(Error::Unsupported("ALTER ROLE ALL SET".into()));
    }
    let set = cursor.word("SET");
    if !set {
        cursor.expect("RESET")?;
    }
    if !set && cursor.word("ALL") {
        return Ok(Access::AlterRoleSetting { role, name: None, value: None });
    }
    let name = if cursor.words(&["TIME", "ZONE"]) {
        "timezone".to_owned()
    } else {
        let parts = cursor.name()?.0;
        let parts: Vec<String> =
            parts.iter().filter_map(|part| part.as_ident().map(normal)).collect();
        parts.join(".")
    };
    let mut value = None;
    if set {
        if cursor.words(&["FROM", "CURRENT"]) {
            return Err(Error::Unsupported("ALTER ROLE … SET … FROM CURRENT".into()));
        }
        if !cursor.word("TO") {
            cursor.take(&Token::Eq);
        }
        if !cursor.word("DEFAULT") {
            let mut words = Vec::new();
            loop {
                words.push(match (cursor.text()?, cursor.whole_text()) {
                    (Some(text), _) | (None, Some(text)) => text,
                    (None, None) => {
                        let ident = cursor.ident()?;
                        match ident.quote_style {
                            Some(_) => format!("\"{}\"", ident.value.replace('"', "\"\"")),
                            None => normal(&ident),
                        }
                    }
                });
                if !cursor.take(&Token::Comma) {
                    break;
                }
            }
            value = Some(words.join(", "));
        }
    }
    Ok(Access::AlterRoleSetting { role, name: Some(name), value })
}

fn password(cursor: &mut Cursor<'_, '_>) -> Result<RoleOption> {
    if cursor.word("NULL") {
        return Ok(RoleOption::Password(None));
    }
    let text = cursor.text()?.ok_or_else(|| cursor.unexpected())?;
    Ok(RoleOption::Password(Some(Hidden(text))))
}

/// What follows GRANT or REVOKE.
fn grant(cursor: &mut Cursor<'_, '_>, give: bool) -> Result<Access> {
    let mut option = false;
    let mut admin = false;
    if !give {
        option = cursor.words(&["GRANT", "OPTION", "FOR"]);
        admin = !option && cursor.words(&["ADMIN", "OPTION", "FOR"]);
    }
    let (privileges, all_columns, first) = privileges(cursor)?;
    if !cursor.word("ON") {
        // Without an object, what is granted are roles.
        let groups: Vec<Ident> = first;
        if groups.is_empty() || privileges.iter().any(|(_, columns)| !columns.is_empty()) {
            return Err(cursor.unexpected());
        }
        cursor.expect(if give { "TO" } else { "FROM" })?;
        let members = roles(cursor)?;
        if give && cursor.word("WITH") {
            cursor.expect("ADMIN")?;
            if !cursor.word("OPTION") {
                cursor.expect("TRUE")?;
            }
            admin = true;
        }
        granted_by(cursor)?;
        if !cursor.word("CASCADE") {
            cursor.word("RESTRICT");
        }
        return Ok(Access::Membership { give, groups, members, admin });
    }
    let objects = objects(cursor)?;
    let mut grant = Grant {
        give,
        option,
        privileges,
        all_columns,
        objects,
        grantees: Vec::new(),
        cascade: false,
    };
    grantees(cursor, &mut grant)?;
    Ok(Access::Privileges(grant))
}

/// To or from whom, and what may follow.
fn grantees(cursor: &mut Cursor<'_, '_>, grant: &mut Grant) -> Result<()> {
    cursor.expect(if grant.give { "TO" } else { "FROM" })?;
    grant.grantees = roles(cursor)?;
    if grant.give && cursor.word("WITH") {
        cursor.expect("GRANT")?;
        cursor.expect("OPTION")?;
        grant.option = true;
    }
    granted_by(cursor)?;
    grant.cascade = cursor.word("CASCADE");
    if !grant.cascade {
        cursor.word("RESTRICT");
    }
    Ok(())
}

fn granted_by(cursor: &mut Cursor<'_, '_>) -> Result<()> {
    if cursor.word("GRANTED") {
        cursor.expect("BY")?;
        role(cursor)?;
    }
    Ok(())
}

type Listed = (Vec<(String, Vec<Ident>)>, Vec<Ident>, Vec<Ident>);

/// The privileges with their columns, the columns of ALL, and all of it as names.
fn privileges(cursor: &mut Cursor<'_, '_>) -> Result<Listed> {
    let columns = |cursor: &mut Cursor<'_, '_>| -> Result<Vec<Ident>> {
        if !cursor.take(&Token::LParen) {
            return Ok(Vec::new());
        }
        let columns = idents(cursor)?;
        if !cursor.take(&Token::RParen) {
            return Err(cursor.unexpected());
        }
        Ok(columns)
    };
    if cursor.word("ALL") {
        cursor.word("PRIVILEGES");
        return Ok((Vec::new(), columns(cursor)?, Vec::new()));
    }
    let (mut privileges, mut names) = (Vec::new(), Vec::new());
    loop {
        let name = cursor.ident()?;
        privileges.push((name.value.to_uppercase(), columns(cursor)?));
        names.push(name);
        if !cursor.take(&Token::Comma) {
            return Ok((privileges, Vec::new(), names));
        }
    }
}

/// What follows ON.
fn objects(cursor: &mut Cursor<'_, '_>) -> Result<GrantObjects> {
    if cursor.words(&["ALL", "TABLES", "IN", "SCHEMA"]) {
        return Ok(GrantObjects::TablesIn(idents(cursor)?));
    }
    if cursor.words(&["ALL", "SEQUENCES", "IN", "SCHEMA"]) {
        return Ok(GrantObjects::SequencesIn(idents(cursor)?));
    }
    if cursor.word("SCHEMA") {
        return Ok(GrantObjects::Schemas(idents(cursor)?));
    }
    if cursor.word("SEQUENCE") {
        return Ok(GrantObjects::Sequences(names(cursor)?));
    }
    const OTHERS: [&str; 13] = [
        "ALL",
        "DATABASE",
        "DOMAIN",
        "FOREIGN",
        "FUNCTION",
        "LANGUAGE",
        "LARGE",
        "PARAMETER",
        "PROCEDURE",
        "ROUTINE",
        "TABLESPACE",
        "TYPE",
        "ROUTINES",
    ];
    for word in OTHERS {
        if cursor.next_is(word) {
            cursor.skip_to(&["TO", "FROM"]);
            return Ok(GrantObjects::Other(word.to_lowercase()));
        }
    }
    cursor.word("TABLE");
    Ok(GrantObjects::Relations(names(cursor)?))
}

fn default_privileges(cursor: &mut Cursor<'_, '_>) -> Result<Access> {
    let (mut for_roles, mut schemas) = (Vec::new(), Vec::new());
    loop {
        if cursor.word("FOR") {
            if !cursor.word("ROLE") {
                cursor.expect("USER")?;
            }
            for_roles = roles(cursor)?;
        } else if cursor.word("IN") {
            cursor.expect("SCHEMA")?;
            schemas = idents(cursor)?;
        } else {
            break;
        }
    }
    let give = cursor.word("GRANT");
    if !give {
        cursor.expect("REVOKE")?;
    }
    let option = !give && cursor.words(&["GRANT", "OPTION", "FOR"]);
    let (privileges, all_columns, _) = privileges(cursor)?;
    cursor.expect("ON")?;
    let objects = if cursor.word("TABLES") {
        GrantObjects::AllTables
    } else if cursor.word("SEQUENCES") {
        GrantObjects::AllSequences
    } else if cursor.word("SCHEMAS") {
        GrantObjects::AllSchemas
    } else {
        let word = normal(&cursor.ident()?);
        GrantObjects::Other(word)
    };
    let mut grant = Grant {
        give,
        option,
        privileges,
        all_columns,
        objects,
        grantees: Vec::new(),
        cascade: false,
    };
    grantees(cursor, &mut grant)?;
    Ok(Access::DefaultPrivileges { roles: for_roles, schemas, grant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Extension, StatementKind};

    fn access(sql: &str) -> Access {
        match crate::parse(sql).unwrap().pop().unwrap().kind {
            StatementKind::Extension(Extension::Access(access)) => *access,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_password_is_not_shown_with_the_statement() {
        let statement = access("CREATE USER ann WITH ENCRYPTED PASSWORD 'open' NOINHERIT");
        assert!(!format!("{statement:?}").contains("open"));
        let Access::CreateRole { options, .. } = statement else { panic!() };
        assert_eq!(options[0], RoleOption::Login(true));
        assert_eq!(options[1], RoleOption::Password(Some(Hidden("open".into()))));
        assert_eq!(options[2], RoleOption::Attribute("inherit", false));
    }

    #[test]
    fn roles_and_privileges_are_told_apart() {
        let Access::Membership { give: true, groups, members, admin: true } =
            access("GRANT a, \"B\" TO c, CURRENT_USER WITH ADMIN OPTION")
        else {
            panic!()
        };
        assert_eq!((groups.len(), members[1].clone()), (2, RoleName::Current));
        let Access::Privileges(grant) =
            access("REVOKE GRANT OPTION FOR SELECT (a, b), update ON t, s.u FROM PUBLIC CASCADE")
        else {
            panic!()
        };
        assert!(!grant.give && grant.option && grant.cascade);
        assert_eq!(grant.privileges[0].0, "SELECT");
        assert_eq!(grant.privileges[0].1.len(), 2);
        assert_eq!(grant.privileges[1], ("UPDATE".to_owned(), vec![]));
        assert_eq!(grant.grantees, [RoleName::Public]);
        let Access::DefaultPrivileges { roles, schemas, grant } =
            access("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s, t GRANT ALL ON TABLES TO b")
        else {
            panic!()
        };
        assert_eq!((roles.len(), schemas.len(), grant.privileges.len()), (1, 2, 0));
        assert_eq!(grant.objects, GrantObjects::AllTables);
    }

    #[test]
    fn the_settings_of_a_role_are_read() {
        for (sql, name, value) in [
            ("ALTER ROLE a SET search_path = s, \"T\"", "search_path", Some("s, \"T\"")),
            ("ALTER USER a SET statement_timeout TO 500", "statement_timeout", Some("500")),
            ("ALTER ROLE a IN DATABASE d SET my.x TO 'y'", "my.x", Some("y")),
            ("ALTER ROLE a SET work_mem TO DEFAULT", "work_mem", None),
            ("ALTER ROLE a RESET work_mem", "work_mem", None),
        ] {
            let Access::AlterRoleSetting { name: found, value: given, .. } = access(sql) else {
                panic!("{sql}")
            };
            assert_eq!((found.as_deref(), given.as_deref()), (Some(name), value), "{sql}");
        }
        assert!(crate::parse("ALTER ROLE ALL SET work_mem = 1").is_err());
    }

    #[test]
    fn the_role_of_a_session_is_set_in_many_ways() {
        for (sql, local, role) in [
            ("SET ROLE ann", false, Some("ann")),
            ("SET LOCAL ROLE 'Ann'", true, Some("Ann")),
            ("SET SESSION ROLE NONE", false, None),
            ("SET role = ann", false, Some("ann")),
            ("SET role TO 'none'", false, None),
            ("RESET ROLE", false, None),
        ] {
            let role = role.map(str::to_owned);
            assert_eq!(access(sql), Access::SetRole { local, role }, "{sql}");
        }
        for (sql, role) in [
            ("SET SESSION AUTHORIZATION ann", Some("ann")),
            ("SET SESSION SESSION AUTHORIZATION 'ann'", Some("ann")),
            ("SET SESSION AUTHORIZATION DEFAULT", None),
            ("RESET SESSION AUTHORIZATION", None),
        ] {
            let role = role.map(str::to_owned);
            let expected = Access::SetSessionAuthorization { local: false, role };
            assert_eq!(access(sql), expected, "{sql}");
        }
        assert!(crate::parse("SET search_path = a").is_ok());
        assert!(crate::parse("GRANT SELECT ON t").is_err());
        assert!(crate::parse("CREATE ROLE").is_err());
    }
}
