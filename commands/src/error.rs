//! Why a command did not do what it should.

use std::sync::Arc;

use domain::Refusal;

/// What the caller of a command is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain says no. Nothing has been done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller is not, or not any more, somebody who may ask for anything.
    #[error("the credentials are not valid")]
    Unauthenticated,
    /// The idempotency key was used before, for something else.
    #[error("the idempotency key was used before with another request")]
    KeyReused,
    /// Too many commands are waiting. Nothing has been done.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The process is stopping. Nothing has been done.
    #[error("the server is stopping")]
    Stopping,
    /// This process only reads. Nothing has been done.
    #[error("this server only reads")]
    ReadOnly {
        /// Where commands go, as far as is known.
        commands_at: Option<Arc<str>>,
    },
    /// The database did not confirm the commit: it may or may not have been done.
    #[error("whether the command took effect is not known; ask again with the same key")]
    OutcomeUnknown,
    /// The database could not take it. Nothing has been done.
    #[error("the storage refused the command")]
    Storage(#[source] Arc<eventstore::Error>),
    /// A mistake in the program. Nothing has been done.
    #[error("the command failed by a mistake in the program")]
    Panicked,
}

/// Why a use case stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The domain says no.
    Refused(Refusal),
    /// The caller is nobody, or not any more.
    Unauthenticated,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
