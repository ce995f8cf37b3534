//! A seller's billing calendar: which periods there are, in which zone and currency.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::billing::{BillingSettings, RuleChange};
use crate::decider::Decider;

/// A wish about a seller's calendar.
#[derive(Clone, Debug)]
pub enum BillingCalendarCommand {
    /// Bill by these settings.
    Set(BillingSettings),
    /// Bill by these settings instead, as long as nothing is settled by the others.
    Replace(BillingSettings),
    /// Go over to another rule of periods.
    ChangeRule(RuleChange),
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
    /// From a date on, another rule says which periods there are.
    #[serde(rename = "billing_calendar.rule_changed")]
    RuleChanged(RuleChange),
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
            (None, BillingCalendarCommand::ChangeRule(_)) => Err(Refusal::not_found()),
            (Some(settings), BillingCalendarCommand::ChangeRule(change)) => {
                ensure_fits(settings, change)?;
                let is_so = settings.rule_on(change.from) == change.rule;
                Ok(if is_so { vec![] } else { vec![BillingCalendarEvent::RuleChanged(change)] })
            }
            (
                Some(old),
                BillingCalendarCommand::Set(new) | BillingCalendarCommand::Replace(new),
            ) if *old == new => Ok(vec![]),
            (_, BillingCalendarCommand::Replace(settings)) => {
                Ok(vec![BillingCalendarEvent::Set { settings }])
            }
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
            BillingCalendarEvent::RuleChanged(change) => {
                if let Some(settings) = &mut self.settings {
                    settings.rule_changes.push(*change);
                }
            }
        }
        self
    }
}

/// A rule begins where a period does, and after every change that is known already.
fn ensure_fits(settings: &BillingSettings, change: RuleChange) -> Result<(), Refusal> {
    if let Some(last) = settings.rule_changes.last().filter(|last| last.from > change.from) {
        return Err(Refusal::conflict(
            "calendar_changes_later",
            format!(
                "The calendar changes on {} already; give that date, or a later one.",
                last.from
            ),
        ));
    }
    let period = settings.period_containing(change.from);
    if period.start != change.from {
        return Err(Refusal::invalid(
            "/effectiveFrom",
            "not_a_period",
            format!(
                "A calendar begins with a period: on {} or on {}.",
                period.start,
                period.after()
            ),
        ));
    }
    Ok(())
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

    #[test]
    fn settings_are_replaced_by_others() {
        let set = |currency| BillingCalendarEvent::Set { settings: settings(currency) };
        let replace = |currency| BillingCalendarCommand::Replace(settings(currency));
        given::<BillingCalendar>([]).when(1, replace("EUR")).then([set("EUR")]);
        given::<BillingCalendar>([(1, set("EUR"))]).when(2, replace("EUR")).then_nothing();
        given::<BillingCalendar>([(1, set("EUR"))]).when(2, replace("USD")).then([set("USD")]);
    }

    #[test]
    fn another_rule_begins_with_a_period_and_after_all_that_are_known() {
        let set = (1, BillingCalendarEvent::Set { settings: settings("EUR") });
        let change = |from: &str, rule: &str| RuleChange {
            from: from.parse().unwrap(),
            rule: rule.parse().unwrap(),
        };
        let wish = |from, rule| BillingCalendarCommand::ChangeRule(change(from, rule));
        given::<BillingCalendar>([])
            .when(1, wish("2020-02-01", "fixed_day(25)"))
            .then_refused("not_found");
        let calendar = || given::<BillingCalendar>([set.clone()]);
        let changed = BillingCalendarEvent::RuleChanged(change("2020-02-01", "fixed_day(25)"));
        calendar().when(1, wish("2020-02-01", "fixed_day(25)")).then([changed.clone()]);
        calendar().when(1, wish("2020-02-02", "fixed_day(25)")).then_refused("invalid");
        calendar().when(1, wish("2020-02-01", "calendar_month")).then_nothing();
        let both = || given::<BillingCalendar>([set.clone(), (1, changed.clone())]);
        both().when(2, wish("2020-02-01", "fixed_day(25)")).then_nothing();
        both().when(2, wish("2020-01-01", "fixed_day(5)")).then_refused("calendar_changes_later");
        // The transition from 1 to 25 February is a period, too.
        both().when(2, wish("2020-02-20", "fixed_day(5)")).then_refused("invalid");
        both()
            .when(2, wish("2020-02-26", "calendar_month"))
            .then([BillingCalendarEvent::RuleChanged(change("2020-02-26", "calendar_month"))]);
        both()
            .when(2, wish("2020-02-01", "fixed_day(5)"))
            .then([BillingCalendarEvent::RuleChanged(change("2020-02-01", "fixed_day(5)"))]);
    }
}
