//! First starts: the provider and its administrator, or the demo.

use anyhow::{Context, Result, bail};
use chrono::Duration;
use commands::usecase::installation::Install;
use commands::usecase::users::{CreateToken, NewCredential};
use commands::{Ambient as _, Caller, Command, Password, Submission, SystemAmbient};
use domain::TenantPath;
use domain::TokenId;
use domain::billing::BillingSettings;
use domain::text::Address;
use domain::user::Person;
use eventstore::{Database, Value, failpoint};
use projections::finder::{self, Scope};
use projections::views::{AccessView, PROVIDER_KEY};

use crate::app::App;
use crate::demo;
use crate::keys::Keys;
use crate::population::{CUSTOMER_ADMINISTRATOR, PROVIDER_ADMINISTRATOR};
use crate::token::TokenKind;

/// The first administrator's login where nobody gives another.
const LOGIN: &str = "admin@atrium.local";
/// The installation remembers under this name that its demo was made to the end.
const DEMO: &str = "demo";
/// What the demo's tokens are called.
const DEMO_TOKEN: &str = "demo";

/// Makes the provider and its administrator where there is none; gives his login.
///
/// # Errors
/// Where the database fails.
pub async fn first(
    app: &App,
    billing: &BillingSettings,
    password: &Password,
) -> Result<Option<String>> {
    if finder::find_name(app.database(), PROVIDER_KEY).await?.is_some() {
        return Ok(None);
    }
    let proof = app.passwords().hash(password).await;
    let proof = proof.map_err(|problem| anyhow::anyhow!(problem.detail))?;
    let address = || Address::parse(LOGIN).map_err(|fault| anyhow::anyhow!(fault.detail));
    let install = Install {
        name: "Service Provider".to_owned(),
        settings: billing.clone(),
        administrator: Person::new("First", "Administrator", address()?, address()?),
        password: proof,
    };
    submit(app, Caller::SYSTEM, Command::Install(Box::new(install))).await?;
    Ok(Some(LOGIN.to_owned()))
}

/// What a demo was made as; its people, and how they sign in, are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demo {
    /// By `atrium demo`: with a password that follows from the master key.
    Made,
    /// By `atrium seed`: nobody has a password.
    Seeded,
}

impl Demo {
    fn text(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Seeded => "seeded",
        }
    }

    /// Notes that it was made to the end.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn note(self, database: &Database) -> Result<()> {
        let mut connection = database.writer_connection().await?;
        let sql = "insert into installation (name, value) values ($1, $2) \
                   on conflict (name) do nothing";
        failpoint("api::setup::demo")?;
        connection.execute(sql, &[Value::from(DEMO), Value::from(self.text())]).await?;
        connection.close().await;
        Ok(())
    }
}

/// Makes the demo where there is nothing yet. `progress` hears of how many days have been lived through.
///
/// # Errors
/// Where the database holds something else, or a demo that was interrupted.
pub async fn demo(
    database: &Database,
    keys: &Keys,
    billing: &BillingSettings,
    empty: bool,
    progress: impl FnMut(u64),
) -> Result<Demo> {
    if let Some(text) = database.installation(DEMO).await? {
        return Ok(if text == Demo::Seeded.text() { Demo::Seeded } else { Demo::Made });
    }
    if finder::find_name(database, PROVIDER_KEY).await?.is_some() {
        bail!(
            "this database holds an installation that is no demo, or a demo whose making was \
             interrupted; choose another --data (or delete that folder), or start it with \
             `atrium serve`"
        );
    }
    if empty {
        demo::install(database, keys, billing).await?;
    } else {
        demo::make(database, keys, billing, SystemAmbient.now(), progress).await?;
    }
    Demo::Made.note(database).await?;
    Ok(Demo::Made)
}

/// Fresh API tokens for the demo.
#[derive(Debug)]
pub struct DemoTokens {
    /// Of the provider's administrator.
    pub administrator: String,
    /// Of a customer's administrator; none in an empty demo.
    pub customer: Option<String>,
}

/// Makes fresh API tokens; those of the start before end.
///
/// # Errors
/// Where the people of the demo are not there any more.
pub async fn demo_tokens(app: &App, empty: bool) -> Result<DemoTokens> {
    let administrator = demo_token(app, PROVIDER_ADMINISTRATOR).await?;
    let administrator = administrator.context("the demo's administrator has another login now")?;
    let customer = if empty { None } else { demo_token(app, CUSTOMER_ADMINISTRATOR).await? };
    Ok(DemoTokens { administrator, customer })
}

async fn demo_token(app: &App, login: &str) -> Result<Option<String>> {
    let login = Address::parse(login).map_err(|fault| anyhow::anyhow!(fault.detail))?;
    let found = finder::find_login(app.database(), app.persons().vault(), &login).await?;
    let Some(user) = found.map(|found| found.id) else { return Ok(None) };
    let (scope, key) = (Scope::catalogue(), user.to_string());
    let access = finder::find::<AccessView>(app.database(), &scope, &key).await?;
    for old in access.iter().flat_map(|access| &access.tokens) {
        if old.name == DEMO_TOKEN {
            let token = old.id.to_string();
            submit(app, Caller::user(user), Command::DeleteToken { user: key.clone(), token })
                .await?;
        }
    }
    let id = TokenId(app.ambient().id());
    let days = 30;
    let now = app.now();
    let command = Command::CreateToken {
        user: key,
        body: Ok(CreateToken { name: DEMO_TOKEN.to_owned(), days: Some(days) }),
        token: NewCredential { id, proof: app.tokens().proof_of(id), expires_at: now },
    };
    submit(app, Caller::user(user), command).await?;
    let expires_at = now + Duration::days(days);
    Ok(Some(app.tokens().sign(TokenKind::Api, user, id, now, expires_at)))
}

async fn submit(app: &App, caller: Caller, command: Command) -> Result<()> {
    app.writer().submit(Submission { caller, command, idempotency: None }).await?;
    Ok(())
}

/// The name of the last period that is over, to have something to show.
///
/// # Errors
/// Where the database fails.
pub async fn last_full_period(app: &App) -> Result<String> {
    let provider = app.seller_at(&TenantPath::provider()).await;
    let settings = provider.map_err(|problem| anyhow::anyhow!(problem.detail))?.settings.clone();
    let open = settings.period_containing(settings.local_date(app.now()));
    Ok(settings.previous(open).label())
}
