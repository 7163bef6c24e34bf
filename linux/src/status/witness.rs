//! A quorum server's report as a page.

use core::fmt::Write;

use crate::page::{Page, Paint, span};
use crate::report::witness::{ClusterReport, WitnessReport};

/// Returns the page for `report`.
#[must_use]
pub fn render(report: &WitnessReport, page: Page) -> String {
    let mut text = String::new();
    let clusters = report.clusters.len();
    let plural = if clusters == 1 { "" } else { "s" };
    let booting = report.clusters.iter().map(|cluster| cluster.booting_ms).max().unwrap_or(0);
    let (paint, word, why) = match booting {
        0 => (Paint::Good, "GOOD", "makes promises".to_owned()),
        left => {
            (Paint::Warning, "BOOTING", format!("makes no promises for another {}", span(left)))
        }
    };
    let _ = writeln!(text, "{}: {why} to {clusters} cluster{plural}", page.paint(paint, word));
    let (up, longest) = (span(report.uptime_ms), span(report.longest_promise_ms));
    let _ = writeln!(text, "quorum server, up {up}, promises at most {longest}");
    for cluster in &report.clusters {
        text.push('\n');
        render_cluster(&mut text, cluster, page);
    }
    let _ = writeln!(text, "\nscheduling  {}", report.scheduling);
    if report.strangers > 0 {
        let _ = writeln!(text, "strangers   {} frames of other clusters", report.strangers);
    }
    text
}

fn render_cluster(text: &mut String, cluster: &ClusterReport, page: Page) {
    let heading = format!("CLUSTER {}, witness {}", cluster.name, cluster.witness);
    let _ = writeln!(text, "{}", page.paint(Paint::Heading, &heading));
    if cluster.nodes.is_empty() {
        let _ = writeln!(text, "  no node has been heard");
    }
    for node in &cluster.nodes {
        let hears: Vec<String> = node.hears.iter().map(u8::to_string).collect();
        let hears = if hears.is_empty() { "nobody".to_owned() } else { hears.join(", ") };
        let side = if node.is_favoured { "in favour" } else { "not in favour" };
        let (number, state, address) = (node.number, &node.state, &node.address);
        let _ =
            writeln!(text, "  node {number:<3} {state:<9} {side:<14} {address:<24} hears {hears}");
    }
    for promise in &cluster.promises {
        let (group, node, token) = (promise.group, promise.node, promise.token);
        let _ = writeln!(text, "  group {group} is promised to node {node} under token {token}");
    }
    if !cluster.rejected.is_empty() {
        let kinds: Vec<String> =
            cluster.rejected.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let _ = writeln!(text, "  rejected: {}", kinds.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::VERSION;
    use crate::report::witness::{LivePromise, WitnessedNode};
    use std::collections::BTreeMap;

    #[test]
    fn the_page_shows_sides_and_promises() {
        let node = |number, is_favoured, hears| WitnessedNode {
            number,
            address: format!("10.77.0.{}:6940", number + 1),
            state: "alive".to_owned(),
            is_favoured,
            hears,
        };
        let report = WitnessReport {
            version: VERSION,
            uptime_ms: 61_000,
            longest_promise_ms: 10_000,
            strangers: 3,
            scheduling: "real-time (FIFO 50)".to_owned(),
            clusters: vec![ClusterReport {
                name: "web".to_owned(),
                witness: 1,
                booting_ms: 0,
                nodes: vec![node(0, true, vec![16]), node(1, false, vec![])],
                promises: vec![LivePromise { group: 0, node: 0, token: 7, left_ms: 12.0 }],
                rejected: BTreeMap::from([("wrong tag".to_owned(), 2)]),
            }],
        };
        let expected = "\
GOOD: makes promises to 1 cluster
quorum server, up 1 min 01 s, promises at most 10 s

CLUSTER web, witness 1
  node 0   alive     in favour      10.77.0.1:6940           hears 16
  node 1   alive     not in favour  10.77.0.2:6940           hears nobody
  group 0 is promised to node 0 under token 7
  rejected: 2 wrong tag

scheduling  real-time (FIFO 50)
strangers   3 frames of other clusters
";
        assert_eq!(render(&report, Page::PLAIN), expected);
    }
}
