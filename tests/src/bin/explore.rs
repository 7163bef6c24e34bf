//! `cargo run --release -p lifesign-tests --bin explore -- [NAME...] [--list] [--quick]`
#![expect(clippy::print_stdout, reason = "a command's answer")]

use std::process::ExitCode;

use lifesign_tests::explore::list::{self, Configuration};
use lifesign_tests::explore::run;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let names: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let is_meant = |configuration: &Configuration| {
        names.is_empty() || names.iter().any(|name| *name == configuration.name)
    };
    let mut is_well = true;
    for configuration in list::all().into_iter().filter(is_meant) {
        println!("{}: {}", configuration.name, configuration.says);
        for variant in configuration.variants {
            if has("--list") {
                println!("  {}{}", variant.what, if variant.is_quick { "" } else { " (long)" });
            } else if variant.is_quick || !has("--quick") {
                let outcome = run::explore(&variant, has("--story"));
                println!("{outcome}");
                is_well &= outcome.is_expected();
            }
        }
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
