//! The power switch of the laboratory, and who asked it for what.
//!
//! Each server is fenced by an agent like those of Pacemaker. It asks by a file, and ends when the
//! file is gone: by then everything on the machine is dead and its cables are pulled. A machine
//! whose power was on starts again.

use std::fs;

use super::scenery::{DISK, GROUPS, Shape};
use super::stage::{Outcome, Stage};
use super::view::State;

/// A fence that was asked for, and done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) asker: &'static str,
    pub(super) target: &'static str,
    /// When it was done, by the boot clock.
    pub(super) at_us: u64,
}

/// How long it may take until a member that can be heard again is heard, in microseconds.
const HEARD_US: u64 = 500_000;

/// What stands in the settings of each server.
pub(super) const TABLE: &str = "[[node.fence]]\nagent = \"DIRECTORY/fence_lab\"\n";

/// The agent. It names itself by its number outside of its machine, and says when it began.
pub(super) const AGENT: &str = "#!/bin/sh
while IFS== read -r key value; do
    case $key in action) action=$value ;; nodename) node=$value ;; esac
done
case $action in
metadata) cat <<END
<resource-agent name=\"lab\"><parameters/><actions><action name=\"on\" automatic=\"0\"/>
<action name=\"off\"/><action name=\"reboot\"/><action name=\"status\"/><action name=\"monitor\"/>
</actions></resource-agent>
END
;;
reboot)
    read -r up rest </proc/uptime
    read -r me rest </proc/self/stat
    ask=DIRECTORY/fences/$me
    echo \"$node $up\" >$ask.new && mv $ask.new $ask
    while [ -e $ask ]; do sleep 0.02; done ;;
*) exit 1 ;;
esac
";

impl Stage {
    /// Does what agents have asked for since the last call, if it is due.
    ///
    /// # Errors
    /// Somebody is fenced who is not to be.
    pub(super) fn serve_fences(&mut self) -> Outcome {
        let place = self.trial.cluster().directory().join("fences");
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Some(agent) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let text = fs::read_to_string(&path).unwrap_or_default();
            let asker = self.machine_of(agent);
            let done = match (asker, asked(self.shape, &text)) {
                // It has been ended meanwhile, as somebody is back.
                (None, Some(_)) => Ok(()),
                (Some(asker), Some((target, at_us))) => self.serve_fence(asker, target, at_us),
                (_, None) => Err(format!("the agent asks for {text:?}")),
            };
            // The agent waits for this.
            drop(fs::remove_file(path));
            done?;
        }
        Ok(())
    }

    fn serve_fence(&mut self, asker: &'static str, target: &'static str, at_us: u64) -> Outcome {
        // Who is heard again is known after a few heartbeats.
        let before = self.view_at(at_us.saturating_sub(HEARD_US)).objection(asker, target, at_us);
        let objection = self.view_at(at_us).objection(asker, target, at_us);
        if let Some(why) = before.and(objection) {
            return Err(format!("{asker} has {target} fenced, and {why}"));
        }
        self.note_deed(format!("{target} is fenced for {asker}"));
        let had_power = matches!(self.state(target), State::Up | State::Frozen);
        self.crash(target);
        self.change(|view| view.note_fenced(asker, target));
        self.fences.push(Fence { asker, target, at_us: self.trial.lab().now_us() });
        if had_power {
            self.start(target);
        }
        Ok(())
    }

    /// Returns the server on whose machine a process runs.
    fn machine_of(&mut self, process: i32) -> Option<&'static str> {
        let lab = self.trial.cluster_mut().lab_mut();
        let runs =
            |name: &&&str| lab.machine(name).process_ids().is_ok_and(|ids| ids.contains(&process));
        self.shape.nodes().iter().find(runs).copied()
    }

    /// Says if the holder of the group that is fenced for took it without a fence that it needed.
    pub(super) fn audit_fences(&mut self, holder: Option<&'static str>) -> Option<String> {
        self.change(|view| view.holder = holder);
        let holder = holder?;
        let at = GROUPS.iter().position(|group| *group == DISK)?;
        let token = self.trial.status(holder)["groups"][at]["token"].as_u64()?;
        let (before, since_us) = self.audited.replace((token, self.trial.lab().now_us()))?;
        if before == token {
            return None;
        }
        let view = self.view();
        let is_fenced = |other: &str| {
            let of = |it: &Fence| it.asker == holder && it.target == other && it.at_us >= since_us;
            view.is_fenced(holder, other) || self.fences.iter().any(of)
        };
        let could = |other: &&&'static str| **other != holder && view.could_hold(holder, other);
        let other = self.shape.nodes().iter().filter(could).find(|other| !is_fenced(other))?;
        Some(format!(
            "{DISK}: {holder} has taken it, while {other} is {:?} and was not fenced",
            view.state(other)
        ))
    }
}

/// Reads what an agent has written: whom it is to fence, and when it began, by the boot clock.
fn asked(shape: Shape, text: &str) -> Option<(&'static str, u64)> {
    let (target, up) = text.trim().split_once(' ')?;
    let target = shape.nodes().iter().find(|name| **name == target)?;
    let (seconds, hundredths) = up.split_once('.')?;
    let at_us = seconds.parse::<u64>().ok()? * 1_000_000 + hundredths.parse::<u64>().ok()? * 10_000;
    Some((target, at_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_asks_for_is_read_with_its_time() {
        assert_eq!(asked(Shape::Pair, "beta 61.25\n"), Some(("beta", 61_250_000)));
        for wrong in ["", "beta", "gamma 61.25", "beta 61", "beta x.25"] {
            assert_eq!(asked(Shape::Pair, wrong), None, "{wrong}");
        }
    }
}
