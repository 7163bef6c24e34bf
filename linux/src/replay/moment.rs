//! Times as people write them: as they stand in the log, by either of its two clocks.

use core::str::FromStr;

/// A moment by one of two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Microseconds on the machine's clock, since it started; in the log in brackets.
    Clock(u64),
    /// Microseconds since 1970 on the wall clock.
    Wall(u64),
}

/// How a moment is written.
const FORMS: &str = "write it as in the log: 12345.678901, or 2026-11-22T03:04:05.678Z";

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not a moment; {FORMS}");
        match text.split_once('T') {
            None => seconds(text).map(Self::Clock).ok_or_else(wrong),
            Some((date, time)) => wall(date, time).map(Self::Wall).ok_or_else(wrong),
        }
    }
}

/// Returns the microseconds of a number of seconds with up to six decimals.
fn seconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let micros: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

/// Returns the microseconds since 1970 of a date and a time in UTC.
fn wall(date: &str, time: &str) -> Option<u64> {
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.trim_end_matches('Z').splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<u64>().ok()?, time.next()?.parse::<u64>().ok()?);
    let second = seconds(time.next().unwrap_or("0"))?;
    let is_right = (1970..3000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60_000_000;
    is_right.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000_000 + second)
}

/// Returns the days from the first of January 1970 to a date of the Gregorian calendar.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the leap day is the last of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::WallTime;

    #[test]
    fn moments_are_read_as_the_log_writes_them() {
        assert_eq!("12.5".parse(), Ok(Moment::Clock(12_500_000)));
        assert_eq!("12345.678901".parse(), Ok(Moment::Clock(12_345_678_901)));
        for micros in [0, 951_782_400_123_000, 1_763_780_645_678_000, 4_102_444_799_999_000] {
            let written = WallTime { micros }.to_string();
            assert_eq!(written.parse(), Ok(Moment::Wall(micros)), "{written}");
        }
        assert_eq!("1970-01-02T00:01".parse(), Ok(Moment::Wall(86_460_000_000)));
        for text in ["", ".5", "-1", "1.2345678", "x", "2026-13-01T00:00", "2026-11-22T24:00", "T"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
