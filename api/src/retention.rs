//! Purging who was deleted once the days are over in which he could be restored.

use chrono::TimeDelta;
use commands::{Caller, Command, Error, Submission};
use projections::finder;

use crate::app::App;

/// Organisations and users that are found at a time.
const FOUND_AT_A_TIME: usize = 500;

/// Purges everybody who was deleted more than so many days ago; gives how many that were. Whatever the number of
/// processes that do so at once, each is purged once.
///
/// # Errors
/// What the database says, and what the writer refuses.
pub async fn purge(app: &App, retention_days: u32) -> Result<u64, Error> {
    let deleted_before = app.now() - TimeDelta::days(retention_days.into());
    let moment = deleted_before.timestamp_micros();
    let mut purged = 0;
    loop {
        let due = finder::deleted_before(app.database(), moment, FOUND_AT_A_TIME).await;
        let due = due.map_err(|error| Error::Storage(error.into()))?;
        for stream in &due {
            let command = Command::Purge { stream: stream.clone(), deleted_before };
            let submission = Submission { caller: Caller::SYSTEM, command, idempotency: None };
            app.writer().submit(submission).await?;
        }
        purged += due.len() as u64;
        if due.len() < FOUND_AT_A_TIME {
            return Ok(purged);
        }
    }
}
