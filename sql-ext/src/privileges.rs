//! Who may do what: the one place that decides, from owners, memberships and access lists.
//!
//! Invariants:
//! - A superuser may do everything.
//! - An empty access list means the default: everything for the owner, and for PUBLIC the use of
//!   the schema `public`.
//! - Privileges are those of now, whatever instant is read.

use std::fmt;
use std::str::FromStr;

use chronos_catalog::{ColumnId, NameKind, Object, Objects, Oid, ReadTs, Relation, roles};

/// The letters of the privileges that a table or view, a sequence, a schema and a column have.
pub const TABLE: &str = "arwdDxt";
/// Likewise of a sequence.
pub const SEQUENCE: &str = "rwU";
/// Likewise of a schema.
pub const SCHEMA: &str = "UC";
/// Likewise of a column.
pub const COLUMN: &str = "arwx";

/// The letter of a privilege, as access lists have it.
pub fn letter(privilege: &str) -> Option<char> {
    Some(match privilege {
        "SELECT" => 'r',
        "INSERT" => 'a',
        "UPDATE" => 'w',
        "DELETE" => 'd',
        "TRUNCATE" => 'D',
        "REFERENCES" => 'x',
        "TRIGGER" => 't',
        "USAGE" => 'U',
        "CREATE" => 'C',
        "CONNECT" => 'c',
        "TEMPORARY" | "TEMP" => 'T',
        "EXECUTE" => 'X',
        _ => return None,
    })
}

/// The privilege of a letter.
pub fn word(letter: char) -> Option<&'static str> {
    Some(match letter {
        'r' => "SELECT",
        'a' => "INSERT",
        'w' => "UPDATE",
        'd' => "DELETE",
        'D' => "TRUNCATE",
        'x' => "REFERENCES",
        't' => "TRIGGER",
        'U' => "USAGE",
        'C' => "CREATE",
        'c' => "CONNECT",
        'T' => "TEMPORARY",
        'X' => "EXECUTE",
        _ => return None,
    })
}

/// The letters of all privileges that an object has.
pub fn all(relation: &Relation) -> &'static str {
    match relation {
        Relation::Schema => SCHEMA,
        Relation::Sequence { .. } => SEQUENCE,
        Relation::Table(_) | Relation::View { .. } => TABLE,
        Relation::Index { .. } | Relation::Role { .. } => "",
    }
}

/// One entry of an access list: `grantee=letters/grantor`, `*` after a letter that the grantee
/// may give on. Without a grantee it is for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whom; empty for PUBLIC.
    pub grantee: String,
    /// The privileges, each with whether it may be given on.
    pub letters: Vec<(char, bool)>,
    /// By whom.
    pub grantor: String,
}

impl Item {
    /// An entry with some privileges, none of which may be given on.
    pub fn new(grantee: &str, letters: &str, grantor: &str) -> Self {
        Item {
            grantee: grantee.to_owned(),
            letters: letters.chars().map(|l| (l, false)).collect(),
            grantor: grantor.to_owned(),
        }
    }

    /// Whether it has a privilege, or may give it on.
    pub fn has(&self, letter: char, option: bool) -> bool {
        self.letters.iter().any(|(l, o)| *l == letter && (*o || !option))
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        f.write_str(name)
    } else {
        write!(f, "\"{}\"", name.replace('"', "\"\""))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(f, &self.grantee)?;
        f.write_str("=")?;
        for (letter, option) in &self.letters {
            write!(f, "{letter}{}", if *option { "*" } else { "" })?;
        }
        f.write_str("/")?;
        quoted(f, &self.grantor)
    }
}

/// A name at the beginning, quoted or not, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['=', '/']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

impl FromStr for Item {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (grantee, rest) = name(text).ok_or(())?;
        let rest = rest.strip_prefix('=').ok_or(())?;
        let (given, grantor) = rest.split_once('/').ok_or(())?;
        let (grantor, _) = name(grantor).ok_or(())?;
        let mut letters: Vec<(char, bool)> = Vec::new();
        for c in given.chars() {
            match (c, letters.last_mut()) {
                ('*', Some(last)) => last.1 = true,
                (c, _) => letters.push((c, false)),
            }
        }
        Ok(Item { grantee, letters, grantor })
    }
}

/// The entries of an access list.
pub fn items(acl: &[String]) -> impl Iterator<Item = Item> {
    acl.iter().filter_map(|text| text.parse().ok())
}

/// What a role may do, at one moment of the catalog.
#[derive(Clone, Debug)]
pub struct Rights<'a> {
    objects: &'a Objects,
    at: ReadTs,
    superuser: bool,
    /// The role and those whose privileges it has, by membership.
    held: Vec<Oid>,
}

impl<'a> Rights<'a> {
    /// What the role may do; nothing without one.
    pub fn of(objects: &'a Objects, at: ReadTs, role: Option<Oid>) -> Self {
        let superuser = role.is_some_and(|role| is_superuser(objects, at, role));
        let held = match role {
            Some(role) if !superuser => groups(objects, at, role, true),
            _ => role.into_iter().collect(),
        };
        Rights { objects, at, superuser, held }
    }

    /// Whether it is a superuser.
    pub fn superuser(&self) -> bool {
        self.superuser
    }

    /// Whether it has the privileges of that role.
    pub fn has_role(&self, role: Oid) -> bool {
        self.superuser || self.held.contains(&role)
    }

    /// The schema of that name, and whether it may use it.
    pub fn schema(&self, name: &str) -> Option<(Oid, &'a Object, bool)> {
        let (oid, schema) = self.objects.lookup(NameKind::Schema, None, name, self.at)?;
        Some((oid, schema, self.may(oid, schema, 'U', false)))
    }

    /// Whether it owns the object, or is a member of who does.
    pub fn owns(&self, object: &Object) -> bool {
        self.has_role(object.owner)
    }

    /// Whether it has an attribute of its own, such as `createrole`.
    pub fn attribute(&self, name: &str) -> bool {
        let role = self.held.first().and_then(|role| self.objects.get(*role, self.at));
        self.superuser
            || role.is_some_and(|role| match &role.relation {
                Relation::Role { attributes, .. } => {
                    attributes.get(name).is_some_and(|value| value == "true")
                }
                _ => false,
            })
    }

    /// Whether it may use an object so, or give that on.
    pub fn may(&self, oid: Oid, object: &Object, letter: char, option: bool) -> bool {
        if self.superuser {
            return true;
        }
        if !option && self.may_by_role(object, letter) {
            return true;
        }
        if object.acl.is_empty() {
            let public = oid == Oid::PUBLIC && letter == 'U' && !option;
            return public || (self.owns(object) && all(&object.relation).contains(letter));
        }
        // An owner can always give, also what it took from itself.
        (option && self.owns(object)) || self.listed(&object.acl, letter, option)
    }

    /// Whether it may use a column so: by the table, or by the column.
    pub fn may_column(&self, oid: Oid, object: &Object, column: ColumnId, letter: char) -> bool {
        self.may(oid, object, letter, false)
            || object.column_acl.get(&column.0).is_some_and(|acl| self.listed(acl, letter, false))
    }

    /// Whether it may use any column so.
    pub fn may_any_column(&self, oid: Oid, object: &Object, letter: char) -> bool {
        self.may(oid, object, letter, false)
            || object.column_acl.values().any(|acl| self.listed(acl, letter, false))
    }

    fn listed(&self, acl: &[String], letter: char, option: bool) -> bool {
        items(acl).any(|item| {
            item.has(letter, option) && (item.grantee.is_empty() || self.named(&item.grantee))
        })
    }

    fn named(&self, name: &str) -> bool {
        let role = self.objects.lookup(NameKind::Role, None, name, self.at);
        role.is_some_and(|(role, _)| self.held.contains(&role))
    }

    /// What the predefined roles give on every object.
    fn may_by_role(&self, object: &Object, letter: char) -> bool {
        let schema = matches!(object.relation, Relation::Schema) && letter == 'U';
        (self.held.contains(&roles::READ_ALL_DATA) && (letter == 'r' || schema))
            || (self.held.contains(&roles::WRITE_ALL_DATA)
                && (matches!(letter, 'a' | 'w' | 'd') || schema))
    }
}

/// Whether a role is a superuser.
pub fn is_superuser(objects: &Objects, at: ReadTs, role: Oid) -> bool {
    let role = objects.get(role, at);
    role.is_some_and(|o| matches!(o.relation, Relation::Role { superuser: true, .. }))
}

/// Whether a role is another one or, directly or not, a member of it.
pub fn is_member(objects: &Objects, at: ReadTs, role: Oid, group: Oid) -> bool {
    groups(objects, at, role, false).contains(&group)
}

/// The role itself and the roles that it is, directly or not, a member of; with `inherit` only
/// those whose privileges it has without SET ROLE.
fn groups(objects: &Objects, at: ReadTs, role: Oid, inherit: bool) -> Vec<Oid> {
    let mut found = vec![role];
    let mut next = 0;
    while let Some(one) = found.get(next) {
        let role = objects.get(*one, at);
        next += 1;
        let Some(Relation::Role { member_of, attributes, .. }) = role.map(|o| &o.relation) else {
            continue;
        };
        if inherit && attributes.get("inherit").is_some_and(|value| value == "false") {
            continue;
        }
        for group in member_of {
            if !found.contains(group) {
                found.push(*group);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_it_is_written_whatever_the_names() {
        for (text, grantee) in [
            ("ann=rw*d/chronos", "ann"),
            ("=r/chronos", ""),
            ("\"a=rw/b\"=r/\"x y\"", "a=rw/b"),
            ("\"a\"\"b\"=r/c", "a\"b"),
        ] {
            let item: Item = text.parse().unwrap();
            assert_eq!((item.grantee.as_str(), item.to_string().as_str()), (grantee, text));
        }
        let item: Item = "ann=rw*/chronos".parse().unwrap();
        assert!(item.has('r', false) && !item.has('r', true) && item.has('w', true));
        assert!("ann".parse::<Item>().is_err());
    }
}
