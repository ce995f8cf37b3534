//! Usage: readings of meters, each a fact of its own (billing.md, section 4).

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decider::Decider;
use crate::{MeterKey, Refusal, SubscriptionId};

/// Longest name of what is counted once, in characters.
pub const UNIQUE_MAX_CHARS: usize = 200;

/// What a service counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// What the readings of a period come to.
    pub aggregation: Aggregation,
    /// Names it within its service.
    pub key: MeterKey,
    /// As people read it.
    pub name: String,
    /// In which unit it counts, as people read it.
    pub unit: String,
}

/// What the readings of a period come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aggregation {
    /// All of them together; never less than nothing.
    #[default]
    Sum,
    /// The largest.
    Max,
    /// The last.
    Last,
    /// How many different things were seen.
    Unique,
}

/// A reading of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeterReading {
    /// Which meter.
    pub meter: MeterKey,
    /// How much.
    pub quantity: Decimal,
    /// Whose usage it is.
    pub subscription: SubscriptionId,
    /// What was seen, where different things are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
}

/// A wish about usage.
#[derive(Clone, Debug)]
pub enum UsageCommand {
    /// Record a reading.
    Record(MeterReading),
}

/// A fact about usage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UsageEvent {
    /// A meter was read.
    #[serde(rename = "usage.recorded")]
    Recorded(MeterReading),
}

/// One reading: a stream of its own, so that recording costs the same whatever was recorded before.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    is_recorded: bool,
}

impl Decider for Usage {
    const CATEGORY: &'static str = "usage";
    type Command = UsageCommand;
    type Event = UsageEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        let UsageCommand::Record(reading) = command;
        Ok(if self.is_recorded { vec![] } else { vec![UsageEvent::Recorded(reading)] })
    }

    fn evolve(self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            UsageEvent::Recorded(_) => Self { is_recorded: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::given;

    #[test]
    fn a_reading_is_recorded_once() {
        let reading = MeterReading {
            meter: MeterKey::parse("calls").unwrap(),
            quantity: Decimal::new(125, 1),
            subscription: SubscriptionId(Uuid::from_u128(5)),
            unique: None,
        };
        let recorded = UsageEvent::Recorded(reading.clone());
        let record = || UsageCommand::Record(reading.clone());
        given::<Usage>([]).when(1, record()).then([recorded.clone()]);
        given::<Usage>([(1, recorded)]).when(2, record()).then_nothing();
    }
}
