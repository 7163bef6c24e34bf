//! Rounds on real daemons: something is done to a cluster, and then an audit looks whether all is
//! as it has to be; over and over.
//!
//! They are what the test suite of Linux-HA heartbeat's clusters was, see [`Kind`]. A seed and a
//! number say all about a [`Round`], which begins on a cluster that is whole and brings each group
//! to a place that is drawn, so it can be played again alone. The audit asks the network, the
//! machines' kernels and the services' own records first, and the daemons last.

mod audit;
mod kind;
mod ledger;
mod measure;
mod play;
mod scenery;
mod stage;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::kind::{Kind, Round};
pub use self::measure::{Figures, Ratio};
pub use self::scenery::Shape;
pub use self::stage::Stage;

/// Plays rounds one after the other on one cluster, and says after each what `told` is to know.
///
/// # Errors
/// Says what went wrong in which round, what the daemons wrote during it, and how to play it again.
pub fn play(
    program: &str,
    shape: Shape,
    rounds: impl IntoIterator<Item = Round>,
    mut told: impl FnMut(&Round),
) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let built = caught(|| Stage::build(program, shape));
    let mut stage = built.map_err(|why| format!("the cluster does not start: {why}"))?;
    for round in rounds {
        drop(stage.fresh_journals());
        if let Err(why) = caught(|| stage.play(&round, &mut figures)) {
            return Err(failure(&mut stage, &round, &why));
        }
        told(&round);
    }
    Ok(figures)
}

/// Returns all that is to be known of a round that went wrong.
fn failure(stage: &mut Stage, round: &Round, why: &str) -> String {
    format!(
        "seed {} round {} ({}, {} of a million lost): {why}\n{}\n{}\nagain: cargo run --release -p \
         lifesign-tests --bin rounds -- --shape {} --seed {} --from {} --rounds 1",
        round.seed,
        round.number,
        round.kind,
        round.loss_ppm,
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
