//! Rules about files.

use super::Facts;
use crate::diagnostic::Severity;
use crate::model::FsMode;

const MODE: &str = "feature.fs.mode";

/// Whoever asks for one of these modes expects more than the patterns.
pub(super) fn mode_beyond_patterns(facts: &mut Facts<'_>) {
    let mode = facts.config.feature.fs.mode;
    if matches!(mode, FsMode::Read | FsMode::Write) && facts.is_set(MODE) {
        let only = "only what the patterns name is read from the target";
        let message = format!("`{MODE}` \"{mode}\" ({only}) is accepted but not in effect yet");
        facts.tell(Severity::Warning, "not-in-effect", MODE, message);
    }
}
