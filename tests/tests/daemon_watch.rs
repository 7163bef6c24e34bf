//! Real daemons that are watched: every state in order, and the last one in any case.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lifesign_tests::trial::{self, Setup, Trial, WITNESS};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A `lifesign watch` whose output goes to a file.
struct Watch {
    child: Child,
    said: PathBuf,
}

impl Watch {
    fn start(trial: &Trial, node: &str, words: &[&str]) -> Self {
        Self::spawn(trial, node, &[&["--json"], words].concat())
    }

    fn spawn(trial: &Trial, node: &str, words: &[&str]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let said = trial.cluster().directory().join(format!("watch.{node}.{number}"));
        let (out, err) = (File::create(&said).unwrap(), File::create(errors(&said)).unwrap());
        let mut command = Command::new(trial.cluster().program());
        command.arg("watch").args(words);
        command.arg("--control").arg(trial.cluster().control(node));
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        Self { child, said }
    }

    /// Returns every whole line so far.
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.said).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns how often each thing was answered.
    fn count(&self, answer: &str) -> usize {
        self.lines().iter().filter(|line| line["answer"] == answer).count()
    }

    /// Returns the events of one kind, each as subject and state, and demands that no number is
    /// missing between two snapshots.
    fn events(&self, kind: &str) -> Vec<String> {
        let (mut last, mut events) = (None, Vec::new());
        for line in self.lines() {
            let sequence = line["sequence"].as_u64();
            if line["answer"] == "event" {
                let is_next = last.is_none_or(|last: u64| sequence == Some(last + 1));
                assert!(is_next, "{line}");
            }
            if line["answer"] == "event" && line["event"] == kind {
                let subject = line[kind].as_str().unwrap_or_default();
                events.push(format!("{subject} {}", line["state"].as_str().unwrap()));
            }
            last = sequence.or(last);
        }
        events
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Returns its exit status, and what it complained of.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.code(), fs::read_to_string(errors(&self.said)).unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn errors(said: &std::path::Path) -> PathBuf {
    said.with_extension("err")
}

fn tried(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

#[test]
fn every_node_tells_its_states_in_order_through_a_takeover_and_a_crash() {
    let test = "every_node_tells_its_states_in_order_through_a_takeover_and_a_crash";
    tried(test, Setup::pair(), |trial| {
        // Nobody is there yet.
        let all =
            ["alpha", "beta", WITNESS].map(|name| Watch::start(trial, name, &["--reconnect"]));
        let [alpha, beta, witness] = &all;
        trial.begin();
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        let states =
            |words: &[&str]| words.iter().map(|it| format!("www {it}")).collect::<Vec<_>>();
        let moved = states(&["claiming", "starting", "holding", "stopping", "idle"]);
        trial.await_that("alpha tells", |_| alpha.events("group").ends_with(&moved));
        let taken = states(&["claiming", "starting", "holding"]);
        trial.await_that("beta tells", |_| beta.events("group").ends_with(&taken));
        trial.crash("beta");
        trial.await_holder("alpha");
        let both = [moved, taken.clone()].concat();
        trial.await_that("alpha tells the rest", |_| alpha.events("group").ends_with(&both));
        assert!(alpha.events("peer").contains(&"beta lost".to_owned()));
        trial.await_that("the witness tells", |_| {
            witness.events("peer").contains(&"1 lost".to_owned())
        });
        assert!(witness.events("group").contains(&"0 promised".to_owned()));
        trial.repair("beta");
        trial.await_that("beta tells how it is", |_| beta.count("snapshot") == 2);
        let gap = beta.lines().into_iter().find(|line| line["answer"] == "gap").unwrap();
        assert_eq!(gap["text"], "events may be missing: the daemon has started again");
        trial.await_that("beta hears all", |trial| trial.is_complete("beta"));
        trial.order("beta", &["takeover", "www"]);
        trial.await_that("and goes on", |_| beta.events("group").ends_with(&taken));
        assert_eq!((alpha.count("snapshot"), alpha.count("gap")), (1, 0));
        let last = alpha.lines().last().unwrap().clone();
        assert!(last["time"].is_string() && last["node"] == "alpha" && last["cluster"] == "trial");
    });
}

#[test]
fn who_is_stopped_is_told_how_much_it_has_missed_and_how_it_is() {
    let test = "who_is_stopped_is_told_how_much_it_has_missed_and_how_it_is";
    let names = ["g1", "g2", "g3", "g4", "g5", "g6", "g7"];
    let setup =
        names.iter().fold(Setup::pair(), |setup, name| setup.with_group(name, &["alpha", "beta"]));
    tried(test, setup, |trial| {
        trial.begin();
        let [reads, sleeps, dies] = [(); 3].map(|()| Watch::start(trial, "alpha", &[]));
        for watch in [&reads, &sleeps, &dies] {
            trial.await_that("it is told", |_| watch.count("snapshot") == 1);
        }
        sleeps.signal(Signal::SIGSTOP);
        dies.signal(Signal::SIGKILL);
        let before = sleeps.lines().len();
        while reads.lines().len() < before + 1_600 {
            trial.order("alpha", &["standby"]);
            trial.order("alpha", &["takeover"]);
        }
        assert_eq!(sleeps.lines().len(), before, "it sleeps");
        sleeps.signal(Signal::SIGCONT);
        trial.await_that("it is told again", |_| sleeps.count("snapshot") == 2);
        let lines = sleeps.lines();
        let at = lines.iter().position(|line| line["answer"] == "gap").unwrap();
        let (last, gap, snapshot) = (&lines[at - 1], &lines[at], &lines[at + 1]);
        let number = |line: &Value| line["sequence"].as_u64().unwrap();
        let missed = gap["missed"].as_u64().unwrap();
        assert_eq!(number(last) + missed, number(snapshot), "{gap}");
        let groups = snapshot["report"]["groups"].as_array().unwrap();
        assert!(groups.iter().all(|group| group["role"] == "holding"), "{snapshot}");
        // From there on it is told everything again.
        trial.order("beta", &["takeover", "g3"]);
        let told = ["stopping", "idle"].map(|state| format!("g3 {state}"));
        for watch in [&reads, &sleeps] {
            trial.await_that("both are told", |_| watch.events("group").ends_with(&told));
        }
        assert_eq!((reads.count("snapshot"), reads.count("gap")), (1, 0), "it has missed nothing");
    });
}

#[test]
fn who_watches_is_told_how_it_ends() {
    tried("who_watches_is_told_how_it_ends", Setup::pair(), |trial| {
        trial.begin();
        let watch = |trial: &Trial, node: &str| {
            let watch = Watch::start(trial, node, &[]);
            trial.await_that("it is told", |_| watch.count("snapshot") == 1);
            watch
        };
        let ends = watch(trial, "alpha");
        let page = Watch::spawn(trial, "alpha", &[]);
        let said = |page: &Watch| fs::read_to_string(&page.said).unwrap();
        trial.await_that("there is a picture", |_| said(&page).contains("GROUP  HOLDER"));
        trial.stop("alpha");
        trial.await_that("it is told", |_| ends.count("end") == 1);
        let lines = ends.lines();
        assert_eq!(lines.last().unwrap()["text"], "the daemon has left in good order");
        assert!(ends.events("group").ends_with(&["www stopping".into(), "www idle".into()]));
        assert_eq!(ends.end(), (Some(0), String::new()));
        let page_said = said(&page);
        assert_eq!(page.end(), (Some(0), String::new()), "{page_said}");
        assert!(
            page_said.starts_with("GOOD: alpha holds www, every member is here\n"),
            "{page_said}"
        );
        let stops = "Z  stops www (token 1): it was handed to beta\n";
        assert!(page_said.contains(stops), "{page_said}");
        assert!(page_said.ends_with("the daemon has left in good order\n"), "{page_said}");
        let killed = watch(trial, "beta");
        let known = killed.lines().last().unwrap()["sequence"].as_u64().unwrap().to_string();
        trial.kill("beta");
        let expected = "error: the daemon has ended without a word\n";
        assert_eq!(killed.end(), (Some(1), expected.to_owned()));
        trial.start_again("beta");
        trial.await_holder("beta");
        // The number alone is not enough: there may be as many events by now.
        let start = ["--since", &known, "--start", "0123456789abcdef"];
        let late = Watch::start(trial, "beta", &start);
        trial.await_that("it is told", |_| late.count("snapshot") == 1);
        assert_eq!(late.lines()[0]["answer"], "gap");
        let early = Watch::start(trial, "beta", &["--since", "0"]);
        trial.await_that("it is told what is kept", |_| {
            early.events("group").contains(&"www holding".to_owned())
        });
        assert_eq!(early.lines()[0]["sequence"], 1);
    });
}
