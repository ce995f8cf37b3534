//! What GraphQL says of bills, and of what they are made of, is what REST says.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use super::chain::provider;
use super::closing::Office;
use crate::BOTH;

async fn ask(app: &TestApp, token: &str, query: &str, variables: Value) -> Result<Answer> {
    let sent = json!({ "query": query, "variables": variables });
    app.send(token, Method::POST, "/graphql", Some(sent)).await
}

/// What a document is answered, where nothing is wrong with it.
async fn data(app: &TestApp, token: &str, query: &str, variables: Value) -> Result<Value> {
    let answer = ask(app, token, query, variables).await?.expect(200)?;
    assert!(answer["errors"].is_null(), "{query}: {answer}");
    Ok(answer["data"].clone())
}

/// The code of the only error of an answer.
fn code(answer: &Value) -> &str {
    assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1), "{answer}");
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

/// A list's rows in REST, each as the fields that are named there and in GraphQL, and what GraphQL has of the same.
fn assert_same(rest: &Value, nodes: &Value, fields: &[(&str, &str)]) -> Result<()> {
    let (rows, nodes) = (rest.as_array().context("rows")?, nodes.as_array().context("nodes")?);
    assert!(!rows.is_empty(), "there is something to compare");
    assert_eq!(rows.len(), nodes.len(), "{rest} {nodes:?}");
    for (row, node) in rows.iter().zip(nodes) {
        for (field, pointer) in fields {
            let there = node.pointer(pointer).unwrap_or(&Value::Null);
            let same = match (&row[field], there) {
                // Positions are texts there, and so are some enumerations' names.
                (Value::Number(number), Value::String(text)) => number.to_string() == *text,
                (Value::String(one), Value::String(other)) => {
                    let plain = |text: &str| text.replace('_', "").to_lowercase();
                    plain(one).replace("+00:00", "z") == plain(other).replace("+00:00", "z")
                }
                (one, other) => one == other,
            };
            assert!(same, "{field}: {row} {node}");
        }
    }
    Ok(())
}

const MARGINS: &str = "query($filter: BillingFilter) { billingMargins(endDate: \"2019-11-30\", filter: $filter) \
    { totalCount nodes { customerNumber customerCode customerName productSku revenue { amount currency } \
    cost { amount } commissionEarned { amount } commissionPaid { amount } margin { amount } unratedCount unratedReason } } }";

const TAXES: &str = "{ billingTaxes(endDate: \"2019-11-30\") { totalCount nodes { buyerNumber buyerCode buyerName \
    sellerUuid taxCategory taxPercent net { amount currency } tax { amount } gross { amount } lineCount } } }";

#[tokio::test]
async fn margins_and_taxes_are_those_of_the_billing_api() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        let plans = json!([{ "key": "p", "name": "P", "price": "100.00", "sku": "P1",
            "taxCategory": "standard" }]);
        let document =
            json!({ "name": "Thing", "level": "customer", "instancing": "single", "plans": plans });
        app.put("/api/v2/services/thing/draft", document).await?;
        app.post("/api/v2/services/thing/publish", json!({ "rollOut": true })).await?;
        let north = app.reseller("North").await?;
        let (_, nora) = app.user(&north, "nora@n.test", &["Reseller Administrator"]).await?;
        let root = provider(&app).await?;
        for (seller, row) in
            [(&root, json!({ "percentOfList": "70" })), (&north, json!({ "percentOnCost": "25" }))]
        {
            let mut row = row;
            row["effectiveFrom"] = json!("2019-11-01");
            let path = format!("/api/v2/organizations/{seller}/price-book");
            app.put(&path, json!({ "rows": [row], "reason": "The list" })).await?;
        }
        for name in ["Aanimals", "Bears"] {
            let customer = app.customer(name, Some(&north)).await?;
            let sent = json!({ "service": "thing", "plan": "p", "effectiveAt": "2019-11-01" });
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
        }
        let rates = json!([{ "category": "standard", "validFrom": "2019-01-01", "percent": "15" }]);
        let sent = json!({ "organizationId": north, "rates": rates });
        app.put("/api/v2/billing/tax-rates", sent).await?;
        let margins = [
            ("customerId", "/customerNumber"),
            ("customerCode", "/customerCode"),
            ("customerName", "/customerName"),
            ("productSku", "/productSku"),
            ("currency", "/revenue/currency"),
            ("revenue", "/revenue/amount"),
            ("cost", "/cost/amount"),
            ("commissionEarned", "/commissionEarned/amount"),
            ("commissionPaid", "/commissionPaid/amount"),
            ("margin", "/margin/amount"),
            ("unratedCount", "/unratedCount"),
            ("unratedReason", "/unratedReason"),
        ];
        let taxes = [
            ("customerId", "/buyerNumber"),
            ("customerCode", "/buyerCode"),
            ("customerName", "/buyerName"),
            ("sellerId", "/sellerUuid"),
            ("taxCategory", "/taxCategory"),
            ("taxPercent", "/taxPercent"),
            ("currency", "/net/currency"),
            ("net", "/net/amount"),
            ("tax", "/tax/amount"),
            ("gross", "/gross/amount"),
            ("lineCount", "/lineCount"),
        ];
        for token in [&app.token, &nora] {
            let path = "/api/Billing/2019-11-30/margins";
            let rest = app.send(token, Method::GET, path, None).await?.expect(200)?;
            let shown = data(&app, token, MARGINS, json!({})).await?;
            assert_same(&rest["data"], &shown["billingMargins"]["nodes"], &margins)?;
            let path = "/api/Billing/2019-11-30/tax";
            let rest = app.send(token, Method::GET, path, None).await?.expect(200)?;
            let shown = data(&app, token, TAXES, json!({})).await?;
            assert_same(&rest["data"], &shown["billingTaxes"]["nodes"], &taxes)?;
        }
        // North bills 87.50, and pays 70.00; 15 % of it is tax.
        let shown = data(&app, &nora, MARGINS, json!({})).await?;
        let row = &shown["billingMargins"]["nodes"][0];
        assert_eq!(
            (&row["cost"]["amount"], &row["margin"]["amount"]),
            (&json!("70.00"), &json!("17.50"))
        );
        let shown = data(&app, &nora, TAXES, json!({})).await?;
        assert_eq!(shown["billingTaxes"]["nodes"][0]["tax"]["amount"], "13.13", "{shown}");
        // A page at a time; and nothing of what another sells.
        let query = MARGINS.replace("filter: $filter", "filter: $filter, first: 1");
        let shown = data(&app, &nora, &query, json!({})).await?;
        assert_eq!(shown["billingMargins"]["totalCount"], 2);
        assert_eq!(shown["billingMargins"]["nodes"].as_array().map(Vec::len), Some(1));
        let of_root = json!({ "filter": { "sellerId": root } });
        let refused = ask(&app, &nora, MARGINS, of_root).await?.expect(200)?;
        assert_eq!(code(&refused), "not_found");
        let bought = json!({ "filter": { "buyerId": north } });
        let refused = ask(&app, &app.token, MARGINS, bought).await?.expect(200)?;
        assert_eq!(code(&refused), "bad_parameter", "who buys earns nothing by it");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn price_books_rates_commitments_and_readings_are_listed_as_they_were_set() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        let document = json!({
            "name": "Traffic", "level": "customer", "instancing": "single",
            "meters": [
                { "key": "calls", "name": "Calls", "unit": "call" },
                { "key": "devices", "aggregation": "unique" },
            ],
            "plans": [{ "key": "p", "name": "P", "price": "10.00" }],
        });
        app.put("/api/v2/services/traffic/draft", document).await?;
        app.post("/api/v2/services/traffic/publish", json!({ "rollOut": true })).await?;
        let north = app.reseller("North").await?;
        let (_, nora) = app.user(&north, "nora@n.test", &["Reseller Administrator"]).await?;
        let root = provider(&app).await?;
        let customer = app.customer("Aanimals", Some(&north)).await?;
        let sent = json!({ "service": "traffic", "plan": "p", "effectiveAt": "2019-11-01" });
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let id = app.post(&path, sent).await?["id"].as_str().context("an id")?.to_owned();
        let rows = json!([
            { "service": "traffic", "plan": "p", "price": "9.50", "effectiveFrom": "2019-11-01",
                "effectiveTo": "2020-01-01", "fromQuantity": 3 },
            { "percentOnCost": "12.5", "buyerId": customer },
            { "service": "traffic", "ends": "price", "subscriptionId": id },
        ]);
        let book = format!("/api/v2/organizations/{north}/price-book");
        app.put(&book, json!({ "rows": rows, "reason": "The list" })).await?;
        let rates = json!([{ "from": "USD", "to": "EUR", "rate": "0.9015",
            "effectiveFrom": "2019-11-01", "source": "ECB" }]);
        let rate_path = format!("/api/v2/billing/exchange-rates?organizationId={north}");
        app.put(
            "/api/v2/billing/exchange-rates",
            json!({ "organizationId": north, "rates": rates }),
        )
        .await?;
        let commitments = json!([
            { "buyerId": customer, "service": "traffic", "amount": "100.00",
                "effectiveFrom": "2019-11-01", "effectiveTo": "2020-01-01" },
            { "buyerId": customer, "service": "traffic", "amount": "0", "currency": "USD" },
        ]);
        let sent = json!({ "organizationId": north, "commitments": commitments, "reason": "Frame contract" });
        app.put("/api/v2/billing/commitments", sent).await?;
        let committed = format!("/api/v2/billing/commitments?organizationId={north}");
        for reading in [
            json!({ "meter": "calls", "quantity": "12.5", "reason": "read" }),
            json!({ "meter": "devices", "quantity": "1", "unique": "a" }),
        ] {
            let mut reading = reading;
            reading["subscriptionId"] = json!(id);
            app.post("/api/v2/billing/usage", reading).await?;
        }
        let query = "query($seller: ID!, $held: ID!) {
            priceBook(organizationId: $seller) { totalCount nodes { position sellerUuid serviceKey planKey component
                fromQuantity buyerUuid subscriptionUuid says value currency effectiveFrom effectiveTo actor reason } }
            exchangeRates(organizationId: $seller) { totalCount nodes { position sellerUuid from to rate effectiveFrom
                source actor reason } }
            commitments(organizationId: $seller) { totalCount nodes { position sellerUuid buyerUuid serviceKey
                amount { amount currency } effectiveFrom effectiveTo actor reason } }
            usageReadings(subscriptionId: $held) { totalCount nodes { position subscriptionUuid meter quantity unique
                effectiveAt actor reason } } }";
        let wanted = json!({ "seller": north, "held": id });
        for token in [&app.token, &nora] {
            let shown = data(&app, token, query, wanted.clone()).await?;
            let rest = app.send(token, Method::GET, &book, None).await?.expect(200)?;
            assert_same(
                &rest["data"],
                &shown["priceBook"]["nodes"],
                &[
                    ("position", "/position"),
                    ("organizationId", "/sellerUuid"),
                    ("service", "/serviceKey"),
                    ("plan", "/planKey"),
                    ("component", "/component"),
                    ("fromQuantity", "/fromQuantity"),
                    ("buyerId", "/buyerUuid"),
                    ("subscriptionId", "/subscriptionUuid"),
                    ("says", "/says"),
                    ("value", "/value"),
                    ("currency", "/currency"),
                    ("effectiveFrom", "/effectiveFrom"),
                    ("effectiveTo", "/effectiveTo"),
                    ("actor", "/actor"),
                    ("reason", "/reason"),
                ],
            )?;
            assert_eq!(shown["priceBook"]["totalCount"], 3);
            let rest = app.send(token, Method::GET, &rate_path, None).await?.expect(200)?;
            assert_same(
                &rest["data"],
                &shown["exchangeRates"]["nodes"],
                &[
                    ("position", "/position"),
                    ("organizationId", "/sellerUuid"),
                    ("from", "/from"),
                    ("to", "/to"),
                    ("rate", "/rate"),
                    ("effectiveFrom", "/effectiveFrom"),
                    ("source", "/source"),
                    ("actor", "/actor"),
                    ("reason", "/reason"),
                ],
            )?;
            let rest = app.send(token, Method::GET, &committed, None).await?.expect(200)?;
            assert_same(
                &rest["data"],
                &shown["commitments"]["nodes"],
                &[
                    ("position", "/position"),
                    ("organizationId", "/sellerUuid"),
                    ("buyerId", "/buyerUuid"),
                    ("service", "/serviceKey"),
                    ("amount", "/amount/amount"),
                    ("currency", "/amount/currency"),
                    ("effectiveFrom", "/effectiveFrom"),
                    ("effectiveTo", "/effectiveTo"),
                    ("actor", "/actor"),
                    ("reason", "/reason"),
                ],
            )?;
            assert_eq!(shown["commitments"]["totalCount"], 2);
            let path = format!("/api/v2/subscriptions/{id}/usage");
            let rest = app.send(token, Method::GET, &path, None).await?.expect(200)?;
            assert_same(
                &rest["data"],
                &shown["usageReadings"]["nodes"],
                &[
                    ("position", "/position"),
                    ("subscriptionId", "/subscriptionUuid"),
                    ("meter", "/meter"),
                    ("quantity", "/quantity"),
                    ("unique", "/unique"),
                    ("effectiveAt", "/effectiveAt"),
                    ("actor", "/actor"),
                    ("reason", "/reason"),
                ],
            )?;
            assert_eq!(shown["usageReadings"]["totalCount"], 2);
        }
        // What the provider has is not there for the reseller, and what the reseller has not for another.
        let south = app.reseller("South").await?;
        let (_, sam) = app.user(&south, "sam@s.test", &["Reseller Administrator"]).await?;
        let lists = "query($id: ID!) { priceBook(organizationId: $id) { totalCount } }";
        for (token, id) in [(&nora, &root), (&sam, &north)] {
            let refused = ask(&app, token, lists, json!({ "id": id })).await?.expect(200)?;
            assert_eq!(code(&refused), "not_found");
            for other in ["exchangeRates", "commitments"] {
                let others = lists.replace("priceBook", other);
                let refused = ask(&app, token, &others, json!({ "id": id })).await?.expect(200)?;
                assert_eq!(code(&refused), "not_found");
            }
        }
        // Where nobody is named it is the caller's own, in both; a customer sells nothing.
        let (_, carl) = app.user(&customer, "carl@a.test", &["Customer Administrator"]).await?;
        for (of, path) in [("commitments", "commitments"), ("exchangeRates", "exchange-rates")] {
            let path = format!("/api/v2/billing/{path}");
            let query = format!("{{ {of} {{ totalCount }} }}");
            for (token, count) in
                [(&app.token, 0), (&nora, if of == "commitments" { 2 } else { 1 })]
            {
                let shown = data(&app, token, &query, json!({})).await?;
                assert_eq!(shown[of]["totalCount"], count);
                let rest = app.send(token, Method::GET, &path, None).await?.expect(200)?;
                assert_eq!(rest["data"].as_array().map(Vec::len), Some(count));
            }
            let of_customer = format!("{of}(organizationId: \"{customer}\")");
            for (token, query) in [(&carl, query.clone()), (&nora, query.replace(of, &of_customer))]
            {
                let refused = ask(&app, token, &query, json!({})).await?.expect(200)?;
                assert_eq!(code(&refused), "not_found");
            }
            for (token, path) in
                [(&carl, path.clone()), (&nora, format!("{path}?organizationId={customer}"))]
            {
                let refused = app.send(token, Method::GET, &path, None).await?;
                assert_eq!(refused.status, 404);
            }
        }
        let read = "query($id: ID!) { usageReadings(subscriptionId: $id) { totalCount } }";
        for id in [id.as_str(), &root, "nonsense"] {
            let refused = ask(&app, &sam, read, json!({ "id": id })).await?.expect(200)?;
            assert_eq!(code(&refused), "not_found");
        }
        app.finish().await?;
    }
    Ok(())
}

const PREVIEW: &str = "query($commands: [CommandInput!]!, $until: Date) { \
    billingPreview(commands: $commands, until: $until) { outcomes more periods { endDate quarantinedUuids \
    totals { without { amount currency } with { amount } difference { amount } } \
    customers { customerNumber customerName without { amount } with { amount } difference { amount } } \
    booked { entryId amount { amount } explain { sentence } } dropped { entryId amount { amount } } } } }";

const REHEARSAL: &str = "query($proposal: Proposal, $end: Date) { \
    billingRehearsal(proposal: $proposal, endDate: $end) { endDate closed sealedEngineVersion engineVersion \
    customerCount quarantinedCount quarantined { serviceKey reason subscription { uuid } } \
    totals { amount { amount currency } newAmount { amount } difference { amount } waivedLines newWaivedLines } \
    customers { customerNumber customerCode customerName amount { amount currency } newAmount { amount } \
    difference { amount } waivedLines newWaivedLines } } }";

#[tokio::test]
async fn previews_and_rehearsals_come_to_the_same_in_both() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        app.turn("2020-02-10T08:00:00Z").await?;
        let log = eventstore::Log::new(app.database.clone());
        let head = log.head().await?;
        let commands = json!([
            { "path": format!("/api/v2/subscriptions/{id}/deprovision"),
                "body": { "effectiveAt": "2020-01-20", "reason": "it was so" } },
            { "path": "/api/v2/billing/adjustments", "body": { "customerId": office.customer,
                "amount": "-5.00", "description": "Sorry", "reason": "agreed" } },
        ]);
        let sent = json!({ "commands": commands, "until": "2020-02-29" });
        let rest = app.post("/api/v2/billing/preview", sent.clone()).await?;
        let shown = data(app, &app.token, PREVIEW, sent).await?["billingPreview"].clone();
        assert_eq!(shown["outcomes"], json!(["DONE", "CREATED"]), "{shown}");
        assert_eq!(rest["outcomes"], json!(["done", "created"]));
        let (told, period) = (&rest["periods"][0], &shown["periods"][0]);
        assert_eq!((&told["endDate"], &rest["more"]), (&period["endDate"], &shown["more"]));
        let totals = [
            ("currency", "/without/currency"),
            ("without", "/without/amount"),
            ("with", "/with/amount"),
            ("difference", "/difference/amount"),
        ];
        assert_same(&told["totals"], &period["totals"], &totals)?;
        let customers = [
            ("customerId", "/customerNumber"),
            ("customerName", "/customerName"),
            ("without", "/without/amount"),
            ("with", "/with/amount"),
            ("difference", "/difference/amount"),
        ];
        assert_same(&told["customers"], &period["customers"], &customers)?;
        let entries = |rows: &Value| -> Vec<String> {
            // An adjustment gets its own id when it is made.
            let rows = rows.as_array().into_iter().flatten();
            let rows = rows.map(|row| match row["amount"].get("amount") {
                Some(amount) => (row["entryId"].to_string(), amount.to_string()),
                None => (row["entryId"].to_string(), row["amount"].to_string()),
            });
            let rows = rows.map(|(id, amount)| match amount.as_str() {
                "\"-5.00\"" => amount,
                _ => format!("{id} {amount}"),
            });
            rows.collect()
        };
        for side in ["booked", "dropped"] {
            assert_eq!(entries(&told[side]), entries(&period[side]), "{side}");
        }
        assert_eq!(period["booked"].as_array().map(Vec::len), Some(3), "{period}");
        let price = json!({ "service": "backup", "plan": "BU010", "price": "150.00" });
        for (end, proposal, effect) in [
            ("2020-02-29", json!({ "prices": [price] }), "-30.00"),
            ("2020-01-31", json!({ "prices": [price] }), "-30.00"),
            ("2020-01-31", json!({}), "-"),
            (
                "2020-02-29",
                json!({ "service": { "key": "backup" }, "rules": [{ "key": "r",
                "reason": "Free", "validFrom": "2020-01-01",
                "condition": { "field": "plan", "values": ["BU010"] } }] }),
                "-180.00",
            ),
            // What costs dollars has no rate.
            (
                "2020-02-29",
                json!({ "prices": [{ "service": "backup", "plan": "BU010",
                "price": "150.00", "currency": "USD" }] }),
                "-180.00",
            ),
        ] {
            let mut sent = proposal.clone();
            sent["endDate"] = json!(end);
            let rest = app.post("/api/v2/billing/rehearsal", sent).await?;
            let wanted = json!({ "proposal": proposal, "end": end });
            let shown = data(app, &app.token, REHEARSAL, wanted).await?["billingRehearsal"].clone();
            for field in [
                "endDate",
                "closed",
                "sealedEngineVersion",
                "engineVersion",
                "customerCount",
                "quarantinedCount",
            ] {
                assert_eq!(rest[field], shown[field], "{field}: {rest} {shown}");
            }
            let effects = [
                ("currency", "/amount/currency"),
                ("amount", "/amount/amount"),
                ("newAmount", "/newAmount/amount"),
                ("difference", "/difference/amount"),
                ("waivedLines", "/waivedLines"),
                ("newWaivedLines", "/newWaivedLines"),
            ];
            assert_same(&rest["totals"], &shown["totals"], &effects)?;
            let told = rest["customers"][0]["difference"].as_str().unwrap_or("-");
            assert_eq!(told, effect, "{rest}");
            if effect != "-" {
                let whom = [("customerId", "/customerNumber"), ("customerCode", "/customerCode")];
                let fields = [&effects[..], &whom[..]].concat();
                assert_same(&rest["customers"], &shown["customers"], &fields)?;
            }
            if rest["quarantinedCount"] == 1 {
                let fields = [("subscriptionId", "/subscription/uuid"), ("code", "/reason")];
                assert_same(&rest["quarantined"], &shown["quarantined"], &fields)?;
            }
        }
        assert_eq!(log.head().await?, head, "nothing is recorded");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_preview_or_rehearsal_is_told_at_its_place() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU010", "2020-01-01").await?;
        let reseller = app.reseller("North").await?;
        let (_, nora) = app.user(&reseller, "nora@n.test", &["Reseller Administrator"]).await?;
        let wrong =
            async |token: &str, query: &str, variables: Value| -> Result<(String, Vec<String>)> {
                let answer = ask(app, token, query, variables).await?.expect(200)?;
                let errors = answer["errors"][0]["extensions"]["errors"].as_array();
                let pointers =
                    errors.into_iter().flatten().map(|it| it["pointer"].as_str().unwrap_or("-"));
                Ok((code(&answer).to_owned(), pointers.map(str::to_owned).collect()))
            };
        let told = |code: &str, pointers: &[&str]| {
            (code.to_owned(), pointers.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        let nowhere =
            json!({ "commands": [{ "path": "/api/v2/session" }, { "path": "nonsense" }] });
        let expected = told("not_previewed", &["/commands/0/path", "/commands/1/path"]);
        let found = wrong(&app.token, PREVIEW, nowhere).await?;
        assert_eq!(found.1, expected.1);
        let none = wrong(&app.token, PREVIEW, json!({ "commands": [] })).await?;
        assert_eq!(none.1, ["/commands"]);
        let row = json!({ "service": "backup", "plan": "nothing", "price": "1.00" });
        let found =
            wrong(&app.token, REHEARSAL, json!({ "proposal": { "prices": [row] } })).await?;
        assert_eq!(found.1, ["/prices/0/plan"]);
        let form = json!({ "proposal": { "prices": [{ "prize": "1.00" }] } });
        let found = wrong(&app.token, REHEARSAL, form).await?;
        assert_eq!(found, told("malformed", &["/prices/0/prize"]));
        let service = json!({ "proposal": { "service": { "key": "backup" } } });
        assert_eq!(wrong(&nora, REHEARSAL, service).await?.0, "forbidden");
        let of_provider = "query($seller: ID) { billingRehearsal(sellerId: $seller, proposal: { rules: [] }) { closed } }";
        let root = json!({ "seller": provider(app).await? });
        assert_eq!(wrong(&nora, of_provider, root).await?.0, "not_found");
        // Each keeps a connection: a document has few of them.
        let one = "billingRehearsal(proposal: { rules: [] }) { closed }";
        let many: Vec<_> = (0..5).map(|it| format!("a{it}: {one}")).collect();
        let refused = ask(app, &app.token, &format!("{{ {} }}", many.join(" ")), json!({})).await?;
        assert_eq!(refused.problem(400)?, "query_too_complex");
        let few =
            ask(app, &app.token, &format!("{{ {} }}", many[..4].join(" ")), json!({})).await?;
        assert!(few.expect(200)?["errors"].is_null());
        office.app.finish().await?;
    }
    Ok(())
}
