//! The calendar: which period a date lies in, and when a local date begins (billing.md, section 3).

use chrono::{
    DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc,
};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};

use crate::money::Currency;
use crate::{Bug, planted};

/// How a seller bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillingSettings {
    /// What every amount of this seller is in.
    pub currency: Currency,
    /// Which periods there are.
    pub rule: CalendarRule,
    /// Where the seller's days begin; stored as its IANA name.
    pub zone: Tz,
}

/// The rule that periods are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalendarRule {
    /// Each month of the calendar.
    CalendarMonth,
}

/// The local dates that are billed together, named by the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    /// Its last date, and its name.
    pub end: NaiveDate,
    /// Its first date.
    pub start: NaiveDate,
}

impl CalendarRule {
    /// The period that `date` lies in.
    #[must_use]
    pub fn period_containing(self, date: NaiveDate) -> Period {
        let on = |day| date.with_day(day).expect("every month has its first and its last day");
        match self {
            Self::CalendarMonth => {
                Period { end: on(date.num_days_in_month().into()), start: on(1) }
            }
        }
    }

    /// The period named `end`; none if no period ends on that date.
    #[must_use]
    pub fn period_ending(self, end: NaiveDate) -> Option<Period> {
        Some(self.period_containing(end)).filter(|period| period.end == end)
    }

    /// The period after `period`; at the end of time, `period` itself.
    #[must_use]
    pub fn next(self, period: Period) -> Period {
        self.period_containing(following(period.end))
    }

    /// The period before `period`; at the beginning of time, `period` itself.
    #[must_use]
    pub fn previous(self, period: Period) -> Period {
        self.period_containing(period.start.pred_opt().unwrap_or(period.start))
    }
}

impl Period {
    /// How many dates the period has. A date that a zone skipped counts (billing.md, section 4,
    /// days 8).
    #[must_use]
    pub fn days(&self) -> u32 {
        if planted(Bug::MonthLength) {
            return 30;
        }
        days_between(self.start, self.after())
    }

    /// The period's name: its last date, such as `2019-10-31`.
    #[must_use]
    pub fn label(&self) -> String {
        self.end.to_string()
    }

    /// Whether `date` lies in the period.
    #[must_use]
    pub fn contains(&self, date: NaiveDate) -> bool {
        (self.start..=self.end).contains(&date)
    }

    /// The first date after the period.
    #[must_use]
    pub fn after(&self) -> NaiveDate {
        following(self.end)
    }
}

impl BillingSettings {
    /// The seller's date at `instant`: the latest date that has begun. (A clock that is put back
    /// over midnight does not bring yesterday back.)
    #[must_use]
    pub fn local_date(&self, instant: DateTime<Utc>) -> NaiveDate {
        let utc = instant.naive_utc();
        let offset = self.zone.offset_from_utc_datetime(&utc).fix();
        let date = utc.checked_add_offset(offset).unwrap_or(utc).date();
        let tomorrow = following(date);
        if self.midnight(tomorrow) <= instant { tomorrow } else { date }
    }

    /// The first instant of the local `date`, also where the zone's clocks skip midnight. Of a
    /// date that the zone skipped, the first instant of the date after it.
    #[must_use]
    pub fn midnight(&self, date: NaiveDate) -> DateTime<Utc> {
        let local = NaiveDateTime::new(date, NaiveTime::MIN);
        self.zone
            .from_local_datetime(&local)
            .earliest()
            .or_else(|| GapInfo::new(&local, &self.zone)?.end)
            .map_or(local.and_utc(), |begin| begin.to_utc())
    }

    /// The last instant of the local `date`, to the microsecond.
    #[must_use]
    pub fn last_moment(&self, date: NaiveDate) -> DateTime<Utc> {
        self.midnight(following(date)) - TimeDelta::microseconds(1)
    }

    /// The period as instants: its first, and the first after it.
    #[must_use]
    pub fn instants(&self, period: &Period) -> (DateTime<Utc>, DateTime<Utc>) {
        (self.midnight(period.start), self.midnight(period.after()))
    }
}

/// The next date; the last date there is follows itself.
pub(super) fn following(date: NaiveDate) -> NaiveDate {
    date.succ_opt().unwrap_or(date)
}

/// How many dates lie in `[from, to)`; none where `to` is earlier.
pub(super) fn days_between(from: NaiveDate, to: NaiveDate) -> u32 {
    u32::try_from(to.signed_duration_since(from).num_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn in_zone(zone: &str) -> BillingSettings {
        BillingSettings {
            currency: Currency::parse("EUR").unwrap(),
            rule: CalendarRule::CalendarMonth,
            zone: zone.parse().unwrap(),
        }
    }

    #[test]
    fn months_follow_each_other_without_drift() {
        let rule = CalendarRule::CalendarMonth;
        let january = rule.period_containing(date("2020-01-15"));
        assert_eq!((january.label().as_str(), january.days()), ("2020-01-31", 31));
        let february = rule.next(january);
        assert_eq!((february.label().as_str(), february.days()), ("2020-02-29", 29));
        assert_eq!(rule.next(february).label(), "2020-03-31");
        assert_eq!(rule.previous(february), january);
        assert_eq!(rule.period_ending(date("2019-02-28")).map(|p| p.days()), Some(28));
        assert_eq!(rule.period_ending(date("2020-02-28")), None);
    }

    #[test]
    fn a_period_has_its_first_and_its_last_date_and_no_other() {
        let february = CalendarRule::CalendarMonth.period_containing(date("2020-02-10"));
        for (day, within) in [
            ("2020-01-31", false),
            ("2020-02-01", true),
            ("2020-02-29", true),
            ("2020-03-01", false),
        ] {
            assert_eq!(february.contains(date(day)), within, "{day}");
        }
        assert_eq!(february.after(), date("2020-03-01"));
    }

    #[test]
    fn a_period_begins_and_ends_at_the_seller_s_midnight() {
        let auckland = in_zone("Pacific/Auckland");
        let february = auckland.rule.period_containing(date("2020-02-10"));
        assert_eq!(
            auckland.instants(&february),
            (instant("2020-01-31T11:00:00Z"), instant("2020-02-29T11:00:00Z"))
        );
    }

    #[test]
    fn dates_are_counted_from_the_first_to_before_the_last() {
        let days = |from: &str, to: &str| days_between(date(from), date(to));
        assert_eq!(days("2020-02-01", "2020-03-01"), 29);
        assert_eq!(days("2020-02-01", "2020-02-01"), 0);
        assert_eq!(days("2020-03-01", "2020-02-01"), 0);
    }

    #[test]
    fn a_day_begins_at_the_zone_s_midnight() {
        let auckland = in_zone("Pacific/Auckland");
        assert_eq!(auckland.local_date(instant("2020-01-31T11:30:00Z")), date("2020-02-01"));
        assert_eq!(auckland.midnight(date("2020-02-01")), instant("2020-01-31T11:00:00Z"));
        let hours = |day: &str| {
            let begin = auckland.midnight(date(day));
            (auckland.midnight(following(date(day))) - begin).num_hours()
        };
        assert_eq!((hours("2020-04-05"), hours("2020-09-27")), (25, 23));
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_with_its_first_instant() {
        let sao_paulo = in_zone("America/Sao_Paulo");
        assert_eq!(sao_paulo.midnight(date("2018-11-04")), instant("2018-11-04T03:00:00Z"));
        assert_eq!(sao_paulo.local_date(instant("2018-11-04T02:59:59Z")), date("2018-11-03"));
        assert_eq!(sao_paulo.local_date(instant("2018-11-04T03:00:00Z")), date("2018-11-04"));
    }

    #[test]
    fn a_skipped_day_has_no_instant_and_still_counts() {
        let apia = in_zone("Pacific/Apia");
        assert_eq!(apia.midnight(date("2011-12-30")), apia.midnight(date("2011-12-31")));
        let begin = apia.midnight(date("2011-12-31"));
        assert_eq!(apia.local_date(begin), date("2011-12-31"));
        assert_eq!(apia.local_date(begin - chrono::TimeDelta::seconds(1)), date("2011-12-29"));
        assert_eq!(apia.rule.period_containing(date("2011-12-01")).days(), 31);
    }

    #[test]
    fn a_day_that_has_begun_is_not_undone_by_the_clock() {
        // At 00:01 on 7 November 2010 the clocks went back to 23:01.
        let st_johns = in_zone("America/St_Johns");
        let begin = st_johns.midnight(date("2010-11-07"));
        assert_eq!(begin, instant("2010-11-07T02:30:00Z"));
        for minutes in [0, 1, 30, 61] {
            let later = begin + chrono::TimeDelta::minutes(minutes);
            assert_eq!(st_johns.local_date(later), date("2010-11-07"), "{minutes}");
        }
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        for zone in ["Pacific/Auckland", "America/Sao_Paulo", "UTC"] {
            let settings = in_zone(zone);
            for extreme in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                let date = settings.local_date(extreme);
                let period = settings.rule.period_containing(date);
                let _ = settings.instants(&period);
                let _ = (settings.rule.next(period), settings.rule.previous(period));
            }
        }
    }

    #[test]
    fn settings_are_stored_by_name_and_in_order() {
        let stored = serde_json::to_string(&in_zone("Asia/Kolkata")).unwrap();
        assert_eq!(stored, r#"{"currency":"EUR","rule":"calendar_month","zone":"Asia/Kolkata"}"#);
        assert_eq!(
            serde_json::from_str::<BillingSettings>(&stored).unwrap(),
            in_zone("Asia/Kolkata")
        );
    }
}
