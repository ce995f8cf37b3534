//! A bare date is midnight at each seller (billing.md, section 2), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::{PASSWORD, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use super::chain::{provider, reseller, sell};
use crate::BOTH;

/// A provider in UTC, below it a reseller a day ahead of another, and a customer of that one.
struct World {
    app: TestApp,
    provider: String,
    ahead: String,
    behind: String,
    customer: String,
}

impl World {
    async fn new(engine: Engine) -> Result<Self> {
        let app = TestApp::new(engine, "2020-01-20T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let ahead = reseller(&app, "Ahead", &provider, None).await?;
        let behind = reseller(&app, "Behind", &ahead, None).await?;
        for (seller, zone) in [(&ahead, "Pacific/Auckland"), (&behind, "Pacific/Pago_Pago")] {
            let path = format!("/api/v2/organizations/{seller}/billing-settings");
            app.put(&path, json!({ "timeZone": zone })).await?;
        }
        sell(&app, "100.00").await?;
        app.user(&provider, "second@x.test", &["Provider Administrator"]).await?;
        let customer = app.customer("Aanimals Inc", Some(&behind)).await?;
        Ok(Self { app, provider, ahead, behind, customer })
    }

    /// Has a seller's period closed, by two people.
    async fn close(&self, seller: &str, end: &str) -> Result<()> {
        let sent = json!({ "organizationId": seller });
        self.app.post(&format!("/api/v2/billing/{end}/close"), sent.clone()).await?;
        let second = self.app.sign_in("second@x.test", PASSWORD).await?;
        let path = format!("/api/v2/billing/{end}/approve");
        self.app.send(&second, Method::POST, &path, Some(sent)).await?.expect(202)?;
        Ok(())
    }

    async fn provision(&self, at: &str) -> Result<String> {
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": at });
        let path = format!("/api/v2/customers/{}/subscriptions", self.customer);
        let made = self.app.post(&path, sent).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    async fn deprovision(&self, id: &str, at: &str) -> Result<()> {
        let path = format!("/api/v2/subscriptions/{id}/deprovision");
        self.app.post(&path, json!({ "effectiveAt": at, "reason": "it was so" })).await?;
        Ok(())
    }

    /// Has the provider bill the customer from a date on.
    async fn go_over(&self, from: &str) -> Result<()> {
        let sent = json!({ "sellerId": self.provider, "effectiveFrom": from, "reason": "Agreed" });
        self.app.put(&format!("/api/v2/customers/{}/billed-by", self.customer), sent).await?;
        Ok(())
    }

    /// What each of the three bills in a period, the provider first.
    async fn bills(&self, end: &str) -> Result<[Vec<String>; 3]> {
        self.bills_then(end, "").await
    }

    /// The same as of some moment.
    async fn bills_then(&self, end: &str, then: &str) -> Result<[Vec<String>; 3]> {
        let mut bills = Vec::new();
        for seller in [&self.provider, &self.ahead, &self.behind] {
            let path = format!("/api/Billing/{end}/detail?sellerId={seller}{then}");
            let bill = self.app.get(&path).await?;
            let rows = bill["data"].as_array().into_iter().flatten();
            let amounts = rows.filter_map(|row| row["amount"].as_str());
            bills.push(amounts.filter(|it| *it != "0.00").map(str::to_owned).collect());
        }
        bills.try_into().map_err(|_| anyhow::anyhow!("three"))
    }
}

fn each(amounts: &[&str]) -> [Vec<String>; 3] {
    std::array::from_fn(|_| amounts.iter().map(|it| (*it).to_owned()).collect())
}

#[tokio::test]
async fn a_date_is_the_same_date_at_each_seller_and_a_time_is_not() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let held = world.provision("2020-02-01").await?;
        world.app.turn("2020-02-21T09:00:00Z").await?;
        assert_eq!(world.bills("2020-02-29").await?, each(&["100.00"]), "{engine:?}");
        world.deprovision(&held, "2020-02-16").await?;
        assert_eq!(world.bills("2020-02-29").await?, each(&["51.72"]));
        // The first moment of that date at the customer's seller is the date before at the provider, and the one after ahead.
        world.provision("2020-02-20T11:00:00Z").await?;
        let [provider, ahead, behind] = world.bills("2020-02-29").await?;
        assert_eq!(provider.last().map(String::as_str), Some("34.49"));
        assert_eq!(ahead.last().map(String::as_str), Some("31.04"));
        assert_eq!(behind.last().map(String::as_str), Some("34.49"));
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_customer_goes_over_on_the_same_date_at_each_seller() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        world.provision("2020-01-01").await?;
        world.app.turn("2020-01-25T09:00:00Z").await?;
        world.go_over("2020-01-17").await?;
        // 16 of 31 days are billed by each to the next, and 15 by the provider; nobody earns anything.
        let [provider, ahead, behind] = world.bills("2020-01-31").await?;
        assert_eq!(provider, ["51.61", "48.39"], "{engine:?}");
        assert_eq!((ahead, behind), (vec!["51.61".to_owned()], vec!["51.61".to_owned()]));
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_date_that_is_learned_late_is_found_in_the_closed_period_of_each_seller() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let (app, ahead) = (&world.app, &world.ahead);
        let held = world.provision("2020-01-01").await?;
        app.turn("2020-02-03T09:00:00Z").await?;
        world.close(ahead, "2020-01-31").await?;
        // It is the first of February there when the last of January begins at the customer's seller.
        world.deprovision(&held, "2020-01-31").await?;
        let bill = app.get(&format!("/api/Billing/2020-02-29/detail?sellerId={ahead}")).await?;
        let amounts: Vec<_> = bill["data"]
            .as_array()
            .context("rows")?
            .iter()
            .filter_map(|row: &Value| row["amount"].as_str())
            .filter(|it| *it != "0.00")
            .collect();
        assert_eq!(amounts, ["-100.00", "96.77"], "{engine:?}");
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_lasts_for_a_date_at_the_edge_of_a_period_is_on_the_bill_of_each_seller() -> Result<()>
{
    for engine in BOTH {
        let world = World::new(engine).await?;
        let app = &world.app;
        // It is the first of February ahead already when this date begins at the customer's seller.
        let held = world.provision("2020-01-31").await?;
        app.turn("2020-02-21T09:00:00Z").await?;
        assert_eq!(world.bills("2020-01-31").await?, each(&["3.23"]), "{engine:?}");
        world.deprovision(&held, "2020-02-02").await?;
        assert_eq!(world.bills("2020-02-29").await?, each(&["3.45"]));

        // And the other way round.
        let kiribati = reseller(app, "Kiribati", &world.behind, None).await?;
        let path = format!("/api/v2/organizations/{kiribati}/billing-settings");
        app.put(&path, json!({ "timeZone": "Pacific/Kiritimati" })).await?;
        let customer = app.customer("Zoo", Some(&kiribati)).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-01" });
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let held = app.post(&path, sent).await?["id"].clone();
        // Over there that date begins before the first of February has begun behind.
        world.deprovision(held.as_str().context("an id")?, "2020-02-02").await?;
        let path = format!(
            "/api/Billing/2020-02-29/detail?customerId={customer}&sellerId={}",
            world.behind
        );
        assert_eq!(app.get(&path).await?["data"][0]["amount"], "3.45", "{engine:?}");
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_bills_from_a_date_is_learned_late_for_the_closed_period_of_each_seller() -> Result<()>
{
    for engine in BOTH {
        let world = World::new(engine).await?;
        let (app, ahead) = (&world.app, &world.ahead);
        world.provision("2020-01-01").await?;
        app.turn("2020-02-03T09:00:00Z").await?;
        world.close(ahead, "2020-01-31").await?;
        // From the last of January on, which is the first of February there when it begins at the customer's seller.
        let sent = json!({
            "sellerId": world.provider, "effectiveFrom": "2020-01-31", "reason": "Agreed",
        });
        app.put(&format!("/api/v2/customers/{}/billed-by", world.customer), sent).await?;
        let path = format!("/api/Billing/2020-02-29/detail?sellerId={ahead}");
        let bill = app.get(&path).await?;
        let rows = bill["data"].as_array().context("rows")?.iter();
        let amounts = rows.filter_map(|row| row["amount"].as_str()).filter(|it| *it != "0.00");
        assert_eq!(amounts.collect::<Vec<_>>(), ["-100.00", "96.77"], "{engine:?}");
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn as_of_a_moment_a_date_has_begun_at_some_sellers_and_at_others_not() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let held = world.provision("2020-01-05").await?;
        world.deprovision(&held, "2020-01-16").await?;
        let then =
            async |as_of: &str| world.bills_then("2020-01-31", &format!("&asOf={as_of}")).await;
        let amounts = |all: [&str; 3]| all.map(|amount| vec![amount.to_owned()]);
        // A date is each one's own.
        assert_eq!(then("2020-01-15").await?, each(&["87.10"]), "{engine:?}");
        assert_eq!(then("2020-01-16").await?, each(&["35.48"]), "{engine:?}");
        // A moment is one for all: midnight is at 11:00 the day before ahead, and at 11:00 behind.
        for (as_of, expected) in [
            ("2020-01-15T10:59:59Z", ["87.10", "87.10", "87.10"]),
            ("2020-01-15T11:00:00Z", ["87.10", "35.48", "87.10"]),
            ("2020-01-16T00:00:00Z", ["35.48", "35.48", "87.10"]),
            ("2020-01-16T10:59:59Z", ["35.48", "35.48", "87.10"]),
            ("2020-01-16T11:00:00Z", ["35.48", "35.48", "35.48"]),
        ] {
            assert_eq!(then(as_of).await?, amounts(expected), "{engine:?}, as of {as_of}");
        }
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn as_of_a_moment_each_seller_bills_as_long_as_nobody_else_does_where_he_is() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        world.provision("2020-01-01").await?;
        world.app.turn("2020-01-25T09:00:00Z").await?;
        world.go_over("2020-01-17").await?;
        let then =
            async |as_of: &str| world.bills_then("2020-01-31", &format!("&asOf={as_of}")).await;
        let whole = || vec!["100.00".to_owned()];
        let half = || vec!["51.61".to_owned()];
        let both = || vec!["51.61".to_owned(), "48.39".to_owned()];
        assert_eq!(then("2020-01-16").await?, [whole(), whole(), whole()], "{engine:?}");
        assert_eq!(then("2020-01-17").await?, [both(), half(), half()]);
        assert_eq!(then("2020-01-16T12:00:00Z").await?, [whole(), half(), whole()]);
        assert_eq!(then("2020-01-17T00:00:00Z").await?, [both(), half(), whole()]);
        world.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_date_that_is_asked_for_counts_once_the_work_is_reported() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let app = &world.app;
        let plans = json!([{ "key": "D1", "name": "Desktop", "price": "31.00", "sku": "D1" }]);
        let document = json!({ "name": "Desktop", "level": "customer", "instancing": "single",
            "process": "reported", "plans": plans });
        app.put("/api/v2/services/desktop/draft", document).await?;
        let path = "/api/v2/services/desktop/publish";
        let rolled_out = Some(json!({ "rollOut": true }));
        app.send(&app.token, Method::POST, path, rolled_out).await?.expect(200)?;
        let path = format!("/api/v2/customers/{}/subscriptions", world.customer);
        let sent = json!({ "service": "desktop", "plan": "D1", "effectiveAt": "2020-01-16" });
        let asked = app.send(&app.token, Method::POST, &path, Some(sent)).await?.expect(202)?;
        let request = asked["requestId"].as_str().or(asked["id"].as_str()).context("an id")?;
        for step in ["start", "complete"] {
            app.post(&format!("/api/v2/requests/{request}/{step}"), json!({})).await?;
        }
        assert_eq!(world.bills("2020-01-31").await?, each(&["16.00"]), "{engine:?}");
        world.app.finish().await?;
    }
    Ok(())
}
