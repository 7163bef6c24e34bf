//! What the services themselves wrote down about their starts and stops.
//!
//! A line is the node, the group, the service, a word and the token. The words are `starting`,
//! `started`, `stopping` and `stopped`; whoever plays the rounds adds `gone` for a node on which
//! nothing can run any more, of one group or, by `*`, of all.

use std::collections::BTreeMap;

/// The services whose records are read, and the laws that they keep.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    groups: Vec<Listed>,
    read: usize,
    /// Where each service may run: what began to start there and has not stopped.
    running: BTreeMap<(String, String), Vec<String>>,
    tokens: BTreeMap<String, (u64, String)>,
}

/// A group whose services keep records.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: &'static str,
    /// Its services, in the order of their start.
    pub(super) services: &'static [&'static str],
    /// Whether they never run on two nodes.
    pub(super) is_exclusive: bool,
}

impl Ledger {
    /// Returns the ledger of these groups, in which nothing has been read.
    #[must_use]
    pub(super) const fn new(groups: Vec<Listed>) -> Self {
        Self { groups, read: 0, running: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// Reads what has been added to the text since, and returns which laws it broke.
    pub(super) fn read(&mut self, text: &str) -> Vec<String> {
        let end = text.rfind('\n').map_or(0, |at| at + 1);
        let fresh = text.get(self.read..end).unwrap_or_default();
        self.read = self.read.max(end);
        fresh.lines().filter_map(|line| self.judge(line)).collect()
    }

    fn judge(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let &[node, group, service, what, token] = words.as_slice() else {
            return Some(format!("no line of a service: {line}"));
        };
        if what == "gone" {
            let gone = self.running.iter_mut().filter(|((of, _), _)| group == "*" || of == group);
            gone.for_each(|(_, nodes)| nodes.retain(|name| name != node));
            return None;
        }
        let Some(listed) = self.groups.iter().find(|listed| listed.name == group).cloned() else {
            return Some(format!("no group of this name: {line}"));
        };
        let broken = match what {
            "starting" => self.judge_start(&listed, node, service, token),
            "stopping" => self.judge_stop(&listed, node, service),
            _ => None,
        };
        let running = self.running.entry((group.to_owned(), service.to_owned())).or_default();
        match what {
            "starting" if !running.iter().any(|name| name == node) => running.push(node.to_owned()),
            "stopped" => running.retain(|name| name != node),
            _ => {}
        }
        broken.map(|why| format!("{line}: {why}"))
    }

    fn judge_start(
        &mut self,
        listed: &Listed,
        node: &str,
        service: &str,
        token: &str,
    ) -> Option<String> {
        let token: u64 = token.parse().ok()?;
        let last = self.tokens.insert(listed.name.to_owned(), (token, node.to_owned()));
        let elsewhere = |service: &str| {
            let nodes = self.running.get(&(listed.name.to_owned(), service.to_owned()));
            nodes.into_iter().flatten().find(|name| *name != node).cloned()
        };
        if listed.is_exclusive
            && let Some(other) = listed.services.iter().find_map(|service| elsewhere(service))
        {
            return Some(format!("it may still run on {other}"));
        }
        if let Some((last, before)) = last
            && (token < last || token == last && before != node)
        {
            return Some(format!("{before} has started the group under token {last}"));
        }
        let earlier = listed.services.iter().take_while(|name| **name != service);
        let mut missing = earlier.filter(|name| !self.runs(listed.name, name, node));
        missing.next().map(|name| format!("{name} comes first and does not run"))
    }

    fn judge_stop(&self, listed: &Listed, node: &str, service: &str) -> Option<String> {
        let later = listed.services.iter().skip_while(|name| **name != service).skip(1);
        let mut left = later.filter(|name| self.runs(listed.name, name, node));
        left.next().map(|name| format!("{name} stops first and still runs"))
    }

    fn runs(&self, group: &str, service: &str, node: &str) -> bool {
        let nodes = self.running.get(&(group.to_owned(), service.to_owned()));
        nodes.into_iter().flatten().any(|name| name == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str]) -> Vec<String> {
        let mut ledger = Ledger::new(vec![
            Listed { name: "g", services: &["db", "web"], is_exclusive: true },
            Listed { name: "h", services: &["x"], is_exclusive: false },
        ]);
        let mut text = String::new();
        let mut broken = Vec::new();
        for line in lines {
            text += line;
            broken.extend(ledger.read(&text));
            text.push('\n');
            broken.extend(ledger.read(&text));
        }
        broken
    }

    #[test]
    fn a_move_in_good_order_breaks_nothing() {
        let lines = [
            "a g db starting 1",
            "a g db started 1",
            "a g web starting 1",
            "a g web stopping 1",
            "a g web stopped 1",
            "a g db stopping 1",
            "a g db stopped 1",
            "b g db starting 2",
            "b g web starting 2",
        ];
        assert_eq!(judged(&lines), Vec::<String>::new());
    }

    #[test]
    fn each_law_is_noticed_when_it_is_broken() {
        let cases: [(&[&str], &str); 6] = [
            (&["a g db starting 1", "b g db starting 2"], "may still run on a"),
            (&["a g db starting 1", "a g db stopping 1", "b g db starting 2"], "still run on a"),
            (&["a g web starting 1"], "db comes first"),
            (&["a g db starting 1", "a g web starting 1", "a g db stopping 1"], "web stops first"),
            (&["a h x starting 2", "b h x starting 2"], "under token 2"),
            (&["a h x starting 2", "a h x starting 1"], "under token 2"),
        ];
        for (lines, expected) in cases {
            let broken = judged(lines);
            assert_eq!(broken.len(), 1, "{lines:?}: {broken:?}");
            assert!(broken[0].contains(expected), "{broken:?}");
        }
    }

    #[test]
    fn a_machine_that_is_gone_runs_nothing() {
        let lines = ["a g db starting 1", "a * * gone 0", "b g db starting 2"];
        assert_eq!(judged(&lines), Vec::<String>::new());
    }

    #[test]
    fn what_is_gone_of_one_group_is_not_gone_of_another() {
        let lines = ["a g db starting 1", "a h * gone 0", "b g db starting 2"];
        assert_eq!(judged(&lines).len(), 1);
        let lines = ["a g db starting 1", "a g * gone 0", "b g db starting 2"];
        assert_eq!(judged(&lines), Vec::<String>::new());
    }

    #[test]
    fn only_exclusive_groups_wait_for_the_other_node() {
        let lines = ["a h x starting 1", "b h x starting 2"];
        assert_eq!(judged(&lines), Vec::<String>::new());
    }
}
