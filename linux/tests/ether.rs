//! Links of raw Ethernet between two network namespaces joined by a pair of adapters.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

#[path = "link/pair.rs"]
mod pair;

use lifesign::link::ether::{ETHERTYPE, EtherSpec};
use lifesign::link::failure::Failure;
use lifesign::link::{Link, LinkSpec, Source, Specification, State, Verdict};
use lifesign_core::node::ClusterId;
use lifesign_core::time::{Duration, Instant};

use self::pair::{Beta, enter, run, wait, wait_until_sent};

#[test]
fn frames_cross_to_the_group_to_everybody_and_with_a_tag() {
    if !enter("frames_cross_to_the_group_to_everybody_and_with_a_tag") {
        return;
    }
    let beta = Beta::new();
    let cases = [(false, None), (true, None), (false, Some(7)), (true, Some(4094))];
    for (broadcast, vlan) in cases {
        let with = |adapter: &str| spec(EtherSpec { broadcast, vlan, ..plain(adapter) });
        let mut here = Link::open(&with("left")).unwrap();
        let mut there = beta.open(with("right")).unwrap();
        // What is short is padded on its way, and what is added is taken off.
        for len in [24, 44, 46, 64, 1024] {
            here.send(&frame(7, len), START);
            assert_eq!(taken(&mut there), [frame(7, len)], "{len}, {broadcast}, {vlan:?}");
            there.send(&frame(8, len), START);
            assert_eq!(taken(&mut here), [frame(8, len)], "{len}, {broadcast}, {vlan:?}");
        }
        let statistics = here.statistics();
        assert_eq!((statistics.sent, statistics.received, statistics.filtered), (5, 5, 0));
        assert_eq!(statistics.bytes_received, 24 + 44 + 46 + 64 + 1024);
        assert_eq!(here.state(), State::Up);
    }
}

#[test]
fn neither_addresses_nor_routes_nor_a_firewall_matter() {
    if !enter("neither_addresses_nor_routes_nor_a_firewall_matter") {
        return;
    }
    let beta = Beta::new();
    let bare = |adapter: &'static str| {
        run(&format!("ip address flush dev {adapter}"));
        run("ip route flush table all");
        run("nft add table inet shut");
        for hook in ["input", "output", "prerouting", "postrouting", "forward"] {
            let chain = "type filter hook HOOK priority -500; policy drop;";
            let chain = chain.replace("HOOK", hook);
            run(&format!("nft add chain inet shut {hook} {{ {chain} }}"));
        }
    };
    bare("left");
    beta.run(move || bare("right"));
    let mut here = Link::open(&spec(plain("left"))).unwrap();
    let mut there = beta.open(spec(plain("right"))).unwrap();
    here.send(&frame(1, 96), START);
    assert_eq!(taken(&mut there), [frame(1, 96)]);
    there.send(&frame(2, 96), START);
    assert_eq!(taken(&mut here), [frame(2, 96)]);
}

#[test]
fn the_kernel_drops_frames_of_other_clusters_and_types() {
    if !enter("the_kernel_drops_frames_of_other_clusters_and_types") {
        return;
    }
    let beta = Beta::new();
    let mut here = Link::open(&spec(plain("left"))).unwrap();
    let mut stranger =
        beta.open(spec(EtherSpec { ethertype: ETHERTYPE + 1, ..plain("right") })).unwrap();
    let mut there = beta.open(spec(plain("right"))).unwrap();
    stranger.send(&frame(1, 96), START);
    let mut other = frame(2, 96);
    other[4] ^= 1;
    there.send(&other, START);
    let mut later = frame(3, 96);
    later[0] = 9;
    there.send(&later, START);
    there.send(&frame(4, 96), START);
    assert_eq!(taken(&mut here), [frame(4, 96)], "of another type, cluster and version, and ours");
    let statistics = here.statistics();
    assert_eq!((statistics.received, statistics.filtered, statistics.too_long), (1, 0, 0));
}

#[test]
fn an_adapter_that_goes_down_or_away_is_told_and_used_again() {
    if !enter("an_adapter_that_goes_down_or_away_is_told_and_used_again") {
        return;
    }
    let beta = Beta::new();
    let mut here = Link::open(&spec(plain("left"))).unwrap();
    run("ip link set left down");
    here.send(&frame(1, 96), START);
    assert_eq!(here.state(), State::Down(Failure::AdapterDown));
    run("ip link set left up");
    wait_until_sent(&mut here, &frame(1, 96));
    assert_eq!(here.statistics().reopened, 0, "the socket has outlived it");
    run("ip link delete left");
    here.send(&frame(1, 96), START);
    assert_eq!(here.state(), State::Down(Failure::AdapterMissing));
    assert!(here.descriptor().is_none());
    drop(beta);
    let beta = Beta::new();
    assert!(here.handle_timeout(START + Duration::from_millis(100)));
    let mut there = beta.open(spec(plain("right"))).unwrap();
    wait_until_sent(&mut here, &frame(2, 96));
    assert_eq!(taken(&mut there), [frame(2, 96)]);
    there.send(&frame(3, 96), START);
    assert_eq!(taken(&mut here), [frame(3, 96)]);
    run("ip link set left name other");
    assert!(!here.handle_adapter_change(START), "it works on under another name");
    here.send(&frame(4, 96), START);
    assert_eq!(taken(&mut there), [frame(4, 96)]);
}

const START: Instant = Instant::ZERO;
const CLUSTER: ClusterId = ClusterId(0x0102_0304);

fn plain(adapter: &str) -> EtherSpec {
    let adapter = adapter.to_owned();
    EtherSpec { adapter, cluster: CLUSTER, ethertype: ETHERTYPE, vlan: None, broadcast: false }
}

fn spec(ether: EtherSpec) -> LinkSpec {
    LinkSpec { name: "wire".into(), kind: Specification::Ether(ether) }
}

/// Returns what looks like a frame of the cluster to the kernel.
fn frame(number: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; len];
    (bytes[0], bytes[1]) = (1, number);
    bytes[4..8].copy_from_slice(&CLUSTER.0.to_le_bytes());
    bytes
}

fn taken(link: &mut Link) -> Vec<Vec<u8>> {
    wait(link);
    let (mut taken, mut buffer) = (Vec::new(), [0; 1024]);
    link.receive(&mut buffer, START, &mut |bytes, source| {
        assert!(matches!(source, Source::Ether(_)), "{source:?}");
        taken.push(bytes.to_vec());
        Verdict::Authentic
    });
    taken
}
