//! Wrong files with what is said of them, and files that nobody would write.

use super::*;
use lifesign_core::frame::LinkClass;
use lifesign_core::node::NodeSet;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// Two servers, a witness, one address and one service.
pub(crate) const EXAMPLE: &str = r#"version = 1
cluster = "web"
key_file = "/etc/lifesign/key"
profile = "fast"
quorum = ["majority", "witness"]

[[node]]
name = "alpha"
votes = 1
[[node]]
name = "beta"
[[witness]]
name = "quorum"

[[link]]
name = "lan"
kind = "udp"
adapter = "eth0"
delivery = "multicast"
multicast = "239.255.76.83"
members = { alpha = "10.77.0.1", beta = "10.77.0.2", quorum = "10.77.0.9" }

[[group]]
name = "www"
guard = "address"
addresses = ["10.77.0.100/24"]
prefer = ["alpha", "beta"]
failback = "off"
[[group.service]]
name = "nginx"
start = ["/usr/sbin/service", "nginx", "start"]
stop = ["/usr/sbin/service", "nginx", "stop"]
"#;

/// Two servers with a cable between their serial ports and a dongle at two others.
pub(crate) const SERIAL: &str = r#"version = 1
cluster = "web"
key_file = "/etc/lifesign/key"
quorum = ["majority", "witness"]
ping = ["10.77.0.254", "fd00::254"]

[[node]]
name = "alpha"
[[node]]
name = "beta"
[[witness]]
name = "dongle"

[[link]]
name = "cable"
kind = "serial"
device = "/dev/ttyS0"
speed = 38400
low_latency = false

[[link]]
name = "wire"
kind = "serial"
device = { alpha = "/dev/serial/by-id/usb-1", beta = ["/dev/ttyUSB0", "/dev/ttyUSB1"] }
witness = "dongle"
resets = ["alpha", "beta"]

[[group]]
name = "www"
addresses = ["10.77.0.100/24"]
"#;

/// Returns the settings of [`EXAMPLE`].
pub(crate) fn example() -> Settings {
    Settings::parse("test.toml", EXAMPLE).unwrap()
}

/// A folder that goes away with its value.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("lifesign-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The table: `=== FROM => TO` changes the example; what follows is what is said of it, to the
/// letter.
const WRONG: &str = include_str!("tests/wrong.txt");

#[test]
fn each_wrong_file_is_answered_to_the_letter() {
    let mut said = String::new();
    for case in WRONG.split("=== ").skip(1) {
        let head = case.lines().next().unwrap();
        let (from, to) = head.split_once(" => ").unwrap();
        let [from, to] = [from, to].map(|text| text.replace("\\n", "\n"));
        let source = if from == "*" { to } else { EXAMPLE.replacen(&from, &to, 1) };
        assert!(from == "*" || EXAMPLE.contains(&from), "the example has no {from}");
        let mistakes = Settings::parse("test.toml", &source).unwrap_err();
        said.push_str(&format!("=== {head}\n{mistakes}\n\n"));
    }
    if std::env::var_os("LIFESIGN_BLESS").is_some() {
        std::fs::write("src/settings/tests/wrong.txt", &said).unwrap();
    }
    for (line, (said, expected)) in said.lines().zip(WRONG.lines()).enumerate() {
        assert_eq!(said, expected, "line {} of the table", line + 1);
    }
    assert_eq!(said.lines().count(), WRONG.lines().count());
}

#[test]
fn too_many_of_anything_is_refused() {
    let repeated = |table: &str, count: usize| -> String {
        let one = |at: usize| table.replace("NUMBER", &at.to_string());
        (0..count).map(one).collect()
    };
    let link = "[[link]]\nname = \"l-NUMBER\"\nport = 1NUMBER\nadapter = \"eth0\"\n\
                members = { alpha = \"10.0.0.1\", beta = \"10.0.0.2\" }\n";
    let group = "[[group]]\nname = \"g-NUMBER\"\naddresses = [\"10.9.9.1NUMBER/24\"]\n";
    for (table, most) in [
        ("[[node]]\nname = \"n-NUMBER\"\n", 14),
        ("[[witness]]\nname = \"w-NUMBER\"\n", 2),
        (link, 7),
        (group, 31),
    ] {
        let is_refused = |count| {
            let source = format!("{EXAMPLE}{}", repeated(table, count));
            let mistakes = Settings::parse("test.toml", &source).err();
            let mistakes = mistakes.map(|mistakes| mistakes.to_string()).unwrap_or_default();
            mistakes.contains("are too many")
        };
        assert!(!is_refused(most) && is_refused(most + 1), "{table}");
    }
}

#[test]
fn a_file_of_another_kind_is_answered_in_short() {
    let source: String = (0..60_000).map(|line| format!("key{line} = {line}\n")).collect();
    let said = Settings::parse("test.toml", &source).unwrap_err().to_string();
    assert!(said.ends_with("\n\nerror: and 59985 more mistakes"), "{}", said.len());
    assert!(said.lines().count() < 200);
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = example();
    let timing = &settings.timing;
    let spans = [
        timing.heartbeat,
        timing.dead,
        timing.longest_promise,
        timing.settle,
        timing.dispute,
        timing.offer,
    ];
    assert_eq!(spans.map(Duration::as_millis), [5, 22, 25, 200, 66, 1000]);
    assert_eq!(settings.state_dir, Path::new("/var/lib/lifesign"));
    assert_eq!(settings.control, Path::new("/run/lifesign/control"));
    assert_eq!(settings.links[0].udp().unwrap().port, 6940);
    assert_eq!(settings.links[0].class(), LinkClass::Udp);
    assert!(settings.ping.is_empty());
    let group = &settings.groups[0];
    assert_eq!(group.conflict_probe, Duration::from_millis(50));
    assert_eq!(group.failback, Failback::Off);
    assert_eq!((group.failure_window, group.moves), (Duration::from_millis(600_000), 4));
    assert_eq!(group.services[0].restarts, 2);
    let plain = EXAMPLE
        .replace("profile = \"fast\"\n", "")
        .replace("prefer = [\"alpha\", \"beta\"]\n", "")
        .replace("\"off\"", "\"on\"");
    let settings = Settings::parse("test.toml", &plain).unwrap();
    assert_eq!(settings.profile, Profile::Standard);
    assert_eq!(settings.groups[0].prefer.len(), 2);
    assert_eq!(settings.groups[0].failback, Failback::After(Duration::from_millis(300_000)));
    let members: Vec<_> = settings.members().map(|(id, name)| (id.number(), name)).collect();
    assert_eq!(members, [(0, "alpha"), (1, "beta"), (16, "quorum")]);
    assert_eq!(settings.name_of(NodeId::witness(0).unwrap()), "quorum");
}

#[test]
fn failures_count_as_the_settings_say() {
    let source = EXAMPLE.replace(
        "failback = \"off\"\n[[group.service]]\n",
        "failback = \"off\"\nfailure_window = \"1h\"\nmoves = 7\n[[group.service]]\nrestarts = 0\n",
    );
    let group = Settings::parse("test.toml", &source).unwrap().groups.remove(0);
    assert_eq!((group.failure_window.as_millis(), group.moves), (3_600_000, 7));
    assert_eq!(group.services[0].restarts, 0);
    let nodes: String = (0..6).map(|at| format!("[[node]]\nname = \"n{at}\"\n")).collect();
    let members = (0..6).map(|at| format!(", n{at} = \"10.77.0.2{at}\"")).collect::<String>();
    let many = EXAMPLE
        .replace("prefer = [\"alpha\", \"beta\"]\n", "")
        .replace(" }\n", &format!("{members} }}\n"));
    let settings = Settings::parse("test.toml", &format!("{many}{nodes}")).unwrap();
    assert_eq!(settings.groups[0].moves, 8, "each node may try once");
}

#[test]
fn serial_links_alone_make_a_cluster() {
    let settings = Settings::parse("test.toml", SERIAL).unwrap();
    let [alpha, beta] = ["alpha", "beta"].map(|name| settings.node(name).unwrap());
    let dongle = NodeId::witness(0).unwrap();
    let [cable, wire] = [0, 1].map(|at| settings.links[at].serial().unwrap());
    assert_eq!((cable.speed, cable.low_latency, cable.witness), (38_400, false, None));
    assert_eq!((wire.speed, wire.low_latency, wire.witness), (115_200, true, Some(dongle)));
    assert_eq!(cable.devices(beta), [PathBuf::from("/dev/ttyS0")]);
    assert_eq!(wire.devices(beta).len(), 2);
    assert_eq!(wire.resets, NodeSet::EMPTY.with(alpha).with(beta));
    assert!(settings.links[1].reaches(dongle) && !settings.links[0].reaches(dongle));
    assert_eq!(settings.links[1].place(beta), "/dev/ttyUSB0, /dev/ttyUSB1");
    assert_eq!(settings.links[1].adapter(beta), None);
    assert_eq!(settings.ping.len(), 2);
    let slow = Settings::parse("test.toml", &SERIAL.replace("38400", "9600")).unwrap();
    assert!(slow.engine_config(beta, Duration::from_millis(8)).is_err());
    let config = settings.engine_config(beta, Duration::from_millis(8)).unwrap();
    assert_eq!(config.links, [LinkClass::Serial, LinkClass::Serial]);
}

#[test]
fn raw_ethernet_needs_an_adapter_alone() {
    let with = |lines: &str| {
        let link = format!("[[link]]\nname = \"wire\"\nkind = \"ether\"\n{lines}\n[[group]]");
        Settings::parse("test.toml", &EXAMPLE.replace("[[group]]\nname", &format!("{link}\nname")))
    };
    let settings = with("adapter = { alpha = \"eth1\", beta = \"eth2\" }").unwrap();
    let [alpha, beta] = ["alpha", "beta"].map(|name| settings.node(name).unwrap());
    let link = &settings.links[1];
    let ether = link.ether().unwrap();
    assert_eq!((ether.ethertype, ether.vlan, ether.broadcast), (0x88b5, None, false));
    assert_eq!((link.class(), link.adapter(beta)), (LinkClass::Ether, Some("eth2")));
    assert!(link.reaches(alpha) && !link.reaches(NodeId::witness(0).unwrap()));
    let other = with("adapter = \"eth1\"").unwrap();
    assert_eq!(other.digest(), settings.digest(), "adapters may differ");
    let tagged = "adapter = \"eth1\"\nvlan = 7\nethertype = 0x88b6\ndelivery = \"broadcast\"";
    let tagged = with(tagged).unwrap();
    let ether = tagged.links[1].ether().unwrap();
    assert_eq!((ether.ethertype, ether.vlan, ether.broadcast), (0x88b6, Some(7), true));
    assert_ne!(tagged.digest(), settings.digest());
}

#[test]
fn nodes_agree_on_the_dongle_and_not_on_its_devices() {
    let digest = Settings::parse("test.toml", SERIAL).unwrap().digest();
    for (from, to, is_same) in [
        ("/dev/ttyS0", "/dev/ttyS1", true),
        ("38400", "57600", true),
        ("10.77.0.254", "10.77.0.253", true),
        ("resets = [\"alpha\", \"beta\"]", "resets = [\"alpha\"]", false),
        ("resets = [\"alpha\", \"beta\"]\n", "", false),
    ] {
        assert!(SERIAL.contains(from), "{from} is in the example");
        let settings = Settings::parse("test.toml", &SERIAL.replace(from, to)).unwrap();
        assert_eq!(settings.digest() == digest, is_same, "{from} to {to}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new("load");
    let path = folder.path.join("settings.toml");
    let said = |path: &Path| Settings::load(path).unwrap_err().to_string();
    assert_eq!(said(&path), format!("read {}: no such file or directory", path.display()));
    assert_eq!(said(&folder.path), format!("read {}: is a directory", folder.path.display()));
    std::fs::write(&path, b"version = 1\n\xff\n").unwrap();
    assert_eq!(said(&path), format!("read {}: line 2 is not text in UTF-8", path.display()));
    std::fs::write(&path, vec![b'#'; 1_048_577]).unwrap();
    assert_eq!(said(&path), format!("read {}: longer than 1048576 bytes", path.display()));
    std::fs::write(&path, EXAMPLE).unwrap();
    assert!(Settings::load(&path).is_ok());
}

/// Pieces that settings are made of, to be put where they do not belong.
const PIECES: [&str; 24] = [
    "[[",
    "]]",
    "=",
    "\"",
    "{",
    "}",
    "\n",
    "[timing]\n",
    "[[group]]\n",
    "[[group.service]]\n",
    "\u{0}",
    "\u{1b}[35m",
    "é",
    "\u{202e}",
    "0",
    "-1",
    "99999999999999999999",
    "\"0ms\"",
    "\"1%\"",
    "'''",
    "\\u001b",
    "\t",
    "name",
    "1979-05-27",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is cut out or put in, there is an answer and no panic, and it says nothing to the
    /// terminal.
    #[test]
    fn mutated_files_are_read_or_refused(
        edits in proptest::collection::vec((0usize..1200, 0usize..40, 0usize..PIECES.len()), 1..6),
        is_coloured in any::<bool>(),
    ) {
        let mut source = EXAMPLE.to_owned();
        for (at, cut, piece) in edits {
            let start = source.floor_char_boundary(at);
            let end = source.floor_char_boundary(start + cut).max(start);
            source.replace_range(start..end, PIECES[piece]);
        }
        match Settings::parse("test.toml", &source) {
            Err(mistakes) => {
                prop_assert!(!mistakes.list().is_empty());
                let said = mistakes.render(is_coloured);
                prop_assert!(said.contains("error"));
                for order in ["\u{1b}[35m", "\u{202e}"] {
                    prop_assert!(!said.contains(order), "{}", said);
                }
            }
            Ok(settings) => {
                for me in settings.quorum.nodes().iter() {
                    let _ = settings.engine_config(me, Duration::from_millis(4));
                }
            }
        }
        let witness = witness::WitnessSettings::parse("test.toml", &source);
        prop_assert!(witness.is_err_and(|mistakes| mistakes.to_string().contains("error")));
    }

    /// One word in the place of another.
    #[test]
    fn swapped_words_are_read_or_refused(from in 0usize..120, to in 0usize..120) {
        let words: Vec<&str> = EXAMPLE.split_inclusive([' ', '\n']).collect();
        let mut changed = words.clone();
        changed[from % words.len()] = words[to % words.len()];
        if let Err(mistakes) = Settings::parse("test.toml", &changed.concat()) {
            prop_assert!(mistakes.to_string().contains("error"));
        }
    }
}
