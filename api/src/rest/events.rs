//! The raw feed: events as CloudEvents 1.0, scoped to the caller; all at once, or as they happen.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::SubjectId;
use domain::event::{Actor, Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::permission::Permission;
use domain::seal::Sealed;
use domain::subscription::Request;
use eventstore::{Error, Stored};
use projections::{Opened, finder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Parameters;
use super::call::{Answer, Reader, json_response};
use super::{feed, list};
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;

/// Fields of events that prove a secret; they leave the log for nobody.
const PROOFS: [&str; 1] = ["proof"];

/// Which part of the log.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParameters {
    /// Behind this position; from the beginning where it is left out.
    #[param(value_type = Option<u64>)]
    pub after: Option<String>,
    /// At most so many, up to 500; 50 where it is left out.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
}

/// An event in the form of CloudEvents 1.0.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: &'static str,
    /// The position in the log.
    pub id: String,
    /// Where the log is.
    pub source: &'static str,
    /// Such as `subscription.provisioned`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stream.
    pub subject: String,
    /// When it was recorded.
    pub time: chrono::DateTime<chrono::Utc>,
    /// `application/json`.
    pub datacontenttype: &'static str,
    /// When it is true in the business.
    pub effectiveat: chrono::DateTime<chrono::Utc>,
    /// Who did it.
    pub actor: String,
    /// As whom, where the actor impersonates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onbehalfof: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The command that decided it.
    pub commandid: String,
    /// The tenant path of whom it concerns.
    pub tenantpath: String,
    /// What happened. A `person` or a named `contact` in it is null if he was erased since.
    #[schema(value_type = Object)]
    pub data: Value,
}

impl CloudEvent {
    /// An event as somebody is shown it, its person opened: nobody sees what proves a secret, and what services hide
    /// only who publishes them.
    #[must_use]
    pub fn new(principal: &Principal, event: &Recorded, opened: &Opened) -> Self {
        let shape = event.event.encode();
        let mut data = serde_json::from_str(shape.payload.get()).unwrap_or(Value::Null);
        without_proofs(&mut data);
        if !principal.sees_hidden() {
            without_hidden(&mut data);
        }
        without_foreign_place(&mut data, principal, event);
        if let Some((user, sealed)) = event.person() {
            let place = match event.event {
                Event::Subscription(_) => "/request/user/person",
                _ => "/person",
            };
            show_person(&mut data, place, user, sealed, opened);
        }
        if let Some((organization, sealed)) = event.contact() {
            show_person(&mut data, "/details/contact", organization, sealed, opened);
        }
        Self {
            specversion: "1.0",
            id: event.position.to_string(),
            source: "/api/v2/events",
            kind: shape.kind,
            subject: event.stream.clone(),
            time: event.recorded_at,
            datacontenttype: "application/json",
            effectiveat: event.effective_at,
            actor: event.actor.to_string(),
            onbehalfof: event.on_behalf_of.map(|user| Actor::User(user).to_string()),
            reason: event.reason.clone(),
            commandid: event.command_id.to_string(),
            tenantpath: event.path.to_string(),
            data,
        }
    }
}

/// Everything that a request was built from, its person opened.
#[must_use]
pub fn shown_request(request: &Request, opened: &Opened) -> Value {
    let mut shown = serde_json::to_value(request).expect("requests have text keys only");
    if let Some(user) = &request.user {
        show_person(&mut shown, "/user/person", user.id, &user.person, opened);
    }
    shown
}

/// Puts a person where he stands sealed; null where he was erased.
fn show_person<T: Clone + DeserializeOwned + Serialize>(
    shown: &mut Value,
    place: &str,
    whose: impl Into<SubjectId>,
    sealed: &Sealed<T>,
    opened: &Opened,
) {
    if let Some(person) = shown.pointer_mut(place) {
        let opened = opened.past(whose, sealed);
        *person = serde_json::to_value(opened).expect("persons have text keys only");
    }
}

/// Events as somebody is shown them: the keys of their persons are loaded in one statement.
///
/// # Errors
/// What the database says.
pub async fn shown_events(
    app: &App,
    principal: &Principal,
    events: &[Recorded],
) -> Result<Vec<CloudEvent>, Error> {
    let subjects = events.iter().filter_map(Recorded::subject);
    let opened = app.persons().unlock(app.database(), subjects).await?;
    Ok(events.iter().map(|event| CloudEvent::new(principal, event, &opened)).collect())
}

/// Takes out where somebody came from, for those who do not see that place.
fn without_foreign_place(data: &mut Value, principal: &Principal, event: &Recorded) {
    if let Event::Organization(OrganizationEvent::Moved { from, .. }) = &event.event
        && !principal.scope().0.contains(from)
        && let Value::Object(fields) = data
    {
        fields.remove("from");
    }
}

fn without_proofs(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|field, _| !PROOFS.contains(&field.as_str()));
            object.values_mut().for_each(without_proofs);
        }
        Value::Array(items) => items.iter_mut().for_each(without_proofs),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes out what is marked as hidden, and definitions of services: what is to be seen of them, the catalogue shows.
fn without_hidden(value: &mut Value) {
    let is_shown = |value: &Value| value["hidden"] != true;
    match value {
        Value::Object(object) => {
            object.retain(|field, value| field != "definition" && is_shown(value));
            object.values_mut().for_each(without_hidden);
        }
        Value::Array(items) => {
            items.retain(is_shown);
            items.iter_mut().for_each(without_hidden);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A part of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    /// In the order of the log.
    data: Vec<CloudEvent>,
    /// Ask for what comes after this position next.
    next: u64,
}

/// Lists the events of the caller's tenant and all below it, in the order of the log.
///
/// With `Accept: text/event-stream` they come one by one, each with its position as `id`, and then
/// those that happen, as they happen. `Last-Event-ID` says more than `after`, and `limit` says nothing.
#[utoipa::path(get, path = "/api/v2/events", tag = "Events",
    params(
        EventParameters,
        ("Last-Event-ID" = Option<u64>, Header, description = "Where a feed goes on."),
    ),
    responses((status = 200, content(
        (EventList = "application/json"),
        (CloudEvent = "text/event-stream"),
    ))))]
pub async fn list_events(
    State(app): State<App>,
    reader: Reader,
    headers: HeaderMap,
    parameters: Parameters<EventParameters>,
) -> Answer {
    reader.0.require(Permission::ViewEvents)?;
    let parameters = parameters.take()?;
    let after = match parameters.after.as_deref() {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_parameter("after", "This is a position: a whole number."))?,
    };
    let limit = list::limit(parameters.limit.as_deref())? as u64;
    if feed::is_wanted(&headers) {
        let after = feed::resumes_after(&headers)?.unwrap_or(after);
        return feed::answer(app, reader.0, after);
    }
    let path = &reader.0.authority.path;
    let left = finder::former_places(app.database(), path).await?;
    let stored = app.log().below(path, &left, (after, i64::MAX as u64), limit).await?;
    let events = stored.iter().map(Stored::decode).collect::<Result<Vec<_>, _>>()?;
    let data = shown_events(&app, &reader.0, &events).await?;
    let next = stored.last().map_or(after, |event| event.position);
    let json = serde_json::to_string(&EventList { data, next }).expect("text keys only");
    Ok(json_response(StatusCode::OK, json))
}
