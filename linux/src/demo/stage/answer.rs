//! What the program's answers in JSON mean to the demonstration.

use serde_json::Value;

/// What `check` promises, in milliseconds without an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// After an orderly change of the holder.
    pub switchover_ms: f64,
    /// After the holder's daemon is killed while its machine lives.
    pub daemon_killed_ms: f64,
    /// After the holder or all its links fail, or its daemon freezes.
    pub crash_ms: f64,
    /// After the holder's service adapter lost its carrier, if there is another.
    pub no_carrier_ms: f64,
    /// After nothing passes that adapter any more, though it has a carrier.
    pub silent_ms: f64,
    /// After what does not touch the holder: what the laboratory itself may hold frames up.
    pub unaffected_ms: f64,
}

/// Returns the bounds of each group in what `check --json` wrote.
///
/// What does not touch the holder is bound by `unaffected_ms`, what the laboratory may take.
pub(super) fn read_bounds(checked: &Value, unaffected_ms: f64) -> Option<Vec<Bounds>> {
    let of_group = |group: &Value| {
        let bounds = group.get("bounds")?;
        let read = |name: &str| bounds.get(name)?.as_f64();
        let swap = |name: &str| bounds["swap"][name].as_f64().unwrap_or_default() + unaffected_ms;
        Some(Bounds {
            switchover_ms: read("switchover_ms")?,
            daemon_killed_ms: read("daemon_killed_ms")?,
            crash_ms: read("crash_ms")?,
            no_carrier_ms: swap("no_carrier_ms"),
            silent_ms: swap("silent_ms"),
            unaffected_ms,
        })
    };
    checked.get("groups")?.as_array()?.iter().map(of_group).collect()
}

/// Returns whether a status says that the node takes part and that all its peers are alive.
pub(super) fn is_complete(status: &Value) -> bool {
    if status.get("state").and_then(Value::as_str) != Some("online") {
        return false;
    }
    let Some(peers) = status.get("peers").and_then(Value::as_array) else {
        return false;
    };
    let alive = |peer: &Value| peer.get("state").and_then(Value::as_str) == Some("alive");
    !peers.is_empty() && peers.iter().all(alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_from_each_group() {
        let text = r#"{"groups":[{"name":"www","bounds":
            {"switchover_ms":2,"daemon_killed_ms":20.5,"crash_ms":60,
             "swap":{"no_carrier_ms":20,"silent_ms":43}}}]}"#;
        let bounds = read_bounds(&serde_json::from_str(text).unwrap(), 5.0);
        let expected = Bounds {
            switchover_ms: 2.0,
            daemon_killed_ms: 20.5,
            crash_ms: 60.0,
            no_carrier_ms: 25.0,
            silent_ms: 48.0,
            unaffected_ms: 5.0,
        };
        assert_eq!(bounds, Some(vec![expected]));
        assert_eq!(read_bounds(&serde_json::json!({"groups": [{}]}), 5.0), None);
    }

    #[test]
    fn a_status_is_complete_when_the_node_is_online_and_each_peer_alive() {
        let status = |state: &str, peers: &[&str]| {
            let peers: Vec<Value> =
                peers.iter().map(|state| serde_json::json!({ "state": state })).collect();
            serde_json::json!({ "state": state, "peers": peers })
        };
        assert!(is_complete(&status("online", &["alive", "alive"])));
        assert!(!is_complete(&status("booting", &["alive", "alive"])));
        assert!(!is_complete(&status("online", &["alive", "lost"])));
        assert!(!is_complete(&status("online", &[])));
        assert!(!is_complete(&Value::Null));
    }
}
