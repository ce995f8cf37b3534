//! Carrying a whole installation from one database to another, as lines of JSON that depend on neither.
//!
//! The form is described in `docs/EXPORT.md`. Everything is in it that cannot be folded from something
//! else: the rows of the log as they stand, the shapes of events, the kept answers, the keys of persons, and
//! what the installation remembers.

use std::collections::BTreeSet;
use std::io::{BufRead, Read as _, Write};

use domain::event::{Heading, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::Error;
use crate::bulk::{self, CellKind, Layout, Rows, Taken};
use crate::chain::{Chain, GENESIS, Hash};
use crate::database::{Connection, Database, Row, Source, Value};
use crate::fault::failpoint;
use crate::log::{
    EVENT_LAYOUT, Head, PERSON_KEY_LAYOUT, PERSON_KEYS, REPLY_LAYOUT, ROW_EVENTS_MAX, SHAPE_LAYOUT,
    lines,
};
use crate::sealed::{SEALED_SLOT_LAYOUT, SEALED_SLOTS, SealedSlot};
use crate::snapshot::Snapshot;
use crate::verify::{CHANGED, Finding, SELECT_ROWS, hex, misfit};

/// The form of an export. Another number is another form.
pub const FORMAT: u32 = 3;
/// The oldest form that is read: before it had sealed entries.
const OLDEST_FORMAT: u64 = 2;

/// Events that are read at a time.
const STRETCH: u64 = 5_000;
/// Kept answers, or keys of persons, that are read at a time.
const PAGE: u64 = 2_000;
/// Parts that wait while one is written.
const PARTS_AHEAD: usize = 2;
/// Rows that are written at a time.
const ROWS_AT_A_TIME: usize = 1_024;
/// Bytes after which rows are written although there are fewer.
const PART_BYTES: usize = 8 << 20;
/// Longest line: a hundred events with the longest bodies are far below it.
const LINE_MAX_BYTES: u64 = 64 << 20;

/// What the installation remembers.
static INSTALLATION_LAYOUT: Layout = Layout {
    columns: &[("name", CellKind::Text), ("value", CellKind::Text)],
    key: 1,
    taken: Taken::Replace(&[]),
};

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transferred {
    /// Events.
    pub events: u64,
    /// Rows of the log that they stand in.
    pub rows: u64,
    /// Kept answers.
    pub replies: u64,
    /// Keys of persons.
    pub keys: u64,
    /// Slots with sealed entries.
    pub sealed: u64,
}

/// One line of an export.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line<'a> {
    Atrium(Begin),
    Installation(Remembered),
    Shape(Shape),
    #[serde(borrow)]
    Row(LogRow<'a>),
    #[serde(borrow)]
    Reply(Reply<'a>),
    Key(PersonKey),
    #[serde(borrow)]
    Sealed(SealedLine<'a>),
    End(End),
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begin {
    format: u32,
    hash: String,
    position: u64,
    recorded_at: i64,
    version: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    kind: String,
    schema: i64,
}

/// A row of the log. Stream, version and path are those that its events tell.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogRow<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    hash: String,
    position: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reply<'a> {
    #[serde(borrow)]
    answer: &'a RawValue,
    key: String,
    recorded_at: i64,
    request: String,
}

/// What a user or a contact is sealed under, itself sealed under the master key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonKey {
    sealed: String,
    /// The user's id, or that of the organisation.
    #[serde(alias = "user")]
    subject: String,
}

/// A slot's entries of a closed period, which are written as they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedLine<'a> {
    corrections: u64,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
    key: String,
}

/// The last line: without it the export is cut off.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    events: u64,
    keys: u64,
    replies: u64,
    rows: u64,
    #[serde(default)]
    sealed: u64,
    /// Of all lines above, as they stand.
    sha256: String,
}

/// What is on its way from the database into an export.
enum Outgoing {
    Installation(Vec<Row>),
    Shapes(Vec<Row>),
    Events(Vec<Row>),
    Replies(Vec<Row>),
    Keys(Vec<Row>),
    Sealed(Vec<Row>),
    /// All has been read.
    End,
}

/// What some rows are a part of.
type PartOf = fn(Vec<Row>) -> Outgoing;

/// Writes all of a database that cannot be folded from the log, as it is at this moment, to `out`.
/// Commands go on meanwhile. `progress` hears of the position now and then.
///
/// What the installation remembers under the names of `leave_out` stays here: it is about what is folded.
///
/// # Errors
/// What the database says, what `out` says, and where the history was edited.
pub async fn export(
    database: &Database,
    leave_out: &[&str],
    out: impl Write + Send + 'static,
    progress: impl FnMut(u64),
) -> Result<(Head, Transferred), Error> {
    let mut snapshot = Snapshot::of(database).await?;
    let head = snapshot.head();
    let (send, mut parts) = mpsc::channel(PARTS_AHEAD);
    let writing = tokio::task::spawn_blocking(move || {
        let mut sheet = Sheet::begin(out, head)?;
        while let Some(part) = parts.blocking_recv() {
            if sheet.take(part)? {
                return Ok(sheet.counts);
            }
        }
        Err(Error::Unsuitable("the database was not read to its end".to_owned()))
    });
    // Where nobody takes the parts any more, it is the other side that says why.
    let read = read_all(&mut snapshot, leave_out, &send, progress).await;
    drop(send);
    snapshot.end().await;
    let written = writing.await.map_err(|error| Error::Unsuitable(error.to_string()))?;
    read?;
    Ok((head, written?))
}

/// Writes the log up to an event, with what is sealed by then and without what is of no account for it (kept answers,
/// keys of persons, what the installation remembers): all that closed periods can be computed from again. The event
/// must be the last one of its command.
///
/// # Errors
/// See [`export`].
pub async fn export_package(
    database: &Database,
    position: u64,
    out: impl Write + Send + 'static,
) -> Result<Transferred, Error> {
    let mut snapshot = Snapshot::of(database).await?;
    failpoint("eventstore::export::package")?;
    let sql = "select hash, body from event where position = $1";
    let rows = snapshot.rows(sql, &[position.into()]).await?;
    let row = rows.first().ok_or_else(|| {
        Error::Unsuitable(format!("position {position} is not the last one of its command"))
    })?;
    let hash = row.bytes(0)?.last_chunk().copied();
    let hash = hash.ok_or_else(|| edited(&Finding { position, what: CHANGED.to_owned() }))?;
    let last = lines(position, row.bytes(1)?).last();
    let recorded_at = last
        .map(|(position, body)| Recorded::from_bytes(position, body))
        .transpose()
        .map_err(|source| Error::Undecodable { position, source })?
        .map_or(0, |event| event.recorded_at.timestamp_micros());
    let head = Head { position, recorded_at, hash };
    let shapes = shapes_up_to(&mut snapshot, position).await?;
    let (send, mut parts) = mpsc::channel(PARTS_AHEAD);
    let writing = tokio::task::spawn_blocking(move || {
        let mut sheet = Sheet::begin(out, head)?;
        for (kind, schema) in shapes {
            sheet.line("shape", &Shape { kind, schema })?;
        }
        while let Some(part) = parts.blocking_recv() {
            if sheet.take(part)? {
                return Ok(sheet.counts);
            }
        }
        Err(Error::Unsuitable("the database was not read to its end".to_owned()))
    });
    let read = read_package(&mut snapshot, position, &send).await;
    drop(send);
    snapshot.end().await;
    let written = writing.await.map_err(|error| Error::Unsuitable(error.to_string()))?;
    read?;
    written
}

/// The shapes of the events up to a position.
async fn shapes_up_to(
    snapshot: &mut Snapshot,
    position: u64,
) -> Result<BTreeSet<(String, i64)>, Error> {
    let mut shapes = BTreeSet::new();
    for after in (0..position).step_by(STRETCH as usize) {
        let up_to = position.min(after + STRETCH);
        for row in snapshot.rows(SELECT_ROWS, &[after.into(), up_to.into()]).await? {
            for (position, body) in lines(row.unsigned(0)?, row.bytes(1)?) {
                let heading = Heading::from_bytes(body);
                let heading = heading.map_err(|source| Error::Undecodable { position, source })?;
                shapes.insert((heading.kind.into_owned(), i64::from(heading.schema)));
            }
        }
    }
    Ok(shapes)
}

/// Hands over the log up to a position, and what is sealed by then.
async fn read_package(
    snapshot: &mut Snapshot,
    position: u64,
    send: &mpsc::Sender<Outgoing>,
) -> Result<(), Error> {
    for after in (0..position).step_by(STRETCH as usize) {
        let up_to = position.min(after + STRETCH);
        let rows = snapshot.rows(SELECT_ROWS, &[after.into(), up_to.into()]).await?;
        if send.send(Outgoing::Events(rows)).await.is_err() {
            return Ok(());
        }
    }
    // A closing is named by its cutoff, which lies before the event that ends it.
    let (mut after, end) = (String::new(), format!("{position:020}"));
    loop {
        let sql = "select key, corrections, body from sealed_slot where key > $1 and key < $2 \
                   order by key limit $3";
        let values = [after.as_str().into(), end.as_str().into(), PAGE.into()];
        let rows = snapshot.rows(sql, &values).await?;
        let Some(last) = rows.last() else { break };
        last.text(0)?.clone_into(&mut after);
        if send.send(Outgoing::Sealed(rows)).await.is_err() {
            return Ok(());
        }
    }
    let _ = send.send(Outgoing::End).await;
    Ok(())
}

/// Hands over everything, in the order of the export.
async fn read_all(
    snapshot: &mut Snapshot,
    leave_out: &[&str],
    send: &mpsc::Sender<Outgoing>,
    mut progress: impl FnMut(u64),
) -> Result<(), Error> {
    let rows = snapshot.rows("select name, value from installation order by name", &[]).await?;
    let stays = |row: &Row| row.text(0).is_ok_and(|name| leave_out.contains(&name));
    let rows = rows.into_iter().filter(|row| !stays(row)).collect();
    if send.send(Outgoing::Installation(rows)).await.is_err() {
        return Ok(());
    }
    let sql = "select kind, schema from event_shape order by kind, schema";
    if send.send(Outgoing::Shapes(snapshot.rows(sql, &[]).await?)).await.is_err() {
        return Ok(());
    }
    let head = snapshot.head().position;
    for after in (0..head).step_by(STRETCH as usize) {
        let up_to = head.min(after + STRETCH);
        let rows = snapshot.rows(SELECT_ROWS, &[after.into(), up_to.into()]).await?;
        if send.send(Outgoing::Events(rows)).await.is_err() {
            return Ok(());
        }
        progress(up_to);
    }
    let replies = "select key, request, answer, recorded_at from reply where key > $1 \
                   order by key limit $2";
    let keys = "select subject_id, sealed from person_key where subject_id > $1 order by subject_id limit $2";
    let sealed =
        "select key, corrections, body from sealed_slot where key > $1 order by key limit $2";
    for (sql, part) in
        [(replies, Outgoing::Replies as PartOf), (keys, Outgoing::Keys), (sealed, Outgoing::Sealed)]
    {
        let mut after = String::new();
        loop {
            let rows = snapshot.rows(sql, &[after.as_str().into(), PAGE.into()]).await?;
            let Some(last) = rows.last() else { break };
            last.text(0)?.clone_into(&mut after);
            if send.send(part(rows)).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = send.send(Outgoing::End).await;
    Ok(())
}

/// An export that is being written.
struct Sheet<W> {
    out: W,
    /// Of all that was written.
    sha256: Sha256,
    head: Head,
    position: u64,
    chain: Chain,
    counts: Transferred,
}

impl<W: Write> Sheet<W> {
    fn begin(out: W, head: Head) -> Result<Self, Error> {
        let mut sheet = Self {
            out,
            sha256: Sha256::new(),
            head,
            position: 0,
            chain: Chain(GENESIS),
            counts: Transferred::default(),
        };
        sheet.line(
            "atrium",
            &Begin {
                format: FORMAT,
                hash: hex(&head.hash),
                position: head.position,
                recorded_at: head.recorded_at,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        )?;
        Ok(sheet)
    }

    /// Writes a part; true after the last one.
    fn take(&mut self, part: Outgoing) -> Result<bool, Error> {
        match part {
            Outgoing::Installation(rows) => {
                for row in rows {
                    let (name, value) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
                    self.line("installation", &Remembered { name, value })?;
                }
            }
            Outgoing::Shapes(rows) => {
                for row in rows {
                    let (kind, schema) = (row.text(0)?.to_owned(), row.int(1)?);
                    self.line("shape", &Shape { kind, schema })?;
                }
            }
            Outgoing::Events(rows) => {
                for row in rows {
                    self.events(&row)?;
                }
            }
            Outgoing::Replies(rows) => {
                for row in rows {
                    self.reply(&row)?;
                }
            }
            Outgoing::Keys(rows) => {
                for row in rows {
                    let (subject, sealed) = (row.text(0)?.to_owned(), hex(row.bytes(1)?));
                    self.counts.keys += 1;
                    self.line("key", &PersonKey { sealed, subject })?;
                }
            }
            Outgoing::Sealed(rows) => {
                for row in rows {
                    self.sealed(&row)?;
                }
            }
            Outgoing::End => {
                self.end()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A row of the log, whose bytes are written as they stand.
    fn events(&mut self, row: &Row) -> Result<(), Error> {
        if let Some(finding) = misfit(row, self.position, &mut self.chain)? {
            return Err(edited(&finding));
        }
        let (last, body) = (row.unsigned(0)?, row.bytes(1)?);
        let mut line = Vec::with_capacity(body.len() + 128);
        line.extend(br#"{"row":{"events":["#);
        for (index, (_, event)) in lines(last, body).enumerate() {
            if index > 0 {
                line.push(b',');
            }
            line.extend(event);
            self.counts.events += 1;
        }
        let hash = hex(&self.chain.0);
        line.extend(format!("],\"hash\":\"{hash}\",\"position\":{last}}}}}\n").as_bytes());
        self.position = last;
        self.counts.rows += 1;
        self.write(&line)
    }

    fn reply(&mut self, row: &Row) -> Result<(), Error> {
        let key = row.text(0)?.to_owned();
        let answer: Option<&RawValue> = serde_json::from_slice(row.bytes(2)?).ok();
        // What is not written as it stands would be another answer.
        let answer = answer.filter(|answer| {
            let text = answer.get().as_bytes();
            row.bytes(2).is_ok_and(|bytes| bytes == text) && !text.contains(&b'\n')
        });
        let Some(answer) = answer else {
            let what = format!("the answer that is kept under the key {key} is no line of JSON");
            return Err(Error::Unsuitable(what));
        };
        let (request, recorded_at) = (hex(row.bytes(1)?), row.int(3)?);
        self.counts.replies += 1;
        self.line("reply", &Reply { answer, key, recorded_at, request })
    }

    /// A slot's sealed entries, whose bytes are written as they stand.
    fn sealed(&mut self, row: &Row) -> Result<(), Error> {
        let (key, corrections, body) = (row.text(0)?, row.unsigned(1)?, row.bytes(2)?);
        let mut line = Vec::with_capacity(body.len() + 128);
        line.extend(
            format!("{{\"sealed\":{{\"corrections\":{corrections},\"entries\":[").as_bytes(),
        );
        for (index, entry) in body.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                line.push(b',');
            }
            line.extend(entry);
        }
        line.extend(format!("],\"key\":\"{key}\"}}}}\n").as_bytes());
        self.counts.sealed += 1;
        self.write(&line)
    }

    fn end(&mut self) -> Result<(), Error> {
        let fits = self.position == self.head.position && self.chain.0 == self.head.hash;
        if !fits {
            let what = "is not the event that the head of the log names".to_owned();
            return Err(edited(&Finding { position: self.head.position, what }));
        }
        let sha256 = hex(&self.sha256.finalize_reset());
        let Transferred { events, rows, replies, keys, sealed } = self.counts;
        self.line("end", &End { events, keys, replies, rows, sealed, sha256 })?;
        self.out.flush()?;
        Ok(())
    }

    fn line(&mut self, what: &str, content: &impl Serialize) -> Result<(), Error> {
        let content = serde_json::to_string(content).expect("a line has a JSON form");
        self.write(format!("{{\"{what}\":{content}}}\n").as_bytes())
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Error> {
        self.sha256.update(line);
        Ok(self.out.write_all(line)?)
    }
}

fn edited(finding: &Finding) -> Error {
    Error::Unsuitable(format!(
        "the event at position {} {}; restore a backup",
        finding.position, finding.what
    ))
}

/// An export that has arrived and of which the beginning was read.
#[derive(Debug)]
pub struct Arrival<R> {
    reader: Reader<R>,
    head: Head,
    installation: Vec<Remembered>,
}

impl<R: BufRead + Send + 'static> Arrival<R> {
    /// Reads the first line, and what the installation remembers.
    ///
    /// # Errors
    /// Where it is no export, or one in another form.
    pub fn open(input: R) -> Result<Self, Error> {
        let mut reader =
            Reader { input, line: Vec::new(), is_kept: false, number: 0, sha256: Sha256::new() };
        let none = || {
            let what = "this is no export of Atrium; they are made with `atrium export`";
            Error::Unsuitable(what.to_owned())
        };
        if !reader.advance()? {
            return Err(none());
        }
        // The form first: the rest may look otherwise in another one.
        let begin: serde_json::Value = serde_json::from_slice(&reader.line).map_err(|_| none())?;
        let format = begin["atrium"]["format"].as_u64().ok_or_else(none)?;
        if !(OLDEST_FORMAT..=u64::from(FORMAT)).contains(&format) {
            return Err(Error::Unsuitable(format!(
                "the export has the form {format}, and this program reads the form {FORMAT}: it \
                 was made by Atrium {}; import it with that version",
                begin["atrium"]["version"].as_str().unwrap_or("of another version"),
            )));
        }
        let Ok(Line::Atrium(begin)) = serde_json::from_slice(&reader.line) else {
            return Err(none());
        };
        reader.sum();
        let hash = unhex(&begin.hash).ok_or_else(none)?;
        let head = Head { position: begin.position, recorded_at: begin.recorded_at, hash };
        let mut installation = Vec::new();
        while reader.advance()?
            && let Ok(Line::Installation(remembered)) = serde_json::from_slice(&reader.line)
        {
            installation.push(remembered);
            reader.sum();
        }
        reader.is_kept = true;
        Ok(Self { reader, head, installation })
    }

    /// What its installation remembers under a name.
    #[must_use]
    pub fn installation(&self, name: &str) -> Option<&str> {
        let found = self.installation.iter().find(|remembered| remembered.name == name);
        found.map(|remembered| remembered.value.as_str())
    }

    /// Where its log ends.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Writes all of it into a database that has nothing yet, in one transaction: it is there when this
    /// returns, or nothing is. The chain is checked event by event. `progress` hears of the position now
    /// and then.
    ///
    /// What the installation remembers under the names of `forget` is not true any more afterwards.
    ///
    /// # Errors
    /// What the database says; where it is not empty; where the export is damaged, cut off or edited.
    pub async fn settle(
        self,
        database: &Database,
        forget: &[&str],
        mut progress: impl FnMut(u64),
    ) -> Result<Transferred, Error> {
        let head = self.head;
        let mut connection = database.writer_connection().await?;
        begin_empty(&mut connection).await?;
        // On a thread that nobody waits for: it may be waiting for input that never comes.
        let (send, mut parts) = mpsc::channel(PARTS_AHEAD);
        let thread = std::thread::Builder::new().name("import".to_owned());
        let reading = move || {
            let end = Settling::new(self, &send).read();
            let _ = send.blocking_send(end.map(Incoming::End));
        };
        thread.spawn(reading).map_err(Error::File)?;
        let written = async {
            for name in forget {
                failpoint("eventstore::import::forget")?;
                let sql = "delete from installation where name = $1";
                connection.execute(sql, &[(*name).into()]).await?;
            }
            loop {
                match parts.recv().await.expect("the last thing that comes is an end")? {
                    Incoming::Rows(rows, position) => {
                        write(&mut connection, rows).await?;
                        progress(position);
                    }
                    Incoming::End(transferred) => return Ok(transferred),
                }
            }
        };
        match written.await {
            Ok(transferred) => {
                move_head(&mut connection, head).await?;
                failpoint("eventstore::import::commit").map_err(Error::outcome_unknown)?;
                connection.execute("commit", &[]).await.map_err(Error::OutcomeUnknown)?;
                connection.close().await;
                Ok(transferred)
            }
            Err(error) => {
                let _ = connection.execute("rollback", &[]).await;
                connection.close().await;
                Err(error)
            }
        }
    }
}

/// What is on its way from an export into the database.
enum Incoming {
    /// Rows, and the position that the log has with them.
    Rows(Vec<Rows>, u64),
    /// All has been read, and fits.
    End(Transferred),
}

/// Begins a transaction in a database in which nothing has happened, and in which nobody else can do
/// anything before it ends.
async fn begin_empty(connection: &mut Connection) -> Result<(), Error> {
    failpoint("eventstore::import::begin")?;
    match connection {
        Connection::Sqlite(_) => connection.execute("begin immediate", &[]).await?,
        Connection::Postgres(_) => {
            let begin = "begin; set local idle_in_transaction_session_timeout = 0; \
                         set local statement_timeout = 0";
            connection.execute(begin, &[]).await?;
            connection.execute("select 1 from head where id = 1 for update", &[]).await?
        }
    };
    let sql = "select (select count(*) from (select 1 from event limit 1) as a) + \
               (select count(*) from (select 1 from reply limit 1) as b) + \
               (select count(*) from (select 1 from person_key limit 1) as c)";
    let is_empty = connection.head().await? == Head::START
        && connection.fetch(sql, &[]).await?[0].int(0)? == 0;
    if is_empty {
        return Ok(());
    }
    connection.execute("rollback", &[]).await?;
    let what = "there is an installation in the database already; choose an empty one";
    Err(Error::Unsuitable(what.to_owned()))
}

/// Writes rows inside the transaction.
async fn write(connection: &mut Connection, rows: Vec<Rows>) -> Result<(), Error> {
    failpoint("eventstore::import::write")?;
    match connection {
        Connection::Sqlite(connection) => bulk::write_sqlite(connection, rows).await?,
        Connection::Postgres(connection) => {
            bulk::write_postgres(connection, None, &rows).await?;
        }
    }
    Ok(())
}

async fn move_head(connection: &mut Connection, head: Head) -> Result<(), Error> {
    failpoint("eventstore::import::head")?;
    let values = [head.position.into(), head.recorded_at.into(), Value::Bytes(head.hash.to_vec())];
    let sql = "update head set position = $1, recorded_at = $2, hash = $3 where id = 1";
    connection.execute(sql, &values).await?;
    Ok(())
}

/// The lines of an export.
#[derive(Debug)]
struct Reader<R> {
    input: R,
    line: Vec<u8>,
    /// Whether the line has not been looked at.
    is_kept: bool,
    /// Of the line, from 1.
    number: u64,
    /// Of the lines that were summed up.
    sha256: Sha256,
}

impl<R: BufRead> Reader<R> {
    /// Goes to the next line; false where there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_kept) {
            return Ok(!self.line.is_empty());
        }
        self.line.clear();
        let mut bounded = (&mut self.input).take(LINE_MAX_BYTES);
        bounded.read_until(b'\n', &mut self.line)?;
        self.number += 1;
        if !self.line.is_empty() && !self.line.ends_with(b"\n") {
            return Err(self.fault("it is cut off, or this is no export of Atrium"));
        }
        Ok(!self.line.is_empty())
    }

    fn sum(&mut self) {
        self.sha256.update(&self.line);
    }

    fn fault(&self, what: &str) -> Error {
        Error::Unsuitable(format!("line {} of the export: {what}", self.number))
    }
}

/// An export on its way into the database.
struct Settling<'a, R> {
    reader: Reader<R>,
    send: &'a mpsc::Sender<Result<Incoming, Error>>,
    head: Head,
    position: u64,
    chain: Chain,
    /// When the last event was recorded is only of interest at the end.
    last: Vec<u8>,
    /// Shapes that were announced, and those that events have.
    announced: BTreeSet<(String, i64)>,
    met: BTreeSet<(String, i64)>,
    counts: Transferred,
    rows: Waiting,
}

/// Rows that are not yet handed over.
struct Waiting {
    installation: Rows,
    shapes: Rows,
    events: Rows,
    replies: Rows,
    keys: Rows,
    sealed: Rows,
    bytes: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            installation: Rows::new("installation", &INSTALLATION_LAYOUT),
            shapes: Rows::new("event_shape", &SHAPE_LAYOUT),
            events: Rows::new("event", &EVENT_LAYOUT),
            replies: Rows::new("reply", &REPLY_LAYOUT),
            keys: Rows::new(PERSON_KEYS, &PERSON_KEY_LAYOUT),
            sealed: Rows::new(SEALED_SLOTS, &SEALED_SLOT_LAYOUT),
            bytes: 0,
        }
    }
}

impl Waiting {
    fn is_enough(&self) -> bool {
        let rows = self.events.len() + self.replies.len() + self.keys.len() + self.sealed.len();
        rows >= ROWS_AT_A_TIME || self.bytes >= PART_BYTES
    }

    fn into_rows(self) -> Vec<Rows> {
        let Self { installation, shapes, events, replies, keys, sealed, .. } = self;
        let mut all = vec![installation, shapes, events, replies, keys, sealed];
        all.retain(|rows| !rows.is_empty());
        all
    }
}

impl<'a, R: BufRead + Send + 'static> Settling<'a, R> {
    fn new(arrival: Arrival<R>, send: &'a mpsc::Sender<Result<Incoming, Error>>) -> Self {
        let mut rows = Waiting::default();
        for Remembered { name, value } in arrival.installation {
            rows.installation.push([Value::Text(name), Value::Text(value)]);
        }
        Self {
            reader: arrival.reader,
            send,
            head: arrival.head,
            position: 0,
            chain: Chain(GENESIS),
            last: Vec::new(),
            announced: BTreeSet::new(),
            met: BTreeSet::new(),
            counts: Transferred::default(),
            rows,
        }
    }

    /// Reads to the end, and hands over what is to be written.
    fn read(mut self) -> Result<Transferred, Error> {
        while self.reader.advance()? {
            // Taken out, so that what is read from it can be kept while the rest is changed.
            let line = std::mem::take(&mut self.reader.line);
            let read = match serde_json::from_slice(&line) {
                Ok(Line::End(end)) => return self.end(&end),
                Ok(read) => self.take(read),
                Err(_) => {
                    Err(self.reader.fault("it was changed, or is none that this program knows"))
                }
            };
            self.reader.line = line;
            read?;
            self.reader.sum();
            self.rows.bytes += self.reader.line.len();
            if self.rows.is_enough() {
                self.hand_over();
            }
        }
        Err(self.reader.fault("the export is cut off here"))
    }

    /// Where nobody takes the rows any more, the database has failed, and that is what is told.
    fn hand_over(&mut self) {
        let rows = std::mem::take(&mut self.rows).into_rows();
        let _ = self.send.blocking_send(Ok(Incoming::Rows(rows, self.position)));
    }

    fn take(&mut self, line: Line<'_>) -> Result<(), Error> {
        match line {
            Line::Atrium(_) | Line::Installation(_) | Line::End(_) => {
                Err(self.reader.fault("it does not belong here"))
            }
            Line::Shape(Shape { kind, schema }) => {
                domain::event::readable(&kind, u32::try_from(schema).unwrap_or(u32::MAX))
                    .map_err(Error::Newer)?;
                self.rows.shapes.push([Value::Text(kind.clone()), Value::Int(schema)]);
                self.announced.insert((kind, schema));
                Ok(())
            }
            Line::Row(row) => {
                let values = self.row(&row).map_err(|what| self.reader.fault(&what))?;
                self.rows.events.push(values);
                Ok(())
            }
            Line::Reply(reply) => {
                let request = unhex(&reply.request);
                let request = request.ok_or_else(|| self.reader.fault(CHANGED))?;
                self.rows.replies.push([
                    Value::Text(reply.key),
                    Value::Bytes(request.to_vec()),
                    Value::Bytes(reply.answer.get().as_bytes().to_vec()),
                    Value::Int(reply.recorded_at),
                ]);
                self.counts.replies += 1;
                Ok(())
            }
            Line::Key(PersonKey { sealed, subject }) => {
                let sealed = bytes(&sealed).ok_or_else(|| self.reader.fault(CHANGED))?;
                self.rows.keys.push([Value::Text(subject), Value::Bytes(sealed)]);
                self.counts.keys += 1;
                Ok(())
            }
            Line::Sealed(SealedLine { corrections, entries, key }) => {
                let (_, place) =
                    SealedSlot::place_of(&key).map_err(|_| self.reader.fault(CHANGED))?;
                let entries: Vec<_> = entries.iter().map(|entry| entry.get().as_bytes()).collect();
                self.rows.sealed.push([
                    Value::Text(key),
                    Value::Text(place.subscription.to_string()),
                    Value::Int(corrections.cast_signed()),
                    Value::Bytes(entries.join(&b'\n')),
                ]);
                self.counts.sealed += 1;
                Ok(())
            }
        }
    }

    /// The row of the log that these events stand in, if they fit behind the one before.
    fn row(&mut self, row: &LogRow<'_>) -> Result<[Value; 6], String> {
        let count = row.events.len();
        if !(1..=ROW_EVENTS_MAX).contains(&count) {
            return Err(format!("a row has 1 to {ROW_EVENTS_MAX} events"));
        }
        if row.position != self.position + count as u64 {
            return Err(format!("position {} is missing", self.position + 1));
        }
        let (mut body, mut hashes) = (Vec::new(), Vec::with_capacity(count * size_of::<Hash>()));
        let mut place: Option<(String, u64, String)> = None;
        for (position, event) in (self.position + 1..).zip(&row.events) {
            let event = event.get().as_bytes();
            let at = |what: &str| format!("the event at position {position} {what}");
            let heading = Heading::from_bytes(event).map_err(|_| at("is no event"))?;
            let follows = place.as_ref().is_none_or(|(stream, version, path)| {
                *stream == heading.stream
                    && version.checked_add(1) == Some(heading.version)
                    && *path == heading.path
            });
            if !follows || event.contains(&b'\n') {
                return Err(at("does not belong into one row with the one before it"));
            }
            let shape = (heading.kind.into_owned(), i64::from(heading.schema));
            if !self.announced.contains(&shape) {
                return Err(at("is of a kind that was not announced"));
            }
            self.met.insert(shape);
            place = Some((heading.stream.into_owned(), heading.version, heading.path.into_owned()));
            if !body.is_empty() {
                body.push(b'\n');
            }
            body.extend(event);
            hashes.extend(self.chain.extend(event));
        }
        if unhex(&row.hash) != Some(self.chain.0) {
            return Err(match count {
                1 => format!("the event at position {} {CHANGED}", row.position),
                _ => format!(
                    "one of the events at positions {} to {} {CHANGED}",
                    self.position + 1,
                    row.position
                ),
            });
        }
        if let Some(last) = row.events.last() {
            last.get().as_bytes().clone_into(&mut self.last);
        }
        self.position = row.position;
        self.counts.events += count as u64;
        self.counts.rows += 1;
        let (stream, version, path) = place.expect("a row has an event");
        Ok([
            Value::from(row.position),
            Value::Text(stream),
            Value::from(version),
            Value::Text(path),
            Value::Bytes(body),
            Value::Bytes(hashes),
        ])
    }

    /// Whether all has come, and nothing else.
    fn end(mut self, end: &End) -> Result<Transferred, Error> {
        let counts = self.counts;
        let End { events, keys, replies, rows, sealed, .. } = *end;
        let told = Transferred { events, rows, replies, keys, sealed };
        if told != counts || hex(&self.reader.sha256.finalize_reset()) != end.sha256 {
            return Err(self.reader.fault("something above it was changed, added or taken away"));
        }
        let recorded_at = match self.position {
            0 => 0,
            position => Recorded::from_bytes(position, &self.last)
                .map_err(|source| Error::Undecodable { position, source })?
                .recorded_at
                .timestamp_micros(),
        };
        let head = Head { position: self.position, recorded_at, hash: self.chain.0 };
        if head != self.head || self.met != self.announced {
            return Err(self.reader.fault("the first line speaks of another log than this one"));
        }
        if self.reader.advance()? {
            return Err(self.reader.fault("something follows behind the end"));
        }
        self.hand_over();
        Ok(counts)
    }
}

/// A hash from its hexadecimal digits.
fn unhex(text: &str) -> Option<Hash> {
    bytes(text)?.try_into().ok()
}

/// Bytes from their hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |place: usize| u8::from_str_radix(&text[place..place + 2], 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}
