//! Nodes of a test: a link each, on devices in a directory of the test's own.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use lifesign::link::serial::SerialSpec;
use lifesign::link::{Link, LinkSpec, Source, Specification, Verdict};
use lifesign::wire::{End, Wire};
use lifesign_core::frame::{self, Body, Header, LinkClass, MAX_FRAME_LEN};
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::stream::{self, Deframer, MAX_LINE_LEN};
use lifesign_core::time::{Duration, Instant};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;

/// A directory of a test's own, gone with it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("lifesign-serial-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn wire(&self, left: &str, right: &str) -> Wire {
        let [left, right] = [left, right].map(|name| End::Terminal(self.path(name)));
        Wire::join(left, right, None).unwrap()
    }

    pub(crate) fn open(&self, name: &str) -> OwnedFd {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        open(&self.path(name), flags, Mode::empty()).unwrap()
    }

    pub(crate) fn node(&self, own: usize, devices: &[&str]) -> Node {
        self.node_at(own, devices, 115_200)
    }

    pub(crate) fn node_at(&self, own: usize, devices: &[&str], speed: u32) -> Node {
        self.node_with(own, devices.iter().map(|name| self.path(name)).collect(), speed)
    }

    #[expect(clippy::unused_self, reason = "a node without a place has no devices")]
    pub(crate) fn node_with(&self, own: usize, devices: Vec<PathBuf>, speed: u32) -> Node {
        let own = id(own);
        let spec = SerialSpec { devices, speed, low_latency: true, own };
        let spec = LinkSpec { name: "wire".into(), kind: Specification::Serial(spec) };
        let now = Instant::from_micros(1_000_000);
        Node { link: Link::open(&spec).unwrap(), own, now, heard: Vec::new() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A link, and what its node has taken in: sender, number and port.
pub(crate) struct Node {
    pub(crate) link: Link,
    pub(crate) own: NodeId,
    pub(crate) now: Instant,
    pub(crate) heard: Vec<(NodeId, u64, usize)>,
}

impl Node {
    pub(crate) fn send(&mut self, sequence: u64) {
        let made = Made { sequence, ..Made::of(self.own.index()) };
        self.link.send(&made.frame(), self.now);
    }

    pub(crate) fn receive(&mut self) {
        let mut buffer = [0; MAX_FRAME_LEN + 1];
        let Self { link, own, now, heard } = self;
        link.receive(&mut buffer, *now, &mut |frame, source| {
            let Source::Port(port) = source else { panic!("not from an address") };
            let result = judge(*own, frame);
            if let Ok((sender, sequence)) = result {
                heard.push((sender, sequence, port));
            }
            Verdict::of(&result)
        });
    }
}

/// Does what an engine does, as far as a link sees it.
pub(crate) fn judge(own: NodeId, frame: &[u8]) -> Result<(NodeId, u64), Rejected> {
    let decoded: Result<(Header, Body), _> = frame::decode(frame, ClusterId(1), &keyring(1));
    let (header, _) = decoded.map_err(Rejected::Frame)?;
    if header.sender == own {
        return Err(Rejected::Loop);
    }
    if header.link.index() != 0 {
        return Err(Rejected::WrongLink);
    }
    Ok((header.sender, header.sequence))
}

/// What stands in a frame.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) sender: usize,
    pub(crate) sequence: u64,
    pub(crate) link: u8,
    pub(crate) cluster: u32,
    pub(crate) key: u8,
}

impl Made {
    pub(crate) const fn of(sender: usize) -> Self {
        Self { sender, sequence: 1, link: 0, cluster: 1, key: 1 }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let header = Header {
            class: LinkClass::Serial,
            link: LinkId::new(self.link).unwrap(),
            sender: id(self.sender),
            key: KeyId(1),
            cluster: ClusterId(self.cluster),
            boot: BootId::new(5),
            sequence: self.sequence,
        };
        let mut buffer = [0; MAX_FRAME_LEN];
        let body: Body = Body::default();
        let len = frame::encode(&header, &body, &keyring(self.key), &mut buffer);
        buffer[..len].to_vec()
    }
}

pub(crate) fn keyring(key: u8) -> Keyring {
    Keyring::new(&[(KeyId(1), Key::new([key; KEY_LEN]))], KeyId(1)).unwrap()
}

pub(crate) fn id(number: usize) -> NodeId {
    NodeId::new(u8::try_from(number).unwrap()).unwrap()
}

pub(crate) fn on_line(message: &[u8]) -> Vec<u8> {
    let mut line = vec![0; stream::line_len(message.len())];
    let len = stream::enframe(message, &mut line).unwrap();
    line.truncate(len);
    line
}

pub(crate) fn write(to: &OwnedFd, bytes: &[u8]) {
    assert_eq!(nix::unistd::write(to, bytes), Ok(bytes.len()));
}

/// Returns `count` messages that arrive, fewer if none comes for two seconds.
pub(crate) fn messages(from: &OwnedFd, count: usize) -> Vec<Vec<u8>> {
    let mut deframer = Deframer::<MAX_LINE_LEN>::new();
    let (mut messages, mut byte) = (Vec::new(), [0]);
    while messages.len() < count {
        let mut watched = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, 2000_u16) != Ok(1) || nix::unistd::read(from, &mut byte) != Ok(1) {
            break;
        }
        messages.extend(deframer.push(byte[0]).map(|message| message.unwrap().to_vec()));
    }
    messages
}

/// Does what daemons do until `is_so`. Their time passes by a tenth of a second with each
/// millisecond of waiting.
pub(crate) fn until(nodes: &mut [Node], is_so: impl Fn(&[Node]) -> bool) {
    for _ in 0..5000 {
        if is_so(nodes) {
            return;
        }
        let links = nodes.iter().filter_map(|node| node.link.descriptor());
        let mut watched: Vec<_> =
            links.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        let is_idle = poll(&mut watched, 1_u16) == Ok(0);
        for node in &mut *nodes {
            node.now = node.now + Duration::from_micros(if is_idle { 100_000 } else { 1000 });
            node.receive();
            if node.link.poll_timeout().is_some_and(|due| node.now.has_reached(due)) {
                node.link.handle_timeout(node.now);
            }
        }
    }
    panic!("it does not come about");
}
