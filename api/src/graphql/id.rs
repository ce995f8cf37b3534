//! Global ids: every thing's id says what it is (Relay).

use async_graphql::ID;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate};
use domain::{CommandId, OrganizationId, ServiceKey, SubscriptionId, UserId};

use crate::travel::Then;

/// What an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GlobalId {
    /// An organisation.
    Organization(OrganizationId),
    /// A user.
    User(UserId),
    /// A service.
    Service(ServiceKey),
    /// A subscription.
    Subscription(SubscriptionId),
    /// A request.
    Request(CommandId),
    /// An override, by the position of its event.
    Override(u64),
    /// An event, by its position.
    Event(u64),
    /// A billing period.
    BillingPeriod {
        /// Its last date.
        end: NaiveDate,
        /// The number of the organisation whose bills it is about, and of all below.
        number: u32,
        /// Whether it is about what that one buys.
        is_bought: bool,
        /// As of when.
        then: Then,
    },
}

impl GlobalId {
    /// As callers see it: opaque.
    pub(crate) fn encode(&self) -> ID {
        let text = match self {
            Self::Organization(id) => format!("Organization:{id}"),
            Self::User(id) => format!("User:{id}"),
            Self::Service(key) => format!("Service:{key}"),
            Self::Subscription(id) => format!("Subscription:{id}"),
            Self::Request(id) => format!("Request:{id}"),
            Self::Override(position) => format!("Override:{position}"),
            Self::Event(position) => format!("Event:{position}"),
            Self::BillingPeriod { end, number, is_bought, then } => {
                let bought = if *is_bought { "b" } else { "" };
                let known = then.known_at.map(|position| position.to_string()).unwrap_or_default();
                let then = match then.as_of {
                    Some(as_of) => format!(",{known},{}", as_of.timestamp_micros()),
                    None if known.is_empty() => known,
                    None => format!(",{known}"),
                };
                format!("BillingPeriod:{end},{bought}{number}{then}")
            }
        };
        ID(BASE64_URL_SAFE_NO_PAD.encode(text))
    }

    /// What an id that we have given names.
    pub(crate) fn decode(id: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let (kind, key) = text.split_once(':')?;
        Some(match kind {
            "Organization" => Self::Organization(key.parse().ok()?),
            "User" => Self::User(key.parse().ok()?),
            "Service" => Self::Service(ServiceKey::parse(key)?),
            "Subscription" => Self::Subscription(key.parse().ok()?),
            "Request" => Self::Request(key.parse().ok()?),
            "Override" => Self::Override(key.parse().ok()?),
            "Event" => Self::Event(key.parse().ok()?),
            "BillingPeriod" => {
                let mut parts = key.splitn(4, ',');
                let end = parts.next()?.parse().ok()?;
                let whose = parts.next()?;
                let bought = whose.strip_prefix('b');
                let (known_at, as_of) = (parts.next(), parts.next());
                let known_at = known_at.filter(|known| as_of.is_none() || !known.is_empty());
                let moment = |micros: &str| DateTime::from_timestamp_micros(micros.parse().ok()?);
                let as_of = match as_of {
                    None => None,
                    Some(micros) => Some(moment(micros)?),
                };
                Self::BillingPeriod {
                    end,
                    number: bought.unwrap_or(whose).parse().ok()?,
                    is_bought: bought.is_some(),
                    then: Then { as_of, known_at: known_at.map(str::parse).transpose().ok()? },
                }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_id_names_what_it_was_made_of_and_nothing_else() {
        let (uuid, end) = (Uuid::from_u128(7), "2019-11-30".parse().unwrap());
        let then = |known_at, as_of| Then { as_of, known_at };
        let moment = DateTime::from_timestamp_micros(-5);
        for id in [
            GlobalId::Organization(OrganizationId(uuid)),
            GlobalId::User(UserId(uuid)),
            GlobalId::Service(ServiceKey::parse("crm").unwrap()),
            GlobalId::Subscription(SubscriptionId(uuid)),
            GlobalId::Request(CommandId(uuid)),
            GlobalId::Override(12),
            GlobalId::Event(13),
            GlobalId::BillingPeriod { end, number: 1, is_bought: false, then: then(None, None) },
            GlobalId::BillingPeriod {
                end,
                number: 30,
                is_bought: true,
                then: then(Some(14), None),
            },
            GlobalId::BillingPeriod { end, number: 30, is_bought: true, then: then(None, moment) },
            GlobalId::BillingPeriod {
                end,
                number: 2,
                is_bought: false,
                then: then(Some(1), moment),
            },
        ] {
            assert_eq!(GlobalId::decode(&id.encode()), Some(id));
        }
        for bad in ["", "x", "VXNlcjo", "VXNlcjp4", "\u{0}", "T3RoZXI6MQ"] {
            assert_eq!(GlobalId::decode(bad), None, "{bad}");
        }
    }
}
