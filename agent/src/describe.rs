//! Answers [`protocol::agent::Describe`]. The agent's thread has the target's host name and
//! network; the files are those below the target's root.

use protocol::agent::{Description, POD_FILES, RemoteError};

use crate::files::Root;
use crate::interfaces;

/// Longest file that is handed over, in bytes; all of them fit into one message.
const MAX_FILE: u64 = 1024 * 1024;

/// Who the pod is. A file that cannot be read counts as absent, as it does for the programs of the pod.
pub(crate) fn describe(root: &Root) -> Result<Description, RemoteError> {
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let found = interfaces::all().map_err(|errno| RemoteError {
        errno: errno.raw_os_error(),
        context: "ask for the addresses of the pod's interfaces (rtnetlink)".to_owned(),
    })?;
    let addresses = found.into_iter().map(|interface| interface.address).collect();
    let read = |path: &&str| match root.read(path.trim_start_matches('/'), MAX_FILE) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::debug!(path, %error, "read a file of the pod");
            None
        }
    };
    Ok(Description { host_name, addresses, files: POD_FILES.iter().map(read).collect() })
}
