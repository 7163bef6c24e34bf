//! Where groups are that follow others, or that are kept apart.

use lifesign_core::group::{Reason, Role};

use super::terms::Terms;
use super::verdict::Rule;
use crate::world::Micros;

/// A place that is wrong: which rule, on which host, which group, and what was seen.
pub(super) type Misplaced = (Rule, u8, u8, String);

/// What each server's process says of its groups.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// By server and group.
    roles: Vec<Vec<Role>>,
    /// When something was last said, as long as that was not judged.
    said: Option<Micros>,
    /// Who was held and is stopped in good order since then: server, group and why.
    parted: Vec<(u8, u8, Reason)>,
    /// What came up since then: server, group and when.
    risen: Vec<(u8, u8, Micros)>,
    /// How often each group was started since everything was repaired.
    starts: Vec<u32>,
}

impl Places {
    pub(super) fn new(terms: &Terms) -> Self {
        let roles = vec![Role::Idle; terms.groups.into()];
        Self {
            roles: vec![roles; terms.nodes.into()],
            said: None,
            parted: Vec::new(),
            risen: Vec::new(),
            starts: vec![0; terms.groups.into()],
        }
    }

    /// The process of a server has ended.
    pub(super) fn ended(&mut self, host: u8) {
        if let Some(roles) = self.roles.get_mut(usize::from(host)) {
            roles.fill(Role::Idle);
        }
        self.parted.retain(|(other, ..)| *other != host);
    }

    /// Everything was repaired: from here on it is counted how often groups start.
    pub(super) fn healed(&mut self) {
        self.starts.fill(0);
    }

    /// A server plays another part for a group.
    pub(super) fn role(&mut self, host: u8, group: u8, role: Role, reason: Reason, at: Micros) {
        let roles = self.roles.get_mut(usize::from(host));
        let Some(slot) = roles.and_then(|roles| roles.get_mut(usize::from(group))) else { return };
        let before = std::mem::replace(slot, role);
        let is_forced = matches!(reason, Reason::AuthorityLost | Reason::HeldBy(_));
        if matches!((before, role), (Role::Holding { .. }, Role::Stopping(_))) && !is_forced {
            self.parted.push((host, group, reason));
        }
        if let (Role::Starting(_), Some(count)) = (role, self.starts.get_mut(usize::from(group))) {
            *count += 1;
        }
        self.said = Some(at);
    }

    /// A server answers for a group for which it did not.
    pub(super) fn rises(&mut self, host: u8, group: u8, at: Micros) {
        self.risen.push((host, group, at));
    }

    /// Returns what has come up before `at`: server, group and when.
    pub(super) fn take_risen(&mut self, at: Micros) -> Vec<(u8, u8, Micros)> {
        let is_due = self.risen.first().is_some_and(|(.., when)| *when < at);
        if is_due { std::mem::take(&mut self.risen) } else { Vec::new() }
    }

    /// Returns how often `group` was started since everything was repaired.
    pub(super) fn starts(&self, group: u8) -> u32 {
        self.starts.get(usize::from(group)).copied().unwrap_or_default()
    }

    /// Returns what is wrong with what was said before `at`: all that is said at one moment counts
    /// as one.
    pub(super) fn judge(&mut self, terms: &Terms, at: Micros) -> Vec<Misplaced> {
        if self.said.is_none_or(|said| said >= at) {
            return Vec::new();
        }
        self.said = None;
        let mut wrong = Vec::new();
        for (host, roles) in (0..).zip(&self.roles) {
            let role = |group: u8| roles.get(usize::from(group)).copied().unwrap_or(Role::Idle);
            for (follower, leader) in &terms.with {
                let is_held = matches!(role(*leader), Role::Holding { .. });
                if role(*follower).needs_authority() && !is_held {
                    let what = format!(
                        "{host} has group {follower} started, and not group {leader}, which that \
                         follows"
                    );
                    wrong.push((Rule::Together, host, *follower, what));
                }
            }
            for (group, first) in &terms.apart {
                let (group, first) = (*group, *first);
                let runs = |one: u8, other| role(one).needs_authority() && role(other).is_up();
                if runs(group, first) || runs(first, group) {
                    let what = format!("{host} has groups {group} and {first} up, kept apart");
                    wrong.push((Rule::Apart, host, group, what));
                }
            }
        }
        for (host, leader, reason) in std::mem::take(&mut self.parted) {
            for (follower, _) in terms.with.iter().filter(|(_, of)| *of == leader) {
                let roles = self.roles.get(usize::from(host));
                let role = roles.and_then(|roles| roles.get(usize::from(*follower)));
                if role.is_some_and(|role| role.is_up() && !matches!(role, Role::Stuck(_))) {
                    let what = format!(
                        "{host} stops group {leader} ({reason:?}) before group {follower}, which \
                         follows it"
                    );
                    wrong.push((Rule::Together, host, leader, what));
                }
            }
        }
        wrong
    }
}
