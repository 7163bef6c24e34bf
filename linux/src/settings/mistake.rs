//! Mistakes in a settings file, each shown where it stands.

use core::fmt;
use core::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One mistake: what is wrong, where, and how to cure it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    span: Range<usize>,
    title: String,
    label: String,
    other: Option<(Range<usize>, String)>,
    hint: Option<String>,
}

impl Mistake {
    /// Sets what is written under the place.
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Points at a second place, which the first contradicts.
    pub(super) fn other(&mut self, span: Range<usize>, label: impl Into<String>) -> &mut Self {
        self.other = Some((span, label.into()));
        self
    }

    /// Says how to cure it.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says how to cure it, if somebody knows.
    pub(crate) fn maybe_hint(&mut self, hint: Option<String>) -> &mut Self {
        self.hint = hint;
        self
    }

    /// Returns what is wrong, in one line.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    fn report<'a>(&'a self, path: &'a str, source: &'a str) -> Group<'a> {
        let primary = AnnotationKind::Primary.span(within(source, &self.span)).label(&*self.label);
        let mut snippet = Snippet::source(source).path(path).annotation(primary);
        if let Some((span, label)) = &self.other {
            snippet = snippet
                .annotation(AnnotationKind::Context.span(within(source, span)).label(&**label));
        }
        let group = Level::ERROR.primary_title(&*self.title).element(snippet);
        match &self.hint {
            Some(hint) => group.element(Level::HELP.message(&**hint)),
            None => group,
        }
    }
}

/// Returns the part of `span` that lies in `source`, on the edges of its characters.
fn within(source: &str, span: &Range<usize>) -> Range<usize> {
    let start = source.floor_char_boundary(span.start);
    let end = source.ceil_char_boundary(span.end.max(start));
    // One line says enough of a place that spans many, such as a table.
    let line = source[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
    start..line
}

/// All mistakes of one file, in the order of their places; written, each has its line, caret and
/// hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    path: String,
    source: String,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// Starts an empty list for the file `source` that was read from `path`.
    pub(crate) fn new(path: &str, source: &str) -> Self {
        Self { path: path.to_owned(), source: source.to_owned(), list: Vec::new() }
    }

    /// Shows stars for what stands at `span`, in bytes, wherever its line is shown.
    pub(crate) fn hide(&mut self, span: Range<usize>) {
        let span = within(&self.source, &span);
        let stars = "*".repeat(span.len());
        self.source.replace_range(span, &stars);
    }

    /// Adds a mistake at `span`, in bytes, and returns it for what else there is to say.
    pub(crate) fn add(&mut self, span: Range<usize>, title: impl Into<String>) -> &mut Mistake {
        self.list.push(Mistake {
            span,
            title: title.into(),
            label: String::new(),
            other: None,
            hint: None,
        });
        self.list.last_mut().expect("one was pushed just above")
    }

    /// Returns `value` if no mistake was found, else the mistakes in the order of the file.
    pub(crate) fn or<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => {
                self.list.sort_by_key(|mistake| mistake.span.start);
                Err(self)
            }
        }
    }

    /// Returns the mistakes.
    #[must_use]
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// Returns the first 20 mistakes as people read them, with the colours of a terminal if
    /// `is_coloured`, and how many more there are.
    #[must_use]
    pub fn render(&self, is_coloured: bool) -> String {
        let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.term_width(100);
        let mut texts: Vec<String> = self
            .list
            .iter()
            .take(MOST_SHOWN)
            .map(|mistake| renderer.render(&[mistake.report(&self.path, &self.source)]))
            .collect();
        if self.list.len() > MOST_SHOWN {
            texts.push(format!("error: and {} more mistakes", self.list.len() - MOST_SHOWN));
        }
        texts.join("\n\n")
    }
}

/// How many mistakes are shown at once; a file that is none of ours has one in every line.
const MOST_SHOWN: usize = 20;

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

/// Returns the one of `known` that was probably meant by `given`, as a question.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let close = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= close)
        .min()
        .map(|(_, name)| format!("did you mean {name:?}?"))
}

/// Returns how many letters must be put in, taken out, changed or swapped with their neighbour to
/// make `right` of `left` (optimal string alignment), without regard to case. Names beyond 64
/// letters are infinitely far.
fn distance(left: &str, right: &str) -> usize {
    let [left, right] = [left, right]
        .map(|text| text.chars().flat_map(char::to_lowercase).take(65).collect::<Vec<char>>());
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for row in 0..=left.len() {
        for column in 0..=right.len() {
            rows[row][column] = if row == 0 || column == 0 {
                row + column
            } else {
                let is_other = usize::from(left[row - 1] != right[column - 1]);
                let changed = rows[row - 1][column - 1] + is_other;
                let moved = rows[row - 1][column].min(rows[row][column - 1]) + 1;
                let is_swap = row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1];
                let swapped = if is_swap { rows[row - 2][column - 2] + 1 } else { usize::MAX };
                changed.min(moved).min(swapped)
            };
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_recognised() {
        assert_eq!(
            did_you_mean("heartbaet", ["dead", "heartbeat"]).unwrap(),
            "did you mean \"heartbeat\"?"
        );
        assert_eq!(did_you_mean("Alpha", ["alpha", "beta"]).unwrap(), "did you mean \"alpha\"?");
        assert_eq!(did_you_mean("gamma", ["alpha", "beta"]), None);
        assert_eq!(did_you_mean(&"x".repeat(1000), ["alpha"]), None);
    }

    #[test]
    fn distance_counts_one_for_each_slip() {
        for (left, right, expected) in
            [("", "", 0), ("ab", "ba", 1), ("abc", "ac", 1), ("ac", "abc", 1), ("abc", "axc", 1)]
        {
            assert_eq!(distance(left, right), expected, "{left} and {right}");
        }
    }

    #[test]
    fn a_place_never_leaves_the_file() {
        let source = "é\n";
        for start in 0..6 {
            for end in 0..6 {
                let place = within(source, &(start..end));
                assert!(source.get(place.clone()).is_some(), "{start}..{end} became {place:?}");
            }
        }
    }
}
