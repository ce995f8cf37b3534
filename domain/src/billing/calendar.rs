//! The calendar: which period a date lies in, and when a local date begins (billing.md, section 3).

use std::fmt;
use std::str::FromStr;

use chrono::{
    DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone,
    Utc,
};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::money::Currency;
use crate::{Bug, Invalid, planted};

/// How a seller bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillingSettings {
    /// What every amount of this seller is in.
    pub currency: Currency,
    /// Which periods there are.
    pub rule: CalendarRule,
    /// Other rules, each from a date on that begins a period; in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule_changes: Vec<RuleChange>,
    /// Where the seller's days begin; stored as its IANA name.
    pub zone: Tz,
}

/// The rule that periods are computed from; written as `calendar_month`, `fixed_day(25)` or
/// `days_before_month_end(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CalendarRule {
    /// Each month of the calendar.
    CalendarMonth,
    /// Ends on this day of each month, 1 to 31, or on the month's last where it has no such day.
    FixedDay(u8),
    /// Ends so many days before the month's last, 0 to 27.
    DaysBeforeMonthEnd(u8),
}

/// Another rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleChange {
    /// The first date that it is about: one after a period of the rule before.
    pub from: NaiveDate,
    /// The rule from then on.
    pub rule: CalendarRule,
}

/// The local dates that are billed together, named by the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    /// Its last date, and its name.
    pub end: NaiveDate,
    /// Its first date.
    pub start: NaiveDate,
    /// Days of a full period, where it is the transition from one rule to another: those that the period of the
    /// old rule would have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_days: Option<u32>,
}

impl CalendarRule {
    /// The latest day of a month that a period can be told to end on.
    const DAY_MAX: u8 = 31;
    /// So many days before its end every month still has a day.
    const DAYS_BEFORE_END_MAX: u8 = 27;

    /// The period that `date` lies in.
    #[must_use]
    pub fn period_containing(self, date: NaiveDate) -> Period {
        let this = self.end_in_month_of(date);
        let (before, end) = if date <= this {
            (month_before(date), Some(date))
        } else {
            (Some(date), date.checked_add_months(Months::new(1)))
        };
        // At the ends of time there is no other month: the period ends with them.
        let start = before.map_or(NaiveDate::MIN, |month| following(self.end_in_month_of(month)));
        let end = end.map_or(NaiveDate::MAX, |month| self.end_in_month_of(month));
        Period { end, start, nominal_days: None }
    }

    /// The date of its month that a period ends on.
    fn end_in_month_of(self, date: NaiveDate) -> NaiveDate {
        let last = date.num_days_in_month();
        let day = match self {
            Self::CalendarMonth => last,
            Self::FixedDay(day) => day.min(last),
            Self::DaysBeforeMonthEnd(days) => last.saturating_sub(days),
        };
        date.with_day(day.max(1).into()).expect("no month is shorter than its last day")
    }
}

fn month_before(date: NaiveDate) -> Option<NaiveDate> {
    date.checked_sub_months(Months::new(1))
}

impl fmt::Display for CalendarRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CalendarMonth => f.write_str("calendar_month"),
            Self::FixedDay(day) => write!(f, "fixed_day({day})"),
            Self::DaysBeforeMonthEnd(days) => write!(f, "days_before_month_end({days})"),
        }
    }
}

impl FromStr for CalendarRule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unknown = || {
            let detail = "Write calendar_month, fixed_day(d) with d from 1 to 31, or \
                          days_before_month_end(n) with n from 0 to 27.";
            Invalid::new("calendar_unknown", detail)
        };
        let (name, number) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            None if text == "calendar_month" => return Ok(Self::CalendarMonth),
            None => return Err(unknown()),
            Some((name, number)) => (name, number),
        };
        let is_plain = number.bytes().all(|digit| digit.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_plain).ok_or_else(unknown)?;
        match name {
            "fixed_day" if (1..=Self::DAY_MAX).contains(&number) => Ok(Self::FixedDay(number)),
            "days_before_month_end" if number <= Self::DAYS_BEFORE_END_MAX => {
                Ok(Self::DaysBeforeMonthEnd(number))
            }
            _ => Err(unknown()),
        }
    }
}

impl Serialize for CalendarRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CalendarRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|Invalid { detail, .. }| de::Error::custom(detail))
    }
}

impl Period {
    /// How many dates the period has. A date that a zone skipped counts (billing.md, section 4,
    /// days 8).
    #[must_use]
    pub fn days(&self) -> u32 {
        days_between(self.start, self.after())
    }

    /// How many days a full price is for.
    #[must_use]
    pub fn full_days(&self) -> u32 {
        if planted(Bug::MonthLength) {
            return 30;
        }
        self.nominal_days.unwrap_or_else(|| self.days())
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
    /// Settings whose rule never changed.
    #[must_use]
    pub fn new(currency: Currency, rule: CalendarRule, zone: Tz) -> Self {
        Self { currency, rule, rule_changes: Vec::new(), zone }
    }

    /// The rule that says which period `date` lies in.
    #[must_use]
    pub fn rule_on(&self, date: NaiveDate) -> CalendarRule {
        self.rule_after(self.changes_until(date))
    }

    fn changes_until(&self, date: NaiveDate) -> usize {
        self.rule_changes.partition_point(|change| change.from <= date)
    }

    /// The rule that ended when another one began.
    fn rule_before(&self, from: NaiveDate) -> CalendarRule {
        self.rule_after(self.rule_changes.partition_point(|change| change.from < from))
    }

    /// The rule once so many changes have begun.
    fn rule_after(&self, changes: usize) -> CalendarRule {
        changes.checked_sub(1).map_or(self.rule, |last| self.rule_changes[last].rule)
    }

    /// The period that `date` lies in. Where a rule begins in the middle of one of its periods, the rest of that is
    /// a transition period.
    #[must_use]
    pub fn period_containing(&self, date: NaiveDate) -> Period {
        let begun = self.changes_until(date);
        let mut period = self.rule_after(begun).period_containing(date);
        if let Some(next) = self.rule_changes.get(begun) {
            period.end = period.end.min(next.from.pred_opt().unwrap_or(next.from));
        }
        if let Some(last) = begun.checked_sub(1)
            && let RuleChange { from, .. } = self.rule_changes[last]
            && period.start < from
        {
            let old = self.rule_before(from).period_containing(from);
            period = Period { start: from, nominal_days: Some(old.days()), ..period };
        }
        period
    }

    /// The period named `end`; none if no period ends on that date.
    #[must_use]
    pub fn period_ending(&self, end: NaiveDate) -> Option<Period> {
        Some(self.period_containing(end)).filter(|period| period.end == end)
    }

    /// The period after `period`; at the end of time, `period` itself.
    #[must_use]
    pub fn next(&self, period: Period) -> Period {
        self.period_containing(following(period.end))
    }

    /// The period before `period`; at the beginning of time, `period` itself.
    #[must_use]
    pub fn previous(&self, period: Period) -> Period {
        self.period_containing(period.start.pred_opt().unwrap_or(period.start))
    }

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
        let euro = Currency::parse("EUR").unwrap();
        BillingSettings::new(euro, CalendarRule::CalendarMonth, zone.parse().unwrap())
    }

    #[test]
    fn months_follow_each_other_without_drift() {
        let rule = in_zone("UTC");
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
    fn a_date_ends_a_microsecond_before_the_next_one_begins() {
        let berlin = in_zone("Europe/Berlin");
        for (day, last) in [
            ("2020-03-28", "2020-03-28T22:59:59.999999Z"),
            ("2020-03-29", "2020-03-29T21:59:59.999999Z"),
        ] {
            assert_eq!(berlin.last_moment(date(day)), instant(last));
        }
    }

    #[test]
    fn a_fixed_day_is_clamped_to_the_month_and_does_not_drift() {
        let ends = |rule: &str| {
            let rule: CalendarRule = rule.parse().unwrap();
            let settings = BillingSettings { rule, ..in_zone("UTC") };
            let first = settings.period_containing(date("2020-01-01"));
            let periods = std::iter::successors(Some(first), |period| Some(settings.next(*period)));
            let ends = periods.take(4).map(|period| period.label()).collect::<Vec<_>>();
            let last = settings.period_ending(ends[3].parse().unwrap()).unwrap();
            assert_eq!(settings.next(settings.previous(last)), last);
            ends.join(" ")
        };
        assert_eq!(ends("fixed_day(31)"), "2020-01-31 2020-02-29 2020-03-31 2020-04-30");
        assert_eq!(ends("fixed_day(30)"), "2020-01-30 2020-02-29 2020-03-30 2020-04-30");
        assert_eq!(ends("fixed_day(1)"), "2020-01-01 2020-02-01 2020-03-01 2020-04-01");
        assert_eq!(ends("calendar_month"), ends("days_before_month_end(0)"));
        assert_eq!(ends("days_before_month_end(3)"), "2020-01-28 2020-02-26 2020-03-28 2020-04-27");
        assert_eq!(
            ends("days_before_month_end(27)"),
            "2020-01-04 2020-02-02 2020-03-04 2020-04-03"
        );
    }

    /// Case 18.
    #[test]
    fn a_period_of_a_fixed_day_begins_after_the_one_before() {
        let period = CalendarRule::FixedDay(25).period_containing(date("2020-02-10"));
        assert_eq!((period.start, period.end), (date("2020-01-26"), date("2020-02-25")));
        assert_eq!((period.days(), period.full_days()), (31, 31));
    }

    /// Case 23.
    #[test]
    fn another_rule_begins_with_a_transition() {
        let change = RuleChange { from: date("2020-02-26"), rule: CalendarRule::CalendarMonth };
        let settings = BillingSettings {
            rule: CalendarRule::FixedDay(25),
            rule_changes: vec![change],
            ..in_zone("UTC")
        };
        let before = settings.period_containing(date("2020-02-25"));
        assert_eq!((before.start, before.end), (date("2020-01-26"), date("2020-02-25")));
        let transition = settings.next(before);
        assert_eq!((transition.start, transition.end), (date("2020-02-26"), date("2020-02-29")));
        assert_eq!((transition.days(), transition.full_days()), (4, 29));
        let march = settings.next(transition);
        assert_eq!(
            (march.start, march.end, march.full_days()),
            (date("2020-03-01"), date("2020-03-31"), 31,)
        );
        assert_eq!(settings.previous(march), transition);
        assert_eq!(settings.previous(transition), before);
        assert_eq!(settings.period_ending(date("2020-02-29")), Some(transition));
        assert_eq!(settings.period_ending(date("2020-01-31")), None);
        // A rule that begins with one of its own periods has none.
        let change = RuleChange { from: date("2020-03-26"), rule: CalendarRule::FixedDay(25) };
        let same = BillingSettings { rule_changes: vec![change], ..settings };
        assert_eq!(same.period_containing(date("2020-04-01")).nominal_days, None);
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in ["calendar_month", "fixed_day(1)", "fixed_day(31)", "days_before_month_end(0)"]
        {
            assert_eq!(text.parse::<CalendarRule>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "CalendarMonth",
            "fixed_day",
            "fixed_day()",
            "fixed_day(0)",
            "fixed_day(32)",
            "fixed_day(+5)",
            "fixed_day(300)",
            "days_before_month_end(28)",
            "fixed_day(1",
            "calendar_month()",
            "monthly(3)",
        ] {
            assert_eq!(
                text.parse::<CalendarRule>().unwrap_err().code,
                "calendar_unknown",
                "{text}"
            );
        }
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
        let february = auckland.period_containing(date("2020-02-10"));
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
        assert_eq!(apia.period_containing(date("2011-12-01")).days(), 31);
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
                let period = settings.period_containing(date);
                let _ = settings.instants(&period);
                let _ = (settings.next(period), settings.previous(period));
                for rule in [CalendarRule::FixedDay(25), CalendarRule::DaysBeforeMonthEnd(27)] {
                    assert!(rule.period_containing(date).contains(date), "{rule}");
                }
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
