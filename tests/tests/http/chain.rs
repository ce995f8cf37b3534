//! From the provider to the customer: what each pays the next, by whose prices, calendar and currency (billing.md, section 4,
//! Edge and Price), as facts arrive over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::{PASSWORD, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use super::margins::{margins, rows};
use crate::BOTH;

/// A service, and a chain of two resellers down to a customer.
pub(super) struct Chain {
    pub(super) app: TestApp,
    pub(super) provider: String,
    pub(super) master: String,
    pub(super) sub: String,
    pub(super) customer: String,
    /// Of an administrator at the master, at the sub and at the customer.
    pub(super) tokens: [String; 3],
}

/// A service that costs 100.00 a month.
pub(super) async fn sell(app: &TestApp, price: &str) -> Result<()> {
    let plans = json!([{ "key": "BU001", "name": "Backup", "price": price, "sku": "BU001" }]);
    let document =
        json!({ "name": "Backup", "level": "customer", "instancing": "single", "plans": plans });
    app.put("/api/v2/services/backup/draft", document).await?;
    let path = "/api/v2/services/backup/publish";
    let rolled_out = Some(json!({ "rollOut": true }));
    app.send(&app.token, Method::POST, path, rolled_out).await?.expect(200)?;
    Ok(())
}

pub(super) async fn provider(app: &TestApp) -> Result<String> {
    let query = json!({ "query": "{ viewer { user { organization { uuid } } } }" });
    let answer = app.post("/graphql", query).await?;
    let root = answer["data"]["viewer"]["user"]["organization"]["uuid"].as_str();
    Ok(root.context("the provider")?.to_owned())
}

pub(super) async fn reseller(
    app: &TestApp,
    name: &str,
    parent: &str,
    currency: Option<&str>,
) -> Result<String> {
    let sent = json!({ "name": name, "parentId": parent, "currency": currency });
    let made = app.post("/api/v2/resellers", sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

pub(super) async fn book(app: &TestApp, token: &str, seller: &str, rows: Value) -> Result<Value> {
    let path = format!("/api/v2/organizations/{seller}/price-book");
    let sent = json!({ "rows": rows, "reason": "The list" });
    app.send(token, Method::PUT, &path, Some(sent)).await?.expect(200)
}

pub(super) async fn hold(app: &TestApp, customer: &str, from: &str) -> Result<String> {
    let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": from });
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    let made = app.post(&path, sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

/// Kind, buyer and amount of each line of a period that somebody sees, without those that charge nothing.
pub(super) async fn bill(
    app: &TestApp,
    token: &str,
    of: &str,
) -> Result<Vec<(String, String, String)>> {
    let path = format!("/api/Billing/{of}");
    let detail = app.send(token, Method::GET, &path, None).await?.expect(200)?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = detail["data"].as_array().into_iter().flatten();
    let rows = rows.map(|row| (text(row, "kind"), text(row, "buyerName"), text(row, "amount")));
    let mut rows: Vec<_> = rows.filter(|(_, _, amount)| amount != "0.00").collect();
    rows.sort();
    Ok(rows)
}

pub(super) fn lines(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let line = |&(kind, buyer, amount): &(&str, &str, &str)| {
        (kind.to_owned(), buyer.to_owned(), amount.to_owned())
    };
    expected.iter().map(line).collect()
}

impl Chain {
    /// That of case 9a: the master pays 70 % of the list price, the sub what the master pays and 10 % on top, and the
    /// customers 100.00.
    pub(super) async fn new(engine: Engine) -> Result<Self> {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let master = reseller(&app, "Master", &provider, None).await?;
        let sub = reseller(&app, "Sub", &master, None).await?;
        sell(&app, "100.00").await?;
        let customer = app.customer("Aanimals Inc", Some(&sub)).await?;
        let mut tokens = Vec::new();
        for (place, name, role) in [
            (&master, "max@master.test", "Reseller Administrator"),
            (&sub, "sue@sub.test", "Reseller Administrator"),
            (&customer, "ann@aanimals.test", "Customer Administrator"),
        ] {
            tokens.push(app.user(place, name, &[role]).await?.1);
        }
        let tokens: [String; 3] = tokens.try_into().map_err(|_| anyhow::anyhow!("three"))?;
        let chain = Self { app, provider, master, sub, customer, tokens };
        let since = "2019-11-01";
        let [max, sue, _] = &chain.tokens;
        let app = &chain.app;
        let rows = json!([{ "percentOfList": "70", "effectiveFrom": since }]);
        book(app, &app.token, &chain.provider, rows).await?;
        let rows = json!([{ "percentOnCost": "10", "effectiveFrom": since }]);
        book(app, max, &chain.master, rows).await?;
        let rows = json!([{ "service": "backup", "plan": "BU001", "price": "100.00", "effectiveFrom": since }]);
        book(app, sue, &chain.sub, rows).await?;
        hold(app, &chain.customer, "2019-11-11").await?;
        Ok(chain)
    }
}

#[tokio::test]
async fn case_9a_each_pays_the_next_by_the_next_ones_prices() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let (app, [max, sue, ann]) = (&chain.app, &chain.tokens);
        let end = "2019-11-30";
        let own = format!("{end}/detail");
        assert_eq!(bill(app, &app.token, &own).await?, lines(&[("recurring", "Master", "46.67")]));
        assert_eq!(bill(app, max, &own).await?, lines(&[("recurring", "Sub", "51.33")]));
        assert_eq!(bill(app, sue, &own).await?, lines(&[("recurring", "", "66.67")]));
        assert_eq!(bill(app, ann, &own).await?, lines(&[("recurring", "", "66.67")]));
        // Who is above sees what those below bill; who is below does not see what others pay.
        let of = |seller: &str| format!("{end}/detail?sellerId={seller}");
        assert_eq!(
            bill(app, &app.token, &of(&chain.sub)).await?,
            lines(&[("recurring", "", "66.67")])
        );
        for (token, seller) in [(sue, &chain.master), (max, &chain.provider), (ann, &chain.sub)] {
            let path = format!("/api/Billing/{}", of(seller));
            assert_eq!(app.send(token, Method::GET, &path, None).await?.status, 404);
        }
        // What one buys.
        let bought = |buyer: &str| format!("{end}/detail?buyerId={buyer}");
        assert_eq!(
            bill(app, max, &bought(&chain.master)).await?,
            lines(&[("recurring", "Master", "46.67")])
        );
        assert_eq!(
            bill(app, max, &bought(&chain.sub)).await?,
            lines(&[("recurring", "Sub", "51.33")])
        );
        assert_eq!(
            bill(app, sue, &bought(&chain.sub)).await?,
            lines(&[("recurring", "Sub", "51.33")])
        );
        let path = format!("/api/Billing/{}", bought(&chain.master));
        assert_eq!(app.send(sue, Method::GET, &path, None).await?.status, 404);
        // Margins telescope: 46.67 + 4.66 + 15.34 = 66.67.
        for (token, revenue, cost, margin) in [
            (&app.token, "46.67", Value::Null, Value::Null),
            (max, "51.33", "46.67".into(), "4.66".into()),
            (sue, "66.67", "51.33".into(), "15.34".into()),
        ] {
            let path = format!("/api/Billing/{end}/margins");
            let rows = app.send(token, Method::GET, &path, None).await?.expect(200)?;
            let row = &rows["data"][0];
            assert_eq!((&row["revenue"], &row["cost"]), (&json!(revenue), &cost), "{engine:?}");
            assert_eq!(row["margin"], margin, "{engine:?}");
        }
        let refused =
            app.send(ann, Method::GET, &format!("/api/Billing/{end}/margins"), None).await?;
        assert_eq!(refused.status, 400);
        // Nobody says what his own organisation pays.
        let sent = json!({ "service": "backup", "price": "1.00", "reason": "Cheap" });
        let path = format!("/api/v2/organizations/{}/prices", chain.sub);
        assert_eq!(app.send(sue, Method::PUT, &path, Some(sent.clone())).await?.status, 403);
        app.send(max, Method::PUT, &path, Some(sent)).await?.expect(200)?;
        chain.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_9b_the_provider_bills_the_customer_and_pays_commissions() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let (app, [max, sue, ann]) = (&chain.app, &chain.tokens);
        let billed_by = async |seller: &str| -> Result<()> {
            let sent =
                json!({ "sellerId": seller, "effectiveFrom": "2019-11-01", "reason": "Agreed" });
            app.put(&format!("/api/v2/customers/{}/billed-by", chain.customer), sent).await?;
            Ok(())
        };
        billed_by(&chain.provider).await?;
        let own = "2019-11-30/detail";
        let provider = lines(&[
            ("commission", "Master", "-4.66"),
            ("commission", "Sub", "-15.34"),
            ("recurring", "", "66.67"),
        ]);
        assert_eq!(bill(app, &app.token, own).await?, provider);
        assert_eq!(bill(app, ann, own).await?, lines(&[("recurring", "", "66.67")]));
        for (token, own_bill, id, bought) in [
            (max, lines(&[]), &chain.master, ("commission", "Master", "-4.66")),
            (sue, lines(&[]), &chain.sub, ("commission", "Sub", "-15.34")),
        ] {
            assert_eq!(bill(app, token, own).await?, own_bill);
            let of = format!("{own}?buyerId={id}");
            assert_eq!(bill(app, token, &of).await?, lines(&[bought]));
        }
        // 46.67 is left to the provider, and the customer's own line stays what it pays.
        let rows = app.get("/api/Billing/2019-11-30/margins").await?;
        let row = &rows["data"][0];
        assert_eq!((&row["revenue"], &row["commissionPaid"]), (&json!("66.67"), &json!("20.00")));
        let summary = app.get("/api/Billing/2019-11-30").await?;
        let amounts: Vec<_> = summary["data"]
            .as_array()
            .context("rows")?
            .iter()
            .map(|row| {
                let grouping = row["summaryGrouping"].as_str().unwrap_or_default().to_owned();
                (grouping, row["amount"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        let told = [
            ("Backup (Assigned to Customer)", "66.67"),
            ("Commission of Master: Backup (Assigned to Customer)", "-4.66"),
            ("Commission of Sub: Backup (Assigned to Customer)", "-15.34"),
        ];
        let told: Vec<_> = told.map(|(it, amount)| (it.to_owned(), amount.to_owned())).into();
        assert_eq!(amounts, told, "{engine:?}");
        // A mix: the master bills the customer from then on, and the provider bills the master.
        billed_by(&chain.master).await?;
        assert_eq!(bill(app, &app.token, own).await?, lines(&[("recurring", "Master", "46.67")]));
        let master = lines(&[("commission", "Sub", "-15.34"), ("recurring", "", "66.67")]);
        assert_eq!(bill(app, max, own).await?, master);
        chain.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_8a_who_sells_in_another_currency_buys_by_the_rate_of_the_period() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let reseller = reseller(&app, "Contoso", &provider, Some("USD")).await?;
        sell(&app, "70.00").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let (_, rae) = app.user(&reseller, "rae@contoso.test", &["Reseller Administrator"]).await?;
        let since = "2019-11-01";
        let rows = json!([{ "service": "backup", "price": "85.00", "effectiveFrom": since }]);
        let set = book(&app, &rae, &reseller, rows).await?;
        assert_eq!(set["rows"][0]["currency"], "USD");
        hold(&app, &customer, since).await?;
        let own = "2019-11-30/detail";
        let margin = async || -> Result<Value> {
            let path = "/api/Billing/2019-11-30/margins";
            let rows = app.send(&rae, Method::GET, path, None).await?.expect(200)?;
            Ok(rows["data"][0].clone())
        };
        assert_eq!(margin().await?["cost"], Value::Null, "no rate is known");
        let rates = json!({ "rates": [
            { "from": "EUR", "to": "USD", "rate": "0.9015", "effectiveFrom": "2019-11-01", "source": "ECB" },
        ] });
        app.put("/api/v2/billing/exchange-rates", rates).await?;
        assert_eq!(bill(&app, &app.token, own).await?, lines(&[("recurring", "Contoso", "70.00")]));
        assert_eq!(bill(&app, &rae, own).await?, lines(&[("recurring", "", "85.00")]));
        let row = margin().await?;
        assert_eq!((&row["cost"], &row["margin"]), (&json!("63.11"), &json!("21.89")));
        assert_eq!(row["currency"], "USD");
        // By a markup the price itself is exchanged, and says so.
        let rows = json!([
            { "service": "backup", "ends": "price", "effectiveFrom": since },
            { "percentOnCost": "0", "effectiveFrom": since },
        ]);
        book(&app, &rae, &reseller, rows).await?;
        assert_eq!(bill(&app, &rae, own).await?, lines(&[("recurring", "", "63.11")]));
        let entries = app.send(&rae, Method::GET, "/api/Billing/2019-11-30/entries", None).await?;
        let entries = entries.expect(200)?;
        assert_eq!(entries["data"][0]["exchangeRates"], json!(["EUR/USD 0.9015"]));
        let listed = app.get("/api/v2/billing/exchange-rates").await?;
        assert_eq!(listed["data"][0]["rate"], "0.9015");
        let listed = app
            .send(&rae, Method::GET, &format!("/api/v2/organizations/{reseller}/price-book"), None)
            .await?;
        assert_eq!(listed.expect(200)?["data"].as_array().map(Vec::len), Some(3));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_in_a_currency_without_a_rate_is_quarantined_and_holds_up_nobody_else() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let reseller = reseller(&app, "Contoso", &provider, Some("USD")).await?;
        sell(&app, "70.00").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let held = hold(&app, &customer, "2019-11-01").await?;
        app.turn("2019-12-02T09:00:00Z").await?;
        // What the provider bills needs no rate, and what the reseller bills waits for one.
        let own = "2019-11-30/detail";
        assert_eq!(bill(&app, &app.token, own).await?, lines(&[("recurring", "Contoso", "70.00")]));
        let path = format!("/api/v2/billing/2019-11-30/readiness?organizationId={reseller}");
        let unready = app.get(&path).await?;
        assert_eq!(unready["reasons"][0]["code"], "no_exchange_rate");
        assert_eq!(unready["reasons"][0]["subscriptionId"], held);
        let own = app.get("/api/v2/billing/2019-11-30/readiness").await?;
        assert_eq!(own["ready"], true);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_19_a_customer_moves_and_the_wholesale_edges_move_likewise() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-20T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let [east, west] = ["East", "West"];
        let east = reseller(&app, east, &provider, None).await?;
        let west = reseller(&app, west, &provider, None).await?;
        sell(&app, "80.00").await?;
        for seller in [&east, &west] {
            let rows =
                json!([{ "service": "backup", "price": "100.00", "effectiveFrom": "2019-11-01" }]);
            book(&app, &app.token, seller, rows).await?;
        }
        let customer = app.customer("Aanimals Inc", Some(&east)).await?;
        hold(&app, &customer, "2019-10-01").await?;
        let sent = json!({ "parentId": west, "effectiveFrom": "2019-11-16", "reason": "Sold" });
        let path = format!("/api/v2/customers/{customer}/move");
        app.send(&app.token, Method::POST, &path, Some(sent)).await?.expect(200)?;
        let own = "2019-11-30/detail";
        let wholesale = lines(&[("recurring", "East", "40.00"), ("recurring", "West", "40.00")]);
        assert_eq!(bill(&app, &app.token, own).await?, wholesale);
        for seller in [&east, &west] {
            let of = format!("{own}?sellerId={seller}");
            assert_eq!(bill(&app, &app.token, &of).await?, lines(&[("recurring", "", "50.00")]));
        }
        // 60.00 that the provider pays, 20.00 that it earns, and 10.00 that each seller does are the 100.00 of the customer.
        let cost =
            json!([{ "service": "backup", "costPrice": "60.00", "effectiveFrom": "2019-11-01" }]);
        book(&app, &app.token, &provider, cost).await?;
        let own = margins(&app, &app.token, "2019-11-30/margins").await?;
        assert_eq!(own, rows(&[["80.00", "60.00", "20.00"]]));
        for seller in [&east, &west] {
            let of = format!("2019-11-30/margins?sellerId={seller}");
            assert_eq!(margins(&app, &app.token, &of).await?, rows(&[["50.00", "40.00", "10.00"]]));
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_7_each_seller_has_its_own_calendar_and_zone() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-31T11:00:00Z").await?;
        let provider = provider(&app).await?;
        let kiwi = reseller(&app, "Kiwi", &provider, None).await?;
        let settings = |id: &str| format!("/api/v2/organizations/{id}/billing-settings");
        let changed = app.put(&settings(&kiwi), json!({ "timeZone": "Pacific/Auckland" })).await?;
        assert_eq!(
            (&changed["timeZone"], &changed["currency"]),
            (&json!("Pacific/Auckland"), &json!("EUR"))
        );
        sell(&app, "100.00").await?;
        let customer = app.customer("Aanimals Inc", Some(&kiwi)).await?;
        app.user(&kiwi, "kim@kiwi.test", &["Reseller Administrator"]).await?;
        hold(&app, &customer, "2020-01-31T11:30:00Z").await?;
        app.turn("2020-03-02T00:00:00Z").await?;
        let kim = app.sign_in("kim@kiwi.test", PASSWORD).await?;
        // The first of February begins in Auckland while it is January elsewhere.
        for (token, january, february) in [
            (&kim, vec![], vec![("recurring", "", "100.00")]),
            (
                &app.token,
                vec![("recurring", "Kiwi", "3.23")],
                vec![("recurring", "Kiwi", "100.00")],
            ),
        ] {
            assert_eq!(bill(&app, token, "2020-02-29/detail").await?, lines(&february));
            if january.is_empty() {
                let path = "/api/Billing/2020-01-31/detail";
                let none = app.send(token, Method::GET, path, None).await?;
                assert_eq!(none.status, 404, "nothing was held by then");
            } else {
                assert_eq!(bill(&app, token, "2020-01-31/detail").await?, lines(&january));
            }
        }
        // Another calendar: its own periods.
        let fixed = json!({ "calendar": "fixed_day(25)" });
        app.put(&settings(&kiwi), fixed).await?;
        let asked =
            app.send(&kim, Method::GET, "/api/Billing/parameters", None).await?.expect(200)?;
        let labels: Vec<_> = asked["data"]["endDates"]
            .as_array()
            .context("dates")?
            .iter()
            .map(|it| it["label"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(labels, ["2020-02-25", "2020-03-25"]);
        // 25 of the 31 days from 26 January to 25 February.
        assert_eq!(
            bill(&app, &kim, "2020-02-25/detail").await?,
            lines(&[("recurring", "", "80.65")])
        );
        assert_eq!(
            bill(&app, &app.token, "2020-02-29/detail").await?,
            lines(&[("recurring", "Kiwi", "100.00")])
        );
        for (sent, code) in [
            (json!({}), "invalid"),
            (json!({ "timeZone": "Mars/Base" }), "invalid"),
            (json!({ "currency": "USD", "effectiveFrom": "2020-03-26" }), "invalid"),
        ] {
            let refused = app.send(&app.token, Method::PUT, &settings(&kiwi), Some(sent)).await?;
            assert_eq!((refused.status.as_u16(), &refused.body["code"]), (422, &json!(code)));
        }
        let refused = app
            .send(&app.token, Method::PUT, &settings(&customer), Some(json!({ "currency": "USD" })))
            .await?;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (409, &json!("no_own_calendar"))
        );
        // From a date on, as the provider does.
        let dated = json!({ "calendar": "calendar_month", "effectiveFrom": "2020-03-26" });
        let changed = app.put(&settings(&kiwi), dated).await?;
        assert_eq!(changed["changes"][0]["effectiveFrom"], "2020-03-26");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn wholesale_is_closed_sealed_proven_and_corrected_like_all_else() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let app = &chain.app;
        app.user(&chain.provider, "finn@provider.test", &["Provider Administrator"]).await?;
        app.turn("2019-12-02T09:00:00Z").await?;
        let finn = app.sign_in("finn@provider.test", PASSWORD).await?;
        let max = &app.sign_in("max@master.test", PASSWORD).await?;
        let close = async |seller: &str| -> Result<()> {
            let sent = || Some(json!({ "organizationId": seller }));
            let path = "/api/v2/billing/2019-11-30/close";
            app.send(&app.token, Method::POST, path, sent()).await?.expect(200)?;
            let path = "/api/v2/billing/2019-11-30/approve";
            app.send(&finn, Method::POST, path, sent()).await?.expect(202)?;
            Ok(())
        };
        close(&chain.provider).await?;
        close(&chain.sub).await?;
        let own = "2019-11-30/detail";
        assert_eq!(bill(app, &app.token, own).await?, lines(&[("recurring", "Master", "46.67")]));
        // The master can be shown that his lines are in the provider's books.
        let proof = format!("/api/Billing/2019-11-30/proof?customerId={}", chain.master);
        let proof = app.send(max, Method::GET, &proof, None).await?.expect(200)?;
        assert_eq!(proof["lines"].as_array().map(Vec::len), Some(1));
        assert_eq!(proof["buyer"]["customerId"], chain.master);
        // What was learned late is set right on each edge: removed on the 21st, 10 of 30 days.
        let subs = app.get(&format!("/api/v2/customers/{}/subscriptions", chain.customer)).await?;
        let id = subs["data"][0]["id"].as_str().context("an id")?;
        let sent = json!({ "effectiveAt": "2019-11-21", "reason": "Late" });
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), sent).await?;
        let december = "2019-12-31/detail";
        let provider =
            lines(&[("recurring", "Master", "-46.67"), ("recurring", "Master", "23.33")]);
        assert_eq!(bill(app, &app.token, december).await?, provider);
        let of_sub = format!("{december}?sellerId={}", chain.sub);
        let sub = lines(&[("recurring", "", "-66.67"), ("recurring", "", "33.33")]);
        assert_eq!(bill(app, &app.token, &of_sub).await?, sub);
        // The master has closed nothing: it is as it is known now.
        assert_eq!(bill(app, max, own).await?, lines(&[("recurring", "Sub", "25.67")]));
        chain.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_price_book_is_rehearsed_by_customer_before_it_is_published() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let (app, [max, ..]) = (&chain.app, &chain.tokens);
        let rows = json!([{ "percentOnCost": "20", "effectiveFrom": "2019-11-01" }]);
        let sent = json!({ "until": "2019-11-30", "commands": [{
            "path": format!("/api/v2/organizations/{}/price-book", chain.master),
            "body": { "rows": rows, "reason": "The next list" },
        }] });
        let path = "/api/v2/billing/preview";
        let tried = app.send(max, Method::POST, path, Some(sent.clone())).await?.expect(200)?;
        let customer = &tried["periods"][0]["customers"][0];
        assert_eq!(customer["customerName"], "Aanimals Inc", "{tried}");
        assert_eq!((&customer["without"], &customer["with"]), (&json!("51.33"), &json!("56.00")));
        let own = "2019-11-30/detail";
        assert_eq!(bill(app, max, own).await?, lines(&[("recurring", "Sub", "51.33")]));
        // For the provider nothing is otherwise, and for the sub neither: its prices are its own.
        let tried = app.send(&app.token, Method::POST, path, Some(sent)).await?.expect(200)?;
        assert_eq!(tried["periods"], json!([]));
        book(app, max, &chain.master, rows).await?;
        assert_eq!(bill(app, max, own).await?, lines(&[("recurring", "Sub", "56.00")]));
        chain.app.finish().await?;
    }
    Ok(())
}
