//! What the session host tells the process that starts the session, over their socket pair.
//!
//! The starter sends one [`Start`]; the host answers with any number of [`HostMessage`]s. When the starter
//! executes the user's program its end closes by itself, and the host goes on alone.

use std::io::{self, Read, Write};
use std::time::Duration;

use protocol::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What the starter sends. Has no `Debug`: the spec holds values of the user's variables.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// How long the session lasts.
    pub keeper: Keeper,
    /// [`super::spec::SessionSpec`] as JSON (it holds values of the Kubernetes API's own shapes).
    pub spec: String,
    /// Whose it is.
    pub about: About,
    /// The user wants to be told of failures only.
    pub quiet: bool,
}

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeper {
    /// As long as this process, which becomes the user's program, and what comes of it.
    Program(i32),
    /// An editor starts programs in it as it likes.
    Editor {
        /// How long the first one may take.
        first: Duration,
        /// How long it lasts after the last one.
        grace: Duration,
    },
}

/// Whose a session is: nothing depends on it, but people and editors know it by this.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The program's name, or that of the editor's launch configuration.
    pub name: String,
    /// The editor's folder, or that in which `mirror exec` was run.
    pub folder: Option<String>,
    /// The configuration file.
    pub config: Option<String>,
    /// Type of the debugger.
    pub debugger: Option<String>,
    /// What the editor asked for, as JSON, to ask for it once more.
    pub request: String,
    /// Equal for equal sessions.
    pub fingerprint: String,
}

/// The steps of a start, as a user follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Reading the kubeconfig, connecting.
    Cluster,
    /// Finding the pod.
    Target,
    /// Making the Job.
    AgentCreated,
    /// First contact with the agent.
    AgentReady,
}

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// A step begins.
    Began(Step),
    /// A step is done.
    Done {
        /// Which.
        step: Step,
        /// What came of it, in a few words.
        text: String,
        /// How long it took.
        took: Duration,
    },
    /// Something the user should know; the start goes on.
    Warning(String),
    /// The start failed; nothing is left behind. The last message.
    Failed(Failure),
    /// All is ready; the last message.
    Ready(Ready),
}

/// What the program needs to be part of the session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Variables to set, as bytes: they need not be UTF-8.
    pub set: Vec<(Vec<u8>, Vec<u8>)>,
    /// Variables to remove.
    pub unset: Vec<String>,
    /// How many of `set` are the pod's.
    pub from_pod: usize,
    /// Whether connections of the pod can come.
    pub takes_connections: bool,
    /// The session's name, for `mirror session` and logs.
    pub session: String,
    /// The host's log file, or why there is none.
    pub log: String,
}

/// Shows names of variables only: values are often secrets, and one is the session's token.
impl core::fmt::Debug for Ready {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names: Vec<_> = self.set.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        f.debug_struct("Ready").field("session", &self.session).field("set", &names).finish_non_exhaustive()
    }
}

/// Writes one message.
pub fn send<T: Serialize, W: Write>(writer: &mut W, message: &T) -> io::Result<()> {
    let bytes = codec::encode(message).map_err(io::Error::other)?;
    writer.write_all(&bytes)
}

/// Reads one message; none at the end of the stream.
pub fn receive<T: DeserializeOwned, R: Read>(reader: &mut R) -> io::Result<Option<T>> {
    let mut prefix = [0; codec::PREFIX];
    match reader.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; codec::length(prefix).map_err(io::Error::other)?];
    reader.read_exact(&mut body)?;
    codec::decode(&body).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_travel_and_never_show_values() {
        let ready = HostMessage::Ready(Ready {
            set: vec![(b"PASSWORD".to_vec(), b"hunter2".to_vec())],
            unset: Vec::new(),
            from_pod: 1,
            takes_connections: true,
            session: "abc".to_owned(),
            log: "abc.log".to_owned(),
        });
        let mut bytes = Vec::new();
        send(&mut bytes, &ready).expect("sent");
        let mut reader = bytes.as_slice();
        assert_eq!(receive::<HostMessage, _>(&mut reader).expect("received"), Some(ready.clone()));
        assert_eq!(receive::<HostMessage, _>(&mut reader).expect("the end"), None);
        let shown = format!("{ready:?}");
        assert!(shown.contains("PASSWORD") && !shown.contains("hunter2"), "{shown}");
    }
}
