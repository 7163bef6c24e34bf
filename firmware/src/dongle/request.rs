//! Requests of people and servers, and what is answered.

use heapless::String;
use lifesign_core::dongle::{
    self, Info, Lock, MAX_MESSAGE_LEN, MAX_NAME_LEN, NotAMessage, NotProvisioned, PortInfo,
    Provision, Reply, Request, SEALED, Sealed, VERSION, What,
};
use lifesign_core::relay::{Origin, PortId, PortSet};
use lifesign_core::seal::TAG_LEN;

use super::desk::Desk;
use super::post::Post;

impl<
    const PORTS: usize,
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
> Desk<'_, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE>
{
    /// Takes in what is asked at `port`.
    pub(super) fn handle_request(&mut self, port: PortId, message: &[u8]) {
        let control = self.post.as_ref().map(|post| &post.control);
        let (request, sealed) = match dongle::decode::<Request>(message, control) {
            Ok(read) => read,
            // Sealed by a key that is not the present one, or forged.
            Err(NotAMessage::Key | NotAMessage::Tag) => match unsealed(message) {
                Some(request) => (request, Sealed::No),
                None => return self.count(port, |arrivals| &mut arrivals.refused),
            },
            Err(_) => return self.reply(port, &Reply::NotUnderstood, Sealed::No),
        };
        match request {
            Request::Info => {
                let info = self.info(port);
                self.reply(port, &Reply::Info(info), Sealed::No);
            }
            Request::Log { from } => {
                let log = self.ring.log(from);
                self.reply(port, &Reply::Log(log), Sealed::No);
            }
            Request::Echo { number, filler } => {
                self.reply(port, &Reply::Echo { number, filler }, Sealed::No);
            }
            Request::Provision(provision) => self.provision(port, provision, sealed),
            Request::Arm(_) | Request::Fire(_) => self.reset(port, &request, sealed),
        }
    }

    fn reset(&mut self, port: PortId, request: &Request, sealed: Sealed) {
        let nonce = self.draw();
        let post = self.post.as_mut().filter(|_| sealed == Sealed::Yes);
        let Some(post) = post else {
            self.alarm(port, What::Forged(port.number()));
            return;
        };
        if let Some((answer, what)) = post.handle_reset(port, request, nonce, self.now) {
            if let Some(what) = what {
                self.note(what);
            }
            self.reply(port, &Reply::Reset(answer), Sealed::Yes);
        }
    }

    fn lock(&self) -> Lock {
        match &self.post {
            None => Lock::Unprovisioned,
            Some(_) if self.pins.unlocked => Lock::Unlocked,
            Some(_) => Lock::Locked,
        }
    }

    fn provision(&mut self, port: PortId, provision: Provision, sealed: Sealed) {
        let Provision { challenge, settings } = provision;
        let verdict = if self.lock() == Lock::Locked && sealed == Sealed::No {
            Err(NotProvisioned::Locked)
        } else if challenge != self.challenge {
            Err(NotProvisioned::Challenge)
        } else {
            Post::<PORTS, MEMBERS, ECHOES, GROUPS>::check(&settings)
        };
        match verdict {
            // The answer comes when they are stored.
            Ok(()) => self.offered = Some((settings, port)),
            Err(wrong) => {
                self.note(What::NotProvisioned(wrong));
                self.reply(port, &Reply::Provisioned(Err(wrong)), Sealed::No);
            }
        }
    }

    fn info(&self, port: PortId) -> Info {
        let post = self.post.as_ref();
        let member = post.map(|post| (post.settings.cluster, post.settings.me));
        let named = post.map(|post| post.settings.ports.as_slice()).unwrap_or_default();
        let mut named = named.iter();
        let ports = PortId::all().zip(&self.arrivals).map(|(id, arrivals)| {
            let counters = self.relay.counters(id);
            let settings = named.next();
            PortInfo {
                name: settings.map(|port| port.name.clone()).unwrap_or_default(),
                resets: settings.and_then(|port| port.resets),
                received: arrivals.received,
                garbage: arrivals.garbage,
                refused: arrivals.refused,
                overruns: arrivals.overruns,
                sent: counters.sent,
                lost: counters.displaced.saturating_add(counters.dropped),
            }
        });
        let mut board: String<MAX_NAME_LEN> = String::new();
        let _room = board.push_str(self.board.name);
        Info {
            version: VERSION,
            firmware: crate::VERSION,
            board,
            port: port.number(),
            lock: self.lock(),
            challenge: self.challenge,
            member,
            longest_promise_ms: post.map_or(0, |post| post.settings.longest_promise_ms),
            promises: self.promises(),
            uptime: self.now,
            cause: self.board.cause,
            starts: self.starts.unwrap_or(0),
            boot: self.boot,
            limits: Self::LIMITS,
            hears: post.map(Post::hears).unwrap_or_default(),
            ports: ports.take(dongle::MAX_PORTS).collect(),
        }
    }

    /// Nodes, groups, and bytes in a frame.
    #[expect(clippy::cast_possible_truncation, reason = "all are small")]
    const LIMITS: (u8, u8, u16) = {
        assert!(MEMBERS < 256 && GROUPS < 256 && LINE < 65536, "limits are told in few bits");
        let mut len = LINE;
        while lifesign_core::stream::line_len(len) > LINE {
            len = len.saturating_sub(1);
        }
        (MEMBERS as u8, GROUPS as u8, len as u16)
    };

    /// Sends `reply` out of `port`.
    pub(super) fn reply(&mut self, port: PortId, reply: &Reply, sealed: Sealed) {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let control = self.post.as_ref().map(|post| &post.control);
        let len = match (sealed, control) {
            (Sealed::Yes, Some(control)) => dongle::seal(reply, control, &mut buffer),
            (Sealed::Yes | Sealed::No, _) => dongle::encode(reply, &mut buffer),
        };
        let message = len.and_then(|len| buffer.get(..len)).unwrap_or_default();
        // It has room: the longest reply of this dongle fits a slot.
        let _room = self.relay.send(Origin::Answer(port), message, PortSet::EMPTY.with(port));
    }
}

/// Returns what a message says whose seal is not right.
fn unsealed(message: &[u8]) -> Option<Request> {
    let [SEALED, _key, body @ ..] = message else { return None };
    let (body, _tag) = body.split_last_chunk::<TAG_LEN>()?;
    postcard::from_bytes(body).ok()
}
