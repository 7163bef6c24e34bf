//! A line of ha.cf, and directives of which nothing but the form is read.

use lifesign_core::time::Duration;

use super::directive::Directive;
use super::fault::{Faults, Place, shown};
use super::ha_cf::{HaCf, Remark, Said};
use super::span::{SPAN_HINT, boolean, span};

/// A line of ha.cf.
#[derive(Clone, Debug)]
pub struct Line<'t> {
    /// Where it stands.
    pub place: Place,
    /// Its directive.
    pub directive: &'static Directive,
    /// What follows the directive's name.
    pub words: Vec<&'t str>,
    /// All of it, without a comment.
    pub text: &'t str,
}

impl Line<'_> {
    /// Adds what is wrong with this line.
    pub(super) fn wrong(&self, faults: &mut Faults, what: &str, hint: impl Into<String>) {
        faults.add(self.place, format!("{}: {what}", shown(self.text)), hint);
    }

    /// Adds a remark on this line.
    pub(super) fn remark(&self, ha: &mut HaCf, what: &str) {
        ha.remarks
            .push(Remark { place: self.place, text: format!("{}: {what}", shown(self.text)) });
    }

    /// Returns the words if there is one, or notes that there is none.
    pub(super) fn some(&self, faults: &mut Faults) -> &[&str] {
        if self.words.is_empty() {
            self.wrong(faults, "a value is missing", "add it, or take the line out");
        }
        &self.words
    }

    /// Returns the only word, or notes that there is none or more than one.
    pub(super) fn only(&self, faults: &mut Faults) -> Option<&str> {
        match self.some(faults) {
            [] => None,
            [word] => Some(word),
            _ => {
                self.wrong(faults, "there is more than one value", "keep one");
                None
            }
        }
    }

    /// Returns what the only word is to `parse`, or notes that it is none.
    pub(super) fn parsed<T>(&self, faults: &mut Faults, parse: Parse<T>, hint: &str) -> Option<T> {
        let word = self.only(faults)?;
        let value = parse(word);
        if value.is_none() {
            self.wrong(faults, &format!("\"{}\" is not understood", shown(word)), hint);
        }
        value
    }

    pub(super) fn span(&self, faults: &mut Faults) -> Option<Said<Duration>> {
        if self.some(faults).is_empty() {
            return None;
        }
        match span(&self.words) {
            Ok(value) if value > Duration::ZERO => Some(Said { value, place: self.place }),
            Ok(_) => {
                self.wrong(faults, "it must be more than zero", SPAN_HINT);
                None
            }
            Err(why) => {
                self.wrong(faults, &why, SPAN_HINT);
                None
            }
        }
    }
}

pub(super) type Parse<T> = fn(&str) -> Option<T>;

pub(super) const BOOLEAN_HINT: &str = "write on or off";

/// Keeps what a line says, or notes that an earlier one says something else.
pub(super) fn keep<T: PartialEq>(
    slot: &mut Option<Said<T>>,
    said: Option<Said<T>>,
    line: &Line<'_>,
    faults: &mut Faults,
) {
    match (&slot, &said) {
        (Some(first), Some(second)) if first.value != second.value => {
            let what = format!("{} says something else", first.place);
            line.wrong(faults, &what, "keep one of the two lines");
        }
        (_, Some(_)) => *slot = said,
        (_, None) => {}
    }
}

/// Takes in a line that asks for nothing that is still to be done.
pub(super) fn note(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    if !line.some(faults).is_empty() {
        line.remark(ha, line.directive.help);
    }
}

pub(super) fn note_boolean(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    if line.parsed(faults, boolean, BOOLEAN_HINT).is_some() {
        line.remark(ha, line.directive.help);
    }
}

pub(super) fn note_number(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    if line.parsed(faults, |word| word.parse::<u32>().ok(), "write a whole number").is_some() {
        line.remark(ha, line.directive.help);
    }
}

pub(super) fn note_span(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    if line.span(faults).is_some() {
        line.remark(ha, line.directive.help);
    }
}

/// Refuses a line, with the reason and the cure of its directive.
pub(super) fn refuse(_: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let (why, hint) = line.directive.help.split_once("; ").unwrap_or((line.directive.help, ""));
    line.wrong(faults, why, hint);
}
