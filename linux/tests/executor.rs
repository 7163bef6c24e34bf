//! The executor's service, in a thread of the test, with real commands.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lifesign::executor::message::{Command, Outcome, Reply, Request};
use lifesign::executor::server::serve;
use lifesign::executor::{Executor, INPUT_LEN_MAX, OUTPUT_LEN_MAX, SubmitError, pair, start};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_command_gives_its_exit_status_and_output() {
    let (mut executor, server) = one_client();
    let done = run(&mut executor, shell("echo out; echo error >&2; exit 3"));
    assert_eq!(done, (Outcome::Exited(3), "out\nerror\n".into()));
    let done = run(&mut executor, shell("kill -9 $$"));
    assert_eq!(done.0, Outcome::Signalled(9));
    assert!(run(&mut executor, shell("true")).0.is_success());
    end(executor, server);
}

#[test]
fn nothing_of_the_executors_surroundings_reaches_a_command() {
    let (mut executor, server) = one_client();
    let mut command = shell("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort; pwd; cat");
    command.environment = vec![("LIFESIGN_TOKEN".into(), "7".into())];
    let (outcome, output) = run(&mut executor, command);
    assert!(outcome.is_success(), "standard input is at its end: {outcome}");
    let path = lifesign::executor::PATH;
    assert_eq!(output, format!("LC_ALL=C\nLIFESIGN_TOKEN=7\nPATH={path}\n/\n"));
    end(executor, server);
}

#[test]
fn of_much_output_the_end_is_kept() {
    let (mut executor, server) = one_client();
    let mut command = shell("seq 1 200000");
    command.output_len_max = 20;
    assert_eq!(run(&mut executor, command).1, "99998\n199999\n200000\n");
    let mut command = shell("seq 1 200000");
    command.output_len_max = u32::MAX;
    let output = run(&mut executor, command).1;
    assert_eq!(output.len(), OUTPUT_LEN_MAX);
    assert!(output.ends_with("200000\n"));
    // What is no text triples in length, and still fits the reply.
    let mut command = shell("head -c 100000 /dev/zero | tr '\\0' '\\377'; echo end");
    command.output_len_max = u32::MAX;
    assert!(run(&mut executor, command).1.ends_with("end\n"));
    end(executor, server);
}

#[test]
fn commands_run_beside_one_another() {
    let (mut executor, server) = one_client();
    let directory = Directory::new("beside");
    let pipe = directory.0.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pipe = pipe.display();
    // Each waits for the other: one after the other they would never end.
    submit(&mut executor, 1, shell(&format!("cat {pipe}")));
    submit(&mut executor, 2, shell(&format!("echo met > {pipe}")));
    let mut replies = [reply(&mut executor), reply(&mut executor)];
    replies.sort_by_key(|(id, ..)| *id);
    assert_eq!(replies[0], (1, Outcome::Exited(0), "met\n".into()));
    assert_eq!(replies[1], (2, Outcome::Exited(0), String::new()));
    end(executor, server);
}

#[test]
fn at_its_limit_a_command_is_ended_with_all_its_processes() {
    let scripts = [
        // One that ends when asked; one that does not; one whose child does not; a stopped one.
        "echo $$; sleep 1000 & echo $!; wait",
        "trap '' TERM; echo $$; sleep 1000 & echo $!; wait",
        "(trap '' TERM; exec sleep 1000) & echo $! $$; sleep 1000",
        "sleep 1000 & echo $!; echo $$; kill -STOP $$; sleep 1000",
    ];
    let (mut executor, server) = one_client();
    for script in scripts {
        let mut command = shell(script);
        (command.limit_us, command.grace_us) = (300_000, 100_000);
        let (outcome, output) = run(&mut executor, command);
        assert_eq!(outcome, Outcome::TimedOut, "{script}");
        let processes: Vec<i32> = output.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(processes.len(), 2, "{script}: {output}");
        for process in processes {
            wait_until(|| !is_alive(process));
        }
    }
    end(executor, server);
}

#[test]
fn a_stopped_command_is_still_asked_before_it_is_killed() {
    let (mut executor, server) = one_client();
    let mut command = shell("trap 'echo asked; exit' TERM; kill -STOP $$; echo went on");
    (command.limit_us, command.grace_us) = (200_000, 60_000_000);
    let (outcome, output) = run(&mut executor, command);
    assert_eq!((outcome, output.as_str()), (Outcome::TimedOut, "asked\n"));
    end(executor, server);
}

#[test]
fn a_command_can_be_cancelled_by_its_client_alone() {
    let (ends, server) = serving(2);
    let [mut daemon, mut supervisor] = ends.try_into().unwrap();
    submit(&mut daemon, 5, shell("sleep 1000"));
    supervisor.submit(&Request::Cancel { id: 5 }).unwrap();
    daemon.submit(&Request::Cancel { id: 99 }).unwrap();
    // Requests are served in order, so this answer comes after both were seen.
    assert!(run(&mut supervisor, shell("true")).0.is_success());
    assert!(run(&mut daemon, shell("true")).0.is_success());
    daemon.submit(&Request::Cancel { id: 5 }).unwrap();
    assert_eq!(reply(&mut daemon), (5, Outcome::Cancelled, String::new()));
    submit(&mut daemon, 6, shell("sleep 1000"));
    assert!(run(&mut daemon, shell("true")).0.is_success());
    supervisor.submit(&Request::CancelAll).unwrap();
    assert_eq!(reply(&mut daemon), (6, Outcome::Cancelled, String::new()));
    drop(daemon);
    end(supervisor, server);
}

#[test]
fn what_cannot_be_started_says_why() {
    let (mut executor, server) = one_client();
    let cases: [(&[&str], &str); 4] = [
        (&["/nowhere/nothing"], "No such file"),
        (&["/etc/passwd"], "ermission denied"),
        (&[], "no program"),
        (&["echo", "a\0b"], "nul byte"),
    ];
    for (arguments, expected) in cases {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let (outcome, _) = run(&mut executor, Command { arguments, ..Command::default() });
        let Outcome::NotStarted(reason) = outcome else { panic!("{outcome}") };
        assert!(reason.contains(expected), "{reason}");
    }
    end(executor, server);
}

#[test]
fn a_service_that_goes_on_neither_delays_the_answer_nor_is_ended() {
    let (mut executor, server) = one_client();
    let directory = Directory::new("service");
    let alive = directory.0.join("alive");
    let script =
        format!("(while echo beat; do sleep 0.01; done; echo > {}) & echo $!", alive.display());
    let (outcome, output) = run(&mut executor, shell(&script));
    assert!(outcome.is_success());
    let service: i32 = output.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    // Its writing to the output of the command that has ended does not fail.
    assert!(run(&mut executor, shell("sleep 0.2")).0.is_success());
    assert!(is_alive(service));
    assert!(!alive.exists(), "writing failed");
    kill(Pid::from_raw(service), Signal::SIGKILL).unwrap();
    end(executor, server);
}

#[test]
fn files_are_written_in_order_and_failures_are_told() {
    let (mut executor, server) = one_client();
    let directory = Directory::new("files");
    let path = directory.0.join("tokens").display().to_string();
    for id in 0..20_u8 {
        let request = Request::Persist { id: id.into(), path: path.clone(), contents: vec![id] };
        executor.submit(&request).unwrap();
    }
    for expected in 0..20 {
        assert_eq!(next(&mut executor), Reply::Persisted { id: expected, failure: None });
    }
    assert_eq!(fs::read(&path).unwrap(), [19]);
    let path = "/nowhere/tokens".into();
    executor.submit(&Request::Persist { id: 21, path, contents: Vec::new() }).unwrap();
    let Reply::Persisted { id: 21, failure: Some(failure) } = next(&mut executor) else { panic!() };
    assert!(failure.contains("/nowhere/tokens"), "{failure}");
    end(executor, server);
}

#[test]
fn a_busy_executor_refuses_and_never_blocks() {
    let (socket, other) = pair().unwrap();
    let mut executor = Executor::new(socket);
    let request = Request::Persist { id: 1, path: String::new(), contents: vec![0; 1000] };
    let refusal = (0..100_000).find_map(|_| executor.submit(&request).err()).unwrap();
    assert_eq!(refusal, SubmitError::Full);
    assert!(!executor.is_gone());
    let contents = vec![0; 100_000];
    let long = Request::Persist { id: 1, path: String::new(), contents };
    assert_eq!(executor.submit(&long), Err(SubmitError::TooLong));
    drop(other);
    // A command that another test is starting may hold a copy of the other end for a moment.
    wait_until(|| executor.submit(&request) == Err(SubmitError::Gone));
    assert_eq!(executor.poll_reply(), None);
    assert!(executor.is_gone());
}

#[test]
fn commands_outlive_one_client_and_not_the_last() {
    let (ends, server) = serving(2);
    let [mut daemon, supervisor] = ends.try_into().unwrap();
    let directory = Directory::new("outlive");
    let (first, last) = (directory.0.join("first"), directory.0.join("last"));
    let script =
        format!("sleep 0.2; echo > {}; echo $$ > {}; sleep 1000", first.display(), last.display());
    let limit_us = 3_600_000_000;
    submit(&mut daemon, 1, Command { limit_us, ..shell(&script) });
    assert!(run(&mut daemon, shell("true")).0.is_success());
    drop(daemon);
    wait_until(|| fs::read_to_string(&last).is_ok_and(|text| text.ends_with('\n')));
    let process = fs::read_to_string(&last).unwrap().trim().parse().unwrap();
    assert!(first.exists() && is_alive(process), "it went on without its client");
    drop(supervisor);
    wait_until(|| server.is_finished());
    server.join().unwrap().unwrap();
    assert!(!is_alive(process));
}

#[test]
fn a_client_that_does_not_read_loses_nothing_and_others_are_served() {
    let (ends, server) = serving(2);
    let [mut daemon, mut supervisor] = ends.try_into().unwrap();
    for id in 0..200 {
        while daemon.submit(&Request::Run { id, command: shell("true") }) == Err(SubmitError::Full)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(run(&mut supervisor, shell("true")).0.is_success());
    let mut ids: Vec<_> = (0..200).map(|_| reply(&mut daemon).0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
    drop(daemon);
    end(supervisor, server);
}

#[test]
fn a_process_with_several_threads_is_not_divided() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let thread = thread::spawn(move || wait.recv());
    assert!(start("alpha", None).unwrap_err().to_string().contains("threads"));
    drop(release);
    thread.join().unwrap().unwrap_err();
}

fn serving(clients: usize) -> (Vec<Executor>, JoinHandle<std::io::Result<()>>) {
    let (near, far): (Vec<_>, Vec<_>) = (0..clients).map(|_| pair().unwrap()).unzip();
    let server = thread::spawn(move || serve(far));
    (near.into_iter().map(Executor::new).collect(), server)
}

fn one_client() -> (Executor, JoinHandle<std::io::Result<()>>) {
    let (mut ends, server) = serving(1);
    (ends.remove(0), server)
}

fn end(executor: Executor, server: JoinHandle<std::io::Result<()>>) {
    drop(executor);
    server.join().unwrap().unwrap();
}

#[test]
fn input_is_there_from_the_start_and_ends() {
    let (mut executor, server) = one_client();
    let longest = vec![b'x'; INPUT_LEN_MAX];
    let count = Command { input: longest.clone(), ..shell("wc -c; echo end") };
    let (outcome, output) = run(&mut executor, count);
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!(output, format!("{INPUT_LEN_MAX}\nend\n"));
    // Nobody has to read it.
    assert!(run(&mut executor, Command { input: longest, ..shell("exit 0") }).0.is_success());
    let (outcome, output) = run(&mut executor, shell("cat; echo end"));
    assert!(outcome.is_success() && output == "end\n", "{outcome} {output}");
    let input = vec![b'x'; INPUT_LEN_MAX + 1];
    let (outcome, _) = run(&mut executor, Command { input, ..shell("exit 0") });
    let expected = format!("more than {INPUT_LEN_MAX} bytes of input");
    assert_eq!(outcome, Outcome::NotStarted(expected));
    end(executor, server);
}

fn shell(script: &str) -> Command {
    Command {
        arguments: vec!["sh".into(), "-c".into(), script.into()],
        environment: Vec::new(),
        limit_us: 60_000_000,
        grace_us: 1_000_000,
        output_len_max: 4096,
        input: Vec::new(),
        ..Command::default()
    }
}

fn submit(executor: &mut Executor, id: u32, command: Command) {
    executor.submit(&Request::Run { id, command }).unwrap();
}

fn run(executor: &mut Executor, command: Command) -> (Outcome, String) {
    submit(executor, 1000, command);
    let (id, outcome, output) = reply(executor);
    assert_eq!(id, 1000);
    (outcome, output)
}

fn reply(executor: &mut Executor) -> (u32, Outcome, String) {
    match next(executor) {
        Reply::Done { id, outcome, output, .. } => (id, outcome, output),
        other @ (Reply::Persisted { .. } | Reply::Listed { .. } | Reply::Destroyed { .. }) => {
            panic!("{other:?}")
        }
    }
}

fn next(executor: &mut Executor) -> Reply {
    loop {
        if let Some(reply) = executor.poll_reply() {
            return reply;
        }
        assert!(!executor.is_gone());
        let mut descriptors = [PollFd::new(executor.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut descriptors, 30_000_u16).unwrap(), 1, "no reply");
    }
}

/// Returns whether a process is there and not just waiting to be reaped.
fn is_alive(process: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|line| !line.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']))
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("half a minute was not enough");
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("executor-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
