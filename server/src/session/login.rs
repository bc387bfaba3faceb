//! Logging in: which rule a connection falls under, and what its role may.

use std::sync::Arc;

use chronos_catalog::{CommitMeta, NameKind, Object, Objects, Oid, ReadTs, Relation};

use super::factory::Sessions;
use crate::auth::Challenge;
use crate::auth::hba::{ClientCertificate, Login, Method};
use crate::auth::scram::Verifier;
use crate::engine;
use crate::error::{PgError, PgResult};
use crate::pgwire::listener::StartupParameters;

/// The attributes of a role that are kept as text.
pub(super) const CONNECTION_LIMIT: &str = "connection_limit";
pub(super) const VALID_UNTIL: &str = "valid_until";
/// What goes before the name of a setting that a role's sessions begin with.
pub(super) const SETTING: &str = "set.";

/// The database that a client asked for, without an instant.
pub(super) fn database(startup: &StartupParameters) -> &str {
    startup.database.split_once('@').map_or(startup.database.as_str(), |(name, _)| name)
}

/// Roles as they are at one moment.
struct Roles {
    objects: Arc<Objects>,
    at: ReadTs,
}

impl Roles {
    fn named(&self, name: &str) -> Option<(Oid, &Arc<Object>)> {
        self.objects.lookup(NameKind::Role, None, name, self.at)
    }

    /// Whether a role is, directly or not, a member of another one.
    fn member(&self, role: &str, group: &str) -> bool {
        let (Some((role, _)), Some((group, _))) = (self.named(role), self.named(group)) else {
            return false;
        };
        let mut seen = vec![role];
        let mut next = 0;
        while let Some(&one) = seen.get(next) {
            next += 1;
            if let Some(object) = self.objects.get(one, self.at)
                && let Relation::Role { member_of, .. } = &object.relation
            {
                if member_of.contains(&group) {
                    return true;
                }
                seen.extend(member_of.iter().filter(|g| !seen.contains(g)).collect::<Vec<_>>());
            }
        }
        false
    }
}

impl Sessions {
    fn roles(&self) -> Roles {
        let transaction = self.engine.begin();
        let roles = Roles { objects: transaction.objects(), at: transaction.objects_at() };
        transaction.rollback();
        roles
    }

    /// How a client has to prove who it is.
    pub(super) fn challenge_of(&self, startup: &StartupParameters) -> PgResult<Challenge> {
        let roles = self.roles();
        let (user, database) = (startup.user.as_str(), database(startup));
        let encrypted = startup.tls.is_some();
        let login = Login { user, database, peer: startup.peer, encrypted };
        let described = || {
            let encryption = if encrypted { "SSL encryption" } else { "no encryption" };
            format!(
                "host \"{}\", user \"{user}\", database \"{database}\", {encryption}",
                login.address()
            )
        };
        let hba = &self.engine.config().hba;
        let Some(rule) = hba.find(&login, |group| roles.member(user, group)) else {
            let message = format!("no pg_hba.conf entry for {}", described());
            return Err(PgError::fatal("28000", message));
        };
        if rule.method == Method::Reject {
            let message = format!("pg_hba.conf rejects connection for {}", described());
            return Err(PgError::fatal("28000", message));
        }
        if rule.wants_certificate() {
            let tls = startup.tls.as_ref().filter(|tls| tls.client_certificate);
            let Some(tls) = tls else {
                let message = "connection requires a valid client certificate";
                return Err(PgError::fatal("28000", message));
            };
            let named = rule.method == Method::Certificate
                || rule.client_certificate == Some(ClientCertificate::VerifyFull);
            if named && tls.client_name.as_deref() != Some(user) {
                let message = format!("certificate authentication failed for user \"{user}\"");
                return Err(PgError::fatal("28000", message));
            }
        }
        let verifier = || {
            let kept = roles.named(user).and_then(|(_, role)| self.verifier(role));
            kept.unwrap_or_else(|| Verifier::of_nobody(&self.nobody[..], user))
        };
        Ok(match rule.method {
            Method::Trust | Method::Reject | Method::Certificate => Challenge::Trust,
            Method::Scram => Challenge::Scram(verifier()),
            Method::Password if encrypted || login.address().is_loopback() => {
                Challenge::Password(verifier())
            }
            Method::Password => {
                let message = "a password is not taken over an unencrypted connection";
                let hint = "Connect with sslmode=require, or use the method scram-sha-256.";
                return Err(PgError::fatal("28000", message).hint(hint));
            }
        })
    }

    /// The verifier of a role's password, if it has one that still holds.
    fn verifier(&self, role: &Object) -> Option<Verifier> {
        let Relation::Role { verifier, attributes, .. } = &role.relation else { return None };
        let until = attributes.get(VALID_UNTIL).and_then(|text| text.parse::<i64>().ok());
        if until.is_some_and(|until| until <= self.engine.now_micros()) {
            return None;
        }
        verifier.as_ref()?.parse().ok()
    }

    /// Checks that a role may log in now.
    ///
    /// # Errors
    /// 28000 for one that does not exist or may not, 53300 for one that has too many
    /// connections.
    pub(super) fn admit(&self, user: &str) -> PgResult<()> {
        let roles = self.roles();
        let Some((_, role)) = roles.named(user) else {
            let message = format!("role \"{user}\" does not exist");
            return Err(PgError::fatal("28000", message));
        };
        let Relation::Role { login, superuser, attributes, .. } = &role.relation else {
            return Err(PgError::internal("a role that is none"));
        };
        if !login {
            let message = format!("role \"{user}\" is not permitted to log in");
            return Err(PgError::fatal("28000", message));
        }
        let limit = attributes.get(CONNECTION_LIMIT).and_then(|text| text.parse::<i64>().ok());
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        if !superuser && limit.is_some_and(|limit| self.backends.count(user) >= limit) {
            let message = format!("too many connections for role \"{user}\"");
            return Err(PgError::fatal("53300", message));
        }
        Ok(())
    }

    /// The settings that the sessions of a role begin with.
    pub(super) fn settings_of(&self, user: &str) -> Vec<(String, String)> {
        let roles = self.roles();
        let attributes = match roles.named(user).map(|(_, role)| &role.relation) {
            Some(Relation::Role { attributes, .. }) => attributes,
            _ => return Vec::new(),
        };
        let set = attributes.iter().filter_map(|(key, value)| {
            key.strip_prefix(SETTING).map(|name| (name.to_owned(), value.clone()))
        });
        set.collect()
    }

    /// Gives the bootstrap role its first password, if the configuration has one and the role
    /// has none yet. Gives whether any role has a password then.
    ///
    /// # Errors
    /// Those of the commit.
    pub async fn first_password(&self) -> Result<bool, engine::Error> {
        let mut transaction = self.engine.begin();
        let (objects, at) = (transaction.objects(), transaction.objects_at());
        let has_password =
            |o: &Object| matches!(&o.relation, Relation::Role { verifier: Some(_), .. });
        let password = &self.engine.config().password;
        if let Some(role) = objects.get(Oid::SUPERUSER, at)
            && !has_password(role)
            && !password.is_empty()
        {
            let mut role = Object::clone(role);
            if let Relation::Role { verifier, .. } = &mut role.relation {
                *verifier = Some(Verifier::of_password(password.reveal()).to_string());
            }
            let meta = CommitMeta { user: role.name.clone(), ..CommitMeta::default() };
            transaction.change(Oid::SUPERUSER, Some(role))?;
            transaction.commit(meta).await?;
            return Ok(true);
        }
        transaction.rollback();
        Ok(objects.iter(at).any(|(_, object)| has_password(object)))
    }
}
