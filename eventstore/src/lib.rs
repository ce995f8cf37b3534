//! The log: all events in one gapless order, on SQLite and on PostgreSQL.

mod bulk;
mod chain;
mod database;
mod error;
mod fault;
mod log;
mod verify;

pub use bulk::{CellKind, Cells, Layout, Rows, Taken};
pub use chain::{Chain, GENESIS, Hash};
pub use database::{Connection, Database, Engine, Row, Source, Value};
pub use error::Error;
pub use fault::failpoint;
#[cfg(feature = "faults")]
pub use fault::failpoints_met;
pub use log::{
    EVENT_LAYOUT, Head, Log, Pages, READ_MAX, REPLY_LAYOUT, ROW_EVENTS_MAX, SHAPE_LAYOUT, Stored,
    append, streams, write,
};
pub use verify::{Finding, Verified, verify};
