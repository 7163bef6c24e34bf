//! What settings promise, to the letter.

use super::*;
use crate::settings::tests::{EXAMPLE, SERIAL, example};

fn checked(source: &str, enforcement: Enforcer) -> Check {
    Check::new(&Settings::parse("test.toml", source).unwrap(), enforcement)
}

#[test]
fn the_page_shows_every_term() {
    let check = checked(EXAMPLE, Enforcer::Bpf);
    let digest = format!("{:08x}", example().digest());
    let page = "\
cluster web: 2 nodes, 1 witness, 1 link, 1 group
heartbeat 5 ms, dead 22 ms, settle 200 ms, dispute 66 ms, longest promise 25 ms, digest DIGEST

group www, guard address, on alpha, beta
  L    promise                   25.000 ms  on a voter's clock
  rho  clock error                1.000 %   of every clock
  S    stop budget                0.000 ms  the kernel silences the addresses
  g    daemon's lateness          0.000 ms  the kernel holds the deadline
  K    kernel's overshoot         0.100 ms  bpf
  D    authority                 24.404 ms  what is left
  D + S + g + K = 24.504 ms <= L * (1 - rho) / (1 + rho) = 24.504 ms
  survives 3 heartbeats lost in a row before a peer is taken for dead, 2 before it lets go
  worst time without an answer
    crash of the holder            46.3 ms
    daemon killed                  30.0 ms
    orderly switchover             15.0 ms
    a crash is 25.3 silence + 10.0 claim + 1.0 round trip + 10.0 start
    its services may then take 10000 ms to start
  an isolated holder is silent 24.5 ms after its last answered heartbeat

warning: one link: its switch or cable is a single point of failure

SAFE: no two nodes can answer for one address";
    assert_eq!(check.to_string(), page.replace("DIGEST", &digest));
}

#[test]
fn the_numbers_are_the_sum_of_their_terms() {
    let check = checked(EXAMPLE, Enforcer::Bpf);
    let group = &check.groups[0];
    let terms = &group.terms;
    assert!((terms.authority_ms - 24.404).abs() < 1e-9, "{terms:?}");
    assert!((terms.secured_ms - 24.504).abs() < 1e-9, "{terms:?}");
    assert_eq!(group.survives, Survives { dead: 3, authority: 2 });
    let bounds = group.bounds.as_ref().unwrap();
    // 25 ms on a clock that is 1 % slow, two heartbeats, 1 ms and 10 ms.
    assert!((bounds.crash_ms - 46.252).abs() < 1e-9, "{bounds:?}");
    assert!((bounds.daemon_killed_ms - 30.0).abs() < 1e-9);
    assert!((bounds.switchover_ms - 15.0).abs() < 1e-9);
    assert!((bounds.isolated_silent_ms - 24.504).abs() < 1e-9);
    let sum: f64 = bounds.crash_terms.iter().map(|(_, term)| term).sum();
    assert!((sum - bounds.crash_ms).abs() < 1e-9);
}

#[test]
fn the_slower_profiles_survive_more() {
    for (profile, expected) in [
        ("standard", Survives { dead: 5, authority: 7 }),
        ("slow", Survives { dead: 6, authority: 9 }),
    ] {
        let source = EXAMPLE.replace("\"fast\"", &format!("{profile:?}"));
        let check = checked(&source, Enforcer::Bpf);
        assert_eq!(check.groups[0].survives, expected, "{profile}");
    }
}

#[test]
fn what_is_unsafe_is_refused_and_has_no_bounds() {
    let check = checked(EXAMPLE, Enforcer::ValidLifetime);
    assert!(!check.accepted && !check.safe && check.groups[0].bounds.is_none());
    assert_eq!(
        check.errors,
        ["group www: authority would be 0 ms, shorter than 2 heartbeats and a round trip \
             (11 ms): promise 25 ms is too short for heartbeat 5 ms with an overshoot of \
             1000 ms: raise promise to at least 1037 ms"]
    );
    assert!(check.to_string().ends_with("REFUSED: these settings are not run"));
}

#[test]
fn what_is_not_wise_is_said() {
    let warned = |from: &str, to: &str, expected: &str| {
        let source = EXAMPLE.replace(from, to);
        assert_ne!(source, EXAMPLE);
        let check = checked(&source, Enforcer::Bpf);
        assert!(
            check.warnings.iter().any(|warning| warning.contains(expected)),
            "{:?}",
            check.warnings
        );
    };
    assert_eq!(checked(EXAMPLE, Enforcer::Bpf).warnings.len(), 1, "one link");
    warned("votes = 1", "votes = 2", "cannot tie");
    warned("[[witness]]", "[timing]\nclock_error = \"0.01%\"\n[[witness]]", "clock_error");
    warned("prefer = [\"alpha\", \"beta\"]", "prefer = [\"beta\"]", "one node alone");
    let no_witness = EXAMPLE
        .replace("[[witness]]\nname = \"quorum\"\n", "")
        .replace(", quorum = \"10.77.0.9\"", "");
    let majority = no_witness.replace(", \"witness\"]", "]");
    let check = checked(&majority, Enforcer::Bpf);
    assert!(check.warnings[0].starts_with("no witness"), "{:?}", check.warnings);
    let two = no_witness.replace(", \"witness\"]", ", \"two-nodes\"]\naccept_split_brain = true");
    let check = checked(&two, Enforcer::Bpf);
    assert!(check.warnings[0].starts_with("two-nodes"), "{:?}", check.warnings);
    assert!(check.accepted && !check.safe && check.to_string().contains("NOT SAFE"));
}

#[test]
fn the_answer_for_machines_has_the_promised_keys() {
    let value = serde_json::to_value(checked(EXAMPLE, Enforcer::Bpf)).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["safe"], true);
    let group = &value["groups"][0];
    assert_eq!(group["name"], "www");
    for key in ["crash_ms", "daemon_killed_ms", "switchover_ms"] {
        assert!(group["bounds"][key].as_f64().is_some_and(|bound| bound > 0.0), "{key}");
    }
    assert_eq!(group["terms"]["promise_ms"], 25.0);
}

#[test]
fn a_missing_adapter_and_key_are_warnings() {
    let source = EXAMPLE
        .replace("\"eth0\"", "\"lifesign-none0\"")
        .replace("/etc/lifesign/key", "/nonexistent/key");
    let settings = Settings::parse("test.toml", &source).unwrap();
    let me = settings.node("alpha").unwrap();
    let check = Check::new(&settings, Enforcer::Bpf).on_this_machine(&settings, me);
    assert!(check.accepted && check.safe);
    assert_eq!(
        check.warnings[1..],
        [
            "this machine, as alpha, has no adapter lifesign-none0".to_owned(),
            "open key file /nonexistent/key: no such file or directory".to_owned()
        ]
    );
}

#[test]
fn serial_lines_are_weighed_and_dongles_assumed_of() {
    let check = checked(SERIAL, Enforcer::Bpf);
    let page = check.to_string();
    let expected = "
link cable, serial at 38400 bits/s
  each heartbeat puts at most 106 bytes on its busiest line (the longest frame has 101)
  they take 27.6 ms, 27.6 % of the line; at most 50 % may be filled

link wire, serial at 115200 bits/s, with the dongle dongle
  each heartbeat puts at most 204 bytes on its busiest line (the longest frame has 101)
  they take 17.7 ms, 17.7 % of the line; at most 50 % may be filled

assumes: the clock of dongle is right to 1.00 %, like every other: quartz is; an RC oscillator may \
be 3 % off, and needs clock_error = \"3%\"
assumes: dongle has power of its own or from every server: powered by one, it dies with it

warning: ping: nobody is asked, because there is no link of kind udp

SAFE";
    assert!(page.contains(expected), "{page}");
}

#[test]
fn a_heartbeat_that_a_line_cannot_carry_is_refused() {
    let check = checked(&SERIAL.replace("38400", "9600"), Enforcer::Bpf);
    assert!(!check.accepted);
    assert_eq!(
        check.errors,
        ["link cable: 9600 bits/s are too slow for a heartbeat every 100 ms: 106 bytes take \
          110.417 ms of it, and at most 50 % may be filled: raise heartbeat to at least 221 ms, or \
          speed to at least 38400"]
    );
    let slow = SERIAL.replace("38400", "9600").replace("quorum =", "profile = \"slow\"\nquorum =");
    assert!(checked(&slow, Enforcer::Bpf).accepted);
}

#[test]
fn the_dongle_s_clock_is_under_the_inequality() {
    let with = |error: &str, profile: &str| {
        let head = format!("profile = {profile:?}\n[timing]\nclock_error = {error:?}\n\n[[node]]");
        let source = SERIAL.replacen("[[node]]", &head, 1).replace("38400", "921600");
        checked(&source.replace("115200", "921600"), Enforcer::Nftables)
    };
    assert!(with("3%", "standard").accepted);
    assert!(with("3%", "standard").assumptions[0].contains("3.00 %"));
    // 1 s less what clocks may be wrong by, less two heartbeats of 100 ms each.
    let refused = with("20%", "standard").groups[0].terms;
    assert!((refused.secured_ms - 666.666).abs() < 0.001, "{refused:?}");
}

#[test]
fn a_client_that_is_not_here_is_named() {
    let with = |program: &str| {
        let client = format!("[[client]]\nname = \"mon\"\ncommand = [\"{program}\"]\n");
        let check = checked(&format!("{EXAMPLE}{client}"), Enforcer::Bpf);
        check.warnings.into_iter().find(|warning| warning.contains("client"))
    };
    assert_eq!(with("/bin/sh"), None);
    let expected = "client mon: /no/such is not on this machine";
    assert_eq!(with("/no/such").as_deref(), Some(expected));
}

#[test]
fn a_fence_group_that_nothing_can_fence_is_named() {
    let warned = |source: &str| {
        let check = checked(source, Enforcer::Bpf);
        check.warnings.into_iter().find(|warning| warning.contains("fence"))
    };
    let fenced = SERIAL.replace("name = \"www\"", "name = \"www\"\nguard = \"fence\"");
    assert_eq!(warned(&fenced), None);
    let half = fenced.replace("resets = [\"alpha\", \"beta\"]", "resets = [\"alpha\"]");
    assert_eq!(
        warned(&half).unwrap(),
        "group www: nothing can fence beta: after a crash of such a node the group waits until it is \
         back or a person says that it is off; add a `[[node.fence]]` with an agent, or a dongle \
         with `resets`"
    );
    assert_eq!(warned(SERIAL), None);
}

#[test]
fn a_missing_device_is_a_warning() {
    let settings = Settings::parse("test.toml", &SERIAL.replace("ttyS0", "nonexistent")).unwrap();
    let me = settings.node("beta").unwrap();
    let check = Check::new(&settings, Enforcer::Bpf).on_this_machine(&settings, me);
    let expected = "this machine, as beta, has no device /dev/nonexistent";
    assert!(check.warnings.iter().any(|warning| warning == expected), "{:?}", check.warnings);
}

#[test]
fn a_cluster_that_is_too_large_for_a_small_dongle_is_told() {
    let groups = |count: usize| -> String {
        let group =
            |at| format!("[[group]]\nname = \"g{at}\"\naddresses = [\"10.78.0.{}/24\"]\n", at + 1);
        (0..count).map(group).collect()
    };
    let warned = |source: String| {
        let warnings = checked(&source, Enforcer::Bpf).warnings;
        warnings.into_iter().find(|warning| warning.contains("small chip"))
    };
    assert_eq!(warned(format!("{SERIAL}{}", groups(7))), None);
    let said = warned(format!("{SERIAL}{}", groups(8))).unwrap();
    assert!(said.starts_with("2 nodes, 9 groups and frames of "), "{said}");
    assert_eq!(warned(format!("{EXAMPLE}{}", groups(8))), None, "there is no dongle");
}

#[test]
fn what_is_recorded_is_said() {
    let source = SERIAL.replacen("quorum =", "record = \"16MiB\"\nquorum =", 1);
    let page = checked(&source, Enforcer::Bpf).to_string();
    assert!(page.contains("\nrecords: each node up to 16 MiB, for `lifesign replay`\n"), "{page}");
    let digest = checked(&source, Enforcer::Bpf).digest;
    assert_eq!(digest, checked(SERIAL, Enforcer::Bpf).digest, "nodes need not agree on it");
}

#[test]
fn the_worst_time_counts_what_a_fence_may_take() {
    let fence = |name: &str, agent: &str, limit: &str| {
        format!("name = \"{name}\"\n[[node.fence]]\nagent = \"{agent}\"\nlimit = \"{limit}\"\n")
    };
    let source = EXAMPLE.replace("votes = 1\n", "").replace("\"address\"", "\"fence\"");
    let one = source.replacen("name = \"alpha\"\n", &fence("alpha", "fence_one", "20s"), 1);
    let both = one.replacen("name = \"beta\"\n", &fence("beta", "fence_one", "30s"), 1);
    let bounds = |source: &str| {
        let settings = Settings::parse("test.toml", source).unwrap();
        Check::new(&settings, Enforcer::Nftables).groups[0].bounds.clone().unwrap()
    };
    let (unlimited, limited) = (bounds(&one), bounds(&both));
    assert!(limited.crash_terms.contains(&("fence", 30_000.0)), "{limited:?}");
    assert!((limited.crash_ms - unlimited.crash_ms - 30_000.0).abs() < 1e-6);
    let idle = both.replace("\"fence\"", "\"address\"");
    let settings = Settings::parse("test.toml", &idle).unwrap();
    let warnings = Check::new(&settings, Enforcer::Nftables).warnings;
    assert!(warnings.iter().any(|text| text.contains("is fenced for nobody")), "{warnings:?}");
}

#[test]
fn a_watchdog_is_shown_with_what_would_be_without_it() {
    let stop = EXAMPLE.replace("guard = \"address\"", "guard = \"stop\"");
    let watched = stop.replace("[[group]]", "[watchdog]\ndevice = \"/dev/watchdog\"\n[[group]]");
    let check = checked(&watched, Enforcer::Bpf);
    let page = check.to_string();
    for expected in [
        "  S    stop budget             5100.000 ms  stop limits and margins\n",
        "  K    overshoot              10500.000 ms  2 W + F of the watchdog, W 5000 ms, F 500 ms\n",
        "  without the watchdog K is 0.1 ms, and L = 5234 ms leaves the same D\n",
        "assumes: a machine is silent 500ms after its watchdog has expired",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(check.accepted && !page.contains("rests on stop commands"), "{page}");
    let optional = watched.replace("/dev/watchdog\"", "/dev/watchdog\"\nrequired = false");
    let page = checked(&optional, Enforcer::Bpf).to_string();
    assert!(page.contains("warning: the watchdog is not required"), "{page}");
    let page = checked(&stop, Enforcer::Bpf).to_string();
    for expected in [
        "  with a watchdog, W 5000 ms and F 500 ms, K is 10500 ms, and L = ",
        "warning: group www: guard \"stop\" rests on stop commands alone",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let idle = watched.replace("guard = \"stop\"", "guard = \"address\"");
    let page = checked(&idle, Enforcer::Bpf).to_string();
    assert!(page.contains("warning: the watchdog guards nothing"), "{page}");
}

#[test]
fn a_second_adapter_bounds_what_the_failure_of_one_costs() {
    let settings = |more: &str| {
        let wire = "[[link]]\nname = \"wire\"\nkind = \"ether\"\nadapter = \"eth1\"\n";
        let network = format!("{wire}[[network]]\nname = \"front\"\nlinks = [\"lan\"{more}]\n");
        let text = EXAMPLE.replacen("[[group]]", &format!("{network}[[group]]"), 1);
        Settings::parse("test.toml", &text).unwrap()
    };
    let check = Check::new(&settings(", \"wire\""), Enforcer::Bpf);
    let swap = check.groups[0].bounds.as_ref().unwrap().swap.unwrap();
    assert_eq!(swap, Swap { no_carrier_ms: 20.0, silent_ms: 20.0 + 22.0 + 1.0 });
    let page = check.to_string();
    assert!(page.contains("adapter unplugged") && page.contains("adapter silent"), "{page}");
    let check = Check::new(&settings(""), Enforcer::Bpf);
    assert_eq!(check.groups[0].bounds.as_ref().unwrap().swap, None);
    assert!(!check.to_string().contains("adapter unplugged"));
}

#[test]
fn what_cannot_be_told_apart_on_a_network_is_said() {
    let wire = "[[link]]\nname = \"wire\"\nkind = \"ether\"\nadapter = \"eth1\"\n";
    let network = |links: &str, more: &str| {
        let network = format!("[[network]]\nname = \"front\"\nlinks = [{links}]\n{more}");
        EXAMPLE.replace("[[group]]", &format!("{wire}{network}[[group]]"))
    };
    let warned = |source: &str| checked(source, Enforcer::Bpf).warnings.join("\n");
    let alone = warned(&network("\"lan\"", ""));
    assert!(alone.contains("network front: one adapter of alpha and beta on it"), "{alone}");
    assert!(!alone.contains("cannot tell"), "the witness is on that link: {alone}");
    let both = warned(&network("\"lan\", \"wire\"", ""));
    assert!(both.contains("network front: on wire two nodes alone cannot tell"), "{both}");
    let asked = warned(&network("\"lan\", \"wire\"", "ask = [\"10.77.0.254\"]\n"));
    assert!(!asked.contains("network front"), "{asked}");
    let idle = warned(&network("\"wire\"", ""));
    assert!(idle.contains("network front: no group has an address on it"), "{idle}");
    let shared = warned(&network("\"wire\"", "").replace("eth1", "eth0"));
    assert!(
        shared.contains("links lan and wire share eth0 of beta: they fail together"),
        "{shared}"
    );
}
