//! The `atrium` binary: the server and everything around it, in one file.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use api::config::{DataArguments, ServeArguments, Settings};
use api::keys::{Keys, hex, random_bytes};
use api::server::{Installation, master_key, open_database, recorder};
use api::setup;
use clap::{Args, Parser, Subcommand};
use commands::{Password, SystemAmbient};
use eventstore::Verified;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Commands are many small allocations, made on one thread and freed on another: see
/// `docs/adr/0009-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Atrium runs the service business of a managed service provider: it provisions services, keeps
/// every provisioning, override and deprovision as an immutable event, and turns that history into
/// a billing ledger.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Commands,

    /// Log in JSON lines instead of readable ones
    #[arg(long, global = true, env = "ATRIUM_LOG_JSON")]
    log_json: bool,
}

#[derive(Subcommand)]
enum Commands {
    /// Start with a small MSP in it: twelve customers, two years of history
    ///
    /// The first start takes some seconds to make the history through the ordinary commands;
    /// started again, it goes on with the same data. Delete the folder to begin anew.
    Demo(DemoArguments),
    /// Start the server
    ///
    /// The first start makes the provider and its administrator, and prints his password once.
    Serve(ServeArguments),
    /// Bring the database up to date and stop; `serve` does so by itself
    Migrate(DataArguments),
    /// Fold all views and the ledger again from the log, compare, and switch over
    ///
    /// Exit code 0: as it was. 1: it differed (the fresh tables are in use now).
    Rebuild(ToolArguments),
    /// Walk the hash chain from the first event to the last
    ///
    /// Exit code 0: whole. 1: edited; the first event that does not fit is named.
    Verify(ToolArguments),
    /// Print the settings in force, secrets masked
    Config(ServeArguments),
}

#[derive(Args)]
struct DemoArguments {
    #[command(flatten)]
    serve: ServeArguments,

    /// Only the provider and its administrator
    #[arg(long)]
    empty: bool,

    /// Print one JSON line when ready, and nothing else, on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ToolArguments {
    #[command(flatten)]
    data: DataArguments,

    /// Print the outcome as one JSON line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("ATRIUM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if cli.log_json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.context("no threads can be started").and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Commands::Demo(arguments) => demo(arguments).await.map(|()| ExitCode::SUCCESS),
                Commands::Serve(arguments) => serve(&arguments).await.map(|()| ExitCode::SUCCESS),
                Commands::Migrate(data) => migrate(data).await.map(|()| ExitCode::SUCCESS),
                Commands::Rebuild(arguments) => rebuild(arguments).await,
                Commands::Verify(arguments) => verify(arguments).await,
                Commands::Config(arguments) => {
                    print!("{}", Settings::load(&arguments)?.show());
                    Ok(ExitCode::SUCCESS)
                }
            }
        })
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("atrium: {error:#}");
        ExitCode::from(2)
    })
}

/// Settings of a command that needs only the data.
fn settings_of(data: DataArguments) -> Result<Settings> {
    Settings::load(&ServeArguments { data, ..ServeArguments::default() })
}

/// Shows how far long work is, on a terminal.
fn progress(what: &'static str, template: &'static str, end: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a valid template");
    let bar = ProgressBar::new(end).with_style(style).with_message(what);
    if std::io::stderr().is_terminal() { bar } else { ProgressBar::hidden() }
}

const PERCENT: &str = "{msg} {bar:30} {pos} %";
const EVENTS: &str = "{msg} {bar:30} {human_pos} of {human_len} events, {per_sec}";

async fn open(settings: &Settings) -> Result<eventstore::Database> {
    let bar = progress("Making the views", "{msg}: {human_pos} events", 0);
    let database = open_database(settings, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    Ok(database)
}

async fn listener(settings: &Settings) -> Result<TcpListener> {
    TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("{} is not free; choose another --listen", settings.listen))
}

async fn demo(arguments: DemoArguments) -> Result<()> {
    let settings = Settings::load(&arguments.serve)?;
    // Before the long work: an address that is not free would waste it.
    let listener = listener(&settings).await?;
    let database = open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    keys.check(&database).await?;
    let bar = progress("Making two years of history", PERCENT, 100);
    setup::demo(&database, &keys, &settings.billing, arguments.empty, |done| {
        bar.set_position(done);
    })
    .await?;
    bar.finish_and_clear();
    recorder();
    let ambient = Arc::new(SystemAmbient);
    let installation =
        Installation::start(database, keys.clone(), ambient, settings.rate_limit).await?;
    let tokens = setup::demo_tokens(&installation.app, arguments.empty).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let Password(password) = api::demo::password(&keys);
    let login = api::demo::ADMINISTRATOR;
    let (token, customer_token) = (&tokens.administrator, tokens.customer.as_deref());
    let mut out = std::io::stdout();
    if arguments.json {
        let line = json!({
            "url": url,
            "login": login,
            "password": password,
            "token": token,
            "customerToken": customer_token,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "Atrium is ready at {url}\n\n  \
             Sign in as  {login}\n  \
             Password    {password}\n  \
             API token   {token}\n\n\
             Try:\n\n  \
             TOKEN={token}\n  \
             curl -s -H \"Authorization: Bearer $TOKEN\" {url}/api/Billing/parameters\n  \
             curl -s -H \"Authorization: Bearer $TOKEN\" '{url}/api/Billing/{period}?aggregateByCustomer=true'\n  \
             curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
             -d '{{\"query\":\"{{customers(first:3){{nodes{{name users{{totalCount}}}}}}}}\"}}' {url}/graphql\n\n\
             Stop with Ctrl-C; started again, it goes on with the same data.",
            period = setup::last_full_period(&installation.app).await?,
        )?;
    }
    out.flush()?;
    installation.serve(listener, stopped()).await
}

async fn serve(arguments: &ServeArguments) -> Result<()> {
    let settings = Settings::load(arguments)?;
    let listener = listener(&settings).await?;
    let database = open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    recorder();
    let ambient = Arc::new(SystemAmbient);
    let installation = Installation::start(database, keys, ambient, settings.rate_limit).await?;
    let password = Password(hex(&random_bytes::<10>()));
    if let Some(login) = setup::first(&installation.app, &settings.billing, &password).await? {
        let Password(password) = password;
        eprintln!(
            "This is a new installation. Its administrator, shown this once:\n\n  \
             Login     {login}\n  Password  {password}\n"
        );
    }
    eprintln!("Atrium is ready at http://{}", listener.local_addr()?);
    installation.serve(listener, stopped()).await
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn migrate(data: DataArguments) -> Result<()> {
    let database = open(&settings_of(data)?).await?;
    database.close().await;
    eprintln!("The database is up to date.");
    Ok(())
}

/// Opens a database that must be there already.
async fn open_existing(data: DataArguments) -> Result<eventstore::Database> {
    let settings = settings_of(data)?;
    let file = settings.data.join("atrium.db");
    if settings.database.is_none() && !file.exists() {
        bail!("there is no database in {}; name its folder with --data", settings.data.display());
    }
    open(&settings).await
}

async fn rebuild(arguments: ToolArguments) -> Result<ExitCode> {
    let database = open_existing(arguments.data).await?;
    let head = eventstore::Log::new(database.clone()).head().await?.position;
    let bar = progress("Folding", EVENTS, head);
    let rebuilt = projections::rebuild(&database, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    database.close().await;
    let differences: Vec<_> = rebuilt
        .differences
        .iter()
        .map(|difference| format!("{} {}", difference.table, difference.key))
        .collect();
    if arguments.json {
        println!("{}", json!({ "events": rebuilt.events, "differences": differences }));
    } else if differences.is_empty() {
        println!("{} events folded; the views and the ledger were as they are.", rebuilt.events);
    } else {
        println!(
            "{} events folded; these rows were not as the log says, and are now:\n  {}",
            rebuilt.events,
            differences.join("\n  ")
        );
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verify(arguments: ToolArguments) -> Result<ExitCode> {
    let database = open_existing(arguments.data).await?;
    let head = eventstore::Log::new(database.clone()).head().await?.position;
    let bar = progress("Walking the chain", EVENTS, head);
    let verified = eventstore::verify(&database, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    database.close().await;
    let (line, text, code) = match verified {
        Verified::Whole { events, hash } => (
            json!({ "whole": true, "events": events, "hash": hash }),
            format!("PASS: {events} events, every one as it was written. The last hash is {hash}"),
            ExitCode::SUCCESS,
        ),
        Verified::Broken(finding) => (
            json!({ "whole": false, "position": finding.position, "what": finding.what }),
            format!("FAIL: the event at position {} {}.", finding.position, finding.what),
            ExitCode::FAILURE,
        ),
    };
    if arguments.json {
        println!("{line}");
    } else {
        println!("{text}");
    }
    Ok(code)
}
