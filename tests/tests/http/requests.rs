//! Requests whose work is done outside, and every verb.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// The shipped backup service, whose work somebody does.
async fn with_backup(engine: Engine, time: &str, process: &str) -> Result<(TestApp, String)> {
    let app = TestApp::new(engine, time).await?;
    publish(&app, process).await?;
    let customer = app.customer("Aanimals Inc", None).await?;
    Ok((app, customer))
}

async fn publish(app: &TestApp, process: &str) -> Result<()> {
    app.publish("backup").await?;
    let mut definition = app.get("/api/v2/services/backup").await?["published"].clone();
    definition["process"] = process.into();
    app.put("/api/v2/services/backup/draft", definition).await?;
    app.post("/api/v2/services/backup/publish", json!({})).await?;
    Ok(())
}

async fn act(app: &TestApp, path: &str, sent: Value) -> Result<Answer> {
    app.send(&app.token, Method::POST, path, Some(sent)).await
}

/// Asks for Backup; gives the subscription's id and the request's.
async fn ask(app: &TestApp, customer: &str, sent: Value) -> Result<(String, String)> {
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    let asked = act(app, &path, sent).await?;
    let location = asked.headers.get("location").context("a location")?.to_str()?.to_owned();
    let asked = asked.expect(202)?;
    let (request, held) = (&asked["id"], &asked["subscriptionId"]);
    let id = |value: &Value| value.as_str().map(str::to_owned).context("an id");
    assert_eq!(location, format!("/api/v2/requests/{}", id(request)?));
    Ok((id(held)?, id(request)?))
}

/// Asks for something else about a subscription; gives the request's id.
async fn ask_for(app: &TestApp, held: &str, verb: &str, sent: Value) -> Result<String> {
    let asked = act(app, &format!("/api/v2/subscriptions/{held}/{verb}"), sent).await?;
    Ok(asked.expect(202)?["id"].as_str().context("an id")?.to_owned())
}

async fn report(app: &TestApp, request: &str, what: &str) -> Result<Value> {
    let sent = if what == "fail" { json!({ "detail": "No disk left." }) } else { json!({}) };
    act(app, &format!("/api/v2/requests/{request}/{what}"), sent).await?.expect(200)
}

async fn show(app: &TestApp, held: &str) -> Result<Value> {
    app.get(&format!("/api/v2/subscriptions/{held}")).await
}

async fn status(app: &TestApp, held: &str) -> Result<String> {
    Ok(show(app, held).await?["status"].as_str().context("a status")?.to_owned())
}

async fn amounts(app: &TestApp, query: &str) -> Result<Vec<String>> {
    let detail = app.get(&format!("/api/Billing/{query}")).await?;
    let rows = detail["data"].as_array().context("rows")?.iter();
    Ok(rows.filter_map(|row| row["amount"].as_str().map(str::to_owned)).collect())
}

fn backup() -> Value {
    json!({ "service": "backup", "plan": "BU001" })
}

/// Asked for, begun and done on one day.
async fn held(app: &TestApp, customer: &str) -> Result<String> {
    let (held, request) = ask(app, customer, backup()).await?;
    report(app, &request, "start").await?;
    report(app, &request, "complete").await?;
    Ok(held)
}

#[tokio::test]
async fn case_11a_failures_cost_nothing_and_completion_counts() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-05T09:00:00Z", "reported").await?;
        let (held, request) = ask(&app, &customer, backup()).await?;
        assert_eq!(status(&app, &held).await?, "Requested");
        for day in ["2019-11-05T10:00:00Z", "2019-11-08T10:00:00Z"] {
            app.ambient.set(day);
            assert_eq!(report(&app, &request, "start").await?["status"], "InProgress");
            assert_eq!(status(&app, &held).await?, "InProgress");
            let failed = report(&app, &request, "fail").await?;
            assert_eq!(
                (&failed["status"], &failed["detail"]),
                (&json!("Failed"), &json!("No disk left."))
            );
            assert_eq!(status(&app, &held).await?, "Failed");
            assert_eq!(ask_for(&app, &held, "retry", json!({})).await?, request);
        }
        app.ambient.set("2019-11-12T14:00:00Z");
        report(&app, &request, "start").await?;
        let done = report(&app, &request, "complete").await?;
        assert_eq!(done["status"], "Completed");
        assert_eq!(report(&app, &request, "complete").await?, done, "said twice, done once");
        assert_eq!(status(&app, &held).await?, "Provisioned");
        app.ambient.set("2019-12-20T00:00:00Z");
        assert_eq!(amounts(&app, "2019-11-30/detail").await?, ["63.33"]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_11b_a_failed_change_leaves_the_old_plan() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "reported").await?;
        let held = held(&app, &customer).await?;
        app.ambient.set("2019-11-10T09:00:00Z");
        let change = ask_for(&app, &held, "change", json!({ "plan": "BU010" })).await?;
        assert_eq!(status(&app, &held).await?, "Pending");
        // Asked again while it is open, it is the same wish; another one waits its turn.
        let again = ask_for(&app, &held, "change", json!({ "plan": "BU010" })).await?;
        assert_eq!(again, change);
        let path = format!("/api/v2/subscriptions/{held}/change");
        let other = act(&app, &path, json!({ "plan": "IA003" })).await?;
        assert_eq!(other.problem(409)?, "request_open");
        report(&app, &change, "start").await?;
        report(&app, &change, "fail").await?;
        assert_eq!(show(&app, &held).await?["plan"], "BU001");
        let reset = act(&app, &format!("/api/v2/subscriptions/{held}/reset"), json!({})).await?;
        assert_eq!(reset.expect(200)?["status"], "Provisioned");
        assert_eq!(app.get(&format!("/api/v2/requests/{change}")).await?["status"], "Cancelled");
        app.ambient.set("2019-12-20T00:00:00Z");
        assert_eq!(amounts(&app, "2019-11-30/detail").await?, ["100.00"]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_11c_a_failed_removal_is_not_charged_from_acceptance_on() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "reported").await?;
        let held = held(&app, &customer).await?;
        app.ambient.set("2019-11-20T09:00:00Z");
        let removal = ask_for(&app, &held, "deprovision", json!({})).await?;
        for day in ["2019-11-21T09:00:00Z", "2019-12-03T09:00:00Z"] {
            app.ambient.set(day);
            report(&app, &removal, "start").await?;
            report(&app, &removal, "fail").await?;
            ask_for(&app, &held, "retry", json!({ "reason": "new disk" })).await?;
        }
        app.ambient.set("2020-01-20T00:00:00Z");
        assert_eq!(amounts(&app, "2019-11-30/detail").await?, ["63.33"]);
        assert_eq!(amounts(&app, "2019-12-31/detail").await?, [""; 0]);
        // Given up, it is as if it had never been asked.
        report(&app, &removal, "start").await?;
        let position =
            app.get("/api/v2/events?limit=500").await?["data"].as_array().map_or(0, Vec::len);
        act(&app, &format!("/api/v2/subscriptions/{held}/reset"), json!({})).await?.expect(200)?;
        assert_eq!(status(&app, &held).await?, "Provisioned");
        assert_eq!(amounts(&app, "2019-11-30/detail").await?, ["100.00"]);
        let before = format!("2019-11-30/detail?knownAt={position}");
        assert_eq!(amounts(&app, &before).await?, ["63.33"], "{before}");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_15_a_future_change_is_scheduled_and_can_be_cancelled_until_its_day() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "immediate").await?;
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let made = app.post(&path, backup()).await?;
        let held = made["id"].as_str().context("an id")?;
        app.ambient.set("2019-11-12T09:00:00Z");
        let change = format!("/api/v2/subscriptions/{held}/change");
        let sent = json!({ "plan": "BU010", "effectiveAt": "2019-12-01" });
        let changed = app.post(&change, sent.clone()).await?;
        assert_eq!(
            (&changed["status"], &changed["plan"]),
            (&json!("Provisioned"), &json!("BU001"))
        );
        let scheduled = &changed["scheduled"][0];
        assert_eq!((&scheduled["verb"], &scheduled["plan"]), (&json!("change"), &json!("BU010")));
        let request = scheduled["requestId"].as_str().context("an id")?;
        let shown = app.get(&format!("/api/v2/requests/{request}")).await?;
        assert_eq!((&shown["status"], &shown["completedAt"]), (&json!("Scheduled"), &Value::Null));
        let filtered = "{ scheduled: requests(filter: {status: SCHEDULED}) { nodes { uuid status } } \
                        done: requests(filter: {status: COMPLETED}) { totalCount } }";
        let listed = app.post("/graphql", json!({ "query": filtered })).await?;
        let expected = json!({
            "scheduled": { "nodes": [{ "uuid": request, "status": "SCHEDULED" }] },
            "done": { "totalCount": 1 },
        });
        assert_eq!(listed["data"], expected, "{listed}");

        let cancel = format!("/api/v2/subscriptions/{held}/cancel");
        let position =
            app.get("/api/v2/events?limit=500").await?["data"].as_array().map_or(0, Vec::len);
        let cancelled = act(&app, &cancel, json!({ "requestId": request })).await?.expect(200)?;
        assert_eq!(cancelled["scheduled"], json!([]));
        assert_eq!(act(&app, &cancel, json!({})).await?.problem(409)?, "nothing_to_cancel");
        let again = app.post(&change, sent).await?;
        let request = again["scheduled"][0]["requestId"].as_str().context("an id")?;
        app.ambient.set("2019-12-20T00:00:00Z");
        let shown = app.get(&format!("/api/v2/requests/{request}")).await?;
        assert_eq!(shown["status"], "Completed");
        let late = act(&app, &cancel, json!({ "requestId": request })).await?;
        assert_eq!(late.problem(409)?, "begun");
        assert_eq!(amounts(&app, "2019-11-30/detail").await?, ["100.00"]);
        // The old plan was there until the first day.
        assert_eq!(amounts(&app, "2019-12-31/detail").await?, ["0.00", "180.00"]);
        // As it was known before the first was cancelled, and after that.
        let known = |position: usize| format!("2019-12-31/detail?knownAt={position}");
        assert_eq!(amounts(&app, &known(position)).await?, ["0.00", "180.00"]);
        assert_eq!(amounts(&app, &known(position + 1)).await?, ["100.00"]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_reported_for_a_later_day_is_begun_then_and_not_before() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "reported").await?;
        let mut sent = backup();
        sent["effectiveAt"] = "2019-11-11".into();
        let (held, request) = ask(&app, &customer, sent).await?;
        assert_eq!(status(&app, &held).await?, "NotProvisioned");
        assert_eq!(show(&app, &held).await?["scheduled"][0]["plan"], "BU001");
        let start = format!("/api/v2/requests/{request}/start");
        assert_eq!(act(&app, &start, json!({})).await?.problem(409)?, "not_due");
        app.ambient.set("2019-11-11T00:00:00Z");
        assert_eq!(status(&app, &held).await?, "Requested");
        let complete = format!("/api/v2/requests/{request}/complete");
        assert_eq!(act(&app, &complete, json!({})).await?.problem(409)?, "not_started");
        report(&app, &request, "start").await?;
        app.ambient.set("2019-11-15T00:00:00Z");
        report(&app, &request, "complete").await?;
        app.ambient.set("2019-12-20T00:00:00Z");
        assert_eq!(
            amounts(&app, "2019-11-30/detail").await?,
            ["66.67"],
            "from the day that was given"
        );
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_suspended_is_charged_and_goes_on_when_resumed() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "immediate").await?;
        let made =
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), backup()).await?;
        let at = format!("/api/v2/subscriptions/{}", made["id"].as_str().context("an id")?);
        for (day, verb, expected) in
            [("2019-11-11", "suspend", "Suspended"), ("2019-11-21", "resume", "Provisioned")]
        {
            app.ambient.set(&format!("{day}T09:00:00Z"));
            let sent = json!({ "reason": "unpaid" });
            let done = act(&app, &format!("{at}/{verb}"), sent.clone()).await?.expect(200)?;
            assert_eq!(done["status"], expected);
            let again = act(&app, &format!("{at}/{verb}"), sent).await?.expect(200)?;
            assert_eq!(again["version"], done["version"], "asked twice, done once");
        }
        let verbs = "{ requests { nodes { verb status } } }";
        let told = app.post("/graphql", json!({ "query": verbs })).await?;
        let told: Vec<_> =
            told["data"]["requests"]["nodes"].as_array().context("requests")?.clone();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.contains(&json!({ "verb": "SUSPEND", "status": "COMPLETED" })));
        app.ambient.set("2019-12-20T00:00:00Z");
        assert_eq!(amounts(&app, "2019-11-30/detail").await?, ["100.00"]);
        app.finish().await?;
    }
    Ok(())
}

/// What somebody may do with a subscription, as both interfaces say it: `go`, or why not.
async fn possible(app: &TestApp, token: &str, held: &str) -> Result<Vec<(String, String)>> {
    let shown =
        app.send(token, Method::GET, &format!("/api/v2/subscriptions/{held}"), None).await?;
    let actions = shown.expect(200)?["possibleActions"].clone();
    let query = "{ subscriptions { nodes { uuid possibleActions { action possible reasons { code detail } } } } }";
    let sent = json!({ "query": query });
    let told = app.send(token, Method::POST, "/graphql", Some(sent)).await?.expect(200)?;
    let nodes = told["data"]["subscriptions"]["nodes"].as_array().context("subscriptions")?.clone();
    let own = nodes.iter().find(|node| node["uuid"] == held).context("it is listed")?;
    let lower = own["possibleActions"].as_array().context("actions")?.iter().map(|it| {
        let mut it = it.clone();
        it["action"] = it["action"].as_str().unwrap_or_default().to_lowercase().into();
        it
    });
    assert_eq!(actions, lower.collect::<Value>(), "both say the same");
    let actions = actions.as_array().context("actions")?.iter().map(|it| {
        let reasons = it["reasons"].as_array().into_iter().flatten();
        let codes: Vec<_> = reasons.filter_map(|why| why["code"].as_str()).collect();
        assert_eq!(it["possible"], codes.is_empty());
        let codes = if codes.is_empty() { "go".to_owned() } else { codes.join(" ") };
        (it["action"].as_str().unwrap_or_default().to_owned(), codes)
    });
    Ok(actions.collect())
}

#[tokio::test]
async fn everybody_is_told_what_he_may_do_now_and_why_not_the_rest() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "reported").await?;
        let (_, clerk) =
            app.user(&customer, "cleo@example.com", &["Customer Administrator"]).await?;
        let (held, request) = ask(&app, &customer, backup()).await?;
        let told = |codes: [&str; 8]| {
            let names = [
                "provision",
                "change",
                "suspend",
                "resume",
                "deprovision",
                "retry",
                "cancel",
                "reset",
            ];
            let told = names.into_iter().zip(codes);
            told.map(|(name, code)| (name.to_owned(), code.to_owned())).collect::<Vec<_>>()
        };
        let open = "request_open";
        let expected = told([open, open, open, open, open, "not_failed", "go", "not_begun"]);
        assert_eq!(possible(&app, &app.token, &held).await?, expected);
        let expected = told([
            "request_open forbidden",
            "request_open forbidden",
            open,
            open,
            "request_open forbidden",
            "not_failed forbidden",
            "forbidden",
            "not_begun forbidden",
        ]);
        assert_eq!(possible(&app, &clerk, &held).await?, expected);
        report(&app, &request, "start").await?;
        report(&app, &request, "fail").await?;
        let failed = "request_failed";
        let expected = told([failed, failed, failed, failed, failed, "go", "begun", "go"]);
        assert_eq!(possible(&app, &app.token, &held).await?, expected);
        ask_for(&app, &held, "retry", json!({})).await?;
        report(&app, &request, "start").await?;
        report(&app, &request, "complete").await?;
        let rest = ["not_failed", "nothing_to_cancel", "nothing_to_reset"];
        let expected = told([
            "already_provisioned",
            "go",
            "go",
            "not_suspended",
            "go",
            rest[0],
            rest[1],
            rest[2],
        ]);
        assert_eq!(possible(&app, &app.token, &held).await?, expected);
        act(&app, &format!("/api/v2/customers/{customer}/disable"), json!({}))
            .await?
            .expect(200)?;
        let expected = told([
            "already_provisioned organization_disabled",
            "organization_disabled",
            "go",
            "not_suspended",
            "go",
            rest[0],
            rest[1],
            rest[2],
        ]);
        assert_eq!(possible(&app, &app.token, &held).await?, expected);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_reports_needs_the_permission_for_it_and_no_other() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "reported").await?;
        let provider = app.get("/api/v2/organizations/1").await.ok();
        assert!(provider.is_none(), "organisations are named by their ids");
        let viewer = json!({ "query": "{ viewer { user { organization { uuid } } } }" });
        let provider = app.post("/graphql", viewer).await?;
        let provider = provider["data"]["viewer"]["user"]["organization"]["uuid"].clone();
        let provider = provider.as_str().context("an id")?;
        let (_, engineer) =
            app.user(provider, "eve@example.com", &["Provisioning Engineer"]).await?;
        let reseller = app.reseller("Other Partners").await?;
        let (_, stranger) =
            app.user(&reseller, "sid@example.com", &["Reseller Administrator"]).await?;
        let (held, request) = ask(&app, &customer, backup()).await?;
        for what in ["start", "complete", "fail"] {
            let path = format!("/api/v2/requests/{request}/{what}");
            let sent = Some(json!({ "detail": 7 }));
            let hidden = app.send(&stranger, Method::POST, &path, sent).await?;
            assert_eq!(hidden.problem(404)?, "not_found");
        }
        let empty = format!("/api/v2/requests/{request}/fail");
        let sent = Some(json!({ "detail": " " }));
        assert_eq!(app.send(&engineer, Method::POST, &empty, sent).await?.problem(422)?, "invalid");
        for what in ["start", "complete"] {
            let path = format!("/api/v2/requests/{request}/{what}");
            app.send(&engineer, Method::POST, &path, Some(json!({}))).await?.expect(200)?;
        }
        let taken = format!("/api/v2/subscriptions/{held}/deprovision");
        let refused = app.send(&engineer, Method::POST, &taken, Some(json!({}))).await?;
        assert_eq!(refused.problem(403)?, "forbidden");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_is_deprovisioned_has_what_he_asked_for_taken_back_unless_it_is_worked_on() -> Result<()>
{
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z", "reported").await?;
        let at = format!("/api/v2/customers/{customer}/deprovision");
        let (held, request) = ask(&app, &customer, backup()).await?;
        report(&app, &request, "start").await?;
        assert_eq!(act(&app, &at, json!({})).await?.problem(409)?, "work_in_progress");
        report(&app, &request, "fail").await?;
        act(&app, &at, json!({})).await?.expect(200)?;
        assert_eq!(status(&app, &held).await?, "NotProvisioned");

        let other = app.customer("Zoo", None).await?;
        let held = self::held(&app, &other).await?;
        ask_for(&app, &held, "change", json!({ "plan": "BU010", "effectiveAt": "2019-12-01" }))
            .await?;
        act(&app, &format!("/api/v2/customers/{other}/deprovision"), json!({}))
            .await?
            .expect(200)?;
        let shown = show(&app, &held).await?;
        assert_eq!((&shown["status"], &shown["scheduled"]), (&json!("Requested"), &json!([])));
        let removal = shown["requestId"].as_str().context("an id")?;
        report(&app, removal, "start").await?;
        report(&app, removal, "complete").await?;
        assert_eq!(status(&app, &held).await?, "NotProvisioned");
        app.finish().await?;
    }
    Ok(())
}
