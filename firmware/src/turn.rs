//! The loop: what one turn does, and what a turn must have done for the watchdog to be fed.

use core::mem::MaybeUninit;

use lifesign_core::dongle::Cause;
use lifesign_core::relay::{PortId, PortSet};
use lifesign_core::time::Instant;
use lifesign_firmware::dongle::{self, Pins};
use lifesign_firmware::store::Store;

use crate::board::{self, Board, Flash, PORTS};
use crate::{fault, kept};

#[cfg(feature = "board-mps2-an385")]
type Dongle = lifesign_firmware::Large<'static, PORTS, 12>;
#[cfg(feature = "board-stm32f405")]
type Dongle = lifesign_firmware::Small<'static, PORTS, 5>;

/// How many bytes of a port are taken in before the next port has its turn.
const MOUTHFUL: usize = 32;

/// Where the dongle lies: not on the stack, which has no room for it.
pub(crate) struct Place(MaybeUninit<Dongle>);

impl Place {
    /// Returns an empty place.
    pub(crate) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

/// Runs the dongle, for ever.
pub(crate) fn run(place: &'static mut Place) -> ! {
    let Some(peripherals) = cortex_m::Peripherals::take() else { fault::interrupt() };
    let mut board = Board::start(peripherals.SYST);
    let mut store = Store::open(Flash);
    let now = board.now();
    let dongle = put(place, now);
    begin(dongle, &mut store);
    let (mut due, mut pins) = (now, Pins::default());
    loop {
        let now = board.now();
        let has_ended = take_in(&mut board, dongle, now);
        let seen = look(&board);
        // A byte in the middle of a message changes nothing but the message.
        if has_ended || now.has_reached(due) || seen != pins {
            pins = seen;
            dongle.handle_timeout(pins, now);
            save(&mut store, dongle, now);
            board.set_lines(dongle.lines().bits());
            board.set_leds(dongle.leds(now).bits());
            due = dongle.poll_timeout();
        }
        let sending = give_out(&mut board, dongle);
        // Only here, behind everything that a turn does: whatever hangs, hangs before.
        board.feed(now);
        board.sleep(due, sending);
    }
}

/// Puts the dongle into its place. A function of its own, as is the next: what they need of the
/// stack they need one after the other.
#[inline(never)]
fn put(place: &'static mut Place, now: Instant) -> &'static mut Dongle {
    let cause = match kept::take_mark() {
        Some(kept::Fault::Watchdog) => Cause::Watchdog,
        Some(_) => Cause::Fault,
        None => board::cause(),
    };
    let on = dongle::Board { name: board::NAME, cause };
    let ring = kept::ring();
    place.0.write(Dongle::idle(on, ring, board::seed(), now))
}

/// Lets the dongle go on from what the store held.
#[inline(never)]
fn begin(dongle: &mut Dongle, store: &mut Store<Flash>) {
    dongle.begin(store.start());
}

/// Returns what the pins say.
fn look(board: &Board) -> Pins {
    let bits = board.lines();
    let lines = PortId::all().filter(|port| bits >> port.number() & 1 == 1);
    Pins { unlocked: board.is_unlocked(), lines: lines.fold(PortSet::EMPTY, PortSet::with) }
}

/// Gives the dongle what has come in, and returns whether a message may have ended.
fn take_in(board: &mut Board, dongle: &mut Dongle, now: Instant) -> bool {
    let mut has_ended = false;
    for (port, id) in (0..PORTS).zip(PortId::all()) {
        let mut bytes = [0; MOUTHFUL];
        loop {
            let count = board.receive(port, &mut bytes);
            let Some(bytes) = bytes.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            has_ended |= bytes.contains(&0);
            dongle.handle_bytes(id, bytes, now);
            if count < MOUTHFUL {
                break;
            }
        }
        dongle.set_overruns(id, board.lost(port));
    }
    has_ended
}

/// Saves what must outlive a reset.
fn save(store: &mut Store<Flash>, dongle: &mut Dongle, now: Instant) {
    while let Some(wanted) = dongle.poll_save() {
        let saved = store.save(&wanted);
        dongle.handle_saved(saved, now);
    }
}

/// Sends as much as there is room for, and returns the ports that have more, one bit each.
fn give_out(board: &mut Board, dongle: &mut Dongle) -> u8 {
    let mut sending = PortSet::EMPTY;
    for (port, id) in (0..PORTS).zip(PortId::all()) {
        loop {
            let bytes = dongle.pending(id);
            if bytes.is_empty() {
                break;
            }
            let count = board.transmit(port, bytes);
            if count == 0 {
                sending = sending.with(id);
                break;
            }
            dongle.sent(id, count);
        }
    }
    sending.bits()
}
