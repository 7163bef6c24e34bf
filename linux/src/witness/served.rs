//! One cluster that a quorum server serves.

use std::collections::HashMap;

use lifesign_core::frame::{LinkClass, peek};
use lifesign_core::group::Token;
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, ClusterId, NodeId};
use lifesign_core::peer::{Accepted, Stale};
use lifesign_core::time::Instant;
use lifesign_core::witness::{Witness, WitnessConfig};

use super::watching::Told;
use super::way::{Place, Ways};
use super::{RETRY, WitnessError, refused};
use crate::executor::Executor;
use crate::executor::message::Request;
use crate::reservation::Reservation;
use crate::settings::key;
use crate::settings::safety::cluster_id;
use crate::settings::witness::{WitnessSettings, WitnessedCluster};

/// One cluster that is served.
pub(super) struct Served {
    pub(super) settings: WitnessedCluster,
    pub(super) witness: Witness,
    reservation: Reservation,
    /// What is being written, and when it is tried again if that failed.
    pub(super) reserving: Option<(Token, Option<Instant>)>,
    /// Whether something may have happened since those who watch were told.
    pub(super) is_touched: bool,
    pub(super) told: Told,
    /// Where each node is reached.
    pub(super) ways: HashMap<NodeId, Ways>,
}

impl Served {
    pub(super) fn new(
        settings: &WitnessSettings,
        cluster: &WitnessedCluster,
        now: Instant,
    ) -> Result<Self, WitnessError> {
        let keyring = key::load(&cluster.key_file, &cluster.name).map_err(refused)?;
        let reservation =
            Reservation::new(&settings.state_dir, &format!("witness-{}", cluster.name));
        let reserved = reservation.load().map_err(refused)?;
        let bits =
            getrandom::u64().map_err(|error| refused(format!("draw a random boot id: {error}")))?;
        let config = WitnessConfig {
            cluster: cluster_id(&cluster.name),
            me: cluster.witness,
            class: LinkClass::Udp,
            longest_promise: settings.longest_promise,
            heartbeat: cluster.heartbeat,
            dead: cluster.dead,
        };
        Ok(Self {
            settings: cluster.clone(),
            witness: Witness::new(&config, keyring, BootId::new(bits), reserved, now),
            reservation,
            reserving: None,
            ways: HashMap::new(),
            is_touched: true,
            told: Told::default(),
        })
    }

    pub(super) fn hear(&mut self, bytes: &[u8], place: Place, now: Instant) {
        let sender = peek(bytes).ok().map(|header| header.sender);
        let known = sender.and_then(|sender| self.ways.get(&sender)).cloned();
        let mut ways = known.unwrap_or_default();
        let (link, may_open) = ways.link(place, self.settings.dead, now);
        self.is_touched = true;
        let heard = self.witness.handle_frame(link, bytes, now);
        let is_taken = match (heard, sender) {
            (Ok(heard), _) => may_open || heard.accepted != Accepted::Copy,
            (Err(Rejected::Stale(Stale::NotFresh)), Some(sender)) => {
                self.witness.member().peers.session(sender).is_none()
            }
            (Err(_), _) => false,
        };
        if let Some(sender) = sender.filter(|_| is_taken) {
            ways.note(link, place, now);
            self.ways.insert(sender, ways);
        }
    }

    /// Returns where `node` is to be answered.
    pub(super) fn places(&self, node: NodeId, now: Instant) -> impl Iterator<Item = Place> {
        let ways = self.ways.get(&node).into_iter();
        ways.flat_map(move |ways| ways.live(self.settings.dead, now))
    }

    pub(super) fn reserve(&mut self, cluster: ClusterId, executor: &mut Executor, now: Instant) {
        let again = self.reserving.filter(|(_, due)| due.is_some_and(|due| now.has_reached(due)));
        let token = match self.witness.poll_reserve() {
            Some(token) => Some(token),
            None => again.map(|(token, _)| token),
        };
        let Some(token) = token else { return };
        let (path, contents) = self.reservation.file(token);
        let is_taken = executor.submit(&Request::Persist { id: cluster.0, path, contents }).is_ok();
        self.reserving = Some((token, if is_taken { None } else { Some(now + RETRY) }));
    }

    pub(super) fn due(&self) -> Instant {
        let retry = self.reserving.and_then(|(_, due)| due);
        retry.into_iter().fold(self.witness.poll_timeout(), Instant::min)
    }
}
