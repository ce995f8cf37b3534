//! Charges and credits that somebody makes by hand (billing.md, sections 2 and 7), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::{TestApp, answer};
use projections::ledger;
use reqwest::Method;
use serde_json::{Value, json};

use super::closing::{Office, correction, normal};
use crate::BOTH;

pub(super) const PATH: &str = "/api/v2/billing/adjustments";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn graphql(app: &TestApp, query: &str) -> Result<Value> {
    let answer = app.post("/graphql", json!({ "query": query })).await?;
    assert!(answer["errors"].is_null(), "{answer}");
    Ok(answer["data"].clone())
}

/// A closed period of the provider, rated again as far as the log went at its cutoff, is what was sealed.
pub(super) async fn replay_is_the_seal(office: &Office, end: &str) -> Result<()> {
    let app = &office.app;
    let seal = app.get(&format!("/api/Billing/{end}/seal")).await?;
    let seller = ledger::seller_at(&app.database, &domain::TenantPath::provider()).await?;
    let period = seller.settings.period_ending(end.parse()?).context("a period")?;
    let provider = text(&seal["organizationId"]).parse()?;
    let path = domain::TenantPath::provider();
    let cutoff = seal["cutoff"].as_u64().context("a cutoff")?;
    let difference = ledger::compare_sealed(&app.database, (provider, &path), period, cutoff);
    assert_eq!(difference.await?, None);
    Ok(())
}

#[tokio::test]
async fn a_credit_is_of_an_account_or_of_a_subscription_and_no_count_of_anything() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        // This one holds nothing at all.
        let idle = app.customer("Zebra", None).await?;
        let id = office.provision("BU001", "2020-01-01").await?;
        app.turn("2020-01-20T08:00:00Z").await?;
        let goodwill = json!({
            "customerId": idle, "amount": "-12.50", "description": "Goodwill", "reason": "an outage",
        });
        let made = app.post(PATH, goodwill).await?;
        assert_eq!((&made["amount"], &made["currency"]), (&json!("-12.50"), &json!("EUR")));
        let visit = json!({
            "subscriptionId": id, "amount": "80", "description": "A visit on site",
            "reason": "ticket 4711", "effectiveAt": "2020-01-15",
        });
        let visit = app.post(PATH, visit).await?;
        assert_eq!(visit["customerId"], office.customer.as_str());
        let january = "2020-01-31";
        let expected = [("100.00", "recurring"), ("80.00", "manual"), ("-12.50", "manual")];
        let detail = office.detail(january).await?;
        let rows = detail["data"].as_array().context("rows")?;
        let told: Vec<_> = rows.iter().map(|it| (text(&it["amount"]), text(&it["kind"]))).collect();
        assert_eq!(told, expected.map(|(amount, kind)| (amount.to_owned(), kind.to_owned())));
        assert_eq!(rows[1]["lineDescription"], "A visit on site");
        assert_eq!(rows[1]["serviceName"], rows[0]["serviceName"]);
        assert_eq!((&rows[2]["serviceName"], &rows[2]["quantity"]), (&json!("Account"), &json!(1)));
        assert_eq!(rows[2]["productSku"], "ADJUSTMENT");
        assert_eq!(rows[2]["component"], "manual");
        assert_eq!(
            (&rows[2]["action"], &rows[2]["actionedBy"]),
            (&json!("Added"), &json!("Ada Admin"))
        );

        // The summary counts what is held, and nothing else.
        let summary = app.get(&format!("/api/Billing/{january}")).await?;
        let counted: Vec<_> = summary["data"]
            .as_array()
            .context("rows")?
            .iter()
            .map(|row| {
                (text(&row["summaryGrouping"]), row["thisMonthCount"].clone(), text(&row["amount"]))
            })
            .collect();
        let sums = |name: &str, count: i64, amount: &str| {
            (name.to_owned(), json!(count), amount.to_owned())
        };
        assert!(counted.contains(&sums("A visit on site", 0, "80.00")), "{counted:?}");
        assert!(counted.contains(&sums("Goodwill", 0, "-12.50")), "{counted:?}");
        let of_customers =
            app.get(&format!("/api/Billing/{january}?aggregateByCustomer=true")).await?;
        assert_eq!(of_customers["data"][1]["thisMonthCount"], 0, "{of_customers}");

        // Every export comes to the same.
        for (kind, rows) in [("detail", 3), ("entries", 3)] {
            let csv =
                app.request(&app.token, Method::GET, &format!("/api/Billing/{january}/{kind}.csv"));
            let csv = csv.send().await?.text().await?;
            assert!(csv.contains(&format!("#control,rows={rows},EUR=167.50,")), "{csv}");
        }
        let focus = app.request(
            &app.token,
            Method::GET,
            &format!("/api/Billing/{january}/entries?format=focus"),
        );
        let focus = focus.send().await?;
        assert_eq!(focus.headers()["atrium-totals"], "EUR=167.50");
        assert!(focus.text().await?.contains(",Adjustment,"));
        let entries = app.get(&format!("/api/Billing/{january}/entries")).await?;
        let of_account = &entries["data"][2];
        assert_eq!(of_account["subscriptionId"], Value::Null);
        assert_eq!(of_account["adjustmentId"], made["id"]);
        assert_eq!(of_account["causes"], json!([made["position"]]));
        assert_eq!(entries["data"][1]["subscriptionId"], id.as_str());
        let path = format!("/api/Billing/{january}/entries/{}", text(&of_account["entryId"]));
        let explained = app.get(&path).await?;
        let sentence = "Goodwill: -12.50 EUR, by hand. Ada Admin added it on 2020-01-20.";
        assert_eq!(explained["data"]["sentence"], sentence);
        assert!(explained.to_string().contains("an outage"));
        let bridge = app.get(&format!("/api/Billing/{january}/bridge")).await?;
        let step = bridge["data"].as_array().context("rows")?.iter();
        let step: Vec<_> = step.filter(|row| row["step"] == "adjustment").collect();
        assert_eq!((step.len(), &step[0]["amount"]), (1, &json!("67.50")), "{bridge}");

        // The same over GraphQL, a page at a time.
        let mut after = String::new();
        let mut seen = Vec::new();
        loop {
            let query = format!(
                "{{ ledgerEntries(endDate: \"{january}\", first: 1{after}) {{ totalCount \
                 pageInfo {{ hasNextPage endCursor }} nodes {{ kind amount {{ amount }} \
                 subscription {{ uuid }} }} }} }}"
            );
            let page = graphql(app, &query).await?["ledgerEntries"].clone();
            assert_eq!(page["totalCount"], 3);
            seen.push(text(&page["nodes"][0]["amount"]["amount"]));
            if page["pageInfo"]["hasNextPage"] != true {
                break;
            }
            after = format!(", after: \"{}\"", text(&page["pageInfo"]["endCursor"]));
        }
        assert_eq!(seen, ["100.00", "80.00", "-12.50"]);
        let query = format!(
            "{{ adjustments(filter: {{ customerId: \"{idle}\" }}) {{ totalCount nodes {{ uuid \
             description reason customer {{ name }} seller {{ kind }} subscription {{ uuid }} }} }} }}"
        );
        let list = graphql(app, &query).await?["adjustments"].clone();
        assert_eq!(list["totalCount"], 1, "{list}");
        assert_eq!(list["nodes"][0]["uuid"], made["id"]);
        assert_eq!(list["nodes"][0]["customer"]["name"], "Zebra");

        // Whoever asks again under the same key has made one.
        let again = json!({
            "customerId": idle, "amount": "1.00", "description": "Once", "reason": "a test",
        });
        for replayed in [false, true] {
            let sent = app.request(&app.token, Method::POST, PATH);
            let sent = sent.header("idempotency-key", "once").json(&again);
            let sent = answer(sent).await?;
            assert_eq!(sent.headers.contains_key("idempotent-replay"), replayed);
            sent.expect(201)?;
        }
        let listed = app.get(&format!("{PATH}?customerId={idle}")).await?;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_dated_into_a_closed_period_is_booked_in_the_first_open_one() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU001", "2020-01-01").await?;
        let (january, february, march) = ("2020-01-31", "2020-02-29", "2020-03-31");
        let adjust = async |amount: &str, at: &str| {
            let sent = json!({
                "customerId": office.customer, "amount": amount, "description": "A credit",
                "reason": "agreed", "effectiveAt": at,
            });
            app.post(PATH, sent).await
        };
        let early = adjust("-10.00", "2020-01-05").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close(january).await?;
        let sealed = [normal("100.00", january), normal("-10.00", january)];
        assert_eq!(office.bill(january).await?, sealed);
        replay_is_the_seal(&office, january).await?;
        let seen = office.detail(january).await?;
        adjust("-7.00", "2020-01-06").await?;
        // The earlier one was wrong: it is taken back, whole, from its own day on.
        let back = json!({
            "reverses": early["id"], "reason": "the wrong customer", "effectiveAt": "2020-01-05",
        });
        let back = app.post(PATH, back).await?;
        assert_eq!((&back["amount"], &back["reverses"]), (&json!("10.00"), &early["id"]));
        let twice = json!({ "reverses": early["id"], "reason": "once more" });
        let twice = app.send(&app.token, Method::POST, PATH, Some(twice)).await?;
        assert_eq!(twice.problem(409)?, "already_reversed");
        let own = json!({ "reverses": back["id"], "reason": "after all" });
        let own = app.send(&app.token, Method::POST, PATH, Some(own)).await?;
        assert_eq!(own.problem(409)?, "is_reversal");
        // A subscription that was over earlier is set right beside it.
        office.deprovision(&id, "2020-01-21").await?;
        let mut booked = office.bill(february).await?;
        booked.sort();
        let mut expected = [
            correction("-100.00", january),
            correction("64.52", january),
            correction("-7.00", january),
            correction("10.00", january),
        ];
        expected.sort();
        assert_eq!(booked, expected);
        assert_eq!(office.detail(january).await?, seen, "what is sealed stays");
        let entries = app.get(&format!("/api/Billing/{february}/entries")).await?;
        let entries = entries["data"].as_array().context("rows")?;
        let reversal = entries.iter().find(|it| it["amount"] == "10.00").context("a reversal")?;
        let sealed = app.get(&format!("/api/Billing/{january}/entries")).await?;
        let sealed = sealed["data"].as_array().context("rows")?;
        let first = sealed.iter().find(|it| it["kind"] == "manual").context("an entry")?;
        assert_eq!(reversal["reverses"], first["entryId"]);
        let before = office.detail(february).await?;
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close(february).await?;
        assert_eq!(office.detail(february).await?, before, "the close has what was seen");
        replay_is_the_seal(&office, february).await?;
        replay_is_the_seal(&office, january).await?;
        assert_eq!(office.bill(march).await?, [], "once booked is enough");
        let seal = app.get(&format!("/api/Billing/{february}/seal")).await?;
        let totals = seal["books"]["totals"].as_array().context("totals")?;
        let manual = totals.iter().find(|it| it["kind"] == "manual").context("manual entries")?;
        assert_eq!((&manual["amount"], &manual["entries"]), (&json!("3.00"), &json!(2)));
        let proof = format!("/api/Billing/{february}/proof?customerId={}", office.customer);
        let proof = app.get(&proof).await?;
        assert_eq!(proof["lines"].as_array().map(Vec::len), Some(4), "{proof}");
        let known = format!("?knownAt={}", early["position"]);
        let known = app.get(&format!("/api/Billing/{january}/detail{known}")).await?;
        assert_eq!(known["data"].as_array().map(Vec::len), Some(2), "{known}");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_has_no_price_holds_up_no_adjustment() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let free = json!({
            "name": "Odd", "level": "customer", "instancing": "single",
            "plans": [{ "key": "p", "name": "P" }],
        });
        app.put("/api/v2/services/odd/draft", free).await?;
        app.post("/api/v2/services/odd/publish", json!({ "rollOut": true })).await?;
        let path = format!("/api/v2/customers/{}/subscriptions", office.customer);
        let odd = app.post(&path, json!({ "service": "odd", "plan": "p" })).await?;
        let sent = json!({
            "subscriptionId": odd["id"], "amount": "5.00", "description": "Set up", "reason": "work",
        });
        app.post(PATH, sent).await?;
        assert_eq!(office.bill("2020-01-31").await?, [normal("5.00", "2020-01-31")]);
        app.turn("2020-02-01T08:00:00Z").await?;
        office.ask("2020-01-31").await?;
        let defer = json!({ "subscriptionId": odd["id"], "reason": "its price is being agreed" });
        app.post("/api/v2/billing/2020-01-31/defer", defer).await?;
        office.approve("2020-01-31").await?.expect(202)?;
        assert_eq!(office.bill("2020-01-31").await?, [normal("5.00", "2020-01-31")]);
        replay_is_the_seal(&office, "2020-01-31").await?;
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn only_who_bills_a_customer_adjusts_and_each_sees_his_own() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let reseller = app.reseller("Reseller").await?;
        let below = app.customer("Below", Some(&reseller)).await?;
        let (_, seller) = app.user(&reseller, "r@r.test", &["Reseller Administrator"]).await?;
        let (_, carl) = app.user(&below, "c@c.test", &["Customer Administrator"]).await?;
        let post =
            async |token: &str, body: Value| app.send(token, Method::POST, PATH, Some(body)).await;
        let credit = |customer: &str| {
            json!({
                "customerId": customer, "amount": "-1.00", "description": "A credit", "reason": "agreed",
            })
        };
        let own = post(&seller, credit(&below)).await?.expect(201)?;
        assert_eq!(own["sellerId"], reseller.as_str());
        // The provider is above; others are not there.
        post(&app.token, credit(&below)).await?.expect(201)?;
        post(&seller, credit(&office.customer)).await?.problem(404)?;
        let others = app.post(PATH, credit(&office.customer)).await?;
        let back = json!({ "reverses": others["id"], "reason": "mine" });
        post(&seller, back).await?.problem(404)?;
        assert_eq!(post(&carl, credit(&below)).await?.problem(403)?, "forbidden");
        let listed = async |token: &str| -> Result<usize> {
            let answer = app.send(token, Method::GET, PATH, None).await?.expect(200)?;
            Ok(answer["data"].as_array().context("a list")?.len())
        };
        assert_eq!(
            (listed(&app.token).await?, listed(&seller).await?, listed(&carl).await?),
            (3, 2, 2)
        );
        // Who is billed by the provider is charged by hand by the provider.
        let provider = text(&others["sellerId"]);
        let billed_by = json!({ "sellerId": provider, "reason": "a frame contract" });
        app.put(&format!("/api/v2/customers/{below}/billed-by"), billed_by).await?;
        assert_eq!(post(&seller, credit(&below)).await?.problem(409)?, "not_the_seller");
        post(&app.token, credit(&below)).await?.expect(201)?;
        // What the reseller made is still his to take back.
        post(&seller, json!({ "reverses": own["id"], "reason": "made twice" }))
            .await?
            .expect(201)?;

        // All that is wrong is said at once.
        let bad = json!({
            "customerId": office.customer, "amount": "1.005", "description": "", "reason": " ",
            "effectiveAt": "soon",
        });
        let answer = post(&app.token, bad).await?.expect(422)?;
        let mut wrong: Vec<_> = answer["errors"]
            .as_array()
            .context("faults")?
            .iter()
            .map(|fault| text(&fault["pointer"]))
            .collect();
        wrong.sort();
        assert_eq!(wrong, ["/amount", "/description", "/effectiveAt", "/reason"]);
        for body in [
            json!({ "amount": "1.00", "description": "x", "reason": "y" }),
            json!({ "customerId": office.customer, "subscriptionId": office.customer, "reason": "y" }),
            json!({ "customerId": office.customer, "amount": "0.00", "description": "x", "reason": "y" }),
            json!({ "customerId": reseller, "amount": "1.00", "description": "x", "reason": "y" }),
            json!({ "buyerId": office.customer, "amount": "1.00", "description": "x", "reason": "y" }),
            json!({ "buyerId": provider, "amount": "1.00", "description": "x", "reason": "y" }),
            json!({ "buyerId": reseller, "customerId": below, "amount": "1.00", "description": "x",
                "reason": "y" }),
            json!({ "reverses": others["id"], "buyerId": reseller, "reason": "y" }),
            json!({ "reverses": others["id"], "amount": "1.00", "reason": "y" }),
        ] {
            post(&app.token, body).await?.expect(422)?;
        }
        post(&app.token, credit(&others["id"].to_string())).await?.problem(404)?;
        office.app.finish().await?;
    }
    Ok(())
}
