//! Settings being written, with remarks.

use core::fmt::Write;

/// Settings being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    text: String,
}

impl Text {
    /// Writes a remark, over as many lines as it takes.
    pub(super) fn remark(&mut self, remark: &str) {
        let mut line = String::from("#");
        for word in remark.split_whitespace() {
            let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH;
            if is_full && line.len() > 1 {
                let _ = writeln!(self.text, "{line}");
                line = String::from("#  ");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(self.text, "{line}");
    }

    /// Writes a key and its value, which is TOML already.
    pub(super) fn key(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    /// Begins a table with a heading such as `[[node]]`.
    pub(super) fn table(&mut self, heading: &str) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{heading}");
    }

    /// Writes an empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Returns what was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

const WIDTH: usize = 100;

/// Returns `text` in quotes, as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns `texts` as a list in TOML.
pub(super) fn listed<T: AsRef<str>>(texts: &[T]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_wrapped() {
        let mut text = Text::default();
        text.remark(&"word ".repeat(30));
        text.remark(&"x".repeat(200));
        let text = text.into_text();
        assert!(text.lines().all(|line| line.starts_with('#')));
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().take(2).all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn whatever_is_quoted_is_read_back() {
        for value in ["plain", "a \"b\" \\ c", "\u{1}\u{7f}\n\t", "ä#", ""] {
            let line = format!("key = {}\nlist = {}\n", quoted(value), listed(&[value, "x"]));
            let read: toml::Table = line.parse().unwrap();
            assert_eq!(read["key"].as_str(), Some(value), "{line}");
            assert_eq!(read["list"][0].as_str(), Some(value), "{line}");
        }
    }
}
