//! The log: all events in one gapless order, on SQLite and on PostgreSQL.

mod bulk;
mod chain;
mod database;
mod error;
mod fault;
mod log;
mod sealed;
mod snapshot;
mod transfer;
mod verify;

pub use bulk::{CellKind, Cells, Layout, Rows, Taken};
pub use chain::{Chain, GENESIS, Hash};
pub use database::{
    Age, Connection, Database, Engine, Row, STEPS_TABLE, Source, Value, age_of, is_in_use,
    write_ahead_log,
};
pub use error::Error;
pub use fault::failpoint;
#[cfg(feature = "faults")]
pub use fault::{failpoints_from_environment, failpoints_met};
pub use log::{
    EVENT_LAYOUT, GONE_PERSON_KEY_LAYOUT, Head, Log, PERSON_KEY_LAYOUT, PERSON_KEYS, Pages,
    READ_MAX, REPLY_LAYOUT, ROW_EVENTS_MAX, SHAPE_LAYOUT, Stored, append, streams, write,
};
pub use sealed::{
    SEALED_SLOT_LAYOUT, SEALED_SLOTS, SealedSlot, SealsVerified, for_each_sealed, seal_of,
    sealed_lines, verify_sealed,
};
pub use snapshot::Snapshot;
pub use transfer::{Arrival, FORMAT, Transferred, export, export_package};
pub use verify::{Finding, Note, Verified, verify, verify_end, verify_noted};
