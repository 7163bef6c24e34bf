//! Whole directories, and every directive.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifesign_core::group::{Failback, Guard};

use super::surroundings::tests::Known;
use super::*;
use crate::settings::tests::Folder;

mod programs;
mod verdict;

const KEYS: &str = "auth 1\n1 sha1 a-word-that-is-long-enough\n";

/// A directory of Linux-HA.
fn directory(ha_cf: &str, authkeys: &str, haresources: &str) -> Folder {
    let folder = Folder::new("ha.d");
    for (name, text) in [("ha.cf", ha_cf), ("authkeys", authkeys), ("haresources", haresources)] {
        let path = folder.path.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

/// The machine `one` of two, on two networks.
fn one() -> Known {
    Known {
        host: "one",
        names: vec![("one", "127.0.1.1"), ("one", "10.0.0.1"), ("two", "10.0.0.2")],
        networks: vec![("lo", "127.0.0.1", 8), ("eth0", "10.0.0.1", 24), ("eth1", "10.1.0.1", 24)],
    }
}

const HA_CF: &str = "keepalive 500ms\ndeadtime 5\nbcast eth0\nnode one two\nauto_failback off\n";

fn tried(ha_cf: &str, haresources: &str, choices: &Choices) -> Result<Imported, String> {
    let folder = directory(ha_cf, KEYS, haresources);
    import(&folder.path, choices, &one()).map_err(|error| {
        let said = error.render(&folder.path, false);
        said.replace(&folder.path.display().to_string(), "DIR")
    })
}

/// Says where `two` is on its second adapter.
fn two_on_eth1() -> Choices {
    let address = NodeAddress {
        node: "two".to_owned(),
        adapter: Some("eth1".to_owned()),
        ip: "10.1.0.2".parse().unwrap(),
    };
    Choices { addresses: vec![address], ..Choices::default() }
}

fn good(ha_cf: &str, haresources: &str) -> Imported {
    tried(ha_cf, haresources, &Choices::default()).unwrap_or_else(|said| panic!("{said}"))
}

fn refused(ha_cf: &str, haresources: &str) -> String {
    let tried = tried(ha_cf, haresources, &Choices::default());
    tried.map(|imported| imported.text).expect_err("it should be refused")
}

#[test]
fn two_nodes_become_settings() {
    let imported = good(HA_CF, "one 10.0.0.100/24\ntwo 10.0.0.101/24/eth0\n");
    let settings = &imported.settings;
    assert_eq!(settings.cluster, "linux-ha");
    assert_eq!(settings.timing.heartbeat, Duration::from_millis(500));
    assert_eq!(settings.timing.dead, Duration::from_millis(5000));
    assert_eq!(settings.groups[0].promise, Duration::from_millis(5000));
    let link = settings.links[0].udp().unwrap();
    assert_eq!((link.port, link.members.len()), (694, 2));
    assert_eq!(settings.groups.len(), 2);
    let [first, second] = settings.groups.as_slice() else { unreachable!() };
    assert_eq!(first.prefer.first(), settings.node("one").as_ref());
    assert_eq!(second.prefer.first(), settings.node("two").as_ref());
    assert_eq!(second.addresses[0].adapter, "eth0");
    assert_eq!((first.guard, first.failback), (Guard::Address, Failback::Off));
    assert_eq!(imported.node, "one");
    assert!(imported.warnings[0].starts_with("two nodes and no witness"), "{imported:?}");
    assert!(imported.text.contains("\n# two nodes and no witness"), "{}", imported.text);
}

#[test]
fn both_nodes_make_the_same_settings() {
    let two = Known {
        host: "two",
        names: vec![("one", "10.0.0.1"), ("two", "127.0.1.1")],
        networks: vec![("eth0", "10.0.0.2", 24), ("eth1", "10.1.0.2", 24)],
    };
    let folder = directory(HA_CF, KEYS, "one 10.0.0.100\n");
    let [first, second] =
        [one(), two].map(|machine| import(&folder.path, &Choices::default(), &machine).unwrap());
    assert_eq!(first.settings, second.settings);
    assert_eq!(first.settings.digest(), second.settings.digest());
    assert_eq!(first.keys, second.keys);
    assert_eq!((first.node.as_str(), second.node.as_str()), ("one", "two"));
    fs::write(folder.path.join("nodeinfo"), "One\n").unwrap();
    let renamed = Known { host: "renamed", ..one() };
    let imported = import(&folder.path, &Choices::default(), &renamed).unwrap();
    assert_eq!((imported.node.as_str(), imported.settings), ("one", first.settings));
}

#[test]
fn addresses_come_from_ucast_lines_names_or_the_command_line() {
    let ha_cf = "ucast eth0 10.0.0.1\nucast eth0 10.0.0.2\nbcast eth1\nbcast eth0\nnode one two\n";
    let said = refused(ha_cf, "one 10.0.0.100/24\n");
    assert_eq!(
        said,
        "error: DIR/ha.cf:3: the address of two on eth1 is not known; say --address two=IP, or \
         --address two@eth1=IP"
    );
    let choices = two_on_eth1();
    let imported = tried(ha_cf, "one 10.0.0.100/24\n", &choices).unwrap();
    let links: Vec<String> = imported
        .settings
        .links
        .iter()
        .map(|link| format!("{} {:?}", link.name, link.udp().unwrap().members))
        .collect();
    assert_eq!(links.len(), 2, "{links:?}");
    assert!(links[0].contains("10.0.0.1") && links[0].contains("10.0.0.2"), "{links:?}");
    assert!(links[1].contains("10.1.0.1") && links[1].contains("10.1.0.2"), "{links:?}");
    assert!(imported.text.contains("ha.cf:4: the same adapter once more"), "{}", imported.text);
    // Nobody knows `four`, and its line is the only one that is left.
    let ha_cf = "ucast eth0 10.0.0.1\nucast eth0 10.0.0.4\nnode one four\n";
    let imported = good(ha_cf, "one 10.0.0.100/24\n");
    assert!(imported.text.contains("four 10.0.0.4 the ucast line that is left"));
}

#[test]
fn ports_and_speeds_hold_for_what_follows() {
    let ha_cf = "bcast eth0\nudpport 695\nmcast eth1 239.1.2.3 700 1 0\nbaud 9600\n\
                 serial /dev/ttyS0 /dev/ttyS1\nnode one two\ndeadtime 30\n";
    let choices = two_on_eth1();
    let settings = tried(ha_cf, "one 10.0.0.100/24\n", &choices).unwrap().settings;
    let ports: Vec<u16> =
        settings.links.iter().filter_map(|link| link.udp()).map(|udp| udp.port).collect();
    assert_eq!(ports, [694, 700]);
    let serial = settings.links[2].serial().unwrap();
    assert_eq!((serial.speed, serial.devices[0].len()), (9600, 2));
    let settings = good("udpport 695\nbcast eth0\nnode one two\n", "one 10.0.0.100/24\n").settings;
    assert_eq!(settings.links[0].udp().unwrap().port, 695);
}

#[test]
fn failback_has_three_words_and_an_old_name() {
    for (line, returns) in [
        ("auto_failback on", true),
        ("auto_failback off", false),
        ("auto_failback legacy", true),
        ("nice_failback on", false),
        ("nice_failback off", true),
        ("", true),
    ] {
        let ha_cf = format!("bcast eth0\nnode one two\n{line}\n");
        let settings = good(&ha_cf, "one 10.0.0.100/24\n").settings;
        assert_eq!(settings.groups[0].failback != Failback::Off, returns, "{line}");
    }
}

#[test]
fn a_witness_is_a_machine_or_a_dongle() {
    let witness = |ip: Option<&str>| Choices {
        witness: Some(Witness { name: "quorum".to_owned(), ip: ip.map(|ip| ip.parse().unwrap()) }),
        ..Choices::default()
    };
    let machine = tried(HA_CF, "one 10.0.0.100/24\n", &witness(Some("10.0.0.9"))).unwrap();
    assert_eq!(machine.settings.witnesses, ["quorum"]);
    assert_eq!(machine.warnings, Vec::<String>::new());
    let said = tried(HA_CF, "one 10.0.0.100/24\n", &witness(None)).unwrap_err();
    assert!(said.contains("no medium reaches the witness quorum"), "{said}");
    let ha_cf = format!("serial /dev/ttyS0\n{HA_CF}");
    let dongle = tried(&ha_cf, "one 10.0.0.100/24\n", &witness(None)).unwrap();
    assert!(dongle.settings.links[1].serial().unwrap().witness.is_some());
    let server = good(&format!("{HA_CF}quorum_server 10.0.0.9\n"), "one 10.0.0.100/24\n");
    assert_eq!(server.settings.witnesses, ["quorum"]);
    let both = Choices { accept_split_brain: true, ..Choices::default() };
    let both = tried(&format!("{HA_CF}initdead 30\n"), "one 10.0.0.100/24\n", &both).unwrap();
    assert_eq!(both.settings.timing.settle, Duration::from_millis(30_000));
}

#[test]
fn a_promise_grows_with_what_it_must_bear() {
    let ha_cf = "keepalive 1\ndeadtime 2500ms\nbcast eth0\nserial /dev/ttyS0\nnode one two\n";
    let imported = good(ha_cf, "one 10.0.0.100/24\n");
    assert_eq!(imported.settings.timing.dead, Duration::from_millis(2500));
    assert!(imported.settings.groups[0].promise >= Duration::from_millis(2500));
    let tight = "keepalive 10ms\ndeadtime 21ms\nbcast eth0\nnode one two\n";
    let imported = good(tight, "one 10.0.0.100/24\n");
    assert!(imported.settings.groups[0].promise > Duration::from_millis(21));
    assert!(imported.text.contains("longer than deadtime"), "{}", imported.text);
}

#[test]
fn all_mistakes_of_all_files_are_told() {
    let folder = directory("keepalve 2\nnode one two\nbcast eth0\n", "auth 1\n1 crc\n", "three\n");
    fs::set_permissions(folder.path.join("authkeys"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = import(&folder.path, &Choices::default(), &one()).unwrap_err();
    let said = error.render(&folder.path, false);
    for expected in [
        "ha.cf:1: there is no directive \"keepalve\"; did you mean \"keepalive\"?",
        "authkeys: mode 0640 lets others in; run `chmod 600 ",
        "authkeys:2: key 1 is crc",
        "haresources:1: node three has no resources",
    ] {
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
    let said = refused(HA_CF, "three 10.0.0.100/24\none 10.0.0.100/24 10.0.0.255/24 10.9.0.1\n");
    for expected in [
        "haresources:1: three is no node of ha.cf; its nodes are one, two",
        "haresources:2: 10.0.0.100 is at haresources:1 already",
        "haresources:2: 10.0.0.255/24: ",
        "haresources:2: 10.9.0.1: its mask is not written",
    ] {
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
    let nowhere = folder.path.join("nowhere");
    let error = import(&nowhere, &Choices::default(), &one()).unwrap_err();
    assert_eq!(error.render(&nowhere, false).lines().count(), 3);
}

#[test]
fn contradictions_of_times_are_told() {
    for (lines, expected) in [
        ("keepalive 2\ndeadtime 4", ":2: deadtime 4.00 s is not more than twice keepalive"),
        ("deadtime 10\ninitdead 5", ":2: initdead"),
        ("deadtime 10\nwarntime 11", ":2: warntime"),
        ("deadping 1", ":1: deadping"),
        ("keepalive 2\nkeepalive 3", ":2: keepalive 3: ha.cf:1 says something else"),
        ("keepalive 2 seconds", ":1: keepalive 2 seconds: this is no unit of time"),
        ("keepalive 0", ":1: keepalive 0: it must be more than zero"),
    ] {
        let said = refused(&format!("{lines}\nbcast eth0\nnode one two\n"), "one 10.0.0.100/24\n");
        assert!(said.contains(expected.split(" 4.00 s").next().unwrap()), "{said}");
    }
}

#[test]
fn a_watchdog_counts_as_long_as_it_did() {
    for (deadtime, timeout_ms) in [("5", 6000), ("4990ms", 5000), ("4991ms", 6000)] {
        let ha_cf = HA_CF.replace("deadtime 5", &format!("deadtime {deadtime}"));
        let lines = "one 10.0.0.100 db\none 10.0.0.101\n";
        let imported = good(&format!("{ha_cf}watchdog /dev/watchdog\n"), lines);
        let settings = imported.settings;
        let watchdog = settings.watchdog.as_ref().unwrap();
        let device = settings
            .nodes
            .iter()
            .zip(&watchdog.devices)
            .all(|(_, device)| device.as_deref() == Some("/dev/watchdog".as_ref()));
        assert!(device && !watchdog.required, "it went on without one");
        assert_eq!(watchdog.timeout.as_millis(), timeout_ms, "deadtime {deadtime}");
        let guarded: Vec<bool> = settings.groups.iter().map(|group| group.watchdog).collect();
        assert_eq!(guarded, [true, false], "addresses have the kernel lease");
    }
    let said = refused(&format!("{HA_CF}watchdog watchdog0\n"), "one 10.0.0.100/24\n");
    assert!(said.contains("write watchdog /dev/watchdog"), "{said}");
    let twice = format!("{HA_CF}watchdog /dev/watchdog\nwatchdog /dev/watchdog1\n");
    assert!(refused(&twice, "one 10.0.0.100/24\n").contains("says something else"));
}

#[test]
fn what_is_asked_for_and_not_done_is_refused() {
    for line in [
        "crm yes",
        "pacemaker respawn",
        "respawn hacluster /usr/lib/heartbeat/dopd",
        "failfast root /bin/true",
        "respawn root",
        "respawn a:b /bin/true",
        "respawn root bin/true",
        "stonith_host * null one two",
        "stonith_host * external/ssh one",
        "stonith_host * external/ssh one two three",
        "stonith_host one external/ssh one two",
        "stonith_host * rps10 /dev/ttyS0 one 0",
        "stonith external/ssh /etc/x",
        "autojoin any",
        "use_apphbd on",
        "mcast eth0 225.0.0.1 694 5 0",
        "mcast eth0 10.0.0.1 694 1 0",
        "mcast eth0 225.0.0.1 0 1 0",
        "mcast6 eth0 225.0.0.1 694 1 0",
        "bcast eth0:1",
        "ucast eth0",
        "ucast eth0 fd00::1",
        "serial ttyS0",
        "baud 1",
        "udpport 0",
        "realtime perhaps",
        "rtprio high",
        "node a/b",
        "node ONE",
        "ping_group gates",
    ] {
        let said = refused(&format!("{HA_CF}{line}\n"), "one 10.0.0.100/24\n");
        assert!(said.contains("DIR/ha.cf:6: "), "{line}: {said}");
    }
}

#[test]
fn scripts_become_services_in_their_order() {
    let imported = good(
        HA_CF,
        "one drbddisk::r0 \\\n Filesystem::/dev/drbd0::/srv::ext3 10.0.0.100/24 httpd\n\
         two IPsrcaddr::10.0.0.101 10.0.0.101/24\ntwo /opt/run::a::b::c\n",
    );
    let groups = &imported.settings.groups;
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["drbddisk", "IPsrcaddr", "run"]);
    let services: Vec<&str> =
        groups[0].services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(services, ["drbddisk", "Filesystem", "httpd"]);
    let guards: Vec<Guard> = groups.iter().map(|group| group.guard).collect();
    assert_eq!(guards, [Guard::Stop, Guard::Address, Guard::Stop]);
    assert!(groups[0].promise > groups[1].promise, "stopping takes its time");
    for expected in [
        "agent = \"heartbeat:Filesystem\"\narguments = [\"/dev/drbd0\", \"/srv\", \"ext3\"]",
        "agent = \"heartbeat:/opt/run\"\narguments = [\"a\", \"b\", \"c\"]",
        "haresources:2: 10.0.0.100 stood behind a service; here addresses come first",
        "drbddisk must have stopped before it starts elsewhere",
    ] {
        let text = imported.text.replace("\n#  ", "").replace("\n# ", " ");
        assert!(text.contains(expected), "{text} lacks {expected}");
    }
}

#[test]
fn order_masks_labels_and_broadcasts_are_remarked_upon() {
    let text = good(HA_CF, "one 10.0.0.100 10.0.0.101/24/eth0:1/10.0.0.7\n").text;
    for expected in [
        "haresources:1: the mask is not written; eth0 of this machine has a network of 24 bits",
        "haresources:1: the label is left out",
        "haresources:1: the broadcast address 10.0.0.7 is left out",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

proptest::proptest! {
    /// Whatever stands in the files, it is taken or refused.
    #[test]
    fn no_file_stops_the_program(
        ha_cf in "[a-z0-9 ./:#\\\\\n,_-]{0,200}",
        keys in "(auth [0-9]{1,2}\n)?([0-9]{1,2} (crc|md5|sha1|x) ?[a-zé]{0,4}\n){0,6}",
        resources in "((one|two|ONE) ([a-zA-Z0-9/:.]{0,20}( |::|\\\\\n|\n)){0,6}\n?){0,4}",
        line in proptest::sample::select(verdict::LINES),
    ) {
        let ha_cf = format!("{HA_CF}{ha_cf}\n{}\n", line.0);
        let folder = directory(&ha_cf, &keys, &resources);
        match import(&folder.path, &Choices::default(), &one()) {
            Ok(imported) => assert_eq!(
                Settings::parse("again", &imported.text).unwrap(),
                imported.settings
            ),
            Err(error) => assert!(error.render(&folder.path, false).starts_with("error: ")),
        }
    }
}
