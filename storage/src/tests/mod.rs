//! The storage against a plain model, driven as the log drives it.

mod files;
mod model;
mod world;
