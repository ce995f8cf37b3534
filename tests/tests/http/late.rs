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

pub(super) async fn position(app: &TestApp, stream: &str, kind: &str) -> Result<u64> {
    let events = app.get("/api/v2/events?limit=500").await?;
    let all = events["data"].as_array().or(events.as_array()).context("events")?;
    let found = all.iter().rfind(|event| {
        event["type"].as_str().is_some_and(|it| it.ends_with(kind))
            && event.to_string().contains(stream)
    });
    let id = found.context("an event")?["id"].as_str().context("a position")?;
    Ok(id.parse()?)
}

#[tokio::test]
async fn case_17_by_superseding_the_true_date_is_booked_and_the_log_keeps_both() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-01").await?;
        for (time, end) in
            [("2020-02-01T08:00:00Z", "2020-01-31"), ("2020-03-01T08:00:00Z", "2020-02-29")]
        {
            app.turn(time).await?;
            office.close(end).await?;
        }
        app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-20").await?;
        assert_eq!(office.total("2020-03-31").await?, "-249.68");
        app.turn("2020-04-01T08:00:00Z").await?;
        office.close("2020-03-31").await?;
        app.turn("2020-04-03T08:00:00Z").await?;
        let said = position(app, &id, "subscription.deprovision_requested").await?;
        let before = eventstore::Log::new(app.database.clone()).head().await?.position;
        let path = "/api/v2/billing/supersede";
        let wish = |position: u64, at: &str| json!({ "position": position, "effectiveAt": at, "reason": "the letter says so" });
        let sent = app.post(path, wish(said, "2020-01-25")).await?;
        assert_eq!(sent["id"], id.as_str());
        // To the cent as in case 17: what was rebooked is reversed, and booked anew.
        let april = [correction("-110.32", "2020-01-31"), correction("139.35", "2020-01-31")];
        assert_eq!(office.bill("2020-04-30").await?, april);
        assert_eq!(office.total("2020-04-30").await?, "29.03");
        // Asked again it is so already; the old place is no longer what is said.
        let again =
            app.send(&app.token, Method::POST, path, Some(wish(said, "2020-01-26"))).await?;
        assert_eq!(again.problem(409)?, "superseded");
        // What was believed before is still known.
        let then = app.get(&format!("/api/Billing/2020-04-30/detail?knownAt={before}")).await?;
        assert_eq!(then["data"], json!([]));
        let new = position(app, &id, "subscription.superseded").await?;
        app.post(path, wish(new, "2020-01-26")).await?;
        let april = [correction("-110.32", "2020-01-31"), correction("145.16", "2020-01-31")];
        assert_eq!(office.bill("2020-04-30").await?, april);
        app.turn("2020-05-01T08:00:00Z").await?;
        office.close("2020-04-30").await?;
        assert_eq!(office.bill("2020-04-30").await?, april);
        assert_eq!(office.bill("2020-05-31").await?, []);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn superseding_keeps_the_order_takes_permissions_and_says_why() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let reseller = app.reseller("Reseller").await?;
        let provider = app.get("/api/v2/explain?permission=users.view").await?;
        let provider = text(&provider["organizationId"]);
        let desk = json!({
            "name": "Desk", "permissions": ["billing.supersede", "subscriptions.view", "billing.view"],
        });
        let desk = text(&app.post("/api/v2/roles", desk).await?["id"]);
        let id = office.provision("BU001", "2020-01-05").await?;
        let change = json!({ "plan": "BU010", "effectiveAt": "2020-01-11" });
        app.turn("2020-03-05T08:00:00Z").await?;
        app.post(&format!("/api/v2/subscriptions/{id}/change"), change).await?;
        let (_, clerk) = app.user(&provider, "d@x.test", &[&desk]).await?;
        let begun = position(app, &id, "subscription.provisioned").await?;
        let changed = position(app, &id, "subscription.changed").await?;
        let requested = position(app, &id, "subscription.change_requested").await?;
        let path = "/api/v2/billing/supersede";
        let send = async |token: &str, position: u64, at: &str, reason: &str| {
            let sent = json!({ "position": position, "effectiveAt": at, "reason": reason });
            app.send(token, Method::POST, path, Some(sent)).await
        };
        let (_, nobody) =
            app.user(&office.customer, "c@c.test", &["Customer Administrator"]).await?;
        let (_, stranger) = app.user(&reseller, "r@r.test", &["Reseller Administrator"]).await?;
        assert_eq!(send(&nobody, changed, "2020-01-21", "x").await?.problem(403)?, "forbidden");
        send(&stranger, changed, "2020-01-21", "x").await?.problem(404)?;
        for position in [0, 1, 1_000_000, u64::MAX] {
            send(&app.token, position, "2020-01-21", "x").await?.problem(404)?;
        }
        // The desk reaches back 35 days; further, finance does.
        let refused = send(&clerk, changed, "2020-01-21", "x").await?;
        assert!(refused.body.to_string().contains("billing.adjust"), "{}", refused.body);
        assert_eq!(refused.problem(403)?, "forbidden");
        let wrong = send(&app.token, requested, "2020-04-21", " ").await?.expect(422)?;
        let faults = wrong["errors"].as_array().context("faults")?;
        let mut pointers: Vec<_> = faults.iter().map(|it| text(&it["pointer"])).collect();
        pointers.sort();
        assert_eq!(pointers, ["/effectiveAt", "/position", "/reason"]);
        let early = send(&app.token, changed, "2020-01-04", "x").await?;
        assert_eq!(early.problem(409)?, "order_would_change");
        let late = send(&app.token, begun, "2020-01-12", "x").await?;
        assert_eq!(late.problem(409)?, "order_would_change");
        send(&app.token, changed, "2020-01-21", "the change was made later").await?.expect(200)?;
        send(&app.token, changed, "2020-01-21", "once more").await?.problem(409)?;
        // 16 days of the one, 11 of the other.
        let january = office.bill("2020-01-31").await?;
        assert_eq!(january, [normal("51.61", "2020-01-31"), normal("63.87", "2020-01-31")]);
        office.app.finish().await?;
    }
    Ok(())
}

/// A year of 1,200.00 that is paid in advance, from the first of January 2020; January is closed. Then it turns out that it
/// costs 600.00 since the beginning.
struct Year {
    office: Office,
    id: String,
}

impl Year {
    async fn new(engine: eventstore::Engine) -> Result<Self> {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let desk = json!({
            "name": "Desk", "level": "customer", "instancing": "single",
            "plans": [{ "key": "p", "name": "P", "components": [{
                "key": "year", "kind": "recurring", "interval": "year", "timing": "advance",
                "price": "1200.00",
            }] }],
        });
        app.put("/api/v2/services/desk/draft", desk).await?;
        app.post("/api/v2/services/desk/publish", json!({ "rollOut": true })).await?;
        let path = format!("/api/v2/customers/{}/subscriptions", office.customer);
        let sent = json!({ "service": "desk", "plan": "p", "effectiveAt": "2020-01-01" });
        let id = text(&app.post(&path, sent).await?["id"]);
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        app.turn("2020-02-05T08:00:00Z").await?;
        let price = json!({
            "service": "desk", "component": "year", "price": "600.00",
            "effectiveFrom": "2020-01-01", "reason": "agreed",
        });
        app.put(&format!("/api/v2/organizations/{}/prices", office.customer), price).await?;
        Ok(Self { office, id })
    }

    /// Amounts, service periods and classes of what is charged in a period.
    async fn charged(&self, end: &str) -> Result<Vec<(String, String, String)>> {
        let mut lines = self.office.bill(end).await?;
        lines.retain(|(amount, ..)| amount != "0.00");
        Ok(lines)
    }

    async fn rerate(&self, from: &str, to: &str) -> Result<()> {
        let wish = json!({ "fromEndDate": from, "toEndDate": to });
        self.office.app.post("/api/v2/billing/rerate", wish).await?;
        self.office.other("rerate/approve").await?.expect(200)?;
        Ok(())
    }
}

#[tokio::test]
async fn a_price_for_the_past_changes_a_year_that_is_paid_from_the_first_open_date_on() -> Result<()>
{
    for engine in BOTH {
        let year = Year::new(engine).await?;
        let (office, january, february) = (&year.office, "2020-01-31", "2020-02-29");
        assert_eq!(year.charged(january).await?, [normal("1200.00", january)], "{engine:?}");
        // The 335 days that are left cost 600.00 a year; what is closed stays as it is.
        let exchanged = [normal("-1098.36", february), normal("549.18", february)];
        assert_eq!(year.charged(february).await?, exchanged, "{engine:?}");
        office.app.turn("2020-03-01T08:00:00Z").await?;
        office.close(february).await?;
        assert_eq!(year.charged(february).await?, exchanged);
        assert_eq!(year.charged("2020-03-31").await?, []);
        // 31 days at 1,200.00 and 29 at 600.00 are used: what is given back is what was paid for the rest.
        office.deprovision(&year.id, "2020-03-01").await?;
        assert_eq!(year.charged("2020-03-31").await?, [normal("-501.64", "2020-03-31")]);
        year.office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_price_for_the_past_of_a_year_that_is_paid_is_rated_again_where_that_is_approved()
-> Result<()> {
    for engine in BOTH {
        let (january, february, march) = ("2020-01-31", "2020-02-29", "2020-03-31");
        // Before February is closed, there is nothing to exchange in it.
        let year = Year::new(engine).await?;
        year.rerate(january, january).await?;
        let corrected = [correction("-1200.00", january), correction("600.00", january)];
        assert_eq!(year.charged(february).await?, corrected, "{engine:?}");
        year.office.app.finish().await?;

        // Afterwards, what it has exchanged is set right, too.
        let year = Year::new(engine).await?;
        let office = &year.office;
        office.app.turn("2020-03-01T08:00:00Z").await?;
        office.close(february).await?;
        year.rerate(january, january).await?;
        let mut lines = year.charged(march).await?;
        lines.sort();
        let mut expected = [
            correction("-1200.00", january),
            correction("600.00", january),
            correction("1098.36", february),
            correction("-549.18", february),
        ];
        expected.sort();
        assert_eq!(lines, expected, "{engine:?}");
        year.office.app.finish().await?;
    }
    Ok(())
}
