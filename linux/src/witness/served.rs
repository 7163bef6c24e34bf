//! One cluster that a quorum server serves.

use std::collections::HashMap;
use std::net::SocketAddr;

use lifesign_core::frame::{LinkClass, peek};
use lifesign_core::group::Token;
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::peer::Stale;
use lifesign_core::time::Instant;
use lifesign_core::witness::{Witness, WitnessConfig};

use super::watching::Told;
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
    /// Over which socket each node is reached, and where.
    pub(super) ways: HashMap<NodeId, (usize, SocketAddr)>,
    /// Whether something may have happened since those who watch were told.
    pub(super) is_touched: bool,
    pub(super) told: Told,
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

    pub(super) fn hear(&mut self, bytes: &[u8], way: (usize, SocketAddr), now: Instant) {
        let Some(link) = LinkId::new(0) else { return };
        self.is_touched = true;
        let heard = self.witness.handle_frame(link, bytes, now);
        let sender = match heard {
            Ok(heard) => Some(heard.from),
            Err(Rejected::Stale(Stale::NotFresh)) => peek(bytes).ok().map(|header| header.sender),
            Err(_) => None,
        };
        let Some(sender) = sender else { return };
        if heard.is_ok() || self.witness.member().peers.session(sender).is_none() {
            self.ways.insert(sender, way);
        }
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
