//! What acts: the writer, the unit, and the use cases.

mod ambient;
mod body;
mod cache;
pub mod closing;
mod command;
pub mod due;
mod error;
mod memory;
mod reply;
pub mod resource;
mod state;
mod unit;
pub mod usecase;
mod writer;

pub use ambient::{Ambient, SystemAmbient};
pub use body::{Input, Password, ShapeFault};
pub use command::Command;
pub use error::Error;
pub use memory::MemoryWriter;
pub use reply::{Outcome, Reply};
pub use unit::Caller;
pub use writer::{Committed, Idempotency, OnCommit, Rehearsed, Submission, Writer, WriterSettings};
