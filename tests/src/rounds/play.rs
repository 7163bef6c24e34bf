//! How each kind of round is played.

use lifesign::demo::machine::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::kind::{Kind, Round};
use super::measure::{Figures, Ratio};
use super::scenery::{DISK, GROUPS, services_of};
use super::stage::{Outcome, Stage};
use crate::random::Random;

/// The longest that an accident is left alone before it is looked at, in milliseconds.
const A_WHILE_MS: u64 = 3_000;

impl Stage {
    /// Plays a round on a cluster that is whole, and leaves it whole.
    ///
    /// # Errors
    /// What was not as it was to be.
    pub fn play(&mut self, round: &Round, figures: &mut Figures) -> Result<(), String> {
        let mut random = round.random.clone();
        for group in 0..GROUPS.len() {
            let name = random.pick(self.shape.nodes());
            self.place(group, name)?;
        }
        self.settle("each group is where it was brought")?;
        self.set_loss(round.loss_ppm);
        self.play_kind(round.kind, &mut random, figures)?;
        self.set_loss(0);
        self.settle("all is whole in the end")
    }

    fn play_kind(&mut self, kind: Kind, random: &mut Random, figures: &mut Figures) -> Outcome {
        match kind {
            Kind::Flip => self.flip(random),
            Kind::Restart => self.restart(random),
            Kind::OneByOne => self.one_by_one(random),
            Kind::Together => self.together(random),
            Kind::Rolling => self.rolling(random),
            Kind::PartialStart => self.partial_start(random),
            Kind::Standby => self.standby(random),
            Kind::Split => self.split(random),
            Kind::RedundantPath => self.redundant_path(random),
            Kind::NearQuorum => self.near_quorum(random),
            Kind::Crash => self.lose_power(random),
            Kind::Stonith => self.stonith(random),
            Kind::Detection => self.detection(figures),
            Kind::Bandwidth => self.bandwidth(figures),
            Kind::ServiceFails => self.service_fails(random),
            Kind::ComponentFails => self.component_fails(random),
            Kind::Frozen => self.frozen(random),
            Kind::CablePulled => self.cable_pulled(random),
        }
    }

    fn flip(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(&self.members());
        self.stop(name)?;
        self.settle(&format!("{name} is stopped"))?;
        self.start(name);
        self.settle(&format!("{name} is started"))
    }

    fn restart(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(&self.members());
        self.stop(name)?;
        self.start(name);
        self.settle(&format!("{name} is restarted"))
    }

    fn one_by_one(&mut self, random: &mut Random) -> Outcome {
        for name in shuffled(self.members(), random) {
            self.stop(name)?;
            self.settle(&format!("{name} is stopped as the next one"))?;
        }
        for name in shuffled(self.members(), random) {
            self.start(name);
            self.settle(&format!("{name} is started as the next one"))?;
        }
        Ok(())
    }

    fn together(&mut self, random: &mut Random) -> Outcome {
        self.stop_together(&self.members())?;
        self.settle("all are stopped at once")?;
        for name in shuffled(self.members(), random) {
            self.start(name);
        }
        self.settle("all are started at once")
    }

    fn rolling(&mut self, random: &mut Random) -> Outcome {
        for name in shuffled(self.members(), random) {
            self.stop(name)?;
            self.start(name);
            self.settle(&format!("{name} is restarted as the next one"))?;
        }
        Ok(())
    }

    fn partial_start(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(self.shape.nodes());
        self.stop(name)?;
        self.start(name);
        self.wait(random.below(A_WHILE_MS))?;
        self.stop(name)?;
        self.settle(&format!("{name} is stopped while it starts"))?;
        self.start(name);
        self.settle(&format!("{name} is started after all"))
    }

    fn standby(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(self.shape.nodes());
        self.rest(name, true);
        self.settle(&format!("{name} is on standby"))?;
        self.rest(name, false);
        self.settle(&format!("{name} has taken everything"))?;
        for (group, word) in GROUPS.iter().enumerate() {
            let holder = self.holder(group)?;
            if holder != name {
                return Err(format!("{name} has taken over, and {holder} holds {word}"));
            }
        }
        Ok(())
    }

    fn split(&mut self, random: &mut Random) -> Outcome {
        let members = self.members();
        let ways: Vec<_> = members
            .iter()
            .enumerate()
            .flat_map(|(at, one)| members[at + 1..].iter().map(move |other| (*one, *other)))
            .collect();
        let drawn = 1 + random.below((1 << ways.len()) - 1);
        let mut cut = Vec::new();
        for (at, (one, other)) in ways.iter().enumerate() {
            if drawn >> at & 1 == 1 {
                self.cut(one, other);
                cut.push(format!("{one}-{other}"));
            }
        }
        let cut = cut.join(", ");
        self.settle(&format!("these do not hear each other: {cut}"))?;
        self.wait(random.below(A_WHILE_MS))?;
        self.settle(&format!("these have not heard each other for longer: {cut}"))?;
        self.heal();
        self.settle(&format!("these hear each other again: {cut}"))
    }

    fn redundant_path(&mut self, random: &mut Random) -> Outcome {
        // The first network is also the clients'; what its loss means is another round's business.
        let names = self.shape.nodes();
        let since_us = self.trial.lab().now_us();
        let from = random.pick(names);
        self.degrade(from);
        self.wait(A_WHILE_MS)?;
        self.settle(&format!("{from} is cut off on one of two networks"))?;
        let begun_us = self.trial.lab().now_us();
        while !self.trial.has_alert(from, "redundancy is lost") {
            self.give_up_after(begun_us, &format!("{from} tells that it is cut off there"))?;
        }
        self.heal();
        self.settle(&format!("{from} is back on both networks"))?;
        for (index, group) in GROUPS.iter().enumerate() {
            let record = self.trial.lab().switch().record(index).all;
            let late = record.spans().iter().filter(|span| span.last_us >= since_us);
            let mut servers: Vec<usize> = late.map(|span| span.server).collect();
            servers.dedup();
            if servers.len() != 1 {
                return Err(format!("{group} moved, and one of two networks was whole"));
            }
        }
        Ok(())
    }

    fn near_quorum(&mut self, random: &mut Random) -> Outcome {
        let members = self.members();
        let drawn = random.below(1 << members.len());
        let down: Vec<&'static str> = members
            .iter()
            .enumerate()
            .filter(|(at, _)| drawn >> at & 1 == 0)
            .map(|(_, name)| *name)
            .collect();
        self.stop_together(&down)?;
        self.settle(&format!("these are down: {down:?}"))?;
        self.wait(random.below(A_WHILE_MS))?;
        self.settle(&format!("these are down for longer: {down:?}"))?;
        for name in shuffled(down.clone(), random) {
            self.start(name);
        }
        self.settle(&format!("these are back: {down:?}"))
    }

    fn lose_power(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(&self.members());
        self.crash(name);
        self.settle(&format!("{name} has lost its power"))?;
        self.wait(random.below(A_WHILE_MS))?;
        self.start(name);
        self.settle(&format!("{name} has its power back"))
    }

    /// Lets whoever holds the group that is fenced for fall silent in one of three ways.
    fn stonith(&mut self, random: &mut Random) -> Outcome {
        let group = GROUPS.iter().position(|group| *group == DISK).unwrap_or(0);
        let name = self.holder(group)?;
        let others: Vec<_> = self.members().into_iter().filter(|it| *it != name).collect();
        let before = self.fences.len();
        let way = random.below(3);
        match way {
            0 => self.crash(name),
            1 => self.freeze(name),
            _ => others.iter().for_each(|other| self.cut(name, other)),
        }
        self.settle(&format!("{name}, which held {DISK}, is silent"))?;
        let fenced: Vec<_> = self.fences[before..].iter().map(|fence| fence.target).collect();
        if fenced != [name] {
            return Err(format!("{name} is to be fenced, once: {fenced:?}"));
        }
        match way {
            0 => self.start(name),
            1 => {}
            _ => self.heal(),
        }
        self.settle(&format!("{name}, which was fenced, is back"))
    }

    fn service_fails(&mut self, random: &mut Random) -> Outcome {
        let group = usize::try_from(random.below(GROUPS.len() as u64)).unwrap_or(0);
        let holder = self.holder(group)?;
        let service = random.pick(services_of(GROUPS[group]));
        let file = format!("{holder}.{}.{service}", GROUPS[group]);
        let found = self.process_of(holder, &file);
        let process = found.ok_or_else(|| format!("{file} does not run"))?;
        // Whoever was just killed may be there for a moment, and then is not looked at again.
        kill(Pid::from_raw(process), Signal::SIGKILL).map_err(|errno| errno.to_string())?;
        let begun_us = self.trial.lab().now_us();
        while self.process_of(holder, &file).is_none_or(|found| found == process) {
            self.give_up_after(begun_us, &format!("{file} is started again in its place"))?;
        }
        self.settle(&format!("{file} has died"))
    }

    /// Returns the process that waits at the pipe of a service.
    fn process_of(&mut self, node: &str, service: &str) -> Option<i32> {
        let machine = self.trial.cluster_mut().lab_mut().machine(node);
        let pipe = format!("{service}.pipe");
        machine.process_ids().ok()?.into_iter().find(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == pipe.as_bytes())
        })
    }

    fn component_fails(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(self.shape.nodes());
        let ids = self.daemon_processes(name);
        let id = random.pick(&ids);
        let at = ids.iter().position(|other| *other == id).unwrap_or(0);
        kill(Pid::from_raw(id), Signal::SIGKILL).map_err(|errno| errno.to_string())?;
        // What the others do about it may take a while: then the init system has its turn.
        self.wait(A_WHILE_MS)?;
        self.start_again(name);
        if self.daemon_processes(name).contains(&ids[0]) {
            // A daemon that has lost a helper goes on and says so; its operator restarts it.
            let begun_us = self.trial.lab().now_us();
            while !self.trial.has_alert(name, " is dead") {
                self.give_up_after(begun_us, &format!("{name} tells that process {at} is dead"))?;
            }
            self.stop(name)?;
            self.start(name);
        }
        self.settle(&format!("process {at} of {} of {name} was killed", ids.len()))
    }

    /// Returns the processes of the daemon of `name`, the daemon itself first.
    pub(super) fn daemon_processes(&mut self, name: &str) -> Vec<i32> {
        let program = self.trial.cluster().program().display().to_string();
        let daemon = self.trial.cluster().daemon(name).map_or(0, Process::id);
        let machine = self.trial.cluster_mut().lab_mut().machine(name);
        let mut ids = machine.process_ids().unwrap_or_default();
        ids.retain(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.starts_with(program.as_bytes())
        });
        ids.sort_unstable_by_key(|id| (*id != daemon, *id));
        ids
    }

    fn frozen(&mut self, random: &mut Random) -> Outcome {
        let name = random.pick(self.shape.nodes());
        self.freeze(name);
        self.settle(&format!("the daemon of {name} stands still"))?;
        self.wait(random.below(A_WHILE_MS))?;
        self.thaw(name);
        self.settle(&format!("the daemon of {name} goes on"))
    }

    fn cable_pulled(&mut self, random: &mut Random) -> Outcome {
        let group = usize::try_from(random.below(GROUPS.len() as u64)).unwrap_or(0);
        let name = self.holder(group)?;
        let carrier = |stage: &Self, up| {
            stage.trial.lab().set_carrier(name, 0, up).map_err(|error| error.to_string())
        };
        carrier(self, false)?;
        let begun_us = self.trial.lab().now_us();
        while self.trial.holder(group).is_none_or(|holder| holder == name) {
            self.demand_safety()?;
            let what = format!("{} leaves {name}, whose cable is pulled", GROUPS[group]);
            self.give_up_after(begun_us, &what)?;
        }
        carrier(self, true)?;
        self.settle(&format!("the cable of {name} is back"))
    }

    /// Lets the holder of the first group lose its power while a client counts.
    fn detection(&mut self, figures: &mut Figures) -> Outcome {
        let name = self.holder(0)?;
        let begun_us = self.trial.lab().now_us();
        // Whoever has just started promises nothing for a while, and would have to be waited for.
        while self.trial.status(name)["groups"][0]["voters"].to_string().contains("false") {
            self.give_up_after(begun_us, "every voter supports the holder")?;
        }
        let client = self.trial.client();
        self.wait(200)?;
        let begun_us = self.trial.lab().now_us();
        self.crash(name);
        self.settle(&format!("{name} has lost its power, and a client counts"))?;
        let outage_us = client.log().longest_outage_us(begun_us, self.trial.lab().now_us());
        drop(client);
        let stood_still = !self.gauge.stalls(begun_us).is_empty();
        let bound_ms = self.crash_bound_ms()?;
        let ratio = Ratio { found: outage_us as f64 / 1e3, bound: bound_ms };
        if ratio.of() > MOST_OF_BOUND {
            return Err(format!("a crash of the holder took {ratio}"));
        }
        if !stood_still {
            figures.detection.push(ratio);
        }
        self.start(name);
        self.settle(&format!("{name} has its power back"))
    }
}

/// How much more than its bound a failover may take on a machine that does other things: the bound
/// speaks of the clocks and the network, and not of processors.
const MOST_OF_BOUND: f64 = 2.0;

fn shuffled(mut names: Vec<&'static str>, random: &mut Random) -> Vec<&'static str> {
    for last in (1..names.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(0);
        names.swap(last, other);
    }
    names
}
