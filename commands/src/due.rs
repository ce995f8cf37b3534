//! What falls due: found in views, and done by ordinary commands, as Atrium itself.
//!
//! Every server that writes looks. Several may find the same thing at the same time; each submits the same command
//! under the same idempotency key, so it is done once.

use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use eventstore::{Database, Error as StoreError};
use projections::View;
use projections::finder::{self, DueBehind};
use projections::views::{ApprovalView, RetentionView};
use tokio::sync::watch;

use crate::{Caller, Command, Committed, Error, Idempotency, Submission, Writer};

/// How often a server looks, if nobody says otherwise.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Most things that one statement finds, and that are submitted together.
const BATCH_MAX: usize = 100;
/// Most batches of one sort in one look; what is left waits for the next.
const BATCHES_MAX: usize = 100;

/// Everything that falls due. Who was deleted can be restored for as long as `retention`.
#[must_use]
pub fn sorts(retention: TimeDelta) -> Vec<Sort> {
    vec![APPROVALS, purges(retention)]
}

const APPROVALS: Sort = Sort {
    name: "approval",
    after: TimeDelta::zero(),
    find: |database, question| {
        Box::pin(of_view::<ApprovalView>(database, ApprovalView::WAITING, question, |view| {
            Command::ApprovalDue { id: view.id }
        }))
    },
};

/// Purging who was deleted, once the time is over in which he could be restored.
#[must_use]
pub fn purges(retention: TimeDelta) -> Sort {
    Sort {
        name: "purge",
        after: retention,
        find: |database, question| {
            Box::pin(of_view::<RetentionView>(
                database,
                RetentionView::DELETED,
                question,
                move |view| Command::Purge { stream: view.stream.clone(), deleted_by: question.by },
            ))
        },
    }
}

/// One sort of things that fall due.
#[derive(Clone, Copy)]
pub struct Sort {
    /// Names it in idempotency keys. Stored, so never renamed.
    pub name: &'static str,
    /// How long it is due after the moment that is noted in its view.
    pub after: TimeDelta,
    /// Finds what is due by a moment, in one statement: mostly [`of_view`].
    pub find: for<'a> fn(&'a Database, Question<'a>) -> Found<'a>,
}

impl std::fmt::Debug for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sort({})", self.name)
    }
}

/// What a [`Sort`] finds, the longest due first.
pub type Found<'a> = Pin<Box<dyn Future<Output = Result<Vec<Due>, StoreError>> + Send + 'a>>;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Due by then.
    pub by: DateTime<Utc>,
    /// Only what comes behind it.
    pub behind: Option<&'a DueBehind>,
    /// At most so many.
    pub limit: usize,
}

/// Something that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// Where it stands among all of its sort: since when it is due, and its document's key.
    pub place: DueBehind,
    /// What is to be done. It must make the thing due no more, or due later.
    pub command: Command,
}

/// Finds documents of a view that are of a kind ([`projections::Index::kind`]) and due since a moment
/// ([`projections::Index::since`]).
///
/// # Errors
/// What the database says.
pub async fn of_view<V: View>(
    database: &Database,
    kind: &str,
    question: Question<'_>,
    command: impl Fn(&V) -> Command,
) -> Result<Vec<Due>, StoreError> {
    let Question { by, behind, limit } = question;
    let found = finder::due::<V>(database, kind, by, behind, limit).await?;
    let due =
        |(place, view): (DueBehind, std::sync::Arc<V>)| Due { place, command: command(&view) };
    Ok(found.into_iter().map(due).collect())
}

/// Looks for what is due, again and again.
#[derive(Debug)]
pub struct Watch {
    database: Database,
    writer: Writer,
    sorts: Vec<Sort>,
}

impl Watch {
    /// Over a database that a writer writes to.
    #[must_use]
    pub fn new(database: Database, writer: Writer, sorts: impl Into<Vec<Sort>>) -> Self {
        Self { database, writer, sorts: sorts.into() }
    }

    /// Looks every so often, and at once when the clock jumps; tells up to when all is done. Never ends.
    pub async fn run(self, every: Duration, done_until: watch::Sender<DateTime<Utc>>) {
        let mut jumps = self.writer.ambient().jumps();
        loop {
            let now = self.writer.ambient().now();
            match self.look(now).await {
                // What was done may have made something else due.
                Ok(done) if done > 0 => continue,
                Ok(_) => {
                    done_until.send_replace(now);
                }
                Err(error) => {
                    let cause: &dyn std::error::Error = &error;
                    tracing::warn!(error = cause, "what is due could not be looked for");
                }
            }
            let jumped = async {
                if let Some(jumps) = &mut jumps
                    && jumps.changed().await.is_ok()
                {
                    return;
                }
                std::future::pending().await
            };
            tokio::select! {
                () = jumped => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Has everything done that is due by a moment; gives how much was done, by this process. What is refused is
    /// left for the next look, and keeps nothing else waiting.
    ///
    /// # Errors
    /// Where it cannot be looked for.
    pub async fn look(&self, by: DateTime<Utc>) -> Result<usize, StoreError> {
        let mut done = 0;
        for sort in &self.sorts {
            let by = by - sort.after;
            let mut behind = None;
            for _ in 0..BATCHES_MAX {
                let question = Question { by, behind: behind.as_ref(), limit: BATCH_MAX };
                let found = (sort.find)(&self.database, question).await?;
                let is_last = found.len() < BATCH_MAX;
                behind = found.last().map(|due| due.place.clone());
                done += self.submit(sort, found).await;
                if is_last {
                    break;
                }
            }
        }
        Ok(done)
    }

    /// Hands commands over together, and hears what came of each.
    async fn submit(&self, sort: &Sort, found: Vec<Due>) -> usize {
        let handed_over: Vec<_> = found
            .into_iter()
            .map(|Due { place: DueBehind { since, key }, command }| {
                let key = format!("due:{}:{key}:{}", sort.name, since.timestamp_micros());
                // The key says all.
                let idempotency = Idempotency { key: key.clone(), request: [0; 32] };
                let submission =
                    Submission { caller: Caller::SYSTEM, command, idempotency: Some(idempotency) };
                (key, self.writer.hand_over(submission))
            })
            .collect();
        let mut done = 0;
        for (key, answer) in handed_over {
            let answer = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(Committed { replayed, .. }) => done += usize::from(!replayed),
                Err(error) => tell(&key, &error),
            }
        }
        done
    }
}

/// Something that was due could not be done; it is looked for again.
fn tell(key: &str, error: &Error) {
    let cause: &dyn std::error::Error = error;
    tracing::warn!(key, error = cause, "what is due could not be done");
}
