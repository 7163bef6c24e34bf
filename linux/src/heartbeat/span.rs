//! Times and booleans as Linux-HA writes them.

use lifesign_core::time::Duration;

/// Returns the time that `words` say: a decimal number and a unit, with or without a blank between.
/// Without a unit they are seconds; `ms`, `msec`, `us` and `usec` are Linux-HA's, `s` and `min` are
/// understood besides.
///
/// # Errors
/// Says what is wrong.
pub fn span(words: &[&str]) -> Result<Duration, String> {
    let text = words.concat();
    let at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let scale: u64 = match unit {
        "" | "s" => 1_000_000,
        "ms" | "msec" => 1000,
        "us" | "usec" => 1,
        "min" => 60_000_000,
        _ => return Err("this is no unit of time".to_owned()),
    };
    let micros = micros(number, scale).ok_or_else(|| "this is no time".to_owned())?;
    if micros > LONGEST {
        Err("longer than a week".to_owned())
    } else {
        Ok(Duration::from_micros(micros))
    }
}

/// What to write in the place of a time that is none.
pub const SPAN_HINT: &str = "write seconds as in \"2\" or \"0.5\", or milliseconds as in \"500ms\"";

const LONGEST: u64 = 7 * 24 * 3_600_000_000;

/// Returns `number` in units of one `scale`-th, cut off below one.
fn micros(number: &str, scale: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > MOST_DIGITS || whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let divisor = 10u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let fraction = u128::from(digits(part)?) * u128::from(scale) / u128::from(divisor);
    digits(whole)?.checked_mul(scale)?.checked_add(u64::try_from(fraction).ok()?)
}

const MOST_DIGITS: usize = 18;

/// Returns the boolean that `word` is, if it is one.
#[must_use]
pub fn boolean(word: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|other| word.eq_ignore_ascii_case(other));
    if is(&["true", "on", "yes", "y", "1"]) {
        Some(true)
    } else if is(&["false", "off", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_seconds_without_a_unit() {
        for (text, micros) in [
            ("2", 2_000_000),
            ("0.5", 500_000),
            (".25", 250_000),
            ("3.", 3_000_000),
            ("200ms", 200_000),
            ("200 msec", 200_000),
            ("1500us", 1500),
            ("7usec", 7),
            ("2s", 2_000_000),
            ("1min", 60_000_000),
            ("0", 0),
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(span(&words), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "ms", "2h", "2 seconds", "-1", "1.2.3", ".", "٣", "1e3", "700000"] {
            assert!(span(&[text]).is_err(), "{text}");
        }
        assert!(span(&["99999999999999999999"]).is_err());
        assert!(span(&["18446744073709551615"]).is_err());
    }

    #[test]
    fn booleans_have_five_words_each() {
        for word in ["true", "on", "Yes", "y", "1"] {
            assert_eq!(boolean(word), Some(true), "{word}");
        }
        for word in ["false", "OFF", "no", "n", "0"] {
            assert_eq!(boolean(word), Some(false), "{word}");
        }
        assert_eq!(boolean("maybe"), None);
    }
}
