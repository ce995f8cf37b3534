//! Services that a customer holds for its users.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";

/// A desktop: the customer holds `base`, its users `seat`.
async fn publish(app: &TestApp, process: &str) -> Result<()> {
    let definition = json!({
        "name": "Desktop", "level": "user", "instancing": "single", "process": process,
        "plans": [
            { "key": "base", "level": "customer", "name": "Base", "price": "100.00" },
            { "key": "free", "level": "customer", "name": "Free", "price": "0" },
            { "key": "seat", "name": "Seat", "price": "30.00" },
        ],
    });
    app.put("/api/v2/services/desktop/draft", definition).await?;
    app.post("/api/v2/services/desktop/publish", json!({ "rollOut": true })).await?;
    Ok(())
}

struct Shop {
    app: TestApp,
    customer: String,
    users: Vec<String>,
}

impl Shop {
    async fn new(engine: Engine, process: &str) -> Result<Self> {
        let app = TestApp::new(engine, NOW).await?;
        publish(&app, process).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let mut users = Vec::new();
        for login in ["ann@example.com", "ben@example.com"] {
            users.push(app.user(&customer, login, &[]).await?.0);
        }
        Ok(Self { app, customer, users })
    }

    async fn act(&self, path: &str, sent: Value) -> Result<Answer> {
        self.app.send(&self.app.token, Method::POST, path, Some(sent)).await
    }

    async fn assign(&self, plan: &str) -> Result<Answer> {
        let path = format!("/api/v2/customers/{}/subscriptions", self.customer);
        self.act(&path, json!({ "service": "desktop", "plan": plan })).await
    }

    async fn provision(&self, user: usize) -> Result<Answer> {
        let path = format!("/api/v2/users/{}/subscriptions", self.users[user]);
        self.act(&path, json!({ "service": "desktop", "plan": "seat" })).await
    }

    async fn report(&self, request: &Value, what: &str) -> Result<Value> {
        let request = request.as_str().context("an id")?;
        let sent = if what == "fail" { json!({ "detail": "No rack." }) } else { json!({}) };
        self.act(&format!("/api/v2/requests/{request}/{what}"), sent).await?.expect(200)
    }

    async fn request(&self, id: &Value) -> Result<Value> {
        self.app.get(&format!("/api/v2/requests/{}", id.as_str().context("an id")?)).await
    }

    async fn verb(&self, subscription: &Value, verb: &str) -> Result<Answer> {
        let id = subscription.as_str().context("an id")?;
        self.act(&format!("/api/v2/subscriptions/{id}/{verb}"), json!({})).await
    }

    async fn status(&self, subscription: &Value) -> Result<Value> {
        let id = subscription.as_str().context("an id")?;
        Ok(self.app.get(&format!("/api/v2/subscriptions/{id}")).await?["status"].clone())
    }
}

#[tokio::test]
async fn a_user_has_what_his_customer_holds() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "immediate").await?;
        assert_eq!(shop.provision(0).await?.problem(409)?, "customer_lacks");
        let wrong = shop.assign("seat").await?;
        assert_eq!(wrong.body["errors"][0]["code"], "other_level");
        wrong.problem(422)?;
        let assigned = shop.assign("base").await?.expect(201)?;
        let path = format!("/api/v2/users/{}/subscriptions", shop.users[0]);
        let wrong = shop.act(&path, json!({ "service": "desktop", "plan": "base" })).await?;
        assert_eq!(wrong.body["errors"][0]["code"], "other_level");
        for user in [0, 1] {
            shop.provision(user).await?.expect(201)?;
        }
        // Taken away from the customer, it goes from the users first.
        shop.app.ambient.set("2019-11-11T09:00:00Z");
        let gone = shop.verb(&assigned["id"], "deprovision").await?.expect(200)?;
        assert_eq!(gone["status"], "NotProvisioned");
        let whole = shop.request(&gone["requestId"]).await?;
        let parts = whole["subRequests"].as_array().context("parts")?;
        assert_eq!((parts.len(), &whole["status"]), (2, &json!("Completed")));
        for part in parts {
            assert_eq!(part["status"], "Completed");
            assert_eq!(shop.request(&part["id"]).await?["parentId"], whole["id"]);
            assert_eq!(shop.status(&part["subscriptionId"]).await?, "NotProvisioned");
        }
        let query = "{ requests { nodes { subRequestCount parent { uuid } \
                     subRequests(first: 5) { uuid status } } } }";
        let told = shop.app.post("/graphql", json!({ "query": query })).await?;
        let nodes = told["data"]["requests"]["nodes"].as_array().context("requests")?;
        let own = nodes.iter().find(|node| node["subRequestCount"] == 2).context("the whole")?;
        let uuids = |parts: &Value, key: &str| -> Vec<Value> {
            parts.as_array().into_iter().flatten().map(|part| part[key].clone()).collect()
        };
        assert_eq!(uuids(&own["subRequests"], "uuid"), uuids(&whole["subRequests"], "id"));
        let theirs = nodes.iter().filter(|node| node["parent"]["uuid"] == whole["id"]);
        assert_eq!(theirs.count(), 2);
        let events = shop.app.get("/api/v2/events?limit=500").await?;
        let done: Vec<_> = events["data"]
            .as_array()
            .context("events")?
            .iter()
            .filter(|it| {
                it["type"].as_str().is_some_and(|it| it.ends_with("subscription.deprovisioned"))
            })
            .collect();
        assert_eq!(done.len(), 3);
        let last = done[2].to_string();
        assert!(
            last.contains(assigned["id"].as_str().context("an id")?),
            "the customer's is last: {last}"
        );
        shop.app.ambient.set("2019-12-20T00:00:00Z");
        let bill = shop.app.get("/api/Billing/2019-11-30/detail").await?;
        let rows = bill["data"].as_array().context("rows")?.iter();
        let amounts: Vec<_> = rows.map(|row| row["amount"].clone()).collect();
        assert_eq!(amounts.len(), 3, "{bill}");
        assert!(amounts.contains(&json!("33.33")) && amounts.contains(&json!("10.00")), "{bill}");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_users_request_waits_for_the_customers() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "reported").await?;
        let customers = shop.assign("free").await?.expect(202)?;
        let asked = shop.provision(0).await?.expect(202)?;
        assert_eq!(asked["waits"], true);
        let start = format!("/api/v2/requests/{}/start", asked["id"].as_str().context("an id")?);
        assert_eq!(shop.act(&start, json!({})).await?.problem(409)?, "waits");
        // What is asked once the work is immediate waits all the same, and needs nobody then.
        publish(&shop.app, "immediate").await?;
        let other = shop.provision(1).await?.expect(202)?;
        assert_eq!(other["waits"], true);
        shop.report(&customers["id"], "start").await?;
        shop.app.ambient.set("2019-11-11T00:00:00Z");
        shop.report(&customers["id"], "complete").await?;
        assert_eq!(shop.status(&other["subscriptionId"]).await?, "Provisioned");
        let released = shop.request(&asked["id"]).await?;
        assert_eq!((&released["waits"], &released["status"]), (&json!(false), &json!("Requested")));
        shop.report(&asked["id"], "start").await?;
        shop.report(&asked["id"], "complete").await?;
        assert_eq!(shop.status(&asked["subscriptionId"]).await?, "Provisioned");
        shop.app.ambient.set("2019-12-20T00:00:00Z");
        let bill = shop.app.get("/api/Billing/2019-11-30/detail").await?;
        let rows = bill["data"].as_array().context("rows")?.iter();
        let mut amounts: Vec<_> = rows.filter_map(|row| row["amount"].as_str()).collect();
        amounts.sort_unstable();
        assert_eq!(amounts, ["0.00", "20.00", "20.00"], "from completion on: {bill}");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn where_the_customers_fails_the_users_fails_and_is_asked_again() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "reported").await?;
        let customers = shop.assign("free").await?.expect(202)?;
        let asked = shop.provision(0).await?.expect(202)?;
        shop.report(&customers["id"], "start").await?;
        shop.report(&customers["id"], "fail").await?;
        assert_eq!(shop.request(&asked["id"]).await?["status"], "Failed");
        assert_eq!(
            shop.verb(&asked["subscriptionId"], "retry").await?.problem(409)?,
            "customer_lacks"
        );
        assert_eq!(shop.provision(1).await?.problem(409)?, "customer_lacks");
        shop.verb(&customers["subscriptionId"], "retry").await?.expect(202)?;
        let again = shop.verb(&asked["subscriptionId"], "retry").await?.expect(202)?;
        assert_eq!((&again["status"], &again["waits"]), (&json!("Requested"), &json!(true)));
        for what in ["start", "complete"] {
            shop.report(&customers["id"], what).await?;
        }
        for what in ["start", "complete"] {
            shop.report(&asked["id"], what).await?;
        }
        assert_eq!(shop.status(&asked["subscriptionId"]).await?, "Provisioned");
        shop.app.finish().await?;

        // Taken back, it does not come any more.
        let shop = Shop::new(engine, "reported").await?;
        let customers = shop.assign("free").await?.expect(202)?;
        let asked = shop.provision(0).await?.expect(202)?;
        shop.verb(&customers["subscriptionId"], "cancel").await?.expect(200)?;
        assert_eq!(shop.request(&asked["id"]).await?["status"], "Failed");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_customers_removal_waits_for_those_of_its_users() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "immediate").await?;
        let assigned = shop.assign("base").await?.expect(201)?;
        let held = [shop.provision(0).await?.expect(201)?, shop.provision(1).await?.expect(201)?];
        publish(&shop.app, "reported").await?;
        shop.app.ambient.set("2019-11-11T09:00:00Z");
        let removal = shop.verb(&assigned["id"], "deprovision").await?.expect(202)?;
        assert_eq!(removal["waits"], true);
        let start = format!("/api/v2/requests/{}/start", removal["id"].as_str().context("an id")?);
        assert_eq!(shop.act(&start, json!({})).await?.problem(409)?, "waits");
        let parts = shop.request(&removal["id"]).await?["subRequests"].clone();
        for part in parts.as_array().context("parts")? {
            assert_eq!(shop.act(&start, json!({})).await?.problem(409)?, "waits");
            shop.report(&part["id"], "start").await?;
            shop.report(&part["id"], "complete").await?;
        }
        shop.report(&removal["id"], "start").await?;
        shop.report(&removal["id"], "complete").await?;
        assert_eq!(shop.status(&assigned["id"]).await?, "NotProvisioned");

        // Taken back as a whole, it is so in its parts; a part that is given up lets the whole fail.
        publish(&shop.app, "immediate").await?;
        shop.assign("base").await?.expect(201)?;
        shop.provision(0).await?.expect(201)?;
        publish(&shop.app, "reported").await?;
        shop.verb(&assigned["id"], "deprovision").await?.expect(202)?;
        assert_eq!(shop.status(&held[0]["id"]).await?, "Requested");
        shop.verb(&assigned["id"], "cancel").await?.expect(200)?;
        assert_eq!(shop.status(&held[0]["id"]).await?, "Provisioned");
        shop.verb(&assigned["id"], "deprovision").await?.expect(202)?;
        shop.verb(&held[0]["id"], "cancel").await?.expect(200)?;
        assert_eq!(shop.status(&assigned["id"]).await?, "Failed");
        shop.verb(&assigned["id"], "reset").await?.expect(200)?;
        assert_eq!(shop.status(&assigned["id"]).await?, "Provisioned");
        shop.app.finish().await?;
    }
    Ok(())
}
