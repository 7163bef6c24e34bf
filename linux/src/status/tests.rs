//! Pages, to the letter.

use super::*;
use crate::page::WIDTH;
use crate::report::tests::{good, held, peer};
use crate::report::{
    Alert, Decision, DongleReport, FailuresReport, FenceReport, IpSideReport, LineErrorsReport,
    LinkReport, PingReport, PortReport, RestartsReport,
};

#[test]
fn a_good_day() {
    let expected = "\
GOOD: alpha holds www, every member is here
cluster web, seen from alpha (online, up 3 days 4 h)

GROUP  HOLDER  SINCE         ADDRESSES
www    alpha   2 h 03 min    10.77.0.100/24

MEMBER             lan
alpha   this node
beta    alive      *
quorum  alive      *    witness

LINK  ADAPTER                SENT   RECEIVED  DROPPED  REJECTED  STATE
lan   eth0                5475210    5474988        0         0  up

quorum      yes, 2 of 2 votes (majority have, witness not asked)
lease       bpf, at most 0.1 ms late
scheduling  fifo 50, memory locked
settings    24687572

LATELY
  2 h 03 min ago  www: holding, because it has been started
";
    assert_eq!(render(&good(), Page::PLAIN), expected);
}

#[test]
fn what_has_failed_is_told_with_the_way_out() {
    let mut report = good();
    let restarts = RestartsReport { service: "web".to_owned(), count: 1, most: 2 };
    report.groups[0].failures = Some(FailuresReport {
        window_ms: 600_000,
        count: 0,
        share: 2,
        next_attempt_ms: None,
        last: Some("www/web: monitor exit status 3".to_owned()),
        restarts: vec![restarts],
    });
    let text = render(&report, Page::PLAIN);
    let expected = "    failures  web was restarted 1 of 2 times within 10 min 00 s\n";
    assert!(text.contains(expected), "{text}");
    let group = &mut report.groups[0];
    (group.holder, group.role) = (None, GroupRole::Idle);
    group.obstacle = Some("it has failed here 2 times within 10 min 00 s".to_owned());
    let failures = group.failures.as_mut().unwrap();
    (failures.count, failures.next_attempt_ms, failures.restarts) = (2, Some(500_000), Vec::new());
    let text = render(&report, Page::PLAIN);
    let expected = "DOWN: nobody holds www: it has failed here 2 times within 10 min 00 s\n";
    assert!(text.starts_with(expected), "{text}");
    let expected =
        "    failures  failed here 2 times within 10 min 00 s; tried again in 8 min 20 s,";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("or by `lifesign takeover www` here"), "{text}");
}

/// The other server and its cable are gone, the witness is heard and does not hear us.
fn bad_day() -> Report {
    let mut report = good();
    report.groups.push(held("mail", "alpha", GroupRole::Idle));
    report.groups[1].holder = None;
    report.groups[1].since_ms = 4100;
    report.groups[1].obstacle =
        Some("it has no quorum: beta and quorum do not support it".to_owned());
    report.groups[1].addresses.push("fd00::100/64".to_owned());
    report.quorum.have = false;
    report.quorum.votes = 1;
    report.quorum.modules[0].answer = "tie".to_owned();
    report.quorum.modules[1].answer = "no".to_owned();
    report.peers = vec![
        peer("beta", PeerKind::Node, PeerState::Lost),
        peer("quorum", PeerKind::Witness, PeerState::OneWay),
    ];
    report.links[0].rejected.insert("wrong tag".to_owned(), 12);
    report.links[0].drops = 3;
    report.links.push(LinkReport {
        name: "direct".to_owned(),
        state: "down: adapter eth1 has no carrier".to_owned(),
        adapter: "eth1".to_owned(),
        ..report.links[0].clone()
    });
    report.links[1].rejected.clear();
    report.alerts = vec![Alert {
        text: "12 frames with a wrong tag on link lan: somebody may be trying to break in, or a \
               member has another key"
            .to_owned(),
        since_ms: 65_000,
    }];
    report.enforcer.name = "nftables".to_owned();
    report.enforcer.overshoot_us = 8000;
    report.enforcer.refused = vec!["bpf: load program: operation not permitted".to_owned()];
    report.decisions.insert(
        0,
        Decision { ago_ms: 4100, text: "mail: idle, because no quorum answered".to_owned() },
    );
    report
}

#[test]
fn a_bad_day() {
    let expected = "\
DOWN: nobody holds mail: it has no quorum: beta and quorum do not support it
cluster web, seen from alpha (online, up 3 days 4 h)

GROUP  HOLDER  SINCE         ADDRESSES
www    alpha   2 h 03 min    10.77.0.100/24
mail   nobody  4.1 s         10.77.0.100/24 and 1 more

MEMBER             lan  direct
alpha   this node
beta    lost       x    -
quorum  one-way    /    -       witness
        * heard both ways, / one way, x silent

LINK    ADAPTER                SENT   RECEIVED  DROPPED  REJECTED  STATE
lan     eth0                5475210    5474988        3        12  up
    rejected: 12 wrong tag
direct  eth1                5475210    5474988        3         0  down
    down: adapter eth1 has no carrier

quorum      no, 1 of 2 votes (majority tie, witness no)
lease       nftables, at most 8 ms late
            without bpf: load program: operation not permitted
scheduling  fifo 50, memory locked
settings    24687572

ALERT 12 frames with a wrong tag on link lan: somebody may be trying to break
      in, or a member has another key (since 1 min 05 s)

LATELY
       4.1 s ago  mail: idle, because no quorum answered
  2 h 03 min ago  www: holding, because it has been started
";
    assert_eq!(render(&bad_day(), Page::PLAIN), expected);
}

#[test]
fn the_first_line_names_the_worst() {
    let said = |change: &dyn Fn(&mut Report)| {
        let mut report = good();
        change(&mut report);
        let (health, why) = judge(&report);
        format!("{}: {why}", health.word())
    };
    assert_eq!(said(&|_| {}), "GOOD: alpha holds www, every member is here");
    assert_eq!(said(&|report| report.peers[1].state = PeerState::Lost), "DEGRADED: quorum is lost");
    assert_eq!(
        said(&|report| report.groups[0].role = GroupRole::Stuck),
        "DEGRADED: www could not be stopped on alpha"
    );
    assert_eq!(
        said(&|report| report.peers[0].links[0].hears_us = false),
        "DEGRADED: link lan to beta is broken"
    );
    assert_eq!(
        said(&|report| report.peers[0].settings_agree = Some(false)),
        "DEGRADED: beta has other settings"
    );
    assert_eq!(said(&|report| report.state = NodeState::Standby), "DEGRADED: alpha is on standby");
    let unheld = |report: &mut Report| {
        report.groups[0].holder = None;
        report.groups[0].role = GroupRole::Claiming;
    };
    assert_eq!(said(&unheld), "DOWN: nobody holds www (alpha is claiming)");
    assert_eq!(
        said(&|report| {
            unheld(report);
            report.state = NodeState::Booting;
        }),
        "DEGRADED: alpha has just started and knows of nobody who holds www"
    );
    assert_eq!(
        said(&|report| {
            report.peers.iter_mut().for_each(|peer| peer.state = PeerState::Lost);
            report.quorum.have = false;
            report.links[0].state = "down: no carrier".to_owned();
        }),
        "DEGRADED: alpha is in no quorum; beta and quorum are lost; and 1 more"
    );
    assert_eq!(
        said(&|report| report.groups.clear()),
        "GOOD: every member is here, and there is no group to hold"
    );
}

#[test]
fn the_page_is_no_wider_than_a_screen() {
    let mut report = bad_day();
    let long = "n".repeat(64);
    report.node.clone_from(&long);
    report.cluster.clone_from(&long);
    report.peers[0].name.clone_from(&long);
    report.groups[0].name.clone_from(&long);
    report.groups[0].holder = Some(long.clone());
    report.groups[0].addresses = vec!["fd00:1111:2222:3333:4444:5555:6666:7777/128".to_owned()];
    for page in [Page::PLAIN, Page { is_ascii: false, is_coloured: false }] {
        let text = render(&report, page);
        for line in text.lines().filter(|line| !line.contains(&long)) {
            let most = if line.contains("fd00:1111") { 110 } else { WIDTH };
            assert!(line.chars().count() <= most, "{line}");
        }
        assert_eq!(text.is_ascii(), page.is_ascii);
    }
}

#[test]
fn colours_mark_words_and_change_none() {
    let page = Page { is_coloured: true, is_ascii: true };
    let mut plain = render(&bad_day(), page);
    assert!(plain.starts_with("\x1b[1;31mDOWN\x1b[0m: nobody holds mail"), "{plain}");
    for code in ["\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[2m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, render(&bad_day(), Page::PLAIN));
}

/// A port whose cable is good, one with a loopback plug, and one without a device.
fn ports() -> Vec<PortReport> {
    let port = PortReport {
        device: "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10K-if00-port0".to_owned(),
        state: "up".to_owned(),
        diagnosis: Some("good".to_owned()),
        sent: 9000,
        received: 8990,
        relayed: 0,
        copies: 0,
        returned: 0,
        low_latency: Some(true),
        latency_timer_ms: None,
        lost: 0,
        garbage: 0,
        line_errors: None,
        hang_ups: 0,
        reopened: 0,
    };
    let looped = PortReport {
        device: "/dev/ttyS1".to_owned(),
        diagnosis: Some("own frames come back: a loopback plug, or both ends are here".to_owned()),
        garbage: 12,
        latency_timer_ms: Some(16),
        line_errors: Some(LineErrorsReport { framing: 3, parity: 0, overruns: 1, breaks: 0 }),
        ..port.clone()
    };
    let missing = PortReport {
        device: "/dev/ttyUSB0".to_owned(),
        state: "down: no such device".to_owned(),
        diagnosis: None,
        hang_ups: 1,
        ..port
    };
    vec![port, looped, missing]
}

/// A serial link with all kinds of ports, and a dongle.
fn wired_day() -> Report {
    let mut report = good();
    let dongle = DongleReport {
        witness: "quorum".to_owned(),
        said_ms: Some(4000),
        firmware: Some("0.1.0".to_owned()),
        board: Some("stm32f405".to_owned()),
        uptime_ms: Some(273_840_000),
        starts: Some(3),
        promises: Some(true),
        clock_off_percent: Some(0.0),
        faults: Vec::new(),
    };
    report.links.push(LinkReport {
        name: "wire".to_owned(),
        kind: "serial".to_owned(),
        adapter: "/dev/ttyS1".to_owned(),
        speed: Some(115_200),
        sent: 9000,
        received: 8990,
        ports: ports(),
        dongle: Some(dongle),
        ..report.links[0].clone()
    });
    report.ip_side = Some(IpSideReport {
        works: true,
        why: None,
        pings: vec![PingReport {
            address: "10.77.0.254".to_owned(),
            answered_ms: Some(210.4),
            failure: None,
        }],
    });
    report
}

#[test]
fn serial_links_show_their_ports_and_their_dongle() {
    let text = render(&wired_day(), Page::PLAIN);
    let expected = "
LINK  ADAPTER                SENT   RECEIVED  DROPPED  REJECTED  STATE
lan   eth0                5475210    5474988        0         0  up
wire  serial 115200          9000       8990        0         0  up
    /dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10K-if00-port0: good
    /dev/ttyS1: own frames come back: a loopback plug, or both ends are here (12
    damaged, 3 framing errors, 1 overruns, waits 16 ms for more bytes)
    /dev/ttyUSB0: down: no such device (1 hang-ups)
    dongle quorum: promises, up 3 days 4 h, firmware 0.1.0 on stm32f405

quorum      yes, 2 of 2 votes (majority have, witness not asked)
IP side     works, 10.77.0.254 answered 210 ms ago
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn an_ip_side_that_is_down_is_named_once_and_early() {
    let mut report = wired_day();
    let why = "this node's IP side is down: no IP link hears anybody".to_owned();
    report.alerts = vec![Alert { text: format!("{why}: it offers its groups"), since_ms: 9 }];
    let side = report.ip_side.as_mut().unwrap();
    (side.works, side.why) = (false, Some(why.clone()));
    report.peers[0].links[0].heard = false;
    let (health, said) = judge(&report);
    assert_eq!(health, Health::Degraded);
    assert_eq!(said, format!("{why}; link lan to beta is broken"));
}

#[test]
fn a_reset_that_is_waited_for_stands_before_the_alerts() {
    let mut report = wired_day();
    report.links[1].dongle.as_mut().unwrap().firmware = None;
    report.fencing.push(FenceReport {
        group: "db".to_owned(),
        node: "beta".to_owned(),
        by: "quorum".to_owned(),
        boot: "none".to_owned(),
        state: "armed".to_owned(),
        text: "quorum has armed the reset line of beta".to_owned(),
        since_ms: 12,
    });
    let text = render(&report, Page::PLAIN);
    assert!(text.contains("\n\nFENCE db: quorum has armed the reset line of beta\n"), "{text}");
    assert!(text.contains("    dongle quorum: has not answered\n"), "{text}");
}
