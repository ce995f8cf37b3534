//! Roles: made, nested, given and taken away; those of services; acting as somebody else; and why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{Answer, TestApp, answer};
use reqwest::Method;
use serde_json::{Value, json};

use super::tenants::text;
use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";

async fn post(app: &TestApp, token: &str, path: &str, body: Value) -> Result<Answer> {
    app.send(token, Method::POST, path, Some(body)).await
}

async fn put(app: &TestApp, token: &str, path: &str, body: Value) -> Result<Answer> {
    app.send(token, Method::PUT, path, Some(body)).await
}

async fn get(app: &TestApp, token: &str, path: &str) -> Result<Answer> {
    app.send(token, Method::GET, path, None).await
}

/// Makes a role; gives its id.
async fn role(app: &TestApp, token: &str, body: Value) -> Result<String> {
    text(&post(app, token, "/api/v2/roles", body).await?.expect(201)?["id"])
}

fn code(answer: &Answer, pointer: &str) -> String {
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    let mut found = errors.filter(|error| error["pointer"] == pointer);
    found.next().map_or_else(String::new, |error| error["code"].as_str().unwrap_or("").to_owned())
}

#[tokio::test]
async fn a_role_is_a_set_of_permissions_and_of_other_roles() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let (_, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let clerk = json!({ "name": "Clerk", "permissions": ["billing.view"] });
        let clerk = role(&app, &admin, clerk).await?;
        let lead = json!({ "name": "Lead", "permissions": ["users.view"], "includes": [clerk] });
        let lead = role(&app, &admin, lead).await?;
        let (_, lee) = app.user(&seller, "lee@x.test", &[&lead]).await?;
        get(&app, &lee, "/api/Billing/parameters").await?.expect(200)?;
        let users = format!("/api/v2/resellers/{seller}/users");
        get(&app, &lee, &users).await?.expect(200)?;
        assert_eq!(get(&app, &lee, "/api/v2/events").await?.problem(403)?, "forbidden");

        // A role is not a part of itself, whatever lies between.
        let path = format!("/api/v2/roles/{clerk}");
        let edit = async |body: Value| app.send(&admin, Method::PATCH, &path, Some(body)).await;
        for includes in [json!([lead]), json!([clerk])] {
            let told = edit(json!({ "includes": includes })).await?;
            assert_eq!(code(&told, "/includes/0"), "circle", "{}", told.body);
            told.problem(422)?;
        }
        let mut above = lead.clone();
        for links in 3..=8 {
            let name = format!("Link {links}");
            above = role(&app, &admin, json!({ "name": name, "includes": [above] })).await?;
        }
        let ninth = json!({ "name": "Link 9", "includes": [above] });
        let told = post(&app, &admin, "/api/v2/roles", ninth).await?;
        assert_eq!(code(&told, "/includes/0"), "too_deep", "{}", told.body);
        let unknown = json!({ "name": "X", "permissions": ["users.view", "nonsense"],
            "includes": ["Root", "crm:agent", "00000000-0000-7000-8000-000000000000"] });
        let told = post(&app, &admin, "/api/v2/roles", unknown).await?;
        for (pointer, expected) in [
            ("/permissions/1", "unknown_permission"),
            ("/includes/0", "unknown_role"),
            ("/includes/1", "unknown_role"),
            ("/includes/2", "unknown_role"),
        ] {
            assert_eq!(code(&told, pointer), expected, "{pointer}: {}", told.body);
        }

        // Changes are felt at once, here and elsewhere.
        let (elsewhere, stop, served) = app.another().await?;
        let asks = async |url: &str| -> Result<u16> {
            let request = reqwest::Client::new().get(format!("{url}/api/Billing/parameters"));
            Ok(answer(request.bearer_auth(&lee)).await?.status.as_u16())
        };
        let is_felt = async |status: u16| -> Result<()> {
            assert_eq!(asks(&app.url).await?, status);
            let since = Instant::now();
            while asks(&elsewhere).await? != status {
                assert!(since.elapsed().as_millis() < 1_000, "it is not felt elsewhere");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        is_felt(200).await?;
        edit(json!({ "permissions": [] })).await?.expect(200)?;
        is_felt(403).await?;
        edit(json!({ "permissions": ["billing.view"] })).await?.expect(200)?;
        is_felt(200).await?;
        assert_eq!(app.send(&admin, Method::DELETE, &path, None).await?.status, 204);
        is_felt(403).await?;
        get(&app, &admin, &path).await?.problem(404)?;
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn default_roles_cannot_be_edited_and_are_copied() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let (_, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let path = "/api/v2/roles/L1%20Help%20Desk";
        let shown = get(&app, &admin, path).await?.expect(200)?;
        assert_eq!((&shown["kind"], &shown["id"]), (&json!("default"), &json!("L1 Help Desk")));
        let rename = Some(json!({ "name": "Mine" }));
        let told = app.send(&admin, Method::PATCH, path, rename).await?;
        assert_eq!(told.problem(409)?, "default_role");
        let told = app.send(&admin, Method::DELETE, path, None).await?;
        assert_eq!(told.problem(409)?, "default_role");
        let copied = post(&app, &admin, &format!("{path}/copy"), json!({ "name": "Mine" })).await?;
        let copied = copied.expect(201)?;
        assert_eq!(copied["permissions"].as_array().map(Vec::len), Some(6));
        assert_eq!(copied["copiedFrom"], "L1 Help Desk");
        assert_eq!(copied["organizationId"], json!(seller));
        let path = format!("/api/v2/roles/{}", text(&copied["id"])?);
        let edited = Some(json!({ "permissions": ["users.view"], "description": "Looks." }));
        let edited = app.send(&admin, Method::PATCH, &path, edited).await?.expect(200)?;
        assert_eq!(edited["permissions"], json!(["users.view"]));
        // A copy has no more than whoever makes it.
        let above = "/api/v2/roles/Service%20Provider%20Developer/copy";
        let told = post(&app, &admin, above, json!({ "name": "Mine" })).await?;
        assert_eq!(code(&told, "/permissions/0"), "beyond_your_own", "{}", told.body);
        // Page by page, each role is there once.
        let mut names = Vec::new();
        let mut next = String::new();
        loop {
            let page = get(&app, &admin, &format!("/api/v2/roles?limit=2{next}")).await?;
            let page = page.expect(200)?;
            for role in page["data"].as_array().context("roles")? {
                names.push(text(&role["name"])?);
            }
            match page["next"].as_str() {
                Some(cursor) => next = format!("&after={cursor}"),
                None => break,
            }
        }
        assert_eq!(
            names,
            [
                "Customer Administrator",
                "L1 Help Desk",
                "Reseller Administrator",
                "Service Provider Developer",
                "Mine",
            ]
        );
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_role_is_had_where_each_on_the_way_down_was_given_it() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let other = app.reseller("Fabrikam").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let (_, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let (_, stranger) = app.user(&other, "b@x.test", &["Reseller Administrator"]).await?;
        let viewer = json!({ "name": "Viewer", "permissions": ["events.view"] });
        let viewer = role(&app, &app.token, viewer).await?;
        let strong = json!({ "name": "Strong", "permissions": ["tokens.hold"] });
        let strong = role(&app, &app.token, strong).await?;
        let given = |to: &str, role: &str| format!("/api/v2/organizations/{to}/roles/{role}");

        // Not given to the seller, it is not there for him, and nobody below can have it.
        get(&app, &admin, &format!("/api/v2/roles/{viewer}")).await?.problem(404)?;
        put(&app, &admin, &given(&customer, &viewer), json!({})).await?.problem(404)?;
        let told = put(&app, &app.token, &given(&customer, &viewer), json!({})).await?;
        assert_eq!(told.problem(409)?, "role_not_given");
        let user = |login: &str, roles: Value| json!({ "firstName": "U", "lastName": "L", "email": login, "roles": roles });
        let users = format!("/api/v2/customers/{customer}/users");
        let told = post(&app, &admin, &users, user("u@x.test", json!([viewer]))).await?;
        assert_eq!(code(&told, "/roles/0"), "unknown_role", "{}", told.body);
        let told = post(&app, &app.token, &users, user("u@x.test", json!([viewer]))).await?;
        assert_eq!(code(&told, "/roles/0"), "role_not_given", "{}", told.body);

        for role in [&viewer, &strong] {
            let path = given(&seller, role);
            assert_eq!(put(&app, &app.token, &path, json!({})).await?.status, 204);
        }
        get(&app, &admin, &format!("/api/v2/roles/{viewer}")).await?.expect(200)?;
        get(&app, &stranger, &format!("/api/v2/roles/{viewer}")).await?.problem(404)?;
        // Nobody gives himself, nor what he lacks, nor changes what was made above.
        put(&app, &admin, &given(&seller, &viewer), json!({})).await?.problem(403)?;
        let told = put(&app, &admin, &given(&customer, &strong), json!({})).await?;
        assert_eq!(told.problem(403)?, "forbidden");
        let edit = Some(json!({ "name": "Mine" }));
        let path = format!("/api/v2/roles/{viewer}");
        app.send(&admin, Method::PATCH, &path, edit).await?.problem(403)?;

        assert_eq!(put(&app, &admin, &given(&customer, &viewer), json!({})).await?.status, 204);
        let (uli, session) = app.user(&customer, "uli@x.test", &[&viewer]).await?;
        let sees =
            async || Ok::<_, anyhow::Error>(get(&app, &session, "/api/v2/events").await?.status);
        assert_eq!(sees().await?, 200);
        let had = get(&app, &admin, &format!("/api/v2/organizations/{customer}/roles")).await?;
        let had = had.expect(200)?;
        let names: Vec<_> =
            had["data"].as_array().into_iter().flatten().map(|it| &it["name"]).collect();
        assert_eq!(
            names,
            ["Customer Administrator", "Service Provider Developer", "L1 Help Desk", "Viewer"]
        );

        // Taken away from the seller, it stops at once for everybody below.
        let take = async |token: &str, from: &str| {
            app.send(token, Method::DELETE, &given(from, &viewer), None).await
        };
        assert_eq!(take(&app.token, &seller).await?.status, 204);
        assert_eq!(sees().await?, 403);
        get(&app, &admin, &path).await?.problem(404)?;
        let explained = get(&app, &session, "/api/v2/explain?permission=events.view").await?;
        let why = text(&explained.expect(200)?["lacking"][0]["why"])?;
        assert!(why.contains("was not given it, or it was taken away"), "{why}");
        assert_eq!(put(&app, &app.token, &given(&seller, &viewer), json!({})).await?.status, 204);
        assert_eq!(sees().await?, 200);
        assert_eq!(take(&admin, &customer).await?.status, 204);
        assert_eq!(sees().await?, 403);
        // What somebody has already may stay, as nobody grants it anew.
        let roles = format!("/api/v2/users/{uli}/roles");
        let kept = json!({ "roles": [viewer, "L1 Help Desk"] });
        let kept = put(&app, &admin, &roles, kept).await?.expect(200)?;
        assert_eq!(kept["roles"].as_array().map(Vec::len), Some(2));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_grants_what_he_lacks() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let (_, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let publisher =
            json!({ "name": "Publisher", "permissions": ["users.view", "services.publish"] });
        let told = post(&app, &admin, "/api/v2/roles", publisher.clone()).await?;
        assert_eq!(code(&told, "/permissions/1"), "beyond_your_own", "{}", told.body);
        told.problem(422)?;
        // Made for the seller by one who has it, the seller's own people can see it and not grant it.
        let mut publisher = publisher;
        publisher["organizationId"] = json!(seller);
        let publisher = role(&app, &app.token, publisher).await?;
        let wider = json!({ "name": "Wider", "includes": [publisher] });
        let told = post(&app, &admin, "/api/v2/roles", wider).await?;
        assert_eq!(code(&told, "/includes/0"), "beyond_your_own", "{}", told.body);
        let sent = json!({ "firstName": "U", "lastName": "L", "email": "u@x.test",
            "roles": [publisher] });
        let users = format!("/api/v2/resellers/{seller}/users");
        let told = post(&app, &admin, &users, sent.clone()).await?;
        assert_eq!(code(&told, "/roles/0"), "beyond_your_own", "{}", told.body);
        post(&app, &app.token, &users, sent).await?.expect(201)?;
        // He may take something out of it, and not put anything in that he lacks.
        let path = format!("/api/v2/roles/{publisher}");
        let edit = async |permissions: Value| {
            let sent = Some(json!({ "permissions": permissions }));
            app.send(&admin, Method::PATCH, &path, sent).await
        };
        edit(json!(["services.publish"])).await?.expect(200)?;
        edit(json!(["services.publish", "tokens.hold"])).await?.problem(422)?;
        // Whoever may only add users makes nobody the administrator, not even the first of a customer.
        let hirer = json!({ "name": "Hirer", "permissions": ["users.manage", "users.view"] });
        let hirer = role(&app, &admin, hirer).await?;
        let (_, hirer) = app.user(&seller, "h@x.test", &[&hirer]).await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let sent = json!({ "firstName": "F", "lastName": "L", "email": "f@x.test" });
        let users = format!("/api/v2/customers/{customer}/users");
        assert_eq!(post(&app, &hirer, &users, sent).await?.expect(201)?["roles"], json!([]));
        app.finish().await?;
    }
    Ok(())
}

/// A service with roles and a permission of its own, for users.
fn helper() -> Value {
    json!({
        "name": "Helper", "level": "user", "instancing": "single",
        "plans": [{ "key": "one", "name": "One", "price": "1.00" }],
        "permissions": [{ "key": "export", "name": "Export" }],
        "roles": [
            { "key": "agent", "permissions": ["subscriptions.view", "users.view"] },
            { "key": "lead", "name": "Lead", "permissions": ["helper:export"], "includes": ["agent"] },
        ],
    })
}

#[tokio::test]
async fn a_services_role_acts_where_the_service_is_held() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.put("/api/v2/services/helper/draft", helper()).await?;
        app.post("/api/v2/services/helper/publish", json!({ "rollOut": true })).await?;
        let seller = app.reseller("Contoso").await?;
        let near = app.customer("Near", Some(&seller)).await?;
        let far = app.customer("Far", Some(&seller)).await?;
        let (ann, of_near) = app.user(&near, "ann@x.test", &["helper:agent"]).await?;
        let (_, lead) = app.user(&seller, "lead@x.test", &["helper:lead"]).await?;
        let sees = async |token: &str, customer: &str| -> Result<u16> {
            let path = format!("/api/v2/customers/{customer}/users");
            Ok(get(&app, token, &path).await?.status.as_u16())
        };
        let may = async |token: &str, customer: &str| -> Result<Value> {
            let path =
                format!("/api/v2/explain?permission=helper:export&organizationId={customer}");
            get(&app, token, &path).await?.expect(200)
        };
        assert_eq!(sees(&lead, &near).await?, 403);
        assert_eq!(sees(&of_near, &near).await?, 403);
        let explained = may(&lead, &near).await?;
        assert_eq!(explained["allowed"], false);
        assert!(text(&explained["lacking"][0]["why"])?.contains("where helper is held"));

        let (elsewhere, stop, served) = app.another().await?;
        let sees_elsewhere = async || -> Result<u16> {
            let request =
                reqwest::Client::new().get(format!("{elsewhere}/api/v2/customers/{near}/users"));
            Ok(answer(request.bearer_auth(&lead)).await?.status.as_u16())
        };
        let is_felt_elsewhere = async |status: u16| -> Result<()> {
            let since = Instant::now();
            while sees_elsewhere().await? != status {
                assert!(since.elapsed().as_millis() < 1_000, "it is not felt elsewhere");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        is_felt_elsewhere(403).await?;
        // Held by one of its users, it is held by the customer.
        let subscriptions = format!("/api/v2/users/{ann}/subscriptions");
        let held = app.post(&subscriptions, json!({ "service": "helper", "plan": "one" })).await?;
        assert_eq!(sees(&lead, &near).await?, 200);
        assert_eq!(sees(&of_near, &near).await?, 200);
        is_felt_elsewhere(200).await?;
        assert_eq!(sees(&lead, &far).await?, 403);
        let explained = may(&lead, &near).await?;
        assert_eq!(explained["allowed"], true, "{explained}");
        assert_eq!(explained["ways"][0]["service"], "helper");
        assert_eq!(may(&lead, &far).await?["allowed"], false);
        // It is no role for the whole scope: lists that go beyond are not for it.
        assert_eq!(get(&app, &lead, "/api/v2/customers").await?.problem(403)?, "forbidden");
        // A copy is a role that includes it, and acts no further.
        let copied = app.post("/api/v2/roles/helper:agent/copy", json!({ "name": "Mine" })).await?;
        assert_eq!(
            (&copied["permissions"], &copied["includes"]),
            (&json!([]), &json!(["helper:agent"]))
        );

        // It ends when it is said to end.
        let id = text(&held["id"])?;
        let end = json!({ "effectiveAt": "2019-11-10" });
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), end).await?;
        assert_eq!(sees(&lead, &near).await?, 200);
        app.ambient.set("2019-11-01T10:00:00Z");
        let sooner = json!({ "effectiveAt": "2019-11-01T11:00:00Z" });
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), sooner).await?;
        assert_eq!(sees(&lead, &near).await?, 200);
        app.ambient.set("2019-11-01T11:30:00Z");
        assert_eq!(sees(&lead, &near).await?, 403);
        assert_eq!(sees(&of_near, &near).await?, 403);
        let later =
            json!({ "service": "helper", "plan": "one", "effectiveAt": "2019-11-01T11:45:00Z" });
        app.post(&subscriptions, later).await?;
        assert_eq!(sees(&lead, &near).await?, 403);
        app.ambient.set("2019-11-01T11:50:00Z");
        assert_eq!(sees(&lead, &near).await?, 200);
        // And in commands, too.
        let mut definition = helper();
        definition["roles"][0]["permissions"] =
            json!(["subscriptions.assign_to_users", "users.view"]);
        app.put("/api/v2/services/helper/draft", definition).await?;
        app.post("/api/v2/services/helper/publish", json!({ "rollOut": true })).await?;
        app.publish("mailbox").await?;
        let (bob, _) = app.user(&far, "bob@x.test", &[]).await?;
        let mailbox = json!({ "service": "mailbox", "plan": "standard" });
        post(&app, &lead, &subscriptions, mailbox.clone()).await?.expect(201)?;
        let path = format!("/api/v2/users/{bob}/subscriptions");
        post(&app, &lead, &path, mailbox).await?.problem(403)?;
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_help_desk_assigns_and_does_not_remove() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("mailbox").await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let (uli, _) = app.user(&customer, "uli@x.test", &[]).await?;
        let (_, desk) = app.user(&seller, "desk@x.test", &["L1 Help Desk"]).await?;
        let mailbox = json!({ "service": "mailbox", "plan": "standard" });
        let path = format!("/api/v2/users/{uli}/subscriptions");
        let held = post(&app, &desk, &path, mailbox).await?.expect(201)?;
        let path = format!("/api/v2/subscriptions/{}", text(&held["id"])?);
        for (verb, permission) in [
            ("change", "subscriptions.change_of_users"),
            ("deprovision", "subscriptions.remove_from_users"),
        ] {
            let told = post(&app, &desk, &format!("{path}/{verb}"), json!({})).await?;
            let lacking = told.body["lacking"].clone();
            assert_eq!(lacking["permission"], permission, "{}", told.body);
            assert_eq!(lacking["roles"][0]["role"], "L1 Help Desk");
            told.problem(403)?;
        }
        // Who may only remove does that.
        let remover =
            json!({ "name": "Remover", "permissions": ["subscriptions.remove_from_users"] });
        let remover = role(&app, &app.token, remover).await?;
        let given = format!("/api/v2/organizations/{seller}/roles/{remover}");
        assert_eq!(put(&app, &app.token, &given, json!({})).await?.status, 204);
        let (_, remover) = app.user(&seller, "out@x.test", &[&remover]).await?;
        post(&app, &remover, &format!("{path}/deprovision"), json!({})).await?.expect(200)?;
        app.finish().await?;
    }
    Ok(())
}

/// Acts as a user; gives the session's token.
async fn act_as(app: &TestApp, token: &str, user: &str) -> Result<String> {
    let path = format!("/api/v2/users/{user}/impersonate");
    let answer = post(app, token, &path, json!({ "reason": "ticket 7" })).await?;
    assert_eq!(answer.headers["cache-control"], "no-store");
    text(&answer.expect(201)?["token"])
}

#[tokio::test]
async fn whoever_acts_as_another_leaves_both_names_and_has_no_more_than_both() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let (ann, _) = app.user(&customer, "ann@x.test", &["Customer Administrator"]).await?;
        let (res, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let (peer, _) = app.user(&seller, "p@x.test", &["Reseller Administrator"]).await?;
        let own = app.administrator.clone();
        let acting = act_as(&app, &admin, &ann).await?;

        let asked = json!({ "query": "{ viewer { impersonatedBy user { uuid } permissions } }" });
        let viewer = post(&app, &acting, "/graphql", asked).await?.expect(200)?;
        let viewer = &viewer["data"]["viewer"];
        assert_eq!(viewer["impersonatedBy"], json!(res));
        assert_eq!(viewer["user"]["uuid"], json!(ann));
        // It is Ann who sees, and what she sees.
        get(&app, &acting, &format!("/api/v2/resellers/{seller}")).await?.problem(404)?;
        let users = format!("/api/v2/customers/{customer}/users");
        let sent = json!({ "firstName": "N", "lastName": "N", "email": "n@x.test", "roles": [] });
        let made = post(&app, &acting, &users, sent).await?.expect(201)?;
        let events = app.get("/api/v2/events?limit=500").await?;
        let events = events["data"].as_array().context("events")?;
        let subject = format!("user-{}", text(&made["id"])?);
        let event = events.iter().find(|it| it["subject"] == subject).context("it is there")?;
        assert_eq!(event["actor"], format!("user:{res}"));
        assert_eq!(event["onbehalfof"], format!("user:{ann}"));
        let begun = events.iter().find(|it| it["type"] == "user.impersonated").context("begun")?;
        assert_eq!((&begun["reason"], &begun["data"]["by"]), (&json!("ticket 7"), &json!(res)));
        ensure!(!begun.to_string().contains("proof"), "{begun}");

        // Downwards only, and not from there on.
        for (token, user) in [(&admin, &peer), (&admin, &res), (&app.token, &own)] {
            let path = format!("/api/v2/users/{user}/impersonate");
            assert_eq!(post(&app, token, &path, json!({})).await?.problem(403)?, "forbidden");
        }
        let upwards = format!("/api/v2/users/{own}/impersonate");
        post(&app, &admin, &upwards, json!({})).await?.problem(404)?;
        let of_seller = act_as(&app, &app.token, &res).await?;
        let nested = format!("/api/v2/users/{ann}/impersonate");
        let told = post(&app, &of_seller, &nested, json!({})).await?;
        assert_eq!(told.problem(409)?, "already_impersonating");

        // Never more than the real one holds, however much the other does.
        let only = json!({ "name": "Guest", "permissions": ["users.impersonate", "users.view"] });
        let only = role(&app, &app.token, only).await?;
        let provider =
            text(&app.get("/api/v2/explain?permission=users.view").await?["organizationId"])?;
        let (_, guest) = app.user(&provider, "g@x.test", &[&only]).await?;
        let acting_guest = act_as(&app, &guest, &ann).await?;
        get(&app, &acting_guest, &users).await?.expect(200)?;
        let told = post(&app, &acting_guest, &users, json!({})).await?;
        assert!(text(&told.body["detail"])?.contains("act as somebody else"), "{}", told.body);
        told.problem(403)?;
        let bills = get(&app, &acting_guest, "/api/Billing/parameters").await?;
        assert_eq!(bills.problem(403)?, "forbidden");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn acting_as_another_ends_with_either_of_the_two() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let (ann, own) = app.user(&customer, "ann@x.test", &["Customer Administrator"]).await?;
        let roles = ["Reseller Administrator"];
        let (res, admin) = app.user(&seller, "a@x.test", &roles).await?;
        let users = format!("/api/v2/customers/{customer}/users");
        let asks = async |token: &str| -> Result<u16> {
            Ok(get(&app, token, &users).await?.status.as_u16())
        };
        let sign_out = async |token: &str| -> Result<u16> {
            let answer = app.send(token, Method::DELETE, "/api/v2/session", None).await?;
            Ok(answer.status.as_u16())
        };
        // By whoever acts.
        let acting = act_as(&app, &admin, &ann).await?;
        assert_eq!(asks(&acting).await?, 200);
        assert_eq!(sign_out(&acting).await?, 204);
        assert_eq!((asks(&acting).await?, asks(&admin).await?, asks(&own).await?), (401, 200, 200));
        // With either of the two, or what is above them.
        for path in [
            format!("/api/v2/users/{res}"),
            format!("/api/v2/users/{ann}"),
            format!("/api/v2/customers/{customer}"),
            format!("/api/v2/resellers/{seller}"),
        ] {
            let acting = act_as(&app, &admin, &ann).await?;
            assert_eq!(asks(&acting).await?, 200);
            app.post(&format!("{path}/disable"), json!({})).await?;
            assert_eq!(asks(&acting).await?, 401, "{path}");
            app.post(&format!("{path}/enable"), json!({})).await?;
        }
        let told = format!("/api/v2/users/{ann}");
        app.post(&format!("{told}/disable"), json!({})).await?;
        let path = format!("{told}/impersonate");
        assert_eq!(post(&app, &admin, &path, json!({})).await?.problem(409)?, "user_disabled");
        app.post(&format!("{told}/enable"), json!({})).await?;
        // With the permission, and when the hour is over.
        let acting = act_as(&app, &admin, &ann).await?;
        let of_res = format!("/api/v2/users/{res}/roles");
        app.put(&of_res, json!({ "roles": ["L1 Help Desk"] })).await?;
        assert_eq!(asks(&acting).await?, 401);
        app.put(&of_res, json!({ "roles": roles })).await?;
        assert_eq!(asks(&acting).await?, 200);
        app.ambient.set("2019-11-01T01:00:00Z");
        assert_eq!(asks(&acting).await?, 401);
        // When the other signs out, and when he himself does: felt elsewhere within a second.
        let acting = act_as(&app, &admin, &ann).await?;
        assert_eq!(sign_out(&own).await?, 204);
        assert_eq!(asks(&acting).await?, 401);
        let acting = act_as(&app, &admin, &ann).await?;
        let (elsewhere, stop, served) = app.another().await?;
        let asks_elsewhere = async || -> Result<u16> {
            let request = reqwest::Client::new().get(format!("{elsewhere}{users}"));
            Ok(answer(request.bearer_auth(&acting)).await?.status.as_u16())
        };
        assert_eq!(asks_elsewhere().await?, 200);
        assert_eq!(sign_out(&admin).await?, 204);
        assert_eq!(asks(&acting).await?, 401);
        let since = Instant::now();
        while asks_elsewhere().await? != 401 {
            assert!(since.elapsed().as_millis() < 1_000, "it is not felt elsewhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn tokens_are_made_for_another_only_within_ones_own_bounds() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let roles = ["Customer Administrator", "Service Provider Developer"];
        let (ann, _) = app.user(&customer, "ann@x.test", &roles).await?;
        let tokens = format!("/api/v2/users/{ann}/tokens");
        let sent = json!({ "name": "program" });
        let acting = act_as(&app, &app.token, &ann).await?;
        let made = post(&app, &acting, &tokens, sent.clone()).await?.expect(201)?;
        let token = text(&made["token"])?;
        get(&app, &token, &tokens).await?.expect(200)?;
        // It is Ann's: it does not impersonate.
        let asked = json!({ "query": "{ viewer { impersonatedBy } }" });
        let viewer = post(&app, &token, "/graphql", asked).await?.expect(200)?;
        assert_eq!(viewer["data"]["viewer"]["impersonatedBy"], Value::Null);
        let gone = format!("{tokens}/{}", text(&made["id"])?);
        assert_eq!(app.send(&acting, Method::DELETE, &gone, None).await?.status, 204);
        // Whoever holds less than she does cannot keep more than that for later.
        let less = json!({ "name": "Less", "permissions": ["users.impersonate", "tokens.hold"] });
        let less = role(&app, &app.token, less).await?;
        let provider =
            text(&app.get("/api/v2/explain?permission=users.view").await?["organizationId"])?;
        let (_, less) = app.user(&provider, "less@x.test", &[&less]).await?;
        let acting = act_as(&app, &less, &ann).await?;
        let told = post(&app, &acting, &tokens, sent).await?;
        assert!(text(&told.body["detail"])?.contains("organizations.view"), "{}", told.body);
        told.problem(403)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_refusal_is_explained_and_can_be_foreseen() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let clerk =
            json!({ "name": "Clerk", "permissions": ["billing.view"], "organizationId": seller });
        let clerk = role(&app, &app.token, clerk).await?;
        let lead = json!({ "name": "Lead", "includes": [clerk], "organizationId": seller });
        let lead = role(&app, &app.token, lead).await?;
        let (_, lee) = app.user(&seller, "lee@x.test", &[&lead]).await?;
        let told = get(&app, &lee, &format!("/api/v2/customers/{customer}")).await?;
        let number = app.get(&format!("/api/v2/customers/{customer}")).await?["number"].clone();
        let lacking = &told.body["lacking"];
        assert_eq!(lacking["permission"], "organizations.view");
        assert_eq!(lacking["organization"], number);
        assert_eq!(
            lacking["roles"],
            json!([{ "role": lead, "name": "Lead", "why": "does not have it" }])
        );
        let detail = text(&told.body["detail"])?;
        assert!(
            detail.contains(&format!("organizations.view at organisation {number}")),
            "{detail}"
        );
        told.problem(403)?;

        let asked = json!({ "query": "query($c: ID!) { viewer {
            no: may(permission: \"organizations.view\", organization: $c)
                { allowed reason organizationNumber lacking { role name why } ways { service } }
            yes: may(permission: \"billing.view\", organization: $c)
                { allowed reason lacking { role } ways { chain { role name } service } }
            own: may(permission: \"billing.view\") { allowed organizationId } } }",
            "variables": { "c": customer } });
        let viewer = post(&app, &lee, "/graphql", asked).await?.expect(200)?;
        let viewer = &viewer["data"]["viewer"];
        assert_eq!(viewer["no"]["allowed"], false);
        assert_eq!(viewer["no"]["reason"], detail);
        assert_eq!(viewer["no"]["organizationNumber"], number);
        assert_eq!(viewer["no"]["lacking"][0]["role"], json!(lead));
        assert_eq!(viewer["no"]["ways"], json!([]));
        assert_eq!(viewer["yes"]["allowed"], true);
        assert_eq!(viewer["yes"]["reason"], "It comes with Lead, which includes Clerk.");
        let chain = json!([{ "role": lead, "name": "Lead" }, { "role": clerk, "name": "Clerk" }]);
        assert_eq!(viewer["yes"]["ways"], json!([{ "chain": chain, "service": null }]));
        assert_eq!(viewer["own"], json!({ "allowed": true, "organizationId": seller }));
        // The same over REST; of what is out of scope, nothing; and of what is none, that.
        let path = format!("/api/v2/explain?permission=billing.view&organizationId={customer}");
        assert_eq!(get(&app, &lee, &path).await?.expect(200)?["ways"][0]["chain"], chain);
        let other = app.customer("Other", None).await?;
        let path = format!("/api/v2/explain?permission=billing.view&organizationId={other}");
        get(&app, &lee, &path).await?.problem(404)?;
        for none in ["nonsense", "helper:export", "a%20b"] {
            let path = format!("/api/v2/explain?permission={none}");
            assert_eq!(get(&app, &lee, &path).await?.problem(400)?, "bad_parameter");
        }
        // GraphQL refusals say the same.
        let asked = json!({ "query": "{ customers { totalCount } }" });
        let refused = post(&app, &lee, "/graphql", asked).await?.expect(200)?;
        let extensions = &refused["errors"][0]["extensions"];
        assert_eq!(extensions["lacking"]["permission"], "organizations.view", "{refused}");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_custom_permission_is_declared_held_and_asked_for() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let path = "/api/v2/permissions/reports.monthly";
        let declared = json!({ "name": "Monthly", "description": "See the monthly report." });
        let shown = app.put(path, declared).await?;
        assert_eq!((&shown["key"], &shown["custom"]), (&json!("reports.monthly"), &json!(true)));
        app.put("/api/v2/services/helper/draft", helper()).await?;
        app.post("/api/v2/services/helper/publish", json!({ "rollOut": true })).await?;
        let all = app.get("/api/v2/permissions").await?.to_string();
        for name in ["reports.monthly", "helper:export", "users.impersonate"] {
            assert!(all.contains(&format!("\"{name}\"")), "{name}: {all}");
        }
        let own = put(&app, &app.token, "/api/v2/permissions/users.view", json!({ "name": "X" }));
        assert_eq!(own.await?.problem(409)?, "permission_taken");

        let seller = app.reseller("Contoso").await?;
        let (_, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let may = async |token: &str| -> Result<Value> {
            let path = "/api/v2/explain?permission=reports.monthly";
            Ok(get(&app, token, path).await?.expect(200)?["allowed"].clone())
        };
        // A provider's administrator has them all; nobody else has any without a role.
        assert_eq!(may(&app.token).await?, true);
        assert_eq!(may(&admin).await?, false);
        let reader = json!({ "name": "Reader", "permissions": ["reports.monthly"] });
        let told = post(&app, &admin, "/api/v2/roles", reader.clone()).await?;
        assert_eq!(code(&told, "/permissions/0"), "beyond_your_own", "{}", told.body);
        let mut reader = reader;
        reader["organizationId"] = json!(seller);
        let reader = role(&app, &app.token, reader).await?;
        let (_, rea) = app.user(&seller, "rea@x.test", &[&reader]).await?;
        assert_eq!(may(&rea).await?, true);

        // Withdrawn, nobody holds it any more, here and elsewhere; nobody else than the provider withdraws it.
        let withdraw = async |token: &str| app.send(token, Method::DELETE, path, None).await;
        assert_eq!(withdraw(&admin).await?.problem(403)?, "forbidden");
        let (elsewhere, stop, served) = app.another().await?;
        let holds = async |url: &str| -> Result<bool> {
            let asked = json!({ "query": "{ viewer { permissions } }" });
            let request = reqwest::Client::new().post(format!("{url}/graphql")).json(&asked);
            let viewer = answer(request.bearer_auth(&rea)).await?.expect(200)?;
            let held = &viewer["data"]["viewer"]["permissions"];
            Ok(held.as_array().context("permissions")?.contains(&json!("reports.monthly")))
        };
        let is_felt = async |held: bool| -> Result<()> {
            assert_eq!(holds(&app.url).await?, held);
            let since = Instant::now();
            while holds(&elsewhere).await? != held {
                assert!(since.elapsed().as_millis() < 1_000, "it is not felt elsewhere");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        is_felt(true).await?;
        assert_eq!(withdraw(&app.token).await?.status, 204);
        is_felt(false).await?;
        assert_eq!(withdraw(&app.token).await?.problem(404)?, "not_found");
        let explain = "/api/v2/explain?permission=reports.monthly";
        for token in [&app.token, &rea] {
            assert_eq!(get(&app, token, explain).await?.problem(400)?, "bad_parameter");
        }
        assert!(!app.get("/api/v2/permissions").await?.to_string().contains("reports.monthly"));
        // No role can be given it; one that names it can be edited all the same, and a copy is without it.
        let again = json!({ "name": "Again", "permissions": ["reports.monthly"] });
        let told = post(&app, &app.token, "/api/v2/roles", again).await?;
        assert_eq!(code(&told, "/permissions/0"), "unknown_permission", "{}", told.body);
        let of_reader = format!("/api/v2/roles/{reader}");
        let edited = json!({ "permissions": ["reports.monthly", "users.view"] });
        let edited = app.send(&app.token, Method::PATCH, &of_reader, Some(edited)).await?;
        assert_eq!(edited.expect(200)?["permissions"].as_array().map(Vec::len), Some(2));
        let copied = json!({ "name": "Copy", "organizationId": seller });
        let copied = post(&app, &admin, &format!("{of_reader}/copy"), copied).await?;
        assert_eq!(copied.expect(201)?["permissions"], json!(["users.view"]));
        is_felt(false).await?;
        // Declared again, roles that name it have it again.
        app.put(path, json!({ "name": "Monthly" })).await?;
        is_felt(true).await?;
        // What a service does not declare any more goes the same way.
        let exporter = json!({ "name": "Exporter", "permissions": ["helper:export"] });
        let exporter = role(&app, &app.token, exporter).await?;
        let explain = "/api/v2/explain?permission=users.view";
        let provider = text(&app.get(explain).await?["organizationId"])?;
        let (_, exporter) = app.user(&provider, "exp@x.test", &[&exporter]).await?;
        let has = async || -> Result<Value> {
            let asked = json!({ "query": "{ viewer { permissions } }" });
            let viewer = post(&app, &exporter, "/graphql", asked).await?.expect(200)?;
            Ok(viewer["data"]["viewer"]["permissions"].clone())
        };
        assert_eq!(has().await?, json!(["helper:export"]));
        let mut less = helper();
        less["permissions"] = json!([]);
        less["roles"] = json!([]);
        app.put("/api/v2/services/helper/draft", less).await?;
        app.post("/api/v2/services/helper/publish", json!({ "rollOut": true })).await?;
        assert_eq!(has().await?, json!([]));
        // GraphQL lists what there is, too.
        let asked = json!({ "query": "{ permissions { key custom serviceKey } }" });
        let listed = post(&app, &app.token, "/graphql", asked).await?.expect(200)?;
        let listed = listed["data"]["permissions"].as_array().context("permissions")?;
        let custom: Vec<_> = listed.iter().filter(|it| it["custom"] == true).collect();
        let monthly = json!({ "key": "reports.monthly", "custom": true, "serviceKey": null });
        assert_eq!(custom, [&monthly]);
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_roles_name_is_its_own_within_the_organisation_that_makes_it() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let (_, admin) = app.user(&seller, "a@x.test", &["Reseller Administrator"]).await?;
        let make = async |token: &str, name: &str| {
            post(&app, token, "/api/v2/roles", json!({ "name": name })).await
        };
        let clerk = text(&make(&admin, "Clerk").await?.expect(201)?["id"])?;
        for (name, whose) in [("clerk", "this organisation made"), ("l1 help desk", "default role")]
        {
            let told = make(&admin, name).await?;
            assert_eq!(code(&told, "/name"), "taken", "{}", told.body);
            assert!(text(&told.body["errors"][0]["detail"])?.contains(whose), "{}", told.body);
            assert_eq!(told.problem(409)?, "name_taken");
        }
        // Another organisation's are its own.
        let theirs = text(&make(&app.token, "Clerk").await?.expect(201)?["id"])?;
        let given = format!("/api/v2/organizations/{seller}/roles/{theirs}");
        assert_eq!(put(&app, &app.token, &given, json!({})).await?.status, 204);
        // A copy needs a name of its own, and an edit keeps to it.
        let copy = format!("/api/v2/roles/{clerk}/copy");
        let told = post(&app, &admin, &copy, json!({ "name": "CLERK" })).await?;
        assert_eq!(told.problem(409)?, "name_taken");
        let lead = text(&make(&admin, "Lead").await?.expect(201)?["id"])?;
        let rename = async |role: &str, name: &str| {
            let sent = Some(json!({ "name": name }));
            app.send(&admin, Method::PATCH, &format!("/api/v2/roles/{role}"), sent).await
        };
        assert_eq!(rename(&lead, "clerk").await?.problem(409)?, "name_taken");
        rename(&clerk, "CLERK").await?.expect(200)?;
        // What was given up is free: by another name, and by the role's end.
        rename(&clerk, "Scribe").await?.expect(200)?;
        rename(&lead, "Clerk").await?.expect(200)?;
        assert_eq!(rename(&clerk, "Clerk").await?.problem(409)?, "name_taken");
        let path = format!("/api/v2/roles/{lead}");
        assert_eq!(app.send(&admin, Method::DELETE, &path, None).await?.status, 204);
        rename(&clerk, "Clerk").await?.expect(200)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_sees_roles_learns_why_a_user_below_him_may_not_do_something() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        let seller = app.reseller("Contoso").await?;
        let (_, ruth) = app.user(&seller, "ruth@contoso.test", &["Reseller Administrator"]).await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let (ann, of_ann) = app.user(&customer, "ann@aanimals.test", &["L1 Help Desk"]).await?;
        let (zoe, of_zoe) = app.user(&customer, "zoe@aanimals.test", &[]).await?;
        let other = app.customer("Elsewhere", None).await?;
        let ask = async |token: &str, user: &str, more: &str| {
            let path = format!("/api/v2/explain?permission=users.manage&userId={user}{more}");
            app.send(token, Method::GET, &path, None).await
        };
        let told = ask(&ruth, &ann, "").await?.expect(200)?;
        assert_eq!((&told["allowed"], &told["organizationId"]), (&json!(false), &json!(customer)));
        assert_eq!(told["lacking"][0]["name"], "L1 Help Desk");
        // The same as she is told herself.
        let own = app.send(&of_ann, Method::GET, "/api/v2/explain?permission=users.manage", None);
        assert_eq!(own.await?.expect(200)?, told);
        let told = ask(&ruth, &ann, &format!("&organizationId={seller}")).await?.expect(200)?;
        assert!(text(&told["reason"])?.contains("neither his own nor below it"), "{told}");
        app.post(&format!("/api/v2/users/{ann}/disable"), json!({})).await?;
        let told = ask(&ruth, &ann, "").await?.expect(200)?;
        assert!(text(&told["reason"])?.contains("not in use: he is disabled"), "{told}");
        // Not above, not beside, and not without the permission.
        let administrator = ask(&ruth, &app.administrator, "").await?;
        administrator.problem(404)?;
        ask(&ruth, &zoe, &format!("&organizationId={other}")).await?.problem(404)?;
        ask(&ruth, "nobody", "").await?.problem(404)?;
        let refused = ask(&of_zoe, &zoe, "").await?;
        assert_eq!(refused.body["lacking"]["permission"], "roles.view");
        refused.problem(403)?;
        let unknown = format!("/api/v2/explain?permission=nothing.there&userId={zoe}");
        app.send(&ruth, Method::GET, &unknown, None).await?.problem(400)?;
        app.finish().await?;
    }
    Ok(())
}
