//! Settings out of any files of Linux-HA heartbeat.

use std::cell::LazyCell;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use lifesign::heartbeat::fault::{Faults, File};
use lifesign::heartbeat::surroundings::{Network, Surroundings};
use lifesign::heartbeat::{Choices, ImportError, Witness, import as made_of};
use lifesign::settings::Settings;
use lifesign::settings::key::KeyFile;

use super::settings::demand_plain;

/// Makes settings of any ha.cf, authkeys and haresources, which follow each other with a zero byte
/// between them; the first byte says whether there is a witness.
///
/// # Panics
/// If one of these is not so:
///
/// - What is wrong is said in one line each, which names the file, a line that it has, and what to
///   do, and shows nothing of a key.
/// - What is printed for an accepted directory is accepted by the settings' own parser, and says
///   the same; so are the keys.
/// - Nothing that the files hold reaches the terminal as a command to it.
pub fn import(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let texts = File::ALL.map(|file| (file, parts.next().unwrap_or_default()));
    let witness = Witness { name: "quorum".to_owned(), ip: Some(IpAddr::from([10, 0, 0, 9])) };
    let choices = Choices { witness: (choice & 1 == 1).then_some(witness), ..Choices::default() };
    PLACE.with(|place| {
        for (file, bytes) in texts {
            fs::write(place.0.join(file.name()), bytes).expect("a file of our own");
        }
        match made_of(&place.0, &choices, &Two) {
            Ok(imported) => {
                demand_plain(&imported.text);
                imported.warnings.iter().for_each(|warning| demand_plain(warning));
                let again = Settings::parse("settings.toml", &imported.text);
                assert_eq!(again.as_ref().ok(), Some(&imported.settings), "{}", imported.text);
                let keys = imported.keys.expect("authkeys was read");
                let again = KeyFile::parse(&place.0, &keys.text());
                assert!(again.is_ok_and(|again| again == keys), "the keys say the same");
                demand_discreet(&imported.text, texts);
            }
            Err(error) => {
                let shown = error.render(&place.0, false);
                demand_plain(&shown);
                demand_discreet(&shown, texts);
                match error {
                    ImportError::Faults(faults) => demand_places(&faults, &shown, texts),
                    ImportError::Settings(mistakes) => {
                        assert!(!mistakes.list().is_empty() && shown.contains("made of "));
                    }
                    ImportError::Unsafe(errors) => assert!(!errors.is_empty()),
                    other => panic!("an error of a kind that is not known here: {other:?}"),
                }
            }
        }
    });
}

thread_local! {
    static PLACE: LazyCell<Place> = LazyCell::new(Place::new);
}

/// A directory for the files.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lifesign-fuzz-ha-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir_all(&place).expect("a folder for temporary files");
        for file in File::ALL {
            let path = place.join(file.name());
            fs::write(&path, "").expect("a file of our own");
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, mode).expect("a file of our own");
        }
        Self(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The machine `one` of two, on two networks.
#[derive(Debug)]
struct Two;

impl Surroundings for Two {
    fn host(&self) -> String {
        "one".to_owned()
    }

    fn lookup(&self, name: &str) -> Vec<IpAddr> {
        match name {
            "one" => vec![IpAddr::from([10, 0, 0, 1])],
            "two" => vec![IpAddr::from([10, 0, 0, 2])],
            "three" => vec![IpAddr::from([10, 0, 0, 3])],
            _ => name.parse().into_iter().collect(),
        }
    }

    fn networks(&self) -> Vec<Network> {
        let network = |adapter: &str, net: u8| Network {
            adapter: adapter.to_owned(),
            ip: IpAddr::from([10, net, 0, 1]),
            prefix: 24,
        };
        vec![network("eth0", 0), network("eth1", 1)]
    }
}

fn demand_places(faults: &Faults, shown: &str, texts: [(File, &[u8]); 3]) {
    let list = faults.list();
    assert_eq!(shown.lines().count(), list.len(), "one line each: {shown}");
    for (fault, line) in list.iter().zip(shown.lines()) {
        let (_, text) = texts.iter().find(|(file, _)| *file == fault.place.file).expect("a file");
        let lines = text.split(|byte| *byte == b'\n').count();
        assert!(fault.place.line <= lines, "{} of {lines} lines", fault.place);
        assert!(!fault.what.is_empty() && !fault.hint.is_empty(), "{fault:?}");
        assert!(line.contains(&format!("/{}: ", fault.place)), "{line} is about {}", fault.place);
    }
}

/// The word of the kept inputs' keys is in nothing that is shown.
fn demand_discreet(shown: &str, texts: [(File, &[u8]); 3]) {
    let has = |text: &[u8]| text.windows(KEY.len()).any(|part| part == KEY.as_bytes());
    let is_elsewhere = texts.iter().any(|(file, text)| *file != File::Authkeys && has(text));
    assert!(is_elsewhere || !shown.contains(KEY), "a key is shown: {shown}");
}

const KEY: &str = "5ecre7";
