//! Texts that people type, parsed once at the edge of the domain.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Longest name of an organisation, person, service or plan, in characters.
pub const NAME_MAX_CHARS: usize = 200;
/// Longest reason, description or note, in characters.
pub const NOTE_MAX_CHARS: usize = 2_000;
/// Longest mail address or login, in characters (RFC 5321, section 4.5.3.1.3).
pub const ADDRESS_MAX_CHARS: usize = 254;

/// A name as people write it: trimmed, not empty, one line, at most [`NAME_MAX_CHARS`].
///
/// # Errors
/// What a name has to be.
pub fn name(text: &str) -> Result<String, Invalid> {
    line(text, NAME_MAX_CHARS)
}

/// One line of at most `max_chars`, trimmed, not empty.
///
/// # Errors
/// What the line has to be.
pub fn line(text: &str, max_chars: usize) -> Result<String, Invalid> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Invalid::new("empty", "This must not be empty."));
    }
    if trimmed.chars().count() > max_chars {
        let detail = format!("This must have at most {max_chars} characters.");
        return Err(Invalid::new("too_long", detail));
    }
    if trimmed.chars().any(char::is_control) {
        return Err(Invalid::new("control_character", "This must be one line of plain text."));
    }
    Ok(trimmed.to_owned())
}

/// A note that people wrote: may have several lines, at most [`NOTE_MAX_CHARS`].
///
/// # Errors
/// What a note has to be.
pub fn note(text: &str) -> Result<String, Invalid> {
    let trimmed = text.trim();
    if trimmed.chars().count() > NOTE_MAX_CHARS {
        let detail = format!("This must have at most {NOTE_MAX_CHARS} characters.");
        return Err(Invalid::new("too_long", detail));
    }
    if trimmed.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Invalid::new("control_character", "This must be plain text."));
    }
    Ok(trimmed.to_owned())
}

/// A mail address, or a login in the form of one (UPN). Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// The address, if `text` is one: `somebody@domain`, no blanks.
    ///
    /// # Errors
    /// What an address has to be.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = line(text, ADDRESS_MAX_CHARS)?;
        let fits = text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && !domain.is_empty()
                && !domain.starts_with('.')
                && !domain.ends_with('.')
                && domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
                && !text.contains(|c: char| {
                    c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"')
                })
        });
        if fits {
            Ok(Self(text))
        } else {
            Err(Invalid::new("not_an_address", "This must be an address such as ann@example.com."))
        }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For comparing: lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The short name of an organisation: 1 to 12 upper case letters or digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(String);

impl Code {
    /// Longest code, in characters.
    pub const MAX_CHARS: usize = 12;

    /// The code, if `text` is one; lower case is taken as upper case.
    ///
    /// # Errors
    /// What a code has to be.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let upper = text.trim().to_ascii_uppercase();
        let fits = (1..=Self::MAX_CHARS).contains(&upper.len())
            && upper.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if fits {
            Ok(Self(upper))
        } else {
            Err(Invalid::new("not_a_code", "A code is 1 to 12 letters A-Z or digits."))
        }
    }

    /// A proposal for a name: its initials, and a number where they alone are taken.
    #[must_use]
    pub fn proposed(name: &str, number: Option<u32>) -> Self {
        let mut code: String = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter_map(|word| word.chars().next())
            .take(6)
            .collect::<String>()
            .to_ascii_uppercase();
        if code.is_empty() {
            code.push('X');
        }
        if let Some(number) = number {
            code.truncate(3);
            code.push_str(&number.to_string());
        }
        Self(code)
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_proposed_from_the_initials() {
        let proposed = |name, number| Code::proposed(name, number).as_str().to_owned();
        assert_eq!(proposed("Abacus Computing Group", None), "ACG");
        assert_eq!(proposed("Abacus Computing Group", Some(102)), "ACG102");
        assert_eq!(proposed("Ünal", None), "N");
        assert_eq!(proposed("東京", None), "X");
    }

    #[test]
    fn an_address_has_two_sides() {
        for good in ["ann@example.com", "a.b+c@sub.example", "ö@example.com"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "ann", "@example.com", "ann@", "a b@example.com", "a@b@c", "<a@b.c>", "a@.c"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_shown_as_written_and_compared_in_lower_case() {
        let address = Address::parse(" Ann.LEE@Sub-1.Example ").unwrap();
        assert_eq!(address.as_str(), "Ann.LEE@Sub-1.Example");
        assert_eq!(address.to_string(), "Ann.LEE@Sub-1.Example");
        assert_eq!(address.folded(), "ann.lee@sub-1.example");
    }

    #[test]
    fn an_address_has_a_domain_without_signs_and_no_signs_that_lists_use() {
        for bad in ["a@b.", "a@b_c", "a@b/c", "a,b@c", "a;b@c", "a\"b@c", "a>b@c", "a\u{a0}b@c"] {
            assert_eq!(Address::parse(bad).unwrap_err().code, "not_an_address", "{bad}");
        }
        let longest = format!("{}@b.c", "x".repeat(ADDRESS_MAX_CHARS - 4));
        assert!(Address::parse(&longest).is_ok());
        assert_eq!(Address::parse(&format!("x{longest}")).unwrap_err().code, "too_long");
    }

    #[test]
    fn a_code_is_one_to_twelve_letters_or_digits() {
        for (text, code) in [(" acg ", "ACG"), ("7", "7"), ("ABCDEFGHIJ12", "ABCDEFGHIJ12")] {
            assert_eq!(Code::parse(text).unwrap().as_str(), code);
        }
        for bad in ["", " ", "ABCDEFGHIJ123", "A-B", "A B", "Ü"] {
            assert_eq!(Code::parse(bad).unwrap_err().code, "not_a_code", "{bad}");
        }
    }

    #[test]
    fn a_note_may_have_lines_and_tabs_and_be_empty() {
        assert_eq!(note(" a\n\tb \n").unwrap(), "a\n\tb");
        assert_eq!(note(" ").unwrap(), "");
        for bad in ["a\rb", "a\u{7}b", "a\u{1b}[1mb"] {
            assert_eq!(note(bad).unwrap_err().code, "control_character", "{bad:?}");
        }
        let longest = "\u{e9}".repeat(NOTE_MAX_CHARS);
        assert_eq!(note(&longest).unwrap(), longest);
        assert_eq!(note(&format!("{longest}x")).unwrap_err().code, "too_long");
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(name("  Ann \u{e9} ").unwrap(), "Ann \u{e9}");
        assert_eq!(name("a\nb").unwrap_err().code, "control_character");
        assert!(name(&"\u{e9}".repeat(200)).is_ok());
        assert_eq!(name(&"x".repeat(201)).unwrap_err().code, "too_long");
        assert_eq!(name("  ").unwrap_err().code, "empty");
    }
}
