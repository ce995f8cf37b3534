//! Slots with their facts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::{Reading, Timeline};
use domain::event::Recorded;
use domain::{ServiceKey, SubscriptionId};
use eventstore::{Database, Error, Value, failpoint};

use super::{SLOTS_OF_CUSTOMER_MAX, timeline};
use crate::finder::{self, Scope};
use crate::tables;
use crate::views::{OrganizationView, SubscriptionView, UsageView};

/// More than the midnights of one date lie apart in any two zones.
pub(super) const DATE_MAX: TimeDelta = TimeDelta::days(2);

/// A slot and its facts.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) view: Arc<SubscriptionView>,
    pub(super) timeline: Timeline,
}

/// The slots of some customers and their users that are held at any time of a span, with their facts: by the
/// customer's path, in the order of service and instance.
pub(super) async fn in_span(
    database: &Database,
    known_at: Option<u64>,
    span: (DateTime<Utc>, DateTime<Utc>),
    metered: &HashSet<ServiceKey>,
    customers: &[Arc<OrganizationView>],
) -> Result<HashMap<String, Vec<Slot>>, Error> {
    // A date is another moment at each seller.
    let (first, last) = (span.0 - DATE_MAX, span.1 + DATE_MAX);
    // What was learned since may have ended a slot earlier than was known then.
    let held_until = known_at.map_or(first.timestamp_micros(), |_| i64::MIN);
    let paths = customers.iter().map(|customer| customer.path.to_string()).collect();
    let engine = database.engine();
    // Behind a path there are letters, digits, `-`, `_` and `.` only: `~` comes after all of them. The bound is
    // beyond what a customer has: PostgreSQL goes by the index for each of them only where there is one.
    let sql = engine.first_of_each(
        &engine.each_of(1, "tenants", "path"),
        "key, document, sort",
        "view_subscription",
        "where sort >= tenants.path and sort < tenants.path || '~' and since < $2 and until >= $3 \
         order by sort, key limit $4",
    ) + " order by sort, key";
    let values = [
        Value::Texts(paths),
        last.timestamp_micros().into(),
        held_until.into(),
        SLOTS_OF_CUSTOMER_MAX.into(),
    ];
    failpoint("projections::ledger::slots")?;
    let rows = database.fetch(&sql, &values).await?;
    let views = rows
        .iter()
        .map(|row| tables::read::<SubscriptionView>(row.text(0)?, row.bytes(1)?))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut slots = HashMap::<_, Vec<_>>::new();
    let known_at = known_at.unwrap_or(u64::MAX);
    for slot in with_facts(database, views, (known_at, &[]), Some(span), metered).await? {
        slots.entry(slot.view.path.to_string()).or_default().push(slot);
    }
    Ok(slots)
}

/// Some slots, with their facts.
pub(super) async fn of_ids(
    database: &Database,
    ids: impl IntoIterator<Item = SubscriptionId>,
    known_at: u64,
    span: Option<(DateTime<Utc>, DateTime<Utc>)>,
    metered: &HashSet<ServiceKey>,
) -> Result<Vec<Slot>, Error> {
    let keys = ids.into_iter().map(|id| id.to_string()).collect();
    let views = finder::find_many::<SubscriptionView>(database, &Scope::catalogue(), keys).await?;
    let views = views.into_values().collect();
    with_facts(database, views, (known_at, &[]), span, metered).await
}

/// Slots with their facts; of those whose documents do not keep them all, also `more` than the log has.
pub(super) async fn with_facts(
    database: &Database,
    views: Vec<Arc<SubscriptionView>>,
    (known_at, more): (u64, &[Recorded]),
    span: Option<(DateTime<Utc>, DateTime<Utc>)>,
    metered: &HashSet<ServiceKey>,
) -> Result<Vec<Slot>, Error> {
    let mut histories = histories(database, &views, known_at, more).await?;
    let of_metered = views.iter().filter(|view| metered.contains(&view.service));
    let of_metered: Vec<_> = of_metered.map(|view| view.id.to_string()).collect();
    let mut readings = match span {
        Some(span) => readings(database, of_metered, span, known_at).await?,
        None => HashMap::new(),
    };
    let slots = views.into_iter().map(|view| {
        let known = || {
            let facts = view.facts_known_at(known_at).cloned();
            Timeline::new(facts).resting(view.rests_known_at(known_at).cloned())
        };
        let timeline = histories.remove(&view.stream()).unwrap_or_else(known);
        let timeline = match readings.remove(&view.id) {
            Some(readings) => timeline.metered(readings),
            None => timeline,
        };
        Slot { timeline, view }
    });
    Ok(slots.collect())
}

/// Reads what slots used from an earlier moment on: those that are compared in periods that are closed.
pub(super) async fn meter_from(
    database: &Database,
    slots: &mut HashMap<String, Vec<Slot>>,
    compared: &HashSet<SubscriptionId>,
    span: (DateTime<Utc>, DateTime<Utc>),
    (known_at, metered): (u64, &HashSet<ServiceKey>),
) -> Result<(), Error> {
    let mut compared: Vec<_> = slots
        .values_mut()
        .flatten()
        .filter(|slot| compared.contains(&slot.view.id) && metered.contains(&slot.view.service))
        .collect();
    let ids = compared.iter().map(|slot| slot.view.id.to_string()).collect();
    let mut readings = readings(database, ids, span, known_at).await?;
    for slot in &mut compared {
        let own = readings.remove(&slot.view.id).unwrap_or_default();
        slot.timeline = std::mem::take(&mut slot.timeline).metered(own);
    }
    Ok(())
}

/// What some slots used in a span, as it was known at a position.
async fn readings(
    database: &Database,
    subscriptions: Vec<String>,
    span: (DateTime<Utc>, DateTime<Utc>),
    known_at: u64,
) -> Result<HashMap<SubscriptionId, Vec<Reading>>, Error> {
    let mut readings = HashMap::<_, Vec<_>>::new();
    if subscriptions.is_empty() {
        return Ok(readings);
    }
    let sql = format!(
        "select key, document from view_usage where {} and sort >= $2 and sort < $3",
        database.engine().any_of("owner", 1)
    );
    let [from, to] = [span.0, span.1].map(UsageView::sort_of);
    let values = [Value::Texts(subscriptions), Value::Text(from), Value::Text(to)];
    failpoint("projections::ledger::readings")?;
    for row in &database.fetch(&sql, &values).await? {
        let view: Arc<UsageView> = tables::read(row.text(0)?, row.bytes(1)?)?;
        if view.position <= known_at {
            readings.entry(view.subscription()).or_default().push(view.for_rating());
        }
    }
    Ok(readings)
}

/// The timelines of those slots that have more than their documents keep, from the log, as they were known at a position:
/// by stream.
pub(super) async fn histories(
    mut database: &Database,
    views: &[Arc<SubscriptionView>],
    known_at: u64,
    more: &[Recorded],
) -> Result<HashMap<String, Timeline>, Error> {
    let is_long = |view: &&Arc<SubscriptionView>| view.is_abridged || view.has_more_rests;
    let long: Vec<_> = views.iter().filter(is_long).map(|view| view.stream()).collect();
    let more: Vec<_> = more.iter().filter(|it| long.contains(&it.stream)).cloned().collect();
    let mut histories = HashMap::<_, Vec<_>>::new();
    for event in eventstore::streams(&mut database, long).await?.into_iter().chain(more) {
        if event.position <= known_at {
            histories.entry(event.stream.clone()).or_default().push(event);
        }
    }
    Ok(histories.into_iter().map(|(stream, events)| (stream, timeline(&events))).collect())
}
