//! Valid time (SQL:2011): periods of tables, keys whose periods do not overlap, and changes of a
//! portion of a row's period.

mod define;
mod overlaps;
mod portion;

pub(super) use define::of_column;
pub(super) use portion::Portion;
