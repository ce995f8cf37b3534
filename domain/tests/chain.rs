//! The cases of billing-cases.md about resellers and currencies, and others: a record per case in `chain_cases.json`.
//!
//! In a record the sellers stand in their order, the provider first; `biller` is the one who bills the customer, the last
//! where it is left out. `edges` are what is charged on each, from the provider down; `commissions` what the biller pays to
//! those below it, the nearest first; `margins` what each reseller earns, in his currency.

#![expect(clippy::unwrap_used, reason = "a record that does not fit fails its test")]

use chrono::NaiveDate;
use domain::billing::component::{Charge, Interval, Rate, Timing};
use domain::billing::{
    BillingSettings, BookRow, CalendarRule, Change, ComponentKey, ComponentRow, Entry, Fact, Kind,
    Overridden, Override, Payer, Period, PriceOverride, PriceRow, Prices, Quarantine,
    QuarantineReason, RateRow, Says, SellerPrices, Setting, Sort, Subject, Timeline, Values,
    commissions, exchanged, rate,
};
use domain::money::{Currency, Money};
use domain::{OrganizationId, PlanKey, ServiceKey, SubscriptionId};
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    case: String,
    title: String,
    list: String,
    biller: Option<usize>,
    sellers: Vec<CaseSeller>,
    #[serde(default)]
    rates: Vec<CaseRate>,
    quantity: Option<u32>,
    from: NaiveDate,
    end: NaiveDate,
    edges: Vec<String>,
    #[serde(default)]
    commissions: Vec<String>,
    #[serde(default)]
    margins: Vec<CaseMargin>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseSeller {
    currency: Currency,
    rows: Vec<CaseRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseRow {
    says: Says,
    #[serde(default)]
    buyer: bool,
    #[serde(default)]
    instance: bool,
    #[serde(default)]
    all_services: bool,
    #[serde(default)]
    from_quantity: u32,
    from: Option<NaiveDate>,
}

#[derive(Deserialize)]
struct CaseRate {
    from: Currency,
    to: Currency,
    rate: String,
    since: NaiveDate,
}

#[derive(Deserialize)]
struct CaseMargin {
    cost: String,
    margin: String,
}

fn organization(number: usize) -> OrganizationId {
    OrganizationId(Uuid::from_u128(number as u128))
}

impl Case {
    fn settings(&self, seller: usize) -> BillingSettings {
        let currency = self.sellers[seller].currency;
        BillingSettings::new(currency, CalendarRule::CalendarMonth, chrono_tz::UTC)
    }

    fn rates(&self) -> Vec<RateRow> {
        let rates = self.rates.iter().zip(900..).map(|(it, position)| RateRow {
            from: it.from,
            position,
            rate: domain::pricing::rate(&it.rate).unwrap(),
            since: it.since,
            to: it.to,
        });
        rates.collect()
    }

    /// What leads to whoever is below so many sellers.
    fn prices(&self, sellers: usize) -> Prices {
        let plan = PlanKey::parse("plan").unwrap();
        let list = Money::parse(&self.list, self.sellers[0].currency).unwrap();
        let chain = self.sellers[..sellers].iter().enumerate().map(|(place, seller)| {
            let rows = seller.rows.iter().zip(100 * (place as u64 + 1)..);
            let rows = rows.map(|(row, position)| BookRow {
                actor: "Pat".to_owned(),
                component: ComponentKey::RECURRING,
                from: row.from.map(|date| self.settings(place).midnight(date)),
                from_quantity: row.from_quantity,
                is_for_buyer: row.buyer,
                is_for_instance: row.instance,
                is_for_service: !row.all_services,
                plan: None,
                position,
                reason: None,
                says: row.says,
                to: None,
            });
            SellerPrices { currency: seller.currency, rows: rows.collect() }
        });
        Prices {
            chain: chain.collect(),
            rates: self.rates(),
            rows: vec![PriceRow { from: None, minor: list.minor, plan, position: 1 }],
            ..Prices::default()
        }
    }

    /// What is charged to whoever is below so many sellers, as the biller bills.
    fn rated(&self, sellers: usize, biller: usize) -> Result<Vec<Entry>, Quarantine> {
        self.rated_with(&self.prices(sellers), sellers, biller)
    }

    fn rated_with(
        &self,
        prices: &Prices,
        sellers: usize,
        biller: usize,
    ) -> Result<Vec<Entry>, Quarantine> {
        let settings = self.settings(biller);
        let change = Change::Provisioned {
            plan: PlanKey::parse("plan").unwrap(),
            quantity: self.quantity.unwrap_or(1),
        };
        let timeline = Timeline::new([Fact {
            date: None,
            actor: "Ann".to_owned(),
            change,
            effective_at: settings.midnight(self.from),
            position: 10,
            reason: None,
            request: None,
            values: Values::new(),
        }]);
        let buyer = (sellers < self.sellers.len()).then(|| organization(sellers + 1));
        rate(&self.subject(biller, buyer), &timeline, prices, &settings, &self.period(biller))
    }

    fn subject(&self, biller: usize, buyer: Option<OrganizationId>) -> Subject {
        Subject {
            buyer,
            customer: organization(30),
            seller: organization(biller + 1),
            service: ServiceKey::parse("service").unwrap(),
            subscription: SubscriptionId(Uuid::from_u128(5)),
        }
    }

    fn period(&self, seller: usize) -> Period {
        self.settings(seller).period_ending(self.end).unwrap()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("chain_cases.json")).unwrap()
}

fn total(entries: &[Entry]) -> Money {
    let currency = entries[0].amount.currency;
    Money::new(entries.iter().map(|it| it.amount.minor).sum(), currency)
}

#[test]
fn every_edge_and_commission_is_right_to_the_cent() {
    let mut compared_by_unit = 0;
    for case in cases() {
        let at = format!("case {} ({})", case.case, case.title);
        let last = case.sellers.len() - 1;
        let biller = case.biller.unwrap_or(last);
        let mut edges = Vec::new();
        for seller in 0..biller {
            edges.push(case.rated(seller + 1, seller).unwrap());
        }
        edges.push(case.rated(case.sellers.len(), biller).unwrap());
        let amounts: Vec<_> = edges.iter().map(|it| total(it).to_string()).collect();
        assert_eq!(amounts, case.edges, "{at}");
        let paid = (biller + 1..=last).map(|reseller| {
            let sold = case.rated(reseller + 1, biller).unwrap();
            let bought = case.rated(reseller, biller).unwrap();
            let subject = case.subject(biller, Some(organization(reseller + 1)));
            let earned = commissions(&subject, &sold, &bought).unwrap();
            if let ([earned], [sold], [bought]) = (&earned[..], &sold[..], &bought[..]) {
                let each = bought.unit_price.exact.checked_sub(sold.unit_price.exact);
                assert_eq!(Some(earned.unit_price.exact), each, "{at}");
                compared_by_unit += 1;
            }
            earned
        });
        let paid: Vec<_> = paid.collect();
        assert!(paid.iter().flatten().all(|it| it.kind == Kind::Commission && it.count_after == 0));
        let amounts: Vec<_> = paid.iter().map(|it| total(it).to_string()).collect();
        assert_eq!(amounts, case.commissions, "{at}");
        for (place, expected) in case.margins.iter().enumerate() {
            let (bought, sold) = (total(&edges[place]), total(&edges[place + 1]));
            let cost = exchanged(bought, sold.currency, &case.rates(), case.end).unwrap();
            let margin = sold.checked_sub(cost).unwrap();
            assert_eq!(
                (cost.to_string(), margin.to_string()),
                (expected.cost.clone(), expected.margin.clone()),
                "{at}"
            );
        }
    }
    assert!(compared_by_unit > 0);
}

/// Law 8: the provider's revenue plus all margins is what the customer pays; and who bills changes nothing about it.
#[test]
fn margins_telescope_whoever_bills() {
    for case in cases().iter().filter(|case| case.rates.is_empty()) {
        let last = case.sellers.len() - 1;
        let paid = total(&case.rated(case.sellers.len(), last).unwrap());
        for biller in 0..=last {
            let mut sum = total(&case.rated(1, 0).unwrap()).minor;
            for reseller in 1..=last {
                let of = reseller.min(biller);
                let sold = case.rated(reseller + 1, of).unwrap();
                let bought = case.rated(reseller, of).unwrap();
                let subject = case.subject(of, Some(organization(reseller + 1)));
                let earned = commissions(&subject, &sold, &bought).unwrap();
                sum -= earned.iter().map(|it| it.amount.minor).sum::<i64>();
            }
            assert_eq!(sum, paid.minor, "case {}, {biller}", case.case);
        }
    }
}

/// 100.00 a month and 50.00 for setting up; the provider pays 40.00, and more for ten or more.
#[test]
fn the_provider_pays_by_its_cost_prices_alone_and_for_all_that_is_charged() {
    let cases = cases();
    let case = cases.iter().find(|it| it.case == "9a").unwrap();
    let euro = Currency::parse("EUR").unwrap();
    let set_up = ComponentKey::parse("setup").unwrap();
    let row = |position, component: &ComponentKey, says, from_quantity, is_for_buyer| BookRow {
        actor: "Pat".to_owned(),
        component: component.clone(),
        from: None,
        from_quantity,
        is_for_buyer,
        is_for_instance: false,
        is_for_service: true,
        plan: None,
        position,
        reason: None,
        says,
        to: None,
    };
    let own = ComponentKey::RECURRING;
    let cost = |minor| Says::Cost(Money::new(minor, euro));
    let prices = |rows: &[BookRow], is_sold: bool| {
        let mut prices = case.prices(1);
        prices.chain[0].rows.extend(rows.iter().cloned());
        prices.components = vec![ComponentRow {
            charge: Some(Charge::OneOff { price: Money::new(5_000, euro) }),
            component: set_up.clone(),
            from: None,
            measure: None,
            plan: PlanKey::parse("plan").unwrap(),
            position: 2,
        }];
        if !is_sold {
            (prices.rows, prices.chain[0].rows) = (Vec::new(), rows.to_vec());
        }
        let override_of = override_at(2, PriceOverride::Amount(1));
        Prices { overrides: vec![override_of], payer: Payer::Provider, ..prices }
    };
    let paid = |rows: &[BookRow], is_sold: bool| {
        let rated = case.rated_with(&prices(rows, is_sold), 1, 0);
        rated.map(|entries| total(&entries).to_string()).map_err(|it| it.reason)
    };
    let own_cost = row(201, &own, cost(4_000), 0, false);
    let set_up_cost = row(202, &set_up, cost(0), 0, false);
    // What is charged for has a cost, were it nothing: neither is left out in silence.
    for rows in [&[][..], &[own_cost.clone()][..], &[set_up_cost.clone()][..]] {
        assert_eq!(paid(rows, true), Err(QuarantineReason::NoPrice), "{rows:?}");
    }
    // 20 of 30 days.
    let both = [own_cost, set_up_cost.clone()];
    assert_eq!(paid(&both, true).unwrap(), "26.67");
    // What is not sold by the month costs nothing by the month.
    let nobody_sells = [row(203, &own, Says::Ended(Sort::Price), 0, false), set_up_cost.clone()];
    let mut unsold = prices(&nobody_sells, false);
    unsold.overrides.clear();
    assert_eq!(total(&case.rated_with(&unsold, 1, 0).unwrap()).to_string(), "0.00");
    // For whom it is, and for how many.
    let others = [row(204, &own, cost(100), 10, false), row(205, &own, cost(3_000), 0, true)];
    let all: Vec<_> = both.iter().chain(&others).cloned().collect();
    assert_eq!(paid(&all, true).unwrap(), "20.00");
    let ended = row(206, &own, Says::Ended(Sort::Cost), 0, true);
    let all: Vec<_> = all.into_iter().chain([ended]).collect();
    assert_eq!(paid(&all, true).unwrap(), "26.67");
}

/// 1,200.00 USD a year from 2020-01-01; the reseller bills in euros, at 0.90 and from February on at 0.80.
#[test]
fn a_term_has_one_exchange_rate_and_saying_again_what_is_so_changes_nothing() {
    let (euro, dollar) = (Currency::parse("EUR").unwrap(), Currency::parse("USD").unwrap());
    let settings = BillingSettings::new(euro, CalendarRule::CalendarMonth, chrono_tz::UTC);
    let plan = || PlanKey::parse("plan").unwrap();
    let rate_since = |since: &str, position, rate| RateRow {
        from: dollar,
        position,
        rate: domain::pricing::rate(rate).unwrap(),
        since: since.parse().unwrap(),
        to: euro,
    };
    let seller = |currency| SellerPrices { currency, rows: Vec::new() };
    let booked = |timing, said_again: bool| {
        let charge = Charge::Recurring {
            interval: Interval::Year,
            rate: Rate::Unit(Money::new(120_000, dollar)),
            timing,
        };
        let key = ComponentKey::parse("yearly").unwrap();
        let prices = Prices {
            chain: vec![seller(dollar), seller(euro)],
            components: vec![ComponentRow {
                charge: Some(charge),
                component: key.clone(),
                from: None,
                measure: None,
                plan: plan(),
                position: 2,
            }],
            rates: vec![rate_since("2019-01-01", 3, "0.90"), rate_since("2020-02-01", 4, "0.80")],
            ..Prices::default()
        };
        let fact = |date: &str, position, change| Fact {
            date: None,
            actor: "Ann".to_owned(),
            change,
            effective_at: settings.midnight(date.parse().unwrap()),
            position,
            reason: None,
            request: None,
            values: Values::new(),
        };
        let provisioned = Change::Provisioned { plan: plan(), quantity: 1 };
        let again = Change::Changed { plan: plan(), quantity: 1 };
        let again = said_again.then(|| fact("2020-03-10", 11, again));
        let timeline =
            Timeline::new([fact("2020-01-01", 10, provisioned)].into_iter().chain(again));
        let mut booked = Vec::new();
        let mut period = settings.period_ending("2020-01-31".parse().unwrap()).unwrap();
        for _ in 0..12 {
            let subject = cases()[0].subject(1, None);
            let entries = rate(&subject, &timeline, &prices, &settings, &period).unwrap();
            let yearly = entries.iter().filter(|it| it.component == key);
            booked.extend(yearly.map(|it| (period.label(), it.amount.to_string())));
            period = settings.next(period);
        }
        booked
    };
    for said_again in [false, true] {
        let advance = ("2020-01-31".to_owned(), "1080.00".to_owned());
        assert_eq!(booked(Timing::Advance, said_again), [advance]);
        let arrears = ("2020-12-31".to_owned(), "960.00".to_owned());
        assert_eq!(booked(Timing::Arrears, said_again), [arrears]);
    }
}

fn override_at(depth: usize, value: PriceOverride) -> Override {
    Override {
        actor: "Bob".to_owned(),
        depth,
        from: chrono::DateTime::UNIX_EPOCH,
        overridden: Overridden::Price(Setting::Set { to: None, value }),
        plan: None,
        position: 50 + depth as u64,
        reason: None,
    }
}

#[test]
fn an_override_for_a_reseller_changes_its_edge_and_what_follows_from_it_and_nothing_else() {
    let cases = cases();
    let case = cases.iter().find(|it| it.case == "9a").unwrap();
    let amount = |sellers: usize, overrides: &[Override]| {
        let overrides = overrides.iter().filter(|it| it.depth <= sellers + 1).cloned();
        let prices = Prices { overrides: overrides.collect(), ..case.prices(sellers) };
        total(&case.rated_with(&prices, sellers, sellers - 1).unwrap()).minor
    };
    // 60.00 for the master: the sub pays 66.00, and its customers 100.00 as before. 20 of 30 days.
    let for_master = [override_at(2, PriceOverride::Amount(6_000))];
    assert_eq!([1, 2, 3].map(|edge| amount(edge, &for_master)), [4_000, 4_400, 6_667]);
    // For the customer it goes before the sub's own row.
    let for_customer = [override_at(4, PriceOverride::Amount(9_000))];
    assert_eq!([1, 2, 3].map(|edge| amount(edge, &for_customer)), [4_667, 5_133, 6_000]);
}

#[test]
fn what_has_no_price_or_no_rate_is_quarantined_and_holds_up_no_edge_that_needs_neither() {
    let cases = cases();
    let case = cases.iter().find(|it| it.case == "8a").unwrap();
    let derived = cases.iter().find(|it| it.case == "8a derived").unwrap();
    let without = |case: &Case, sellers: usize| {
        let prices = Prices { rates: Vec::new(), ..case.prices(sellers) };
        case.rated_with(&prices, sellers, sellers - 1).map_err(|it| it.reason)
    };
    assert!(without(case, 1).is_ok() && without(case, 2).is_ok());
    assert_eq!(without(derived, 2), Err(QuarantineReason::NoExchangeRate));
    let unpriced = |case: &Case, sellers: usize| {
        let prices = Prices { rows: Vec::new(), ..case.prices(sellers) };
        case.rated_with(&prices, sellers, sellers - 1).map_err(|it| it.reason)
    };
    assert_eq!(unpriced(case, 1), Err(QuarantineReason::NoPrice));
    assert!(unpriced(case, 2).is_ok());
    assert_eq!(unpriced(derived, 2), Err(QuarantineReason::NoPrice));
}
