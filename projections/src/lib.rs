//! What queries read: views and the ledger's facts, folded from the log by pure functions.

pub mod activity;
mod document;
pub mod effective;
pub mod finder;
pub mod ledger;
pub mod past;
mod persons;
mod rebuild;
mod tables;
pub mod views;

pub use document::{BELOW, Below, Documents, Index, Touch, View, Wants, list_below};
pub use persons::{Opened, Persons};
pub use rebuild::{
    Condition, Difference, GENERATION, Rebuilt, VERSION, compare_with_log, condition, is_prepared,
    prepare, rebuild, rebuild_within,
};
pub use tables::VIEWS_VERSION;
pub use views::Views;
