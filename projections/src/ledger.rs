//! The ledger: dated facts of every slot, and the entries that are computed from them.
//!
//! A fact costs one small row, whatever the history. Nothing is rolled over when a month begins: the
//! entries of a period are computed from the timelines that touch it (design.md, section 7).

use domain::billing::Fact;
use domain::event::{Event, Recorded};
use eventstore::{CellKind, Layout, Rows, Value};

/// The table of facts.
pub const TABLE: &str = "ledger_fact";

/// Its columns. A slot's facts stand together.
pub(crate) static LAYOUT: Layout = Layout {
    columns: &[
        ("subscription", CellKind::Text),
        ("position", CellKind::Int),
        ("document", CellKind::Bytes),
    ],
    key: 2,
    replace: false,
};

/// What an event says to the ledger, if anything: only outcomes bill (billing.md, section 2).
#[must_use]
pub fn fact(event: &Recorded) -> Option<Fact> {
    let Event::Subscription(happened) = &event.event else {
        return None;
    };
    Some(Fact {
        actor: event.actor.to_string(),
        change: happened.change()?,
        effective_at: event.effective_at,
        position: event.position,
        reason: event.reason.clone(),
    })
}

/// The rows that keep the facts of some events, for a table whose name ends in `suffix`.
#[must_use]
pub fn rows<'a>(events: impl IntoIterator<Item = &'a Recorded>, suffix: &str) -> Option<Rows> {
    let mut rows = Rows::new(format!("{TABLE}{suffix}"), &LAYOUT);
    for event in events {
        if let (Some(fact), Some((_, subscription))) = (fact(event), event.stream.split_once('-')) {
            rows.push([
                Value::Text(subscription.to_owned()),
                Value::from(event.position),
                Value::Bytes(serde_json::to_vec(&fact).expect("facts have a JSON form")),
            ]);
        }
    }
    (!rows.is_empty()).then_some(rows)
}
