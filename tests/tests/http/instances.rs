//! Services that one holder can have many of, and wishes that are said twice.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

/// A CRM that a customer can have two of; `process` says who does the work.
async fn publish(app: &TestApp, process: &str) -> Result<()> {
    let definition = json!({
        "name": "CRM", "level": "customer", "instancing": "multi", "maxInstances": 2,
        "process": process,
        "properties": [{ "key": "Seats", "scope": "customer", "kind": "input", "type": "integer" }],
        "plans": [
            { "key": "team", "name": "Team", "sku": "CRM1", "price": "40.00", "properties": {} },
            { "key": "firm", "name": "Firm", "sku": "CRM2", "price": "80.00", "properties": {} },
        ],
    });
    app.put("/api/v2/services/crm/draft", definition).await?;
    app.post("/api/v2/services/crm/publish", json!({ "rollOut": true })).await?;
    Ok(())
}

async fn provision(app: &TestApp, customer: &str, sent: Value) -> Result<Answer> {
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    app.send(&app.token, Method::POST, &path, Some(sent)).await
}

fn crm(instance: &str) -> Value {
    json!({ "service": "crm", "plan": "team", "instance": instance, "properties": { "Seats": 5 } })
}

#[tokio::test]
async fn a_holder_has_no_more_instances_than_there_can_be_also_when_many_ask_at_once() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        publish(&app, "immediate").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let names = ["production", "staging", "tests", "old", "new", "spare"];
        let asked = names.map(|name| provision(&app, &customer, crm(name)));
        let answers = futures_util::future::join_all(asked).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(made.len(), 2);
        let held = made[0].body["id"].as_str().context("an id")?.to_owned();
        for refused in answers.into_iter().filter(|answer| answer.status != 201) {
            assert_eq!(refused.problem(409)?, "too_many_instances");
        }
        // Where one goes, there is room for another from then on.
        let path = format!("/api/v2/subscriptions/{held}/deprovision");
        app.post(&path, json!({ "effectiveAt": "2019-12-01" })).await?;
        assert_eq!(
            provision(&app, &customer, crm("next")).await?.problem(409)?,
            "too_many_instances"
        );
        let mut later = crm("next");
        later["effectiveAt"] = "2019-12-01".into();
        provision(&app, &customer, later).await?.expect(201)?;
        // Another holder has his own.
        let other = app.customer("Zoo", None).await?;
        provision(&app, &other, crm("production")).await?.expect(201)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_only_asked_for_takes_its_place() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        publish(&app, "reported").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let first = provision(&app, &customer, crm("production")).await?.expect(202)?;
        provision(&app, &customer, crm("staging")).await?.expect(202)?;
        assert_eq!(
            provision(&app, &customer, crm("tests")).await?.problem(409)?,
            "too_many_instances"
        );
        let held = first["subscriptionId"].as_str().context("an id")?;
        app.post(&format!("/api/v2/subscriptions/{held}/cancel"), json!({})).await?;
        provision(&app, &customer, crm("tests")).await?.expect(202)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_same_settings_are_the_same_wish_and_others_are_a_change() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        publish(&app, "reported").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let first = provision(&app, &customer, crm("production")).await?.expect(202)?;
        let again = provision(&app, &customer, crm("production")).await?.expect(202)?;
        assert_eq!(again, first, "the same request");
        let others = [
            ("plan", json!("firm")),
            ("quantity", json!(2)),
            ("properties", json!({ "Seats": 6 })),
        ];
        for (field, value) in &others {
            let mut other = crm("production");
            other[*field] = value.clone();
            let refused = provision(&app, &customer, other).await?;
            assert_eq!(refused.problem(409)?, "request_open", "{field}");
        }
        let request = first["id"].as_str().context("an id")?;
        for what in ["start", "complete"] {
            app.post(&format!("/api/v2/requests/{request}/{what}"), json!({})).await?;
        }
        let same = provision(&app, &customer, crm("production")).await?.expect(200)?;
        assert_eq!(same["status"], "Provisioned");
        for (field, value) in others {
            let mut other = crm("production");
            other[field] = value;
            let refused = provision(&app, &customer, other).await?;
            assert_eq!(refused.problem(409)?, "already_provisioned", "{field}");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_maximum_is_for_what_can_be_had_many_times() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        publish(&app, "immediate").await?;
        let mut definition = app.get("/api/v2/services/crm").await?["published"].clone();
        definition["key"] = "desk".into();
        definition["instancing"] = "single".into();
        app.put("/api/v2/services/desk/draft", definition.clone()).await?;
        let problems = app.get("/api/v2/services/desk/problems").await?;
        assert!(problems.to_string().contains("/maxInstances"), "{problems}");
        definition["maxInstances"] = 0.into();
        let path = "/api/v2/services/desk/draft";
        let refused = app.send(&app.token, Method::PUT, path, Some(definition)).await?;
        assert_eq!(refused.body["errors"][0]["pointer"], "/maxInstances");
        assert_eq!(refused.problem(422)?, "invalid");
        app.finish().await?;
    }
    Ok(())
}
