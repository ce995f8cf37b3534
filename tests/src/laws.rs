//! What holds of every installation, whatever was done to it. Checked at the end of every test.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use domain::billing::Timeline;
use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::subscription::Progress;
use eventstore::{Chain, Database, Log, SealsVerified, Verified};
use projections::ledger;
use projections::views::{HoldingView, RequestStatus, RequestView, SubscriptionView};
use serde_json::Value;

/// The laws: the log is whole, rebuilding gives exactly what is there, no work is left over, and every person has
/// a key.
///
/// # Errors
/// The first law that does not hold.
pub async fn check(database: &Database) -> Result<()> {
    let events = log_is_whole(database).await.context("the log is not whole")?;
    timelines_are_the_logs(database, &events).await.context("the ledger is not the log's")?;
    holdings_are_the_slots(database, &events).await.context("the holdings are not the slots'")?;
    no_work_is_left(database).await.context("work is left over")?;
    match eventstore::verify_sealed(database).await? {
        SealsVerified::Whole { .. } => {}
        SealsVerified::Broken(it) => bail!("position {} {}", it.position, it.what),
    }
    persons_have_keys(database, &events).await.context("persons and keys do not fit")?;
    let rebuilt = projections::rebuild(database, |_| ()).await?;
    ensure!(
        rebuilt.differences.is_empty(),
        "rebuilding gives other rows than there are: {:?}",
        rebuilt.differences
    );
    ensure!(
        rebuilt.events == events.len() as u64,
        "{} of {} events were rebuilt from",
        rebuilt.events,
        events.len()
    );
    Ok(())
}

/// No gap; the chain verifies up to the head; versions count within each stream; time never goes
/// back; every stored byte is canonical; every shape is noted for the next start.
async fn log_is_whole(database: &Database) -> Result<Vec<Recorded>> {
    let log = Log::new(database.clone());
    let head = log.head().await?;
    match eventstore::verify(database, |_| ()).await? {
        Verified::Whole { events, .. } => {
            ensure!(events == head.position, "{events} events, head at {}", head.position);
        }
        Verified::Broken(finding) => bail!("position {} {}", finding.position, finding.what),
    }
    let mut events: Vec<Recorded> = Vec::new();
    let mut versions = BTreeMap::<String, u64>::new();
    let mut shapes = BTreeSet::new();
    let mut chain = Chain(eventstore::GENESIS);
    loop {
        let page = log.read(events.len() as u64, u64::MAX, eventstore::READ_MAX).await?;
        if page.is_empty() {
            break;
        }
        for stored in page {
            let at = format!("position {}", stored.position);
            ensure!(stored.position == events.len() as u64 + 1, "{at} is out of order");
            chain.extend(&stored.body);
            let event = stored.decode()?;
            let version = versions.entry(event.stream.clone()).or_default();
            *version += 1;
            ensure!(event.version == *version, "{at} is not version {version} of its stream");
            let before = events.last().map(|last| last.recorded_at);
            ensure!(before.is_none_or(|it| it <= event.recorded_at), "{at} goes back in time");
            ensure!(event.cause.is_none_or(|it| it < event.position), "{at} causes itself");
            let form = event.to_stored();
            ensure!(form.body == stored.body, "{at} is not stored as it is written today");
            let text = std::str::from_utf8(&stored.body)?;
            ensure!(canonical(&serde_json::from_str(text)?) == text, "{at} is not canonical JSON");
            shapes.insert((form.kind, i64::from(form.schema)));
            events.push(event);
        }
    }
    ensure!(events.len() as u64 == head.position, "the log ends before its head");
    ensure!(chain.0 == head.hash, "the head has another hash than the last event");
    let last = events.last().map_or(0, |event| event.recorded_at.timestamp_micros());
    ensure!(last == head.recorded_at, "the head has another time than the last event");
    let rows = database.fetch("select kind, schema from event_shape", &[]).await?;
    let noted = rows
        .iter()
        .map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?)))
        .collect::<Result<BTreeSet<_>>>()?;
    ensure!(noted == shapes, "the shapes noted for the next start are {noted:?}");
    Ok(events)
}

/// Each slot's timeline has facts of its stream only, and all of them unless it says that it has not.
async fn timelines_are_the_logs(database: &Database, events: &[Recorded]) -> Result<()> {
    let mut streams = BTreeMap::<String, Vec<&Recorded>>::new();
    for event in events {
        streams.entry(event.stream.clone()).or_default().push(event);
    }
    let said = streams.into_iter().map(|(stream, events)| (stream, ledger::timeline(events)));
    let mut said: BTreeMap<String, Timeline> = said.collect();
    for row in database.fetch("select document from view_subscription", &[]).await? {
        let view: SubscriptionView = serde_json::from_slice(row.bytes(0)?)?;
        let said = said.remove(&view.stream()).unwrap_or_default();
        let kept = Timeline::default().resting(view.rests_known_at(u64::MAX).cloned());
        let same = view.has_more_rests || kept.rests() == said.rests();
        ensure!(same, "subscription {} rested {kept:?}, the log says {said:?}", view.id);
        let (said, kept) = (said.facts(), view.facts.as_slice());
        let same = if view.is_abridged {
            kept.len() < said.len() && kept.iter().all(|fact| said.contains(fact))
        } else {
            kept == said
        };
        ensure!(same, "subscription {} has the facts {kept:?}, the log {said:?}", view.id);
    }
    said.retain(|stream, it| stream.starts_with("subscription-") && !it.facts().is_empty());
    ensure!(said.is_empty(), "slots without a view: {said:?}");
    Ok(())
}

/// What a customer is said to hold is what its slots say, now and at every moment at which that will change.
async fn holdings_are_the_slots(database: &Database, events: &[Recorded]) -> Result<()> {
    let Some(now) = events.last().map(|event| event.recorded_at) else { return Ok(()) };
    let mut slots = BTreeMap::<String, Vec<SubscriptionView>>::new();
    for row in database.fetch("select document from view_subscription", &[]).await? {
        let view: SubscriptionView = serde_json::from_slice(row.bytes(0)?)?;
        slots.entry(view.path.to_string()).or_default().push(view);
    }
    let mut said = BTreeMap::<String, HoldingView>::new();
    for row in database.fetch("select document from view_holding", &[]).await? {
        let view: HoldingView = serde_json::from_slice(row.bytes(0)?)?;
        said.insert(view.path.to_string(), view);
    }
    // Where a customer was before, nothing is held any more.
    let is_a_slots = |(path, view): (&String, &HoldingView)| {
        view.services.is_empty() || slots.contains_key(path)
    };
    ensure!(said.iter().all(is_a_slots), "somebody holds what is no slot");
    for (path, slots) in &slots {
        let later = slots.iter().flat_map(|slot| slot.scheduled_after(now));
        let moments: BTreeSet<_> = later.map(|fact| fact.effective_at).chain([now]).collect();
        for moment in moments {
            for service in slots.iter().map(|slot| &slot.service).collect::<BTreeSet<_>>() {
                let mut own = slots.iter().filter(|slot| slot.service == *service);
                let held = own.any(|slot| slot.held_at(moment).is_some());
                let told = said.get(path).is_some_and(|view| view.holds(service, moment));
                ensure!(held == told, "{path} holds {service} at {moment}: {held}, told {told}");
            }
        }
    }
    Ok(())
}

/// Who is sealed, a user or a contact, has a key; who was erased has none, and nobody else has.
async fn persons_have_keys(database: &Database, events: &[Recorded]) -> Result<()> {
    let sql = "select key from view_user where kind in ('sealed', 'deleted sealed') order by key";
    let sealed = database.fetch(sql, &[]).await?;
    let keys = database.fetch("select subject_id from person_key", &[]).await?;
    let ids = |rows: &[eventstore::Row]| {
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<BTreeSet<_>>>()
    };
    let (mut sealed, keys) = (ids(&sealed)?, ids(&keys)?);
    for event in events {
        if let Some((organization, contact)) = event.contact()
            && contact.is_sealed()
        {
            sealed.insert(organization.to_string());
        }
        if let Event::Organization(OrganizationEvent::ContactErased {}) = &event.event
            && let Some((_, organization)) = event.stream.split_once('-')
        {
            sealed.remove(organization);
        }
    }
    ensure!(sealed == keys, "{sealed:?} are sealed, and {keys:?} have keys");
    Ok(())
}

/// Nothing waits for anybody but what somebody has to report: each open request is on its subscription's desk, as far
/// as it is, and nothing else is.
async fn no_work_is_left(database: &Database) -> Result<()> {
    let mut on_desks = BTreeMap::new();
    for row in database.fetch("select document from view_subscription", &[]).await? {
        let view: SubscriptionView = serde_json::from_slice(row.bytes(0)?)?;
        for open in view.desk.all() {
            let status = match open.progress {
                Progress::Requested => RequestStatus::Requested,
                Progress::InProgress => RequestStatus::InProgress,
                Progress::Failed => RequestStatus::Failed,
            };
            on_desks.insert(open.request, (view.id, status, open.verb, open.effective_at));
        }
    }
    for row in database.fetch("select document from view_request", &[]).await? {
        let view: RequestView = serde_json::from_slice(row.bytes(0)?)?;
        let on_desk = on_desks.remove(&view.id);
        let Some(subscription) = view.subscription else {
            ensure!(on_desk.is_none(), "{view:?}");
            continue;
        };
        let told = (subscription, view.status, view.verb, view.effective_at);
        match view.status {
            RequestStatus::Completed | RequestStatus::Cancelled => {
                ensure!(on_desk.is_none(), "request {} is {:?}, and open", view.id, view.status);
            }
            _ => ensure!(on_desk == Some(told), "request {}: {told:?}, {on_desk:?}", view.id),
        }
    }
    ensure!(on_desks.is_empty(), "open requests that nobody made: {on_desks:?}");
    Ok(())
}

/// The canonical form of JSON (RFC 8785) that has ASCII keys and whole numbers only.
#[must_use]
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            let fields = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
