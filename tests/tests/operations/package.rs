//! The package of a closed period is computed again, offline, with nothing else.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{PASSWORD, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use super::setting::{BOTH, Ended, atrium, ended};

/// Two closed periods, with a correction in the second; the package of the second.
async fn package(engine: Engine) -> Result<String> {
    let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
    app.publish("backup").await?;
    let provider = app.get("/api/v2/explain?permission=users.view").await?;
    let provider = provider["organizationId"].as_str().context("an id")?;
    app.user(provider, "second@x.test", &["Provider Administrator"]).await?;
    let mut subscriptions = Vec::new();
    for name in ["Aanimals", "Beta", "Gamma"] {
        let customer = app.customer(name, None).await?;
        let sent = json!({ "service": "backup", "plan": "BU010", "effectiveAt": "2020-01-01" });
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        subscriptions.push(app.post(&path, sent).await?["id"].clone());
    }
    let reseller = app.reseller("Partners").await?;
    let sent = json!({ "buyerId": reseller, "amount": "-12.50", "description": "A bonus",
        "reason": "Partner programme", "effectiveAt": "2020-01-10" });
    app.post("/api/v2/billing/adjustments", sent).await?;
    for (time, end) in
        [("2020-02-01T08:00:00Z", "2020-01-31"), ("2020-03-01T08:00:00Z", "2020-02-29")]
    {
        app.turn(time).await?;
        app.post(&format!("/api/v2/billing/{end}/close"), json!({})).await?;
        let second = app.sign_in("second@x.test", PASSWORD).await?;
        let path = format!("/api/v2/billing/{end}/approve");
        app.send(&second, Method::POST, &path, Some(json!({}))).await?.expect(202)?;
        // Learned after January was closed.
        let id = subscriptions.pop().context("one more")?;
        let path = format!("/api/v2/subscriptions/{}/deprovision", id.as_str().context("an id")?);
        app.post(&path, json!({ "effectiveAt": "2020-01-20", "reason": "it was so" })).await?;
    }
    let export = app.request(&app.token, Method::GET, "/api/Billing/2020-02-29/export");
    let text = export.send().await?.error_for_status()?.text().await?;
    app.finish().await?;
    Ok(text)
}

async fn verified(folder: &Path, text: &str) -> Result<Ended> {
    let file = folder.join("package.jsonl");
    std::fs::write(&file, text)?;
    let mut command = atrium();
    command.arg("verify").arg("--package").arg(&file).arg("--json");
    ended(command).await
}

/// The same lines with a right digest at the end: as somebody would write it who knows the form.
fn signed_again(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let (body, end) = text.trim_end().rsplit_once('\n').expect("lines");
    let body = format!("{body}\n");
    let mut end: Value = serde_json::from_str(end).expect("the last line");
    let digest = Sha256::digest(&body);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    end["end"]["sha256"] = json!(digits);
    format!("{body}{end}\n")
}

#[tokio::test]
async fn a_package_is_computed_again_and_the_first_difference_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for engine in BOTH {
        let text = package(engine).await?;
        let whole = verified(folder.path(), &text).await?.well()?;
        assert_eq!(whole["closedPeriods"], 2, "{whole}");
        // Four in January, one of them a reseller's credit; in February two, one reversed and one rebooked.
        assert_eq!(whole["sealedEntries"], 8, "{whole}");
        let of_others = |line: &str| line.starts_with("{\"reply\"") || line.starts_with("{\"key\"");
        assert!(!text.lines().any(of_others), "what is of no account is left out");

        let edits: [(&str, &str, &str); 4] = [
            ("\"minor\":-1250", "\"minor\":-1150", "were changed"),
            ("\"minor\":18000", "\"minor\":17000", "were changed"),
            ("\"minor\":-18000", "\"minor\":-8000", "were changed"),
            ("BU010", "BU001", "was changed"),
        ];
        for (from, to, words) in edits {
            ensure!(text.contains(from), "nothing to edit: {from}");
            let first = text.find("{\"sealed\":").context("sealed entries")?;
            // Among the sealed entries, or in an event.
            let at = if from.starts_with('"') { first } else { 0 };
            let edited = format!("{}{}", &text[..at], text[at..].replacen(from, to, 1));
            let told = verified(folder.path(), &signed_again(&edited)).await?;
            ensure!(told.code == Some(1), "{from}: {told:?}");
            let line: Value = serde_json::from_str(&told.out)?;
            let what = line["what"].as_str().unwrap_or_default();
            ensure!(line["whole"] == false && what.contains(words), "{from}: {line}");
        }
        // Something taken away.
        let kept = text.lines().filter(|line| !line.contains("\"minor\":-18000"));
        let less = kept.map(|line| format!("{line}\n")).collect::<String>();
        let told = verified(folder.path(), &signed_again(&less)).await?;
        ensure!(told.code == Some(1), "{told:?}");
    }
    Ok(())
}
