//! Tax over HTTP (billing.md, section 4, Rounding): carried as a category, and computed where the seller says how much it is.

use anyhow::{Context, Result};
use atrium_tests::http::{PASSWORD, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const RATES: &str = "/api/v2/billing/tax-rates";

fn rate(category: &str, from: &str, percent: Option<&str>) -> Value {
    json!({ "category": category, "validFrom": from, "percent": percent })
}

/// A service with instances at 10.03 a month, and a set-up fee that is taxed otherwise.
async fn publish(app: &TestApp, category: Option<&str>) -> Result<()> {
    let definition = json!({
        "name": "CRM", "level": "customer", "instancing": "multi",
        "plans": [
            { "key": "team", "name": "Team", "sku": "CRM1", "price": "10.03", "properties": {},
              "taxCategory": category },
            { "key": "firm", "name": "Firm", "sku": "CRM2", "price": "10.03", "properties": {},
              "taxCategory": category, "components": [{ "key": "setup", "name": "Set-up", "kind": "oneOff",
                "price": "5.00", "taxCategory": "reduced" }] },
        ],
    });
    app.put("/api/v2/services/crm/draft", definition).await?;
    app.post("/api/v2/services/crm/publish", json!({ "rollOut": true })).await?;
    Ok(())
}

async fn hold(app: &TestApp, customer: &str, plan: &str, instance: &str) -> Result<String> {
    let sent = json!({ "service": "crm", "plan": plan, "instance": instance, "effectiveAt": "2019-11-01" });
    let made = app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

/// Of each group: category, percent, net and tax.
async fn taxes(app: &TestApp, end: &str) -> Result<Vec<[String; 4]>> {
    let taxes = app.get(&format!("/api/Billing/{end}/tax")).await?;
    let rows = taxes["data"].as_array().context("rows")?.iter();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let fields = ["taxCategory", "taxPercent", "net", "tax"];
    Ok(rows.map(|row| fields.map(|field| text(row, field))).collect())
}

fn group(category: &str, percent: &str, net: &str, tax: &str) -> [String; 4] {
    [category, percent, net, tax].map(str::to_owned)
}

#[tokio::test]
async fn case_24_tax_is_on_what_a_bill_comes_to_together() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T08:00:00Z").await?;
        publish(&app, Some("standard")).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        for instance in ["one", "two", "three"] {
            hold(&app, &customer, "team", instance).await?;
        }
        let november = "2019-11-30";
        // Nobody has said how much it is: it is computed elsewhere, and the category goes along.
        assert_eq!(taxes(&app, november).await?, [group("standard", "-", "30.09", "-")]);
        let detail = app.get(&format!("/api/Billing/{november}/detail")).await?;
        assert_eq!(detail["data"][0]["taxCategory"], "standard");
        assert_eq!(detail["data"][0]["taxPercent"], Value::Null);
        let rates = [
            rate("standard", "2019-11-30", Some("15")),
            rate("standard", "2019-12-01", Some("16")),
        ];
        let made = app.put(RATES, json!({ "rates": rates })).await?;
        assert_eq!((&made["version"], &made["rates"][0]["percent"]), (&json!(2), &json!("15")));
        assert_eq!(taxes(&app, november).await?, [group("standard", "15", "30.09", "4.51")]);
        // Each buyer has his own, and each category and rate.
        let other = app.customer("Zoo", None).await?;
        hold(&app, &other, "firm", "one").await?;
        let all = taxes(&app, november).await?;
        let expected = [
            group("standard", "15", "30.09", "4.51"),
            group("reduced", "-", "5.00", "-"),
            group("standard", "15", "10.03", "1.50"),
        ];
        assert_eq!(all, expected);
        let whole = app.get(&format!("/api/Billing/{november}/tax?customerId={customer}")).await?;
        assert_eq!(whole["data"][0]["gross"], "34.60");
        assert_eq!(whole["data"][0]["lineCount"], 3);
        let file =
            app.request(&app.token, Method::GET, &format!("/api/Billing/{november}/tax.csv"));
        let file = file.send().await?.text().await?;
        assert!(file.lines().last().is_some_and(|last| last.contains("EUR=6.01")), "{file}");
        let query = "{ ledgerEntries(endDate: \"2019-11-30\", first: 1) { nodes { taxCategory taxPercent } } }";
        let shown = app.post("/graphql", json!({ "query": query })).await?;
        let expected = json!([{ "taxCategory": "standard", "taxPercent": "15" }]);
        assert_eq!(shown["data"]["ledgerEntries"]["nodes"], expected);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_closed_period_keeps_its_rate_and_what_is_set_right_has_it_too() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T00:00:00Z").await?;
        publish(&app, Some("standard")).await?;
        let customer = app.customer("Zoo", None).await?;
        let provider = app.get("/api/v2/explain?permission=users.view").await?;
        let provider = provider["organizationId"].as_str().context("an id")?;
        app.user(provider, "second@x.test", &["Provider Administrator"]).await?;
        let held = hold(&app, &customer, "team", "one").await?;
        app.put(RATES, json!({ "rates": [rate("standard", "2019-01-01", Some("15"))] })).await?;
        app.turn("2019-12-01T08:00:00Z").await?;
        app.post("/api/v2/billing/2019-11-30/close", json!({})).await?;
        let token = app.sign_in("second@x.test", PASSWORD).await?;
        let approve = "/api/v2/billing/2019-11-30/approve";
        app.send(&token, Method::POST, approve, Some(json!({}))).await?.expect(202)?;
        // Another rate since ever, as is known now, and another category from December on.
        app.put(
            RATES,
            json!({ "rates": [rate("standard", "2019-01-01", Some("20")),
            rate("other", "2019-01-01", Some("10"))] }),
        )
        .await?;
        publish(&app, Some("other")).await?;
        assert_eq!(taxes(&app, "2019-11-30").await?, [group("standard", "15", "10.03", "1.50")]);
        assert_eq!(taxes(&app, "2019-12-31").await?, [group("other", "10", "10.03", "1.00")]);
        app.turn("2019-12-05T08:00:00Z").await?;
        let gone = json!({ "effectiveAt": "2019-11-16" });
        app.post(&format!("/api/v2/subscriptions/{held}/deprovision"), gone).await?;
        // -10.03 and 5.02, as they were taxed then.
        assert_eq!(taxes(&app, "2019-12-31").await?, [group("standard", "15", "-5.01", "-0.75")]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_tax_rates_is_told_at_once() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T08:00:00Z").await?;
        let rates = json!([
            rate("odd key", "soon", Some("1")),
            rate("a", "2019-01-01", Some("-1")),
            rate("a", "2019-01-01", Some("101")),
            rate("b", "2019-01-01", Some("much")),
        ]);
        let answer =
            app.send(&app.token, Method::PUT, RATES, Some(json!({ "rates": rates }))).await?;
        let body = answer.expect(422)?;
        let faults = body["errors"].as_array().context("faults")?.iter();
        let told: Vec<_> = faults.map(|it| (it["pointer"].as_str(), it["code"].as_str())).collect();
        let fault = |at: &'static str, code: &'static str| (Some(at), Some(code));
        assert_eq!(
            told,
            [
                fault("/rates/0/category", "invalid_key"),
                fault("/rates/0/validFrom", "not_a_date"),
                fault("/rates/1/percent", "out_of_range"),
                fault("/rates/2/percent", "out_of_range"),
                fault("/rates/2", "twice"),
                fault("/rates/3/percent", "percent_malformed"),
            ]
        );
        let definition = json!({ "name": "A", "level": "customer", "instancing": "single",
            "plans": [{ "key": "a", "name": "A", "price": "1.00", "taxCategory": "no key", "properties": {} }] });
        let draft = "/api/v2/services/a/draft";
        let refused =
            app.send(&app.token, Method::PUT, draft, Some(definition)).await?.expect(422)?;
        assert_eq!(refused["errors"][0]["pointer"], "/plans/0/taxCategory");
        let send = async |version: &str| {
            let request = app.request(&app.token, Method::PUT, RATES).header("if-match", version);
            let sent = json!({ "rates": [rate("a", "2019-01-01", None)] });
            atrium_tests::http::answer(request.json(&sent)).await
        };
        assert_eq!(send("\"0\"").await?.headers["etag"], "\"1\"");
        assert_eq!(send("\"0\"").await?.problem(412)?, "stale_version");
        app.finish().await?;
    }
    Ok(())
}
