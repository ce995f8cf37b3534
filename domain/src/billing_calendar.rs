//! A seller's billing calendar: which periods there are, in which zone and currency.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::billing::BillingSettings;
use crate::decider::Decider;

/// A wish about a seller's calendar.
#[derive(Clone, Debug)]
pub enum BillingCalendarCommand {
    /// Bill by these settings.
    Set(BillingSettings),
}

/// A fact about a seller's calendar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BillingCalendarEvent {
    /// From now on the seller bills by these settings.
    #[serde(rename = "billing_calendar.set")]
    Set {
        /// Rule, zone and currency.
        settings: BillingSettings,
    },
}

/// A seller's calendar as the stream tells.
#[derive(Clone, Debug, Default)]
pub struct BillingCalendar {
    /// None: the seller bills as the one above.
    pub settings: Option<BillingSettings>,
}

impl Decider for BillingCalendar {
    const CATEGORY: &'static str = "billing_calendar";
    type Command = BillingCalendarCommand;
    type Event = BillingCalendarEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        match (&self.settings, command) {
            (Some(old), BillingCalendarCommand::Set(new)) if *old == new => Ok(vec![]),
            (Some(_), BillingCalendarCommand::Set(_)) => Err(Refusal::conflict(
                "calendar_is_set",
                "This seller's calendar, zone and currency are set and have been billed by.",
            )),
            (None, BillingCalendarCommand::Set(settings)) => {
                Ok(vec![BillingCalendarEvent::Set { settings }])
            }
        }
    }

    fn evolve(mut self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            BillingCalendarEvent::Set { settings } => self.settings = Some(settings.clone()),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::CalendarRule;
    use crate::decider::testing::given;
    use crate::money::Currency;

    fn settings(currency: &str) -> BillingSettings {
        BillingSettings::new(
            Currency::parse(currency).unwrap(),
            CalendarRule::CalendarMonth,
            chrono_tz::UTC,
        )
    }

    #[test]
    fn a_calendar_is_set_once() {
        let set = (1, BillingCalendarEvent::Set { settings: settings("EUR") });
        given::<BillingCalendar>([])
            .when(1, BillingCalendarCommand::Set(settings("EUR")))
            .then([set.1.clone()]);
        given::<BillingCalendar>([set.clone()])
            .when(2, BillingCalendarCommand::Set(settings("EUR")))
            .then_nothing();
        given::<BillingCalendar>([set])
            .when(2, BillingCalendarCommand::Set(settings("USD")))
            .then_refused("calendar_is_set");
    }
}
