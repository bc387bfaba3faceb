//! PostgreSQL functions and operators.
