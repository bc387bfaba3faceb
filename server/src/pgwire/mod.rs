//! The PostgreSQL protocol: messages, portals, formats and text. Knows no SQL.
