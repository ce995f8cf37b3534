//! Walking the chain: is the history the one that was written?

use domain::event::Heading;

use crate::Error;
use crate::chain::{Chain, GENESIS};
use crate::database::{Database, Row};
use crate::log::Log;

/// Events read at a time.
const PAGE: u64 = 20_000;

/// What the walk ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Every event fits.
    Whole {
        /// How many.
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
pub async fn verify(database: &Database, mut progress: impl FnMut(u64)) -> Result<Verified, Error> {
    let head = Log::new(database.clone()).head().await?;
    let mut chain = Chain(GENESIS);
    let mut position = 0;
    // Not beyond the head that the walk began with: commands go on meanwhile.
    let read = |after| page(database.clone(), after, head.position.min(after + PAGE));
    let mut next = tokio::spawn(read(0));
    while position < head.position {
        let rows = next.await.map_err(|error| Error::Unsuitable(error.to_string()))??;
        // While these are hashed, the database reads the ones after them.
        next = tokio::spawn(read(position + PAGE));
        if rows.is_empty() {
            return Ok(broken(position + 1, "is missing"));
        }
        for row in &rows {
            position += 1;
            if let Some(what) = misfit(row, position, &mut chain)? {
                return Ok(broken(position, what));
            }
        }
        progress(position);
    }
    let after = page(database.clone(), head.position, head.position + 1).await?;
    if Log::new(database.clone()).head().await? == head && !after.is_empty() {
        return Ok(broken(head.position + 1, "lies behind the head of the log"));
    }
    if chain.0 != head.hash {
        return Ok(broken(head.position, "is not the event that the head of the log names"));
    }
    Ok(Verified::Whole { events: position, hash: hex(&chain.0) })
}

fn broken(position: u64, what: &str) -> Verified {
    Verified::Broken(Finding { position, what: what.to_owned() })
}

async fn page(database: Database, after: u64, up_to: u64) -> Result<Vec<Row>, Error> {
    let rows = database
        .fetch(
            "select position, stream, version, path, body, hash from event \
             where position > $1 and position <= $2 order by position",
            &[after.into(), up_to.into()],
        )
        .await?;
    Ok(rows)
}

fn misfit(row: &Row, expected: u64, chain: &mut Chain) -> Result<Option<&'static str>, Error> {
    if row.unsigned(0)? != expected {
        return Ok(Some("is missing"));
    }
    let body = row.bytes(4)?;
    if chain.extend(body) != *row.bytes(5)? {
        return Ok(Some("was changed, or its hash was"));
    }
    let Ok(heading) = Heading::from_bytes(body) else {
        return Ok(Some("is no event"));
    };
    let same = heading.stream == row.text(1)?
        && heading.version == row.unsigned(2)?
        && heading.path == row.text(3)?;
    if !same {
        return Ok(Some("stands in another stream, version or path than it says"));
    }
    Ok(domain::event::readable(&heading.kind, heading.schema)
        .is_err()
        .then_some("is of a kind that this program does not know"))
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}
