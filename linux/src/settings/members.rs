//! Nodes and witnesses, and the names of all who take part.

use core::net::IpAddr;
use std::path::PathBuf;

use lifesign_core::node::{MAX_NODES, MAX_WITNESSES, NodeId};
use toml::Spanned;

use super::mistake::{Mistakes, did_you_mean};
use super::table::Table;
use super::{Link, Node, fence, link, value};

/// Who takes part, and the ways between them.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) nodes: Vec<Node>,
    pub(super) witnesses: Vec<String>,
    pub(super) links: Vec<Link>,
    /// Every address of a member, with its place.
    pub(super) addresses: Vec<Spanned<IpAddr>>,
    /// Every serial device of a node, with its place.
    pub(super) devices: Vec<(NodeId, Spanned<PathBuf>)>,
}

impl Members {
    /// Returns the node called `name`, or notes that there is none.
    pub(super) fn node(&self, name: &Spanned<&str>, mistakes: &mut Mistakes) -> Option<NodeId> {
        let at = self.nodes.iter().position(|node| node.name == *name.get_ref());
        if at.is_none() {
            let known = self.nodes.iter().map(|node| node.name.as_str());
            note_stranger("node", name, known, mistakes);
        }
        NodeId::at(at?)
    }

    /// Returns the witness called `name`, or notes that there is none.
    pub(super) fn witness(&self, name: &Spanned<&str>, mistakes: &mut Mistakes) -> Option<NodeId> {
        let is_it = |other: &String| other == name.get_ref();
        let at = self.witnesses.iter().position(is_it);
        if at.is_none() {
            if self.nodes.iter().any(|node| is_it(&node.name)) {
                mistakes
                    .add(name.span(), format!("{:?} is a node", name.get_ref()))
                    .label("a dongle is a `[[witness]]`");
            } else if self.witnesses.is_empty() {
                mistakes
                    .add(name.span(), "there is no witness")
                    .label("unknown here")
                    .hint("add a `[[witness]]` of this name for the dongle");
            } else {
                let known = self.witnesses.iter().map(String::as_str);
                note_stranger("witness", name, known, mistakes);
            }
        }
        at.and_then(|at| u8::try_from(at).ok()).and_then(NodeId::witness)
    }

    /// Returns the node or witness called `name`, or notes that there is none.
    pub(super) fn member(&self, name: &Spanned<&str>, mistakes: &mut Mistakes) -> Option<NodeId> {
        let is_it = |other: &String| other == name.get_ref();
        if let Some(at) = self.witnesses.iter().position(is_it) {
            return u8::try_from(at).ok().and_then(NodeId::witness);
        }
        let at = self.nodes.iter().position(|node| is_it(&node.name));
        if at.is_none() {
            let known = self.nodes.iter().map(|node| &node.name).chain(&self.witnesses);
            note_stranger("node or witness", name, known.map(String::as_str), mistakes);
        }
        NodeId::at(at?)
    }

    /// Returns every witness with its name.
    pub(super) fn witness_ids(&self) -> impl Iterator<Item = (NodeId, &str)> {
        (0..).map_while(NodeId::witness).zip(self.witnesses.iter().map(String::as_str))
    }

    /// Returns every node with its name.
    pub(super) fn node_ids(&self) -> impl Iterator<Item = (NodeId, &str)> {
        NodeId::all().zip(self.nodes.iter().map(|node| node.name.as_str()))
    }
}

pub(super) fn note_stranger<'a>(
    what: &str,
    name: &Spanned<&str>,
    known: impl Iterator<Item = &'a str> + Clone,
    mistakes: &mut Mistakes,
) {
    let all = known.clone().collect::<Vec<_>>().join(", ");
    let hint = did_you_mean(name.get_ref(), known).unwrap_or_else(|| match all.as_str() {
        "" => format!("add a `[[{what}]]` of this name"),
        all => format!("known are {all}"),
    });
    let shown = super::table::printable(name.get_ref());
    mistakes
        .add(name.span(), format!("there is no {what} \"{shown}\""))
        .label("unknown here")
        .hint(hint);
}

/// Names that must differ, with their places.
#[derive(Debug)]
pub(super) struct Names {
    what: &'static str,
    taken: Vec<Spanned<String>>,
}

impl Names {
    /// Starts with no name of a `what`.
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, taken: Vec::new() }
    }

    /// Reads the `name` of `table` and notes if it is taken. A table without a right name gets an
    /// empty one.
    pub(super) fn read(&mut self, table: &mut Table<'_>, mistakes: &mut Mistakes) -> String {
        let Some(name) = table.required("name", "\"..\"", mistakes, value::name) else {
            return String::new();
        };
        match self.taken.iter().find(|other| other.get_ref() == name.get_ref()) {
            Some(first) => {
                let what = self.what;
                mistakes
                    .add(name.span(), format!("{what} {:?} is there twice", name.get_ref()))
                    .label("the second")
                    .other(first.span(), "the first");
            }
            None => self.taken.push(name.clone()),
        }
        name.into_inner()
    }
}

/// Reads nodes, witnesses and links.
pub(super) fn read(top: &mut Table<'_>, mistakes: &mut Mistakes) -> Members {
    let mut names = Names::new("node or witness");
    let mut members = Members {
        nodes: Vec::new(),
        witnesses: Vec::new(),
        links: Vec::new(),
        addresses: Vec::new(),
        devices: Vec::new(),
    };
    for mut table in top.tables("node", MAX_NODES, mistakes) {
        let name = names.read(&mut table, mistakes);
        let votes = table.integer("votes", 0..=100, mistakes).map_or(1, Spanned::into_inner);
        let votes = u8::try_from(votes).unwrap_or(1);
        let fence = fence::read(&mut table, mistakes);
        members.nodes.push(Node { name, votes, fence });
        table.finish(mistakes);
    }
    if members.nodes.is_empty() {
        mistakes.add(top.span(), "the file has no `[[node]]`").hint("add one for each server");
    }
    for mut table in top.tables("witness", MAX_WITNESSES, mistakes) {
        members.witnesses.push(names.read(&mut table, mistakes));
        table.finish(mistakes);
    }
    link::read(top, &mut members, mistakes);
    fence::check_lines(&members.nodes, &members.links, mistakes);
    members
}
