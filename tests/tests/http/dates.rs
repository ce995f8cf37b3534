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
        let customer = app.customer("Aanimals Inc", Some(&behind)).await?;
        Ok(Self { app, provider, ahead, behind, customer })
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

    /// What each of the three bills in a period, the provider first.
    async fn bills(&self, end: &str) -> Result<[Vec<String>; 3]> {
        let mut bills = Vec::new();
        for seller in [&self.provider, &self.ahead, &self.behind] {
            let path = format!("/api/Billing/{end}/detail?sellerId={seller}");
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
        let sent = json!({ "sellerId": world.provider, "effectiveFrom": "2020-01-17", "reason": "Agreed" });
        world.app.put(&format!("/api/v2/customers/{}/billed-by", world.customer), sent).await?;
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
        let (_, second) =
            app.user(&world.provider, "second@x.test", &["Provider Administrator"]).await?;
        drop(second);
        app.turn("2020-02-03T09:00:00Z").await?;
        let sent = json!({ "organizationId": ahead });
        app.post("/api/v2/billing/2020-01-31/close", sent.clone()).await?;
        let second = app.sign_in("second@x.test", PASSWORD).await?;
        let path = "/api/v2/billing/2020-01-31/approve";
        app.send(&second, Method::POST, path, Some(sent)).await?.expect(202)?;
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
