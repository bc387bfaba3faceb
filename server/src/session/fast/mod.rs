//! Statements that a key answers, planned once and run without the planner.
//!
//! ```text
//! SELECT, UPDATE, DELETE … WHERE key = …   planned by the planner, with parameters left open
//!    |                                         |
//!    |                 compile: Projection, Filter, Scan of one table, whole key bound?
//!    |                                         v
//!    |  execution: values -> key -> rows -> filter -> columns            KeyPlan, in a Slot
//!    '-----------------> what writes does with rows is the same for both
//! ```
//!
//! Invariants:
//! - What a [`KeyPlan`] answers is what the plan that it was made of would answer. Anything that
//!   may differ between two executions, other than parameters and rows, is not compiled:
//!   functions that are not immutable, words such as `now` in text. The instant of a query AS OF
//!   is evaluated for each execution, and so is what its table's name meant then.
//! - It is used only under the definitions and settings that it was made under ([`Basis`]).

mod compile;
mod instant;
mod key_plan;
mod parameter;
mod run;
mod shape;
mod shapes;
mod slot;
mod texts;

pub(super) use key_plan::KeyPlan;
pub(super) use shapes::Shapes;
pub(super) use slot::{Basis, Kept, Slot};
pub(super) use texts::{Described, Texts};
