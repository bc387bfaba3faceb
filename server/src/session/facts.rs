//! What follows from the settings and is asked for by every statement: worked out once after a
//! change, and shared as long as none of them changes.

use std::collections::BTreeMap;

use super::settings::Settings;

/// Settings that no plan depends on.
const BESIDE_PLANS: &[&str] = &[
    "application_name",
    "chronos.actor",
    "chronos.function_id",
    "chronos.reason",
    "client_min_messages",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// What follows from a session's settings.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The settings that a plan may depend on, so far as they are not the server's defaults. A
    /// plan that was made under others is not used.
    pub planning: BTreeMap<String, String>,
    /// What ParameterStatus tells.
    pub reported: BTreeMap<&'static str, String>,
}

impl Facts {
    pub fn of(settings: &Settings) -> Self {
        let mut planning = settings.changed();
        planning.retain(|name, _| !BESIDE_PLANS.contains(&name.as_str()));
        Facts { planning, reported: settings.reported() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::settings::Scope;
    use super::*;

    #[test]
    fn a_block_leaves_the_facts_of_plans_as_they_are_and_a_search_path_does_not() {
        let mut s = Settings::default();
        let before = s.facts();
        assert!(Arc::ptr_eq(&before, &s.facts()));
        s.set("transaction_isolation", Some("serializable"), Scope::Local).unwrap();
        assert_eq!(s.facts().planning, before.planning);
        s.set("search_path", Some("a"), Scope::Local).unwrap();
        assert_ne!(s.facts().planning, before.planning);
        s.end_transaction();
        assert_eq!(s.facts().planning, before.planning);
    }
}
