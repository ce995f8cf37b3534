//! Walking the chain: is the history the one that was written?

use domain::event::Heading;

use crate::Error;
use crate::chain::{Chain, GENESIS, Hash};
use crate::database::{Database, Row};
use crate::fault::failpoint;
use crate::log::{Head, Log, ROW_EVENTS_MAX, lines};

/// Events that are read at a time.
const STRETCH: usize = 20_000;

/// What the walk ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Every event fits.
    Whole {
        /// How many were walked.
        events: u64,
        /// Where the log ended when the walk began: note it elsewhere, to compare another day.
        head: Head,
    },
    /// The history was edited.
    Broken(Finding),
}

/// The first thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub position: u64,
    /// What.
    pub what: String,
}

/// An event's hash as it was noted earlier, elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which event's.
    pub position: u64,
    /// What it was.
    pub hash: Hash,
    /// Where it was noted, for people: `the checkpoint monday.json`.
    pub place: String,
}

/// Walks the log from its first event to its head. `progress` hears of the position now and then.
///
/// # Errors
/// What the database says; an edited history is no error but the answer.
pub async fn verify(database: &Database, progress: impl FnMut(u64)) -> Result<Verified, Error> {
    verify_noted(database, Vec::new(), progress).await
}

/// The same, and on the way looks whether the events are those that were noted. A chain that was hashed again from an
/// edit on, one that was cut off, and a whole earlier or other log are found by nothing else.
///
/// # Errors
/// See [`verify`].
pub async fn verify_noted(
    database: &Database,
    notes: Vec<Note>,
    progress: impl FnMut(u64),
) -> Result<Verified, Error> {
    let head = Log::new(database.clone()).head().await?;
    walk(database, (0, Chain(GENESIS)), head, Notes::new(notes), progress).await
}

/// Walks only the last events of the log, about so many: what is before them is taken to be as it was
/// written.
///
/// # Errors
/// See [`verify`].
pub async fn verify_end(database: &Database, events: u64) -> Result<Verified, Error> {
    let head = Log::new(database.clone()).head().await?;
    failpoint("eventstore::verify_end")?;
    let before = database
        .fetch(
            "select position, hash from event where position <= $1 order by position desc limit 1",
            &[head.position.saturating_sub(events).into()],
        )
        .await?;
    let Some(before) = before.first() else {
        return walk(database, (0, Chain(GENESIS)), head, Notes::default(), |_| ()).await;
    };
    let position = before.unsigned(0)?;
    match before.bytes(1)?.last_chunk::<{ size_of::<Hash>() }>() {
        Some(hash) => {
            walk(database, (position, Chain(*hash)), head, Notes::default(), |_| ()).await
        }
        None => Ok(broken(position, CHANGED)),
    }
}

/// Walks from behind a position, of whose event the chain is known.
async fn walk(
    database: &Database,
    (start, mut chain): (u64, Chain),
    head: Head,
    mut notes: Notes,
    mut progress: impl FnMut(u64),
) -> Result<Verified, Error> {
    let mut position = start;
    // Not beyond the head that the walk began with: commands go on meanwhile.
    let read = |after| {
        let up_to = head.position.min(after + STRETCH as u64);
        tokio::spawn(rows(database.clone(), after, up_to))
    };
    let mut next = read(start);
    for after in (start..head.position).step_by(STRETCH) {
        let stretch = next.await.map_err(|error| Error::Unsuitable(error.to_string()))??;
        // While these are hashed, the database reads the ones after them.
        next = read(after + STRETCH as u64);
        for row in &stretch {
            if let Some(finding) = misfit(row, position, &mut chain)? {
                return Ok(Verified::Broken(finding));
            }
            if let Some(finding) = notes.misfit(row)? {
                return Ok(Verified::Broken(finding));
            }
            position = row.unsigned(0)?;
        }
        progress(position);
    }
    if position < head.position {
        return Ok(broken(position + 1, MISSING));
    }
    let behind = head.position + ROW_EVENTS_MAX as u64;
    let behind = rows(database.clone(), head.position, behind).await?;
    if Log::new(database.clone()).head().await? == head && !behind.is_empty() {
        return Ok(broken(head.position + 1, "lies behind the head of the log"));
    }
    if chain.0 != head.hash {
        return Ok(broken(head.position, "is not the event that the head of the log names"));
    }
    Ok(match notes.beyond(head.position) {
        Some(finding) => Verified::Broken(finding),
        None => Verified::Whole { events: position - start, head },
    })
}

/// What was noted of the events that the walk has not come to yet.
#[derive(Default)]
struct Notes {
    /// The next one last.
    ahead: Vec<Note>,
    /// The last one that fits.
    fitting: Option<Note>,
}

impl Notes {
    fn new(mut notes: Vec<Note>) -> Self {
        notes.sort_by_key(|note| std::cmp::Reverse(note.position));
        Self { ahead: notes, fitting: None }
    }

    /// The first event of a row that is another one than was noted. The row fits the chain, so its hashes are
    /// the chain's.
    fn misfit(&mut self, row: &Row) -> Result<Option<Finding>, Error> {
        let last = row.unsigned(0)?;
        while let Some(note) = self.ahead.pop_if(|note| note.position <= last) {
            let mut from_last = row.bytes(2)?.rchunks(size_of::<Hash>());
            let before_last = usize::try_from(last - note.position).unwrap_or(usize::MAX);
            if from_last.nth(before_last) != Some(&note.hash) {
                let what =
                    format!("is not the one that {} noted{}", note.place, self.up_to_where());
                return Ok(Some(Finding { position: note.position, what }));
            }
            self.fitting = Some(note);
        }
        Ok(None)
    }

    /// What was noted of events behind the end of the log.
    fn beyond(&mut self, end: u64) -> Option<Finding> {
        let note = self.ahead.pop()?;
        let what = format!(
            "is missing: the log ends before it, and {} noted the one at position {}{}",
            note.place,
            note.position,
            self.up_to_where()
        );
        Some(Finding { position: end + 1, what })
    }

    /// How far it is known that nothing was edited.
    fn up_to_where(&self) -> String {
        self.fitting.as_ref().map_or_else(String::new, |note| {
            format!("; up to position {} all is as {} noted", note.position, note.place)
        })
    }
}

fn finding(position: u64, what: &str) -> Finding {
    Finding { position, what: what.to_owned() }
}

fn broken(position: u64, what: &str) -> Verified {
    Verified::Broken(finding(position, what))
}

/// What [`misfit`] looks at in the rows that end after a position and up to another. The fewer columns,
/// the faster.
pub(crate) const SELECT_ROWS: &str = "select position, body, hash, stream || ' ' || version || ' ' || path from event \
     where position > $1 and position <= $2 order by position";

async fn rows(database: Database, after: u64, up_to: u64) -> Result<Vec<Row>, Error> {
    failpoint("eventstore::verify")?;
    Ok(database.fetch(SELECT_ROWS, &[after.into(), up_to.into()]).await?)
}

/// The first event of a row that does not fit behind the one at `before`.
pub(crate) fn misfit(row: &Row, before: u64, chain: &mut Chain) -> Result<Option<Finding>, Error> {
    let (last, body, hashes) = (row.unsigned(0)?, row.bytes(1)?, row.bytes(2)?);
    let mut place = row.text(3)?.splitn(3, ' ');
    let (stream, version, path) = (place.next(), place.next(), place.next());
    let version = version.and_then(|text| text.parse::<u64>().ok());
    let mut hashes = hashes.chunks(size_of::<Hash>());
    for (expected, (position, event)) in (before + 1..).zip(lines(last, body)) {
        if position != expected {
            return Ok(Some(finding(expected, MISSING)));
        }
        if hashes.next() != Some(&chain.extend(event)) {
            return Ok(Some(finding(position, CHANGED)));
        }
        let Ok(heading) = Heading::from_bytes(event) else {
            return Ok(Some(finding(position, "is no event")));
        };
        let same = Some(&*heading.stream) == stream
            && version.is_some()
            && heading.version.checked_add(last - position) == version
            && Some(&*heading.path) == path;
        if !same {
            let what = "stands in another stream, version or path than it says";
            return Ok(Some(finding(position, what)));
        }
        if domain::event::readable(&heading.kind, heading.schema).is_err() {
            let what = "is of a kind that this program does not know";
            return Ok(Some(finding(position, what)));
        }
    }
    Ok(hashes.next().map(|_| finding(last, CHANGED)))
}

const MISSING: &str = "is missing";
pub(crate) const CHANGED: &str = "was changed, or its hash was";

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}
