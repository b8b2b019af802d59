//! Rules about files.

use super::Facts;
use crate::diagnostic::Severity;
use crate::model::FsMode;

const MODE: &str = "feature.fs.mode";

/// Whoever asks for this mode expects to write.
pub(super) fn mode_that_writes(facts: &mut Facts<'_>) {
    let mode = facts.config.feature.fs.mode;
    if mode == FsMode::Write && facts.is_set(MODE) {
        let message = format!("`{MODE}` \"{mode}\" is accepted but not in effect yet");
        facts.tell(Severity::Warning, "not-in-effect", MODE, message);
    }
}
