//! Names in a zone that is a table, with others who come between.

use super::*;

fn parameters(told: &[(&str, &str)]) -> Vec<Parameter> {
    let parameter = |(name, value): &(&str, &str)| Parameter {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
        span: 0..0,
    };
    told.iter().map(parameter).collect()
}

const GOOD: [(&str, &str); 6] = [
    ("server", "10.0.0.53"),
    ("zone", "example.org"),
    ("name", "www.example.org"),
    ("a.alpha", "10.0.0.1"),
    ("aaaa", "fd00::1"),
    ("key_file", "/etc/lifesign/dns.key"),
];

/// Returns the good parameters with `name` being `value`, or not there.
fn with(name: &str, value: Option<&str>) -> Vec<Parameter> {
    let mut told: Vec<(&str, &str)> =
        GOOD.into_iter().filter(|(other, _)| *other != name).collect();
    told.extend(value.map(|value| (name, value)));
    parameters(&told)
}

#[test]
fn a_plan_is_what_the_settings_say() {
    let plan = Plan::read(&parameters(&GOOD)).unwrap();
    assert_eq!(plan.server.to_string(), "10.0.0.53:53");
    assert_eq!(plan.beside.to_string(), "_lifesign.www.example.org");
    assert_eq!((plan.ttl, plan.patience), (TTL, PATIENCE));
    let ips = |node| plan.addresses_of(node).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ips("alpha"), ["10.0.0.1", "fd00::1"]);
    assert_eq!(ips("beta"), ["fd00::1"]);
    assert_eq!(plan.kinds(), (true, true));
    for (text, expected) in
        [("fd00::53", "[fd00::53]:53"), ("[fd00::53]:54", "[fd00::53]:54"), ("[::1]", "[::1]:53")]
    {
        let plan = Plan::read(&with("server", Some(text))).unwrap();
        assert_eq!(plan.server.to_string(), expected);
    }
}

#[test]
fn what_is_wrong_has_one_line() {
    for (name, value, expected) in [
        (
            "server",
            None,
            "the parameter `server` is missing; \
         add `parameters = { server = \"10.0.0.53\" }`",
        ),
        (
            "server",
            Some("ns"),
            "server: \"ns\" is no address; \
         write \"10.0.0.53\", \"10.0.0.53:5353\" or \"[fd00::53]:53\"",
        ),
        ("zone", Some("."), "zone: \".\" is no name of a domain; write \"www.example.org\""),
        (
            "zone",
            Some("a b.org"),
            "zone: \"a b.org\" is no name of a domain; write \"www.example.org\"",
        ),
        (
            "name",
            Some("www.example.net"),
            "name: www.example.net is not in the zone example.org; \
         write a name that ends with that of the zone",
        ),
        (
            "ttl",
            Some("1500ms"),
            "ttl: 1500 ms is not in whole seconds, up to 86400 s; write \"5s\"",
        ),
        ("key_file", Some("dns.key"), "key_file: it must be an absolute path; begin it with /"),
        ("aaaa", Some("10.0.0.1"), "aaaa: \"10.0.0.1\" is no address of IPv6; write \"fd00::100\""),
        ("a.alpha", Some("x"), "a.alpha: \"x\" is no address of IPv4; write \"10.0.0.100\""),
    ] {
        assert_eq!(Plan::read(&with(name, value)).unwrap_err().to_string(), expected);
    }
}

/// A zone that is a table, in which somebody writes before each of the first changes.
#[derive(Default)]
struct Table {
    beside: Option<String>,
    addresses: Vec<IpAddr>,
    /// What others write, the last first.
    others: Vec<&'static str>,
    is_silent: bool,
}

impl Zone for Table {
    fn beside(&mut self) -> Result<Option<String>, Failure> {
        if self.is_silent {
            return Err(Failure::Silent("no answer".to_owned()));
        }
        Ok(self.beside.clone())
    }

    fn addresses(&mut self) -> Result<Vec<IpAddr>, Failure> {
        Ok(self.addresses.clone())
    }

    fn change(&mut self, change: &Change) -> Result<bool, Failure> {
        if let Some(text) = self.others.pop() {
            self.beside = Some(text.to_owned());
        }
        if self.beside != change.was {
            return Ok(false);
        }
        self.beside = Some(change.becomes.clone());
        self.addresses.clone_from(&change.addresses);
        Ok(true)
    }
}

fn holder(token: u32, node: &str) -> Holder {
    Holder { token: Token(token), node: node.to_owned() }
}

fn ip(text: &str) -> Vec<IpAddr> {
    vec![text.parse().unwrap()]
}

fn having(text: &str) -> Table {
    Table { beside: Some(text.to_owned()), addresses: ip("10.0.0.9"), ..Table::default() }
}

#[test]
fn only_a_larger_token_takes_a_name() {
    for (text, is_taken) in [
        ("token=41 node=beta", true),
        ("token=41 node=alpha", true),
        ("token=42 node=alpha", true),
        ("token=42 node=alpha stopped", true),
        ("token=42 node=beta", false),
        ("token=43 node=beta", false),
        ("token=43 node=alpha", false),
        ("token=43 node=beta stopped", false),
        ("token= node=beta", false),
        ("v=spf1", false),
        ("", false),
    ] {
        let mut zone = having(text);
        let taken = take(&mut zone, &holder(42, "alpha"), &ip("10.0.0.1"));
        assert_eq!(taken.is_ok(), is_taken, "{text}: {taken:?}");
        let there = if is_taken { ip("10.0.0.1") } else { ip("10.0.0.9") };
        assert_eq!(zone.addresses, there, "{text}");
        let expected = if is_taken { "token=42 node=alpha" } else { text };
        assert_eq!(zone.beside.as_deref(), Some(expected));
    }
    let mut empty = Table::default();
    assert_eq!(take(&mut empty, &holder(1, "alpha"), &ip("10.0.0.1")), Ok(String::new()));
    assert_eq!(empty.beside.as_deref(), Some("token=1 node=alpha"));
}

#[test]
fn who_comes_between_is_read_anew() {
    let mut zone = having("token=1 node=beta");
    zone.others = vec!["token=3 node=beta", "token=2 node=beta"];
    assert_eq!(take(&mut zone, &holder(42, "alpha"), &ip("10.0.0.1")), Ok(String::new()));
    let mut zone = having("token=1 node=beta");
    zone.others = vec!["token=43 node=beta"];
    assert_eq!(
        take(&mut zone, &holder(42, "alpha"), &ip("10.0.0.1")),
        Err("the name has a newer holder: token=43 node=beta".to_owned())
    );
    assert_eq!(zone.addresses, ip("10.0.0.9"));
    let mut zone = having("token=1 node=beta");
    zone.others =
        ["6", "5", "4", "3", "2"].map(|_| "token=2 node=gamma").into_iter().collect::<Vec<_>>();
    zone.others[4] = "token=3 node=gamma";
    zone.others[2] = "token=3 node=gamma";
    zone.others[0] = "token=3 node=gamma";
    assert_eq!(
        take(&mut zone, &holder(42, "alpha"), &[]),
        Err("others have changed the name 5 times meanwhile".to_owned())
    );
}

#[test]
fn a_stop_takes_away_what_is_ours_and_leaves_the_token() {
    let mut zone = having("token=42 node=alpha");
    assert_eq!(give_up(&mut zone, &holder(42, "alpha")), Ok(String::new()));
    assert_eq!(zone.beside.as_deref(), Some("token=42 node=alpha stopped"));
    assert_eq!(zone.addresses, Vec::<IpAddr>::new());
    for text in ["token=43 node=beta", "token=42 node=beta", "token=41 node=alpha", "other"] {
        let mut zone = having(text);
        let said = give_up(&mut zone, &holder(42, "alpha")).unwrap();
        assert!(said.ends_with(text), "{said}");
        assert_eq!((zone.beside.as_deref(), zone.addresses), (Some(text), ip("10.0.0.9")));
    }
    let mut silent = having("token=42 node=alpha");
    silent.is_silent = true;
    assert_eq!(give_up(&mut silent, &holder(42, "alpha")), Ok("no answer".to_owned()));
    assert_eq!(take(&mut silent, &holder(42, "alpha"), &[]), Err("no answer".to_owned()));
}

#[test]
fn a_look_tells_what_is_there_in_place_of_it() {
    let own = holder(42, "alpha");
    let mut zone = having("token=42 node=alpha");
    assert_eq!(look(&mut zone, &own, &ip("10.0.0.9")), Ok(String::new()));
    assert_eq!(
        look(&mut zone, &own, &ip("10.0.0.1")),
        Err("the name leads to 10.0.0.9, not to 10.0.0.1".to_owned())
    );
    for text in ["token=43 node=beta", "token=42 node=alpha stopped"] {
        let said = look(&mut having(text), &own, &ip("10.0.0.9"));
        assert_eq!(said, Err(format!("the name is not ours: {text}")));
    }
    zone.is_silent = true;
    assert_eq!(look(&mut zone, &own, &ip("10.0.0.9")), Ok("no answer".to_owned()));
}
