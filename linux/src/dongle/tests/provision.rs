//! What is stored in dongles, and what is not.

use lifesign_core::dongle::settings::Settings as Stored;
use lifesign_core::dongle::{NotProvisioned, Sealed};

use super::super::provision::{Plan, Wish};
use super::*;
use crate::keygen::{self, Task};
use crate::settings::Settings;

/// Writes settings with a dongle, and a key file with `keys` keys, into `folder`.
pub(super) fn settings(folder: &Folder, keys: u8) -> Settings {
    let key = folder.path.join("key");
    keygen::run(&key, Task::Create { may_replace: true }).unwrap();
    for _ in 1..keys {
        keygen::run(&key, Task::Add).unwrap();
    }
    let text = format!(
        r#"
        version = 1
        cluster = "web"
        key_file = {key:?}
        profile = "standard"
        quorum = ["majority", "witness"]
        [[node]]
        name = "alpha"
        [[node]]
        name = "beta"
        [[witness]]
        name = "dongle"
        [[link]]
        name = "wire"
        kind = "serial"
        device = "/dev/ttyS0"
        witness = "dongle"
        resets = ["beta"]
        "#
    );
    Settings::parse("web.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub(super) fn wish() -> Wish {
    Wish {
        ports: vec![(1, "alpha".to_owned()), (2, "beta".to_owned())],
        witness: None,
        resets: Vec::new(),
        pulse: Duration::from_millis(500),
    }
}

/// Takes settings like a dongle does, in the state `info` and with the keys of `stored`.
fn taker(mut info: Info, mut stored: Option<Stored>) -> Other {
    Other::new(None, move |message| {
        let keyring = stored.as_ref().and_then(Stored::keyring);
        let control = keyring.map(|keyring| keyring.derive(dongle::PURPOSE));
        let Ok((request, sealed)) = dongle::decode::<Request>(message, control.as_ref()) else {
            // Sealed by a stranger.
            return vec![encoded(&Reply::Provisioned(Err(NotProvisioned::Locked)))];
        };
        let reply = match request {
            Request::Info => Reply::Info(info.clone()),
            Request::Provision(provision) => {
                Reply::Provisioned(if info.lock == Lock::Locked && sealed == Sealed::No {
                    Err(NotProvisioned::Locked)
                } else if provision.challenge != info.challenge {
                    Err(NotProvisioned::Challenge)
                } else {
                    let settings = provision.settings;
                    info.lock = Lock::Locked;
                    info.member = Some((settings.cluster, settings.me));
                    info.longest_promise_ms = settings.longest_promise_ms;
                    for (port, settings) in info.ports.iter_mut().zip(&settings.ports) {
                        port.name = settings.name.clone();
                        port.resets = settings.resets;
                    }
                    stored = Some(settings);
                    Ok(())
                })
            }
            _ => Reply::NotUnderstood,
        };
        vec![encoded(&reply)]
    })
}

fn provision(other: &Other, settings: &Settings, wish: &Wish) -> Result<String, DongleError> {
    let plan = Plan::new(settings, wish)?;
    let mut client = other.client();
    let info = client.info()?;
    plan.carry_out(&mut client, info)
}

#[test]
fn a_fresh_dongle_takes_settings_and_shows_them() {
    let folder = Folder::new("provision");
    let settings = settings(&folder, 3);
    let other = taker(fresh(), None);
    let plan = Plan::new(&settings, &wish()).unwrap();
    let explained = plan.explain(&fresh(), &other.device(), Some(9600));
    assert!(explained.contains("port 2    beta, reset by a pulse of 500 ms"), "{explained}");
    assert!(explained.contains("2 keys of the cluster, which go over this cable in clear"));
    assert!(explained.contains("it will not know key 2"), "{explained}");
    assert!(explained.contains("it answers at 9600 baud"), "{explained}");
    let secret = std::fs::read_to_string(folder.path.join("key")).unwrap();
    let secrets = secret.split('"').filter(|text| text.len() == 64);
    assert!(secrets.clone().count() == 3 && secrets.clone().all(|it| !explained.contains(it)));
    let said = provision(&other, &settings, &wish()).unwrap();
    assert!(
        said.starts_with("The dongle is the witness dongle of cluster web, and promises up to")
    );
    let info = other.client().info().unwrap();
    let picture = Picture::of(&info, &other.device(), Some(&settings));
    assert_eq!(picture.faults, [""; 0]);
    let page = picture.render(Page::PLAIN);
    assert!(page.contains("cluster   web (id "), "{page}");
    assert!(page.contains("as its witness dongle, number 1"), "{page}");
    assert!(page.contains("     2 beta                   7        0"), "{page}");
    assert!(page.contains("  resets beta"), "{page}");
    let mut unwired = info;
    unwired.ports[1].resets = None;
    let picture = Picture::of(&unwired, &other.device(), Some(&settings));
    assert!(picture.faults[0].contains("no reset line to beta"), "{:?}", picture.faults);
    assert!(page.contains("start number 3, after its watchdog bit"), "{page}");
    // The present key opens it, also the one that will sign next.
    provision(&other, &settings, &wish()).unwrap();
    keygen::run(&folder.path.join("key"), Task::Sign(3)).unwrap();
    provision(&other, &settings, &wish()).unwrap();
}

#[test]
fn a_dongle_with_another_key_or_of_another_cluster_is_left_alone() {
    let folder = Folder::new("provision");
    let settings = settings(&folder, 1);
    let other = taker(fresh(), None);
    provision(&other, &settings, &wish()).unwrap();
    let elsewhere = Settings { cluster: "mail".to_owned(), ..settings.clone() };
    let error = provision(&other, &elsewhere, &wish()).unwrap_err();
    assert_eq!(error.status(), 5);
    assert!(
        error
            .to_string()
            .contains("hold its unlock pin (on STM32F405 boards: connect PA0 to 3.3 V)"),
        "{error}"
    );
    let info = other.client().info().unwrap();
    let picture = Picture::of(&info, &other.device(), Some(&elsewhere));
    assert!(picture.is_foreign && picture.faults[0].starts_with("it belongs to another cluster"));
    keygen::run(&folder.path.join("key"), Task::Create { may_replace: true }).unwrap();
    let error = provision(&other, &settings, &wish()).unwrap_err();
    assert_eq!(error.status(), 1);
    assert!(error.to_string().contains("it knows none of the keys in this key file"), "{error}");
    assert!(error.to_string().ends_with("promises up to 1000 ms."), "{error}");
}

#[test]
fn wishes_that_do_not_fit_the_settings_are_named() {
    let folder = Folder::new("provision");
    let settings = settings(&folder, 1);
    let refused = |change: &dyn Fn(&mut Wish)| {
        let mut wish = wish();
        change(&mut wish);
        let error = Plan::new(&settings, &wish).unwrap_err();
        assert_eq!(error.status(), 2);
        error.to_string()
    };
    let known = "there is no node \"gamma\"; known are alpha and beta";
    assert_eq!(refused(&|wish| wish.ports.push((3, "gamma".to_owned()))), known);
    assert_eq!(refused(&|wish| wish.resets.push("gamma".to_owned())), known);
    assert_eq!(refused(&|wish| wish.ports[1].0 = 1), "port 1 is there twice");
    assert_eq!(refused(&|wish| wish.ports[1].0 = 6), "ports are numbered from 1 to 5");
    assert_eq!(refused(&|wish| wish.ports[1].0 = 0), "ports are numbered from 1 to 5");
    assert_eq!(
        refused(&|wish| wish.ports.truncate(1)),
        "beta is to be reset, and no port leads there: say --port N=beta"
    );
    assert_eq!(
        refused(&|wish| wish.witness = Some("quorum".to_owned())),
        "there is no witness \"quorum\"; known are dongle"
    );
    let pulse = "a pulse must last 10 ms to 3000 ms";
    assert_eq!(refused(&|wish| wish.pulse = Duration::from_millis(9)), pulse);
    std::fs::remove_file(folder.path.join("key")).unwrap();
    assert!(refused(&|_| {}).ends_with("key: no such file or directory"));
}

#[test]
fn what_is_stored_is_told_when_the_answer_is_lost() {
    let folder = Folder::new("provision");
    let settings = settings(&folder, 1);
    let stored = {
        let mut info = fresh();
        Other::dongle(move |request| match request {
            Request::Info => Some(Reply::Info(info.clone())),
            Request::Provision(provision) => {
                info.member = Some((provision.settings.cluster, provision.settings.me));
                info.longest_promise_ms = provision.settings.longest_promise_ms;
                for (port, settings) in info.ports.iter_mut().zip(&provision.settings.ports) {
                    port.name = settings.name.clone();
                }
                None
            }
            _ => None,
        })
    };
    assert!(provision(&stored, &settings, &wish()).is_ok());
    let liar = Other::dongle(|request| match request {
        Request::Provision(_) => Some(Reply::Provisioned(Ok(()))),
        _ => Some(Reply::Info(fresh())),
    });
    let error = provision(&liar, &settings, &wish()).unwrap_err();
    assert!(error.to_string().ends_with("The dongle has no settings and passes nothing on."));
    let full = Other::dongle(|request| match request {
        Request::Provision(_) => Some(Reply::Provisioned(Err(NotProvisioned::Store))),
        _ => Some(Reply::Info(fresh())),
    });
    let error = provision(&full, &settings, &wish()).unwrap_err();
    assert!(error.to_string().contains("the dongle could not store them. The dongle has no"));
}

#[test]
fn keys_of_a_plan_are_not_shown() {
    let folder = Folder::new("provision");
    let plan = Plan::new(&settings(&folder, 1), &wish()).unwrap();
    assert_eq!(format!("{plan:?}"), "Plan { cluster: \"web\", .. }");
}
