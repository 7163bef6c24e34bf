//! The agent `lifesign:dns`, as the daemon runs it, against BIND and Knot.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use lifesign::agent::Parameter;
use lifesign::agent::own::primary::Primary;
use lifesign::agent::own::record::{Change, Plan, Zone};
use lifesign::clock;
use lifesign::namespace::{self, Users};
use lifesign_tests::name_server::{KEYS, NameServer, Software, dig, port_of};
use lifesign_tests::{doomed, figures};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NAME: &str = "www.example.org";
const BESIDE: &str = "_lifesign.www.example.org";

/// Runs `body` with each name server, alone with it in a network.
fn each(test: &str, body: impl Fn(&Names)) {
    let entered = namespace::enter(test, Users::New).unwrap_or_else(|error| panic!("{error}"));
    if entered.is_none() {
        return;
    }
    for software in Software::ALL {
        let server = NameServer::start(software, &[V4, V6]);
        let (name, secret) = KEYS[0];
        let key = server.write_key("key", name, secret, 0o600);
        let told = [
            format!("server={V4}"),
            "zone=example.org".to_owned(),
            format!("name={NAME}"),
            "a.alpha=10.0.0.1".to_owned(),
            "a.beta=10.0.0.2".to_owned(),
            "aaaa.beta=fd00::2".to_owned(),
            "ttl=5s".to_owned(),
            "patience=8s".to_owned(),
            format!("key_file={}", key.display()),
        ];
        body(&Names { software, server, told: told.into() });
    }
}

struct Names {
    software: Software,
    server: NameServer,
    told: Vec<String>,
}

impl Names {
    /// Runs the agent for `node` under `token`, with `changed` in place of its parameters, and
    /// returns what it said, and whether that is good.
    fn act_with(&self, deed: &str, token: u32, node: &str, changed: &[String]) -> (bool, String) {
        let key = |word: &String| word.split_once('=').unwrap().0.to_owned();
        let is_changed = |word: &&String| changed.iter().any(|other| key(other) == key(word));
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject"));
        command.args(["agent", "dns", deed]);
        command.args(self.told.iter().filter(|word| !is_changed(word))).args(changed);
        command.env("LIFESIGN_NODE", node).env("LIFESIGN_TOKEN", token.to_string());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap().trim().to_owned();
        let (_, secret) = KEYS[0];
        assert!(!said.contains(secret), "it shows the secret: {said}");
        assert!(said.lines().count() <= 1, "more than a line: {said}");
        (output.status.success(), said)
    }

    fn act(&self, deed: &str, token: u32, node: &str) -> (bool, String) {
        self.act_with(deed, token, node, &[])
    }

    fn expect_good(&self, deed: &str, token: u32, node: &str) {
        assert_eq!(self.act(deed, token, node), (true, String::new()), "{deed} {token} {node}");
    }

    /// Expects that `start` for alpha with `changed` fails, saying `expected`.
    fn expect_refusal(&self, changed: &[String], expected: &str) {
        let (is_good, said) = self.act_with("start", 50, "alpha", changed);
        assert!(!is_good && said.contains(expected), "{said} is not {expected}");
    }
}

/// What anybody sees of the name: its addresses, and what stands beside it.
fn seen() -> (String, String, String) {
    (dig(V4, NAME, "A"), dig(V6, NAME, "AAAA"), dig(V4, BESIDE, "TXT"))
}

fn expect_seen(a: &str, aaaa: &str, beside: &str) {
    let beside = if beside.is_empty() { String::new() } else { format!("\"{beside}\"") };
    assert_eq!(seen(), (a.to_owned(), aaaa.to_owned(), beside));
}

#[test]
fn a_name_follows_its_holder_and_forgets_nothing() {
    each("a_name_follows_its_holder_and_forgets_nothing", |names| {
        assert!(!names.act("monitor", 41, "alpha").0);
        names.expect_good("start", 41, "alpha");
        expect_seen("10.0.0.1", "", "token=41 node=alpha");
        names.expect_good("monitor", 41, "alpha");
        names.expect_good("start", 41, "alpha");
        names.expect_good("start", 42, "beta");
        expect_seen("10.0.0.2", "fd00::2", "token=42 node=beta");
        // Whoever had it before knows no better, and neither takes it nor takes it away.
        let (is_good, said) = names.act("monitor", 41, "alpha");
        assert!(!is_good && said.contains("not ours: token=42 node=beta"), "{said}");
        let (is_good, said) = names.act("start", 41, "alpha");
        assert!(!is_good && said.contains("has a newer holder: token=42 node=beta"), "{said}");
        let (is_good, said) = names.act("stop", 41, "alpha");
        assert!(is_good && said.contains("left alone"), "{said}");
        expect_seen("10.0.0.2", "fd00::2", "token=42 node=beta");
        names.expect_good("stop", 42, "beta");
        expect_seen("", "", "token=42 node=beta stopped");
        assert!(!names.act("start", 41, "alpha").0, "an older holder comes back after a stop");
        names.expect_good("start", 43, "alpha");
        expect_seen("10.0.0.1", "", "token=43 node=alpha");
        let mut dig = Command::new("/usr/bin/dig");
        let answer = dig.args(["@127.0.0.1", "+noall", "+answer", NAME]).output().unwrap();
        let ttl = String::from_utf8(answer.stdout).unwrap();
        assert_eq!(ttl.split_whitespace().nth(1), Some("5"), "{ttl}");
        names.expect_good("stop", 43, "alpha");
    });
}

#[test]
fn the_server_refuses_what_was_decided_on_what_is_no_longer_there() {
    each("the_server_refuses_what_was_decided_on_what_is_no_longer_there", |names| {
        let parameter = |word: &String| {
            let (name, value) = word.split_once('=').unwrap();
            Parameter { name: name.to_owned(), value: value.to_owned(), span: 0..0 }
        };
        let told: Vec<Parameter> = names.told.iter().map(parameter).collect();
        let mut primary = Primary::open(&Plan::read(&told).unwrap()).unwrap();
        let change = |was: Option<&str>, becomes: &str, ip: &str| Change {
            was: was.map(str::to_owned),
            becomes: becomes.to_owned(),
            addresses: vec![ip.parse().unwrap()],
        };
        assert_eq!(primary.change(&change(Some("a"), "b", "10.0.0.9")), Ok(false));
        assert_eq!(primary.change(&change(None, "b", "10.0.0.9")), Ok(true));
        assert_eq!(primary.change(&change(None, "c", "10.0.0.8")), Ok(false));
        assert_eq!(primary.change(&change(Some("a"), "c", "10.0.0.8")), Ok(false));
        expect_seen("10.0.0.9", "", "b");
        assert_eq!(primary.beside(), Ok(Some("b".to_owned())));
        assert_eq!(primary.change(&change(Some("b"), "c", "fd00::8")), Ok(true));
        expect_seen("", "fd00::8", "c");
        // What is not ours is never replaced.
        names.expect_refusal(&[], "something that is not ours: \"c\"");
    });
}

#[test]
fn of_many_who_start_at_once_the_newest_has_the_name() {
    each("of_many_who_start_at_once_the_newest_has_the_name", |names| {
        for round in [0, 10, 20] {
            thread::scope(|scope| {
                for token in 1..=4 {
                    let node = if token % 2 == 0 { "beta" } else { "alpha" };
                    scope.spawn(move || names.act("start", round + token, node));
                }
            });
            expect_seen("10.0.0.2", "fd00::2", &format!("token={} node=beta", round + 4));
        }
    });
}

#[test]
fn what_a_server_refuses_is_said_in_one_line() {
    each("what_a_server_refuses_is_said_in_one_line", |names| {
        let key = |file: &str, name: &str, secret: &str, mode: u32| {
            let path = names.server.write_key(file, name, secret, mode);
            vec![format!("key_file={}", path.display())]
        };
        let other = KEYS[1];
        let stranger = key("stranger", "stranger", KEYS[0].1, 0o600);
        names.expect_refusal(&stranger, "it knows no key stranger, or not for this (BADKEY)");
        let wrong = key("wrong", KEYS[0].0, other.1, 0o600);
        names.expect_refusal(&wrong, "its key lifesign has another secret than ours (BADSIG)");
        names.expect_refusal(&key("open", KEYS[0].0, KEYS[0].1, 0o644), "mode 0644 lets others in");
        let missing = ["key_file=/nowhere/key".to_owned()];
        names.expect_refusal(&missing, "open key file /nowhere/key: no such file or directory");
        let zone = ["zone=example.net".to_owned(), "name=www.example.net".to_owned()];
        let (is_good, said) = names.act_with("start", 50, "alpha", &zone);
        assert!(
            !is_good && (said.contains("REFUSED") || said.contains("not have the zone")),
            "{said}"
        );
        let powerless = key("powerless", other.0, other.1, 0o600);
        let (is_good, said) = names.act_with("start", 50, "alpha", &powerless);
        let is_told = said.contains("(REFUSED)") || said.contains("(BADKEY)");
        assert!(!is_good && is_told, "{said}");
        expect_seen("", "", "");
    });
}

#[test]
fn a_server_at_an_address_of_ipv6_is_told_as_well() {
    each("a_server_at_an_address_of_ipv6_is_told_as_well", |names| {
        let server = [format!("server=[{V6}]:53")];
        let started = names.act_with("start", 1, "beta", &server);
        assert_eq!(started, (true, String::new()));
        expect_seen("10.0.0.2", "fd00::2", "token=1 node=beta");
    });
}

#[test]
fn who_says_nothing_fails_a_start_and_neither_a_look_nor_a_stop() {
    each("who_says_nothing_fails_a_start_and_neither_a_look_nor_a_stop", |names| {
        names.expect_good("start", 1, "alpha");
        // Nobody is there, or somebody who never answers.
        let silent = UdpSocket::bind((V4, 5300)).unwrap();
        for (server, expected) in [(5301, "connection refused"), (5300, "no answer to a question")]
        {
            let told = [format!("server={V4}:{server}"), "patience=600ms".to_owned()];
            for (deed, is_good) in [("start", false), ("monitor", true), ("stop", true)] {
                let (was_good, said) = names.act_with(deed, 2, "beta", &told);
                assert_eq!(was_good, is_good, "{deed}: {said}");
                assert!(said.contains(expected), "{deed}: {said}");
            }
        }
        drop(silent);
        expect_seen("10.0.0.1", "", "token=1 node=alpha");
    });
}

/// Passes each datagram on to `server` and its answer back, after `pause`, in order.
fn delay(server: IpAddr, port: u16, pause: Duration) {
    let front = UdpSocket::bind((V4, port)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = front.recv_from(&mut buffer) {
            let (front, bytes) = (front.try_clone().unwrap(), buffer[..len].to_vec());
            thread::spawn(move || {
                let back = UdpSocket::bind((V4, 0)).unwrap();
                thread::sleep(pause);
                back.send_to(&bytes, port_of(server)).unwrap();
                let mut answer = [0; 4096];
                let (len, _) = back.recv_from(&mut answer).unwrap();
                let _gone = front.send_to(&answer[..len], from);
            });
        }
    });
}

#[test]
fn a_slow_server_is_asked_again_and_does_it_once() {
    each("a_slow_server_is_asked_again_and_does_it_once", |names| {
        // Slower than the first pause: the server gets each datagram twice.
        let port =
            if Path::new(&names.server.folder().join("named.conf")).exists() { 5310 } else { 5311 };
        delay(V4, port, Duration::from_millis(400));
        let server = [format!("server={V4}:{port}")];
        for (token, node, a, aaaa) in
            [(1, "alpha", "10.0.0.1", ""), (2, "beta", "10.0.0.2", "fd00::2")]
        {
            let started = names.act_with("start", token, node, &server);
            assert_eq!(started, (true, String::new()));
            expect_seen(a, aaaa, &format!("token={token} node={node}"));
        }
        assert_eq!(names.act_with("stop", 2, "beta", &server), (true, String::new()));
        expect_seen("", "", "token=2 node=beta stopped");
    });
}

#[test]
fn takeovers_follow_one_another() {
    each("takeovers_follow_one_another", |names| {
        // Apart from each other, and one upon the other as in a switchover.
        for (first, count, pause, how) in
            [(1, 14, 1500, "alone"), (101, 40, 100, "100 ms after another")]
        {
            let (count, pause) = if figures::are_wanted() { (count, pause) } else { (2, 100) };
            let mut took = Vec::new();
            for token in first..first + count {
                let node = if token % 2 == 0 { "beta" } else { "alpha" };
                thread::sleep(Duration::from_millis(pause));
                let begun = clock::now();
                names.expect_good("start", token, node);
                took.push(clock::now().since(begun).as_micros());
            }
            expect_seen("10.0.0.2", "fd00::2", &format!("token={} node=beta", first + count - 1));
            took.sort_unstable();
            let (software, median, most) =
                (names.software, took[took.len() / 2] / 1000, took[took.len() - 1] / 1000);
            figures::note(&format!(
                "name, {software:?}, {how}: {median} ms, at most {most} ms, until the server has \
                 it ({count} takeovers)"
            ));
        }
    });
}

/// A name server is no process of a machine, and ends with the test all the same.
#[test]
fn no_name_server_outlives_its_test() {
    let test = "no_name_server_outlives_its_test";
    let role = namespace::enter(test, Users::New).unwrap_or_else(|error| panic!("{error}"));
    let Some(role) = role else { return };
    if role == namespace::MAIN {
        for software in Software::ALL {
            doomed::expect_nothing_left(test, &format!("{software:?}"));
        }
        return;
    }
    let software = Software::ALL.into_iter().find(|software| format!("{software:?}") == role);
    let server = NameServer::start(software.unwrap(), &[V4]);
    doomed::wait(&[server.process().cast_signed()], server.folder());
}
