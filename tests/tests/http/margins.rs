//! What is left to the provider: what it bills, less what it pays itself by its cost prices (billing.md, section 8, law 8; ADR
//! 0036), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

use super::chain::{Chain, book};
use super::closing::Office;
use super::late::position;
use crate::BOTH;

/// Revenue, cost and margin of each row of a period, as a seller's people see them.
pub(super) async fn margins(app: &TestApp, token: &str, of: &str) -> Result<Vec<[Value; 3]>> {
    let path = format!("/api/Billing/{of}");
    let answer = app.send(token, Method::GET, &path, None).await?.expect(200)?;
    let rows = answer["data"].as_array().context("rows")?;
    Ok(rows.iter().map(|row| ["revenue", "cost", "margin"].map(|it| row[it].clone())).collect())
}

pub(super) fn rows(expected: &[[&str; 3]]) -> Vec<[Value; 3]> {
    expected.iter().map(|row| row.map(Value::from)).collect()
}

async fn provider(app: &TestApp) -> Result<String> {
    super::chain::provider(app).await
}

/// Case 9a, and the provider pays 40.00 a month: 20 of 30 days are 26.67, and 26.67 + 20.00 + 4.66 + 15.34 = 66.67.
#[tokio::test]
async fn margins_telescope_from_what_the_provider_pays_to_what_the_customer_pays() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let (app, [max, sue, ann]) = (&chain.app, &chain.tokens);
        let path = "2019-11-30/margins";
        // Nobody has said what the provider pays: that is not nothing.
        let unsaid = app.get(&format!("/api/Billing/{path}")).await?["data"][0].clone();
        assert_eq!((&unsaid["cost"], &unsaid["margin"]), (&Value::Null, &Value::Null), "{unsaid}");
        assert_eq!(
            (&unsaid["unratedCount"], &unsaid["unratedReason"]),
            (&json!(1), &json!("no_price"))
        );
        let cost =
            json!([{ "service": "backup", "costPrice": "40.00", "effectiveFrom": "2019-11-01" }]);
        book(app, &app.token, &chain.provider, cost).await?;
        let own = rows(&[["46.67", "26.67", "20.00"]]);
        assert_eq!(margins(app, &app.token, path).await?, own, "{engine:?}");
        assert_eq!(margins(app, max, path).await?, rows(&[["51.33", "46.67", "4.66"]]));
        assert_eq!(margins(app, sue, path).await?, rows(&[["66.67", "51.33", "15.34"]]));
        let said = app.get(&format!("/api/Billing/{path}")).await?["data"][0].clone();
        assert_eq!((&said["unratedCount"], &said["unratedReason"]), (&json!(0), &Value::Null));
        // Who bills the customer changes nothing about what the provider pays.
        let sent = json!({ "sellerId": chain.provider, "reason": "Agreed", "effectiveFrom": "2019-11-01" });
        app.put(&format!("/api/v2/customers/{}/billed-by", chain.customer), sent).await?;
        let row = app.get(&format!("/api/Billing/{path}")).await?["data"][0].clone();
        let told = ["revenue", "cost", "commissionPaid", "margin"].map(|it| row[it].clone());
        assert_eq!(told, ["66.67", "26.67", "20.00", "20.00"].map(Value::from));
        let sent =
            json!({ "sellerId": chain.sub, "reason": "As it was", "effectiveFrom": "2019-11-01" });
        app.put(&format!("/api/v2/customers/{}/billed-by", chain.customer), sent).await?;

        // It is for the provider's people alone: nobody below sees it, and it stands in no bill.
        let of_provider = format!("{path}?sellerId={}", chain.provider);
        for token in [max, sue, ann] {
            let path = format!("/api/Billing/{of_provider}");
            assert_eq!(app.send(token, Method::GET, &path, None).await?.status, 404);
        }
        let nobody = app.send(ann, Method::GET, &format!("/api/Billing/{path}"), None).await?;
        assert_eq!(nobody.status, 400, "who buys earns nothing");
        let supply = format!("/api/Billing/2019-11-30/detail?buyerId={}", chain.provider);
        for token in [&app.token, max, sue, ann] {
            assert_eq!(app.send(token, Method::GET, &supply, None).await?.status, 404);
        }
        let query = format!(
            "{{ billingMargins(endDate: \"2019-11-30\", filter: {{ sellerId: \"{}\" }}) {{ nodes {{ \
             cost {{ amount }} margin {{ amount }} unratedCount unratedReason }} }} }}",
            chain.provider
        );
        let sent = || Some(json!({ "query": query }));
        let asked = app.send(&app.token, Method::POST, "/graphql", sent()).await?.expect(200)?;
        let row = &asked["data"]["billingMargins"]["nodes"][0];
        assert_eq!(
            (&row["cost"]["amount"], &row["margin"]["amount"]),
            (&json!("26.67"), &json!("20.00")),
            "{asked}"
        );
        for token in [max, sue, ann] {
            let asked = app.send(token, Method::POST, "/graphql", sent()).await?.expect(200)?;
            assert!(asked["data"]["billingMargins"].is_null(), "{asked}");
            assert!(!asked.to_string().contains("26.67"));
        }
        for token in [&app.token, max, sue, ann] {
            for of in ["detail", "entries", "bridge"] {
                let path = format!("/api/Billing/2019-11-30/{of}");
                let shown = app.send(token, Method::GET, &path, None).await?.expect(200)?;
                assert!(!shown.to_string().contains("26.67"), "{of}: {shown}");
            }
        }
        chain.app.finish().await?;
    }
    Ok(())
}

async fn cost(app: &TestApp, plan: &str, amount: &str) -> Result<()> {
    let row = json!([{
        "service": "backup", "plan": plan, "costPrice": amount, "effectiveFrom": "2020-01-01",
    }]);
    book(app, &app.token, &provider(app).await?, row).await?;
    Ok(())
}

/// Case 5, where the provider pays 90.00 of 180.00: what was over on 20 January costs 90.00 x 19 / 31 = 55.16, so March has
/// -90.00 + 55.16 - 90.00 = -124.84, and of the -249.68 that it gives back -124.84 are left.
#[tokio::test]
async fn what_is_learned_late_is_set_right_in_the_cost_where_it_is_in_the_bill() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let of = async |end: &str| margins(app, &app.token, &format!("{end}/margins")).await;
        cost(app, "BU010", "90.00").await?;
        let id = office.provision("BU010", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        let whole = rows(&[["180.00", "90.00", "90.00"]]);
        for end in ["2020-01-31", "2020-02-29", "2020-03-31"] {
            assert_eq!(of(end).await?, whole, "{engine:?} {end}");
        }
        app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-20").await?;
        let march = rows(&[["-249.68", "-124.84", "-124.84"]]);
        assert_eq!(of("2020-03-31").await?, march);
        for end in ["2020-01-31", "2020-02-29"] {
            assert_eq!(of(end).await?, whole, "what is closed stays");
        }
        // As it was known before, and as of a moment before: then it went on.
        let known = "knownAt=2020-03-04T00:00:00Z";
        assert_eq!(of_with(app, "2020-03-31", known).await?, whole);
        assert_eq!(of_with(app, "2020-01-31", "asOf=2020-01-10").await?, whole);
        app.turn("2020-04-01T08:00:00Z").await?;
        office.close("2020-03-31").await?;
        assert_eq!(of("2020-03-31").await?, march, "the close has what was seen");
        assert_eq!(of("2020-04-30").await?, rows(&[]), "once corrected is enough");
        // A correction of a correction: it was over on the 25th. 90.00 x 24 / 31 = 69.68, 14.52 more than 55.16.
        let position = position(app, &id, "subscription.deprovision_requested").await?;
        let sent =
            json!({ "position": position, "effectiveAt": "2020-01-25", "reason": "The true date" });
        app.post("/api/v2/billing/supersede", sent).await?;
        assert_eq!(of("2020-04-30").await?, rows(&[["29.03", "14.52", "14.51"]]));
        assert_eq!(of("2020-03-31").await?, march);
        office.app.finish().await?;
    }
    Ok(())
}

async fn of_with(app: &TestApp, end: &str, parameters: &str) -> Result<Vec<[Value; 3]>> {
    margins(app, &app.token, &format!("{end}/margins?{parameters}")).await
}

#[tokio::test]
async fn a_cost_that_is_said_later_reaches_no_closed_period_unless_it_is_rated_again() -> Result<()>
{
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let january = "2020-01-31/margins";
        let february = "2020-02-29/margins";
        office.provision("BU001", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        // It is in force since January; what was closed did not know it, and nothing is held up by that.
        cost(app, "BU001", "60.00").await?;
        let unknown = [json!("100.00"), Value::Null, Value::Null];
        assert_eq!(margins(app, &app.token, january).await?, std::slice::from_ref(&unknown));
        assert_eq!(
            margins(app, &app.token, february).await?,
            rows(&[["100.00", "60.00", "40.00"]]),
            "{engine:?}"
        );
        let wish =
            json!({ "fromEndDate": "2020-01-31", "toEndDate": "2020-01-31", "reason": "Costs" });
        app.post("/api/v2/billing/rerate", wish).await?;
        office.other("rerate/approve").await?.expect(200)?;
        // What is rated again is booked in the first open period, and so is its cost.
        assert_eq!(
            margins(app, &app.token, february).await?,
            rows(&[["100.00", "120.00", "-20.00"]])
        );
        assert_eq!(margins(app, &app.token, january).await?, [unknown]);
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        assert_eq!(
            margins(app, &app.token, february).await?,
            rows(&[["100.00", "120.00", "-20.00"]])
        );
        assert_eq!(
            margins(app, &app.token, "2020-03-31/margins").await?,
            rows(&[["100.00", "60.00", "40.00"]])
        );
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_that_has_no_cost_price_is_counted_and_the_others_are_told() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2020-01-01").await?;
        let other = app.customer("Zebra", None).await?;
        let path = format!("/api/v2/customers/{other}/subscriptions");
        let sent = json!({ "service": "backup", "plan": "BU010", "effectiveAt": "2020-01-01" });
        app.post(&path, sent).await?;
        let charge = json!({
            "customerId": other, "amount": "-12.50", "description": "Goodwill", "reason": "an outage",
        });
        app.post("/api/v2/billing/adjustments", charge).await?;
        cost(app, "BU001", "60.00").await?;
        let answer = app.get("/api/Billing/2020-01-31/margins").await?;
        let shown: Vec<_> = answer["data"]
            .as_array()
            .context("rows")?
            .iter()
            .map(|row| {
                let fields = ["customerName", "revenue", "cost", "margin", "unratedCount"];
                fields.map(|it| row[it].clone())
            })
            .collect();
        // What is charged by hand has no cost; what is held of the other plan has one that nobody has said.
        let expected = [
            [json!("Aanimals Inc"), json!("100.00"), json!("60.00"), json!("40.00"), json!(0)],
            [json!("Zebra"), json!("-12.50"), json!("0.00"), json!("-12.50"), json!(0)],
            [json!("Zebra"), json!("180.00"), Value::Null, Value::Null, json!(1)],
        ];
        assert_eq!(shown, expected, "{engine:?}");
        let csv = app.request(&app.token, Method::GET, "/api/Billing/2020-01-31/margins.csv");
        let csv = csv.send().await?.text().await?;
        assert!(csv.contains("no_price"), "{csv}");
        app.turn("2020-02-01T08:00:00Z").await?;
        // A cost that nobody has said keeps no period from being closed.
        office.close("2020-01-31").await?;
        assert_eq!(app.get("/api/Billing/2020-01-31/margins").await?, answer);
        office.app.finish().await?;
    }
    Ok(())
}
