//! What commands would book, and then do (billing.md, section 8, law 9).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

use super::closing::Office;
use crate::BOTH;

const PATH: &str = "/api/v2/billing/preview";

/// The entries of a period: what they come to, and all that says which they are.
type Entries = BTreeMap<String, Value>;

async fn entries(app: &TestApp, end: &str) -> Result<Entries> {
    let path = format!("/api/Billing/{end}/entries");
    let answer = app.send(&app.token, Method::GET, &path, None).await?;
    // A period that is to come is none yet.
    if answer.status == 404 {
        return Ok(Entries::new());
    }
    let answer = answer.expect(200)?;
    let rows = answer["data"].as_array().context("rows")?;
    Ok(rows.iter().map(named).collect())
}

/// An entry under its id. An adjustment gets its own id when it is made: it is known by what it says.
fn named(row: &Value) -> (String, Value) {
    let mut row = row.clone();
    if row["kind"] == "manual" {
        (row["entryId"], row["adjustmentId"]) = (row["lineDescription"].clone(), Value::Null);
    }
    (row["entryId"].to_string(), row)
}

async fn all(app: &TestApp, ends: &[&str]) -> Result<BTreeMap<String, Entries>> {
    let mut all = BTreeMap::new();
    for end in ends {
        all.insert((*end).to_owned(), entries(app, end).await?);
    }
    Ok(all)
}

fn head(entries: &Value) -> Vec<String> {
    let rows = entries.as_array().into_iter().flatten();
    rows.map(|row| row["amount"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Previews commands, carries them out, and compares: what was said to be booked is, and nothing else has changed.
async fn shown_and_done(
    app: &TestApp,
    commands: &[(&str, Method, Value)],
    ends: &[&str],
) -> Result<Value> {
    let before = all(app, ends).await?;
    let wishes: Vec<_> =
        commands.iter().map(|(path, _, body)| json!({ "path": path, "body": body })).collect();
    let until = ends.last().context("a period")?;
    let log = eventstore::Log::new(app.database.clone());
    let head = log.head().await?;
    let preview = app.post(PATH, json!({ "commands": wishes, "until": until })).await?;
    assert_eq!(log.head().await?.position, head.position, "nothing is recorded");
    assert_eq!(all(app, ends).await?, before, "nothing is booked");
    for (path, method, body) in commands {
        let done = app.send(&app.token, method.clone(), path, Some(body.clone())).await?;
        assert!(done.status.is_success(), "{path}: {}", done.body);
    }
    let after = all(app, ends).await?;
    for end in ends {
        let (was, is) = (&before[*end], &after[*end]);
        let told = preview["periods"].as_array().context("periods")?.iter();
        let told = told.clone().find(|period| period["endDate"] == *end);
        let side = |name: &str| -> Entries {
            let rows = told.and_then(|period| period[name].as_array()).into_iter().flatten();
            rows.map(named).collect()
        };
        let only = |of: &Entries, other: &Entries| -> Entries {
            let own = of.iter().filter(|(id, _)| !other.contains_key(*id));
            own.map(|(id, row)| (id.clone(), row.clone())).collect()
        };
        assert_eq!(side("booked"), only(is, was), "{end}: {preview}");
        assert_eq!(side("dropped"), only(was, is), "{end}: {preview}");
    }
    Ok(preview)
}

#[tokio::test]
async fn what_a_removal_would_book_reaches_into_closed_periods_and_is_then_booked() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        app.turn("2020-03-05T08:00:00Z").await?;
        let path = format!("/api/v2/subscriptions/{id}/deprovision");
        let body = json!({ "effectiveAt": "2020-01-20", "reason": "it was so" });
        let ends = ["2020-01-31", "2020-02-29", "2020-03-31"];
        let preview = shown_and_done(app, &[(&path, Method::POST, body)], &ends).await?;
        assert_eq!(preview["outcomes"], json!(["done"]));
        // Case 5: all of it in March.
        let march = &preview["periods"][0];
        assert_eq!(march["endDate"], "2020-03-31", "{preview}");
        assert_eq!(head(&march["booked"]), ["-180.00", "110.32", "-180.00"]);
        assert_eq!(head(&march["dropped"]), ["180.00"]);
        let total = json!({
            "currency": "EUR", "without": "180.00", "with": "-249.68", "difference": "-429.68",
        });
        assert_eq!(march["totals"], json!([total]));
        assert_eq!(preview["periods"].as_array().map(Vec::len), Some(1));
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn commands_are_previewed_one_on_top_of_the_other() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        app.publish("mailbox").await?;
        let (user, _) = app.user(&office.customer, "ann@a.test", &[]).await?;
        // A history that is longer than what the view keeps of it.
        let old = office.provision("BU001", "2019-11-01").await?;
        for step in 0..40 {
            let plan = ["BU010", "BU001"][step % 2];
            let at = format!("2019-11-02T{:02}:{:02}:00Z", step / 2, step % 2);
            let body = json!({ "plan": plan, "effectiveAt": at });
            app.post(&format!("/api/v2/subscriptions/{old}/change"), body).await?;
        }
        app.turn("2019-11-12T08:00:00Z").await?;
        let other = app.customer("Other", None).await?;
        let at = |date: &str| json!({ "effectiveAt": date });
        let of_old = |verb: &str| format!("/api/v2/subscriptions/{old}/{verb}");
        let prices = format!("/api/v2/organizations/{}/prices", office.customer);
        let of_other = format!("/api/v2/customers/{other}/subscriptions");
        let of_user = format!("/api/v2/users/{user}/subscriptions");
        let price = json!({
            "service": "backup", "percent": "-20", "effectiveFrom": "2019-12-16", "reason": "agreed",
        });
        let credit = json!({
            "customerId": other, "amount": "-5.00", "description": "Welcome", "reason": "agreed",
        });
        let ends = ["2019-11-30"];
        let commands = [
            (
                &of_other[..],
                Method::POST,
                json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2019-11-21" }),
            ),
            (&of_user, Method::POST, json!({ "service": "mailbox", "plan": "standard" })),
            (
                &of_old("change"),
                Method::POST,
                json!({ "plan": "BU010", "effectiveAt": "2019-11-16" }),
            ),
            (&of_old("suspend"), Method::POST, at("2019-11-20")),
            (&of_old("resume"), Method::POST, at("2019-11-22")),
            ("/api/v2/billing/adjustments", Method::POST, credit),
        ];
        let preview = shown_and_done(app, &commands, &ends).await?;
        assert_eq!(preview["outcomes"].as_array().map(Vec::len), Some(6), "{preview}");
        // What is to come is shown, also where it is no period yet.
        let wish =
            json!({ "commands": [{ "path": prices, "body": price }], "until": "2020-01-31" });
        let preview = app.post(PATH, wish).await?;
        let periods = preview["periods"].as_array().context("periods")?;
        let told: Vec<_> = periods
            .iter()
            .map(|it| (it["endDate"].clone(), it["totals"][0]["difference"].clone()))
            .collect();
        // From the 16th on 16 of 31 days at 180.00 less a fifth; then all of January.
        assert_eq!(
            told,
            [(json!("2019-12-31"), json!("-18.58")), (json!("2020-01-31"), json!("-36.00"))]
        );
        app.put(&prices, price).await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        let december = entries(app, "2019-12-31").await?;
        for entry in periods[0]["booked"].as_array().context("entries")? {
            assert_eq!(december.get(&entry["entryId"].to_string()), Some(entry));
        }
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_preview_is_allowed_and_refused_as_the_commands_are() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU001", "2019-11-01").await?;
        let reseller = app.reseller("Reseller").await?;
        let (_, seller) = app.user(&reseller, "r@r.test", &["Reseller Administrator"]).await?;
        let (clerk, carl) =
            app.user(&office.customer, "c@c.test", &["Customer Administrator"]).await?;
        let ask =
            async |token: &str, body: Value| app.send(token, Method::POST, PATH, Some(body)).await;
        let remove = json!({ "path": format!("/api/v2/subscriptions/{id}/deprovision") });
        let wish = || json!({ "commands": [remove.clone()] });
        ask(&app.token, wish()).await?.expect(200)?;
        ask(&seller, wish()).await?.problem(404)?;
        assert_eq!(ask(&carl, wish()).await?.problem(403)?, "forbidden");
        let bad = json!({ "path": remove["path"], "body": { "effectiveAt": "soon" } });
        let answer = ask(&app.token, json!({ "commands": [remove.clone(), bad] })).await?;
        let answer = answer.expect(422)?;
        assert_eq!(answer["errors"][0]["pointer"], "/commands/1/body/effectiveAt", "{answer}");
        // Once it is removed it cannot be changed.
        let change = json!({
            "path": format!("/api/v2/subscriptions/{id}/change"), "body": { "plan": "BU010" },
        });
        let answer = ask(&app.token, json!({ "commands": [remove.clone(), change] })).await?;
        assert_eq!(answer.body["errors"][0]["pointer"], "/commands/1", "{}", answer.body);
        answer.problem(409)?;
        let answer = ask(&app.token, json!({
            "commands": [{ "path": "/api/v2/session" }, { "path": "nonsense" }], "until": "soon",
        }))
        .await?
        .expect(422)?;
        let pointers: Vec<_> = answer["errors"]
            .as_array()
            .context("faults")?
            .iter()
            .map(|it| it["pointer"].clone())
            .collect();
        assert_eq!(pointers, ["/until", "/commands/0/path", "/commands/1/path"]);
        for commands in [json!([]), Value::Array(vec![remove.clone(); 51])] {
            ask(&app.token, json!({ "commands": commands })).await?.expect(422)?;
        }
        let far = json!({ "commands": [remove.clone()], "until": "2199-01-31" });
        assert_eq!(ask(&app.token, far).await?.problem(422)?, "too_long");
        // What waits for approval books nothing before that.
        let policy = json!({ "users": [clerk], "verbs": ["deprovision"] });
        let path = format!("/api/v2/organizations/{}/approval-policies/backup", office.customer);
        app.put(&path, policy).await?;
        let answer = ask(&app.token, wish()).await?.expect(200)?;
        assert_eq!(answer["outcomes"], json!(["accepted"]), "{answer}");
        assert_eq!(answer["periods"], json!([]), "{answer}");
        office.app.finish().await?;
    }
    Ok(())
}
