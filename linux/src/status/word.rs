//! What the operator has said to the whole cluster, on the page.

use crate::page::{Page, Paint, list, span, wrap};
use crate::report::{GroupReport, Report};

/// Returns what is in maintenance, and for how long, in a sentence.
fn maintenance(report: &Report) -> Option<String> {
    let word = report.word.as_ref()?;
    let left = span(word.maintenance_left_ms?);
    let names: Vec<&str> = word.maintenance.iter().map(String::as_str).collect();
    Some(format!("maintenance of {}: nothing moves for another {left}", list(&names)))
}

/// Returns what the operator's word leaves to be wished for, a sentence each.
pub(super) fn flaws(report: &Report) -> Vec<String> {
    let disabled = report.groups.iter().filter(|group| group.disabled);
    let disabled = disabled.map(|group| format!("{} is disabled", group.name));
    maintenance(report).into_iter().chain(disabled).collect()
}

/// Returns what stands behind a group's addresses.
pub(super) const fn mark(group: &GroupReport) -> &'static str {
    match (group.disabled, group.maintenance_left_ms) {
        (true, _) => " (disabled)",
        (false, Some(_)) => " (maintenance)",
        (false, None) => "",
    }
}

/// Returns the lines that nobody overlooks.
pub(super) fn render(report: &Report, page: Page) -> String {
    let Some(sentence) = maintenance(report) else { return String::new() };
    let (mark, ends) = ("MAINTENANCE", "`lifesign maintenance off` ends it");
    let loud = sentence.replacen("maintenance", mark, 1);
    let line = wrap("", &format!("{loud}, and no service is restarted; {ends}"));
    line.replacen(mark, &page.paint(Paint::Warning, mark), 1)
}
