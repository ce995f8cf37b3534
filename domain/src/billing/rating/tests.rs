use uuid::Uuid;

use super::super::{
    CalendarRule, Change, Fact, Overridden, Override, PriceOverride, PriceRow, QuarantineReason,
    Setting, Values,
};
use super::*;
use crate::decider::testing::november;
use crate::money::Currency;

fn plan(key: &str) -> PlanKey {
    PlanKey::parse(key).unwrap()
}

fn date(day: u32) -> NaiveDate {
    november(day).date_naive()
}

/// The first instant of December.
fn december() -> DateTime<Utc> {
    november(30) + chrono::TimeDelta::days(1)
}

/// Something before November.
fn october() -> DateTime<Utc> {
    november(1) - chrono::TimeDelta::days(10)
}

fn fact(position: u64, effective_at: DateTime<Utc>, change: Change) -> Fact {
    let (actor, reason) = (format!("Ann {position}"), Some(format!("because {position}")));
    Fact {
        actor,
        change,
        date: None,
        effective_at,
        position,
        reason,
        request: None,
        values: Values::new(),
    }
}

fn provisioned(key: &str, quantity: u32) -> Change {
    Change::Provisioned { plan: plan(key), quantity }
}

fn changed(key: &str, quantity: u32) -> Change {
    Change::Changed { plan: plan(key), quantity }
}

fn override_of(position: u64, from: DateTime<Utc>, overridden: Overridden) -> Override {
    Override {
        actor: format!("Bob {position}"),
        depth: 3,
        from,
        overridden,
        plan: None,
        position,
        reason: Some(format!("because {position}")),
    }
}

fn price(minor: i64) -> Overridden {
    Overridden::Price(Setting::Set { to: None, value: PriceOverride::Amount(minor) })
}

fn quota(setting: Setting<String>) -> Overridden {
    let key = PropertyKey::parse("Quota").unwrap();
    Overridden::Property { hidden: false, key, locked: false, setting }
}

fn to(value: &str) -> Setting<String> {
    Setting::Set { to: None, value: value.to_owned() }
}

/// `a` costs 30.00 (event 1), `b` 60.00 (event 2), and `c` as much as `a` (event 3).
fn rows() -> Vec<PriceRow> {
    let row = |(position, key, minor)| PriceRow { from: None, minor, plan: plan(key), position };
    [(1, "a", 3_000), (2, "b", 6_000), (3, "c", 3_000)].map(row).to_vec()
}

fn november_rated(facts: Vec<Fact>, prices: &Prices) -> Result<Vec<Entry>, Quarantine> {
    let subject = Subject {
        buyer: None,
        customer: OrganizationId(Uuid::from_u128(30)),
        seller: OrganizationId(Uuid::from_u128(1)),
        service: ServiceKey::parse("mailbox").unwrap(),
        subscription: SubscriptionId(Uuid::from_u128(5)),
    };
    let settings = BillingSettings::new(
        Currency::parse("EUR").unwrap(),
        CalendarRule::CalendarMonth,
        chrono_tz::UTC,
    );
    let period = settings.period_containing(date(1));
    rate(&subject, &Timeline::new(facts), prices, &settings, &period)
}

fn rated(facts: impl Into<Vec<Fact>>, overrides: impl Into<Vec<Override>>) -> Vec<Entry> {
    november_rated(
        facts.into(),
        &Prices { overrides: overrides.into(), rows: rows(), ..Prices::default() },
    )
    .unwrap()
}

/// Of each line: what happened, days, cents, counts before and after.
fn shown(entries: &[Entry]) -> Vec<(Action, u32, i64, (u32, u32))> {
    let counts = |entry: &Entry| (entry.count_before, entry.count_after);
    let line = |it: &Entry| (it.action, it.days, it.amount.minor, counts(it));
    entries.iter().map(line).collect()
}

#[test]
fn a_line_says_what_it_follows_from() {
    let entries = rated([fact(10, october(), provisioned("a", 2))], []);
    let [line] = entries.as_slice() else { panic!("one line: {entries:#?}") };
    assert_eq!((line.action, line.days, line.amount.minor), (Action::Carried, 30, 6_000));
    assert_eq!((line.count_before, line.count_after, line.quantity), (2, 2, 2));
    assert_eq!((line.service_from, line.service_to), (date(1), december().date_naive()));
    assert_eq!((line.actor.as_str(), line.added_by.as_str()), ("Ann 10", "Ann 10"));
    assert_eq!((line.reason.as_deref(), &line.removed_by), (Some("because 10"), &None));
    assert_eq!(line.effective_at, october());
    assert_eq!(line.causes, [1, 10]);
    assert_eq!(line.price_sources, [PriceSource::Row(1)]);
    assert_eq!(line.price_losers, []);
    assert_eq!(line.exact, Ratio::whole(6_000));
    assert_eq!(line.unit_price.decimal, "30.00");
    assert_eq!((line.period_days, line.period_end), (30, date(30)));
}

#[test]
fn a_removed_line_says_who_added_and_who_removed_it() {
    let facts =
        [fact(10, october(), provisioned("a", 1)), fact(11, november(11), Change::Deprovisioned)];
    let entries = rated(facts, []);
    assert_eq!(shown(&entries), [(Action::Removed, 10, 1_000, (1, 0))]);
    let line = &entries[0];
    assert_eq!((line.actor.as_str(), line.added_by.as_str()), ("Ann 11", "Ann 10"));
    assert_eq!(line.removed_by.as_deref(), Some("Ann 11"));
    assert_eq!((line.effective_at, &line.causes[..]), (november(11), &[1, 10, 11][..]));
}

#[test]
fn what_ends_with_the_month_is_carried_and_what_begins_with_the_next_is_not_there() {
    let ends =
        [fact(10, october(), provisioned("a", 1)), fact(11, december(), Change::Deprovisioned)];
    assert_eq!(shown(&rated(ends, [])), [(Action::Carried, 30, 3_000, (1, 1))]);
    assert_eq!(rated([fact(10, december(), provisioned("a", 1))], []), []);
}

#[test]
fn what_ended_at_the_first_instant_is_removed_in_this_month_for_nothing() {
    let ended_at = |moment| {
        let facts =
            [fact(10, october(), provisioned("a", 1)), fact(11, moment, Change::Deprovisioned)];
        shown(&rated(facts, []))
    };
    assert_eq!(ended_at(november(1)), [(Action::Removed, 0, 0, (1, 0))]);
    assert_eq!(ended_at(november(1) - chrono::TimeDelta::seconds(1)), []);
}

#[test]
fn a_run_within_one_date_pays_it_unless_a_later_one_of_that_date_does() {
    let at = |hour| november(10) + chrono::TimeDelta::hours(hour);
    let on_and_off =
        || vec![fact(10, at(1), provisioned("a", 1)), fact(11, at(2), Change::Deprovisioned)];
    assert_eq!(shown(&rated(on_and_off(), [])), [(Action::Removed, 1, 100, (0, 0))]);
    let then_at = |moment| {
        let again = fact(12, moment, provisioned("a", 1));
        shown(&rated([on_and_off(), vec![again]].concat(), []))
    };
    assert_eq!(
        then_at(at(23)),
        [(Action::Removed, 0, 0, (0, 0)), (Action::Added, 21, 2_100, (0, 1))]
    );
    assert_eq!(
        then_at(at(24)),
        [(Action::Removed, 1, 100, (0, 0)), (Action::Added, 20, 2_000, (0, 1))]
    );
}

#[test]
fn a_change_to_a_plan_at_the_same_price_is_a_segment_of_its_own() {
    let facts = [fact(10, october(), provisioned("a", 1)), fact(11, november(11), changed("c", 1))];
    let entries = rated(facts, []);
    assert_eq!(
        shown(&entries),
        [(Action::Changed, 10, 1_000, (1, 0)), (Action::Changed, 20, 2_000, (0, 1))]
    );
    assert_eq!((entries[0].actor.as_str(), entries[1].actor.as_str()), ("Ann 10", "Ann 11"));
}

#[test]
fn what_is_said_again_is_no_segment() {
    let facts = [fact(10, october(), provisioned("a", 1)), fact(11, november(11), changed("a", 1))];
    let entries = rated(facts, []);
    assert_eq!(shown(&entries), [(Action::Carried, 30, 3_000, (1, 1))]);
    assert_eq!(entries[0].causes, [1, 10]);
}

#[test]
fn a_change_on_the_first_day_is_a_change_and_one_of_the_last_month_is_not() {
    let changed_at = |moment| {
        let facts = [fact(10, october(), provisioned("a", 1)), fact(11, moment, changed("a", 2))];
        shown(&rated(facts, []))
    };
    assert_eq!(changed_at(november(1)), [(Action::Changed, 30, 6_000, (1, 2))]);
    let before = november(1) - chrono::TimeDelta::seconds(1);
    assert_eq!(changed_at(before), [(Action::Carried, 30, 6_000, (2, 2))]);
}

#[test]
fn a_new_price_is_shown_with_who_made_it() {
    let held = [fact(10, october(), provisioned("a", 1))];
    let entries = rated(held.clone(), [override_of(20, november(11), price(1_500))]);
    assert_eq!(
        shown(&entries),
        [(Action::Changed, 10, 1_000, (0, 0)), (Action::Changed, 20, 1_000, (1, 1))]
    );
    assert_eq!(entries[1].actor, "Bob 20");
    assert_eq!(entries[1].reason.as_deref(), Some("because 20"));
    assert_eq!(entries[1].effective_at, november(11));
    assert_eq!(entries[1].causes, [10, 20]);
    assert_eq!(entries[1].price_losers, [PriceSource::Row(1)]);

    // From the first day on: one segment, and yet a change.
    let entries = rated(held.clone(), [override_of(20, november(1), price(1_500))]);
    assert_eq!(shown(&entries), [(Action::Changed, 30, 1_500, (1, 1))]);
    assert_eq!(entries[0].actor, "Bob 20");
    // An override that was there before, or changes nothing, is none.
    for nothing in
        [override_of(20, october(), price(1_500)), override_of(20, november(1), price(3_000))]
    {
        let entries = rated(held.clone(), [nothing]);
        assert_eq!(entries[0].action, Action::Carried);
        assert_eq!(entries[0].actor, "Ann 10");
    }
}

#[test]
fn a_new_price_of_a_new_plan_is_due_to_who_changed_the_plan() {
    let facts = [fact(10, october(), provisioned("a", 1)), fact(11, november(11), changed("b", 1))];
    let entries = rated(facts, [override_of(20, november(11), price(1_500))]);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].actor, "Ann 11");
}

#[test]
fn a_new_price_without_an_override_is_due_to_who_provisioned() {
    let mut prices = Prices { rows: rows(), ..Prices::default() };
    prices.rows.push(PriceRow {
        from: Some(november(11)),
        minor: 6_000,
        plan: plan("a"),
        position: 4,
    });
    let entries = november_rated(vec![fact(10, october(), provisioned("a", 1))], &prices).unwrap();
    assert_eq!(
        shown(&entries),
        [(Action::Changed, 10, 1_000, (0, 0)), (Action::Changed, 20, 4_000, (1, 1))]
    );
    assert_eq!(entries[1].actor, "Ann 10");
    assert_eq!(entries[1].causes, [4, 10]);
}

#[test]
fn what_was_held_on_the_last_day_before_is_shown_though_nothing_of_it_is_charged() {
    let facts = [fact(10, october(), provisioned("a", 2)), fact(11, november(1), changed("b", 1))];
    let entries = rated(facts, []);
    assert_eq!(
        shown(&entries),
        [(Action::Changed, 0, 0, (2, 0)), (Action::Changed, 30, 6_000, (0, 1))]
    );
    assert_eq!((&entries[0].plan, &entries[1].plan), (&plan("a"), &plan("b")));
    assert_eq!((entries[0].service_from, entries[0].service_to), (date(1), date(1)));
    assert_eq!(entries[0].actor, "Ann 11");
}

#[test]
fn counts_are_on_the_last_line_of_their_plan() {
    let facts = [
        fact(10, october(), provisioned("a", 2)),
        fact(11, november(6), changed("b", 1)),
        fact(12, november(11), changed("a", 3)),
    ];
    assert_eq!(
        shown(&rated(facts, [])),
        [
            (Action::Changed, 5, 1_000, (0, 0)),
            (Action::Changed, 5, 1_000, (0, 0)),
            (Action::Changed, 20, 6_000, (2, 3)),
        ]
    );
}

#[test]
fn an_overridden_property_is_a_line_of_nothing_while_the_slot_is_held() {
    let facts =
        [fact(10, november(5), provisioned("a", 1)), fact(11, november(20), Change::Deprovisioned)];
    let other_plan =
        Override { plan: Some(plan("b")), ..override_of(24, november(10), quota(to("5 GB"))) };
    let overrides = [
        override_of(20, november(4), quota(to("1 GB"))),
        override_of(21, november(5), quota(to("2 GB"))),
        override_of(22, november(10), quota(Setting::Cleared)),
        override_of(23, november(20), quota(to("4 GB"))),
        other_plan,
        override_of(25, december(), quota(to("6 GB"))),
        override_of(26, october(), quota(to("7 GB"))),
    ];
    let entries = rated(facts, overrides);
    let changes: Vec<_> = entries
        .iter()
        .filter_map(|line| Some((line.property_change.as_ref()?, line)))
        .map(|(change, line)| (line.service_from, change.value.as_deref(), line.actor.as_str()))
        .collect();
    // The one of the fifth was cleared by a later one, but only from the tenth on.
    assert_eq!(changes, [(date(5), Some("2 GB"), "Bob 21"), (date(10), None, "Bob 22")]);
    let line = entries.iter().find(|line| line.property_change.is_some()).unwrap();
    assert_eq!((line.action, line.days, line.amount.minor), (Action::Changed, 0, 0));
    assert_eq!((&line.price_sources[..], line.unit_price.decimal.as_str()), (&[][..], "0.00"));
    assert_eq!(line.causes, [10, 21]);
}

#[test]
fn a_hidden_property_is_on_no_bill() {
    let key = PropertyKey::parse("Server").unwrap();
    let hidden =
        |setting| Overridden::Property { hidden: true, key: key.clone(), locked: false, setting };
    let held = [fact(10, october(), provisioned("a", 1))];
    let overrides = [
        override_of(20, november(10), hidden(to("https://a.test"))),
        override_of(21, november(12), hidden(Setting::Cleared)),
    ];
    let entries = rated(held, overrides);
    assert!(entries.iter().all(|line| line.property_change.is_none()), "{entries:?}");
    assert_eq!(entries.len(), 1);
}

#[test]
fn a_property_set_and_cleared_on_one_day_is_shown_as_cleared() {
    let held = [fact(10, october(), provisioned("a", 1))];
    let overrides = [
        override_of(20, november(10), quota(to("1 GB"))),
        override_of(21, november(10), quota(Setting::Cleared)),
    ];
    let entries = rated(held, overrides);
    let changes: Vec<_> = entries.iter().filter_map(|line| line.property_change.as_ref()).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].value, None);
}

#[test]
fn the_same_facts_have_the_same_id_and_other_facts_another() {
    let id = |facts: Vec<Fact>| rated(facts, [])[0].entry_id.clone();
    let base = || fact(10, october(), provisioned("a", 1));
    let same = id(vec![base()]);
    assert_eq!(same.len(), 64);
    assert!(same.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    assert_eq!(id(vec![Fact { actor: "Anne".to_owned(), reason: None, ..base() }]), same);
    for other in [
        Fact { position: 11, ..base() },
        fact(10, october(), provisioned("a", 2)),
        fact(10, october(), provisioned("c", 1)),
        fact(10, november(2), provisioned("a", 1)),
    ] {
        assert_ne!(id(vec![other.clone()]), same, "{other:?}");
    }
}

#[test]
fn an_id_never_changes() {
    // Whoever has been shown an entry knows it by its id, whatever becomes of this program.
    let entries = rated([fact(10, october(), provisioned("a", 2))], []);
    assert_eq!(
        entries[0].entry_id,
        "87151d2962c65c58fe535fa45f262ef5a548d2f981fe7f19a4a20e0042042250"
    );
}

#[test]
fn what_has_no_price_or_one_too_large_is_quarantined() {
    let prices = Prices { rows: rows(), ..Prices::default() };
    let refused =
        november_rated(vec![fact(10, november(7), provisioned("d", 1))], &prices).unwrap_err();
    assert_eq!((refused.date, refused.plan), (date(7), plan("d")));
    assert_eq!(refused.reason, QuarantineReason::NoPrice);
    let mut prices = prices;
    prices.rows[0].minor = i64::MAX;
    let held = vec![fact(10, november(7), provisioned("a", 1_000))];
    let refused = november_rated(held, &prices).unwrap_err();
    assert_eq!((refused.date, refused.reason), (date(7), QuarantineReason::TooLarge));
}
