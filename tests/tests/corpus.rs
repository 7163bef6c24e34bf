//! Every input that was ever kept, at its target, and some mutations of each.
//!
//! `LIFESIGN_MUTATIONS=100000 cargo test -p lifesign-tests --test corpus` tries more of them.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lifesign_core::frame::HEADER_LEN;
use lifesign_tests::fuzz::mutation::{LONGEST, mutated};
use lifesign_tests::fuzz::{TARGETS, Target};
use lifesign_tests::random::Random;

/// How many mutations each target takes in, if nobody says otherwise.
const MUTATIONS: u64 = 1000;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Returns the kept inputs of `target` with their names, in the order of the names.
fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut kept: Vec<(String, Vec<u8>)> = fs::read_dir(folder(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read(&path).unwrap()))
        .collect();
    kept.sort();
    kept
}

/// Returns what `input` breaks, if it breaks anything.
fn broken(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| run(input))).err()?;
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).into()))
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// Runs `target` on what is kept for it and on mutations of that.
fn try_target(name: &str) {
    let target = target(name);
    let kept = kept(target);
    for (name, input) in &kept {
        if let Some(words) = broken(target.run, input) {
            panic!("corpus/{}/{name}: {words}", target.name);
        }
    }
    let inputs: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
    let count = std::env::var("LIFESIGN_MUTATIONS").map_or(MUTATIONS, |text| text.parse().unwrap());
    let mut random = Random::new(0x5eed);
    for number in 0..count {
        let input = mutated(&inputs, &mut random);
        if let Some(words) = broken(target.run, &input) {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{number}"));
            fs::write(&place, &input).unwrap();
            panic!("mutation {number}, kept as {}: {words}", place.display());
        }
    }
}

#[test]
fn frame() {
    try_target("frame");
}

#[test]
fn member() {
    try_target("member");
}

#[test]
fn stream() {
    try_target("stream");
}

#[test]
fn dongle() {
    try_target("dongle");
}

#[test]
fn settings() {
    try_target("settings");
}

#[test]
fn keyfile() {
    try_target("keyfile");
}

#[test]
fn control() {
    try_target("control");
}

#[test]
fn note() {
    try_target("note");
}

#[test]
fn import() {
    try_target("import");
}

/// Nothing that says what is not so goes unnoticed: here, that no frame is ever a farewell.
#[test]
fn a_property_that_does_not_hold_is_found_among_mutations() {
    fn no_farewell(input: &[u8]) {
        let bytes = input.get(1..).unwrap_or_default();
        let is_farewell = bytes.get(HEADER_LEN).is_some_and(|flags| flags & 4 == 4);
        assert!(!is_farewell, "a farewell");
    }
    let kept = kept(target("frame"));
    let others = kept.into_iter().filter(|(_, input)| broken(no_farewell, input).is_none());
    let inputs: Vec<Vec<u8>> = others.map(|(_, input)| input).collect();
    let mut random = Random::new(0x5eed);
    let found = (0..MUTATIONS).find_map(|_| broken(no_farewell, &mutated(&inputs, &mut random)));
    assert_eq!(found.as_deref(), Some("a farewell"));
}

#[test]
fn every_target_has_a_corpus_a_test_and_a_shell() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    let tests = fs::read_to_string(root.join("tests/corpus.rs")).unwrap();
    for target in &TARGETS {
        let name = target.name;
        let shell = fs::read_to_string(root.join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(shell.contains(&format!("lifesign_tests::fuzz::{name}(input)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(tests.contains(&format!("try_target(\"{name}\")")), "{name}");
        let kept = kept(target);
        assert!((10..=100).contains(&kept.len()), "{name}: {} inputs are kept", kept.len());
        let longest = kept.iter().map(|(_, input)| input.len()).max();
        assert!(longest <= Some(LONGEST), "{name}: {longest:?} bytes");
    }
    let folders = fs::read_dir(root.join("corpus")).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "each folder belongs to a target");
}
