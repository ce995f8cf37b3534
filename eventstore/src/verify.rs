//! Walking the chain: is the history the one that was written?

use domain::event::Heading;

use crate::Error;
use crate::chain::{Chain, GENESIS, Hash};
use crate::database::{Database, Row};
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
        /// The last one's hash, in hexadecimal: note it elsewhere, to compare another day.
        hash: String,
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

/// Walks the log from its first event to its head. `progress` hears of the position now and then.
///
/// # Errors
/// What the database says; an edited history is no error but the answer.
pub async fn verify(database: &Database, progress: impl FnMut(u64)) -> Result<Verified, Error> {
    let head = Log::new(database.clone()).head().await?;
    walk(database, (0, Chain(GENESIS)), head, progress).await
}

/// Walks only the last events of the log, about so many: what is before them is taken to be as it was
/// written.
///
/// # Errors
/// See [`verify`].
pub async fn verify_end(database: &Database, events: u64) -> Result<Verified, Error> {
    let head = Log::new(database.clone()).head().await?;
    let before = database
        .fetch(
            "select position, hash from event where position <= $1 order by position desc limit 1",
            &[head.position.saturating_sub(events).into()],
        )
        .await?;
    let Some(before) = before.first() else {
        return walk(database, (0, Chain(GENESIS)), head, |_| ()).await;
    };
    let position = before.unsigned(0)?;
    match before.bytes(1)?.last_chunk::<{ size_of::<Hash>() }>() {
        Some(hash) => walk(database, (position, Chain(*hash)), head, |_| ()).await,
        None => Ok(broken(position, CHANGED)),
    }
}

/// Walks from behind a position, of whose event the chain is known.
async fn walk(
    database: &Database,
    (start, mut chain): (u64, Chain),
    head: Head,
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
    Ok(Verified::Whole { events: position - start, hash: hex(&chain.0) })
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
