//! One table of a TOML file, read key by key; what nobody asked for is a mistake.

use core::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistakes, did_you_mean};

/// What is wrong with a text, and how it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// What is wrong with it.
    pub(super) why: String,
    /// How to cure it.
    pub(super) hint: Option<String>,
}

impl Misfit {
    /// Returns the misfit that `why` explains and `hint` cures.
    pub(super) fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: Some(hint.into()) }
    }

    /// Returns the misfit as one sentence, for a command line.
    pub(super) fn into_said(self) -> String {
        match self.hint {
            Some(hint) => format!("{}; {hint}", self.why),
            None => self.why,
        }
    }
}

/// A table being read.
#[derive(Debug)]
pub(super) struct Table<'t> {
    entries: &'t DeTable<'t>,
    span: Range<usize>,
    what: String,
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// Starts to read `entries`, which stand at `span` and are called `what` in mistakes.
    pub(super) fn new(
        entries: &'t DeTable<'t>,
        span: Range<usize>,
        what: impl Into<String>,
    ) -> Self {
        Self { entries, span, what: what.into(), known: Vec::new(), refused: Vec::new() }
    }

    /// Returns where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Returns the text of `key`, which is read elsewhere as well, if it is there and a text.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        self.entries.get(key)?.get_ref().as_str()
    }

    /// Notes if `key` is there, because it belongs to another kind of table than `what`; `hint`
    /// says what to do.
    pub(super) fn refuse(
        &mut self,
        key: &'static str,
        what: &str,
        hint: &str,
        mistakes: &mut Mistakes,
    ) {
        if let Some((place, _)) = self.entries.iter().find(|(other, _)| other.get_ref() == key) {
            self.refused.push(key);
            mistakes
                .add(place.span(), format!("`{key}` does not belong here"))
                .label(format!("not a key of {what}"))
                .hint(hint);
        }
    }

    /// Returns the value of `key`, if it is there.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Returns the text of `key`, if it is there and a text.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Option<Spanned<&'t str>> {
        let value = self.value(key)?;
        text_of(value, key, mistakes)
    }

    /// Returns what `parse` makes of the text of `key`, if it is there and right.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
        parse: impl Fn(&str) -> Result<T, Misfit>,
    ) -> Option<Spanned<T>> {
        let text = self.text(key, mistakes)?;
        parsed_of(&text, key, mistakes, parse)
    }

    /// Like [`parsed`](Self::parsed), and the key must be there; `example` shows what could stand
    /// there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mistakes: &mut Mistakes,
        parse: impl Fn(&str) -> Result<T, Misfit>,
    ) -> Option<Spanned<T>> {
        if !self.entries.contains_key(key) {
            self.known.push(key);
            self.missing(key, example, mistakes);
            return None;
        }
        self.parsed(key, mistakes, parse)
    }

    /// Returns the whole number of `key`, if it is there and in `range`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        mistakes: &mut Mistakes,
    ) -> Option<Spanned<u64>> {
        let value = self.value(key)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            wrong_kind(value, key, "a whole number", mistakes);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        match number {
            Ok(number) if range.contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                let (from, to) = (range.start(), range.end());
                mistakes
                    .add(value.span(), format!("`{key}` is out of range"))
                    .label(format!("must be {from} to {to}"));
                None
            }
        }
    }

    /// Returns the truth of `key`, or `default` if it is not there.
    pub(super) fn boolean(
        &mut self,
        key: &'static str,
        default: bool,
        mistakes: &mut Mistakes,
    ) -> bool {
        match self.value(key) {
            None => default,
            Some(value) => {
                if let DeValue::Boolean(truth) = value.get_ref() {
                    *truth
                } else {
                    wrong_kind(value, key, "true or false", mistakes);
                    default
                }
            }
        }
    }

    /// Returns the texts of the array `key` with the array's place, if it is there.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Option<Spanned<Vec<Spanned<&'t str>>>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            wrong_kind(value, key, "an array of texts", mistakes)
                .hint(format!("put each word or address in quotes: {key} = [\"..\", \"..\"]"));
            return None;
        };
        let texts = array.iter().filter_map(|item| text_of(item, key, mistakes)).collect();
        Some(Spanned::new(value.span(), texts))
    }

    /// Returns the table `key`, if it is there.
    pub(super) fn table(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<Self> {
        let value = self.value(key)?;
        if let DeValue::Table(entries) = value.get_ref() {
            Some(Self::new(entries, value.span(), format!("`{key}`")))
        } else {
            wrong_kind(value, key, "a table", mistakes);
            None
        }
    }

    /// Returns the tables that stand under `[[key]]`, at most `most` of them.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        most: usize,
        mistakes: &mut Mistakes,
    ) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            wrong_kind(value, key, "an array of tables", mistakes)
                .hint(format!("begin each with a line `[[{key}]]`, in two pairs of brackets"));
            return Vec::new();
        };
        if let Some(item) = array.get(most) {
            let count = array.iter().count();
            mistakes
                .add(item.span(), format!("{count} tables `[[{key}]]` are too many"))
                .label(format!("there can be {most}"));
        }
        let mut tables = Vec::new();
        for item in array.iter().take(most) {
            if let DeValue::Table(entries) = item.get_ref() {
                tables.push(Self::new(entries, item.span(), format!("this `[[{key}]]`")));
            } else {
                wrong_kind(item, key, "an array of tables", mistakes);
            }
        }
        tables
    }

    /// Returns all keys with their texts, for a table whose keys are names and not words of the
    /// format.
    pub(super) fn named_texts(
        &self,
        mistakes: &mut Mistakes,
    ) -> Vec<(Spanned<&'t str>, Spanned<&'t str>)> {
        let text = |(key, value): (Spanned<&'t str>, &'t Spanned<DeValue<'t>>)| {
            let text = text_of(value, key.get_ref(), mistakes)?;
            Some((key, text))
        };
        self.named_values().into_iter().filter_map(text).collect()
    }

    /// Returns all keys with their values, for a table whose keys are names and not words of the
    /// format.
    pub(super) fn named_values(&self) -> Vec<(Spanned<&'t str>, &'t Spanned<DeValue<'t>>)> {
        let entries = self.entries.iter();
        let mut named: Vec<_> = entries
            .map(|(key, value)| (Spanned::new(key.span(), &**key.get_ref()), value))
            .collect();
        // The parser sorts by name; mistakes and defaults go by place.
        named.sort_by_key(|(key, _)| key.span().start);
        named
    }

    /// Notes that `key` is not there and must be.
    pub(super) fn missing(&self, key: &str, example: &str, mistakes: &mut Mistakes) {
        mistakes
            .add(self.span(), format!("{} has no `{key}`", self.what))
            .hint(format!("add `{key} = {example}`"));
    }

    /// Ends the reading: keys that nobody asked for are mistakes.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        for (key, _) in self.entries.iter() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) && !self.refused.contains(&name) {
                // In a file of another kind every key is unknown, and nothing was meant.
                let is_ours = mistakes.list().len() < 100;
                let hint =
                    is_ours.then(|| did_you_mean(name, self.known.iter().copied())).flatten();
                mistakes
                    .add(key.span(), format!("unknown key `{}`", printable(name)))
                    .label(format!("not a key of {}", self.what))
                    .hint(hint.unwrap_or_else(|| format!("known are {}", self.known.join(", "))));
            }
        }
    }
}

/// Returns what `parse` makes of `text`, or notes why it cannot.
pub(super) fn parsed_of<T>(
    text: &Spanned<&str>,
    key: &str,
    mistakes: &mut Mistakes,
    parse: impl Fn(&str) -> Result<T, Misfit>,
) -> Option<Spanned<T>> {
    match parse(text.get_ref()) {
        Ok(value) => Some(Spanned::new(text.span(), value)),
        Err(misfit) => {
            mistakes
                .add(text.span(), format!("`{key}` cannot be {:?}", shortened(text.get_ref())))
                .label(misfit.why)
                .maybe_hint(misfit.hint);
            None
        }
    }
}

/// Returns the text that `value` is, or notes that it is none.
pub(super) fn text_of<'t>(
    value: &'t Spanned<DeValue<'t>>,
    key: &str,
    mistakes: &mut Mistakes,
) -> Option<Spanned<&'t str>> {
    if let DeValue::String(text) = value.get_ref() {
        return Some(Spanned::new(value.span(), &**text));
    }
    let number = match value.get_ref() {
        DeValue::Integer(number) => Some(number.as_str()),
        DeValue::Float(number) => Some(number.as_str()),
        _ => None,
    };
    let hint = number
        .filter(|_| SPANS.contains(&key))
        .map(|number| format!("put it in quotes, with its unit: \"{number}ms\" or \"{number}s\""));
    wrong_kind(value, key, "a text in quotes", mistakes).maybe_hint(hint);
    None
}

/// The keys whose texts are spans of time.
const SPANS: [&str; 17] = [
    "heartbeat",
    "dead",
    "promise",
    "longest_promise",
    "settle",
    "dispute",
    "offer",
    "hold_off",
    "conflict_probe",
    "start_limit",
    "stop_limit",
    "monitor_limit",
    "monitor_interval",
    "failure_window",
    "limit",
    "timeout",
    "reset_limit",
];

/// Notes that the value of `key` is not what is `wanted`.
pub(super) fn wrong_kind<'m>(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    wanted: &str,
    mistakes: &'m mut Mistakes,
) -> &'m mut super::mistake::Mistake {
    let found = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    mistakes
        .add(value.span(), format!("`{}` must be {wanted}", printable(key)))
        .label(format!("this is {found}"))
}

/// Returns `text` without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    shortened(text).escape_debug().to_string()
}

/// Returns the beginning of `text`, which a message can bear.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    short
}
