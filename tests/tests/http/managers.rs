//! A user's manager.

use anyhow::Result;
use atrium_tests::http::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

async fn set(app: &TestApp, token: &str, user: &str, manager: Value) -> Result<Answer> {
    let sent = json!({ "managerId": manager });
    app.send(token, Method::PATCH, &format!("/api/v2/users/{user}"), Some(sent)).await
}

/// What is wrong with the manager.
fn fault(answer: Answer) -> Result<String> {
    let body = answer.expect(422)?;
    assert_eq!(body["errors"][0]["pointer"], "/managerId", "{body}");
    Ok(body["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
}

async fn events(app: &TestApp, kind: &str) -> Result<usize> {
    let events = app.get("/api/v2/events?limit=500").await?;
    let all = events["data"].as_array().into_iter().flatten();
    Ok(all.filter(|event| event["type"] == kind).count())
}

#[tokio::test]
async fn a_manager_is_set_changed_and_cleared_and_shown() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (ann, _) = app.user(&customer, "ann@example.com", &[]).await?;
        let (ben, _) = app.user(&customer, "ben@example.com", &[]).await?;
        let sent = json!({ "firstName": "Eve", "lastName": "Lee", "email": "eve@example.com",
            "managerId": ann });
        let eve = app.post(&format!("/api/v2/customers/{customer}/users"), sent).await?;
        assert_eq!(eve["managerId"], ann.as_str());
        let eve = eve["id"].as_str().unwrap_or_default().to_owned();
        let changed = set(&app, &app.token, &eve, json!(ben)).await?.expect(200)?;
        assert_eq!(changed["managerId"], ben.as_str());
        // The same again, and what says nothing of it, change nothing.
        let again = set(&app, &app.token, &eve, json!(ben)).await?.expect(200)?;
        assert_eq!(again["version"], changed["version"]);
        let other = json!({ "department": "Sales" });
        let path = format!("/api/v2/users/{eve}");
        app.send(&app.token, Method::PATCH, &path, Some(other)).await?.expect(200)?;
        assert_eq!(app.get(&path).await?["managerId"], ben.as_str());
        let query = "{ users { nodes { uuid manager { uuid name } } } }";
        let shown = app.post("/graphql", json!({ "query": query })).await?;
        let nodes = shown["data"]["users"]["nodes"].as_array().cloned().unwrap_or_default();
        let of_eve = nodes.iter().find(|node| node["uuid"] == eve.as_str());
        assert_eq!(
            of_eve.map(|node| node["manager"].clone()),
            Some(json!({ "uuid": ben, "name": "Uli ben@example.com" })),
            "{shown}"
        );
        let cleared = set(&app, &app.token, &eve, Value::Null).await?.expect(200)?;
        assert_eq!(cleared["managerId"], Value::Null);
        assert_eq!(events(&app, "user.manager_set").await?, 2);
        assert_eq!(events(&app, "user.manager_cleared").await?, 1);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_is_above_himself_by_whatever_way() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let mut users = Vec::new();
        for n in 0..4 {
            users.push(app.user(&customer, &format!("u{n}@example.com"), &[]).await?.0);
        }
        for pair in users.windows(2) {
            set(&app, &app.token, &pair[0], json!(pair[1])).await?.expect(200)?;
        }
        for user in &users[..4] {
            let refused = set(&app, &app.token, &users[3], json!(user)).await?;
            assert_eq!(fault(refused)?, "cycle");
        }
        // Once it is cut, the other way round is possible.
        set(&app, &app.token, &users[0], Value::Null).await?.expect(200)?;
        set(&app, &app.token, &users[3], json!(users[0])).await?.expect(200)?;
        assert_eq!(fault(set(&app, &app.token, &users[0], json!(users[2])).await?)?, "cycle");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn chains_of_managers_are_bounded() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let path = format!("/api/v2/customers/{customer}/users");
        let sent = |n: usize, manager: Option<&Value>| {
            json!({ "firstName": "Uli", "lastName": "Lee", "email": format!("u{n}@example.com"),
                "managerId": manager })
        };
        let mut above = app.post(&path, sent(0, None)).await?["id"].clone();
        let bottom = app.post(&path, sent(99, None)).await?["id"].clone();
        let bottom = bottom.as_str().unwrap_or_default();
        for n in 1..=20 {
            above = app.post(&path, sent(n, Some(&above))).await?["id"].clone();
        }
        let refused = set(&app, &app.token, bottom, above).await?;
        assert_eq!(fault(refused)?, "too_many_managers");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_manager_is_of_the_same_organisation_or_above_in_use_and_in_sight() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let reseller = app.reseller("East").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let other = app.customer("Zoo", Some(&reseller)).await?;
        let (above, of_reseller) =
            app.user(&reseller, "above@example.com", &["Reseller Administrator"]).await?;
        let (_, of_customer) =
            app.user(&customer, "admin@zoo.test", &["Customer Administrator"]).await?;
        let (ann, _) = app.user(&customer, "ann@example.com", &[]).await?;
        let (ben, _) = app.user(&customer, "ben@example.com", &[]).await?;
        let (beside, _) = app.user(&other, "beside@example.com", &[]).await?;

        set(&app, &of_reseller, &ann, json!(above)).await?.expect(200)?;
        assert_eq!(fault(set(&app, &of_reseller, &above, json!(ann)).await?)?, "not_above");
        assert_eq!(fault(set(&app, &of_reseller, &ann, json!(beside)).await?)?, "not_above");
        // Whom the customer cannot see is not there for it, and stays where somebody above set him.
        for unknown in [&above, &beside, &app.administrator, "nonsense"] {
            let refused = set(&app, &of_customer, &ben, json!(unknown)).await?;
            assert_eq!(fault(refused)?, "unknown_user", "{unknown}");
        }
        let same = json!({ "managerId": above, "department": "Sales" });
        let path = format!("/api/v2/users/{ann}");
        let kept = app.send(&of_customer, Method::PATCH, &path, Some(same)).await?.expect(200)?;
        assert_eq!(kept["managerId"], above.as_str());
        let query = json!({ "query": "{ users { nodes { uuid manager { uuid } } } }" });
        let shown = app.send(&of_customer, Method::POST, "/graphql", Some(query)).await?;
        let shown = shown.expect(200)?;
        assert_eq!(shown["errors"], Value::Null, "{shown}");
        assert!(!shown.to_string().contains(&above), "he is out of its sight: {shown}");

        let disable = format!("/api/v2/users/{ben}/disable");
        app.post(&disable, json!({})).await?;
        assert_eq!(fault(set(&app, &of_customer, &ann, json!(ben)).await?)?, "user_disabled");
        // All faults at once.
        let sent = json!({ "firstName": " ", "managerId": beside });
        let faults = app.send(&of_reseller, Method::PATCH, &path, Some(sent)).await?.expect(422)?;
        assert_eq!(faults["errors"].as_array().map(Vec::len), Some(2), "{faults}");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_manager_who_is_not_in_use_any_more_stays_named() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (ann, _) = app.user(&customer, "ann@example.com", &[]).await?;
        let (ben, _) = app.user(&customer, "ben@example.com", &[]).await?;
        set(&app, &app.token, &ann, json!(ben)).await?.expect(200)?;
        app.post(&format!("/api/v2/users/{ben}/deprovision"), json!({})).await?;
        let at = format!("/api/v2/users/{ben}");
        app.send(&app.token, Method::DELETE, &at, None).await?.expect(200)?;
        app.post(&format!("{at}/erase"), json!({})).await?;
        let path = format!("/api/v2/users/{ann}");
        assert_eq!(app.get(&path).await?["managerId"], ben.as_str());
        app.finish().await?;
    }
    Ok(())
}
