//! Events: facts, never changed, never deleted.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::approval::ApprovalEvent;
use crate::billing::adjustment::AdjustmentEvent;
use crate::billing::books::BooksEvent;
use crate::billing::rulebook::RulebookEvent;
use crate::billing_calendar::BillingCalendarEvent;
use crate::bulk::BulkEvent;
use crate::organization::{Contact, OrganizationEvent};
use crate::permission::PermissionEvent;
use crate::pricing::PricingEvent;
use crate::role::RoleEvent;
use crate::seal::Sealed;
use crate::service::ServiceEvent;
use crate::subscription::SubscriptionEvent;
use crate::upcast::Upcasters;
use crate::usage::UsageEvent;
use crate::user::UserEvent;
use crate::{CommandId, OrganizationId, SubjectId, TenantPath, UserId};

/// Any fact that Atrium knows of. A new one is a variant of its decider's enum.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// About a provider, reseller or customer.
    Organization(OrganizationEvent),
    /// About a person.
    User(UserEvent),
    /// About what is sold.
    Service(ServiceEvent),
    /// About who has what.
    Subscription(SubscriptionEvent),
    /// About a seller's billing periods.
    BillingCalendar(BillingCalendarEvent),
    /// About a request for many.
    Bulk(BulkEvent),
    /// About what was used.
    Usage(UsageEvent),
    /// About a role that an organisation made.
    Role(RoleEvent),
    /// About a permission of the installation's own.
    CustomPermission(PermissionEvent),
    /// About a wish that has to be approved first.
    Approval(ApprovalEvent),
    /// About a seller's books.
    Books(BooksEvent),
    /// About sellers' prices, and exchange rates.
    Pricing(PricingEvent),
    /// About what is charged or given back by hand.
    Adjustment(AdjustmentEvent),
    /// About what a seller says of his bills.
    Rulebook(RulebookEvent),
}

/// A fact's stored name and content, apart from its envelope.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `subscription.provisioned`. Stored, so never renamed.
    pub kind: String,
    /// Which version of the content's shape.
    pub schema: u32,
    /// Canonical JSON.
    pub payload: Box<RawValue>,
}

impl Event {
    /// What is stored: today's shape of the fact.
    ///
    /// Each decider's enum is tagged from outside (`{"kind":{...}}`), so that a kind is named once,
    /// in its `#[serde(rename)]`; the tag is taken off here and put on again by [`Event::decode`].
    #[must_use]
    pub fn encode(&self) -> Shape {
        let tagged = match self {
            Self::Organization(event) => serde_json::to_string(event),
            Self::User(event) => serde_json::to_string(event),
            Self::Service(event) => serde_json::to_string(event),
            Self::Subscription(event) => serde_json::to_string(event),
            Self::BillingCalendar(event) => serde_json::to_string(event),
            Self::Bulk(event) => serde_json::to_string(event),
            Self::Usage(event) => serde_json::to_string(event),
            Self::Role(event) => serde_json::to_string(event),
            Self::CustomPermission(event) => serde_json::to_string(event),
            Self::Approval(event) => serde_json::to_string(event),
            Self::Books(event) => serde_json::to_string(event),
            Self::Pricing(event) => serde_json::to_string(event),
            Self::Adjustment(event) => serde_json::to_string(event),
            Self::Rulebook(event) => serde_json::to_string(event),
        }
        .expect("events have text keys only, so they have a JSON form");
        let (kind, payload) = tagged[2..tagged.len() - 1]
            .split_once("\":")
            .expect("an enum of struct variants is written as {\"kind\":{..}}");
        Shape {
            kind: kind.to_owned(),
            schema: Upcasters::OURS.current(kind),
            payload: RawValue::from_string(payload.to_owned()).expect("JSON has just been written"),
        }
    }

    /// Reads a stored fact, lifting an old shape to today's.
    ///
    /// # Errors
    /// Where the kind is unknown, the schema is newer than this program, or the content does not fit.
    pub fn decode(kind: &str, schema: u32, payload: &RawValue) -> Result<Self, Undecodable> {
        let unfit = |source| Undecodable::Content { kind: kind.to_owned(), schema, source };
        let lifted = Upcasters::OURS.lift(kind, schema, payload.get())?;
        let lifted = lifted.map(RawValue::from_string).transpose().map_err(unfit)?;
        let payload = lifted.as_deref().unwrap_or(payload);
        let category = kind.split_once('.').map_or(kind, |(category, _)| category);
        match category {
            "organization" => tagged(kind, payload).map(Self::Organization),
            "user" => tagged(kind, payload).map(Self::User),
            "service" => tagged(kind, payload).map(Self::Service),
            "subscription" => tagged(kind, payload).map(Self::Subscription),
            "billing_calendar" => tagged(kind, payload).map(Self::BillingCalendar),
            "bulk" => tagged(kind, payload).map(Self::Bulk),
            "usage" => tagged(kind, payload).map(Self::Usage),
            "role" => tagged(kind, payload).map(Self::Role),
            "permission" => tagged(kind, payload).map(Self::CustomPermission),
            "approval" => tagged(kind, payload).map(Self::Approval),
            "books" => tagged(kind, payload).map(Self::Books),
            "pricing" => tagged(kind, payload).map(Self::Pricing),
            "adjustment" => tagged(kind, payload).map(Self::Adjustment),
            "rulebook" => tagged(kind, payload).map(Self::Rulebook),
            _ => return Err(Undecodable::Kind(kind.to_owned())),
        }
        .map_err(unfit)
    }
}

/// Reads an enum from its tag and what the tag stands before, without putting them together first.
fn tagged<'de, T: Deserialize<'de>>(
    tag: &'de str,
    content: &'de RawValue,
) -> serde_json::Result<T> {
    let entry = std::iter::once((tag, content));
    T::deserialize(MapAccessDeserializer::new(MapDeserializer::new(entry)))
}

/// Why a stored fact cannot be read by this program.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// Written by a newer program, or not by Atrium.
    #[error("no event of the kind `{0}` is known")]
    Kind(String),
    /// Written by a newer program.
    #[error("schema {schema} of `{kind}` is newer than this program, which knows up to {known}")]
    Schema {
        /// The event's kind.
        kind: String,
        /// As stored.
        schema: u32,
        /// The newest that this program writes.
        known: u32,
    },
    /// Not what the kind and schema promise.
    #[error("the content of `{kind}` (schema {schema}) does not fit")]
    Content {
        /// The event's kind.
        kind: String,
        /// As stored.
        schema: u32,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The envelope is not readable at all.
    #[error("the envelope does not fit")]
    Envelope(#[source] serde_json::Error),
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Atrium itself: installation, jobs.
    System,
    /// A person.
    User(UserId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::User(id) => write!(f, "user:{id}"),
        }
    }
}

impl FromStr for Actor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "system" => Ok(Self::System),
            Some(("user", id)) => {
                id.parse().map(Self::User).map_err(|_| "the actor's user id is no UUID")
            }
            _ => Err("an actor is `system` or `user:<id>`"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A fact with all that is known about its happening.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place in the one order of all facts: 1, 2, 3, ... without a gap.
    pub position: u64,
    /// Whose history it belongs to, e.g. `subscription-0192...`.
    pub stream: String,
    /// Its place in that history: 1, 2, 3, ...
    pub version: u64,
    /// Whom it concerns.
    pub path: TenantPath,
    /// When it is true in the business.
    pub effective_at: DateTime<Utc>,
    /// When it was stored; never decreases along the log.
    pub recorded_at: DateTime<Utc>,
    /// Who did it.
    pub actor: Actor,
    /// As whom, when impersonating.
    pub on_behalf_of: Option<UserId>,
    /// Why, in that person's words.
    pub reason: Option<String>,
    /// The command that decided it.
    pub command_id: CommandId,
    /// The command that all began with.
    pub correlation: CommandId,
    /// The position of the event that caused this one.
    pub cause: Option<u64>,
    /// What happened.
    pub event: Event,
}

/// An event as it goes into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredForm {
    /// Canonical JSON; what the hash chain covers.
    pub body: Vec<u8>,
    /// See [`Shape::kind`].
    pub kind: String,
    /// See [`Shape::schema`].
    pub schema: u32,
}

/// The stored form of a [`Recorded`] event but for its position: canonical JSON (RFC 8785: sorted
/// keys, no blanks), written once and hashed as it stands. Times are microseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    actor: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<u64>,
    command_id: CommandId,
    correlation: CommandId,
    #[serde(with = "chrono::serde::ts_microseconds")]
    effective_at: DateTime<Utc>,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<UserId>,
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(with = "chrono::serde::ts_microseconds")]
    recorded_at: DateTime<Utc>,
    schema: u32,
    #[serde(borrow)]
    stream: std::borrow::Cow<'a, str>,
    version: u64,
}

impl Recorded {
    /// What is stored and hashed.
    #[must_use]
    pub fn to_stored(&self) -> StoredForm {
        let shape = self.event.encode();
        let body = serde_json::to_vec(&Envelope {
            actor: self.actor,
            cause: self.cause,
            command_id: self.command_id,
            correlation: self.correlation,
            effective_at: self.effective_at,
            kind: shape.kind.as_str().into(),
            on_behalf_of: self.on_behalf_of,
            path: self.path.as_str().into(),
            payload: &shape.payload,
            reason: self.reason.clone(),
            recorded_at: self.recorded_at,
            schema: shape.schema,
            stream: self.stream.as_str().into(),
            version: self.version,
        })
        .expect("an envelope has text keys only, so it has a JSON form");
        StoredForm { body, kind: shape.kind, schema: shape.schema }
    }

    /// The person that it tells of, if it does: whose it is, and as it was then.
    #[must_use]
    pub fn person(&self) -> Option<(UserId, &Sealed)> {
        match &self.event {
            Event::User(UserEvent::Created { id, person, .. }) => Some((*id, &person.sealed)),
            Event::User(UserEvent::Edited { person }) => {
                let id = self.stream.split_once('-')?.1.parse().ok()?;
                Some((id, &person.sealed))
            }
            Event::Subscription(
                SubscriptionEvent::ProvisionRequested { request }
                | SubscriptionEvent::ChangeRequested { request },
            ) => request.user.as_ref().map(|user| (user.id, &user.person)),
            Event::Organization(_)
            | Event::User(_)
            | Event::Service(_)
            | Event::Subscription(_)
            | Event::BillingCalendar(_)
            | Event::Bulk(_)
            | Event::Usage(_)
            | Event::Role(_)
            | Event::CustomPermission(_)
            | Event::Approval(_)
            | Event::Books(_)
            | Event::Pricing(_)
            | Event::Adjustment(_)
            | Event::Rulebook(_) => None,
        }
    }

    /// The organisation's contact that it tells of, if it names one.
    #[must_use]
    pub fn contact(&self) -> Option<(OrganizationId, &Sealed<Contact>)> {
        let Event::Organization(
            OrganizationEvent::Created { details, .. } | OrganizationEvent::Edited { details },
        ) = &self.event
        else {
            return None;
        };
        let id = self.stream.split_once('-')?.1.parse().ok()?;
        details.names_contact().then_some((id, &details.contact))
    }

    /// By whose key what is personal in it is opened, if anything is.
    #[must_use]
    pub fn subject(&self) -> Option<SubjectId> {
        let person = self.person().map(|(user, _)| user.into());
        person.or_else(|| self.contact().map(|(organization, _)| organization.into()))
    }

    /// Reads what [`Recorded::to_stored`] wrote, at any time in the past.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub fn from_bytes(position: u64, bytes: &[u8]) -> Result<Self, Undecodable> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(bytes).map_err(Undecodable::Envelope)?;
        let path = TenantPath::parse(&envelope.path).ok_or_else(|| {
            Undecodable::Envelope(serde::de::Error::custom("the path is no tenant path"))
        })?;
        Ok(Self {
            position,
            stream: envelope.stream.into_owned(),
            version: envelope.version,
            path,
            effective_at: envelope.effective_at,
            recorded_at: envelope.recorded_at,
            actor: envelope.actor,
            on_behalf_of: envelope.on_behalf_of,
            reason: envelope.reason,
            command_id: envelope.command_id,
            correlation: envelope.correlation,
            cause: envelope.cause,
            event: Event::decode(&envelope.kind, envelope.schema, envelope.payload)?,
        })
    }
}

/// The parts of a stored event that are also columns beside it, for comparing the two.
#[derive(Deserialize)]
pub struct Heading<'a> {
    /// See [`Shape::kind`].
    #[serde(borrow)]
    pub kind: std::borrow::Cow<'a, str>,
    /// See [`Recorded::path`].
    #[serde(borrow)]
    pub path: std::borrow::Cow<'a, str>,
    /// See [`Shape::schema`].
    pub schema: u32,
    /// See [`Recorded::stream`].
    #[serde(borrow)]
    pub stream: std::borrow::Cow<'a, str>,
    /// See [`Recorded::version`].
    pub version: u64,
}

impl<'a> Heading<'a> {
    /// Reads only the heading of a stored event.
    ///
    /// # Errors
    /// Where the bytes are no envelope.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, Undecodable> {
        serde_json::from_slice(bytes).map_err(Undecodable::Envelope)
    }
}

/// Whether this program can read events of that kind and schema, should it meet one.
///
/// # Errors
/// Where the kind is unknown or no path of upcasters leads from the schema to today's.
pub fn readable(kind: &str, schema: u32) -> Result<(), Undecodable> {
    let known = KINDS.contains(&kind);
    if !known {
        return Err(Undecodable::Kind(kind.to_owned()));
    }
    Upcasters::OURS.reaches_today(kind, schema)
}

/// Every kind of event there is. A test compares it with the golden lines.
pub const KINDS: &[&str] = &[
    "adjustment.made",
    "adjustment.reversed",
    "approval.approved",
    "approval.asked",
    "approval.expired",
    "approval.failed",
    "approval.granted",
    "approval.rejected",
    "approval.reminded",
    "approval.withdrawn",
    "billing_calendar.rule_changed",
    "billing_calendar.set",
    "books.close_approved",
    "books.close_asked",
    "books.entries_kept",
    "books.instance_deferred",
    "books.period_closed",
    "books.rerate_approved",
    "books.rerate_asked",
    "bulk.completed",
    "bulk.requested",
    "organization.approvals_cleared",
    "organization.approvals_set",
    "organization.billed_by",
    "organization.contact_erased",
    "organization.created",
    "organization.customer_left",
    "organization.deleted",
    "organization.deprovisioned",
    "organization.disabled",
    "organization.edited",
    "organization.enabled",
    "organization.moved",
    "organization.offer_withdrawn",
    "organization.offered",
    "organization.overridden",
    "organization.purged",
    "organization.restored",
    "organization.role_given",
    "organization.role_taken",
    "permission.declared",
    "permission.withdrawn",
    "pricing.commitment_set",
    "pricing.price_set",
    "pricing.rate_set",
    "role.created",
    "role.deleted",
    "role.edited",
    "rulebook.pattern_removed",
    "rulebook.pattern_set",
    "rulebook.rule_removed",
    "rulebook.rule_set",
    "rulebook.tax_rate_removed",
    "rulebook.tax_rate_set",
    "service.drafted",
    "service.published",
    "subscription.change_requested",
    "subscription.change_started",
    "subscription.changed",
    "subscription.deprovision_requested",
    "subscription.deprovision_started",
    "subscription.deprovisioned",
    "subscription.provision_requested",
    "subscription.provision_started",
    "subscription.provisioned",
    "subscription.request_cancelled",
    "subscription.request_failed",
    "subscription.request_released",
    "subscription.request_reset",
    "subscription.request_retried",
    "subscription.resume_requested",
    "subscription.resume_started",
    "subscription.resumed",
    "subscription.superseded",
    "subscription.suspend_requested",
    "subscription.suspend_started",
    "subscription.suspended",
    "usage.recorded",
    "user.created",
    "user.deleted",
    "user.deprovisioned",
    "user.disabled",
    "user.edited",
    "user.enabled",
    "user.erased",
    "user.impersonated",
    "user.impersonation_ended",
    "user.manager_cleared",
    "user.manager_set",
    "user.password_set",
    "user.purged",
    "user.restored",
    "user.roles_assigned",
    "user.signed_in",
    "user.signed_out",
    "user.token_created",
    "user.token_deleted",
];

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_actor_is_the_system_or_a_user_and_nothing_else() {
        let ann = Actor::User(UserId(Uuid::from_u128(7)));
        for actor in [Actor::System, ann] {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        for other in ["", "System", "nobody", "user", "user:", "user:ann", "system:", "job:7"] {
            assert!(other.parse::<Actor>().is_err(), "{other}");
        }
    }

    #[test]
    fn only_kinds_and_schemas_that_are_known_are_readable() {
        for kind in KINDS {
            assert!(readable(kind, 1).is_ok(), "{kind}");
            let newer = readable(kind, Upcasters::OURS.current(kind) + 1);
            assert!(matches!(newer, Err(Undecodable::Schema { .. })), "{kind}");
        }
        assert!(matches!(readable("user.forgotten", 1), Err(Undecodable::Kind(_))));
        assert!(matches!(readable("user", 1), Err(Undecodable::Kind(_))));
    }
}
