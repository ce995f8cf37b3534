//! In which form a bill is wanted.

use axum::http::{HeaderMap, header};

use crate::problem::Problem;

/// A form that bills come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Everything under `data`.
    Json,
    /// A table as text (RFC 4180).
    Csv,
    /// A workbook of Excel's (ISO/IEC 29500).
    Xlsx,
    /// A JSON object on each line.
    Jsonl,
    /// A table by the FinOps Open Cost and Usage Specification, 1.2.
    Focus,
}

impl Format {
    /// Those of every table.
    pub(super) const OF_TABLES: &[Self] = &[Self::Json, Self::Csv, Self::Xlsx, Self::Jsonl];
    /// Those of the ledger's entries.
    pub(super) const OF_ENTRIES: &[Self] =
        &[Self::Json, Self::Csv, Self::Xlsx, Self::Jsonl, Self::Focus];

    /// As it is asked for, and how files end that are of it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Jsonl => "jsonl",
            Self::Focus => "focus",
        }
    }

    /// What an answer of it says that it is.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv | Self::Focus => "text/csv; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Jsonl => "application/jsonl",
        }
    }

    /// The one that was asked for: by name, or else by the `Accept` header; JSON, whatever else is accepted.
    ///
    /// # Errors
    /// Where it is named and not among those that there are.
    pub(super) fn wanted(
        named: Option<&str>,
        headers: &HeaderMap,
        offered: &[Self],
    ) -> Result<Self, Problem> {
        let Some(named) = named else { return Ok(Self::accepted(headers, offered)) };
        let found = offered.iter().find(|format| format.name().eq_ignore_ascii_case(named));
        found.copied().ok_or_else(|| {
            let names: Vec<_> = offered.iter().map(|format| format.name()).collect();
            Problem::bad_parameter("format", format!("The format is one of {}.", names.join(", ")))
        })
    }

    /// The one that is accepted most (RFC 9110, section 12.5.1).
    fn accepted(headers: &HeaderMap, offered: &[Self]) -> Self {
        let texts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut best = (0, Self::Json);
        for range in texts.flat_map(|text| text.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let named = |format: &&Self| {
                let own = format.media_type().split(';').next().unwrap_or_default();
                own.eq_ignore_ascii_case(media_type)
            };
            let found = offered.iter().find(named).copied();
            // Who takes anything gets JSON; so does who asks for text/plain, as existing integrations do.
            let Some(format) = found.or_else(|| {
                let is_any = ["*/*", "application/*", "text/plain"].contains(&media_type);
                is_any.then_some(Self::Json)
            }) else {
                continue;
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, thousandths);
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }
}

/// A weight such as `0.5`, in thousandths; one that is none counts in full.
fn thousandths(weight: &str) -> u32 {
    let (whole, digits) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = format!("{digits:0<3}");
    let digits = digits.get(..3).and_then(|digits| digits.parse::<u32>().ok());
    match (whole, digits) {
        ("0", Some(digits)) => digits,
        _ => 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &'static str) -> Format {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        Format::wanted(None, &headers, Format::OF_TABLES).unwrap()
    }

    #[test]
    fn what_is_accepted_most_is_given() {
        for (accept, expected) in [
            ("*/*", Format::Json),
            ("text/plain", Format::Json),
            ("text/html", Format::Json),
            ("text/csv", Format::Csv),
            ("TEXT/CSV; charset=utf-8", Format::Csv),
            ("text/csv;q=0.5, application/json;q=0.9", Format::Json),
            ("application/json;q=0.51, text/csv;q=0.6", Format::Csv),
            ("text/csv, */*", Format::Csv),
            ("text/csv;q=0", Format::Json),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Format::Xlsx),
            ("application/jsonl", Format::Jsonl),
        ] {
            assert_eq!(accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn what_is_named_goes_before_what_is_accepted() {
        let headers = HeaderMap::from_iter([(header::ACCEPT, "text/csv".parse().unwrap())]);
        let wanted = |named| Format::wanted(Some(named), &headers, Format::OF_TABLES);
        assert_eq!(wanted("XLSX").unwrap(), Format::Xlsx);
        assert_eq!(wanted("focus").unwrap_err().code, "bad_parameter");
    }
}
