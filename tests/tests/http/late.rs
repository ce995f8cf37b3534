//! What is learned after a close and changes who owes what (billing.md, section 7; cases 19 and 22), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::{PASSWORD, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use super::closing::{Office, correction, normal};
use crate::BOTH;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn case_22_what_was_used_and_told_late_is_rated_anew_with_all_of_its_period() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let api = json!({
            "name": "API", "level": "customer", "instancing": "single",
            "meters": [
                { "key": "calls", "name": "Calls", "unit": "calls", "aggregation": "sum" },
                { "key": "mails", "name": "Mails", "unit": "mails", "aggregation": "sum" },
            ],
            "plans": [{
                "key": "p", "name": "P",
                "components": [
                    {
                        "key": "calls", "kind": "usage", "meter": "calls", "rate": "volume",
                        "tiers": [{ "above": 0, "price": "10.00" }, { "above": 100, "price": "9.00" }],
                    },
                    {
                        "key": "mails", "kind": "usage", "meter": "mails", "rate": "package",
                        "packageSize": 100, "price": "50.00",
                    },
                ],
            }],
        });
        app.put("/api/v2/services/api/draft", api).await?;
        app.post("/api/v2/services/api/publish", json!({ "rollOut": true })).await?;
        let path = format!("/api/v2/customers/{}/subscriptions", office.customer);
        let sent = json!({ "service": "api", "plan": "p", "effectiveAt": "2020-01-01" });
        let id = app.post(&path, sent).await?["id"].clone();
        let used = async |meter: &str, quantity: u32, at: &str| {
            let reading = json!({
                "subscriptionId": id, "meter": meter, "quantity": quantity, "effectiveAt": at,
            });
            app.post("/api/v2/billing/usage", reading).await
        };
        let (january, february, march) = ("2020-01-31", "2020-02-29", "2020-03-31");
        app.turn("2020-01-20T08:00:00Z").await?;
        used("calls", 90, "2020-01-15").await?;
        used("mails", 90, "2020-01-15").await?;
        let charged = async |end: &str| -> Result<Vec<_>> {
            let mut lines = office.bill(end).await?;
            lines.retain(|(amount, ..)| amount != "0.00");
            Ok(lines)
        };
        for (time, end) in [("2020-02-01T08:00:00Z", january), ("2020-03-01T08:00:00Z", february)] {
            app.turn(time).await?;
            office.close(end).await?;
        }
        assert_eq!(charged(january).await?, [normal("900.00", january), normal("50.00", january)]);
        app.turn("2020-03-05T08:00:00Z").await?;
        used("calls", 60, "2020-01-25").await?;
        let expected = [correction("-900.00", january), correction("1350.00", january)];
        assert_eq!(charged(march).await?, expected);
        assert_eq!(office.total(march).await?, "450.00");
        // Five more mails cost the same, and are on the bill all the same: what was measured is another.
        used("mails", 5, "2020-01-26").await?;
        let detail = office.detail(march).await?;
        let rows = detail["data"].as_array().context("rows")?;
        let mails: Vec<_> = rows
            .iter()
            .filter(|row| row["component"] == "mails" && row["amount"] != "0.00")
            .map(|row| (text(&row["amount"]), text(&row["measured"])))
            .collect();
        let told = [("-50.00", "90"), ("50.00", "95")];
        assert_eq!(mails, told.map(|(amount, measured)| (amount.to_owned(), measured.to_owned())));
        assert_eq!(office.total(march).await?, "450.00");
        app.turn("2020-04-01T08:00:00Z").await?;
        office.close(march).await?;
        assert_eq!(charged("2020-04-30").await?, [], "once corrected is enough");
        office.app.finish().await?;
    }
    Ok(())
}

/// A seller's administrator asks, another one approves.
async fn close(app: &TestApp, seller: &str, end: &str) -> Result<()> {
    for (login, verb, status) in [("one", "close", 200), ("two", "approve", 202)] {
        let token = app.sign_in(&format!("{login}@{seller}.test"), PASSWORD).await?;
        let path = format!("/api/v2/billing/{end}/{verb}");
        app.send(&token, Method::POST, &path, Some(json!({}))).await?.expect(status)?;
    }
    Ok(())
}

/// What a seller bills, as he sees it: amount, service period and class.
async fn bill(app: &TestApp, seller: &str, end: &str) -> Result<Vec<(String, String, String)>> {
    let token = app.sign_in(&format!("one@{seller}.test"), PASSWORD).await?;
    let path = format!("/api/Billing/{end}/detail");
    let detail = app.send(&token, Method::GET, &path, None).await?.expect(200)?;
    let rows = detail["data"].as_array().context("rows")?.iter();
    let mut lines: Vec<_> = rows
        .map(|row| (text(&row["amount"]), text(&row["servicePeriod"]), text(&row["class"])))
        .filter(|(amount, ..)| amount != "0.00")
        .collect();
    lines.sort();
    Ok(lines)
}

#[tokio::test]
async fn case_19_a_move_into_closed_periods_is_set_right_in_the_books_of_both_sellers() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        app.publish("backup").await?;
        let mut sellers = Vec::new();
        for name in ["east", "west"] {
            let seller = app.reseller(name).await?;
            for login in ["one", "two"] {
                let login = format!("{login}@{name}.test");
                app.user(&seller, &login, &["Reseller Administrator"]).await?;
            }
            sellers.push(seller);
        }
        let customer = app.customer("Aanimals Inc", Some(&sellers[0])).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-01" });
        app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
        let (january, february, march) = ("2020-01-31", "2020-02-29", "2020-03-31");
        app.turn("2020-02-03T08:00:00Z").await?;
        for seller in ["east", "west"] {
            close(&app, seller, january).await?;
        }
        assert_eq!(bill(&app, "east", january).await?, [normal("100.00", january)]);
        assert_eq!(bill(&app, "east", february).await?, [normal("100.00", february)]);
        // It went over in the middle of January.
        let sent = json!({
            "parentId": sellers[1], "effectiveFrom": "2020-01-16", "reason": "told late",
        });
        app.post(&format!("/api/v2/customers/{customer}/move"), sent).await?;
        let mut old = [correction("-100.00", january), correction("48.39", january)];
        old.sort();
        assert_eq!(bill(&app, "east", february).await?, old);
        let mut new = [correction("51.61", january), normal("100.00", february)];
        new.sort();
        assert_eq!(bill(&app, "west", february).await?, new);
        assert_eq!(bill(&app, "east", january).await?, [normal("100.00", january)]);
        app.turn("2020-03-02T08:00:00Z").await?;
        for seller in ["east", "west"] {
            close(&app, seller, february).await?;
        }
        assert_eq!(bill(&app, "east", february).await?, old, "the close has what was seen");
        assert_eq!(bill(&app, "west", february).await?, new);
        assert_eq!(bill(&app, "east", march).await?, []);
        assert_eq!(bill(&app, "west", march).await?, [normal("100.00", march)]);
        app.finish().await?;
    }
    Ok(())
}
