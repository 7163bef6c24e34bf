//! Programs and fence devices of ha.cf.

use lifesign_core::group::Guard;

use super::{HA_CF, good, refused};
use crate::settings::Settings;

const GROUPS: &str = "one 10.0.0.100/24\n";

fn settings(lines: &str) -> (Settings, String) {
    let imported = good(&format!("{HA_CF}{lines}"), GROUPS);
    (imported.settings, imported.text)
}

#[test]
fn programs_are_kept_running_and_those_of_linux_ha_are_not() {
    let (settings, text) = settings(
        "respawn hacluster /usr/lib/heartbeat/ipfail\nrespawn nobody /opt/mon -a x,y\n\
         respawn root /usr/bin/mon\n",
    );
    let [first, second] = settings.clients.as_slice() else { panic!("{text}") };
    assert_eq!((first.name.as_str(), first.user.as_deref()), ("mon", Some("nobody")));
    assert_eq!(first.command, ["/opt/mon", "-a", "x,y"]);
    assert_eq!((second.name.as_str(), second.user.as_deref()), ("mon-2", Some("root")));
    assert!(second.nodes.is_empty(), "it ran on every node");
    assert!(text.contains("ha.cf:6: respawn hacluster"), "{text}");
    let said = refused(&format!("{HA_CF}respawn hacluster /usr/lib/heartbeat/dopd\n"), GROUPS);
    assert!(said.contains("dopd speaks to Linux-HA, which does not run; guard = "), "{said}");
}

#[test]
fn devices_become_fences_of_those_whom_they_make_silent() {
    let (settings, text) = settings(
        "stonith_host * external/rackpdu one,Two 10.0.0.9 private\n\
         stonith_host two external/ssh one\nstonith_host * ssh one two\n",
    );
    let agents = |at: usize| {
        let fences = settings.nodes[at].fence.iter();
        fences.map(|fence| fence.kind.to_string()).collect::<Vec<String>>()
    };
    assert_eq!(agents(0), ["external/rackpdu", "external/ssh", "external/ssh"], "{text}");
    assert_eq!(agents(1), ["external/rackpdu", "external/ssh"], "{text}");
    let told: Vec<(&str, &str)> = settings.nodes[1].fence[0]
        .parameters
        .iter()
        .map(|parameter| (parameter.name.as_str(), parameter.value.as_str()))
        .collect();
    assert_eq!(told, [("hostlist", "one,Two"), ("pduip", "10.0.0.9"), ("community", "private")]);
    assert_eq!(settings.groups[0].guard, Guard::Fence);
    let (by_hand, text) = self::settings("stonith_host * meatware one two\n");
    assert!(by_hand.nodes.iter().all(|node| node.fence.is_empty()), "{text}");
    assert_eq!(by_hand.groups[0].guard, Guard::Fence);
    assert!(text.contains("`lifesign fence confirm two`"), "{text}");
}

#[test]
fn what_is_refused_is_written_as_it_should_be_and_without_its_password() {
    for (line, expected) in [
        (
            "stonith_host * external/ipmi one 10.0.0.9 admin hush lan",
            "fence = [{ agent = \"external/ipmi\", parameters = { hostname = \"one\", ipaddr = \
             \"10.0.0.9\", userid = \"admin\", interface = \"lan\" }, secrets = { passwd = \
             \"/etc/lifesign/NODE.passwd\" } }], and the password",
        ),
        (
            "stonith_host * ipmilan one 10.0.0.9 623 md5 admin root hush",
            "fence = [{ agent = \"fence_ipmilan\", parameters = { ip = \"10.0.0.9\", ipport = \
             \"623\", auth = \"md5\", privlvl = \"admin\", username = \"root\" }, secrets = { \
             password = \"/etc/lifesign/NODE.password\" } }]",
        ),
        ("stonith_host * wti_nps 10.0.0.9 hush", "{ ip = \"10.0.0.9\", plug = \"..\" }"),
        ("stonith external/rackpdu /etc/hush", "parameters = { hostlist = \"..\", pduip"),
        ("stonith_host * external/nut one x y hush", "`lifesign check` says what"),
        ("stonith_host two external/ssh one two", "one has no way to it"),
        ("stonith_host * external/ssh one", "nothing fences two"),
    ] {
        let said = refused(&format!("{HA_CF}{line}\n"), GROUPS);
        assert!(said.contains(expected), "{expected} is not in {said}");
        assert!(!said.contains("hush"), "{said}");
        let Some((_, fence)) = said.split_once("fence = [") else { continue };
        let (fence, _) = fence.split_once(" }]").unwrap();
        let example = crate::settings::tests::EXAMPLE;
        let whole = example.replacen("votes = 1", &format!("fence = [{fence} }}]"), 1);
        Settings::parse("test.toml", &whole).unwrap_or_else(|error| panic!("{fence}: {error}"));
    }
}
