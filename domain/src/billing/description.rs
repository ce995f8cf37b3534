//! Descriptions of lines and summaries: a pattern with variables (billing.md, section 6).

use crate::Invalid;

/// Longest pattern, in characters.
pub const MAX_PATTERN_CHARS: usize = 200;

/// What the variables of a pattern stand for. A value is text and never read as a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variables<'a> {
    /// `{AddedByUserName}`: who provisioned it.
    pub added_by_user_name: &'a str,
    /// `{CustomerName}`.
    pub customer_name: &'a str,
    /// `{InstanceName}`: empty for a single-instance service.
    pub instance_name: &'a str,
    /// `{PlanName}`.
    pub plan_name: &'a str,
    /// `{ProductSKU}`.
    pub product_sku: &'a str,
    /// `{RemovedByUserName}`: who deprovisioned it; empty while it is held.
    pub removed_by_user_name: &'a str,
    /// `{ServiceName}`.
    pub service_name: &'a str,
    /// `{UserFullName}`: empty for a customer's service.
    pub user_full_name: &'a str,
}

/// The patterns of a billable element that has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultPatterns {
    /// Describes one line.
    pub line: &'static str,
    /// Describes the lines that are summed up together.
    pub summary: &'static str,
}

/// For a service that a customer holds.
pub const CUSTOMER_SERVICE: DefaultPatterns = DefaultPatterns {
    line: "{ServiceName}, {PlanName} (Assigned to Customer)",
    summary: "{ServiceName} (Assigned to Customer)",
};

/// For a service that a user holds.
pub const USER_SERVICE: DefaultPatterns = DefaultPatterns {
    line: "{ServiceName}, {PlanName} ({UserFullName})",
    summary: "{ServiceName}, {PlanName}",
};

/// For one of several instances of a service.
pub const INSTANCE: DefaultPatterns = DefaultPatterns {
    line: "{ServiceName}, {InstanceName}, {PlanName}",
    summary: "{ServiceName}, {InstanceName}",
};

const NAMES: [&str; 8] = [
    "UserFullName",
    "CustomerName",
    "ServiceName",
    "InstanceName",
    "ProductSKU",
    "PlanName",
    "AddedByUserName",
    "RemovedByUserName",
];

impl Variables<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        Some(match name {
            "AddedByUserName" => self.added_by_user_name,
            "CustomerName" => self.customer_name,
            "InstanceName" => self.instance_name,
            "PlanName" => self.plan_name,
            "ProductSKU" => self.product_sku,
            "RemovedByUserName" => self.removed_by_user_name,
            "ServiceName" => self.service_name,
            "UserFullName" => self.user_full_name,
            _ => return None,
        })
    }
}

/// The pattern with every variable replaced, once: a value that looks like a variable stays as it
/// is, and so does a variable that [`check`] would refuse.
#[must_use]
pub fn render(pattern: &str, variables: &Variables<'_>) -> String {
    let mut text = String::with_capacity(pattern.len());
    for piece in pieces(pattern) {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Variable(name) => match variables.value(name) {
                Some(value) => text.push_str(value),
                None => text.extend(["{", name, "}"]),
            },
        }
    }
    text
}

/// Whether a pattern may be used.
///
/// # Errors
/// `pattern_empty`, `pattern_too_long` (beyond [`MAX_PATTERN_CHARS`]), `pattern_control` (line
/// breaks and other control characters), `pattern_brace` (a brace without its other), and
/// `pattern_variable`, which names the unknown variables.
pub fn check(pattern: &str) -> Result<(), Invalid> {
    if pattern.trim().is_empty() {
        return Err(Invalid::new("pattern_empty", "Give a pattern, such as {ServiceName}."));
    }
    if pattern.chars().count() > MAX_PATTERN_CHARS {
        let detail = format!("A pattern has at most {MAX_PATTERN_CHARS} characters.");
        return Err(Invalid::new("pattern_too_long", detail));
    }
    if pattern.chars().any(char::is_control) {
        return Err(Invalid::new("pattern_control", "A pattern is one line of plain text."));
    }
    let mut unknown = Vec::new();
    for piece in pieces(pattern) {
        match piece {
            Piece::Text(plain) if plain.contains(['{', '}']) => {
                return Err(Invalid::new("pattern_brace", "A brace lacks its other."));
            }
            Piece::Variable(name) if !NAMES.contains(&name) => unknown.push(name),
            Piece::Text(_) | Piece::Variable(_) => {}
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let detail =
        format!("Unknown: {{{}}}. Known: {{{}}}.", unknown.join("}, {"), NAMES.join("}, {"));
    Err(Invalid::new("pattern_variable", detail))
}

enum Piece<'a> {
    Text(&'a str),
    /// What stands between braces.
    Variable(&'a str),
}

/// The pattern's texts and variables in order.
fn pieces(pattern: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let variable = rest.strip_prefix('{').and_then(|after| {
            let end = after.find(['{', '}'])?;
            after[end..].starts_with('}').then(|| (&after[..end], &after[end + 1..]))
        });
        if let Some((name, after)) = variable {
            rest = after;
            return Some(Piece::Variable(name));
        }
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == '{').map(|(index, _)| index);
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(Piece::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: Variables<'_> = Variables {
        added_by_user_name: "Ann",
        customer_name: "{ServiceName} Ltd",
        instance_name: "staging",
        plan_name: "Basic",
        product_sku: "BU001",
        removed_by_user_name: "",
        service_name: "Backup",
        user_full_name: "Bob Ö",
    };

    #[test]
    fn every_variable_is_replaced() {
        let pattern = "{UserFullName}|{CustomerName}|{ServiceName}|{InstanceName}|{ProductSKU}|\
                       {PlanName}|{AddedByUserName}|{RemovedByUserName}";
        assert_eq!(check(pattern), Ok(()));
        assert_eq!(
            render(pattern, &VARIABLES),
            "Bob Ö|{ServiceName} Ltd|Backup|staging|BU001|Basic|Ann|"
        );
    }

    #[test]
    fn a_value_is_not_a_pattern() {
        assert_eq!(render("{CustomerName}", &VARIABLES), "{ServiceName} Ltd");
        assert_eq!(render("{{ServiceName}}", &VARIABLES), "{Backup}");
        assert_eq!(render("ä{nobody}{", &VARIABLES), "ä{nobody}{");
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        let refused = |pattern: &str| check(pattern).unwrap_err();
        assert!(
            refused("{Plan} {CustomerName} {sku}").detail.starts_with("Unknown: {Plan}, {sku}.")
        );
        for (pattern, code) in [
            ("", "pattern_empty"),
            (" ", "pattern_empty"),
            ("{PlanName", "pattern_brace"),
            ("PlanName}", "pattern_brace"),
            ("{{PlanName}", "pattern_brace"),
            ("{}", "pattern_variable"),
            ("a\nb", "pattern_control"),
        ] {
            assert_eq!(refused(pattern).code, code, "{pattern}");
        }
        assert_eq!(check(&"ä".repeat(200)), Ok(()));
        assert_eq!(refused(&"x".repeat(201)).code, "pattern_too_long");
    }

    #[test]
    fn the_defaults_are_patterns() {
        for patterns in [CUSTOMER_SERVICE, USER_SERVICE, INSTANCE] {
            assert_eq!(check(patterns.line), Ok(()));
            assert_eq!(check(patterns.summary), Ok(()));
        }
    }
}
