//! Tests against one running node, over the wire.

mod access;
mod crash;
mod dump;
mod each;
mod errors;
mod files;
mod flights;
mod isolation;
mod lifecycle;
mod never_ignored;
mod offline;
mod psql;
mod scripts;
mod stores;
mod windows;
