//! What can go wrong with the log.

use domain::event::Undecodable;

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no, or nothing.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema does not fit")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Somebody removed history, or another program numbered it.
    #[error(
        "position {expected} is missing from the log (found {found}); run `atrium verify` and \
         restore a backup"
    )]
    Gap {
        /// What should have come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A stored event cannot be read.
    #[error("the event at position {position} cannot be read")]
    Undecodable {
        /// Which.
        position: u64,
        /// Why.
        source: Undecodable,
    },
    /// The log holds shapes of events that this program does not know.
    #[error("the log was written by a newer Atrium ({0}); start that version")]
    Newer(Undecodable),
    /// The database is not what Atrium needs.
    #[error("{0}")]
    Unsuitable(String),
    /// A file that is no database: its folder, its lock, an export.
    #[error("a file failed")]
    File(#[from] std::io::Error),
    /// A commit failed, and whether it took effect is not known.
    #[error("the commit failed and its outcome is unknown")]
    OutcomeUnknown(#[source] sqlx::Error),
}

impl Error {
    /// That the one who commits gave no answer.
    #[must_use]
    pub fn outcome_unknown(cause: std::io::Error) -> Self {
        Self::OutcomeUnknown(sqlx::Error::Io(cause))
    }

    /// That the SQLite file is something else.
    pub(crate) fn not_a_database() -> Self {
        Self::Unsuitable(
            "the file is not a SQLite database; choose another --data folder, or restore a backup"
                .to_owned(),
        )
    }

    /// Whether a row stood in the way that must not be replaced.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        match self {
            Self::Database(error) => {
                error.as_database_error().is_some_and(|fault| fault.is_unique_violation())
            }
            _ => false,
        }
    }
}

/// SQLite's own codes for a file that is none of its, and for one that is damaged.
const SQLITE_NOT_A_DATABASE: &str = "26";
const SQLITE_CORRUPT: &str = "11";

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|fault| fault.code());
        match code.as_deref() {
            Some(SQLITE_NOT_A_DATABASE) => Self::not_a_database(),
            Some(SQLITE_CORRUPT) => Self::Unsuitable(
                "the SQLite file is damaged; keep a copy of it and restore a backup".to_owned(),
            ),
            _ => Self::Database(error),
        }
    }
}
