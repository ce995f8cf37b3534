//! From active to deleted, and back.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, PASSWORD, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

async fn act(app: &TestApp, path: &str, verb: &str) -> Result<Answer> {
    if verb == "delete" {
        return app.send(&app.token, Method::DELETE, path, None).await;
    }
    let sent = json!({ "reason": "contract ended" });
    app.send(&app.token, Method::POST, &format!("{path}/{verb}"), Some(sent)).await
}

async fn provision(app: &TestApp, holder: &str, sent: Value) -> Result<String> {
    let made = app.post(&format!("{holder}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

async fn status_of(app: &TestApp, subscription: &str) -> Result<Value> {
    Ok(app.get(&format!("/api/v2/subscriptions/{subscription}")).await?["status"].clone())
}

/// The kinds of all events.
async fn history(app: &TestApp) -> Result<Vec<String>> {
    let events = app.get("/api/v2/events?limit=500").await?;
    let events = events["data"].as_array().context("events")?.iter();
    Ok(events.filter_map(|event| event["type"].as_str().map(str::to_owned)).collect())
}

fn ids(listed: &Value) -> Vec<&str> {
    let items = listed["data"].as_array();
    items.into_iter().flatten().filter_map(|it| it["id"].as_str()).collect()
}

#[tokio::test]
async fn a_customer_goes_with_all_that_it_has_and_comes_back_without() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("backup").await?;
        app.publish("mailbox").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (ann, session) = app.user(&customer, "ann@example.com", &[]).await?;
        let (ben, _) = app.user(&customer, "ben@example.com", &[]).await?;
        let (at, of_ann) =
            (format!("/api/v2/customers/{customer}"), format!("/api/v2/users/{ann}"));
        let backup = provision(&app, &at, json!({ "service": "backup", "plan": "BU001" })).await?;
        let mailbox = json!({ "service": "mailbox", "plan": "standard" });
        let held = provision(&app, &of_ann, mailbox.clone()).await?;
        let to_come =
            json!({ "service": "mailbox", "plan": "standard", "effectiveAt": "2019-12-01" });
        let to_come = provision(&app, &format!("/api/v2/users/{ben}"), to_come).await?;

        let refused = act(&app, &at, "delete").await?;
        assert_eq!(refused.problem(409)?, "not_deprovisioned");
        let gone = act(&app, &at, "deprovision").await?.expect(200)?;
        assert_eq!(gone["status"], "deprovisioned");
        for subscription in [&backup, &held, &to_come] {
            assert_eq!(status_of(&app, subscription).await?, "NotProvisioned");
        }
        let listed = app.send(&session, Method::GET, &of_ann, None).await?;
        assert_eq!(listed.problem(401)?, "unauthenticated");
        app.ambient.set("2019-12-15T00:00:00Z");
        assert_eq!(
            status_of(&app, &to_come).await?,
            "NotProvisioned",
            "what was to come is gone too"
        );

        // The users' services first, then the customer's, then the users, then itself.
        let told = history(&app).await?;
        let told: Vec<_> = told.iter().filter(|kind| kind.ends_with(".deprovisioned")).collect();
        let expected = [
            "subscription.deprovisioned",
            "subscription.deprovisioned",
            "subscription.deprovisioned",
            "user.deprovisioned",
            "user.deprovisioned",
            "organization.deprovisioned",
        ];
        assert!(
            told.iter().zip(expected).all(|(told, expected)| told.ends_with(expected)),
            "{told:?}"
        );
        assert_eq!(told.len(), expected.len());
        let bill = app.get("/api/Billing/2019-11-30/detail").await?;
        assert!(bill.to_string().contains("Aanimals Inc"), "what was charged stays: {bill}");

        // Asked again, it is as it was.
        let before = history(&app).await?;
        act(&app, &at, "deprovision").await?.expect(200)?;
        assert_eq!(history(&app).await?, before);

        let deleted = act(&app, &at, "delete").await?.expect(200)?;
        assert_eq!(deleted["status"], "deleted");
        assert!(deleted["deletedAt"].is_string());
        assert!(!ids(&app.get("/api/v2/customers").await?).contains(&customer.as_str()));
        assert!(ids(&app.get(&format!("{at}/users")).await?).is_empty());
        let hidden = "{ customers { totalCount } deleted: customers(filter: {status: DELETED}) \
                      { nodes { name status } } users(filter: {status: DELETED}) { totalCount } }";
        let shown = app.post("/graphql", json!({ "query": hidden })).await?;
        let expected = json!({
            "customers": { "totalCount": 0 },
            "deleted": { "nodes": [{ "name": "Aanimals Inc", "status": "DELETED" }] },
            "users": { "totalCount": 2 },
        });
        assert_eq!(shown["data"], expected);
        let edited = json!({ "name": "Zanimals" });
        let refused = app.send(&app.token, Method::PATCH, &at, Some(edited)).await?;
        assert_eq!(refused.problem(409)?, "deleted");
        for verb in ["disable", "enable", "deprovision"] {
            assert_eq!(act(&app, &at, verb).await?.problem(409)?, "deleted", "{verb}");
        }
        assert_eq!(act(&app, &of_ann, "restore").await?.problem(409)?, "organization_deleted");
        let bill_again = app.get("/api/Billing/2019-11-30/detail").await?;
        assert_eq!(bill_again, bill, "the ledger does not notice");

        let restored = act(&app, &at, "restore").await?.expect(200)?;
        assert_eq!(
            (&restored["status"], &restored["deletedAt"]),
            (&json!("deprovisioned"), &Value::Null)
        );
        assert_eq!(ids(&app.get(&format!("{at}/users")).await?).len(), 2);
        let refused = json!({ "service": "backup", "plan": "BU001" });
        let path = format!("{at}/subscriptions");
        let refused = app.send(&app.token, Method::POST, &path, Some(refused)).await?;
        assert_eq!(refused.problem(409)?, "organization_disabled");
        act(&app, &at, "enable").await?.expect(200)?;
        act(&app, &of_ann, "enable").await?.expect(200)?;
        provision(&app, &of_ann, mailbox).await?;
        app.sign_in("ann@example.com", PASSWORD).await?;
        assert!(app.sign_in("ben@example.com", PASSWORD).await.is_err(), "nobody enabled him");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_reseller_goes_after_those_below_it() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let reseller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let (_, session) =
            app.user(&reseller, "rae@example.com", &["Reseller Administrator"]).await?;
        let at = format!("/api/v2/resellers/{reseller}");
        let below = format!("/api/v2/customers/{customer}");
        let refused = act(&app, &at, "deprovision").await?;
        let detail = refused.body["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(refused.problem(409)?, "has_organizations");
        assert!(detail.contains("Aanimals Inc"), "{detail}");
        let own = app.send(&session, Method::POST, &format!("{at}/deprovision"), None).await?;
        assert_eq!(own.problem(409)?, "yourself");
        act(&app, &below, "deprovision").await?.expect(200)?;
        act(&app, &at, "deprovision").await?.expect(200)?;
        assert_eq!(act(&app, &at, "delete").await?.problem(409)?, "has_organizations");
        act(&app, &below, "delete").await?.expect(200)?;
        act(&app, &at, "delete").await?.expect(200)?;
        let listed = app.get("/api/v2/resellers").await?;
        assert!(ids(&listed).is_empty(), "{listed}");
        let sent = json!({ "name": "Late", "parentId": reseller });
        let late = app.send(&app.token, Method::POST, "/api/v2/customers", Some(sent)).await?;
        assert_eq!(late.problem(409)?, "organization_disabled");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_who_was_deleted_before_stays_deleted_when_his_organisation_comes_back() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (ann, _) = app.user(&customer, "ann@example.com", &[]).await?;
        let (ben, _) = app.user(&customer, "ben@example.com", &[]).await?;
        let (at, of_ben) =
            (format!("/api/v2/customers/{customer}"), format!("/api/v2/users/{ben}"));
        assert_eq!(act(&app, &of_ben, "delete").await?.problem(409)?, "not_deprovisioned");
        act(&app, &of_ben, "deprovision").await?.expect(200)?;
        act(&app, &of_ben, "delete").await?.expect(200)?;
        let sent = json!({ "roles": [] });
        let roles =
            app.send(&app.token, Method::PUT, &format!("{of_ben}/roles"), Some(sent)).await?;
        assert_eq!(roles.problem(409)?, "deleted");
        app.ambient.set("2019-11-02T00:00:00Z");
        act(&app, &at, "deprovision").await?.expect(200)?;
        act(&app, &at, "delete").await?.expect(200)?;
        act(&app, &at, "restore").await?.expect(200)?;
        assert_eq!(ids(&app.get(&format!("{at}/users")).await?), [ann.as_str()]);
        act(&app, &of_ben, "restore").await?.expect(200)?;
        assert_eq!(ids(&app.get(&format!("{at}/users")).await?), [ann.as_str(), ben.as_str()]);
        let myself = format!("/api/v2/users/{}", app.administrator);
        assert_eq!(act(&app, &myself, "deprovision").await?.problem(409)?, "yourself");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_other_systems_know_is_kept_with_organisations_and_users() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let sent =
            json!({ "name": "Aanimals Inc", "customFields": { "crmId": "42", "tier": "gold" } });
        let made = app.post("/api/v2/customers", sent).await?;
        assert_eq!(made["customFields"], json!({ "crmId": "42", "tier": "gold" }));
        let customer = made["id"].as_str().context("an id")?;
        let at = format!("/api/v2/customers/{customer}");
        let sent = json!({ "customFields": { "tier": null, "region": "eu" } });
        let edited = app.send(&app.token, Method::PATCH, &at, Some(sent)).await?.expect(200)?;
        assert_eq!(edited["customFields"], json!({ "crmId": "42", "region": "eu" }));
        assert_eq!(edited["name"], "Aanimals Inc");

        let sent = json!({
            "firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "department": "Sales",
            "location": "Oslo", "customFields": { "badge": "7" },
        });
        let ann = app.post(&format!("{at}/users"), sent).await?;
        assert_eq!(
            (&ann["department"], &ann["customFields"]["badge"]),
            (&json!("Sales"), &json!("7"))
        );
        let path = format!("/api/v2/users/{}", ann["id"].as_str().context("an id")?);
        let sent = json!({ "department": null, "customFields": { "badge": "8" } });
        let moved = app.send(&app.token, Method::PATCH, &path, Some(sent)).await?.expect(200)?;
        assert_eq!((&moved["department"], &moved["location"]), (&Value::Null, &json!("Oslo")));
        assert_eq!(moved["customFields"], json!({ "badge": "8" }));
        let query = format!(
            "{{ organization(id: \"{customer}\") {{ customFields {{ name value }} \
             users {{ nodes {{ department location customFields {{ name value }} }} }} }} }}"
        );
        let shown = app.post("/graphql", json!({ "query": query })).await?;
        let shown = &shown["data"]["organization"];
        assert_eq!(shown["customFields"][1], json!({ "name": "region", "value": "eu" }));
        let user = json!({
            "department": null, "location": "Oslo", "customFields": [{ "name": "badge", "value": "8" }],
        });
        assert_eq!(shown["users"]["nodes"][0], user);

        let bad = json!({ "customFields": { "a/b": "two\nlines", "": "x" }, "code": "much too long a code" });
        let refused = app.send(&app.token, Method::PATCH, &at, Some(bad)).await?;
        let faults = refused.body["errors"].as_array().cloned().unwrap_or_default();
        let pointers: Vec<_> = faults.iter().filter_map(|it| it["pointer"].as_str()).collect();
        assert_eq!(pointers, ["/code", "/customFields/", "/customFields/a~1b"]);
        assert_eq!(refused.problem(422)?, "invalid");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_was_deleted_is_purged_once_the_days_are_over_and_what_was_charged_stays() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("mailbox").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let at = format!("/api/v2/customers/{customer}");
        app.send(
            &app.token,
            Method::PATCH,
            &at,
            Some(json!({ "contact": { "name": "Zoe Quill" } })),
        )
        .await?
        .expect(200)?;
        let (ann, _) = app.user(&customer, "ann@example.com", &[]).await?;
        let other = app.customer("Abacus", None).await?;
        let (ben, _) = app.user(&other, "ben@example.com", &[]).await?;
        let of_ann = format!("/api/v2/users/{ann}");
        provision(&app, &of_ann, json!({ "service": "mailbox", "plan": "standard" })).await?;
        app.ambient.set("2019-11-16T00:00:00Z");
        act(&app, &at, "deprovision").await?.expect(200)?;
        act(&app, &at, "delete").await?.expect(200)?;
        let of_ben = format!("/api/v2/users/{ben}");
        act(&app, &of_ben, "deprovision").await?.expect(200)?;
        act(&app, &of_ben, "delete").await?.expect(200)?;
        let bill = app.get("/api/Billing/2019-11-30").await?["data"].clone();
        assert_eq!(bill[0]["amount"], "2.10");

        // Not a day earlier, and nobody who was restored.
        app.turn("2020-02-13T23:59:59Z").await?;
        assert_eq!(app.get(&at).await?["status"], "deleted");
        act(&app, &of_ben, "restore").await?.expect(200)?;
        app.turn("2020-02-14T00:00:01Z").await?;
        for (path, code) in [(&at, "purged"), (&of_ann, "organization_deleted")] {
            assert_eq!(act(&app, path, "restore").await?.problem(409)?, code);
            assert_eq!(app.get(path).await?["status"], "purged");
        }
        let shown = app.get(&of_ann).await?;
        assert_eq!((&shown["firstName"], &shown["login"]), (&json!("Erased"), &Value::Null));
        assert_eq!(app.get(&at).await?["contact"], json!({}));
        assert_eq!(app.get(&of_ben).await?["status"], "deprovisioned");
        let listed = "{ all: customers { totalCount } deleted: customers(filter: {status: DELETED}) \
            { totalCount } purged: customers(filter: {status: PURGED}) { totalCount } \
            users(filter: {status: DELETED}) { totalCount } gone: users(filter: {status: PURGED}) { totalCount } }";
        let listed = app.post("/graphql", json!({ "query": listed })).await?["data"].clone();
        let counts = ["all", "deleted", "purged", "users", "gone"]
            .map(|it| listed[it]["totalCount"].clone());
        assert_eq!(counts, [1, 0, 0, 0, 0]);

        // The login is free again, the code is not: bills name the customer by it.
        app.user(&other, "ann@example.com", &[]).await?;
        let sent = json!({ "name": "Another", "code": app.get(&at).await?["code"] });
        let taken = app.send(&app.token, Method::POST, "/api/v2/customers", Some(sent)).await?;
        assert_eq!(taken.problem(409)?, "name_taken");
        let after = app.get("/api/Billing/2019-11-30").await?["data"].clone();
        assert_eq!(
            (&after[0]["amount"], &after[0]["customerName"]),
            (&bill[0]["amount"], &bill[0]["customerName"])
        );
        let history = history(&app).await?;
        for (kind, times) in [("user.purged", 1), ("organization.purged", 1)] {
            let purged = history.iter().filter(|happened| *happened == kind).count();
            assert_eq!(purged, times, "{kind}");
        }
        app.finish().await?;
    }
    Ok(())
}
