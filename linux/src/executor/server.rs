//! The executor's own loop: requests in, children watched, replies out.

use std::collections::VecDeque;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, recv, send};

use super::MESSAGE_LEN_MAX;
use super::message::{Command, Outcome, Reply, Request};
use super::persist::persist;
use super::running::Running;
use crate::clock;
use crate::connections::{destroy, list};

/// Serves `clients` until all of them have closed their end, ends what still runs, and returns.
///
/// A client that goes away leaves its commands running, each within its own limit, as long as
/// another client is there.
///
/// # Errors
///
/// No descriptor or thread for the writer of files.
pub fn serve(clients: Vec<OwnedFd>) -> std::io::Result<()> {
    let (files, writer) = Files::start()?;
    let mut server = Server {
        clients: clients.into_iter().map(Client::new).collect(),
        commands: Vec::new(),
        unreaped: Vec::new(),
        lingering: VecDeque::new(),
        files,
    };
    while server.has_work() {
        server.wait();
        let now = clock::now();
        server.read_requests(now);
        server.step_commands(now);
        server.clear_remains();
        server.collect_persisted();
        server.send_replies();
        if server.clients.iter().all(|client| client.socket.is_none()) {
            server.cancel_all(now);
        }
    }
    drop(server);
    // A file that was asked for is written, whoever still waits for the answer.
    let _ended = writer.join();
    Ok(())
}

struct Server {
    clients: Vec<Client>,
    commands: Vec<Owned>,
    unreaped: Vec<Child>,
    /// Output of commands that have ended, still open because a service that they started holds
    /// it: kept and emptied, so that a service that writes to it is not killed for it.
    lingering: VecDeque<PipeReader>,
    files: Files,
}

struct Owned {
    client: usize,
    id: u32,
    running: Running,
}

struct Client {
    socket: Option<OwnedFd>,
    replies: VecDeque<Reply>,
}

impl Client {
    fn new(socket: OwnedFd) -> Self {
        Self { socket: Some(socket), replies: VecDeque::new() }
    }

    /// Returns whether there is room for the answer to another request.
    fn is_heard(&self) -> bool {
        self.replies.len() < REPLIES_MAX
    }

    fn close(&mut self) {
        self.socket = None;
        self.replies.clear();
    }
}

impl Server {
    fn has_work(&self) -> bool {
        !self.commands.is_empty() || self.clients.iter().any(|client| client.socket.is_some())
    }

    /// Waits until there is something to do, for any reason; what it is, each step finds out.
    fn wait(&self) {
        let mut descriptors = vec![PollFd::new(self.files.ready.as_fd(), PollFlags::POLLIN)];
        for client in &self.clients {
            let Some(socket) = &client.socket else { continue };
            let mut interest = PollFlags::empty();
            interest.set(PollFlags::POLLIN, client.is_heard());
            interest.set(PollFlags::POLLOUT, !client.replies.is_empty());
            descriptors.push(PollFd::new(socket.as_fd(), interest));
        }
        let outputs = self.commands.iter().flat_map(|owned| owned.running.descriptors());
        let lingering = self.lingering.iter().map(AsFd::as_fd);
        descriptors.extend(outputs.chain(lingering).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // The one failure that can occur, being out of memory, is one to be slow in.
        if let Err(Errno::ENOMEM | Errno::EINVAL) = poll(&mut descriptors, self.timeout()) {
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn timeout(&self) -> PollTimeout {
        let deadline = self.commands.iter().map(|owned| owned.running.poll_timeout()).min();
        let unreaped = (!self.unreaped.is_empty()).then_some(UNREAPED_PERIOD);
        let wait = deadline.map(|deadline| deadline.since(clock::now()));
        let Some(wait) = wait.into_iter().chain(unreaped).min() else {
            return PollTimeout::NONE;
        };
        let millis = wait.as_micros().div_ceil(1000).min(60_000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    }

    fn read_requests(&mut self, now: Instant) {
        let mut buffer = vec![0; MESSAGE_LEN_MAX];
        for index in 0..self.clients.len() {
            while self.clients[index].is_heard() {
                let Some(socket) = &self.clients[index].socket else { break };
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EINTR) => {}
                    Ok(0) | Err(_) => self.clients[index].close(),
                    // What cannot be read was not written by our other end; there is no id to
                    // answer to.
                    Ok(len) => match postcard::from_bytes(&buffer[..len]) {
                        Ok(request) => self.handle(index, request, now),
                        Err(_) => self.clients[index].close(),
                    },
                }
            }
        }
    }

    fn handle(&mut self, client: usize, request: Request, now: Instant) {
        match request {
            Request::Run { id, command } => self.run(client, id, &command, now),
            Request::Persist { id, path, contents } => {
                let job = Job { client, id, path: path.into(), contents };
                if let Err(failure) = self.files.submit(job) {
                    let failure = Some(failure);
                    self.clients[client].replies.push_back(Reply::Persisted { id, failure });
                }
            }
            Request::List { id, services } => {
                let list = list::connections(&services).map_err(|error| error.to_string());
                self.clients[client].replies.push_back(Reply::Listed { id, list });
            }
            Request::Destroy { id, services } => {
                let result = destroy::destroy(&services).map_err(|error| error.to_string());
                self.clients[client].replies.push_back(Reply::Destroyed { id, result });
            }
            Request::Cancel { id } => {
                let mut own = self.commands.iter_mut().filter(|owned| owned.client == client);
                if let Some(owned) = own.find(|owned| owned.id == id) {
                    owned.running.cancel(now);
                }
            }
            Request::CancelAll => self.cancel_all(now),
        }
    }

    fn run(&mut self, client: usize, id: u32, command: &Command, now: Instant) {
        let started = if self.commands.len() < COMMANDS_MAX {
            Running::start(command, now).map_err(|error| error.to_string())
        } else {
            Err(format!("{COMMANDS_MAX} commands are running already"))
        };
        match started {
            Ok(running) => self.commands.push(Owned { client, id, running }),
            Err(reason) => {
                let outcome = Outcome::NotStarted(reason);
                let reply = Reply::Done { id, outcome, output: String::new(), took_us: 0 };
                self.clients[client].replies.push_back(reply);
            }
        }
    }

    fn cancel_all(&mut self, now: Instant) {
        for owned in &mut self.commands {
            owned.running.cancel(now);
        }
    }

    fn step_commands(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.commands.len() {
            let Some(outcome) = self.commands[index].running.step(now) else {
                index += 1;
                continue;
            };
            let Owned { client, id, mut running } = self.commands.swap_remove(index);
            let (output, took_us) = (running.take_output(), running.age(now).as_micros());
            let is_unkillable = outcome == Outcome::Unkillable;
            if self.clients[client].socket.is_some() {
                let reply = Reply::Done { id, outcome, output, took_us };
                self.clients[client].replies.push_back(reply);
            }
            let (child, output) = running.into_remains();
            if is_unkillable {
                self.unreaped.push(child);
            }
            self.lingering.extend(output);
        }
    }

    fn clear_remains(&mut self) {
        self.unreaped.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        self.lingering.retain_mut(|output| {
            let mut buffer = [0; 4096];
            match output.read(&mut buffer) {
                Ok(len) => len > 0,
                Err(error) => matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                ),
            }
        });
        let surplus = self.lingering.len().saturating_sub(LINGERING_MAX);
        self.lingering.drain(..surplus);
    }

    fn collect_persisted(&mut self) {
        // Reading makes the descriptor unreadable; what is there is in the channel already.
        let _count = self.files.ready.read();
        for (client, reply) in self.files.replies.try_iter() {
            if self.clients[client].socket.is_some() {
                self.clients[client].replies.push_back(reply);
            }
        }
    }

    fn send_replies(&mut self) {
        let mut buffer = vec![0; MESSAGE_LEN_MAX];
        for client in &mut self.clients {
            while let (Some(socket), Some(reply)) = (&client.socket, client.replies.front()) {
                // Every reply fits: its one long part is bounded far below the buffer.
                let Ok(bytes) = postcard::to_slice(reply, &mut buffer) else {
                    client.replies.pop_front();
                    continue;
                };
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                match send(socket.as_raw_fd(), bytes, flags) {
                    Ok(_) => drop(client.replies.pop_front()),
                    Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                    Err(Errno::EINTR) => {}
                    Err(_) => client.close(),
                }
            }
        }
    }
}

/// The thread that writes files, one after another, and what leads to it and back.
struct Files {
    jobs: Sender<Job>,
    replies: Receiver<(usize, Reply)>,
    ready: Arc<EventFd>,
}

struct Job {
    client: usize,
    id: u32,
    path: PathBuf,
    contents: Vec<u8>,
}

impl Files {
    fn start() -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let ready = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (jobs, inbox) = channel::<Job>();
        let (outbox, replies) = channel();
        let wake = Arc::clone(&ready);
        let write = move || {
            for Job { client, id, path, contents } in inbox {
                let failure = persist(&path, &contents).err().map(|mut text| {
                    text.truncate(text.floor_char_boundary(FAILURE_LEN_MAX));
                    text
                });
                // The server outlives this loop, which ends when it drops the other end.
                let _delivered = outbox.send((client, Reply::Persisted { id, failure }));
                let _woken = wake.write(1);
            }
        };
        let writer = thread::Builder::new().name("files".into()).spawn(write)?;
        Ok((Self { jobs, replies, ready }, writer))
    }

    fn submit(&self, job: Job) -> Result<(), String> {
        self.jobs.send(job).map_err(|_| "the writer of files has died".to_owned())
    }
}

/// The most commands at a time.
const COMMANDS_MAX: usize = 256;
/// The most replies that wait for a client to read them before it is no longer listened to.
const REPLIES_MAX: usize = 64;
/// The most outputs kept open for services that outlive the command that started them.
const LINGERING_MAX: usize = 128;
/// How often to look after processes that did not end when killed.
const UNREAPED_PERIOD: Duration = Duration::from_millis(1000);
/// The longest text of a failure.
const FAILURE_LEN_MAX: usize = 1024;
