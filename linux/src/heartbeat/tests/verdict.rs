//! Each directive of ha.cf, tried.

use super::super::directive::{DIRECTIVES, Verdict};
use super::super::fault::Faults;
use super::super::ha_cf::HaCf;

/// A line for each directive, and whether it is taken.
pub(super) const LINES: &[(&str, bool)] = &[
    ("node three", true),
    ("cluster web", true),
    ("keepalive 600ms", true),
    ("deadtime 6", true),
    ("warntime 1", true),
    ("initdead 60", true),
    ("deadping 6", true),
    ("hopfudge 1", true),
    ("udpport 695", true),
    ("baud 19200", true),
    ("bcast eth0", true),
    ("mcast eth0 225.0.0.1 694 1 0", true),
    ("mcast6 eth0 ff02::4c53 694 1 0", true),
    ("ucast eth0 10.0.0.2", true),
    ("ucast6 eth0 fd00::2", true),
    ("serial /dev/ttyS0", true),
    ("udp eth0", true),
    ("ping 10.0.0.254", true),
    ("ping6 fd00::254", true),
    ("ping_group gates 10.0.0.254 10.0.0.253", true),
    ("hbaping x", false),
    ("tipc 1", false),
    ("rds eth0", false),
    ("openais 1", false),
    ("ppp-udp 10.0.0.1", false),
    ("auto_failback on", true),
    ("nice_failback on", true),
    ("stonith meatware /etc/x", false),
    ("stonith_host * meatware one two", true),
    ("watchdog /dev/watchdog", true),
    ("respawn hacluster /usr/lib/heartbeat/ipfail", true),
    ("failfast hacluster /usr/lib/heartbeat/ipfail", true),
    ("apiauth ipfail uid=hacluster", true),
    ("env quorum=majority", true),
    ("logfacility local0", true),
    ("logfile /var/log/ha-log", true),
    ("debugfile /var/log/ha-debug", true),
    ("use_logd yes", true),
    ("conn_logd_time 60", true),
    ("syslogmsgfmt true", true),
    ("debug 1", true),
    ("coredumps true", true),
    ("coreroot /var/lib/heartbeat/cores", true),
    ("realtime on", true),
    ("rtprio 5", true),
    ("memreserve 6500", true),
    ("hbgenmethod time", true),
    ("uuidfrom nodename", true),
    ("autojoin none", true),
    ("max_rexmit_delay 250", true),
    ("msgfmt netstring", true),
    ("compression bz2", true),
    ("compression_threshold 2", true),
    ("traditional_compression no", true),
    ("log_badpack false", true),
    ("quorum_server 10.0.0.9", true),
    ("normalpoll true", true),
    ("use_apphbd off", true),
    ("crm off", true),
    ("pacemaker no", true),
    ("crm_daemon_dir /usr/lib", false),
    ("crmd_spawns_pengine on", false),
    ("record_config_changes on", false),
    ("record_pengine_inputs on", false),
    ("enable_config_writes on", false),
];

#[test]
fn every_directive_has_a_verdict_that_is_kept() {
    let names: Vec<&str> = DIRECTIVES.iter().map(|directive| directive.name).collect();
    let tried: Vec<&str> = LINES.iter().filter_map(|(line, _)| line.split(' ').next()).collect();
    assert_eq!(names, tried, "each directive has its line here, in the table's order");
    for (directive, (line, is_taken)) in DIRECTIVES.iter().zip(LINES) {
        assert_eq!(*is_taken, directive.verdict != Verdict::Refused, "{line}");
        let mut faults = Faults::default();
        let text = format!("{line}\n");
        let ha = HaCf::parse(&text, &mut faults);
        let own: Vec<_> = faults.list().into_iter().filter(|fault| fault.place.line > 0).collect();
        assert_eq!(own.is_empty(), *is_taken, "{line}: {own:?}");
        assert!(own.iter().all(|fault| !fault.hint.is_empty()), "{line}: what to do?");
        if directive.verdict == Verdict::Accepted {
            assert!(ha.remarks[0].text.ends_with(directive.help), "{line}: {:?}", ha.remarks);
        }
        // Every directive wants something behind it.
        let mut faults = Faults::default();
        let _ = HaCf::parse(directive.name, &mut faults);
        let has_own = faults.list().iter().any(|fault| fault.place.line == 1);
        assert!(has_own, "{} alone is taken", directive.name);
    }
}
