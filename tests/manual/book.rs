//! The book's table of contents and its links.

use crate::{pages, read, root};
use std::collections::BTreeSet;

/// What stands between parentheses behind brackets: where links lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn the_summary_lists_every_page_once() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let mut listed: Vec<&str> = links(&summary).collect();
    listed.sort_unstable();
    let in_folder =
        pages().into_iter().filter(|page| page.parent().is_some_and(|p| p.ends_with("docs")));
    let names: Vec<String> = in_folder
        .map(|page| page.file_name().expect("a name").to_string_lossy().into_owned())
        .filter(|name| name != "SUMMARY.md")
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(listed, names);
}

/// The anchor that a heading gets, in a book as on a code host.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().expect("a folder").join(path),
            };
            let headings = || -> BTreeSet<String> {
                let text = read(&target);
                text.lines()
                    .filter_map(|line| line.strip_prefix('#'))
                    .map(|line| anchor(line.trim_start_matches('#')))
                    .collect()
            };
            if !target.exists() || (!fragment.is_empty() && !headings().contains(fragment)) {
                faults.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "links that lead nowhere:\n{}", faults.join("\n"));
}
