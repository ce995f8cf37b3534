//! The committer: writes what was decided, a batch at a time, and knows where the log ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::event::{Recorded, StoredForm};
use domain::{Bug, SubjectId, planted};
use eventstore::{
    Connection, Database, EVENT_LAYOUT, Error, GONE_PERSON_KEY_LAYOUT, Hash, Head,
    PERSON_KEY_LAYOUT, PERSON_KEYS, REPLY_LAYOUT, ROW_EVENTS_MAX, Rows, SHAPE_LAYOUT, SealedSlot,
    Value,
};

use crate::cache::{KeptReply, Layer, SealedKey};
use crate::unit::Decided;

/// What commands have decided and is not yet committed.
#[derive(Default)]
pub(crate) struct Batch {
    /// States and documents after it.
    pub layer: Layer,
    /// What happened, in the log's order.
    pub events: Vec<Recorded>,
    /// The same, as it is to be stored.
    stored: Vec<StoredForm>,
    /// Answers to be kept: key, hash of the request, answer.
    kept: Vec<(String, Hash, Vec<u8>)>,
    keys: PersonKeys,
    /// Entries of closed periods that are kept.
    sealed: Vec<Arc<Vec<SealedSlot>>>,
}

/// Persons' keys that a batch makes, and those that it takes away.
#[derive(Default)]
struct PersonKeys {
    made: BTreeMap<SubjectId, SealedKey>,
    gone: BTreeSet<SubjectId>,
}

impl PersonKeys {
    fn put(&mut self, subject: SubjectId, key: Option<SealedKey>) {
        match key {
            Some(key) => {
                self.made.insert(subject, key);
            }
            // One that was made in the same batch is never written.
            None if self.made.remove(&subject).is_some() => {}
            None => {
                self.gone.insert(subject);
            }
        }
    }

    fn extend(&mut self, newer: Self) {
        let made = newer.made.into_iter().map(|(subject, key)| (subject, Some(key)));
        let gone = newer.gone.into_iter().map(|subject| (subject, None));
        made.chain(gone).for_each(|(subject, key)| self.put(subject, key));
    }

    fn rows(&self) -> [Rows; 2] {
        let mut made = Rows::new(PERSON_KEYS, &PERSON_KEY_LAYOUT);
        for (subject, key) in &self.made {
            made.push([Value::Text(subject.to_string()), Value::Bytes(key.to_vec())]);
        }
        let mut gone = Rows::new(PERSON_KEYS, &GONE_PERSON_KEY_LAYOUT);
        for subject in self.gone.iter().filter(|_| !planted(Bug::ErasedKeyStays)) {
            gone.push([Value::Text(subject.to_string())]);
        }
        [made, gone]
    }
}

impl Batch {
    /// Adds what one command decided on top of it.
    pub(crate) fn take_in(&mut self, command: Decided, kept: Option<(String, Hash, Vec<u8>)>) {
        for (subject, key) in &command.layer.keys {
            self.keys.put(*subject, key.clone());
        }
        self.layer.absorb(command.layer);
        self.events.extend(command.events);
        self.sealed.extend(command.sealed);
        if let Some((key, request, answer)) = kept {
            let reply = KeptReply { request, answer: answer.as_slice().into() };
            self.layer.replies.insert(key.clone(), Some(reply));
            self.kept.push((key, request, answer));
        }
    }

    /// Writes the events and documents down: for the one who decides, while the database is busy.
    pub(crate) fn write_down(&mut self) {
        self.layer.views.write_down();
        self.stored = self.events.iter().map(Recorded::to_stored).collect();
        if planted(Bug::EventsSwapped) {
            let of_one = |a: &Recorded, b: &Recorded| a.stream == b.stream;
            let first = self.events.windows(2).position(|two| of_one(&two[0], &two[1]));
            first.inspect(|first| self.stored.swap(*first, first + 1));
        }
    }

    /// The rows of its documents, which it keeps as documents only.
    pub(crate) fn take_rows(&mut self) -> Vec<Rows> {
        let last = self.events.last().map_or(0, |event| event.position);
        self.layer.views.rows("", last).collect()
    }

    /// Adds what was decided on top of it.
    pub(crate) fn extend(&mut self, newer: Self) {
        self.layer.absorb(newer.layer);
        self.events.extend(newer.events);
        self.stored.extend(newer.stored);
        self.kept.extend(newer.kept);
        self.keys.extend(newer.keys);
        self.sealed.extend(newer.sealed);
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is on disk.
    Committed,
    /// Another process has moved the head of the log. Nothing is written.
    Outrun,
}

/// The one who owns the connection that writes.
pub(crate) struct Committer {
    database: Database,
    connection: Option<Connection>,
    head: Head,
    /// Kinds and schemas that are known to be in `event_shape`.
    shapes: BTreeSet<(String, u32)>,
}

impl Committer {
    /// Connects, and looks where the log ends.
    ///
    /// # Errors
    /// Where the database cannot be reached, or does not promise durability.
    pub(crate) async fn connect(database: &Database) -> Result<Self, Error> {
        let mut connection = database.batch_connection().await?;
        Ok(Self {
            database: database.clone(),
            head: connection.head().await?,
            connection: Some(connection),
            shapes: BTreeSet::new(),
        })
    }

    /// In the place of one that a panic has taken away: not connected.
    pub(crate) fn disconnected(database: &Database) -> Self {
        Self {
            database: database.clone(),
            connection: None,
            head: Head::START,
            shapes: BTreeSet::new(),
        }
    }

    /// Where the log ended when last looked at or written.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Whether it can write.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Gives up a connection that may be broken.
    pub(crate) async fn disconnect(&mut self) {
        self.shapes.clear();
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    /// Connects anew, and looks where the log ends.
    ///
    /// # Errors
    /// See [`Committer::connect`].
    pub(crate) async fn connect_again(&mut self) -> Result<(), Error> {
        *self = Self::connect(&self.database).await?;
        Ok(())
    }

    /// Looks where the log ends, after other processes have written.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn look(&mut self) -> Result<Head, Error> {
        // What the batch that was outrun would have added is not there.
        self.shapes.clear();
        self.head = self.connection().head().await?;
        Ok(self.head)
    }

    /// Writes with a handful of statements and commits once.
    ///
    /// # Errors
    /// What the database says. Nothing is written then, unless it is [`Error::OutcomeUnknown`].
    pub(crate) async fn write(
        &mut self,
        batch: &Batch,
        documents: Vec<Rows>,
    ) -> Result<Written, Error> {
        let (head, rows) = self.rows(batch, documents);
        let base = self.head;
        let is_committed = if rows.is_empty() {
            // Nothing to write, but a refusal must not come from a state that is past.
            self.connection().head().await? == base || planted(Bug::HeadNotCompared)
        } else if planted(Bug::IdempotencyOutside) {
            let (replies, rows) = rows.into_iter().partition(|rows| rows.table == "reply");
            let is_committed = eventstore::append(self.connection(), base, head, rows).await?;
            eventstore::write(self.connection(), replies).await?;
            is_committed
        } else {
            eventstore::append(self.connection(), base, head, rows).await?
        };
        if !is_committed {
            return Ok(Written::Outrun);
        }
        self.head = head;
        Ok(Written::Committed)
    }

    /// Ends the connection.
    pub(crate) async fn close(mut self) {
        self.disconnect().await;
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("nothing is decided without a connection to write it")
    }

    /// The rows of a batch, and the head after it.
    fn rows(&mut self, batch: &Batch, documents: Vec<Rows>) -> (Head, Vec<Rows>) {
        let mut head = self.head;
        let mut events = Rows::new("event", &EVENT_LAYOUT);
        let mut shapes = Rows::new("event_shape", &SHAPE_LAYOUT);
        let of_one_command = |a: &Recorded, b: &Recorded| {
            a.stream == b.stream && a.command_id == b.command_id && a.path == b.path
        };
        let commands = batch.events.chunk_by(of_one_command);
        let mut stored = batch.stored.iter();
        for row in commands.flat_map(|events| events.chunks(ROW_EVENTS_MAX)) {
            let mut chain = eventstore::Chain(head.hash);
            let (mut lines, mut hashes) = (Vec::new(), Vec::new());
            for (event, stored) in row.iter().zip(&mut stored) {
                if !lines.is_empty() {
                    lines.push(b'\n');
                }
                lines.extend(&stored.body);
                hashes.extend(chain.extend(&stored.body));
                if self.shapes.insert((stored.kind.clone(), stored.schema)) {
                    let kind = Value::Text(stored.kind.clone());
                    shapes.push([kind, Value::Int(stored.schema.into())]);
                }
                head = Head {
                    position: event.position,
                    recorded_at: event.recorded_at.timestamp_micros(),
                    hash: chain.0,
                };
            }
            let last = row.last().expect("a chunk is never empty");
            events.push([
                Value::from(last.position),
                Value::Text(last.stream.clone()),
                Value::from(last.version),
                Value::Text(last.path.to_string()),
                Value::Bytes(lines),
                Value::Bytes(hashes),
            ]);
        }
        let mut replies = Rows::new("reply", &REPLY_LAYOUT);
        for (key, request, answer) in &batch.kept {
            replies.push([
                Value::Text(key.clone()),
                Value::Bytes(request.to_vec()),
                Value::Bytes(answer.clone()),
                Value::Int(head.recorded_at),
            ]);
        }
        let [made, gone] = batch.keys.rows();
        let sealed = SealedSlot::rows(batch.sealed.iter().flat_map(|slots| slots.iter()));
        let mut all = vec![events, shapes, replies, made, gone, sealed];
        all.retain(|rows| !rows.is_empty());
        all.extend(documents);
        (head, all)
    }
}
