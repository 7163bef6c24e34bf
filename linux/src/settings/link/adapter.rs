//! The adapter of a link on each node: one name for all, or a table.

use toml::Spanned;
use toml::de::DeValue;

use crate::settings::members::Members;
use crate::settings::mistake::Mistakes;
use crate::settings::table::{Table, parsed_of};
use crate::settings::value;

/// Returns the adapter of each node, an empty name where it is wrong.
pub(super) fn read(
    table: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Vec<String> {
    let mut adapters = vec![String::new(); members.nodes.len()];
    match table.value("adapter").map(Spanned::get_ref) {
        None => table.missing("adapter", "\"eth0\"", mistakes),
        Some(DeValue::Table(_)) => {
            let Some(named) = table.table("adapter", mistakes) else { return adapters };
            for (name, text) in named.named_texts(mistakes) {
                let node = members.node(&name, mistakes);
                let adapter = parsed_of(&text, "adapter", mistakes, value::adapter);
                if let (Some(node), Some(adapter)) = (node, adapter) {
                    adapters[node.index()] = adapter.into_inner();
                }
            }
            let named_nodes = named.named_texts(&mut Mistakes::new("", ""));
            for (_, node) in members.node_ids().filter(|(_, node)| !node.is_empty()) {
                if !named_nodes.iter().any(|(name, _)| *name.get_ref() == node) {
                    mistakes
                        .add(named.span(), format!("no adapter for node {node:?}"))
                        .hint(format!("add `{node} = \"eth0\"`"));
                }
            }
        }
        Some(_) => {
            if let Some(adapter) = table.parsed("adapter", mistakes, value::adapter) {
                adapters.fill(adapter.into_inner());
            }
        }
    }
    adapters
}
