//! What part of a period's price the days cost on which a plan was held (billing.md, section 4, Days 7).

use std::ops::Range;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::Period;
use super::calendar::days_between;
use crate::money::Ratio;

/// How a plan's days are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayPolicy {
    /// By days: those held, of those that the period has.
    #[default]
    Daily,
    /// By days of months that all have 30: day 31 weighs nothing, the last day of a shorter one the rest.
    #[serde(rename = "fixed_30")]
    Fixed30,
    /// One full price for any touch, that of the last state.
    Full,
    /// By days, and the first partial period is free.
    NextPeriod,
    /// One full price for what is held when the period ends, and nothing for what is not.
    Snapshot,
    /// Nothing: it is only counted.
    None,
}

/// What the days cost on which what is held rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Suspended {
    /// As if it did not.
    #[default]
    Billed,
    /// Nothing.
    Free,
}

impl Suspended {
    /// Whether it is what holds where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Days that are charged, of those that a full period has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub days: u32,
    pub of: u32,
    /// What part of the price they cost; none where a number is beyond what can be held.
    pub part: Option<Ratio>,
}

/// What decides about a share beside the dates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// Whether it began in the period, and not with it.
    pub is_first_partial: bool,
    /// Whether it is held when the period ends.
    pub is_held_at_end: bool,
    /// Whether it is the slot's last in the period that is charged by [`DayPolicy::Full`].
    pub is_last: bool,
}

/// Days of a month that all months have ([`DayPolicy::Fixed30`]).
const DAYS_OF_EACH: u32 = 30;

impl DayPolicy {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Fixed30 => "fixed_30",
            Self::Full => "full",
            Self::NextPeriod => "next_period",
            Self::Snapshot => "snapshot",
            Self::None => "none",
        }
    }

    /// Whether it is what holds where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What the dates `[from, to)` of a period cost.
    pub(super) fn share(self, dates: &Range<NaiveDate>, period: &Period, it: Stretch) -> Share {
        let days = days_between(dates.start, dates.end);
        let of = period.full_days();
        let by_days =
            |days: u32, of: u32| Share { days, of, part: Ratio::new(days.into(), of.into()) };
        let all_or_nothing = |all: bool| Share {
            days,
            of,
            part: Some(if all { Ratio::whole(1) } else { Ratio::ZERO }),
        };
        match self {
            Self::None => all_or_nothing(false),
            // A transition from one calendar to another goes by days, whatever else does (section 3).
            _ if period.nominal_days.is_some() => by_days(days, of),
            Self::Daily => by_days(days, of),
            Self::Fixed30 => {
                let until = |date| {
                    let days = days_between(period.start, date);
                    if days >= period.days() { DAYS_OF_EACH } else { days.min(DAYS_OF_EACH) }
                };
                by_days(until(dates.end) - until(dates.start), DAYS_OF_EACH)
            }
            Self::Full => all_or_nothing(it.is_last && days > 0),
            Self::NextPeriod if it.is_first_partial => all_or_nothing(false),
            Self::NextPeriod => by_days(days, of),
            Self::Snapshot => all_or_nothing(it.is_held_at_end && dates.contains(&period.end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CalendarRule;
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// Of the dates of a month: days charged, of how many, and the part of the price in 1/1000.
    fn share(policy: DayPolicy, from: &str, to: &str, it: Stretch) -> (u32, u32, i64) {
        let period = CalendarRule::CalendarMonth.period_containing(date(from));
        let Share { days, of, part } = policy.share(&(date(from)..date(to)), &period, it);
        let part = part.unwrap().checked_mul(Ratio::whole(1_000)).unwrap();
        (days, of, part.round_half_away().unwrap())
    }

    const LAST: Stretch = Stretch { is_first_partial: false, is_held_at_end: true, is_last: true };

    #[test]
    fn a_full_month_is_a_full_price_by_every_policy_that_charges() {
        for (from, to, days) in [
            ("2020-01-01", "2020-02-01", 31),
            ("2020-02-01", "2020-03-01", 29),
            ("2019-02-01", "2019-03-01", 28),
            ("2020-04-01", "2020-05-01", 30),
        ] {
            for policy in
                [DayPolicy::Daily, DayPolicy::Full, DayPolicy::NextPeriod, DayPolicy::Snapshot]
            {
                assert_eq!(share(policy, from, to, LAST), (days, days, 1_000), "{policy:?}");
            }
            assert_eq!(share(DayPolicy::Fixed30, from, to, LAST), (30, 30, 1_000));
            assert_eq!(share(DayPolicy::None, from, to, LAST).2, 0);
        }
    }

    #[test]
    fn all_months_have_thirty_days() {
        let fixed = |from, to| {
            let (days, of, _) = share(DayPolicy::Fixed30, from, to, LAST);
            assert_eq!(of, 30);
            days
        };
        assert_eq!(fixed("2020-01-01", "2020-01-16"), 15);
        assert_eq!(fixed("2020-01-16", "2020-02-01"), 15, "day 31 weighs nothing");
        assert_eq!(fixed("2020-01-31", "2020-02-01"), 0);
        assert_eq!(fixed("2020-02-29", "2020-03-01"), 2, "the last day weighs the rest");
        assert_eq!(fixed("2019-02-28", "2019-03-01"), 3);
        assert_eq!(fixed("2019-02-01", "2019-02-28"), 27);
        assert_eq!(fixed("2020-04-30", "2020-05-01"), 1);
        assert_eq!(fixed("2020-01-10", "2020-01-10"), 0);
    }

    #[test]
    fn a_transition_goes_by_days_whatever_the_policy() {
        let transition =
            Period { end: date("2020-02-29"), start: date("2020-02-26"), nominal_days: Some(29) };
        let dates = transition.start..transition.after();
        let first = Stretch { is_first_partial: true, is_held_at_end: false, is_last: false };
        for policy in [
            DayPolicy::Daily,
            DayPolicy::Fixed30,
            DayPolicy::Full,
            DayPolicy::NextPeriod,
            DayPolicy::Snapshot,
        ] {
            let Share { days, of, part } = policy.share(&dates, &transition, first);
            assert_eq!((days, of, part), (4, 29, Ratio::new(4, 29)), "{policy:?}");
        }
        let counted = DayPolicy::None.share(&dates, &transition, first);
        assert_eq!(counted.part, Some(Ratio::ZERO));
    }

    #[test]
    fn what_is_all_or_nothing_goes_by_one_stretch_of_the_period() {
        let (from, to) = ("2020-01-10", "2020-01-20");
        let other = Stretch { is_last: false, ..LAST };
        assert_eq!(share(DayPolicy::Full, from, to, LAST), (10, 31, 1_000));
        assert_eq!(share(DayPolicy::Full, from, to, other), (10, 31, 0));
        assert_eq!(share(DayPolicy::Full, from, from, LAST).2, 0, "no day, no touch");
        assert_eq!(share(DayPolicy::Snapshot, from, to, LAST).2, 0, "not on the last day");
        assert_eq!(share(DayPolicy::Snapshot, from, "2020-02-01", LAST).2, 1_000);
        let gone = Stretch { is_held_at_end: false, ..LAST };
        assert_eq!(share(DayPolicy::Snapshot, from, "2020-02-01", gone).2, 0, "gone that evening");
    }

    #[test]
    fn the_first_partial_period_is_free_and_later_ones_go_by_days() {
        let (from, to) = ("2020-01-10", "2020-01-20");
        let first = Stretch { is_first_partial: true, ..LAST };
        assert_eq!(share(DayPolicy::NextPeriod, from, to, first), (10, 31, 0));
        assert_eq!(share(DayPolicy::NextPeriod, from, to, LAST), (10, 31, 323));
    }

    #[test]
    fn a_policy_has_the_name_that_it_is_stored_by() {
        for policy in [
            DayPolicy::Daily,
            DayPolicy::Fixed30,
            DayPolicy::Full,
            DayPolicy::NextPeriod,
            DayPolicy::Snapshot,
            DayPolicy::None,
        ] {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.name());
            assert_eq!(policy.is_default(), policy.name() == "daily");
        }
    }
}
