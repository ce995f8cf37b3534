//! Events: the log itself.

use async_graphql::connection::{Connection, Edge, OpaqueCursor};
use async_graphql::{Context, ID, InputObject, Json, Object};
use chrono::{DateTime, Utc};
use domain::event::Recorded;
use domain::permission::Permission;
use projections::finder::{self, EventQuery};

use super::connection::{Slice, has_more};
use super::id::GlobalId;
use super::reading::{Reading, Resolved, reading};
use super::scalar::Position;
use crate::problem::Problem;
use crate::rest::events::{CloudEvent, shown_events};

/// Most kinds that are asked for at once.
const KINDS_MAX: usize = 50;

/// A fact of the log.
#[derive(Clone)]
pub(crate) struct Event {
    position: u64,
    shown: CloudEvent,
}

impl Event {
    /// Events as the caller is shown them, with their persons opened.
    async fn shown(reading: &Reading, events: &[Recorded]) -> Resolved<Vec<Self>> {
        let shown = shown_events(&reading.app, &reading.principal, events).await?.into_iter();
        let events = events.iter().zip(shown);
        Ok(events.map(|(event, shown)| Self { position: event.position, shown }).collect())
    }
}

/// A fact of the log.
#[Object]
impl Event {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::Event(self.position).encode()
    }

    /// Its place in the one order of all facts.
    async fn position(&self) -> Position {
        Position(self.position)
    }

    /// Such as `subscription.provisioned`.
    async fn kind(&self) -> &str {
        &self.shown.kind
    }

    /// Whose history it belongs to, such as `subscription-0192...`.
    async fn stream(&self) -> &str {
        &self.shown.subject
    }

    /// When it is true in the business.
    async fn effective_at(&self) -> DateTime<Utc> {
        self.shown.effectiveat
    }

    /// When it was recorded.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.shown.time
    }

    /// Who did it: `user:<id>` or `system`.
    async fn actor(&self) -> &str {
        &self.shown.actor
    }

    /// As whom, where the actor impersonates: `user:<id>`.
    async fn on_behalf_of(&self) -> Option<&str> {
        self.shown.onbehalfof.as_deref()
    }

    /// Why.
    async fn reason(&self) -> Option<&str> {
        self.shown.reason.as_deref()
    }

    /// The command that decided it.
    async fn command_id(&self) -> &str {
        &self.shown.commandid
    }

    /// What happened. Never with what proves a secret; a `person` or a named `contact` in it is null if he was
    /// erased since; with what
    /// services hide only for those who publish them.
    async fn payload(&self) -> Json<&serde_json::Value> {
        Json(&self.shown.data)
    }
}

/// How many events there are altogether; counted only where somebody asks.
pub(crate) struct CountedEvents {
    kinds: Vec<String>,
    after: u64,
}

#[Object]
impl CountedEvents {
    /// How many nodes there are altogether.
    async fn total_count(&self, context: &Context<'_>) -> Resolved<Option<u64>> {
        let reading = reading(context);
        let (database, scope) = (reading.app.database(), reading.scope());
        Ok(Some(finder::count_events(database, &scope, &self.kinds, self.after).await?))
    }
}

/// Events in the order of the log.
pub(crate) type EventConnection = Connection<OpaqueCursor<u64>, Event, CountedEvents>;

/// Which events.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct EventFilter {
    /// Only those behind this position.
    after_position: Option<Position>,
    /// Only those of these kinds, such as `subscription.provisioned`.
    kinds: Option<Vec<String>>,
}

impl Event {
    /// An event, if the caller may see it.
    pub(crate) async fn get(reading: &Reading, position: u64) -> Resolved<Self> {
        reading.require(Permission::ViewEvents)?;
        let query = EventQuery {
            after: Some(position.saturating_sub(1)),
            before: Some(position.saturating_add(1)),
            limit: 1,
            ..EventQuery::default()
        };
        let database = reading.app.database();
        let found = finder::list_events(database, &reading.scope(), &query).await?;
        Self::shown(reading, &found.items).await?.pop().ok_or_else(Problem::not_found)
    }

    /// The events in scope, in the order of the log.
    pub(crate) async fn list(
        reading: &Reading,
        filter: EventFilter,
        slice: &Slice,
    ) -> Resolved<Option<EventConnection>> {
        reading.require(Permission::ViewEvents)?;
        let kinds = filter.kinds.unwrap_or_default();
        if kinds.len() > KINDS_MAX || kinds.iter().any(|kind| kind.contains('\0')) {
            let detail = format!("These are at most {KINDS_MAX} names of kinds of events.");
            return Err(Problem::bad_parameter("kinds", detail));
        }
        let window = slice.window::<u64>()?;
        let after_position = filter.after_position.map(|position| position.0);
        let query = EventQuery {
            after: window.after.max(after_position),
            before: window.before,
            limit: window.limit,
            end: window.end,
            kinds,
        };
        let database = reading.app.database();
        let page = finder::list_events(database, &reading.scope(), &query).await?;
        let (has_previous, has_next) = has_more(&window, page.more);
        let counted = CountedEvents { kinds: query.kinds, after: after_position.unwrap_or(0) };
        let mut connection = Connection::with_additional_fields(has_previous, has_next, counted);
        let edges = Self::shown(reading, &page.items).await?.into_iter();
        let edges = edges.map(|event| Edge::new(OpaqueCursor(event.position), event));
        connection.edges.extend(edges);
        Ok(Some(connection))
    }
}
