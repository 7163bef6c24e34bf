//! What the daemon does about its recording: notes of what explanations refer to, and alerts.

use std::path::Path;

use lifesign_core::engine::Obstacle;
use lifesign_core::group::GroupId;
use lifesign_core::node::NodeId;
use lifesign_core::time::Instant;
use nix::errno::Errno;

use super::Daemon;
use crate::record::block::Origin;
use crate::record::entry::Note;
use crate::record::writer::Writer;
use crate::record::{Health, Plan, Recorder};
use crate::report::RecordingReport;
use crate::settings::Settings;

/// How alerts on the recording begin.
const RECORDING: &str = "the recording ";

/// Prepares the recording that the settings ask for.
pub(super) fn open(
    settings: &Settings,
    name: &str,
    file: &Path,
    source: String,
) -> Result<(Option<Recorder>, Option<Writer>), String> {
    let Some(bound) = settings.record else { return Ok((None, None)) };
    let origin = Origin {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        node: name.to_owned(),
        path: file.to_string_lossy().into_owned(),
        settings: source,
    };
    let plan =
        Plan { directory: crate::record::directory(&settings.state_dir, name), bound, origin };
    let refuses = |error: Errno| format!("prepare to record: {}", error.desc().to_lowercase());
    crate::record::open(plan)
        .map(|(recorder, writer)| (Some(recorder), Some(writer)))
        .map_err(refuses)
}

impl Daemon {
    /// Takes note of what explanations refer to besides the engine, and tells when something of the
    /// recording is missing.
    pub(super) fn look_at_recording(&mut self) {
        let Some(health) = self.engine.recording() else { return };
        self.note_surroundings();
        if self.alerts.recording == Some(health) {
            return;
        }
        let before = self.alerts.recording.replace(health).map_or(0, |before| before.lost);
        if let Some(error) = health.error {
            let what = error.desc().to_lowercase();
            let (directory, name) = (&self.settings.state_dir, self.settings.name_of(self.me));
            let directory = crate::record::directory(directory, &name);
            self.alert(format!("{RECORDING}in {} has gaps: {what}", directory.display()));
        }
        if health.lost > before {
            self.all_clear(&format!("{RECORDING}has lost "));
            self.alert(format!("{RECORDING}has lost {} entries: the disk is slow", health.lost));
        }
    }

    /// Takes note of what explanations refer to besides the engine.
    pub(super) fn note_surroundings(&mut self) {
        if !self.engine.is_recorded() {
            return;
        }
        let now = self.engine.now();
        let side = self.ip_side_text(now);
        self.engine.note(|| Note::IpSide(side));
        let witnesses: Vec<NodeId> = self
            .settings
            .members()
            .map(|(member, _)| member)
            .filter(|it| it.is_witness())
            .collect();
        for witness in witnesses {
            let why = self.why_unheard(witness);
            self.engine.note(|| Note::Unheard(witness, why));
        }
        for group in GroupId::all().take(self.groups.len()) {
            let penalty = self.penalty_of(group);
            self.engine.note(|| Note::Penalty(group, penalty));
            let unguarded = self.unguarded(group.index());
            self.engine.note(|| Note::Unguarded(group, unguarded));
            if let Some(Obstacle::Unfenced(node)) = self.engine.obstacle(group) {
                let state = self.reset_state(group, node);
                self.engine.note(|| Note::Reset(group, node, state));
            }
        }
    }

    /// Takes note that somebody is told how things are, for whoever asks a replay for the same.
    pub(super) fn note_telling(&mut self, now: Instant) {
        self.note_surroundings();
        self.engine.told(now);
    }

    /// Returns what machines are told of the recording.
    pub(super) fn recording_report(&self) -> Option<RecordingReport> {
        let Health { lost, error } = self.engine.recording()?;
        let directory =
            crate::record::directory(&self.settings.state_dir, &self.settings.name_of(self.me));
        Some(RecordingReport {
            directory: directory.display().to_string(),
            bound: self.settings.record.unwrap_or_default(),
            lost,
            error: error.map(|error| error.desc().to_lowercase()),
        })
    }
}
