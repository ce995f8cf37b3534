//! Documents must not describe what is gone.

use std::path::Path;

/// The top folder of the project.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project")
}

/// What stands between two marks in a document.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}

#[test]
fn the_architecture_names_only_files_that_exist() {
    let text = std::fs::read_to_string(top().join("docs/ARCHITECTURE.md")).expect("it is there");
    let is_file = |name: &&str| {
        name.contains('/')
            && (name.contains('.') || name.ends_with('/'))
            && !name.contains(' ')
            && !name.starts_with('/')
    };
    let named: Vec<_> = between(&text, "`", '`').filter(is_file).collect();
    assert!(named.len() > 40, "the document names its files in backticks: {named:?}");
    for name in named {
        assert!(top().join(name).exists(), "{name} is gone");
    }
}

#[test]
fn the_links_of_the_readme_lead_somewhere() {
    let text = std::fs::read_to_string(top().join("README.md")).expect("it is there");
    let links: Vec<_> = between(&text, "](", ')').filter(|link| !link.contains("://")).collect();
    assert!(links.len() > 8, "{links:?}");
    for link in links {
        assert!(top().join(link).exists(), "{link} is gone");
    }
}
