//! Rules of the house that a program can check, so that nobody has to.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};

/// What may stand at the top besides names that begin with a dot.
const TOP: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "core",
    "firmware",
    "linux",
    "target",
    "tests",
];

/// Where unsafe code may stand: system calls, and what of the firmware has to do with registers,
/// faults and memory that outlives a reset.
const WITH_UNSAFE: [&str; 6] = [
    "firmware/src/board.rs",
    "firmware/src/board/",
    "firmware/src/fault.rs",
    "firmware/src/kept.rs",
    "linux/src/sys.rs",
    "linux/src/sys/",
];

const MOST_COLUMNS: usize = 100;
const MOST_LINES: usize = 400;
const MOST_LINES_WITH_TESTS: usize = 600;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// Files that are longer than they may be, with the reason. The list only gets shorter.
const LONG_FILES: [(&str, &str); 3] = [
    ("core/src/engine.rs", "grew while its parts were found; its accessors can move out"),
    ("core/src/frame.rs", "the table of the wire format stands in it"),
    ("core/src/peer.rs", "freshness and conditions are not parted yet"),
];

/// Files with a function that is longer than it may be, with the reason. The list only gets
/// shorter.
const LONG_FUNCTIONS: [(&str, &str); 2] = [
    ("linux/src/address/bpf/tests.rs", "an interpreter has one arm for each instruction"),
    ("linux/src/daemon/prepare.rs", "the order of a start is read in one piece"),
];

/// A source file, with its path from the top.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Returns the lines with their numbers, the first being 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Returns how many lines stand outside of modules that are compiled for tests alone.
    fn lines_without_tests(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut count = 0;
        let mut at = 0;
        while at < lines.len() {
            let is_tests = lines[at].trim() == "#[cfg(test)]"
                && lines[at + 1..].iter().take(3).any(|line| line.contains("mod tests {"));
            if is_tests {
                let indent = lines[at].len() - lines[at].trim_start().len();
                let end = format!("{}}}", " ".repeat(indent));
                at += lines[at..].iter().position(|line| *line == end).unwrap_or(lines.len() - at);
            } else {
                count += 1;
            }
            at += 1;
        }
        count
    }

    /// Returns the first line, the name and the length of each function that has a body.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
            // What is formatted ends where a brace stands below its beginning.
            let is_whole = line.trim_end().ends_with(['}', ';']);
            let rest = lines[at..].iter().position(|line| line.trim_end() == end);
            let length = if is_whole { 1 } else { rest.map_or(1, |rest| rest + 1) };
            found.push((at + 1, name.to_owned(), length));
        }
        found
    }
}

/// Returns the name of the function that a line begins, if it begins one.
fn function_name(line: &str) -> Option<&str> {
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let mut rest = line.trim_start();
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            return after.split(['(', '<']).next();
        }
        if !words.contains(&word) && !word.starts_with("pub(in") {
            return None;
        }
        rest = after;
    }
    None
}

/// Returns a line without what stands between its quotation marks.
fn without_text(line: &str) -> String {
    if line.trim_start().starts_with("//") {
        return line.to_owned();
    }
    let is_inside = |at: usize| !at.is_multiple_of(2);
    // Text that goes on over several lines begins or ends in this one, and stays in it.
    let parts: Vec<&str> = line.split('"').collect();
    let outside = parts.iter().enumerate().filter(|(at, _)| !is_inside(*at));
    let kept: Vec<&str> = outside.map(|(_, part)| *part).collect();
    if parts.len() < 3 && parts.len() != 1 { String::new() } else { kept.join("\"\"") }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns every source file of the project.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for part in ["core", "linux", "firmware", "tests"] {
        collect(&top().join(part), &mut sources);
    }
    assert!(sources.len() > 100, "only {} source files were found", sources.len());
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn collect(directory: &Path, into: &mut Vec<Source>) {
    // The dongle's folder comes with the dongle.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "target" {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
            into.push(Source { path, text });
        }
    }
}

/// Fails with one line for each of `wrong`.
fn demand_none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n{}\n({} in all)", wrong.join("\n"), wrong.len());
}

#[test]
fn the_top_has_only_what_is_agreed() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(top()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') && !TOP.contains(&name.as_str()) {
            wrong.push(name);
        }
    }
    demand_none(&wrong, "at the top stand only parts of the project");
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            let is_row = line.trim_start().starts_with(['/', '!']) && line.contains(" | ");
            // A row of a table cannot be broken, nor can text that is written out.
            let width = without_text(line).chars().count();
            if width > MOST_COLUMNS && !is_row {
                wrong.push(format!("{}:{number}: {width} columns", source.path));
            }
        }
    }
    demand_none(&wrong, "a line has at most 100 columns");
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let is_listed = |list: &[(&str, &str)]| list.iter().any(|(path, _)| *path == source.path);
        let (all, own) = (source.text.lines().count(), source.lines_without_tests());
        let is_test = source.path.contains("/tests/");
        let is_long = (own > MOST_LINES && !is_test) || all > MOST_LINES_WITH_TESTS;
        if is_long != is_listed(&LONG_FILES) {
            wrong.push(format!("{}: {own} lines, {all} with tests", source.path));
        }
        let functions = source.functions();
        let long: Vec<_> =
            functions.iter().filter(|(_, _, length)| *length > MOST_LINES_OF_A_FUNCTION).collect();
        if long.is_empty() && is_listed(&LONG_FUNCTIONS) {
            wrong.push(format!("{}: no function is long any more", source.path));
        }
        if !is_listed(&LONG_FUNCTIONS) {
            wrong.extend(long.iter().map(|(line, name, length)| {
                format!("{}:{line}: {name} has {length} lines", source.path)
            }));
        }
    }
    demand_none(&wrong, "files have at most 400 lines, 600 with tests; functions 60");
}

#[test]
fn files_are_named_after_what_is_in_them() {
    let vague = ["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];
    let is_vague = |path: &str| path.rsplit('/').next().is_some_and(|name| vague.contains(&name));
    let wrong: Vec<String> =
        sources().into_iter().map(|source| source.path).filter(|path| is_vague(path)).collect();
    demand_none(&wrong, "a name says what a file is about");
}

#[test]
fn files_begin_by_saying_what_they_are() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    demand_none(&wrong, "a file begins with `//!` and what it is");
}

#[test]
fn unsafe_code_has_its_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        let has_leave = WITH_UNSAFE.iter().any(|path| source.path.starts_with(path));
        for (number, line) in source.lines() {
            let line = without_text(line);
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if !has_leave && words.any(|word| word == "unsafe") {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    demand_none(&wrong, "unsafe code stands where there are system calls or registers");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [["TO", "DO"], ["FIX", "ME"]].map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    demand_none(&wrong, "what is to be done stands elsewhere");
}

#[test]
fn the_rules_are_checked_as_they_are_meant() {
    let text = "//! A file.\n\npub const fn short() {}\n\nimpl X {\n    pub(crate) fn long(\n\
                \x20   ) {\n        one();\n    }\n}\n\n#[cfg(test)]\nmod tests {\n    fn a() {\n    }\n}\n";
    let source = Source { path: "x.rs".to_owned(), text: text.to_owned() };
    assert_eq!(source.lines_without_tests(), 11);
    let functions = source.functions();
    let expected = [(3, "short", 1), (6, "long", 4), (14, "a", 2)];
    assert_eq!(functions, expected.map(|(line, name, length)| (line, name.to_owned(), length)));
    assert_eq!(function_name("    unsafe extern \"C\" fn raw(x: u8) {"), Some("raw"));
    assert_eq!(function_name("let fn_like = 3;"), None);
    assert_eq!(without_text("say(\"a\", \"b\")"), "say(\"\", \"\")");
    assert_eq!(without_text("/// \"said\""), "/// \"said\"");
}
