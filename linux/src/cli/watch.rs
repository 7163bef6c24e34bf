//! `lifesign watch`: how things are, and then every event.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::fail;
use super::grammar::watch::WatchArgs;
use crate::clock;
use crate::control::client::{AskError, Conversation, Heard};
use crate::control::{Picture, Request, Response};
use crate::operate::{LIMIT, MISMATCH};
use crate::page::{Page, Paint};
use crate::status;

/// Until where somebody has been told.
#[derive(Debug)]
struct Told {
    sequence: Option<u64>,
    start: Option<String>,
}

/// How telling has ended.
#[derive(Debug)]
enum End {
    /// In good order.
    Left,
    /// Nobody reads what is printed.
    Unread,
    /// The daemon does not do it.
    Refused(String),
    /// There is no daemon, or none any more.
    Lost(AskError),
}

/// Prints what a daemon tells, until it ends or, with `--reconnect`, until interrupted.
pub(super) fn main(args: &WatchArgs) -> ExitCode {
    let mut told = Told { sequence: args.since, start: args.start.clone() };
    let mut is_waiting = false;
    loop {
        let before = told.sequence;
        let end = follow(args, &mut told);
        is_waiting &= told.sequence == before;
        let why = match end {
            End::Unread => return ExitCode::SUCCESS,
            End::Left if !args.reconnect => return ExitCode::SUCCESS,
            End::Refused(why) => return fail(&why),
            End::Lost(error) if !args.reconnect => return fail(&said(&error)),
            End::Left => String::new(),
            End::Lost(error) => said(&error),
        };
        if !is_waiting {
            let colon = if why.is_empty() { "" } else { "; " };
            eprintln!("{why}{colon}waiting for the next");
            is_waiting = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// How long to wait before a daemon is looked for again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

fn said(error: &AskError) -> String {
    if error.has_hung_up() {
        "the daemon has ended without a word".into()
    } else {
        error.to_string()
    }
}

/// Prints what one daemon tells.
fn follow(args: &WatchArgs, told: &mut Told) -> End {
    let page = Page::of(&io::stdout());
    let request = Request::watch(told.sequence, told.start.clone());
    let mut daemon = match Conversation::begin(&args.at.control, &request, LIMIT) {
        Ok(daemon) => daemon,
        Err(error) => return End::Lost(error),
    };
    // Somebody who knows everything already is told nothing at first.
    let mut until = told.sequence.is_none().then(|| clock::now() + LIMIT);
    loop {
        let Heard { line, response } = match daemon.hear(until.take()) {
            Ok(heard) => heard,
            Err(error) => return End::Lost(error),
        };
        if let Response::Refused { reason } = response {
            return End::Refused(reason);
        }
        let Some(text) = told.take_in(&response, page) else {
            return End::Refused(MISMATCH.to_owned());
        };
        let mut stdout = io::stdout().lock();
        let shown = if args.json { &line } else { &text };
        if writeln!(stdout, "{shown}").and_then(|()| stdout.flush()).is_err() {
            return End::Unread;
        }
        if matches!(response, Response::End { .. }) {
            return End::Left;
        }
    }
}

impl Told {
    /// Takes in what was told, and returns it for people; `None` if it does not belong here.
    fn take_in(&mut self, response: &Response, page: Page) -> Option<String> {
        match response {
            Response::Snapshot { start, sequence, picture } => {
                *self = Self { sequence: Some(*sequence), start: Some(start.clone()) };
                Some(match picture {
                    Picture::Report(report) => status::glance(report, page),
                    Picture::Witness(report) => status::witness::render(report, page),
                })
            }
            Response::Event { fields } => {
                self.sequence = fields.get("sequence").and_then(Value::as_u64).or(self.sequence);
                Some(event(fields))
            }
            Response::Gap(gap) => Some(page.paint(Paint::Warning, &gap.text)),
            Response::End { text } => Some(text.clone()),
            _ => None,
        }
    }
}

/// Returns an event as a line for people.
fn event(fields: &Map<String, Value>) -> String {
    let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{}  {}", word("time"), word("text"))
}
