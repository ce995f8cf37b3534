//! Time travel (billing.md, section 1): what was true by a moment (`asOf`), as it was known at another (`knownAt`).

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use domain::TenantPath;
use projections::finder::{self, Scope};
use projections::ledger;
use projections::views::BooksView;
use reqwest::Method;
use serde_json::{Value, json};

use super::closing::Office;
use crate::BOTH;

/// Amounts of a period's detail, of what is charged.
async fn amounts(app: &TestApp, end: &str, parameters: &str) -> Result<Vec<String>> {
    let detail = app.get(&format!("/api/Billing/{end}/detail?{parameters}")).await?;
    let rows = detail["data"].as_array().context("rows")?.iter();
    let amounts = rows.filter_map(|row| row["amount"].as_str());
    Ok(amounts.filter(|amount| *amount != "0.00").map(str::to_owned).collect())
}

async fn change(app: &TestApp, id: &str, plan: &str, at: &str) -> Result<()> {
    let sent = json!({ "plan": plan, "effectiveAt": at, "reason": "it was so" });
    app.post(&format!("/api/v2/subscriptions/{id}/change"), sent).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_believed_on_5_march_about_january_is_a_query() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-01").await?;
        app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-20").await?;
        app.turn("2020-03-20T08:00:00Z").await?;
        let january = async |parameters: &str| amounts(app, "2020-01-31", parameters).await;
        assert_eq!(january("knownAt=2020-03-05T07:59:59Z").await?, ["180.00"]);
        assert_eq!(january("knownAt=2020-03-05T08:00:00Z").await?, ["110.32"]);
        assert_eq!(january("").await?, ["110.32"]);
        // Both at once: on 20 January nobody had it any more, but that was not known before.
        assert_eq!(january("asOf=2020-01-20").await?, ["110.32"]);
        assert_eq!(january("asOf=2020-01-19").await?, ["180.00"]);
        assert_eq!(january("asOf=2020-01-20&knownAt=2020-03-05T07:59:59Z").await?, ["180.00"]);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bill_as_of_a_moment_has_what_was_true_by_then_and_leaves_out_what_was_to_come()
-> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU001", "2019-11-01").await?;
        change(app, &id, "BU010", "2019-11-16").await?;
        let price = json!({
            "service": "backup", "plan": "BU010", "price": "240.00", "reason": "Ours",
            "effectiveFrom": "2019-11-25",
        });
        let customer = format!("/api/v2/organizations/{}", office.customer);
        app.put(&format!("{customer}/prices"), price).await?;
        let credit = json!({
            "customerId": office.customer, "amount": "-7.00", "description": "Sorry",
            "effectiveAt": "2019-11-28", "reason": "it broke",
        });
        app.post("/api/v2/billing/adjustments", credit).await?;
        app.post(
            &format!("/api/v2/subscriptions/{id}/deprovision"),
            json!({ "effectiveAt": "2019-12-11" }),
        )
        .await?;
        let november = "2019-11-30";
        let all = ["50.00", "54.00", "48.00", "-7.00"];
        for (as_of, expected) in [
            ("2019-10-31", &[][..]),
            ("2019-11-01", &["100.00"]),
            ("2019-11-15", &["100.00"]),
            ("2019-11-16", &["50.00", "90.00"]),
            ("2019-11-24", &["50.00", "90.00"]),
            ("2019-11-25", &["50.00", "54.00", "48.00"]),
            ("2019-11-28", &all),
            ("9999-12-31T23:59:59Z", &all),
        ] {
            let found = amounts(app, november, &format!("asOf={as_of}")).await?;
            assert_eq!(found, expected, "as of {as_of}");
        }
        assert_eq!(amounts(app, november, "").await?, all);
        // What was to come goes on to do so, in later periods too: it is taken away on 11 December.
        app.turn("2019-12-02T08:00:00Z").await?;
        let december = async |parameters: &str| amounts(app, "2019-12-31", parameters).await;
        assert_eq!(december("").await?, ["77.42"]);
        assert_eq!(december("asOf=2019-12-10").await?, ["240.00"]);
        assert_eq!(december("asOf=2019-11-20").await?, ["180.00"]);
        assert_eq!(december("asOf=2019-11-10").await?, ["100.00"]);

        // Every way of asking says the same.
        let as_of = "asOf=2019-11-20";
        let whole = format!("/api/Billing/{november}?aggregateByCustomer=true&{as_of}");
        assert_eq!(app.get(&whole).await?["data"][0]["amount"], "140.00");
        let entries = app.get(&format!("/api/Billing/{november}/entries?{as_of}")).await?;
        let first = entries["data"][1]["entryId"].as_str().context("an entry")?;
        let told = app.get(&format!("/api/Billing/{november}/entries/{first}?{as_of}")).await?;
        assert_eq!(told["data"]["entry"]["amount"], "90.00");
        let margins = app.get(&format!("/api/Billing/{november}/margins?{as_of}")).await?;
        assert_eq!(margins["data"][1]["revenue"], "90.00", "{margins}");
        let bridge = app.get(&format!("/api/Billing/{november}/bridge?{as_of}")).await?;
        let steps = bridge["data"].as_array().context("steps")?;
        assert!(steps.iter().any(|step| step["amount"] == "140.00"), "{bridge}");
        let tax = app.get(&format!("/api/Billing/{november}/tax?{as_of}")).await?;
        assert_eq!(tax["data"][0]["net"], "140.00", "{tax}");
        let query = format!(
            "{{ ledgerEntries(endDate: \"{november}\", asOf: \"2019-11-20\") {{ nodes {{ amount {{ amount }} }} }} \
               billingSummary(endDate: \"{november}\", groupBy: CUSTOMER, asOf: \"2019-11-20T00:00:00Z\") {{ nodes {{ amount {{ amount }} }} }} \
               billingBridge(endDate: \"{november}\", asOf: \"2019-11-20\") {{ amount {{ amount }} }} \
               billingPeriods(first: 1, asOf: \"2019-11-20\", knownAt: \"1000000\") {{ nodes {{ id endDate totals {{ amount }} }} }} \
               now: billingPeriods(first: 1) {{ nodes {{ id totals {{ amount }} }} }} }}"
        );
        let answer = app.post("/graphql", json!({ "query": query })).await?;
        let of = |pointer: &str| answer.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(of("/data/ledgerEntries/nodes/1/amount/amount"), "90.00", "{answer}");
        assert_eq!(of("/data/billingSummary/nodes/0/amount/amount"), "140.00");
        assert_eq!(of("/data/billingBridge/0/amount/amount"), "140.00");
        assert_eq!(of("/data/billingPeriods/nodes/0/totals/0/amount"), "140.00");
        assert_eq!(of("/data/now/nodes/0/totals/0/amount"), "145.00");
        // The id of a period names the moment, too.
        let id = of("/data/billingPeriods/nodes/0/id");
        assert_ne!(id, of("/data/now/nodes/0/id"));
        let query =
            format!("{{ node(id: {id}) {{ id ... on BillingPeriod {{ totals {{ amount }} }} }} }}");
        let answer = app.post("/graphql", json!({ "query": query })).await?;
        assert_eq!(answer["data"]["node"], json!({ "id": id, "totals": [{ "amount": "140.00" }] }));

        // What comes with a file says as of when it is.
        let file = app.request(
            &app.token,
            Method::GET,
            &format!("/api/Billing/{november}/detail.csv?{as_of}&knownAt=1000"),
        );
        let csv = file.send().await?.text().await?;
        let last = csv.lines().last().context("a last line")?;
        assert!(last.contains(",asOf=2019-11-20T00:00:00Z,knownAt=1000,"), "{last}");
        let file = format!("/api/Billing/{november}/detail.jsonl?{as_of}");
        let lines = app.request(&app.token, Method::GET, &file).send().await?.text().await?;
        let control: Value = serde_json::from_str(lines.lines().last().context("a last line")?)?;
        assert_eq!(control["control"]["asOf"], "2019-11-20T00:00:00Z", "{control}");
        assert_eq!(control["control"]["knownAt"], Value::Null);
        let file = format!("/api/Billing/{november}/entries?{as_of}&format=focus");
        let answer = app.request(&app.token, Method::GET, &file).send().await?;
        assert_eq!(answer.headers()["atrium-as-of"], "2019-11-20T00:00:00Z");
        assert_eq!(answer.headers()["atrium-totals"], "EUR=140.00");
        let file = format!("/api/Billing/{november}/detail.xlsx?{as_of}");
        let book = app.request(&app.token, Method::GET, &file).send().await?;
        assert_eq!(book.status(), 200);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_closed_period_as_of_a_moment_in_it_knows_what_was_known_when_it_was_closed() -> Result<()>
{
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU001", "2020-01-01").await?;
        change(app, &id, "BU010", "2020-01-16").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        let books = app.get("/api/Billing/2020-01-31/entries").await?;
        let sealed = amounts(app, "2020-01-31", "").await?;
        assert_eq!(sealed, ["48.39", "92.90"]);
        // What is learned later of January changes none of its books, as of whichever moment: from the 11th on it was 180.00.
        app.turn("2020-02-05T08:00:00Z").await?;
        change(app, &id, "BU010", "2020-01-11").await?;
        let january = async |parameters: &str| amounts(app, "2020-01-31", parameters).await;
        for (as_of, expected) in [
            ("2019-12-31", &[][..]),
            ("2020-01-05", &["100.00"]),
            ("2020-01-11", &["100.00"]),
            ("2020-01-16", &["48.39", "92.90"]),
            ("2020-02-01", &["48.39", "92.90"]),
            ("2020-02-05", &["48.39", "92.90"]),
        ] {
            assert_eq!(january(&format!("asOf={as_of}")).await?, expected, "as of {as_of}");
        }
        // From its end on it is the books as they are, every bit of them.
        for end in ["2020-02-01", "2020-01-31T23:59:59.999999Z", "2020-06-01"] {
            let then = app.get(&format!("/api/Billing/2020-01-31/entries?asOf={end}")).await?;
            assert_eq!(then, books, "{end}");
        }
        // The open period sets right what was over by then, and only that.
        let february = async |parameters: &str| amounts(app, "2020-02-29", parameters).await;
        let mut right = february("").await?;
        right.sort();
        assert_eq!(right, ["-48.39", "-92.90", "121.93", "180.00", "32.26"]);
        assert_eq!(february("asOf=2020-02-01").await?.len(), 5);
        assert_eq!(february("asOf=2020-01-31").await?, ["180.00"]);
        assert_eq!(february("asOf=2020-01-10").await?, ["100.00"]);
        // Before it was closed it was open, and what was known then is another thing.
        let before = "knownAt=2020-01-20T00:00:00Z";
        assert_eq!(january(before).await?, ["48.39", "92.90"]);
        assert_eq!(january(&format!("{before}&asOf=2020-01-10")).await?, ["100.00"]);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn closed_periods_replayed_from_their_events_give_the_sealed_bytes() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-05").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        app.turn("2020-02-10T08:00:00Z").await?;
        change(app, &id, "BU001", "2020-01-20").await?;
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        // Late for both, and one of them is set right once more.
        app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-25").await?;
        let provider = ledger::seller_at(&app.database, &TenantPath::provider()).await?;
        let key = provider.id.to_string();
        let found = finder::find::<BooksView>(&app.database, &Scope::catalogue(), &key).await?;
        let books = found.context("books")?;
        assert_eq!(books.closed.len(), 2);
        for closed in &books.closed {
            let period = provider.settings.period_ending(closed.end).context("a period")?;
            let of = (provider.id, &provider.path);
            let differs = ledger::compare_sealed(&app.database, of, period, closed.cutoff).await?;
            assert_eq!(differs, None, "{engine:?}");
            // The same over HTTP.
            let end = closed.end;
            let entries = async |parameters: String| -> Result<Vec<Value>> {
                let path = format!("/api/Billing/{end}/entries?{parameters}");
                Ok(app.get(&path).await?["data"].as_array().context("rows")?.clone())
            };
            let sealed = entries(String::new()).await?;
            assert!(!sealed.is_empty());
            assert_eq!(entries(format!("knownAt={}", closed.cutoff)).await?, sealed);
        }
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_moment_is_refused_and_what_is_sealed_has_none() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        let status = async |path: String| -> Result<(u16, Value)> {
            let answer = app.send(&app.token, Method::GET, &path, None).await?;
            Ok((answer.status.as_u16(), answer.body["errors"][0]["pointer"].clone()))
        };
        for path in ["", "/detail", "/entries", "/tax", "/margins", "/bridge", "/entries/x"] {
            for bad in ["yesterday", "2020-02-30", "12", "2020-1-1", "2020-01-01T00:00:00", ""] {
                let path = format!("/api/Billing/2020-01-31{path}?asOf={bad}");
                assert_eq!(status(path.clone()).await?, (400, json!("?asOf")), "{path}");
            }
        }
        for path in [
            "seal".to_owned(),
            "export".to_owned(),
            format!("proof?customerId={}", office.customer),
        ] {
            let (path, sign) = (
                format!("/api/Billing/2020-01-31/{path}"),
                if path.contains('?') { '&' } else { '?' },
            );
            assert_eq!(status(path.clone()).await?.0, 200, "{path}");
            assert_eq!(status(format!("{path}{sign}asOf=2020-01-31")).await?.0, 400, "{path}");
        }
        for bad in ["\"yesterday\"", "12", "\"\""] {
            let query = format!(
                "{{ ledgerEntries(endDate: \"2020-01-31\", asOf: {bad}) {{ totalCount }} }}"
            );
            let sent = Some(json!({ "query": query }));
            let answer = app.send(&app.token, Method::POST, "/graphql", sent).await?;
            assert_eq!(answer.problem(400)?, "graphql_validation_failed");
        }
        office.app.finish().await?;
    }
    Ok(())
}
