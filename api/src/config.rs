//! Settings: one file, each overridable by environment and flag; all faults reported at once.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use commands::due::LOOK_EVERY;
use domain::billing::{BillingSettings, CalendarRule};
use domain::money::Currency;
use eventstore::failpoint;
use serde::{Deserialize, Serialize};

use crate::rate::REQUESTS_PER_MINUTE;

/// Where Atrium listens if nobody says otherwise.
const LISTEN: &str = "127.0.0.1:8080";
/// Where it keeps its data if nobody says otherwise.
const DATA: &str = "./atrium-data";
/// Longest between two looks for what is due.
const DUE_SECONDS_MAX: u32 = 3_600;

/// Days in which what was deleted can be restored if nobody says otherwise.
pub(crate) const RETENTION_DAYS: u32 = 90;
/// Most such days: a hundred years.
const RETENTION_DAYS_MAX: u32 = 36_525;

/// Where the data is.
#[derive(Args, Clone, Debug, Default)]
pub struct DataArguments {
    /// Folder with the SQLite file and the master key [default: ./atrium-data]
    #[arg(long, value_name = "DIR", env = "ATRIUM_DATA")]
    pub data: Option<PathBuf>,

    /// PostgreSQL instead of SQLite: postgres://user:password@host/name
    #[arg(long, value_name = "URL", env = "ATRIUM_DATABASE", hide_env_values = true)]
    pub database: Option<String>,

    /// File with the master key [default: master.key in the data folder]
    #[arg(long, value_name = "FILE", env = "ATRIUM_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,

    /// Configuration file (TOML) with any of these settings
    #[arg(long, value_name = "FILE", env = "ATRIUM_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How the server runs.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArguments {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArguments,

    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", env = "ATRIUM_LISTEN")]
    pub listen: Option<String>,

    /// Requests that a caller may make in a minute; 0: as many as he likes [default: 600000]
    #[arg(long, value_name = "REQUESTS", env = "ATRIUM_RATE_LIMIT")]
    pub rate_limit: Option<u32>,

    /// Seconds between two looks for what is due, such as reminders [default: 5]
    #[arg(long, value_name = "SECONDS", env = "ATRIUM_DUE_SECONDS")]
    pub due_seconds: Option<u32>,

    /// Only answer questions and never write: for a PostgreSQL standby, or a copy
    #[arg(
        long,
        value_name = "YES",
        env = "ATRIUM_READ_ONLY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub read_only: Option<bool>,

    /// Where commands go, for those who send one to a server that only reads
    #[arg(long, value_name = "URL", env = "ATRIUM_COMMANDS_AT")]
    pub commands_at: Option<String>,

    /// Currency that the provider bills in, set at the first start [default: EUR]
    #[arg(long, value_name = "CODE", env = "ATRIUM_CURRENCY")]
    pub currency: Option<String>,

    /// Time zone that the provider bills in, set at the first start [default: UTC]
    #[arg(long, value_name = "ZONE", env = "ATRIUM_TIME_ZONE")]
    pub time_zone: Option<String>,

    /// Billing periods: calendar_month, fixed_day(d), or days_before_month_end(n); set at the first start
    /// [default: calendar_month]
    #[arg(long, value_name = "RULE", env = "ATRIUM_BILLING_CALENDAR")]
    pub billing_calendar: Option<String>,

    /// Folder for a signed checkpoint each hour, and one at the end [default: none are made]
    #[arg(long, value_name = "DIR", env = "ATRIUM_CHECKPOINTS")]
    pub checkpoints: Option<PathBuf>,

    /// Days in which organisations and users who were deleted can be restored [default: 90]
    #[arg(long, value_name = "DAYS", env = "ATRIUM_RETENTION_DAYS")]
    pub retention_days: Option<u32>,
}

/// The configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    database: Option<String>,
    master_key_file: Option<PathBuf>,
    listen: Option<String>,
    rate_limit: Option<u32>,
    due_seconds: Option<u32>,
    read_only: Option<bool>,
    commands_at: Option<String>,
    currency: Option<String>,
    time_zone: Option<String>,
    billing_calendar: Option<String>,
    checkpoints: Option<PathBuf>,
    retention_days: Option<u32>,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder for the SQLite file and the master key.
    pub data: PathBuf,
    /// PostgreSQL instead of SQLite.
    pub database: Option<String>,
    /// File with the master key.
    pub master_key_file: PathBuf,
    /// The master key itself, where the environment gives it.
    pub master_key: Option<[u8; 32]>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Requests that a caller may make in a minute; none: as many as he likes.
    pub rate_limit: Option<NonZeroU32>,
    /// How long between two looks for what is due.
    pub look_every: Duration,
    /// Whether the server writes.
    pub access: Access,
    /// How the provider bills, for the first start.
    pub billing: BillingSettings,
    /// Folder for checkpoints, where they are to be made.
    pub checkpoints: Option<PathBuf>,
    /// Days in which what was deleted can be restored.
    pub retention_days: u32,
}

/// What a server does with its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads, and carries out commands.
    ReadWrite,
    /// It only reads; commands go elsewhere, perhaps it is known where.
    ReadOnly {
        /// The address of a server that takes them.
        commands_at: Option<String>,
    },
}

/// What `atrium config` prints: secrets masked.
#[derive(Serialize)]
struct Shown<'a> {
    data: &'a PathBuf,
    database: Option<String>,
    master_key_file: &'a PathBuf,
    master_key: Option<&'static str>,
    listen: String,
    rate_limit: u32,
    due_seconds: u64,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    commands_at: Option<&'a str>,
    currency: &'static str,
    time_zone: &'static str,
    billing_calendar: String,
    checkpoints: Option<&'a PathBuf>,
    retention_days: u32,
}

impl Settings {
    /// Puts together what the file, the environment and the flags say; the later wins.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(arguments: &ServeArguments) -> Result<Self> {
        let mut faults = Vec::new();
        let file = match &arguments.data.config {
            None => File::default(),
            Some(path) => read(path).unwrap_or_else(|fault| {
                faults.push(fault);
                File::default()
            }),
        };
        let given = arguments.data.clone();
        let data = given.data.or(file.data).unwrap_or_else(|| DATA.into());
        let database = given.database.or(file.database);
        if let Some(url) = &database
            && !url.starts_with("postgres://")
            && !url.starts_with("postgresql://")
        {
            faults.push("database: must begin with postgres://; for SQLite use --data".to_owned());
        }
        let listen = arguments.listen.clone().or(file.listen).unwrap_or_else(|| LISTEN.to_owned());
        let listen = listen.parse().map_err(|_| {
            faults.push(format!("listen: `{listen}` is no address such as {LISTEN}"));
        });
        let rate_limit = arguments.rate_limit.or(file.rate_limit);
        let due_seconds = arguments.due_seconds.or(file.due_seconds);
        if due_seconds.is_some_and(|seconds| !(1..=DUE_SECONDS_MAX).contains(&seconds)) {
            faults.push(format!("due_seconds: must be 1 to {DUE_SECONDS_MAX}"));
        }
        let commands_at = arguments.commands_at.clone().or(file.commands_at);
        if let Some(url) = &commands_at
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            faults.push("commands_at: must begin with https:// or http://".to_owned());
        }
        let access = match arguments.read_only.or(file.read_only) {
            Some(true) => Access::ReadOnly { commands_at },
            Some(false) | None => Access::ReadWrite,
        };
        let retention_days = arguments.retention_days.or(file.retention_days);
        if retention_days.is_some_and(|days| days > RETENTION_DAYS_MAX) {
            faults.push(format!("retention_days: at most {RETENTION_DAYS_MAX}"));
        }
        let currency = arguments.currency.clone().or(file.currency);
        let currency = Currency::parse(currency.as_deref().unwrap_or("EUR")).map_err(|fault| {
            faults.push(format!("currency: {}", fault.detail));
        });
        let zone = arguments.time_zone.clone().or(file.time_zone);
        let zone = zone.as_deref().unwrap_or("UTC");
        let zone = zone.parse::<chrono_tz::Tz>().map_err(|_| {
            faults.push(format!("time_zone: `{zone}` is no zone such as Europe/Berlin"));
        });
        let rule = arguments.billing_calendar.clone().or(file.billing_calendar);
        let rule = rule.as_deref().unwrap_or("calendar_month").parse::<CalendarRule>();
        let rule = rule.map_err(|fault| faults.push(format!("billing_calendar: {}", fault.detail)));
        let master_key = std::env::var("ATRIUM_MASTER_KEY").ok().and_then(|text| {
            crate::keys::parse_master_key(&text)
                .map_err(|fault| faults.push(format!("ATRIUM_MASTER_KEY: {fault}")))
                .ok()
        });
        let (Ok(listen), Ok(currency), Ok(zone), Ok(rule), true) =
            (listen, currency, zone, rule, faults.is_empty())
        else {
            bail!("the configuration has {} faults:\n  {}", faults.len(), faults.join("\n  "));
        };
        let master_key_file = given.master_key_file.or(file.master_key_file);
        Ok(Self {
            master_key_file: master_key_file.unwrap_or_else(|| data.join("master.key")),
            data,
            database,
            master_key,
            listen,
            rate_limit: NonZeroU32::new(rate_limit.unwrap_or(REQUESTS_PER_MINUTE.get())),
            look_every: due_seconds
                .map_or(LOOK_EVERY, |seconds| Duration::from_secs(u64::from(seconds))),
            access,
            billing: BillingSettings::new(currency, rule, zone),
            checkpoints: arguments.checkpoints.clone().or(file.checkpoints),
            retention_days: retention_days.unwrap_or(RETENTION_DAYS),
        })
    }

    /// The database, where it is not on a PostgreSQL server.
    #[must_use]
    pub fn sqlite_file(&self) -> PathBuf {
        self.data.join("atrium.db")
    }

    /// The effective values, secrets masked.
    #[must_use]
    pub fn show(&self) -> String {
        let shown = Shown {
            data: &self.data,
            database: self.database.as_deref().map(without_password),
            master_key_file: &self.master_key_file,
            master_key: self.master_key.map(|_| "***"),
            listen: self.listen.to_string(),
            rate_limit: self.rate_limit.map_or(0, NonZeroU32::get),
            due_seconds: self.look_every.as_secs(),
            read_only: self.access != Access::ReadWrite,
            commands_at: match &self.access {
                Access::ReadWrite => None,
                Access::ReadOnly { commands_at } => commands_at.as_deref(),
            },
            currency: self.billing.currency.code(),
            time_zone: self.billing.zone.name(),
            billing_calendar: self.billing.rule.to_string(),
            checkpoints: self.checkpoints.as_ref(),
            retention_days: self.retention_days,
        };
        toml::to_string(&shown).unwrap_or_default()
    }
}

fn read(path: &PathBuf) -> Result<File, String> {
    let text = failpoint("api::config::read")
        .and_then(|()| std::fs::read_to_string(path))
        .map_err(|error| format!("the file {}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("the file {}: {error}", path.display()))
}

/// A URL whose password is masked.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((who, place)) => {
            let user = who.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{place}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_reported_at_once() {
        let arguments = ServeArguments {
            listen: Some("nowhere".to_owned()),
            read_only: Some(true),
            commands_at: Some("db.example".to_owned()),
            due_seconds: Some(0),
            currency: Some("XXXX".to_owned()),
            retention_days: Some(36_526),
            time_zone: Some("Mars/Base".to_owned()),
            billing_calendar: Some("fixed_day(32)".to_owned()),
            data: DataArguments { database: Some("mysql://x".to_owned()), ..Default::default() },
            ..ServeArguments::default()
        };
        let faults = Settings::load(&arguments).unwrap_err().to_string();
        for field in [
            "listen",
            "currency",
            "time_zone",
            "billing_calendar",
            "database",
            "commands_at",
            "due_seconds",
            "retention_days",
            "8 faults",
        ] {
            assert!(faults.contains(field), "{faults}");
        }
    }

    #[test]
    fn a_rate_limit_is_shown_and_none_is_zero() {
        let shown = |rate_limit| {
            let arguments = ServeArguments { rate_limit, ..ServeArguments::default() };
            Settings::load(&arguments).unwrap().show()
        };
        assert!(shown(None).contains("rate_limit = 600000\n"));
        assert!(shown(Some(5)).contains("rate_limit = 5\n"));
        assert!(shown(Some(0)).contains("rate_limit = 0\n"));
    }

    #[test]
    fn whether_a_server_only_reads_is_shown_and_a_flag_wins() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"read_only = true\n").unwrap();
        let shown = |read_only| {
            let data = DataArguments { config: Some(file.path().into()), ..Default::default() };
            let arguments = ServeArguments { data, read_only, ..ServeArguments::default() };
            Settings::load(&arguments).unwrap().show()
        };
        assert!(shown(None).contains("read_only = true\n"));
        assert!(shown(Some(false)).contains("read_only = false\n"));
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = without_password("postgres://ann:secret@db/x");
        assert_eq!(shown, "postgres://ann:***@db/x");
        assert_eq!(without_password("postgres://db/x"), "postgres://db/x");
    }
}
