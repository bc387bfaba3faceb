//! Statements about roles and privileges, as they are written.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

/// A statement about roles or privileges.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// `CREATE ROLE`, `CREATE USER`, `CREATE GROUP`
    CreateRole {
        /// Its name.
        name: Ident,
        /// Its options; `CREATE USER` begins with LOGIN.
        options: Vec<RoleOption>,
    },
    /// `ALTER ROLE r …`
    AlterRole {
        /// The role.
        role: RoleName,
        /// What changes.
        options: Vec<RoleOption>,
    },
    /// `ALTER ROLE r RENAME TO s`
    RenameRole {
        /// The role.
        role: RoleName,
        /// Its new name.
        name: Ident,
    },
    /// `ALTER ROLE r SET name = value` and `ALTER ROLE r RESET name`: what a setting is in the
    /// role's sessions to come.
    AlterRoleSetting {
        /// The role.
        role: RoleName,
        /// The setting; `None` for all, to be reset.
        name: Option<String>,
        /// Its value; `None` for the default.
        value: Option<String>,
    },
    /// `ALTER GROUP g ADD USER r, …` and `… DROP USER …`
    AlterGroup {
        /// The role that others are members of.
        group: RoleName,
        /// Whether members are added.
        add: bool,
        /// The members.
        members: Vec<RoleName>,
    },
    /// `DROP ROLE r, …`
    DropRole {
        /// `IF EXISTS`
        if_exists: bool,
        /// The roles.
        names: Vec<RoleName>,
    },
    /// `GRANT … ON …` and `REVOKE … ON …`
    Privileges(Grant),
    /// `GRANT r TO s` and `REVOKE r FROM s`
    Membership {
        /// GRANT rather than REVOKE.
        give: bool,
        /// The roles that others become members of.
        groups: Vec<Ident>,
        /// The members.
        members: Vec<RoleName>,
        /// `WITH ADMIN OPTION` or `ADMIN OPTION FOR`.
        admin: bool,
    },
    /// `ALTER DEFAULT PRIVILEGES …`
    DefaultPrivileges {
        /// The roles whose objects to come it is about; none for the current one.
        roles: Vec<RoleName>,
        /// Only in these schemas; none for all.
        schemas: Vec<Ident>,
        /// What is granted or revoked, on all objects of a kind.
        grant: Grant,
    },
    /// `SET ROLE r` and `RESET ROLE`
    SetRole {
        /// To the end of the transaction.
        local: bool,
        /// `None` for the session's own.
        role: Option<String>,
    },
    /// `SET SESSION AUTHORIZATION r` and `RESET SESSION AUTHORIZATION`
    SetSessionAuthorization {
        /// To the end of the transaction.
        local: bool,
        /// `None` for who logged in.
        role: Option<String>,
    },
    /// `REASSIGN OWNED BY r, … TO s`
    ReassignOwned {
        /// Whose objects.
        from: Vec<RoleName>,
        /// The new owner.
        to: RoleName,
    },
}

/// A role as a statement names it.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleName {
    /// `PUBLIC`: everybody.
    Public,
    /// `CURRENT_USER` and `CURRENT_ROLE`
    Current,
    /// `SESSION_USER`
    Session,
    /// By its name.
    Named(Ident),
}

/// One option of CREATE ROLE or ALTER ROLE.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleOption {
    /// `LOGIN`, `NOLOGIN`
    Login(bool),
    /// `SUPERUSER`, `NOSUPERUSER`
    Superuser(bool),
    /// `CREATEDB`, `CREATEROLE`, `INHERIT`, `REPLICATION`, `BYPASSRLS` in small letters, and
    /// their opposites.
    Attribute(&'static str, bool),
    /// `CONNECTION LIMIT n`
    ConnectionLimit(i64),
    /// `PASSWORD '…'`; `None` for NULL.
    Password(Option<Hidden>),
    /// `VALID UNTIL '…'`
    ValidUntil(String),
    /// `IN ROLE r, …`: it becomes a member of them.
    InRole(Vec<RoleName>),
    /// `ROLE r, …` and `ADMIN r, …`: they become members of it.
    Members {
        /// They may give the membership on.
        admin: bool,
        /// The members.
        members: Vec<RoleName>,
    },
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

/// What GRANT gives and REVOKE takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// GRANT rather than REVOKE.
    pub give: bool,
    /// `WITH GRANT OPTION` or `GRANT OPTION FOR`.
    pub option: bool,
    /// The privileges in capitals, each with its columns; none for ALL.
    pub privileges: Vec<(String, Vec<Ident>)>,
    /// The columns of `ALL (…)`.
    pub all_columns: Vec<Ident>,
    /// On what.
    pub objects: GrantObjects,
    /// To or from whom.
    pub grantees: Vec<RoleName>,
    /// `CASCADE`
    pub cascade: bool,
}

/// What privileges are granted on.
#[derive(Clone, Debug, PartialEq)]
pub enum GrantObjects {
    /// `[TABLE] t, …`, also views and sequences.
    Relations(Vec<ObjectName>),
    /// `SEQUENCE s, …`
    Sequences(Vec<ObjectName>),
    /// `SCHEMA s, …`
    Schemas(Vec<Ident>),
    /// `ALL TABLES IN SCHEMA s, …`
    TablesIn(Vec<Ident>),
    /// `ALL SEQUENCES IN SCHEMA s, …`
    SequencesIn(Vec<Ident>),
    /// `TABLES` of ALTER DEFAULT PRIVILEGES.
    AllTables,
    /// `SEQUENCES` likewise.
    AllSequences,
    /// `SCHEMAS` likewise.
    AllSchemas,
    /// Anything else, by its word.
    Other(String),
}

impl Access {
    /// Whether it is only about the session.
    pub fn changes_nothing(&self) -> bool {
        matches!(self, Access::SetRole { .. } | Access::SetSessionAuthorization { .. })
    }

    /// The command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Access::CreateRole { .. } => "CREATE ROLE",
            Access::AlterRole { .. }
            | Access::RenameRole { .. }
            | Access::AlterRoleSetting { .. }
            | Access::AlterGroup { .. } => "ALTER ROLE",
            Access::DropRole { .. } => "DROP ROLE",
            Access::Privileges(Grant { give: true, .. }) => "GRANT",
            Access::Privileges(_) => "REVOKE",
            Access::Membership { give: true, .. } => "GRANT ROLE",
            Access::Membership { .. } => "REVOKE ROLE",
            Access::DefaultPrivileges { .. } => "ALTER DEFAULT PRIVILEGES",
            Access::SetRole { .. } | Access::SetSessionAuthorization { .. } => "SET",
            Access::ReassignOwned { .. } => "REASSIGN OWNED",
        }
    }
}
