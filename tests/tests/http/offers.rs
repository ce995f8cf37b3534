//! A service reaches a customer through an unbroken chain of offers.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

/// A provider that sells backup, Contoso below it, and below Contoso the customer Aanimals.
struct Chain {
    app: TestApp,
    provider: String,
    reseller: String,
    customer: String,
    /// A session of Contoso's administrator.
    rae: String,
}

impl Chain {
    async fn new(engine: eventstore::Engine) -> Result<Self> {
        let app = TestApp::new(engine, NOW).await?;
        let (_, text) = api::population::SERVICES
            .iter()
            .find(|it| it.0 == "backup")
            .context("it is shipped")?;
        app.put("/api/v2/services/backup/draft", serde_json::from_str(text)?).await?;
        app.post("/api/v2/services/backup/publish", json!({})).await?;
        let reseller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let (_, rae) = app.user(&reseller, "rae@example.com", &["Reseller Administrator"]).await?;
        let ada = app.get(&format!("/api/v2/users/{}", app.administrator)).await?;
        let provider = ada["organizationId"].as_str().context("an id")?.to_owned();
        Ok(Self { app, provider, reseller, customer, rae })
    }

    async fn offer(&self, token: &str, to: &str, sent: Value) -> Result<Answer> {
        let path = format!("/api/v2/organizations/{to}/offers/backup");
        self.app.send(token, Method::PUT, &path, Some(sent)).await
    }

    async fn withdraw(&self, token: &str, from: &str) -> Result<Answer> {
        let path = format!("/api/v2/organizations/{from}/offers/backup");
        self.app.send(token, Method::DELETE, &path, None).await
    }

    async fn provision(&self, customer: &str, plan: &str) -> Result<Answer> {
        let sent = json!({ "service": "backup", "plan": plan });
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        self.app.send(&self.app.token, Method::POST, &path, Some(sent)).await
    }

    /// The plans of the backup service that can be had somewhere, over REST, which must agree with GraphQL.
    async fn plans_at(&self, organization: &str) -> Result<Vec<String>> {
        let listed = self.app.get(&format!("/api/v2/organizations/{organization}/offers")).await?;
        let query = format!(
            "{{ organization(id: \"{organization}\") {{ offers {{ serviceKey planKeys }} }} }}"
        );
        let shown = self.app.post("/graphql", json!({ "query": query })).await?;
        let shown = &shown["data"]["organization"]["offers"][0];
        assert_eq!(shown["planKeys"], listed["data"][0]["plans"]);
        assert_eq!(shown["serviceKey"], "backup");
        Ok(serde_json::from_value(listed["data"][0]["plans"].clone())?)
    }
}

/// The fault that a refusal names.
fn fault(answer: Answer) -> Result<(String, String)> {
    let fault = answer.body["errors"][0].clone();
    assert_eq!(answer.problem(422)?, "invalid");
    let text = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
    Ok((text("pointer"), text("code")))
}

#[tokio::test]
async fn what_is_not_offered_down_an_unbroken_chain_cannot_be_had() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let Chain { app, reseller, customer, rae, .. } = &chain;
        let not_offered = ("/service".to_owned(), "not_offered".to_owned());
        assert_eq!(fault(chain.provision(customer, "BU001").await?)?, not_offered);
        // Contoso has nothing to pass on yet, and cannot offer itself anything.
        let refused = chain.offer(rae, customer, json!({})).await?;
        assert_eq!(refused.problem(409)?, "not_offered");
        let refused = chain.offer(rae, reseller, json!({})).await?;
        assert_eq!(fault(refused)?, ("/subtree".to_owned(), "own_organization".to_owned()));

        let plans = json!({ "plans": ["BU001", "BU010"] });
        let made = chain.offer(&app.token, reseller, plans.clone()).await?.expect(200)?;
        assert_eq!(made["plans"], json!(["BU001", "BU010"]));
        assert_eq!(fault(chain.provision(customer, "BU001").await?)?, not_offered);
        let refused = chain.offer(rae, customer, json!({ "plans": ["IA003", "none"] })).await?;
        let codes: Vec<_> = refused.body["errors"].as_array().into_iter().flatten().collect();
        assert_eq!(codes[0]["code"], "plan_not_offered");
        assert_eq!(
            (&codes[1]["code"], &codes[1]["pointer"]),
            (&json!("unknown_plan"), &json!("/plans/1"))
        );
        chain.offer(rae, customer, json!({})).await?.expect(200)?;
        assert_eq!(chain.plans_at(customer).await?, ["BU001", "BU010"]);
        let refused = fault(chain.provision(customer, "IA003").await?)?;
        assert_eq!(refused, ("/plan".to_owned(), "plan_not_offered".to_owned()));
        let held = chain.provision(customer, "BU001").await?.expect(201)?;

        // Withdrawing does not touch what runs: it stops what would be new.
        chain.withdraw(&app.token, reseller).await?.expect(200)?;
        assert!(chain.plans_at(customer).await?.is_empty());
        let id = held["id"].as_str().context("an id")?;
        let change = format!("/api/v2/subscriptions/{id}/change");
        let sent = json!({ "plan": "BU010" });
        let refused = app.send(&app.token, Method::POST, &change, Some(sent)).await?;
        assert_eq!(fault(refused)?, not_offered);
        app.post(&change, json!({ "quantity": 3 })).await?;
        app.send(&app.token, Method::POST, &change, Some(json!({ "plan": "BU001" })))
            .await?
            .expect(200)?;
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), json!({})).await?;
        assert_eq!(fault(chain.provision(customer, "BU001").await?)?, not_offered);
        chain.offer(&app.token, reseller, plans).await?.expect(200)?;
        chain.provision(customer, "BU010").await?.expect(201)?;
        chain.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_command_rolls_a_service_or_a_plan_out_to_all_below() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let Chain { app, provider, reseller, customer, rae, .. } = &chain;
        chain.offer(&app.token, reseller, json!({ "plans": ["BU001"] })).await?.expect(200)?;
        let own = chain.offer(rae, reseller, json!({ "subtree": true })).await?.expect(200)?;
        assert_eq!((&own["isRolledOut"], &own["plans"]), (&json!(true), &json!(["BU001"])));
        assert_eq!(chain.plans_at(customer).await?, ["BU001"]);
        // Who comes later is reached, too.
        let late = app.customer("Late", Some(reseller)).await?;
        assert_eq!(chain.plans_at(&late).await?, ["BU001"]);
        chain.offer(rae, &late, json!({ "plans": ["BU001"] })).await?.expect(200)?;

        let before = app.get("/api/v2/events?limit=500").await?;
        let added = json!({ "addPlans": ["BU010"], "subtree": true });
        chain.offer(&app.token, provider, added.clone()).await?.expect(200)?;
        for organization in [reseller, customer, &late] {
            assert_eq!(chain.plans_at(organization).await?, ["BU001", "BU010"]);
        }
        let after = app.get("/api/v2/events?limit=500").await?;
        let count = |listed: &Value| listed["data"].as_array().map_or(0, Vec::len);
        // At Contoso and at the late customer; whatever takes all of them needs nothing.
        assert_eq!(count(&after) - count(&before), 2);
        chain.offer(&app.token, provider, added).await?.expect(200)?;
        assert_eq!(app.get("/api/v2/events?limit=500").await?, after, "once more adds nothing");

        // Withdrawn at one customer, whatever is rolled out above.
        let withdrawn = chain.withdraw(rae, &late).await?.expect(200)?;
        assert_eq!((&withdrawn["isWithdrawn"], &withdrawn["plans"]), (&json!(true), &json!([])));
        assert!(chain.plans_at(&late).await?.is_empty());
        assert_eq!(chain.plans_at(customer).await?, ["BU001", "BU010"]);
        // Contoso ends what it rolled out, and keeps what it is offered itself.
        chain.withdraw(rae, reseller).await?.expect(200)?;
        assert_eq!(chain.plans_at(reseller).await?, ["BU001", "BU010"]);
        assert!(chain.plans_at(customer).await?.is_empty());
        app.post("/api/v2/services/backup/publish", json!({ "rollOut": true })).await?;
        assert_eq!(chain.plans_at(customer).await?, ["BU001", "BU010"]);
        chain.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_retired_plan_goes_on_where_it_is_held_and_is_sold_no_more() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let definition = |retired: bool, sku: &str| {
            json!({ "name": "Disk", "level": "customer", "instancing": "single", "plans": [
                { "key": "old", "name": "Old", "sku": sku, "price": "30.00", "retired": retired },
                { "key": "new", "name": "New", "sku": "N", "price": "60.00" },
            ] })
        };
        let publish = async |definition: Value| -> Result<Value> {
            app.put("/api/v2/services/disk/draft", definition).await?;
            app.post("/api/v2/services/disk/publish", json!({ "rollOut": true })).await
        };
        publish(definition(false, "O")).await?;
        let (holder, late) =
            (app.customer("Aanimals Inc", None).await?, app.customer("Abacus", None).await?);
        let provision = async |customer: &str, plan: &str| {
            let path = format!("/api/v2/customers/{customer}/subscriptions");
            app.send(
                &app.token,
                Method::POST,
                &path,
                Some(json!({ "service": "disk", "plan": plan })),
            )
            .await
        };
        let held = provision(&holder, "old").await?.expect(201)?;
        publish(definition(true, "O2")).await?;

        let refused = provision(&late, "old").await?;
        assert_eq!(refused.body["errors"][0]["code"], "plan_retired", "{}", refused.body);
        refused.problem(422)?;
        let offers = app.get(&format!("/api/v2/organizations/{late}/offers")).await?;
        assert_eq!(offers["data"][0]["plans"], json!(["new"]), "{offers}");
        // What runs goes on: more of it, and a bill that names it by its new stock code.
        let change =
            format!("/api/v2/subscriptions/{}/change", held["id"].as_str().context("an id")?);
        app.post(&change, json!({ "quantity": 2 })).await?;
        app.post(&change, json!({ "plan": "old", "quantity": 3 })).await?;
        assert_eq!(
            provision(&holder, "old").await?.status,
            409,
            "with another quantity it is a change"
        );
        let bill = app.get("/api/Billing/2019-11-30").await?;
        let row = &bill["data"][0];
        assert_eq!((&row["productSku"], &row["amount"]), (&json!("O2"), &json!("90.00")), "{bill}");
        // Whoever leaves it cannot come back.
        app.post(&change, json!({ "plan": "new" })).await?;
        let back =
            app.send(&app.token, Method::POST, &change, Some(json!({ "plan": "old" }))).await?;
        assert_eq!(back.body["errors"][0]["code"], "plan_retired", "{}", back.body);
        publish(definition(false, "O2")).await?;
        app.post(&change, json!({ "plan": "old" })).await?;
        app.finish().await?;
    }
    Ok(())
}
