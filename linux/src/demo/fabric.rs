//! The judgement of an Ethernet switch without its wires: which frame leaves by which ports.
//!
//! A [`Fabric`] learns where an Ethernet address lives from the frames that come from it, sends
//! known unicast to one port and everything else to all ports of the same network, and applies what
//! the laboratory asks for: pulled cables, cuts between two ports, loss in one direction. Loss is
//! drawn from a seeded generator, so the same seed loses the same frames.

use std::collections::BTreeMap;

/// An Ethernet address.
pub type EthernetAddress = [u8; 6];

/// A set of ports, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortSet(u32);

impl PortSet {
    /// The set without ports.
    pub const EMPTY: Self = Self(0);

    /// Returns the set with `port` besides.
    ///
    /// # Panics
    /// For a port of [`MAX_PORTS`] or more.
    #[must_use]
    pub const fn with(self, port: usize) -> Self {
        assert!(port < MAX_PORTS, "a port is below MAX_PORTS");
        Self(self.0 | 1 << port)
    }

    /// Returns whether `port` is in the set.
    #[must_use]
    pub const fn contains(self, port: usize) -> bool {
        port < MAX_PORTS && self.0 & (1 << port) != 0
    }

    /// Returns the ports of the set in rising order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_PORTS).filter(move |&port| self.contains(port))
    }
}

/// How many ports a switch can have.
pub const MAX_PORTS: usize = 32;

/// Where a frame may go, and what the switch has learned.
#[derive(Clone, Debug)]
pub struct Fabric {
    /// The network of each port; frames stay in their network.
    networks: Vec<usize>,
    /// The frames in a million that are lost, by the port they come from and the port they go to.
    loss: Vec<Vec<u32>>,
    down: PortSet,
    learned: BTreeMap<EthernetAddress, usize>,
    random: u64,
}

impl Fabric {
    /// Returns a fabric with one port for each entry of `networks`, which names the port's network.
    ///
    /// # Panics
    /// With more than [`MAX_PORTS`] ports.
    #[must_use]
    pub fn new(networks: Vec<usize>, seed: u64) -> Self {
        let count = networks.len();
        assert!(count <= MAX_PORTS, "a switch has at most MAX_PORTS ports");
        Self {
            networks,
            loss: vec![vec![0; count]; count],
            down: PortSet::EMPTY,
            learned: BTreeMap::new(),
            random: seed,
        }
    }

    /// Returns the ports by which `frame`, which came in by the port `from`, leaves.
    ///
    /// A frame too short for an Ethernet header leaves by none.
    pub fn forward(&mut self, from: usize, frame: &[u8]) -> PortSet {
        let Some((to, source)) = addresses(frame) else {
            return PortSet::EMPTY;
        };
        if self.down.contains(from) {
            return PortSet::EMPTY;
        }
        if source[0] & GROUP_BIT == 0 {
            self.learned.insert(source, from);
        }
        let known = if to[0] & GROUP_BIT == 0 { self.learned.get(&to).copied() } else { None };
        let mut out = PortSet::EMPTY;
        for port in 0..self.networks.len() {
            if known.is_none_or(|known| known == port) && self.lets_pass(from, port) {
                out = out.with(port);
            }
        }
        out
    }

    /// Loses `loss_ppm` of a million frames from the port `from` to the port `to`, in this
    /// direction.
    ///
    /// Ports that do not exist are ignored.
    pub fn set_loss(&mut self, from: usize, to: usize, loss_ppm: u32) {
        if let Some(loss) = self.loss.get_mut(from).and_then(|row| row.get_mut(to)) {
            *loss = loss_ppm.min(ALL_PPM);
        }
    }

    /// Pulls the cable of `port`, or plugs it in again.
    ///
    /// # Panics
    /// For a port of [`MAX_PORTS`] or more.
    pub fn set_down(&mut self, port: usize, down: bool) {
        if down {
            self.down = self.down.with(port);
            // What was behind the cable may come back elsewhere.
            self.learned.retain(|_, learned| *learned != port);
        } else {
            self.down.0 &= !PortSet::EMPTY.with(port).0;
        }
    }

    /// Takes every loss away and plugs every cable in.
    pub fn heal(&mut self) {
        self.down = PortSet::EMPTY;
        self.loss.iter_mut().for_each(|row| row.fill(0));
    }

    /// Returns whether the cable of `port` is pulled.
    #[must_use]
    pub const fn is_down(&self, port: usize) -> bool {
        self.down.contains(port)
    }

    /// Returns whether nothing passes from the port `from` to the port `to`.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.down.contains(from) || self.down.contains(to) || self.loss[from][to] == ALL_PPM
    }

    fn lets_pass(&mut self, from: usize, to: usize) -> bool {
        if from == to || self.networks[from] != self.networks[to] || self.down.contains(to) {
            return false;
        }
        match self.loss[from][to] {
            0 => true,
            ALL_PPM => false,
            loss => self.draw_ppm() >= loss,
        }
    }

    /// Returns a number below a million (the generator is `SplitMix64`).
    fn draw_ppm(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        u32::try_from(mixed % u64::from(ALL_PPM)).unwrap_or(0)
    }
}

/// The loss that loses every frame, in parts of a million.
pub const ALL_PPM: u32 = 1_000_000;

/// The bit of an Ethernet address's first byte that marks multicast and broadcast.
const GROUP_BIT: u8 = 1;

/// Returns the destination and the source of an Ethernet frame.
fn addresses(frame: &[u8]) -> Option<(EthernetAddress, EthernetAddress)> {
    let (to, rest) = frame.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    (rest.len() >= 2).then_some((*to, *source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];
    const ALL: EthernetAddress = [0xff; 6];
    const A: EthernetAddress = [2, 0, 0, 0, 0, 1];
    const B: EthernetAddress = [2, 0, 0, 0, 0, 2];

    fn frame(to: EthernetAddress, from: EthernetAddress) -> Vec<u8> {
        [&to[..], &from[..], &[0x08, 0x00, 1, 2, 3]].concat()
    }

    fn ports(set: PortSet) -> Vec<usize> {
        set.iter().collect()
    }

    #[test]
    fn what_is_not_known_goes_everywhere_but_back() {
        let mut fabric = Fabric::new(vec![0, 0, 0], 1);
        assert_eq!(ports(fabric.forward(1, &frame(B, A))), [0, 2]);
        assert_eq!(ports(fabric.forward(0, &frame(ALL, B))), [1, 2]);
    }

    #[test]
    fn what_is_known_goes_to_one_port_and_learning_follows_the_last_frame() {
        let mut fabric = Fabric::new(vec![0, 0, 0], 1);
        fabric.forward(1, &frame(ALL, A));
        assert_eq!(ports(fabric.forward(0, &frame(A, B))), [1]);
        fabric.forward(2, &frame(ALL, A));
        assert_eq!(ports(fabric.forward(0, &frame(A, B))), [2]);
        assert_eq!(ports(fabric.forward(2, &frame(A, B))), NONE, "not back to where it came from");
    }

    #[test]
    fn networks_are_apart() {
        let mut fabric = Fabric::new(vec![0, 1, 0, 1], 1);
        assert_eq!(ports(fabric.forward(0, &frame(ALL, A))), [2]);
        assert_eq!(ports(fabric.forward(1, &frame(A, B))), NONE, "learned in the other network");
    }

    #[test]
    fn a_pulled_cable_carries_nothing_and_forgets_what_was_behind_it() {
        let mut fabric = Fabric::new(vec![0, 0, 0], 1);
        fabric.forward(1, &frame(ALL, A));
        fabric.set_down(1, true);
        assert!(fabric.is_down(1));
        assert_eq!(ports(fabric.forward(1, &frame(ALL, A))), NONE);
        assert_eq!(ports(fabric.forward(0, &frame(A, B))), [2]);
        fabric.set_down(1, false);
        assert_eq!(ports(fabric.forward(0, &frame(A, B))), [1, 2]);
    }

    #[test]
    fn a_cut_has_a_direction_until_it_heals() {
        let mut fabric = Fabric::new(vec![0, 0, 0], 1);
        fabric.set_loss(0, 1, ALL_PPM);
        assert!(fabric.is_cut(0, 1));
        assert!(!fabric.is_cut(1, 0));
        assert_eq!(ports(fabric.forward(0, &frame(ALL, A))), [2]);
        assert_eq!(ports(fabric.forward(1, &frame(ALL, B))), [0, 2]);
        fabric.heal();
        assert_eq!(ports(fabric.forward(0, &frame(ALL, A))), [1, 2]);
    }

    #[test]
    fn loss_is_near_what_was_asked_and_repeats_with_its_seed() {
        let run = |seed| {
            let mut fabric = Fabric::new(vec![0, 0], seed);
            fabric.set_loss(0, 1, 300_000);
            let lost = |_| fabric.forward(0, &frame(ALL, A)) == PortSet::EMPTY;
            (0..10_000).map(lost).collect::<Vec<bool>>()
        };
        let lost = run(7).into_iter().filter(|&lost| lost).count();
        assert!((2_800..3_200).contains(&lost), "{lost} of 10000");
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_stump_of_a_frame_goes_nowhere() {
        let mut fabric = Fabric::new(vec![0, 0], 1);
        for len in 0..14 {
            assert_eq!(fabric.forward(0, &frame(ALL, A)[..len]), PortSet::EMPTY);
        }
        assert_ne!(fabric.forward(0, &frame(ALL, A)[..14]), PortSet::EMPTY);
    }
}
