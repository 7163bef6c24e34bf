//! The firmware's library, met over its lines.

use std::os::fd::AsFd;
use std::path::Path;

use super::super::emulate::{self, Happening, Options};
use super::provision::{settings, wish};
use super::*;
use crate::dongle::provision::Plan;
use crate::keygen::{self, Task};
use crate::settings::Settings;

/// An emulated dongle with two ports, which ends when it is dropped.
struct Emulated {
    directory: PathBuf,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Vec<Happening>>>,
}

impl Emulated {
    fn start(folder: &Folder, is_unlocked: bool) -> Self {
        Self::with(Options { is_unlocked, ..options(&folder.path) })
    }

    fn with(options: Options) -> Self {
        let directory = options.directory.clone();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut happenings = Vec::new();
            let done = emulate::run(&options, stopped.as_fd(), &mut |happening| {
                happenings.push(happening.clone());
                let _gone = ready.send(());
            });
            done.unwrap();
            happenings
        });
        is_ready.recv().unwrap();
        is_ready.recv().unwrap();
        Self { directory, stop: Some(stop), thread: Some(thread) }
    }

    fn port(&self, number: u8) -> PathBuf {
        self.directory.join(format!("port{number}"))
    }

    fn client(&self, number: u8) -> Client {
        Client::new(Line::open(&self.port(number), 921_600).unwrap())
    }

    fn info(&self, number: u8) -> Info {
        self.client(number).info().unwrap()
    }

    fn provision(&self, settings: &Settings) -> Result<String, DongleError> {
        let mut client = self.client(1);
        let info = client.info()?;
        Plan::new(settings, &wish())?.carry_out(&mut client, info)
    }

    /// Ends it, and returns what happened.
    fn end(mut self) -> Vec<Happening> {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn options(folder: &Path) -> Options {
    Options {
        ports: 2,
        directory: folder.join("dongle"),
        state: None,
        speed: Some(921_600),
        is_unlocked: false,
        on_reset: None,
    }
}

#[test]
fn the_firmware_takes_settings_and_keeps_them() {
    let folder = Folder::new("emulate");
    let settings = settings(&folder, 2);
    let dongle = Emulated::start(&folder, false);
    let info = dongle.info(1);
    assert_eq!((info.lock, info.port, info.starts), (Lock::Unprovisioned, 0, 1));
    let picture = Picture::of(&info, &dongle.port(1), Some(&settings));
    assert!(picture.faults[0].starts_with("it is not provisioned"), "{picture:?}");
    let said = dongle.provision(&settings).unwrap();
    assert!(said.starts_with("The dongle is the witness dongle of cluster web"), "{said}");
    dongle.provision(&settings).expect("the present key opens it");
    let happenings = dongle.end();
    let texts: Vec<&str> = happenings.iter().map(|it| it.text.as_str()).collect();
    assert!(texts.contains(&"new settings are in force"), "{texts:?}");
    assert_eq!(texts.last(), Some(&"ends, as asked"));
    let dongle = Emulated::start(&folder, false);
    let info = dongle.info(2);
    assert_eq!((info.lock, info.port, info.starts), (Lock::Locked, 1, 2));
    let picture = Picture::of(&info, &dongle.port(2), Some(&settings));
    assert_eq!(picture.faults, [""; 0]);
    assert_eq!(picture.ports[1].name.as_deref(), Some("beta"));
    let events = dongle.client(2).log().unwrap();
    assert_eq!(events[0].1.what, What::Started(Cause::Power, 2));
}

#[test]
fn a_stranger_needs_a_hand_on_the_dongle() {
    let folder = Folder::new("emulate");
    let settings = settings(&folder, 1);
    let dongle = Emulated::start(&folder, false);
    dongle.provision(&settings).unwrap();
    keygen::run(&folder.path.join("key"), Task::Create { may_replace: true }).unwrap();
    let error = dongle.provision(&settings).unwrap_err();
    assert!(error.to_string().contains("it knows none of the keys"), "{error}");
    drop(dongle);
    let dongle = Emulated::start(&folder, true);
    assert_eq!(dongle.info(1).lock, Lock::Unlocked);
    dongle.provision(&settings).unwrap();
    let elsewhere = Settings { cluster: "mail".to_owned(), ..settings };
    dongle.provision(&elsewhere).unwrap();
}

#[test]
fn damaged_settings_are_none() {
    let folder = Folder::new("emulate");
    let settings = settings(&folder, 1);
    let dongle = Emulated::start(&folder, false);
    dongle.provision(&settings).unwrap();
    drop(dongle);
    let state = folder.path.join("dongle/flash");
    let mut bytes = std::fs::read(&state).unwrap();
    let len = bytes.len();
    // Past the head of the second area, in which the settings are.
    bytes[len / 2 + 40] ^= 4;
    std::fs::write(&state, &bytes).unwrap();
    let dongle = Emulated::start(&folder, false);
    assert_eq!(dongle.info(1).lock, Lock::Unprovisioned);
    dongle.provision(&settings).unwrap();
    assert_eq!(dongle.info(1).lock, Lock::Locked);
}

#[test]
fn one_directory_has_one_dongle() {
    let folder = Folder::new("emulate");
    let _dongle = Emulated::start(&folder, false);
    let (_stop, stopped) = UnixStream::pair().unwrap();
    let error = emulate::run(&options(&folder.path), stopped.as_fd(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("another dongle is emulated in"), "{error}");
    let none = Options { ports: 6, ..options(&folder.path) };
    let error = emulate::run(&none, stopped.as_fd(), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "a dongle has 1 to 5 ports");
}

#[test]
fn the_speed_of_a_real_dongle_is_found_and_that_of_another_followed() {
    let folder = Folder::new("emulate");
    let span = Duration::from_millis(300);
    let real = Options { speed: Some(9600), ..options(&folder.path) };
    let dongle = Emulated::with(real);
    let said = trial::run(&dongle.port(1), 115_200, span, None).unwrap_err();
    assert_eq!(said.status(), 1, "{said}");
    let expected = "at 9600 baud and not at 115200: say --speed 9600, and `speed = 9600` in the";
    assert!(said.to_string().contains(expected), "{said}");
    drop(dongle);
    let any = Options { speed: None, ..options(&folder.path) };
    let dongle = Emulated::with(any);
    for speed in [9600, 115_200] {
        let trial = trial::run(&dongle.port(1), speed, span, None).unwrap();
        let median = trial.sizes[0].median_ms;
        // Eight bytes each way.
        let least = 2.0 * 8.0 * 10_000.0 / f64::from(speed);
        assert!(median > least && trial.garbage == 0, "{trial:?}");
    }
}
