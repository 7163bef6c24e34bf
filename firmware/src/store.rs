//! What outlives a reset: the settings, how often the dongle was started, and which tokens are used
//! up.
//!
//! The store has two areas, each of which can only be erased as a whole; erased words are all ones,
//! and a word is written once. One area is in use. It begins with the settings and with the counts
//! as they were when it was begun, and goes on with an entry for each count that has changed since:
//!
//! | words | what |
//! |---|---|
//! | 1 | `LSD1` |
//! | 1 | generation: of two good areas the newer is in use |
//! | 1 | the settings' length in bytes, 0 for none |
//! | 1 | starts |
//! | 1 | tokens: up to which they are used up |
//! | 1 | wait: how long to promise nothing after a start, in milliseconds |
//! | 1 | check over the six words before it and the settings |
//! | 64 | the settings |
//! | 2 each | an entry: the count, and the check over it, its kind and its place |
//!
//! Other settings, or no more room, begin the other area; only when that is good is the first one
//! out of use. So power can be cut between any two words: what is found is what was last saved, or
//! what was being saved. An entry that was cut short fails its check and is passed over.

use heapless::Vec;
use lifesign_core::group::Token;
use lifesign_core::time::Duration;

use crate::dongle::{Damaged, Save, Stored};

/// The most bytes of settings.
pub const MAX_SETTINGS_LEN: usize = 256;
const SETTINGS_WORDS: usize = MAX_SETTINGS_LEN / 4;
const MAGIC: u32 = u32::from_le_bytes(*b"LSD1");
/// Of the words at the beginning of an area.
const HEAD_WORDS: usize = 7;
const FIRST_ENTRY: usize = HEAD_WORDS + SETTINGS_WORDS;
const ENTRY_WORDS: usize = 2;
const BLANK: u32 = u32::MAX;
/// The shortest area: with room for some hundred entries, an area is erased once in a hundred
/// starts.
pub const MIN_AREA_LEN: usize = 1024;
const _: () = assert!(MIN_AREA_LEN >= 4 * (FIRST_ENTRY + 50 * ENTRY_WORDS), "room for entries");

/// One of the two areas of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The one that is used first.
    First,
    /// The other.
    Second,
}

impl Area {
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Memory that keeps what is written without power: flash, or what stands in for it.
pub trait Medium {
    /// Returns the length of each area, in bytes: at least [`MIN_AREA_LEN`].
    fn area_len(&self) -> usize;

    /// Returns the word at `offset`, in bytes; all ones beyond the end.
    fn read(&self, area: Area, offset: usize) -> u32;

    /// Makes all words of `area` ones. Power may be cut in the middle of it.
    fn erase(&mut self, area: Area);

    /// Writes a word that was erased before. Whether it has worked is read back.
    fn program(&mut self, area: Area, offset: usize, word: u32);
}

/// Which count an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Starts,
    Tokens,
    Wait,
}

impl Count {
    const fn seed(self) -> u32 {
        match self {
            Self::Starts => 0x7374_6172,
            Self::Tokens => 0x746f_6b65,
            Self::Wait => 0x7761_6974,
        }
    }
}

/// The settings as bytes.
pub type Bytes = Vec<u8, MAX_SETTINGS_LEN>;

/// What could not be saved, because the medium does not take it. What was saved before holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSaved;

/// The store of one dongle.
#[derive(Clone, Debug)]
pub struct Store<M> {
    medium: M,
    /// The area in use, and its generation.
    area: Option<(Area, u32)>,
    /// The next entry's first word.
    next: usize,
    starts: u32,
    tokens: Token,
    wait_ms: u32,
    passed_over: u32,
}

impl<M: Medium> Store<M> {
    /// Opens the store on `medium` and finds what was saved last.
    #[must_use]
    pub fn open(medium: M) -> Self {
        let mut store = Self {
            medium,
            area: None,
            next: 0,
            starts: 0,
            tokens: Token(0),
            wait_ms: 0,
            passed_over: 0,
        };
        let newest = [Area::First, Area::Second]
            .into_iter()
            .filter_map(|area| Some((store.generation(area)?, area)))
            .reduce(|one, other| {
                // Generations are compared as they stand: nobody saves four thousand million times.
                if other.0 > one.0 { other } else { one }
            });
        if let Some((generation, area)) = newest {
            store.area = Some((area, generation));
            store.read_counts(area);
        }
        store
    }

    /// Counts one more start, and returns what a dongle needs to know of the earlier ones.
    #[must_use]
    pub fn start(&mut self) -> Stored {
        let starts = self.count_start().ok();
        let bytes = self.settings();
        let settings = bytes.map(|bytes| match postcard::take_from_bytes(&bytes) {
            Ok((settings, [])) => Ok(settings),
            _ => Err(Damaged),
        });
        let wait = Duration::from_millis(self.wait_ms.into());
        Stored { settings, starts, tokens: self.tokens, wait }
    }

    /// Saves what a dongle wants saved, and returns whether it is.
    pub fn save(&mut self, save: &Save<'_>) -> bool {
        let saved = match save {
            Save::Settings { settings, wait } => {
                let mut bytes = [0; MAX_SETTINGS_LEN];
                match postcard::to_slice(settings, &mut bytes) {
                    Ok(bytes) => self.save_settings(bytes, milliseconds(*wait)),
                    Err(_) => Err(NotSaved),
                }
            }
            Save::Tokens(tokens) => self.save_tokens(*tokens),
            Save::Wait(wait) => self.save_wait(milliseconds(*wait)),
        };
        saved.is_ok()
    }

    /// Returns the settings, if there are any.
    #[must_use]
    pub fn settings(&self) -> Option<Bytes> {
        let (area, _) = self.area?;
        let len = usize::try_from(self.word(area, 2)).ok().filter(|len| *len > 0)?;
        let words = (HEAD_WORDS..FIRST_ENTRY).map(|at| self.word(area, at));
        let mut bytes = Bytes::new();
        for byte in words.flat_map(u32::to_le_bytes).take(len) {
            // There is room for as many as there are words for.
            let _room = bytes.push(byte);
        }
        Some(bytes)
    }

    /// Returns how often the dongle was started.
    #[must_use]
    pub const fn starts(&self) -> u32 {
        self.starts
    }

    /// Returns up to which token all may have been promised under.
    #[must_use]
    pub const fn tokens(&self) -> Token {
        self.tokens
    }

    /// Returns how long a dongle that starts has to promise nothing, in milliseconds.
    #[must_use]
    pub const fn wait_ms(&self) -> u32 {
        self.wait_ms
    }

    /// Returns how many entries failed their check: one for each cut of power at the wrong moment.
    #[must_use]
    pub const fn passed_over(&self) -> u32 {
        self.passed_over
    }

    /// Counts one more start, and returns how many that makes.
    ///
    /// # Errors
    /// It could not be saved.
    pub fn count_start(&mut self) -> Result<u32, NotSaved> {
        // Begun here if there is little room, because nobody waits yet.
        let left = self.medium.area_len() / 4;
        if self.area.is_some() && self.next > left / 2 {
            let settings = self.settings().unwrap_or_default();
            self.begin(&settings, self.wait_ms)?;
        }
        let starts = self.starts.saturating_add(1);
        self.append(Count::Starts, starts)?;
        self.starts = starts;
        Ok(starts)
    }

    /// Saves that all tokens up to `tokens` are used up.
    ///
    /// # Errors
    /// It could not be saved.
    pub fn save_tokens(&mut self, tokens: Token) -> Result<(), NotSaved> {
        if tokens <= self.tokens {
            return Ok(());
        }
        self.append(Count::Tokens, tokens.0)?;
        self.tokens = tokens;
        Ok(())
    }

    /// Saves another wait after a start.
    ///
    /// # Errors
    /// It could not be saved.
    pub fn save_wait(&mut self, wait_ms: u32) -> Result<(), NotSaved> {
        self.append(Count::Wait, wait_ms)?;
        self.wait_ms = wait_ms;
        Ok(())
    }

    /// Saves other settings and the wait that goes with them; the other counts stay as they are.
    ///
    /// # Errors
    /// They could not be saved, and the former ones hold.
    pub fn save_settings(&mut self, settings: &[u8], wait_ms: u32) -> Result<(), NotSaved> {
        self.begin(settings, wait_ms)?;
        self.wait_ms = wait_ms;
        Ok(())
    }

    /// Returns the medium.
    #[must_use]
    pub const fn medium(&self) -> &M {
        &self.medium
    }

    fn word(&self, area: Area, at: usize) -> u32 {
        self.medium.read(area, at.saturating_mul(4))
    }

    fn write(&mut self, area: Area, at: usize, word: u32) -> Result<(), NotSaved> {
        self.medium.program(area, at.saturating_mul(4), word);
        if self.word(area, at) == word { Ok(()) } else { Err(NotSaved) }
    }

    /// Returns the generation of `area`, if its head and settings are whole.
    fn generation(&self, area: Area) -> Option<u32> {
        let is_whole = self.word(area, 0) == MAGIC
            && self.word(area, HEAD_WORDS - 1) == self.check_area(area)
            && self.word(area, 2) <= 256;
        is_whole.then(|| self.word(area, 1))
    }

    fn check_area(&self, area: Area) -> u32 {
        let head = (0..HEAD_WORDS - 1).map(|at| self.word(area, at));
        let settings = (HEAD_WORDS..FIRST_ENTRY).map(|at| self.word(area, at));
        check(head.chain(settings))
    }

    fn read_counts(&mut self, area: Area) {
        (self.starts, self.tokens) = (self.word(area, 3), Token(self.word(area, 4)));
        self.wait_ms = self.word(area, 5);
        let words = self.medium.area_len() / 4;
        let mut at = FIRST_ENTRY;
        self.next = at;
        while at.saturating_add(ENTRY_WORDS) <= words {
            let (count, sum) = (self.word(area, at), self.word(area, at.saturating_add(1)));
            if (count, sum) != (BLANK, BLANK) {
                self.take(count, sum, at);
                // What is blank between entries is not used, so the last one that is not counts.
                self.next = at.saturating_add(ENTRY_WORDS);
            }
            at = at.saturating_add(ENTRY_WORDS);
        }
    }

    fn take(&mut self, count: u32, sum: u32, at: usize) {
        if sum == entry(Count::Starts, count, at) {
            self.starts = self.starts.max(count);
        } else if sum == entry(Count::Tokens, count, at) {
            self.tokens = self.tokens.max(Token(count));
        } else if sum == entry(Count::Wait, count, at) {
            self.wait_ms = count;
        } else {
            self.passed_over = self.passed_over.saturating_add(1);
        }
    }

    fn append(&mut self, count: Count, value: u32) -> Result<(), NotSaved> {
        let has_room = self.next.saturating_add(ENTRY_WORDS) <= self.medium.area_len() / 4;
        let (area, _) = match self.area {
            Some(area) if has_room => area,
            Some(_) | None => {
                let settings = self.settings().unwrap_or_default();
                self.begin(&settings, self.wait_ms)?
            }
        };
        let at = self.next;
        // Whatever becomes of it, this place is used.
        self.next = at.saturating_add(ENTRY_WORDS);
        self.write(area, at, value)?;
        self.write(area, at.saturating_add(1), entry(count, value, at))
    }

    /// Begins the other area with `settings` and the present counts.
    fn begin(&mut self, settings: &[u8], wait_ms: u32) -> Result<(Area, u32), NotSaved> {
        let (area, generation) = match self.area {
            Some((area, generation)) => (area.other(), generation.saturating_add(1)),
            None => (Area::First, 1),
        };
        let len = u32::try_from(settings.len()).map_err(|_| NotSaved)?;
        if settings.len() > MAX_SETTINGS_LEN {
            return Err(NotSaved);
        }
        self.medium.erase(area);
        let head = [MAGIC, generation, len, self.starts, self.tokens.0, wait_ms];
        for (at, word) in (0..).zip(head) {
            self.write(area, at, word)?;
        }
        let mut rest = settings.iter();
        for at in HEAD_WORDS..FIRST_ENTRY {
            let bytes = [(); 4].map(|()| rest.next().copied().unwrap_or(0xff));
            self.write(area, at, u32::from_le_bytes(bytes))?;
        }
        // Last of all: with it the area is whole, and newer than the other.
        self.write(area, HEAD_WORDS - 1, self.check_area(area))?;
        self.area = Some((area, generation));
        self.next = FIRST_ENTRY;
        Ok((area, generation))
    }
}

fn milliseconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// Returns the check of an entry at `at`. It is never blank beside a blank count.
fn entry(count: Count, value: u32, at: usize) -> u32 {
    let place = u32::try_from(at).unwrap_or(u32::MAX);
    check([count.seed(), place, value].into_iter())
}

/// CRC-32 (IEEE 802.3), a bit at a time: settings are short and rarely read.
fn check(words: impl Iterator<Item = u32>) -> u32 {
    let mut register = u32::MAX;
    for word in words {
        register ^= word;
        for _ in 0..32 {
            let is_odd = register & 1 == 1;
            register >>= 1;
            if is_odd {
                register ^= 0xedb8_8320;
            }
        }
    }
    !register
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        reason = "what fails here is a test's failure"
    )]

    use super::*;
    use std::vec;
    use std::vec::Vec as List;

    /// Flash as it is: words are written once, and power fails after so many steps.
    #[derive(Clone, Debug)]
    struct Flash {
        areas: [List<u32>; 2],
        steps_left: usize,
    }

    const LEN: usize = MIN_AREA_LEN;

    impl Flash {
        fn blank() -> Self {
            Self { areas: [vec![0; LEN / 4], vec![0x5555_5555; LEN / 4]], steps_left: usize::MAX }
        }

        fn step(&mut self) -> bool {
            let is_left = self.steps_left > 0;
            self.steps_left = self.steps_left.saturating_sub(1);
            is_left
        }
    }

    impl Medium for Flash {
        fn area_len(&self) -> usize {
            LEN
        }

        fn read(&self, area: Area, offset: usize) -> u32 {
            self.areas[area as usize].get(offset / 4).copied().unwrap_or(BLANK)
        }

        fn erase(&mut self, area: Area) {
            // Word by word, so that a cut leaves an area half erased.
            for at in 0..LEN / 4 {
                if self.step() {
                    self.areas[area as usize][at] = BLANK;
                }
            }
        }

        fn program(&mut self, area: Area, offset: usize, word: u32) {
            // Two steps a word: a cut in the middle leaves half of its bits.
            for mask in [0xffff_0000, 0] {
                if self.step() {
                    self.areas[area as usize][offset / 4] &= word | mask;
                }
            }
        }
    }

    type Found = (Option<List<u8>>, u32, u32, u32);

    fn found(store: &Store<Flash>) -> Found {
        let settings = store.settings().map(|bytes| bytes.to_vec());
        (settings, store.starts(), store.tokens().0, store.wait_ms())
    }

    fn reopened(store: Store<Flash>) -> Store<Flash> {
        Store::open(Flash { steps_left: usize::MAX, ..store.medium })
    }

    fn step(store: &mut Store<Flash>, number: u32) -> Result<(), NotSaved> {
        match number % 7 {
            0 => store.save_settings(&[number as u8; 99], number),
            4 => store.save_wait(number),
            1..4 => store.count_start().map(|_| ()),
            _ => store.save_tokens(Token(number * 1000)),
        }
    }

    #[test]
    fn whatever_is_there_a_store_opens_empty_and_takes_things() {
        let mut store = Store::open(Flash::blank());
        assert_eq!(found(&store), (None, 0, 0, 0));
        assert_eq!(store.count_start(), Ok(1));
        store.save_tokens(Token(1000)).unwrap();
        assert_eq!(found(&reopened(store.clone())), (None, 1, 1000, 0));
        store.save_settings(b"settings", 9).unwrap();
        assert_eq!(store.count_start(), Ok(2));
        let expected = (Some(b"settings".to_vec()), 2, 1000, 9);
        assert_eq!((found(&store), found(&reopened(store))), (expected.clone(), expected));
    }

    #[test]
    fn many_more_things_are_saved_than_an_area_has_room_for() {
        let mut store = Store::open(Flash::blank());
        for number in 0..2000 {
            step(&mut store, number).unwrap();
            if number % 50 == 0 {
                let before = found(&store);
                store = reopened(store);
                assert_eq!(found(&store), before);
            }
        }
        assert_eq!(store.passed_over(), 0);
        assert!(store.starts() > 800);
    }

    #[test]
    fn a_cut_of_power_at_any_step_leaves_the_old_or_the_new() {
        let mut store = Store::open(Flash::blank());
        let mut cuts = 0;
        for number in 0..160 {
            let old = found(&store);
            let mut whole = store.clone();
            step(&mut whole, number).unwrap();
            let new = found(&whole);
            for steps in 0.. {
                let mut cut = store.clone();
                cut.medium.steps_left = steps;
                let saved = step(&mut cut, number);
                let mut after = reopened(cut);
                let seen = found(&after);
                assert!(seen == old || seen == new, "step {number}, cut {steps}: {seen:?}");
                assert!(saved.is_err() || seen == new, "what was saved stays");
                // And it goes on from there: boot ids never repeat.
                assert_eq!(after.count_start(), Ok(seen.1 + 1));
                assert_eq!(reopened(after).starts(), seen.1 + 1);
                cuts += 1;
                if saved.is_ok() {
                    break;
                }
            }
            store = whole;
        }
        assert!(cuts > 5000, "{cuts}");
    }

    #[test]
    fn a_flipped_bit_of_the_settings_gives_up_the_area() {
        let mut store = Store::open(Flash::blank());
        store.save_settings(b"one", 1).unwrap();
        store.save_settings(b"two", 2).unwrap();
        for bit in 0..32 * FIRST_ENTRY {
            let mut medium = store.medium.clone();
            medium.areas[1][bit / 32] ^= 1 << (bit % 32);
            let settings = Store::open(medium).settings();
            assert_eq!(settings.as_deref(), Some(b"one".as_slice()), "bit {bit}");
        }
    }
}
