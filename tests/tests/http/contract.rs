//! The answer contract (api.md, section 4).

use anyhow::Result;
use atrium_tests::http::{TestApp, answer};
use reqwest::Method;
use serde_json::json;

use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";

#[tokio::test]
async fn a_key_makes_two_requests_one_effect() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let found = async |name: &str| {
            let request = app.request(&app.token, Method::POST, "/api/v2/customers");
            let request = request.header("idempotency-key", "k1").json(&json!({ "name": name }));
            answer(request).await
        };
        let first = found("Once").await?;
        let again = found("Once").await?;
        assert!(first.headers.get("idempotent-replay").is_none());
        assert_eq!(again.headers["idempotent-replay"], "true");
        assert_eq!(again.headers["location"], first.headers["location"]);
        assert_eq!(first.expect(201)?, again.expect(201)?);
        assert_eq!(found("Twice").await?.problem(422)?, "idempotency_key_reused");
        let listed = app.get("/api/v2/customers").await?;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));

        // A token is not kept, and is the same again all the same.
        let path = format!("/api/v2/users/{}/tokens", app.administrator);
        let make = async || {
            let request = app.request(&app.token, Method::POST, &path);
            let request = request.header("idempotency-key", "k2").json(&json!({ "name": "t" }));
            answer(request).await?.expect(201)
        };
        assert_eq!(make().await?["token"], make().await?["token"]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_status() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let post = async |path: &str, body: &str| {
            let request = app.request(&app.token, Method::POST, path);
            answer(request.header("content-type", "application/json").body(body.to_owned())).await
        };
        let customers = "/api/v2/customers";
        assert_eq!(post(customers, "{").await?.problem(400)?, "malformed");
        assert_eq!(post(customers, r#"{"name":1,"x":2}"#).await?.problem(400)?, "malformed");
        let faults = post(customers, r#"{"name":" ","code":"!","contact":{"email":"no"}}"#).await?;
        assert_eq!(faults.body["errors"].as_array().map(Vec::len), Some(3), "{}", faults.body);
        assert_eq!(faults.problem(422)?, "invalid");
        let taken = post(customers, r#"{"name":"Other","code":"AI"}"#).await?;
        assert_eq!(taken.problem(409)?, "name_taken");
        let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 * 1024));
        assert_eq!(post(customers, &large).await?.problem(413)?, "too_large");

        let text = app.request(&app.token, Method::POST, customers).body("name=x");
        assert_eq!(answer(text).await?.problem(415)?, "unsupported_media_type");
        let wrong = app.send(&app.token, Method::DELETE, customers, None).await?;
        assert!(wrong.headers.contains_key("allow"));
        assert_eq!(wrong.problem(405)?, "method_not_allowed");
        let long = format!("/api/v2/customers?after={}", "x".repeat(9_000));
        let long = app.send(&app.token, Method::GET, &long, None).await?;
        assert_eq!(long.problem(414)?, "uri_too_long");
        for (path, code) in [
            ("/nowhere", 404),
            ("/api/v2/customers?limit=501", 400),
            ("/api/v2/customers?limit=-1", 400),
            ("/api/v2/customers?after=%00", 400),
            ("/api/v2/customers?colour=red", 400),
            ("/api/v2/customers/%F0%9F%98%80", 404),
            ("/api/v2/customers/%00", 404),
        ] {
            app.send(&app.token, Method::GET, path, None).await?.problem(code)?;
        }

        let path = format!("/api/v2/customers/{customer}");
        let read = app.send(&app.token, Method::GET, &path, None).await?;
        let etag = read.headers["etag"].clone();
        let edit = async |name: &str| {
            let request = app.request(&app.token, Method::PATCH, &path);
            answer(request.header("if-match", &etag).json(&json!({ "name": name }))).await
        };
        assert_eq!(edit("Zebra Zoo").await?.expect(200)?["name"], "Zebra Zoo");
        assert_eq!(edit("Yak Yard").await?.problem(412)?, "stale_version");

        let request = app.request("", Method::GET, "/nowhere").header("x-request-id", "my-id.1");
        let told = answer(request).await?;
        assert_eq!(told.headers["x-request-id"], "my-id.1");
        assert_eq!(told.body["instance"], "my-id.1");
        for odd in ["", "a b", "a\"b", &"x".repeat(65)] {
            let told = app.request("", Method::GET, "/nowhere").header("x-request-id", odd);
            let told = answer(told).await?;
            assert_ne!(told.headers["x-request-id"], odd);
            assert_eq!(told.body["instance"], told.headers["x-request-id"].to_str()?);
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn wishes_that_are_true_already_add_nothing_and_others_are_refused() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("backup").await?;
        app.publish("crm").await?;
        app.publish("mailbox").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (user, _) = app.user(&customer, "uli@example.com", &[]).await?;
        let provision = async |holder: String, body: serde_json::Value| {
            let path = format!("/api/v2/{holder}/subscriptions");
            app.send(&app.token, Method::POST, &path, Some(body)).await
        };
        let to_customer = format!("customers/{customer}");
        let to_user = format!("users/{user}");
        let backup = json!({ "service": "backup", "plan": "BU001" });
        let first = provision(to_customer.clone(), backup.clone()).await?.expect(201)?;
        let again = provision(to_customer.clone(), backup).await?.expect(200)?;
        assert_eq!(first["version"], again["version"]);
        let other = json!({ "service": "backup", "plan": "BU010" });
        let other = provision(to_customer.clone(), other).await?;
        assert_eq!(other.problem(409)?, "already_provisioned");
        for (holder, body) in [
            (&to_user, json!({ "service": "backup", "plan": "BU001" })),
            (&to_customer, json!({ "service": "mailbox", "plan": "standard" })),
            (&to_customer, json!({ "service": "crm", "plan": "team" })),
            (&to_customer, json!({ "service": "backup", "plan": "BU001", "instance": "x" })),
            (&to_customer, json!({ "service": "backup", "plan": "none" })),
            (&to_customer, json!({ "service": "none", "plan": "none" })),
            (&to_customer, json!({ "service": "backup", "plan": "BU001", "quantity": 0 })),
            (&to_customer, json!({ "service": "backup", "plan": "BU001", "effectiveAt": "soon" })),
        ] {
            let answer = provision(holder.clone(), body.clone()).await?;
            assert_eq!(answer.problem(422)?, "invalid", "{body}");
        }
        for instance in ["production", "staging"] {
            let crm = json!({ "service": "crm", "plan": "team", "instance": instance });
            provision(to_customer.clone(), crm).await?.expect(201)?;
        }
        let mailbox = json!({ "service": "mailbox", "plan": "standard", "reason": "new" });
        let mailbox = provision(to_user, mailbox).await?.expect(201)?;
        let request = mailbox["requestId"].as_str().unwrap_or_default();
        let request = app.get(&format!("/api/v2/requests/{request}")).await?;
        assert_eq!(request["status"], "Completed");
        assert_eq!(request["reason"], "new");
        assert_eq!(request["ingredients"]["user"]["person"]["login"], "uli@example.com");

        let feed = app.get("/api/v2/events?limit=500").await?.to_string();
        assert!(!feed.contains("argon2") && !feed.contains("proof"), "secrets are never readable");
        app.finish().await?;
    }
    Ok(())
}
