//! Signed questions and updates to a zone's primary name server, after RFC 2136 and RFC 8945.
//!
//! One datagram is sent, and again after longer and longer pauses, until its answer is there or
//! patience is over. What is not signed with our key, for what we asked, is no answer; only if
//! nothing better comes is it told.

use core::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::AdditionalBuilder;
use domain::base::name::ToName;
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, Rtype, Ttl};
use domain::rdata::tsig::Time48;
use domain::rdata::{A, Aaaa, Txt};
use domain::tsig::{ClientTransaction, Key, ValidationError};
use lifesign_core::time::{Duration, Instant};

use super::record::{Change, DomainName, Failure, Plan, Zone};
use super::secret;
use crate::clock;
use crate::settings::said;

/// After how long a datagram is sent again for the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest answer that is read, in bytes.
const ANSWER_LEN: usize = 4096;

/// A zone's primary name server.
pub struct Primary {
    plan: Plan,
    key: Arc<Key>,
    socket: UdpSocket,
    deadline: Instant,
}

/// Without the key.
impl fmt::Debug for Primary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Primary").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What came in place of an answer.
enum Noted {
    Nothing,
    /// The system's word, such as that nobody listens there.
    Call(io::Error),
    /// Something that is not signed with our key.
    Unsigned(String),
}

impl Primary {
    /// Reads the key and opens a socket. Patience with the server begins.
    ///
    /// # Errors
    /// Why that is not possible, in one line.
    pub fn open(plan: &Plan) -> Result<Self, String> {
        let key = Arc::new(secret::read(&plan.key_file)?);
        let any: IpAddr = match plan.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(plan.server)?;
            Ok(socket)
        });
        let socket =
            socket.map_err(|error| format!("name server {}: {}", plan.server, said(&error)))?;
        let deadline = clock::now() + plan.patience;
        Ok(Self { plan: plan.clone(), key, socket, deadline })
    }

    /// Asks for the records of `kind` at `name`, of this server and of no other.
    fn query(&self, name: &DomainName, kind: Rtype) -> Result<Message<Vec<u8>>, Failure> {
        let mut question = MessageBuilder::new_vec().question();
        question.header_mut().set_id(fresh_id());
        question.push((name, kind)).map_err(too_long)?;
        let answer = self.exchange(question.additional(), "a question")?;
        match answer.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN if answer.header().aa() => Ok(answer),
            Rcode::NOERROR | Rcode::NXDOMAIN => {
                let zone = &self.plan.zone;
                Err(self.no(&format!("it does not have the zone {zone}, and is not its primary")))
            }
            code => Err(self.no(&self.reason(code))),
        }
    }

    /// Signs and sends `message`, which is `what`, until it is answered.
    fn exchange(
        &self,
        mut message: AdditionalBuilder<Vec<u8>>,
        what: &str,
    ) -> Result<Message<Vec<u8>>, Failure> {
        let transaction =
            ClientTransaction::request(Arc::clone(&self.key), &mut message, wall_clock())
                .map_err(too_long)?;
        let message = message.finish();
        let mut pause = FIRST_PAUSE;
        let begun = clock::now();
        loop {
            let mut noted = Noted::Nothing;
            if let Err(error) = self.socket.send(&message) {
                noted = Noted::Call(error);
            }
            let until = self.deadline.min(clock::now() + pause);
            if let Some(answer) = self.await_answer(&transaction, &message, until, &mut noted) {
                return Ok(answer);
            }
            if let Noted::Unsigned(why) = noted {
                return Err(self.no(&why));
            }
            let now = clock::now();
            if now >= self.deadline {
                let why = match noted {
                    Noted::Call(error) => said(&error),
                    _ => format!("no answer to {what} within {}", now.since(begun)),
                };
                return Err(Failure::Silent(format!("name server {}: {why}", self.plan.server)));
            }
            pause = pause.times(2);
        }
    }

    fn await_answer(
        &self,
        transaction: &ClientTransaction<Arc<Key>>,
        request: &[u8],
        until: Instant,
        noted: &mut Noted,
    ) -> Option<Message<Vec<u8>>> {
        let mut buffer = [0; ANSWER_LEN];
        loop {
            let left = until.since(clock::now());
            if left == Duration::ZERO {
                return None;
            }
            let left = std::time::Duration::from_micros(left.as_micros());
            let received = self.socket.set_read_timeout(Some(left));
            match received.and_then(|()| self.socket.recv(&mut buffer)) {
                Ok(len) => {
                    let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                    let Ok(mut answer) = Message::from_octets(bytes) else { continue };
                    if request.get(..2) != Some(&answer.header().id().to_be_bytes()) {
                        continue;
                    }
                    match transaction.answer(&mut answer, wall_clock()) {
                        Ok(()) => return Some(answer),
                        Err(error) => *noted = Noted::Unsigned(self.distrust(error, &answer)),
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => {
                    // The next datagram may find somebody; this one does not.
                    *noted = Noted::Call(error);
                    std::thread::sleep(left);
                }
            }
        }
    }

    /// Says why an answer is not believed.
    fn distrust(&self, error: ValidationError, answer: &Message<Vec<u8>>) -> String {
        let name = self.key.name();
        match error {
            ValidationError::ServerBadKey => {
                format!("it knows no key {name}, or not for this (BADKEY)")
            }
            ValidationError::ServerBadSig => {
                format!("its key {name} has another secret than ours (BADSIG)")
            }
            ValidationError::ServerBadTime { .. } | ValidationError::BadTime => {
                "its clock and ours differ by more than five minutes (BADTIME)".to_owned()
            }
            ValidationError::ServerUnsigned if answer.header().rcode() != Rcode::NOERROR => {
                format!("{}, unsigned", self.reason(answer.header().rcode()))
            }
            error => format!("its answer is not believed: {error}"),
        }
    }

    /// Says what a code means.
    fn reason(&self, code: Rcode) -> String {
        let (zone, key) = (&self.plan.zone, self.key.name());
        match code {
            Rcode::REFUSED => format!("it does not let the key {key} change this (REFUSED)"),
            Rcode::NOTAUTH => format!("it is not the primary of the zone {zone} (NOTAUTH)"),
            Rcode::NOTZONE => format!("the name is not in the zone {zone} (NOTZONE)"),
            Rcode::SERVFAIL => "it has failed (SERVFAIL)".to_owned(),
            Rcode::FORMERR => "it does not understand this (FORMERR)".to_owned(),
            Rcode::NOTIMP => "it takes no updates (NOTIMP)".to_owned(),
            code => format!("it says {code}"),
        }
    }

    fn no(&self, why: &str) -> Failure {
        Failure::Said(format!("name server {}: {why}", self.plan.server))
    }
}

impl Zone for Primary {
    fn beside(&mut self) -> Result<Option<String>, Failure> {
        let beside = self.plan.beside.clone();
        let answer = self.query(&beside, Rtype::TXT)?;
        let mut texts = Vec::new();
        for record in answer.answer().map_err(|_| self.no(GARBLED))?.limit_to::<Txt<_>>() {
            let record = record.map_err(|_| self.no(GARBLED))?;
            if record.owner().name_eq(&beside) {
                let text: Vec<u8> = record.data().text();
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
        }
        match texts.as_slice() {
            [] => Ok(None),
            [text] => Ok(Some(text.clone())),
            _ => Err(self.no(&format!("there is more than one TXT record at {beside}"))),
        }
    }

    fn addresses(&mut self) -> Result<Vec<IpAddr>, Failure> {
        let name = self.plan.name.clone();
        let (has_v4, has_v6) = self.plan.kinds();
        let mut found = Vec::new();
        if has_v4 {
            let answer = self.query(&name, Rtype::A)?;
            for record in answer.answer().map_err(|_| self.no(GARBLED))?.limit_to::<A>() {
                let record = record.map_err(|_| self.no(GARBLED))?;
                found.push(IpAddr::V4(record.data().addr()));
            }
        }
        if has_v6 {
            let answer = self.query(&name, Rtype::AAAA)?;
            for record in answer.answer().map_err(|_| self.no(GARBLED))?.limit_to::<Aaaa>() {
                let record = record.map_err(|_| self.no(GARBLED))?;
                found.push(IpAddr::V6(record.data().addr()));
            }
        }
        Ok(found)
    }

    fn change(&mut self, change: &Change) -> Result<bool, Failure> {
        let message = update(&self.plan, change).map_err(too_long)?;
        let answer = self.exchange(message, "an update")?;
        match answer.header().rcode() {
            Rcode::NOERROR => Ok(true),
            Rcode::NXRRSET | Rcode::YXRRSET | Rcode::NXDOMAIN | Rcode::YXDOMAIN => Ok(false),
            code => Err(self.no(&self.reason(code))),
        }
    }
}

const GARBLED: &str = "its answer makes no sense";

/// Returns the update that makes `change`: the condition, then what is taken away and added.
fn update(
    plan: &Plan,
    change: &Change,
) -> Result<AdditionalBuilder<Vec<u8>>, domain::base::message_builder::PushError> {
    let mut zone = MessageBuilder::new_vec().question();
    zone.header_mut().set_id(fresh_id());
    zone.header_mut().set_opcode(Opcode::UPDATE);
    zone.push((&plan.zone, Rtype::SOA))?;
    let mut condition = zone.answer();
    let never = Ttl::from_secs(0);
    match &change.was {
        Some(text) => condition.push((&plan.beside, Class::IN, never, txt(text)))?,
        None => condition.push((&plan.beside, Class::NONE, never, nothing(Rtype::TXT)))?,
    }
    let mut updates = condition.authority();
    let (has_v4, has_v6) = plan.kinds();
    let kinds = [(has_v4, Rtype::A), (has_v6, Rtype::AAAA)];
    for (_, kind) in kinds.into_iter().filter(|(is_ours, _)| *is_ours) {
        updates.push((&plan.name, Class::ANY, never, nothing(kind)))?;
    }
    updates.push((&plan.beside, Class::ANY, never, nothing(Rtype::TXT)))?;
    let ttl = Ttl::from_secs(u32::try_from(plan.ttl.as_micros() / 1_000_000).unwrap_or(0));
    for ip in &change.addresses {
        match ip {
            IpAddr::V4(ip) => updates.push((&plan.name, Class::IN, ttl, A::new(*ip)))?,
            IpAddr::V6(ip) => updates.push((&plan.name, Class::IN, ttl, Aaaa::new(*ip)))?,
        }
    }
    updates.push((&plan.beside, Class::IN, never, txt(&change.becomes)))?;
    Ok(updates.additional())
}

/// Says that something is too long to be sent.
fn too_long(_: impl Sized) -> Failure {
    Failure::Said("the names are too long for a message".to_owned())
}

/// What stands in a record of `kind` that is named and not said.
fn nothing(kind: Rtype) -> UnknownRecordData<[u8; 0]> {
    UnknownRecordData::from_octets(kind, []).expect("nothing is not too long")
}

/// Returns a text, whose parts have 255 bytes at most.
fn txt(text: &str) -> Txt<Vec<u8>> {
    Txt::build_from_slice(text.as_bytes()).expect("a holder's name is not too long")
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Returns a number that nobody can guess, so that nobody can answer in the server's place.
fn fresh_id() -> u16 {
    let mut bytes = [0; 2];
    // Without it, the signature alone tells an answer from others.
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

/// Returns the time that signatures carry.
fn wall_clock() -> Time48 {
    Time48::from_u64(clock::wall_us() / 1_000_000)
}

#[cfg(test)]
mod tests;
