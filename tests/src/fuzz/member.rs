//! A server and two witnesses, whatever rightly tagged frames say.

use lifesign_core::config::{Config, Timing};
use lifesign_core::engine::{Condition, Engine, Event};
use lifesign_core::frame::{self, Body, Echo, Header, LinkClass, MAX_FRAME_LEN};
use lifesign_core::group::{Failback, GroupConfig, GroupId, GroupSet, Guard, Role, Token};
use lifesign_core::node::{BootId, ClusterId, LinkId, LinkSet, NodeId, NodeSet};
use lifesign_core::quorum::{Module, Quorum};
use lifesign_core::seal::KeyId;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::{Witness, WitnessConfig};

use super::frame::{CLUSTER, KEYRINGS, KEYS};
use super::kept::{demand_kept, demand_one_side, demand_untouched};
use super::script::{Bytes, Step, frame_around, frame_of, steps};

/// Runs a server, a witness of full size and a small one through steps: frames with a right tag
/// and with honest, odd and any bodies, noise, time, orders, and what a shell reports. The first
/// byte says whether there are two servers and a witness, or three servers.
///
/// # Panics
/// If one of these is not so:
///
/// - A frame that is not taken in changes counters and what is echoed, and nothing else.
/// - A promise that lives goes to nobody else, unless a frame of its holder or an order here frees
///   it; it never becomes shorter, nor longer than this voter promises; none is made too soon after
///   the start, nor beyond the tokens that are saved.
/// - A server holds nothing without support of a quorum that is fresh enough, claims under tokens
///   that grow, and says in its frames no more than it is.
/// - A witness promises to its favoured side alone, and favours nobody while others are promised.
/// - When all that is due is done, each waits for a later moment.
pub fn member(input: &[u8]) {
    let Some((form, script)) = input.split_first() else { return };
    let mut bench = Bench::new(form & 1 == 0, form & 2 == 0);
    for step in steps(script) {
        bench.take(step);
        bench.settle();
    }
}

type SmallWitness = Witness<4, 6, 8, 2>;

struct Bench {
    engine: Box<Engine>,
    witness: Box<Witness>,
    small: Box<SmallWitness>,
    now: Instant,
    sequence: u64,
    /// The newest frame of each of the three.
    newest: [u64; 3],
    /// The last token that the server has claimed under, for each group, and whether that claim is
    /// over.
    claimed: [(Token, bool); 2],
    keyring: usize,
}

const PROMISE: Duration = Duration::from_millis(50);
const AUTHORITY: Duration = Duration::from_millis(30);
const DIGEST: u32 = 0x0403_0201;
const BOOTS: [u64; 3] = [101, 102, 103];

const fn link(number: u8) -> LinkId {
    match LinkId::new(number) {
        Some(link) => link,
        None => panic!("there are two links"),
    }
}

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a number of a node")
}

fn config(has_witness: bool, fails_back: bool) -> Config {
    let (votes, witnesses, chain): (&[u8], u8, &[Module]) = if has_witness {
        (&[1, 1], 1, &[Module::Majority, Module::Witness])
    } else {
        (&[1, 1, 1], 0, &[Module::Majority])
    };
    let quorum = Quorum::new(votes, witnesses, chain, false).expect("a quorum of these");
    let after = Failback::After(Duration::from_millis(20));
    let group = |guard| GroupConfig {
        guard,
        promise: PROMISE,
        authority: AUTHORITY,
        order: quorum.nodes().iter().collect(),
        failback: if fails_back { after } else { Failback::Off },
        with: None,
        apart: GroupSet::EMPTY,
    };
    let millis = Duration::from_millis;
    Config::new(Config {
        cluster: ClusterId(CLUSTER),
        me: node(0),
        links: [LinkClass::Udp, LinkClass::Udp].into_iter().collect(),
        timing: Timing {
            heartbeat: millis(10),
            dead: millis(30),
            longest_promise: PROMISE,
            settle: millis(20),
            dispute: millis(50),
            offer: millis(20),
        },
        groups: [group(Guard::Address), group(Guard::Fence)].into_iter().collect(),
        digest: DIGEST,
        quorum: quorum.clone(),
    })
    .expect("settings without a contradiction")
}

fn witness_config(number: u8) -> WitnessConfig {
    WitnessConfig {
        cluster: ClusterId(CLUSTER),
        me: NodeId::witness(number).expect("one of three"),
        class: LinkClass::Udp,
        longest_promise: PROMISE,
        heartbeat: Duration::from_millis(10),
        dead: Duration::from_millis(30),
    }
}

impl Bench {
    fn new(has_witness: bool, fails_back: bool) -> Self {
        let [one, two, three] = BOOTS.map(BootId::new);
        let (now, keyring) = (Instant::ZERO, &KEYRINGS[0]);
        let config = config(has_witness, fails_back);
        Self {
            engine: Box::new(Engine::new(config, keyring.clone(), one, Token(0), now)),
            witness: Box::new(Witness::new(
                &witness_config(0),
                keyring.clone(),
                two,
                Token(1000),
                now,
            )),
            small: Box::new(Witness::new(
                &witness_config(1),
                keyring.clone(),
                three,
                Token(0),
                now,
            )),
            now,
            sequence: 0,
            newest: [0; 3],
            claimed: [(Token(0), true); 2],
            keyring: 0,
        }
    }

    fn take(&mut self, mut step: Step<'_>) {
        match step.what & 15 {
            0..=4 => {
                let header = self.header(step.what, &mut step.bytes);
                let body = self.body(&mut step.bytes);
                self.hear(&frame_of(&header, &body), link(step.what >> 7));
            }
            5 | 6 => {
                let mut header = self.header(step.what, &mut step.bytes);
                header.sequence = u64::from(step.bytes.word());
                header.sender = step.bytes.node();
                let body = step.bytes.body(None, DIGEST.to_le_bytes());
                self.hear(&frame_of(&header, &body), link(step.what >> 7));
            }
            7 => {
                let header = self.header(step.what, &mut step.bytes);
                self.hear(&frame_around(&header, step.bytes.0), link(step.what >> 7));
            }
            8 => self.hear(step.bytes.0, link(0)),
            9..=11 => {
                let millis =
                    u64::from(step.bytes.word()) % if step.what & 1 == 1 { 12 } else { 90 };
                self.now = self.now + Duration::from_millis(millis);
                self.pass_time();
            }
            what => self.order(what, &mut step.bytes),
        }
    }

    /// Returns the header of a frame that is the sender's next.
    fn header(&mut self, what: u8, bytes: &mut Bytes<'_>) -> Header {
        let who = bytes.byte();
        self.sequence += 1;
        Header {
            class: LinkClass::Udp,
            link: link(what >> 7),
            sender: node([1, 2, 16, 1][usize::from(who & 3)]),
            key: KeyId(KEYS[0]),
            cluster: ClusterId(CLUSTER),
            boot: BootId::new(u64::from(who >> 7)),
            sequence: self.sequence,
        }
    }

    /// Returns a body that echoes what all three have sent last, or a little before.
    fn body(&self, bytes: &mut Bytes<'_>) -> Body {
        let back = u64::from(bytes.byte() & 15);
        let echo = |number, at: usize| Echo {
            node: node(number),
            boot: BootId::new(BOOTS[at]),
            sequence: self.newest[at].saturating_sub(back),
            links: LinkSet::first(2),
        };
        let mut body = bytes.body(Some(echo(0, 0)), DIGEST.to_le_bytes());
        for echo in [echo(16, 1), echo(17, 2)] {
            if body.echo_of(echo.node).is_none() {
                let _room = body.echoes.push(echo);
            }
        }
        body
    }

    fn hear(&mut self, bytes: &[u8], link: LinkId) {
        let sender = frame::peek(bytes).ok().map(|header| header.sender);
        let now = self.now;
        let mut before = self.engine.clone();
        before.check_authority(now);
        let heard = self.engine.handle_frame(link, bytes, now);
        if let Err(rejected) = heard {
            demand_untouched(&before, &self.engine, rejected);
        }
        demand_kept(before.member(), self.engine.member(), sender, now);
        let before = self.witness.clone();
        let _heard = self.witness.handle_frame(link, bytes, now);
        demand_kept(before.member(), self.witness.member(), sender, now);
        demand_one_side(&before, &self.witness, now);
        let before = self.small.clone();
        let _heard = self.small.handle_frame(link, bytes, now);
        demand_kept(before.member(), self.small.member(), sender, now);
        demand_one_side(&before, &self.small, now);
    }

    fn pass_time(&mut self) {
        let now = self.now;
        let before = self.engine.clone();
        self.engine.handle_timeout(now);
        let me = Some(node(0));
        demand_kept(before.member(), self.engine.member(), me, now);
        let before = self.witness.clone();
        self.witness.handle_timeout(now);
        demand_kept(before.member(), self.witness.member(), None, now);
        demand_one_side(&before, &self.witness, now);
        let before = self.small.clone();
        self.small.handle_timeout(now);
        demand_kept(before.member(), self.small.member(), None, now);
        demand_one_side(&before, &self.small, now);
    }

    fn order(&mut self, what: u8, bytes: &mut Bytes<'_>) {
        let (how, number) = (bytes.byte(), bytes.byte());
        let group = GroupId::new(number % 3).expect("a number of a group");
        let of = (number & 0x80 == 0).then_some(group);
        let (now, before) = (self.now, self.engine.clone());
        let is_yes = number & 0x40 == 0;
        let engine = &mut self.engine;
        match (what & 15, how & 7) {
            (12, 0) => engine.handle_standby(of, now),
            (12, 1 | 2) => engine.handle_takeover(of, now),
            (12, 3) => engine.handle_leave(now),
            (12, 4) => engine.handle_failed(group, now),
            (12, 5) => engine.handle_able(group, is_yes, now),
            (12, _) => engine.check_authority(now),
            (13, how) if how & 1 == 0 => engine.handle_started(group, is_yes, now),
            (13, _) => engine.handle_stopped(group, is_yes, now),
            (14, how) => {
                let boot = (how & 1 == 0).then(|| BootId::new(u64::from(how >> 1)));
                engine.handle_fenced(node(number % 20 % 19), boot, now);
            }
            _ => {
                self.keyring = usize::from(how & 1);
                engine.set_keyring(KEYRINGS[self.keyring].clone());
                let saved = Token(u32::from(number) * 16);
                self.witness.handle_reserved(saved, now);
                self.small.handle_reserved(saved, now);
            }
        }
        demand_kept(before.member(), self.engine.member(), Some(node(0)), now);
    }

    /// Lets all three say what they have to say, and looks at them.
    fn settle(&mut self) {
        let now = self.now;
        self.engine.handle_timeout(now);
        self.drain_events();
        let mut buffer = [0; MAX_FRAME_LEN];
        let mut count = 0;
        while let Some(sent) = self.engine.poll_transmit(now, &mut buffer) {
            self.newest[0] = self.judge_frame(&buffer[..sent.len]);
            count += 1;
            assert!(count < 40, "it speaks without end");
        }
        self.judge_roles();
        self.witness.handle_timeout(now);
        self.small.handle_timeout(now);
        if let Some(token) = self.small.poll_reserve() {
            self.small.handle_reserved(token, now);
        }
        let newest = &mut self.newest;
        for _ in 0..40 {
            let one = self.witness.poll_transmit(now, &mut buffer).map(|sent| sent.len);
            newest[1] = one.map_or(newest[1], |len| sequence(&buffer[..len]));
            let other = self.small.poll_transmit(now, &mut buffer).map(|sent| sent.len);
            newest[2] = other.map_or(newest[2], |len| sequence(&buffer[..len]));
            if one.or(other).is_none() {
                break;
            }
        }
        assert!(self.witness.poll_transmit(now, &mut buffer).is_none(), "it speaks without end");
        let next =
            [self.engine.poll_timeout(), self.witness.poll_timeout(), self.small.poll_timeout()];
        assert!(next.iter().all(|next| *next > now), "no rest at {now:?}: {next:?}");
    }

    fn drain_events(&mut self) {
        let mut count = 0;
        while let Some(event) = self.engine.poll_event() {
            count += 1;
            assert!(count < 100, "it tells without end: {event:?}");
            match event {
                Event::Reserve(token) => self.engine.handle_reserved(token, self.now),
                Event::Peer { node, condition } => {
                    let session = self.engine.member().peers.session(node);
                    let is_alive = matches!(condition, Condition::Alive(_));
                    assert_eq!(session.is_some(), is_alive, "{node:?}: {condition:?}");
                }
                Event::Group { group, role: Role::Claiming(claim), .. } => {
                    let (last, is_over) = &mut self.claimed[group.index()];
                    let is_larger = claim.token > *last || !*is_over && claim.token == *last;
                    assert!(is_larger, "{:?} after {last:?}", claim.token);
                    (*last, *is_over) = (claim.token, false);
                }
                Event::Group { group, .. } => self.claimed[group.index()].1 = true,
                _ => {}
            }
        }
    }

    /// Looks at a frame that the server has sent, and returns its number.
    fn judge_frame(&self, bytes: &[u8]) -> u64 {
        let read = frame::decode(bytes, ClusterId(CLUSTER), &KEYRINGS[self.keyring]);
        let (header, body): (Header, Body) = read.expect("what is sent can be read");
        assert_eq!((header.sender, header.boot), (node(0), BootId::new(BOOTS[0])));
        for (group, state) in self.groups() {
            let want = body.want(group);
            assert_eq!(want.map(|want| want.token), state.token(), "{want:?} of {state:?}");
            let is_told = want.is_some_and(|want| want.phase.is_held());
            assert_eq!(is_told, state.is_up(), "{want:?} of {state:?}");
        }
        header.sequence
    }

    fn judge_roles(&self) {
        let (quorum, now) = (&self.engine.config().quorum, self.engine.now());
        let member = self.engine.member();
        for (group, role) in self.groups() {
            let support = self.engine.group(group).expect("a group of two").support();
            let supports = |voter: &NodeId| match voter.number() {
                0 => member.voter.promise(group, now).is_some_and(|own| own.to.node == *voter),
                _ => support.of(*voter).is_some_and(|sent| now.since(sent) < AUTHORITY),
            };
            if role.needs_authority() {
                let voters: NodeSet = quorum.members().iter().filter(supports).collect();
                assert!(quorum.is_met_by(voters), "{role:?} by the word of {voters:?}");
            }
            let saved = member.voter.saved();
            assert!(role.token().is_none_or(|token| token <= saved), "{role:?} beyond {saved:?}");
        }
    }

    fn groups(&self) -> impl Iterator<Item = (GroupId, Role)> {
        let groups = GroupId::all().take(2);
        groups.filter_map(|group| Some((group, self.engine.group(group)?.role())))
    }
}

fn sequence(bytes: &[u8]) -> u64 {
    frame::peek(bytes).expect("what is sent has a header").sequence
}
