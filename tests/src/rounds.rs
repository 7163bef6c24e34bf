//! Rounds on real daemons: something is done to a cluster, and then an audit looks whether all is
//! as it has to be; over and over.
//!
//! They are what the test suite of Linux-HA heartbeat's clusters was, see [`Kind`]. A seed and a
//! number say all about a [`Round`], which begins on a cluster that is whole and brings each group
//! to a place that is drawn, so it can be played again alone. The audit asks the network, the
//! machines' kernels and the services' own records first, and the daemons last.
//!
//! A daemon that gets no processor can do nothing. So whatever must come is waited for anew after
//! the machine has stood still, and a round that went wrong while it did is played again, on a
//! fresh cluster. Never for what may not be at any time: two servers that answered at once, or a
//! service that may run twice.

mod audit;
mod fences;
mod gauge;
mod kind;
mod ledger;
mod measure;
mod play;
mod scenery;
mod stage;
mod tell;
mod view;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lifesign::clock;

use self::gauge::Gauge;
pub use self::kind::{Kind, Round};
pub use self::measure::{Figures, Ratio};
pub use self::scenery::Shape;
pub use self::stage::Stage;

/// Plays rounds one after the other on one cluster, and says after each what `told` is to know: the
/// round, and what was odd about it, such as why it is played again; mostly nothing.
///
/// # Errors
/// Says what went wrong in which round, all that is known of it, and how to play it again.
pub fn play(
    program: &str,
    shape: Shape,
    rounds: impl IntoIterator<Item = Round>,
    mut told: impl FnMut(&Round, &str),
) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let mut ready = None;
    for round in rounds {
        for attempt in 1.. {
            let mut stage = match ready.take() {
                Some(stage) => stage,
                None => build(program, shape)?,
            };
            let begun_us = clock::now().as_micros();
            drop(stage.fresh_journals());
            match caught(|| stage.play(&round, &mut figures)) {
                Ok(()) => {
                    let took_us = clock::now().as_micros() - begun_us;
                    let all = figures.rounds.entry(round.kind.word()).or_default();
                    all.push(took_us as f64 / 1e6);
                    told(&round, &std::mem::take(&mut stage.slow).join(", "));
                    ready = Some(stage);
                    break;
                }
                Err(why) => {
                    let why = stage.demand_safety().err().unwrap_or(why);
                    if attempt == ATTEMPTS || !stage.is_excused(begun_us) {
                        return Err(failure(&mut stage, &round, begun_us, &why));
                    }
                    figures.again += 1;
                    let first = why.lines().next().unwrap_or_default();
                    told(&round, &format!("again, as the machine stood still: {first}"));
                }
            }
        }
    }
    let outliers = figures.outliers();
    if outliers.is_empty() { Ok(figures) } else { Err(outliers.join("\n")) }
}

/// How often a round is played on a machine that stands still again and again.
const ATTEMPTS: u32 = 5;

/// Builds the cluster, again if the machine stood still meanwhile.
fn build(program: &str, shape: Shape) -> Result<Stage, String> {
    let mut outcome = Err("never built".to_owned());
    for _ in 0..ATTEMPTS {
        let gauge = Gauge::start();
        outcome = caught(|| Stage::build(program, shape));
        if outcome.is_ok() || gauge.stalls(0).is_empty() {
            break;
        }
    }
    outcome.map_err(|why| format!("the cluster does not start: {why}"))
}

/// Returns all that is to be known of a round that went wrong.
fn failure(stage: &mut Stage, round: &Round, begun_us: u64, why: &str) -> String {
    format!(
        "seed {} round {} ({}, {} of a million lost): {why}\n{}{}\n{}\nagain: cargo run --release \
         -p lifesign-tests --bin rounds -- --shape {} --seed {} --from {} --rounds 1",
        round.seed,
        round.number,
        round.kind,
        round.loss_ppm,
        stage.seen(begun_us),
        stage.fresh_journals(),
        stage.told(),
        stage.shape.word(),
        round.seed,
        round.number,
    )
}

/// Makes a panic of what a trial does an error like any other.
fn caught<T>(body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(said(panic.as_ref())))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}
