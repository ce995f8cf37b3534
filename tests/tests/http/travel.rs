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

/// A customer that goes from one reseller to another on the 16th: what each bills, and what the provider bills them.
#[tokio::test]
async fn a_customer_is_billed_as_of_a_moment_by_who_had_it_then() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        let [east, west] = [app.reseller("East").await?, app.reseller("West").await?];
        let customer = app.customer("Zoo", Some(&east)).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2019-11-01" });
        let made = app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
        for (seller, percent) in [(&east, "20"), (&west, "-10")] {
            let row = json!({ "percentOnCost": percent, "effectiveFrom": "2019-11-01" });
            let path = format!("/api/v2/organizations/{seller}/price-book");
            app.put(&path, json!({ "rows": [row], "reason": "The list" })).await?;
        }
        app.turn("2019-11-20T08:00:00Z").await?;
        let sent = json!({ "parentId": west, "effectiveFrom": "2019-11-16", "reason": "Sold" });
        app.post(&format!("/api/v2/customers/{customer}/move"), sent).await?;
        let id = made["id"].as_str().context("an id")?;
        change(app, id, "BU010", "2019-11-21").await?;
        let all = async |end: &str, then: &str| -> Result<[Vec<String>; 4]> {
            let mut all = Vec::new();
            for whose in [
                format!("sellerId={east}"),
                format!("sellerId={west}"),
                format!("buyerId={east}"),
                format!("buyerId={west}"),
            ] {
                all.push(amounts(app, end, &format!("{whose}&{then}")).await?);
            }
            all.try_into().map_err(|_| anyhow::anyhow!("four"))
        };
        let november = "2019-11-30";
        let told = |all: [&[&str]; 4]| all.map(|of| of.iter().map(|it| (*it).to_owned()).collect());
        let nothing: &[&str] = &[];
        let moments: [(&str, [Vec<String>; 4]); 6] = [
            ("asOf=2019-10-31", told([nothing; 4])),
            ("asOf=2019-11-15", told([&["120.00"], nothing, &["100.00"], nothing])),
            ("asOf=2019-11-16", told([&["60.00"], &["45.00"], &["50.00"], &["50.00"]])),
            ("asOf=2019-11-20", told([&["60.00"], &["45.00"], &["50.00"], &["50.00"]])),
            (
                "asOf=2019-11-21",
                told([&["60.00"], &["15.00", "54.00"], &["50.00"], &["16.67", "60.00"]]),
            ),
            ("", told([&["60.00"], &["15.00", "54.00"], &["50.00"], &["16.67", "60.00"]])),
        ];
        for (then, expected) in &moments {
            assert_eq!(all(november, then).await?, *expected, "{engine:?}, {then}");
        }
        // Before the move was known, nobody believed in it, whichever moment is asked about.
        let unknown = "knownAt=2019-11-19T00:00:00Z";
        for then in [unknown.to_owned(), format!("asOf=2019-11-16&{unknown}")] {
            let expected = told([&["120.00"], nothing, &["100.00"], nothing]);
            assert_eq!(all(november, &then).await?, expected, "{engine:?}, {then}");
        }
        // Closed by all of them, it is the same.
        app.turn("2019-12-02T08:00:00Z").await?;
        office.close(november).await?;
        for seller in [&east, &west] {
            let sent = json!({ "organizationId": seller });
            app.post(&format!("/api/v2/billing/{november}/close"), sent.clone()).await?;
            let second = app.sign_in("second@x.test", atrium_tests::http::PASSWORD).await?;
            let path = format!("/api/v2/billing/{november}/approve");
            app.send(&second, Method::POST, &path, Some(sent)).await?.expect(202)?;
        }
        for (then, expected) in &moments {
            assert_eq!(all(november, then).await?, *expected, "{engine:?}, {then}, closed");
        }
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_closed_period_with_corrections_as_of_a_moment_has_those_of_what_was_over_by_then()
-> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        // Learned in February: from the 11th of January on it was the smaller one; and in February it grows again.
        app.turn("2020-02-05T08:00:00Z").await?;
        change(app, &id, "BU001", "2020-01-11").await?;
        change(app, &id, "BU010", "2020-02-16").await?;
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        // Learned in March, and so in none of February's books: it was taken away on the 11th of February.
        app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-02-11").await?;
        let sorted = async |end: &str, then: &str| -> Result<Vec<String>> {
            let mut found = amounts(app, end, then).await?;
            found.sort();
            Ok(found)
        };
        let february = async |then: &str| sorted("2020-02-29", then).await;
        let right = ["-180.00", "58.06", "67.75"];
        let with = |own: &[&'static str]| {
            let mut all = [&right[..], own].concat();
            all.sort_unstable();
            all
        };
        // 15 of 29 days at 100.00, 14 at 180.00.
        let books = with(&["51.72", "86.90"]);
        assert_eq!(february("").await?, books, "{engine:?}");
        for (as_of, expected) in [
            ("2020-01-10", vec!["180.00"]),
            ("2020-01-11", vec!["100.00"]),
            ("2020-01-31", vec!["100.00"]),
            // January is over, and set right.
            ("2020-02-01", with(&["100.00"])),
            ("2020-01-31T23:59:59.999999Z", with(&["100.00"])),
            ("2020-02-11", with(&["100.00"])),
            ("2020-02-15", with(&["100.00"])),
            ("2020-02-16", books.clone()),
            ("2020-03-05", books.clone()),
        ] {
            assert_eq!(february(&format!("asOf={as_of}")).await?, expected, "{engine:?}: {as_of}");
        }
        // In March what was over by then is set right: January never again, February once it is over.
        let march = async |then: &str| sorted("2020-03-31", then).await;
        let of_february = ["-51.72", "-86.90", "34.48"];
        assert_eq!(march("").await?, of_february, "{engine:?}");
        assert_eq!(march("asOf=2020-03-01").await?, of_february);
        assert_eq!(march("asOf=2020-02-29").await?, Vec::<String>::new());
        assert_eq!(march("asOf=2020-02-10").await?, ["100.00"]);
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
