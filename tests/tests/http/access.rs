//! Who is let in, and to what.

use anyhow::{Context, Result};
use atrium_tests::http::{PASSWORD, TestApp, answer};
use reqwest::Method;
use serde_json::json;

use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";

#[tokio::test]
async fn every_cause_of_401_is_answered_alike() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let path = format!("/api/v2/users/{}/tokens", app.administrator);
        let made = app.post(&path, json!({ "name": "report" })).await?;
        let token = made["token"].as_str().context("a token")?.to_owned();
        let id = made["id"].as_str().context("an id")?.to_owned();
        app.send(&token, Method::GET, "/api/v2/customers", None).await?.expect(200)?;
        let listed = app.get(&path).await?;
        assert_eq!(listed["data"][1]["name"], "report");
        assert!(listed["data"][1]["token"].is_null(), "a token is shown once");
        let deleted = app.send(&app.token, Method::DELETE, &format!("{path}/{id}"), None).await?;
        assert_eq!(deleted.status, 204);

        let mut answers = Vec::new();
        for bad in ["garbage", "a.b.c", &token, &format!("{token}x")] {
            answers.push(app.send(bad, Method::GET, "/api/v2/customers", None).await?);
        }
        answers.push(app.send("", Method::GET, "/api/v2/customers", None).await?);
        let sent = json!({ "login": "nobody@example.com", "password": PASSWORD });
        answers.push(app.send("", Method::POST, "/api/v2/session", Some(sent)).await?);
        for answer in answers {
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            let mut body = answer.body.clone();
            body["instance"] = json!("");
            assert_eq!(
                body,
                json!({
                    "type": "urn:atrium:problem:unauthenticated", "title": "Unauthorized",
                    "status": 401, "code": "unauthenticated", "instance": "",
                    "detail": "Send a valid token: `Authorization: Bearer <token>`.",
                })
            );
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn signing_out_and_disabling_are_felt_at_once_and_elsewhere_within_a_second() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let reseller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let (id, session) =
            app.user(&customer, "uli@example.com", &["Customer Administrator"]).await?;
        let (elsewhere, stop, served) = app.another().await?;
        let asks = async |url: &str, token: &str| -> Result<u16> {
            let client = reqwest::Client::new();
            let request = client.get(format!("{url}/api/v2/users/{id}")).bearer_auth(token);
            Ok(answer(request).await?.status.as_u16())
        };
        assert_eq!(asks(&app.url, &session).await?, 200);
        assert_eq!(asks(&elsewhere, &session).await?, 200);
        app.post(&format!("/api/v2/resellers/{reseller}/disable"), json!({})).await?;
        assert_eq!(asks(&app.url, &session).await?, 401);
        let disabled = std::time::Instant::now();
        while asks(&elsewhere, &session).await? != 401 {
            assert!(disabled.elapsed().as_millis() < 1_000, "it is not felt elsewhere");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        app.post(&format!("/api/v2/resellers/{reseller}/enable"), json!({})).await?;
        assert_eq!(asks(&app.url, &session).await?, 200);
        let out = app.send(&session, Method::DELETE, "/api/v2/session", None).await?;
        assert_eq!(out.status, 204);
        assert_eq!(asks(&app.url, &session).await?, 401);
        app.post(&format!("/api/v2/users/{id}/disable"), json!({ "reason": "left" })).await?;
        assert!(app.sign_in("uli@example.com", PASSWORD).await.is_err());
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn tenants_do_not_exist_for_each_other() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("backup").await?;
        let (ours, theirs) = (app.reseller("Ours").await?, app.reseller("Theirs").await?);
        let (near, far) =
            (app.customer("Near", Some(&ours)).await?, app.customer("Far", Some(&theirs)).await?);
        let (_, admin) = app.user(&ours, "o@example.com", &["Reseller Administrator"]).await?;
        let (user, _) = app.user(&far, "f@example.com", &[]).await?;
        let listed = app.send(&admin, Method::GET, "/api/v2/customers", None).await?.expect(200)?;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
        let bad = json!({ "nonsense": 1 });
        for (method, path) in [
            (Method::GET, format!("/api/v2/customers/{far}")),
            (Method::GET, format!("/api/v2/users/{user}")),
            (Method::GET, "/api/v2/customers/00000000-0000-7000-8000-000000000000".to_owned()),
            (Method::GET, "/api/v2/customers/nonsense".to_owned()),
            (Method::PATCH, format!("/api/v2/customers/{far}")),
            (Method::POST, format!("/api/v2/customers/{far}/disable")),
            (Method::POST, format!("/api/v2/customers/{far}/subscriptions")),
            (Method::PUT, format!("/api/v2/organizations/{far}/prices")),
        ] {
            // Authorisation before validation: what is wrong with the body does not show.
            let sent = (method != Method::GET).then(|| bad.clone());
            let answer = app.send(&admin, method.clone(), &path, sent).await?;
            assert_eq!(answer.problem(404)?, "not_found", "{method} {path}");
        }
        let sent = json!({ "service": "backup", "plan": "BU001" });
        let path = format!("/api/v2/customers/{near}/subscriptions");
        app.send(&admin, Method::POST, &path, Some(sent)).await?.expect(201)?;
        let draft = "/api/v2/services/backup/draft";
        let refused = app.send(&admin, Method::PUT, draft, Some(bad)).await?;
        assert!(refused.body["detail"].as_str().is_some_and(|it| it.contains("services.publish")));
        assert_eq!(refused.problem(403)?, "forbidden");
        app.finish().await?;
    }
    Ok(())
}
