//! Real daemons that tell others what happens: in order, at least once, the last state in any case.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use lifesign_tests::trial::{self, Setup, Trial, WITNESS};
use serde_json::Value;

/// What is run for each event: it fails twice for each holder, always while `deaf` is there, and
/// else writes down what it is told.
const HOOK: &str = "#!/bin/sh
cd PLACE || exit 1
me=$LIFESIGN_NODE
if [ -e deaf ]; then echo nobody listens; exit 4; fi
if [ $LIFESIGN_STATE = holding ] && [ \"$(cat tries.$me.$LIFESIGN_TOKEN 2>/dev/null)\" != \"..\" ]; then
  printf . >>tries.$me.$LIFESIGN_TOKEN
  echo not yet
  exit 3
fi
echo $LIFESIGN_SEQUENCE $LIFESIGN_EVENT $LIFESIGN_STATE $LIFESIGN_GROUP$LIFESIGN_PEER >>told.$me
env >>environment.$me
";

const HOOKED: &str = "[[notify]]\ncommand = [\"DIRECTORY/hook\"]\n";

fn tried(test: &str, targets: &str, body: impl FnOnce(&mut Trial)) {
    let setup = Setup::pair().with_services(targets);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let place = trial.cluster().directory().to_owned();
        let path = place.join("hook");
        fs::write(&path, HOOK.replace("PLACE", &place.display().to_string())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        body(trial);
    });
}

/// Returns what the hook of `node` was told: the sequence, and the rest.
fn told(trial: &Trial, node: &str) -> Vec<(u64, String)> {
    let path = trial.cluster().directory().join(format!("told.{node}"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let (sequence, rest) = line.split_once(' ').unwrap();
        (sequence.parse().unwrap(), rest.to_owned())
    };
    text.lines().map(entry).collect()
}

fn words(trial: &Trial, node: &str) -> Vec<String> {
    told(trial, node).into_iter().map(|(_, rest)| rest).collect()
}

#[test]
fn a_hook_that_fails_twice_gets_everything_at_last_and_in_order() {
    let test = "a_hook_that_fails_twice_gets_everything_at_last_and_in_order";
    tried(test, HOOKED, |trial| {
        trial.begin();
        trial.await_that("alpha's hook was told", |trial| {
            words(trial, "alpha").contains(&"group holding www".to_owned())
        });
        trial.order("beta", &["takeover", "www"]);
        trial.await_that("it was told the rest", |trial| {
            words(trial, "alpha").last().is_some_and(|last| last == "group idle www")
        });
        let groups: Vec<String> =
            words(trial, "alpha").into_iter().filter(|told| told.starts_with("group")).collect();
        let expected = ["starting", "holding", "stopping", "idle"];
        assert_eq!(groups, expected.map(|state| format!("group {state} www")));
        assert!(words(trial, "alpha").contains(&"peer alive beta".to_owned()));
        let sequences: Vec<u64> =
            told(trial, "alpha").into_iter().map(|(sequence, _)| sequence).collect();
        assert!(sequences.is_sorted_by(|one, other| one < other), "{sequences:?}");
        let place = trial.cluster().directory();
        let environment = fs::read_to_string(place.join("environment.alpha")).unwrap();
        for line in [
            "LIFESIGN_CLUSTER=trial",
            "LIFESIGN_REASON=it has been started",
            "LIFESIGN_REASON=it was handed to beta",
            "LIFESIGN_MERGED=0",
        ] {
            assert!(environment.lines().any(|known| known == line), "{line}: {environment}");
        }
        trial.await_that("nothing is wrong any more", |trial| !trial.has_alert("alpha", "notify"));
        // What happens while the daemon ends is told as well.
        trial.await_holder("beta");
        trial.stop("beta");
        assert_eq!(words(trial, "beta").last().unwrap(), "group idle www");
    });
}

#[test]
fn what_does_not_arrive_is_an_alert_and_the_last_state_arrives_at_last() {
    let test = "what_does_not_arrive_is_an_alert_and_the_last_state_arrives_at_last";
    tried(test, HOOKED, |trial| {
        trial.write("deaf", "");
        trial.begin();
        let said = "hook: exit status 4 (\\\"nobody listens\\\"); tried again until it arrives";
        trial.await_that("it is told", |trial| trial.has_alert("alpha", said));
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        assert!(words(trial, "alpha").is_empty());
        fs::remove_file(trial.cluster().directory().join("deaf")).unwrap();
        trial.await_that("the last state has arrived", |trial| {
            words(trial, "alpha").contains(&"group idle www".to_owned())
        });
        trial.await_that("the alert is over", |trial| !trial.has_alert("alpha", "notify"));
        let all = fs::read_to_string(trial.cluster().directory().join("environment.alpha"));
        assert!(!all.unwrap().contains("LIFESIGN_TEXT=notify"), "no notice about notices");
    });
}

/// Answers each request at `listener`, the first of alpha with a refusal, and passes on what alpha
/// has posted.
fn serve(listener: TcpListener) -> Receiver<(String, Value)> {
    let (posted, received) = channel();
    thread::spawn(move || {
        let mut has_refused = false;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; len.unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let event: Value = serde_json::from_slice(&body).unwrap();
            let is_meant = event["node"] == "alpha";
            let is_refused = is_meant && !has_refused;
            has_refused |= is_meant;
            let status = if is_refused { "503 Not Yet" } else { "200 OK" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            if is_meant && posted.send((head.lines().next().unwrap().to_owned(), event)).is_err() {
                return;
            }
        }
    });
    received
}

#[test]
fn a_web_server_is_posted_what_happens_until_it_takes_it() {
    let test = "a_web_server_is_posted_what_happens_until_it_takes_it";
    let target =
        "[[notify]]\nwebhook = \"http://10.77.0.9:8099/hook?of=www\"\nevents = [\"group\"]\n";
    tried(test, target, |trial| {
        trial.begin();
        trial.await_that("it is told that nobody is there", |trial| {
            trial.has_alert("alpha", "10.77.0.9:8099/hook?of=www: exit status 1")
        });
        let listener = trial
            .cluster_mut()
            .lab_mut()
            .machine(WITNESS)
            .within(|| TcpListener::bind("10.77.0.9:8099"))
            .unwrap();
        let received = serve(listener);
        let limit = std::time::Duration::from_secs(30);
        let next = || received.recv_timeout(limit).unwrap();
        let (line, refused) = next();
        assert_eq!(line, "POST /hook?of=www HTTP/1.1");
        let (_, first) = next();
        assert_eq!(first["sequence"], refused["sequence"], "what was refused comes again");
        let (_, second) = next();
        for (event, state) in [(&first, "starting"), (&second, "holding")] {
            let found = [&event["event"], &event["state"], &event["group"], &event["node"]];
            assert_eq!(found, ["group", state, "www", "alpha"]);
        }
        let token = trial.status("alpha")["groups"][0]["token"].clone();
        assert_eq!(second["token"], token);
    });
}
