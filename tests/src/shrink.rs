//! Makes a plan small that shows a fault, so that a reader sees what it takes.

use lifesign_core::group::Failback;

use crate::fault::Fault;
use crate::plan::Plan;
use crate::world::{Micros, Setup};

/// Makes `plan` small while `shows` says that it still shows the same. Gives up after `tries`
/// looks and returns what it has.
#[must_use]
pub fn shrink(plan: &Plan, tries: usize, shows: impl FnMut(&Plan) -> bool) -> Plan {
    let mut shrinking = Shrinking { plan: plan.clone(), tries, shows };
    loop {
        let before = shrinking.plan.clone();
        shrinking.drop_steps();
        shrinking.simplify_setup();
        shrinking.shorten_spans();
        shrinking.close_gaps();
        if shrinking.plan == before || shrinking.tries == 0 {
            return shrinking.plan;
        }
    }
}

struct Shrinking<F> {
    plan: Plan,
    tries: usize,
    shows: F,
}

impl<F: FnMut(&Plan) -> bool> Shrinking<F> {
    /// Takes `plan` if it shows the same.
    fn take(&mut self, plan: Plan) -> bool {
        if self.tries == 0 || plan == self.plan {
            return false;
        }
        self.tries -= 1;
        let shows = (self.shows)(&plan);
        if shows {
            self.plan = plan;
        }
        shows
    }

    /// Leaves out half of the steps, then quarters, down to one after the other.
    fn drop_steps(&mut self) {
        let mut count = self.plan.steps.len();
        while count > 0 {
            let mut at = 0;
            while at < self.plan.steps.len() {
                let mut plan = self.plan.clone();
                plan.steps.drain(at..(at + count).min(plan.steps.len()));
                if !self.take(plan) {
                    at += count;
                }
            }
            count /= 2;
        }
    }

    fn simplify_setup(&mut self) {
        let changes: [fn(&mut Setup); 11] = [
            |setup| setup.with.clear(),
            |setup| setup.apart.clear(),
            |setup| setup.groups = 1,
            |setup| setup.links = setup.links.min(1),
            |setup| setup.failback = Failback::Off,
            |setup| setup.start_us = 1,
            |setup| setup.witnesses = setup.witnesses.min(1),
            |setup| setup.nodes = if setup.witnesses == 0 { 3 } else { 2 },
            |setup| setup.wiring = None,
            |setup| setup.baud = 460_800,
            |setup| setup.witness_error = setup.clock_error,
        ];
        for change in changes {
            let mut plan = self.plan.clone();
            change(&mut plan.setup);
            // Groups that are gone are followed by nobody.
            let groups = plan.setup.groups;
            let are_left = |(one, other): &(u8, u8)| *one.max(other) < groups;
            plan.setup.with.retain(are_left);
            plan.setup.apart.retain(are_left);
            // With no serial line left, a dongle or a lone link would be nothing.
            if plan.setup.wiring.is_none() {
                plan.setup.links = plan.setup.links.max(1);
            }
            if plan.setup.nodes <= self.plan.setup.nodes {
                self.take(plan);
            }
        }
    }

    /// Halves the spans that faults last.
    fn shorten_spans(&mut self) {
        for at in 0..self.plan.steps.len() {
            loop {
                let mut plan = self.plan.clone();
                let halved = plan.steps.get_mut(at).is_some_and(|(_, fault)| halve(fault));
                if !halved || !self.take(plan) {
                    break;
                }
            }
        }
    }

    /// Moves what follows a gap nearer, and heals earlier.
    fn close_gaps(&mut self) {
        for at in 0..=self.plan.steps.len() {
            loop {
                let mut plan = self.plan.clone();
                let before = at.checked_sub(1).map_or(0, |last| plan.steps[last].0);
                let next = plan.steps.get(at).map_or(plan.heals_at, |step| step.0);
                let gap = next.saturating_sub(before);
                if gap < 1000 {
                    break;
                }
                let nearer = gap / 2;
                plan.steps.iter_mut().skip(at).for_each(|step| step.0 -= nearer);
                plan.heals_at -= nearer;
                if !self.take(plan) {
                    break;
                }
            }
        }
    }
}

/// Halves the span of a fault; returns whether there is one to halve.
fn halve(fault: &mut Fault) -> bool {
    let span: &mut Micros = match fault {
        Fault::Pause { span, .. }
        | Fault::Freeze { span, .. }
        | Fault::Suspend { span, .. }
        | Fault::SaveFails { span, .. }
        | Fault::SaveSlow { span, .. }
        | Fault::HoldBack { span, .. }
        | Fault::Reflect { span, .. }
        | Fault::Reorder { span, .. }
        | Fault::Delay { jitter: span, .. } => span,
        _ => return false,
    };
    let can = *span >= 1000;
    *span /= 2;
    can
}
