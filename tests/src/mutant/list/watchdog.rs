//! Rules about the watchdog: until when a machine is fed, and what must be known before.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "watchdog-counted-once",
        "A watchdog may bite two timeouts after the last look at the clock, not one.",
        &[Change {
            file: "core/src/watchdog.rs",
            find: "timeout.times(2) + reset_limit",
            replace: "timeout + reset_limit",
        }],
    ),
    caught(
        "hanging-stop-fed",
        "A stop that has begun is fed for its budget, however long authority lasts.",
        &[Change {
            file: "core/src/watchdog.rs",
            find: "stopping_since.map_or(authority_end, |since| since.min(authority_end))",
            replace: "stopping_since.map_or(authority_end, |_| authority_end)",
        }],
    ),
    caught(
        "watchdog-fed-in-doubt",
        "Where the end of authority was never known, nothing is fed.",
        &[Change {
            file: "linux/src/daemon/watchdog.rs",
            find: "            None => Instant::ZERO,",
            replace: "            None => Instant::from_micros(u64::MAX),",
        }],
    ),
    caught(
        "watchdog-fed-after-the-end",
        "Nobody feeds a machine past its limit.",
        &[Change {
            file: "linux/src/watchdog/feeder/work.rs",
            find: "        if over.is_none() {\n            device.feed()?;",
            replace: "        if over.is_none() || limit.is_some() {\n            device.feed()?;",
        }],
    )
    .quick(),
    caught(
        "stop-tried-again-fed-anew",
        "A stop that is tried again has no more time than the first.",
        &[Change {
            file: "linux/src/daemon/watchdog.rs",
            find: "let since = self.stopping_since.unwrap_or(now);",
            replace: "let since = now;",
        }],
    ),
    caught(
        "watchdog-believed-unheard",
        "Nothing is started before the device is known to count.",
        &[Change {
            file: "linux/src/watchdog/feeder.rs",
            find: "self.orders.0 == self.orders.1",
            replace: "self.orders.0 >= self.orders.1",
        }],
    ),
    caught(
        "watchdog-disarmed-with-a-service-up",
        "A supervisor that cannot stop a service leaves the watchdog armed.",
        &[Change {
            file: "linux/src/supervisor.rs",
            find: "running.iter().find(|group| group.watchdog)?;",
            replace: "running.iter().find(|group| group.watchdog && false)?;",
        }],
    ),
    caught(
        "left-watchdog-disarmed",
        "What was left to the watchdog is not fed and not disarmed.",
        &[Change {
            file: "linux/src/watchdog/feeder/work.rs",
            find: "Some(Verdict::Leave(why)) => return self.leave(&why),",
            replace: "Some(Verdict::Leave(_)) => return self.disarm(),",
        }],
    ),
    caught(
        "timeout-not-read-back",
        "A driver that counts longer than the settings allow is refused.",
        &[Change {
            file: "linux/src/watchdog/feeder/work.rs",
            find: "if counts < 1 || counts > asked {",
            replace: "if counts < 1 {",
        }],
    ),
];
