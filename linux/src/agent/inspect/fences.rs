//! Whether a machine has the fence agents that its groups may need, and whether they know their
//! parameters.
//!
//! Looked at is what this node would run against others. An agent is asked for its metadata and for
//! nothing else.

use std::path::Path;

use lifesign_core::fence::{Deed, Manner};
use lifesign_core::group::Guard;
use lifesign_core::node::NodeId;

use super::{Inspector, Subject, check_parameters, deprecated};
use crate::agent::Parameter;
use crate::agent::fence::{Fence, Kind};
use crate::agent::metadata::Metadata;
use crate::executor::secret::first_line;
use crate::settings::Settings;

impl Inspector {
    /// Looks at what node `me` would run against others, if it may hold a group that waits for it.
    pub(super) fn look_at_fences(&mut self, settings: &mut Settings, me: NodeId) {
        let waits = |group: &crate::settings::Group| {
            group.guard == Guard::Fence && group.prefer.contains(&me)
        };
        if !settings.groups.iter().any(waits) {
            return;
        }
        for (_, node) in NodeId::all().zip(&mut settings.nodes).filter(|(id, _)| *id != me) {
            let name = format!("node {}", node.name);
            let levels: Vec<u8> = node.fence.iter().map(|fence| fence.level).collect();
            for fence in node.fence.iter_mut().filter(|fence| fence.kind != Kind::Dongle) {
                let is_together = levels.iter().filter(|level| **level == fence.level).count() > 1;
                fence.program = fence.kind.program();
                fence.tells = self.look_at_fence(fence, is_together, &name);
            }
        }
    }

    /// Looks at one agent and returns whether it can tell if the server has power. It `is_together`
    /// with others of its level.
    fn look_at_fence(&mut self, fence: &Fence, is_together: bool, name: &str) -> bool {
        let subject = subject(fence);
        let program = fence.program.display().to_string();
        if !self.is_there(&subject, &program) {
            return false;
        }
        for secret in &fence.secrets {
            if let Err(why) = first_line(Path::new(&secret.value)) {
                self.lacks_secret(secret, &why);
            }
        }
        let ask = || Metadata::ask_fence(&fence.kind, &program);
        let metadata = match self.known.entry(program.clone()).or_insert_with(ask) {
            Ok(metadata) => metadata.clone(),
            Err(why) => {
                let why = format!("its metadata cannot be had: {why}");
                self.lacks(&subject, &why, Some(format!("try `{program}` by hand")));
                return false;
            }
        };
        let told: Vec<&Parameter> = fence.parameters.iter().chain(&fence.secrets).collect();
        check_parameters(&subject, &told, &metadata, &mut self.mistakes);
        self.advice.extend(deprecated(&subject, &told, &metadata, name));
        self.check_deeds(fence, is_together, &metadata);
        if let Some((_, why)) = TRIALS.iter().find(|(kind, _)| *kind == fence.kind.to_string()) {
            self.advice.push(format!("{name}: {} {why}", fence.kind));
        }
        metadata.actions.iter().any(|action| action == "status")
    }

    /// Notes what the agent is wanted for and cannot do.
    fn check_deeds(&mut self, fence: &Fence, is_together: bool, metadata: &Metadata) {
        let kind = &fence.kind;
        if metadata.must_let_in {
            self.mistakes
                .add(fence.span.clone(), format!("{kind} must let a node in again that is back"))
                .label("lifesign does not do that")
                .hint("it keeps a node from its storage; use an agent that switches it off");
            return;
        }
        let deeds: &[Deed] = match (fence.manner, is_together) {
            (Manner::Reboot, false) => &[Deed::Reboot],
            (Manner::Reboot, true) => &[Deed::Off, Deed::On],
            (Manner::Off | Manner::Line, _) => &[Deed::Off],
        };
        let can = |word: &str| metadata.actions.iter().any(|action| action == word);
        let words = deeds.iter().filter_map(|deed| kind.word(*deed));
        for word in words.filter(|word| !can(word)) {
            let other = if fence.manner == Manner::Off { "reboot" } else { "off" };
            let known = metadata.actions.join(", ");
            let other_word = if other == "off" { Deed::Off } else { Deed::Reboot };
            let helps = kind.word(other_word).is_some_and(can) && !is_together;
            self.mistakes
                .add(fence.span.clone(), format!("{kind} cannot do `{word}`"))
                .label(format!("it can do {known}"))
                .maybe_hint(helps.then(|| format!("write action = \"{other}\"")));
        }
    }

    fn lacks_secret(&mut self, secret: &Parameter, why: &str) {
        match self.lack {
            super::Lack::Noted => self.advice.push(why.to_owned()),
            super::Lack::Refused => {
                let title = format!("`{}` cannot be read", secret.name);
                self.mistakes.add(secret.span.clone(), title).label(why);
            }
        }
    }
}

fn subject(fence: &Fence) -> Subject<'_> {
    let source = match &fence.kind {
        Kind::Rhcs(name) if !name.starts_with('/') => Some("install the package fence-agents"),
        Kind::External(name) if !name.starts_with('/') => Some("install the package cluster-glue"),
        Kind::Rhcs(_) | Kind::External(_) | Kind::Dongle => None,
    };
    Subject { name: fence.kind.to_string(), span: &fence.span, source: source.map(str::to_owned) }
}

/// Agents that may be tried and not relied upon, and why.
const TRIALS: [(&str, &str); 2] = [
    ("fence_dummy", "is for trials: it fences nobody"),
    ("external/ssh", "needs the node to be alive and to obey, which is not when it is needed"),
];

#[cfg(test)]
mod tests;
