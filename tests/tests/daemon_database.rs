//! Real daemons that serve PostgreSQL and nginx, by the agents of others, from one shared folder.
//!
//! A client writes rows through the service address all the time. Whatever becomes of the server,
//! each row that was acknowledged is there in the end, once and in order, and PostgreSQL has never
//! run on two machines.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails is a test's failure")]

#[path = "database/client.rs"]
mod client;
#[path = "database/watch.rs"]
mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifesign_tests::trial::{self, Setup, Trial, pause};
use nix::sys::signal::Signal;

use self::client::{Connection, Writer};
use self::watch::Watch;

/// What makes a namespace a machine, stands for another program, or is configured.
const FILES: [(&str, &str, u32); 4] = [
    ("machine", include_str!("database/machine.sh"), 0o755),
    ("runuser", include_str!("database/runuser.sh"), 0o755),
    ("fence_cut", include_str!("database/fence.sh"), 0o755),
    ("shared/nginx.conf", include_str!("database/nginx.conf"), 0o644),
];

const SERVICES: &str = "[[group.service]]\nname = \"db\"\nagent = \"ocf:heartbeat:pgsql\"\n\
    parameters = { pgctl = \"PROGRAMS/pg_ctl\", psql = \"PROGRAMS/psql\", \
    pgdata = \"DIRECTORY/shared/data\", socketdir = \"DIRECTORY/local\", \
    start_opt = \"-k DIRECTORY/local\", logfile = \"DIRECTORY/local/postgresql.log\" }\n\
    start_limit = \"120s\"\nstop_limit = \"120s\"\nmonitor_limit = \"30s\"\n\
    monitor_interval = \"2s\"\n\
    [[group.service]]\nname = \"web\"\nagent = \"ocf:heartbeat:nginx\"\n\
    parameters = { configfile = \"DIRECTORY/shared/nginx.conf\" }\n\
    start_limit = \"60s\"\nstop_limit = \"60s\"\nmonitor_limit = \"30s\"\n\
    monitor_interval = \"2s\"\n";

/// Starting and stopping databases makes a small machine busy.
const SPANS: &str = "heartbeat = \"100ms\"\ndead = \"2s\"\npromise = \"2400ms\"\nsettle = \"4s\"\n";

const CONFIGURATION: &str = "listen_addresses = '*'\nshared_buffers = 16MB\n\
    max_connections = 20\ndynamic_shared_memory_type = mmap\n";

/// Returns the folder of PostgreSQL's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|entry| entry.path().join("bin"));
    let newest = folders.filter(|folder| folder.join("postgres").exists()).max();
    newest.expect("PostgreSQL is missing: install postgresql")
}

/// Runs `body` with a pair of which alpha serves a database with an empty table of rows.
fn served(test: &str, guard: &'static str, body: impl FnOnce(&mut Trial, &Watch)) {
    for (program, package) in [
        ("/usr/sbin/nginx", "nginx"),
        ("/usr/lib/ocf/resource.d/heartbeat/pgsql", "resource-agents"),
    ] {
        assert!(fs::exists(program).unwrap(), "{program} is missing: install {package}");
    }
    let programs = programs();
    let services = SERVICES.replace("PROGRAMS", &programs.display().to_string());
    let setup = Setup::pair().with_spans(SPANS).with_longest_promise("5s");
    let mut setup = setup.with_guard(guard).with_services(&services);
    if guard == "fence" {
        let fence = "[[node.fence]]\nagent = \"DIRECTORY/fence_cut\"\naction = \"off\"\n";
        setup = setup.with_first(fence);
    }
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let place = trial.cluster().directory().to_owned();
        prepare(trial, &programs);
        let watch = Watch::start(place.join("shared/data"), place.join("power"));
        for node in ["alpha", "beta"] {
            watch.connect(trial, node);
        }
        trial.begin();
        let table = "CREATE TABLE IF NOT EXISTS rows (place bigserial, number bigint)";
        on_client(trial, || Connection::open()?.ask(table));
        body(trial, &watch);
    });
}

/// Makes the shared folder and those of each machine, and an empty database.
fn prepare(trial: &mut Trial, programs: &Path) {
    let place = trial.cluster().directory().to_owned();
    for name in ["shared/data", "power", "local", "of-alpha", "of-beta"] {
        fs::create_dir_all(place.join(name)).unwrap();
    }
    for (name, text, mode) in FILES {
        let text = text.replace("DIRECTORY", &place.display().to_string());
        fs::write(place.join(name), text).unwrap();
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    trial.cluster_mut().set_wrapper(&place.join("machine"));
    trial.cluster_mut().set_environment("HA_RSCTMP", &place.join("local/temporary"));
    let data = place.join("shared/data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let (initdb, folder) = (programs.join("initdb"), data.display());
    let line = format!("{} -D {folder} -U postgres -A trust --no-sync", initdb.display());
    let mut command = Command::new(place.join("runuser"));
    let made = command.args(["postgres", "-c", &line]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let add = |name: &str, text: &str| {
        let before = fs::read_to_string(data.join(name)).unwrap();
        fs::write(data.join(name), before + text).unwrap();
    };
    add("postgresql.conf", CONFIGURATION);
    add("pg_hba.conf", "host all all 10.77.0.0/24 trust\n");
}

/// Does something in the client's network, again if it takes a busy machine too long.
fn on_client<T: Send>(trial: &mut Trial, job: impl Fn() -> io::Result<T> + Sync) -> T {
    let client = trial.cluster_mut().lab_mut().machine("client");
    let mut outcome = client.within(&job);
    for _ in 0..20 {
        if outcome.is_err() {
            pause(100);
            outcome = client.within(&job);
        }
    }
    outcome.unwrap()
}

/// Starts a client that writes, and waits until much of it is acknowledged.
fn begin_to_write(trial: &mut Trial) -> Writer {
    let writer = on_client(trial, || Ok(Writer::start()));
    await_rows(trial, &writer, 100);
    writer
}

/// Waits until so many more rows have been acknowledged.
fn await_rows(trial: &Trial, writer: &Writer, more: usize) {
    let goal = writer.acknowledged().len() + more;
    trial.await_that("rows are acknowledged", |_| writer.acknowledged().len() >= goal);
}

/// Demands that nginx answers on `node`.
fn expect_page(trial: &mut Trial, node: &str) {
    let page = on_client(trial, client::page);
    assert!(page.contains(&format!("served by {node}\n")), "{page}");
}

/// Demands that the database has every row that was acknowledged, none twice, and in order.
fn expect_whole(trial: &mut Trial, writer: &mut Writer) {
    writer.end();
    let question = "SELECT number FROM rows ORDER BY place";
    let rows = on_client(trial, || Connection::open()?.ask(question));
    let rows: Vec<u64> = rows.iter().map(|number| number.parse().unwrap()).collect();
    assert!(rows.is_sorted_by(|one, next| one < next), "in order, and none twice: {rows:?}");
    let there: BTreeSet<u64> = rows.into_iter().collect();
    let lost: Vec<_> =
        writer.acknowledged().into_iter().filter(|row| !there.contains(&row.number)).collect();
    assert!(lost.is_empty(), "acknowledged, and not there: {lost:?}");
}

/// Demands that PostgreSQL ran on alpha last, then on beta, and never on both. If alpha had to be
/// `fenced` it was off between, and PostgreSQL had run on it until then, or not.
fn expect_one_postgres(watch: &Watch, fenced: Option<bool>) {
    let seen = watch.seen();
    assert_eq!(seen.twice, Vec::<String>::new());
    let order: Vec<&str> = seen.starts.iter().map(|(node, _)| node.as_str()).collect();
    // Whoever was up first may have begun.
    assert!(order.ends_with(&["alpha", "beta"]), "{seen:?}");
    let cuts: Vec<_> = seen.cuts.iter().map(|cut| (cut.node.as_str(), cut.had_postgres)).collect();
    assert_eq!(cuts, fenced.map(|had| ("alpha", had)).into_iter().collect::<Vec<_>>());
    for cut in &seen.cuts {
        let (_, started_us) = seen.starts[order.len() - 1];
        assert!(cut.at_us < started_us, "off before beta starts: {seen:?}");
    }
}

/// Demands that the client was served again within a time in which nobody does anything by hand.
fn expect_short_outage(writer: &Writer, from_us: u64) {
    let outage_ms = writer.longest_outage_ms(from_us);
    assert!(outage_ms < 60_000, "an outage of {outage_ms} ms");
}

#[test]
fn acknowledged_rows_survive_the_crash_of_their_server() {
    let test = "acknowledged_rows_survive_the_crash_of_their_server";
    served(test, "fence", |trial, watch| {
        expect_page(trial, "alpha");
        let mut writer = begin_to_write(trial);
        let from_us = trial.lab().now_us();
        trial.crash("alpha");
        trial.await_holder("beta");
        await_rows(trial, &writer, 100);
        expect_page(trial, "beta");
        expect_whole(trial, &mut writer);
        expect_one_postgres(watch, Some(false));
        expect_short_outage(&writer, from_us);
    });
}

#[test]
fn a_frozen_server_is_off_before_its_database_starts_elsewhere() {
    let test = "a_frozen_server_is_off_before_its_database_starts_elsewhere";
    served(test, "fence", |trial, watch| {
        let mut writer = begin_to_write(trial);
        let from_us = trial.lab().now_us();
        trial.signal("alpha", Signal::SIGSTOP);
        trial.await_holder("beta");
        await_rows(trial, &writer, 100);
        expect_page(trial, "beta");
        expect_whole(trial, &mut writer);
        expect_one_postgres(watch, Some(true));
        expect_short_outage(&writer, from_us);
    });
}

#[test]
fn a_database_moves_in_good_order_while_it_is_written_to() {
    let test = "a_database_moves_in_good_order_while_it_is_written_to";
    served(test, "fence", |trial, watch| {
        let mut writer = begin_to_write(trial);
        let from_us = trial.lab().now_us();
        trial.order("alpha", &["standby", "www"]);
        trial.await_holder("beta");
        await_rows(trial, &writer, 100);
        expect_page(trial, "beta");
        expect_whole(trial, &mut writer);
        expect_one_postgres(watch, None);
        expect_short_outage(&writer, from_us);
    });
}

/// What the others would see if nothing were fenced, or else they could not fail.
#[test]
fn without_a_fence_a_frozen_server_runs_on_beside_the_next() {
    let test = "without_a_fence_a_frozen_server_runs_on_beside_the_next";
    served(test, "address", |trial, watch| {
        trial.signal("alpha", Signal::SIGSTOP);
        trial.await_that("PostgreSQL runs twice", |_| !watch.seen().twice.is_empty());
    });
}
