//! Bugs of the ledger: of closing, the chain of sellers, rules, adjustments, dates, time travel and tax.

use anyhow::{Context, Result};
use atrium_tests::books::close;
use atrium_tests::world::{World, body, persons};
use chrono::{DateTime, Utc};
use commands::Command;
use domain::billing::adjustment::{Adjusted, Adjustment, AdjustmentCommand, AdjustmentEvent};
use domain::billing::merkle::{Hash, Proof, Tree};
use domain::billing::rule::Rule;
use domain::billing::tax::{Taxable, tax};
use domain::billing::{Class, Entry};
use domain::money::{Currency, Money, Percent};
use domain::organization::Kind;
use domain::{AdjustmentId, Decider, OrganizationId, TaxCategory, TenantPath};
use eventstore::Engine;
use projections::finder::Scope;
use projections::ledger::{self, Question, Side};
use serde_json::{Value, json};
use uuid::Uuid;

const JANUARY: &str = "2019-01-31";
const FEBRUARY: &str = "2019-02-28";
const MARCH: &str = "2019-03-31";

/// A provider with a customer, below it a reseller, in another zone, with another customer; a service with two plans, of
/// 31.00 and 62.00.
struct Shop {
    world: World,
    provider: String,
    east: String,
    zoo: String,
    ark: String,
}

impl Shop {
    async fn new() -> Result<Self> {
        let world = World::new(Engine::Sqlite).await?;
        let sql = "select key from view_organization where kind = 'provider'";
        let provider = world.database.fetch(sql, &[]).await?[0].text(0)?.to_owned();
        let key = || "backup".to_owned();
        let sold = json!({
            "name": "Backup", "level": "customer", "instancing": "single",
            "plans": [
                { "key": "basic", "name": "Basic", "price": "31.00" },
                { "key": "plus", "name": "Plus", "price": "62.00" },
            ],
        });
        let draft = Command::DraftService { key: key(), body: body(sold), if_match: None };
        world.system(draft).await?;
        let rolled_out = body(json!({ "rollOut": true }));
        world.system(Command::PublishService { key: key(), body: rolled_out }).await?;
        let found = async |kind, parent: &str, name: &str| -> Result<String> {
            let sent = json!({ "name": name, "parentId": parent });
            let made = world.system(Command::CreateOrganization { kind, body: body(sent) }).await?;
            Ok(made["id"].as_str().context("an id")?.to_owned())
        };
        let east = found(Kind::Reseller, &provider, "East").await?;
        let zone = body(json!({ "timeZone": "Pacific/Auckland" }));
        let zone = Command::ChangeBillingSettings { organization: east.clone(), body: zone };
        world.system(zone).await?;
        let zoo = found(Kind::Customer, &provider, "Zoo").await?;
        let ark = found(Kind::Customer, &east, "Ark").await?;
        Ok(Self { world, provider, east, zoo, ark })
    }

    async fn hold(&self, customer: &str, from: &str) -> Result<String> {
        let sent = json!({ "service": "backup", "plan": "basic", "effectiveAt": from });
        let customer = customer.to_owned();
        let command = Command::ProvisionToCustomer { customer, body: body(sent) };
        let made = self.world.system(command).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    async fn change(&self, id: &str, plan: &str, at: &str) -> Result<()> {
        let sent = json!({ "plan": plan, "effectiveAt": at, "reason": "it was so" });
        self.world
            .system(Command::ChangeSubscription { id: id.to_owned(), body: body(sent) })
            .await?;
        Ok(())
    }

    async fn deprovision(&self, id: &str, at: &str) -> Result<()> {
        let sent = json!({ "effectiveAt": at, "reason": "it was so" });
        self.world.system(Command::Deprovision { id: id.to_owned(), body: body(sent) }).await?;
        Ok(())
    }

    /// What a seller bills in a period.
    async fn bill(&self, seller: &str, end: &str, as_of: Option<&str>) -> Result<Vec<Entry>> {
        let database = &self.world.database;
        let sql = "select path from view_organization where key = $1";
        let path = database.fetch(sql, &[seller.into()]).await?[0].text(0)?.to_owned();
        let path = TenantPath::parse(&path).context("a path")?;
        let settings = ledger::seller_at(database, &path).await?.settings.clone();
        let period = settings.period_ending(end.parse()?).context("a period")?;
        let as_of = as_of.map(str::parse::<DateTime<Utc>>).transpose()?;
        let side = Side::Sells(seller.parse()?);
        let question = Question { scope: Scope(path), as_of, known_at: None, side };
        let bills = ledger::statements(database, &persons(), &question, &[period]).await?;
        Ok(bills.into_iter().flat_map(|bill| bill.lines).map(|line| line.entry).collect())
    }

    async fn amounts(&self, seller: &str, end: &str) -> Result<Vec<i64>> {
        let entries = self.bill(seller, end, None).await?;
        Ok(entries.iter().map(|entry| entry.amount.minor).filter(|minor| *minor != 0).collect())
    }
}

#[tokio::test]
async fn a_closed_period_has_what_was_known_and_is_set_right_by_its_own_prices() -> Result<()> {
    let shop = Shop::new().await?;
    shop.world.ambient.set("2019-02-01T08:00:00Z");
    // The last that is recorded before somebody asks.
    let id = shop.hold(&shop.zoo, "2019-01-01").await?;
    close(&shop.world, &shop.provider, JANUARY).await?;
    assert_eq!(shop.amounts(&shop.provider, JANUARY).await?, [3_100]);
    let price = json!({
        "service": "backup", "price": "93.00", "reason": "dearer", "effectiveFrom": "2019-01-01",
    });
    let price = Command::OverridePrice { organization: shop.zoo.clone(), body: body(price) };
    shop.world.system(price).await?;
    shop.deprovision(&id, "2019-01-21").await?;
    assert_eq!(shop.amounts(&shop.provider, FEBRUARY).await?, [-3_100, 2_000]);
    Ok(())
}

#[tokio::test]
async fn what_was_set_right_is_set_right_again_as_far_as_it_differs() -> Result<()> {
    let shop = Shop::new().await?;
    let id = shop.hold(&shop.zoo, "2019-01-01").await?;
    shop.world.ambient.set("2019-02-01T08:00:00Z");
    close(&shop.world, &shop.provider, JANUARY).await?;
    shop.change(&id, "plus", "2019-01-21").await?;
    shop.deprovision(&id, "2019-01-26").await?;
    let corrections = shop.bill(&shop.provider, FEBRUARY, None).await?;
    assert!(corrections.iter().all(|entry| entry.class == Class::Correction));
    assert_eq!(shop.amounts(&shop.provider, FEBRUARY).await?, [-3_100, 2_000, 1_000]);
    shop.world.ambient.set("2019-03-01T08:00:00Z");
    close(&shop.world, &shop.provider, FEBRUARY).await?;
    // It went on until the 28th: what was booked up to the 26th is right.
    shop.hold(&shop.zoo, "2019-01-26").await?;
    shop.deprovision(&id, "2019-01-28").await?;
    assert_eq!(shop.amounts(&shop.provider, MARCH).await?, [200]);
    Ok(())
}

#[tokio::test]
async fn each_seller_bills_the_next_and_closes_his_books() -> Result<()> {
    let shop = Shop::new().await?;
    shop.hold(&shop.zoo, "2019-01-01").await?;
    shop.hold(&shop.ark, "2019-01-01").await?;
    assert_eq!(shop.amounts(&shop.east, JANUARY).await?, [3_100]);
    let bought: Vec<_> = shop.bill(&shop.provider, JANUARY, None).await?;
    let buyers: Vec<_> = bought.iter().map(|entry| entry.buyer).collect();
    assert_eq!(buyers, [Some(shop.east.parse()?), None]);
    shop.world.ambient.set("2019-02-02T08:00:00Z");
    for seller in [&shop.east, &shop.provider] {
        close(&shop.world, seller, JANUARY).await?;
    }
    assert_eq!(shop.amounts(&shop.provider, JANUARY).await?, [3_100, 3_100]);
    Ok(())
}

#[test]
fn each_leaf_has_a_proof_that_leads_to_the_root() {
    let leaves: Vec<_> = (0..5_u8).map(|leaf| Hash::leaf(&[leaf])).collect();
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    for (place, leaf) in leaves.iter().enumerate() {
        let proof = Proof::of(&leaves, place).expect("it is there");
        assert_eq!(proof.root(*leaf), tree.root(), "leaf {place}");
    }
}

#[test]
fn what_was_taken_back_is_not_taken_back_again() {
    let id = |number| Uuid::from_u128(number);
    let made = Adjusted {
        amount: Money::new(-1_250, Currency::parse("EUR").expect("a currency")),
        buyer: None,
        customer: OrganizationId(id(1)),
        description: "Sorry".to_owned(),
        of: None,
        reverses: None,
        seller: OrganizationId(id(2)),
    };
    let now = DateTime::UNIX_EPOCH;
    let reversed = AdjustmentEvent::Reversed { by: AdjustmentId(id(3)) };
    let adjustment = Adjustment::default().evolve(&AdjustmentEvent::Made(made), now);
    let again = || AdjustmentCommand::Reverse(AdjustmentId(id(4)));
    assert!(adjustment.decide(again(), now).is_ok());
    assert!(adjustment.evolve(&reversed, now).decide(again(), now).is_err());
}

#[tokio::test]
async fn of_several_rules_that_fit_the_last_says_why() -> Result<()> {
    let shop = Shop::new().await?;
    shop.hold(&shop.zoo, "2019-01-01").await?;
    let rule = |key: &str| {
        json!({
            "key": key, "reason": key, "validFrom": "2019-01-01",
            "condition": { "field": "plan", "values": ["basic"] },
        })
    };
    let rules = json!({ "organizationId": shop.provider, "rules": [rule("a"), rule("b")] });
    let rules = Command::SetBillableRules { body: body(rules), if_match: None };
    shop.world.system(rules).await?;
    let bill = shop.bill(&shop.provider, JANUARY, None).await?;
    let waived: Vec<_> = bill.iter().filter_map(|entry| entry.waiver.as_ref()).collect();
    assert_eq!(waived[0].amount.minor, 3_100);
    assert_eq!((waived[0].reason.as_str(), waived[0].rules.len()), ("b", 2));
    Ok(())
}

#[test]
fn a_rule_ends_before_its_last_date() {
    let rule = |to: &str| {
        let rule = json!({
            "condition": { "all": [] }, "description": "", "from": "2019-01-01", "key": "a",
            "order": 0, "reason": "a", "to": to,
        });
        serde_json::from_value::<Rule>(rule).expect("a rule")
    };
    let end = JANUARY.parse().expect("a date");
    assert!(rule("2019-02-01").is_valid_on(end));
    assert!(!rule(JANUARY).is_valid_on(end));
}

#[tokio::test]
async fn a_date_is_midnight_at_each_seller() -> Result<()> {
    let shop = Shop::new().await?;
    let id = shop.hold(&shop.ark, "2019-01-11").await?;
    for seller in [&shop.provider, &shop.east] {
        assert_eq!(shop.amounts(seller, JANUARY).await?, [2_100]);
    }
    let sql = "select document from view_subscription where key = $1";
    let rows = shop.world.database.fetch(sql, &[id.as_str().into()]).await?;
    let view: Value = serde_json::from_slice(rows[0].bytes(0)?)?;
    // It was eleven o'clock in Greenwich.
    let at: DateTime<Utc> = serde_json::from_value(view["facts"][0]["effectiveAt"].clone())?;
    assert_eq!(at, "2019-01-10T11:00:00Z".parse::<DateTime<Utc>>()?);
    Ok(())
}

#[tokio::test]
async fn what_was_true_at_another_moment_is_billed_from_that_one_on() -> Result<()> {
    let shop = Shop::new().await?;
    let id = shop.hold(&shop.zoo, "2019-01-01").await?;
    shop.world.ambient.set("2019-02-01T08:00:00Z");
    let mut log = eventstore::Log::new(shop.world.database.clone())
        .read(0, u64::MAX, eventstore::READ_MAX)
        .await?
        .into_iter()
        .map(|stored| stored.decode());
    let provisioned = log.find_map(|event| {
        let event = event.ok()?;
        ledger::fact(&event).map(|_| event)
    });
    let provisioned = provisioned.context("it is held")?;
    let domain::event::Event::Subscription(happened) = &provisioned.event else {
        anyhow::bail!("it is {provisioned:?}");
    };
    let found = commands::usecase::supersede::Found {
        subscription: id.parse()?,
        outcome_of: Some(happened.request()),
        effective_at: provisioned.effective_at,
    };
    let sent = json!({
        "position": provisioned.position, "effectiveAt": "2019-01-11", "reason": "it was so",
    });
    let command = Command::Supersede { body: body(sent), found: Some(found) };
    shop.world.system(command).await?;
    for as_of in [None, Some("2019-01-11T00:00:00Z"), Some("2019-01-31T00:00:00Z")] {
        let bill = shop.bill(&shop.provider, JANUARY, as_of).await?;
        let amounts: Vec<_> = bill.iter().map(|entry| entry.amount.minor).collect();
        assert_eq!(amounts, [2_100], "{as_of:?}");
    }
    let before = shop.bill(&shop.provider, JANUARY, Some("2019-01-10T23:59:59Z")).await?;
    assert_eq!(before, []);
    Ok(())
}

#[test]
fn tax_is_on_what_lines_come_to_together() {
    let eur = Currency::parse("EUR").expect("a currency");
    let line = || Taxable {
        amount: Money::new(1_003, eur),
        category: TaxCategory::parse("standard"),
        buyer: OrganizationId(Uuid::from_u128(1)),
        percent: Percent::parse("15").ok(),
        seller: OrganizationId(Uuid::from_u128(2)),
    };
    let groups = tax([line(), line(), line()]).expect("it fits");
    assert_eq!(groups[0].tax, Some(Money::new(451, eur)));
}
