//! What came of a scene.

use serde::Serialize;

use super::Scene;
use crate::demo::client::PERIOD_US;

/// What was measured in a scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The scene's name.
    pub scene: &'static str,
    /// The longest time without an answer, in milliseconds.
    pub outage_ms: f64,
    /// For how long two servers answered, in milliseconds.
    pub two_holders_ms: f64,
    /// What was promised for the outage, in milliseconds.
    pub bound_ms: f64,
    /// Whether both promises were kept and the service was there at the end.
    pub kept: bool,
    /// What else was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
}

impl Outcome {
    /// Returns the outcome of `scene` from `measured_us`: the longest outage and two holders.
    ///
    /// A client that asks once in a period sees up to one period more than there was.
    pub(super) fn new(scene: Scene, measured_us: [u64; 2], bound_ms: f64, settled: bool) -> Self {
        let [outage_ms, two_holders_ms] = measured_us.map(milliseconds);
        let in_time = outage_ms <= bound_ms + milliseconds(PERIOD_US);
        Self {
            scene: scene.name(),
            outage_ms,
            two_holders_ms,
            bound_ms,
            kept: settled && in_time && measured_us[1] == 0,
            observed: Vec::new(),
        }
    }

    /// Returns the outcome with what else was seen.
    pub(super) fn with_observed(mut self, observed: Vec<String>) -> Self {
        self.observed = observed;
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.kept { "kept" } else { "NOT KEPT" };
        write!(
            f,
            "{}: outage {:.1} of {:.1} ms, two holders {:.1} ms: {verdict}",
            self.scene, self.outage_ms, self.bound_ms, self.two_holders_ms
        )?;
        self.observed.iter().try_for_each(|told| write!(f, "; {told}"))
    }
}

/// Returns microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 microseconds")]
pub(in crate::demo) fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_within_the_clients_resolution() {
        let kept = |outage_us, two_us, settled| {
            Outcome::new(Scene::Switchover, [outage_us, two_us], 2.0, settled).kept
        };
        assert!(kept(3_000, 0, true));
        assert!(!kept(3_001, 0, true));
        assert!(!kept(1_000, 1, true));
        assert!(!kept(1_000, 0, false));
    }

    #[test]
    fn an_outcome_in_json_has_the_agreed_fields() {
        let outcome = Outcome::new(Scene::LinkCut, [1_250, 0], 5.0, true);
        let text = serde_json::to_string(&outcome).unwrap();
        let expected = r#"{"scene":"link-cut","outage_ms":1.25,"two_holders_ms":0.0,"bound_ms":5.0,"kept":true}"#;
        assert_eq!(text, expected);
    }
}
