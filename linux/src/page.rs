//! Text for people: columns, colours and spans of time.

use std::io::IsTerminal;

/// What the reader's screen can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whether there are colours.
    pub is_coloured: bool,
    /// Whether there are letters of ASCII alone.
    pub is_ascii: bool,
}

/// How wide a page is, in letters.
pub const WIDTH: usize = 80;

/// A colour, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody must look.
    Bad,
    /// A heading.
    Heading,
}

impl Page {
    /// A page without colours, in ASCII.
    pub const PLAIN: Self = Self { is_coloured: false, is_ascii: true };

    /// Returns what `stream` can show: colours on a terminal, unless `NO_COLOR` is set
    /// (<https://no-color.org>), and more than ASCII where the locale says UTF-8.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let is_dumb = set("TERM").is_some_and(|term| term == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_lowercase();
        Self {
            is_coloured: stream.is_terminal() && set("NO_COLOR").is_none() && !is_dumb,
            is_ascii: !(locale.contains("utf-8") || locale.contains("utf8")),
        }
    }

    /// Returns `text` in a colour, if there are any.
    #[must_use]
    pub fn paint(self, paint: Paint, text: &str) -> String {
        if !self.is_coloured {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "1;32",
            Paint::Warning => "1;33",
            Paint::Bad => "1;31",
            Paint::Heading => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Returns `text` filled up with spaces to `width` letters, or cut, with a mark where.
    #[must_use]
    pub fn fit(self, text: &str, width: usize) -> String {
        let len = text.chars().count();
        if len <= width {
            return format!("{text}{}", " ".repeat(width - len));
        }
        let mark = if self.is_ascii { '~' } else { '…' };
        text.chars().take(width.saturating_sub(1)).chain([mark]).collect()
    }
}

/// Returns `text` as lines of at most [`WIDTH`] letters, the first after `first`, the others
/// indented as far. Words longer than a line stay whole.
#[must_use]
pub fn wrap(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let mut page = first.to_owned();
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > WIDTH {
            page.push('\n');
            page.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += len;
    }
    page.push('\n');
    page
}

/// Returns a span as people say it, in at most two units.
#[must_use]
pub fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{millis} ms"),
        (0, 0, 0, 1..=9) => format!("{seconds}.{} s", millis % 1000 / 100),
        (0, 0, 0, _) => format!("{seconds} s"),
        (0, 0, _, _) => format!("{minutes} min {:02} s", seconds % 60),
        (0, _, _, _) => format!("{hours} h {:02} min", minutes % 60),
        (1, _, _, _) => format!("1 day {} h", hours % 24),
        _ => format!("{days} days {} h", hours % 24),
    }
}

/// Returns a count as it is said.
#[must_use]
pub fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Returns words as a list in a sentence.
#[must_use]
pub fn list(words: &[&str]) -> String {
    match words {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Returns that there is no `kind` of thing called `name`, and what there is.
#[must_use]
pub fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    if known.is_empty() {
        return format!("there is no {kind} {name:?}, nor any other");
    }
    format!("there is no {kind} {name:?}; known are {}", list(&known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_two_units() {
        for (millis, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (9999, "9.9 s"),
            (10_000, "10 s"),
            (61_000, "1 min 01 s"),
            (7_380_000, "2 h 03 min"),
            (90_000_000, "1 day 1 h"),
            (273_840_000, "3 days 4 h"),
            (u64::MAX, "213503982334 days 14 h"),
        ] {
            assert_eq!(span(millis), expected);
        }
    }

    #[test]
    fn counts_are_said_as_people_do() {
        assert_eq!([1, 2].map(times), ["once", "2 times"]);
    }

    #[test]
    fn lines_end_before_the_edge() {
        let text = "word ".repeat(60);
        let page = wrap("  why: ", &text);
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        assert_eq!(page.lines().count(), 5);
        assert!(page.lines().skip(1).all(|line| line.starts_with("       word")), "{page}");
        let long = "x".repeat(100);
        assert_eq!(wrap("- ", &long), format!("- {long}\n"));
    }

    #[test]
    fn what_does_not_fit_is_cut_where_it_shows() {
        assert_eq!(Page::PLAIN.fit("alpha", 7), "alpha  ");
        assert_eq!(Page::PLAIN.fit("alpha", 4), "alp~");
        let page = Page { is_ascii: false, ..Page::PLAIN };
        assert_eq!(page.fit("älpha", 4), "älp…");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert_eq!(Page::PLAIN.paint(Paint::Bad, "DOWN"), "DOWN");
        let page = Page { is_coloured: true, ..Page::PLAIN };
        assert_eq!(page.paint(Paint::Bad, "DOWN"), "\x1b[1;31mDOWN\x1b[0m");
    }
}
