//! What resellers are charged by hand, or given back, by who sells to them (billing.md, sections 2 and 4; ADR 0029), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use super::adjustments::{PATH, replay_is_the_seal};
use super::chain::{Chain, bill, lines, reseller};
use super::closing::Office;
use crate::BOTH;

async fn adjust(app: &TestApp, token: &str, sent: Value) -> Result<Answer> {
    app.send(token, Method::POST, PATH, Some(sent)).await
}

fn credit(buyer: &str, amount: &str, at: Option<&str>) -> Value {
    json!({
        "buyerId": buyer, "amount": amount, "description": "A bonus", "reason": "Partner programme",
        "effectiveAt": at,
    })
}

async fn of(app: &TestApp, token: &str, path: &str) -> Result<Value> {
    app.send(token, Method::GET, &format!("/api/Billing/{path}"), None).await?.expect(200)
}

/// Of each row some fields.
fn told<const N: usize>(answer: &Value, fields: [&str; N]) -> Vec<[String; N]> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = answer["data"].as_array().into_iter().flatten();
    rows.map(|row| fields.map(|field| text(&row[field]))).collect()
}

/// Case 9a: the master pays 46.67, the sub 51.33 and the customer 66.67; and each seller charges the next one by hand.
#[tokio::test]
async fn who_sells_to_a_reseller_charges_it_and_nobody_else_sees_that() -> Result<()> {
    for engine in BOTH {
        let chain = Chain::new(engine).await?;
        let (app, [max, sue, ann]) = (&chain.app, &chain.tokens);
        let (master, sub) = (&chain.master, &chain.sub);
        let made = adjust(app, &app.token, credit(master, "-40.00", None)).await?.expect(201)?;
        assert_eq!(
            (&made["customerId"], &made["buyerId"], &made["sellerId"]),
            (&json!(master), &json!(master), &json!(chain.provider)),
        );
        adjust(app, &app.token, credit(master, "15", Some("2019-11-20"))).await?.expect(201)?;
        let of_sub = adjust(app, max, credit(sub, "-3.00", None)).await?.expect(201)?;
        assert_eq!(of_sub["sellerId"], json!(master));

        // Each is on one edge: in the bill of who sells, and in what the reseller buys.
        let own = "2019-11-30/detail";
        let wholesale = lines(&[
            ("manual", "Master", "-40.00"),
            ("manual", "Master", "15.00"),
            ("recurring", "Master", "46.67"),
        ]);
        let retail = lines(&[("manual", "Sub", "-3.00"), ("recurring", "Sub", "51.33")]);
        assert_eq!(bill(app, &app.token, own).await?, wholesale, "{engine:?}");
        assert_eq!(bill(app, max, &format!("{own}?buyerId={master}")).await?, wholesale);
        assert_eq!(bill(app, max, own).await?, retail);
        assert_eq!(bill(app, sue, &format!("{own}?buyerId={sub}")).await?, retail);
        let of_customer = lines(&[("recurring", "", "66.67")]);
        for token in [sue, ann] {
            assert_eq!(bill(app, token, own).await?, of_customer);
        }
        for (token, of) in [
            (sue, format!("buyerId={master}")),
            (ann, format!("buyerId={sub}")),
            (max, format!("sellerId={}", chain.provider)),
        ] {
            let path = format!("/api/Billing/{own}?{of}");
            assert_eq!(app.send(token, Method::GET, &path, None).await?.status, 404);
        }
        for (token, count) in [(&app.token, 3), (max, 3), (sue, 1), (ann, 0)] {
            let listed = app.send(token, Method::GET, PATH, None).await?.expect(200)?;
            assert_eq!(listed["data"].as_array().map(Vec::len), Some(count), "{listed}");
        }
        let listed = app.get(&format!("{PATH}?customerId={master}")).await?;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");

        // By customer it is that of the reseller; counts nothing; and is what is left to others.
        let fields = ["customerName", "summaryGrouping", "thisMonthCount", "amount"];
        let summary = told(&of(app, &app.token, "2019-11-30").await?, fields);
        assert_eq!(
            summary,
            [
                ["Aanimals Inc", "Backup (Assigned to Customer)", "1", "46.67"],
                ["Master", "A bonus", "0", "-25.00"],
            ]
        );
        let one = of(app, &app.token, &format!("{own}?customerId={master}")).await?;
        assert_eq!(one["data"].as_array().map(Vec::len), Some(3), "all that is below it");
        let fields = ["customerName", "productSku", "revenue", "cost", "margin"];
        let margins = told(&of(app, max, "2019-11-30/margins").await?, fields);
        assert_eq!(
            margins,
            [
                ["Aanimals Inc", "BU001", "51.33", "46.67", "4.66"],
                ["Master", "ADJUSTMENT", "0.00", "-25.00", "25.00"],
                ["Sub", "ADJUSTMENT", "-3.00", "0.00", "-3.00"],
            ]
        );
        let csv = app.request(&app.token, Method::GET, "/api/Billing/2019-11-30/entries.csv");
        let csv = csv.send().await?.text().await?;
        assert!(csv.contains("#control,rows=3,EUR=21.67,"), "{csv}");
        let entries = of(app, &app.token, "2019-11-30/entries").await?;
        let entry = &entries["data"].as_array().context("entries")?.iter();
        let entry = entry.clone().find(|it| it["amount"] == "-40.00").context("the credit")?;
        assert_eq!(
            (&entry["buyerId"], &entry["adjustmentId"], &entry["subscriptionId"]),
            (&json!(master), &made["id"], &Value::Null)
        );
        let path = format!("2019-11-30/entries/{}", entry["entryId"].as_str().context("an id")?);
        let explained = of(app, max, &format!("{path}?buyerId={master}")).await?;
        assert!(
            explained["data"]["sentence"].to_string().contains("A bonus: -40.00 EUR, by hand.")
        );
        let bridge = of(app, &app.token, "2019-11-30/bridge").await?;
        let steps = told(&bridge, ["step", "amount"]);
        assert!(steps.contains(&["adjustment", "-25.00"].map(str::to_owned)), "{steps:?}");
        let query =
            "{ adjustments { nodes { amount { amount } customer { name } buyer { name } } } }";
        let asked = app.send(max, Method::POST, "/graphql", Some(json!({ "query": query })));
        let asked = asked.await?.expect(200)?;
        assert_eq!(asked["data"]["adjustments"]["nodes"][2]["buyer"]["name"], "Sub", "{asked}");

        // Tried out, nothing is recorded.
        let sent = json!({ "commands": [{
            "path": "/api/v2/billing/adjustments", "body": credit(master, "7.00", None),
        }], "until": "2019-11-30" });
        let path = "/api/v2/billing/preview";
        let tried = app.send(&app.token, Method::POST, path, Some(sent)).await?.expect(200)?;
        let customer = &tried["periods"][0]["customers"][0];
        assert_eq!(
            (&customer["customerName"], &customer["without"], &customer["with"]),
            (&json!("Master"), &json!("-25.00"), &json!("-18.00")),
            "{tried}"
        );
        assert_eq!(bill(app, &app.token, own).await?, wholesale);

        // Nobody charges himself, those above or those beside.
        let (_, west) = {
            let west = reseller(app, "West", &chain.provider, None).await?;
            app.user(&west, "wes@west.test", &["Reseller Administrator"]).await?
        };
        let own = adjust(app, max, credit(master, "-1.00", None)).await?;
        assert_eq!(own.problem(409)?, "not_the_seller");
        let back = json!({ "reverses": made["id"], "reason": "no" });
        assert_eq!(adjust(app, max, back.clone()).await?.problem(409)?, "not_the_seller");
        for (token, buyer) in [(sue, master), (&west, master), (&west, sub)] {
            adjust(app, token, credit(buyer, "-1.00", None)).await?.problem(404)?;
        }
        adjust(app, ann, credit(sub, "-1.00", None)).await?.problem(403)?;
        // Who is above does it for whoever sells; and it is taken back once, whole.
        let by_provider = adjust(app, &app.token, credit(sub, "-2.00", None)).await?.expect(201)?;
        assert_eq!(by_provider["sellerId"], json!(master));
        let taken = adjust(app, &app.token, back.clone()).await?.expect(201)?;
        assert_eq!((&taken["amount"], &taken["buyerId"]), (&json!("40.00"), &json!(master)));
        assert_eq!(adjust(app, &app.token, back).await?.problem(409)?, "already_reversed");
        chain.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn it_is_closed_sealed_proven_and_set_right_in_the_sellers_calendar_and_currency()
-> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let provider = super::chain::provider(app).await?;
        let kiwi = reseller(app, "Kiwi", &provider, Some("USD")).await?;
        let sub = reseller(app, "Sub", &kiwi, None).await?;
        let path = format!("/api/v2/organizations/{kiwi}/billing-settings");
        app.put(&path, json!({ "timeZone": "Pacific/Auckland" })).await?;
        let below = app.customer("Below", Some(&kiwi)).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-01" });
        app.post(&format!("/api/v2/customers/{below}/subscriptions"), sent).await?;
        // A date is that of who sells: of the provider for Kiwi, of Kiwi for the sub.
        let of_kiwi = adjust(app, &app.token, credit(&kiwi, "-10.00", Some("2020-01-05")))
            .await?
            .expect(201)?;
        assert_eq!(
            (&of_kiwi["currency"], &of_kiwi["effectiveAt"]),
            (&json!("EUR"), &json!("2020-01-05T00:00:00Z"))
        );
        let of_sub = adjust(app, &app.token, credit(&sub, "-4.00", Some("2020-01-05")))
            .await?
            .expect(201)?;
        assert_eq!(
            (&of_sub["currency"], &of_sub["effectiveAt"]),
            (&json!("USD"), &json!("2020-01-04T11:00:00Z"))
        );
        app.turn("2020-02-02T08:00:00Z").await?;
        let (january, february) = ("2020-01-31", "2020-02-29");
        let detail = |end: &str| format!("{end}/detail");
        let seen = lines(&[("manual", "Kiwi", "-10.00"), ("recurring", "Kiwi", "100.00")]);
        assert_eq!(bill(app, &app.token, &detail(january)).await?, seen, "{engine:?}");
        office.close(january).await?;
        assert_eq!(bill(app, &app.token, &detail(january)).await?, seen);
        replay_is_the_seal(&office, january).await?;
        // All that the reseller buys is one part of the books.
        let (_, kim) = app.user(&kiwi, "kim@kiwi.test", &["Reseller Administrator"]).await?;
        let path = format!("/api/Billing/{january}/proof?customerId={kiwi}");
        let proof = app.send(&kim, Method::GET, &path, None).await?.expect(200)?;
        assert_eq!(proof["lines"].as_array().map(Vec::len), Some(2), "{proof}");
        let seal = app.get(&format!("/api/Billing/{january}/seal")).await?;
        assert_eq!(seal["books"]["buyers"].as_array().map(Vec::len), Some(1), "{seal}");

        // What is dated into what is closed is booked in the first open period.
        adjust(app, &app.token, credit(&kiwi, "-7.00", Some("2020-01-06"))).await?.expect(201)?;
        let back =
            json!({ "reverses": of_kiwi["id"], "reason": "Wrong", "effectiveAt": "2020-01-05" });
        adjust(app, &app.token, back).await?.expect(201)?;
        let corrected = of(app, &app.token, &detail(february)).await?;
        let fields = ["kind", "class", "servicePeriod", "amount"];
        let mut booked = told(&corrected, fields);
        booked.sort();
        let expected = [
            ["manual", "correction", january, "-7.00"],
            ["manual", "correction", january, "10.00"],
            ["recurring", "normal", february, "100.00"],
        ];
        assert_eq!(booked, expected);
        assert_eq!(bill(app, &app.token, &detail(january)).await?, seen, "what is sealed stays");
        // As it was known before, and as of a moment before it.
        let before = of_kiwi["position"].as_u64().context("a position")? - 1;
        let known = format!("{}?knownAt={before}", detail(january));
        assert_eq!(told(&of(app, &app.token, &known).await?, ["amount"]).len(), 1);
        let earlier = format!("{}?asOf=2020-01-03", detail(january));
        assert_eq!(told(&of(app, &app.token, &earlier).await?, ["amount"]), [["100.00"]]);
        app.turn("2020-03-02T08:00:00Z").await?;
        office.close(february).await?;
        assert_eq!(of(app, &app.token, &detail(february)).await?, corrected);
        for end in [january, february] {
            replay_is_the_seal(&office, end).await?;
        }
        let march = lines(&[("recurring", "Kiwi", "100.00")]);
        assert_eq!(
            bill(app, &app.token, &detail("2020-03-31")).await?,
            march,
            "once booked is enough"
        );
        // The reseller's own books are its own.
        let kim = app.sign_in("kim@kiwi.test", atrium_tests::http::PASSWORD).await?;
        let own = lines(&[("manual", "Sub", "-4.00")]);
        assert_eq!(bill(app, &kim, &detail(january)).await?, own);
        office.app.finish().await?;
    }
    Ok(())
}
