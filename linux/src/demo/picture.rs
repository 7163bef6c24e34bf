//! The laboratory as a picture of lines, boxes and names.
//!
//! [`draw`] is a pure function of a [`View`], so that a test can read what a person would see.
//! [`Screen`] writes pictures over each other on a terminal.

use std::io::{self, Write};
use std::net::IpAddr;

/// What the picture shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The two servers, left and right.
    pub servers: [MachineView; 2],
    /// The quorum server, or the dongle.
    pub arbiter: MachineView,
    /// With a dongle: whose reset line is active.
    pub lines: Option<[bool; 2]>,
    /// Whether nothing passes between the servers.
    pub cut: bool,
    /// Whether the client is being answered.
    pub answered: bool,
    /// What happens, in a sentence.
    pub scene: String,
    /// What was measured last, in a sentence.
    pub result: String,
    /// How long the demonstration has run, in tenths of a second.
    pub elapsed_ds: u64,
}

/// One machine of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineView {
    /// Its name.
    pub name: String,
    /// How its daemon is.
    pub health: Health,
    /// Of each of its cables to the switch, whether it is pulled.
    pub cables: Vec<bool>,
    /// The service addresses for which it is seen to answer.
    pub held: String,
}

/// How a daemon is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It runs.
    #[default]
    Running,
    /// It is stopped by a signal.
    Frozen,
    /// It was killed or has ended, and its machine runs.
    Dead,
    /// Its machine is off.
    Off,
}

impl Health {
    /// Returns the word for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Dead => "dead",
            Self::Off => "crashed",
        }
    }
}

/// The look of a stretch of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As everything else.
    Plain,
    /// What is well.
    Good,
    /// What is not.
    Bad,
    /// What is of less interest.
    Faint,
}

impl Look {
    /// Returns the escape sequence that begins the look.
    const fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "\x1b[0m",
            Self::Good => "\x1b[1;32m",
            Self::Bad => "\x1b[1;31m",
            Self::Faint => "\x1b[2m",
        }
    }
}

/// A picture: rows of characters, each with its look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    cells: Vec<Vec<(char, Look)>>,
}

impl Picture {
    /// Returns the rows as text without looks and without trailing blanks.
    #[must_use]
    pub fn plain(&self) -> String {
        let row = |cells: &Vec<(char, Look)>| {
            let text: String = cells.iter().map(|(character, _)| character).collect();
            text.trim_end().to_owned() + "\n"
        };
        self.cells.iter().map(row).collect()
    }

    fn blank() -> Self {
        Self { cells: vec![vec![(' ', Look::Plain); WIDTH]; HEIGHT] }
    }

    /// Writes `text` from `column` on in `row`; what does not fit is left out.
    fn put(&mut self, row: usize, column: usize, text: &str, look: Look) {
        let cells = self.cells.get_mut(row).and_then(|cells| cells.get_mut(column..));
        for (cell, character) in cells.into_iter().flatten().zip(text.chars()) {
            *cell = (character, look);
        }
    }

    /// Draws a box of [`BOX_WIDTH`] with two lines of text.
    fn put_box(&mut self, row: usize, column: usize, lines: [(&str, Look); 3]) {
        let bar = "─".repeat(BOX_WIDTH - 2);
        self.put(row, column, &format!("┌{bar}┐"), Look::Plain);
        for (index, (text, look)) in lines.into_iter().enumerate() {
            let side = row + 1 + index;
            self.put(side, column, "│", Look::Plain);
            self.put(side, column + 2, text, look);
            self.put(side, column + BOX_WIDTH - 1, "│", Look::Plain);
        }
        self.put(row + lines.len() + 1, column, &format!("└{bar}┘"), Look::Plain);
    }

    /// Writes the rows with looks, each cleared to its end.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for row in &self.cells {
            let mut look = Look::Plain;
            for &(character, wanted) in row {
                if wanted != look {
                    look = wanted;
                    write!(out, "{}{}", Look::Plain.sequence(), look.sequence())?;
                }
                write!(out, "{character}")?;
            }
            writeln!(out, "{}\x1b[K", Look::Plain.sequence())?;
        }
        Ok(())
    }
}

/// Returns addresses in few characters: of all but the first the last part only.
#[must_use]
pub fn shortened(addresses: &[IpAddr]) -> String {
    let mut texts = addresses.iter().map(IpAddr::to_string);
    let mut text = texts.next().unwrap_or_default();
    for address in texts {
        let last = address.rfind(['.', ':']).unwrap_or_default();
        text += &format!(" {}", &address[last..]);
    }
    text
}

/// Returns the picture of `view`.
#[must_use]
pub fn draw(view: &View) -> Picture {
    let mut picture = Picture::blank();
    let seconds = format!("{}.{} s", view.elapsed_ds / 10, view.elapsed_ds % 10);
    picture.put(0, 2, &view.scene, Look::Plain);
    picture.put(0, WIDTH - seconds.chars().count() - 2, &seconds, Look::Faint);
    draw_trunk(&mut picture, view.cut);
    for (server, (column, next)) in view.servers.iter().zip([(LEFT, 4), (RIGHT, -4)]) {
        draw_server(&mut picture, server, (column, next));
    }
    match view.lines {
        None => draw_witness(&mut picture, &view.arbiter),
        Some(lines) => draw_dongle(&mut picture, &view.arbiter, lines),
    }
    let client = LOWER_RIGHT + BOX_WIDTH / 2;
    picture.put(TRUNK, client, "┬", Look::Plain);
    draw_cable(&mut picture, TRUNK + 1, client, false);
    let (answer, look) =
        if view.answered { ("answered", Look::Good) } else { ("no answer", Look::Bad) };
    let lines = [("client", Look::Plain), ("1000 asks a second", Look::Faint), (answer, look)];
    picture.put_box(TRUNK + 2, LOWER_RIGHT, lines);
    picture.put(HEIGHT - 1, 2, &view.result, Look::Plain);
    picture
}

fn draw_trunk(picture: &mut Picture, is_cut: bool) {
    let (from, to) = (LEFT + BOX_WIDTH / 2, RIGHT + BOX_WIDTH / 2);
    picture.put(TRUNK, from, &format!("└{}┘", "─".repeat(to - from - 1)), Look::Plain);
    picture.put(TRUNK, SWITCH, " switch ", Look::Faint);
    if is_cut {
        picture.put(TRUNK, SWITCH - 7, "─ ╳ ─", Look::Bad);
        picture.put(TRUNK, SWITCH + 10, "─ ╳ ─", Look::Bad);
    }
}

/// Draws the quorum server below the switch.
fn draw_witness(picture: &mut Picture, witness: &MachineView) {
    let column = LOWER_LEFT + BOX_WIDTH / 2;
    picture.put(TRUNK, column, "┬", Look::Plain);
    draw_cable(picture, TRUNK + 1, column, witness.cables.contains(&true));
    let lines = [
        (witness.name.as_str(), Look::Plain),
        ("witness", Look::Faint),
        (witness.health.word(), look_of(witness.health)),
    ];
    picture.put_box(TRUNK + 2, LOWER_LEFT, lines);
}

/// Draws the dongle between the servers, with its serial lines, and whom it resets.
fn draw_dongle(picture: &mut Picture, dongle: &MachineView, resets: [bool; 2]) {
    let resetting = resets.contains(&true);
    let (word, look) = if resetting {
        ("resets", Look::Bad)
    } else {
        (dongle.health.word(), look_of(dongle.health))
    };
    let lines =
        [(dongle.name.as_str(), Look::Plain), ("relay and witness", Look::Faint), (word, look)];
    picture.put_box(UPPER, MIDDLE, lines);
    for (column, is_active) in [LEFT + BOX_WIDTH, MIDDLE + BOX_WIDTH].into_iter().zip(resets) {
        let (wire, look) = if is_active { ("!!", Look::Bad) } else { ("══", Look::Plain) };
        picture.put(UPPER + 2, column, wire, look);
    }
}

/// Draws a server in its `column`, and each cable after the first `next` columns further.
fn draw_server(picture: &mut Picture, server: &MachineView, (column, next): (usize, isize)) {
    let lines = [
        (server.name.as_str(), Look::Plain),
        (server.health.word(), look_of(server.health)),
        (server.held.as_str(), Look::Good),
    ];
    picture.put_box(UPPER, column, lines);
    let mut at = column + BOX_WIDTH / 2;
    for (number, unplugged) in server.cables.iter().enumerate() {
        if number > 0 {
            picture.put(TRUNK, at, "┴", Look::Plain);
        }
        draw_cable(picture, UPPER + 5, at, *unplugged);
        at = at.saturating_add_signed(next);
    }
}

fn draw_cable(picture: &mut Picture, row: usize, column: usize, unplugged: bool) {
    let (wire, look) = if unplugged { ("╳", Look::Bad) } else { ("│", Look::Plain) };
    picture.put(row, column, wire, look);
}

const fn look_of(health: Health) -> Look {
    match health {
        Health::Running => Look::Good,
        Health::Frozen | Health::Dead | Health::Off => Look::Bad,
    }
}

/// A terminal on which each picture takes the place of the one before.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    drawn: bool,
}

impl<W: Write> Screen<W> {
    /// Returns a screen on `out`, which is a terminal.
    pub const fn new(out: W) -> Self {
        Self { out, drawn: false }
    }

    /// Shows `picture` where the last one was.
    ///
    /// # Errors
    /// What the terminal refused.
    pub fn show(&mut self, picture: &Picture) -> io::Result<()> {
        if self.drawn {
            write!(self.out, "\x1b[{HEIGHT}A")?;
        }
        self.drawn = true;
        picture.write(&mut self.out)?;
        self.out.flush()
    }
}

const WIDTH: usize = 78;
const HEIGHT: usize = 17;
const BOX_WIDTH: usize = 22;
const LEFT: usize = 4;
const MIDDLE: usize = 28;
const RIGHT: usize = 52;
const SWITCH: usize = 35;
const LOWER_LEFT: usize = 16;
const LOWER_RIGHT: usize = 40;
const UPPER: usize = 2;
const TRUNK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let machine = |name: &str| MachineView {
            name: name.to_owned(),
            cables: vec![false],
            ..MachineView::default()
        };
        View {
            servers: [
                MachineView { held: "10.77.0.100".to_owned(), ..machine("alpha") },
                machine("beta"),
            ],
            arbiter: machine("quorum"),
            answered: true,
            scene: "everything is up".to_owned(),
            result: "no outage so far".to_owned(),
            elapsed_ds: 123,
            ..View::default()
        }
    }

    fn held(addresses: [&str; 2]) -> String {
        shortened(&addresses.map(|address| address.parse().unwrap()))
    }

    #[test]
    fn everything_up() {
        let expected =
            "  everything is up                                                    12.3 s

    ┌────────────────────┐                          ┌────────────────────┐
    │ alpha              │                          │ beta               │
    │ running            │                          │ running            │
    │ 10.77.0.100        │                          │                    │
    └────────────────────┘                          └────────────────────┘
               │                                               │
               └───────────┬─────── switch ────────┬───────────┘
                           │                       │
                ┌────────────────────┐  ┌────────────────────┐
                │ quorum             │  │ client             │
                │ witness            │  │ 1000 asks a second │
                │ running            │  │ answered           │
                └────────────────────┘  └────────────────────┘

  no outage so far
";
        assert_eq!(draw(&view()).plain(), expected);
    }

    #[test]
    fn a_dongle_has_a_line_to_each_server() {
        let mut view = view();
        view.arbiter.name = "dongle".to_owned();
        view.servers[0].held = held(["10.77.0.100", "10.77.0.101"]);
        view.lines = Some([false, true]);
        let expected =
            "  everything is up                                                    12.3 s

    ┌────────────────────┐  ┌────────────────────┐  ┌────────────────────┐
    │ alpha              │  │ dongle             │  │ beta               │
    │ running            │══│ relay and witness  │!!│ running            │
    │ 10.77.0.100 .101   │  │ resets             │  │                    │
    └────────────────────┘  └────────────────────┘  └────────────────────┘
               │                                               │
               └─────────────────── switch ────────┬───────────┘
                                                   │
                                        ┌────────────────────┐
                                        │ client             │
                                        │ 1000 asks a second │
                                        │ answered           │
                                        └────────────────────┘

  no outage so far
";
        assert_eq!(draw(&view).plain(), expected);
    }

    #[test]
    fn two_addresses_of_either_family_fit_into_a_box() {
        assert_eq!(held(["10.77.0.100", "10.77.0.101"]), "10.77.0.100 .101");
        assert_eq!(held(["fd00:77::100", "fd00:77::101"]), "fd00:77::100 :101");
    }

    #[test]
    fn a_standby_adapter_has_a_cable_of_its_own() {
        let mut view = view();
        view.servers[0].cables = vec![true, false];
        view.servers[1].cables = vec![false, false];
        let text = draw(&view).plain();
        let rows: Vec<&str> = text.lines().skip(UPPER + 5).take(2).collect();
        assert_eq!(
            rows,
            [
                "               ╳   │                                       │   │",
                "               └───┴───────┬─────── switch ────────┬───────┴───┘",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_seen() {
        let mut view = view();
        view.servers[0].health = Health::Off;
        view.servers[0].cables = vec![true];
        view.arbiter.health = Health::Dead;
        view.cut = true;
        view.answered = false;
        let text = draw(&view).plain();
        for word in ["crashed", "dead", "no answer", "╳"] {
            assert!(text.contains(word), "{word} in\n{text}");
        }
        assert_eq!(text.matches('╳').count(), 3);
    }

    #[test]
    fn a_second_picture_takes_the_place_of_the_first() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out);
        screen.show(&draw(&view())).unwrap();
        screen.show(&draw(&view())).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (first, second) = text.split_once(&format!("\x1b[{HEIGHT}A")).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.lines().count(), HEIGHT);
    }

    #[test]
    fn text_that_does_not_fit_is_cut_off() {
        let long = "x".repeat(500);
        let text = draw(&View { scene: long.clone(), result: long, ..view() }).plain();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
