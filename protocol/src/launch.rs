//! How the session host tells a new agent what to do: the arguments of its container.
//!
//! They stand in the Job where everyone who may read Jobs can see them, so there is no secret among them,
//! and they are plain words so that `kubectl describe` explains itself.

use std::collections::BTreeMap;
use std::time::Duration;

/// Exit code of an agent that may not do what it must (`EX_NOPERM`, sysexits.h).
pub const NOT_PERMITTED: u8 = 77;

/// What an agent is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// TCP port on the pod's loopback that the port-forward reaches.
    pub port: u16,
    /// Public half of the session's ed25519 key.
    pub key: [u8; 32],
    /// Container to stand beside (runtime id without its `containerd://` scheme); none is targetless.
    pub container_id: Option<String>,
    /// How long to wait for a first client.
    pub first_contact: Duration,
    /// How long to wait for the client after its connections ended without a goodbye: what a killed client leaves.
    pub linger: Duration,
    /// How long to wait for a client that went silent.
    pub grace: Duration,
    /// Log level: error, warn, info, debug or trace.
    pub log: String,
    /// For tests: behave as on a kernel that has no `sk_lookup` programs.
    pub without_sk_lookup: bool,
}

/// Why arguments are not a [`Launch`]: names the argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArgument(pub String);

impl core::fmt::Display for BadArgument {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "bad or missing argument {}", self.0)
    }
}

impl std::error::Error for BadArgument {}

impl Launch {
    /// The container's arguments, `name=value` each.
    pub fn to_args(&self) -> Vec<String> {
        let key: String = self.key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut args = vec![
            format!("port={}", self.port),
            format!("key={key}"),
            format!("first-contact={}", self.first_contact.as_secs()),
            format!("linger={}", self.linger.as_secs()),
            format!("grace={}", self.grace.as_secs()),
            format!("log={}", self.log),
        ];
        args.extend(self.container_id.iter().map(|id| format!("container={id}")));
        args.extend(self.without_sk_lookup.then(|| "sk-lookup=absent".to_owned()));
        args
    }

    /// Reads the container's arguments. Unknown names are errors: both sides are of one version.
    pub fn from_args<I: IntoIterator<Item = String>>(args: I) -> Result<Self, BadArgument> {
        let mut values = BTreeMap::new();
        for arg in args {
            match arg.split_once('=') {
                Some((name, value)) => values.insert(name.to_owned(), value.to_owned()),
                None => return Err(BadArgument(arg)),
            };
        }
        let mut take = |name: &str| values.remove(name).ok_or_else(|| BadArgument(name.to_owned()));
        let bad = |name: &str| BadArgument(name.to_owned());
        let seconds = |name: &str, value: String| {
            value.parse().map(Duration::from_secs).map_err(|_| BadArgument(name.to_owned()))
        };
        let launch = Self {
            port: take("port")?.parse().map_err(|_| bad("port"))?,
            key: parse_key(&take("key")?).ok_or_else(|| bad("key"))?,
            first_contact: seconds("first-contact", take("first-contact")?)?,
            linger: seconds("linger", take("linger")?)?,
            grace: seconds("grace", take("grace")?)?,
            log: take("log")?,
            container_id: take("container").ok(),
            without_sk_lookup: match take("sk-lookup").as_deref() {
                Ok("absent") => true,
                Ok(_) => return Err(bad("sk-lookup")),
                Err(_) => false,
            },
        };
        match values.into_keys().next() {
            Some(unknown) => Err(BadArgument(unknown)),
            None => Ok(launch),
        }
    }
}

fn parse_key(hex: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(container_id: Option<&str>) -> Launch {
        Launch {
            port: 4000,
            key: [0xab; 32],
            container_id: container_id.map(str::to_owned),
            first_contact: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            grace: Duration::from_secs(60),
            log: "info".to_owned(),
            without_sk_lookup: false,
        }
    }

    #[test]
    fn arguments_round_trip() {
        let old = Launch { without_sk_lookup: true, ..launch(None) };
        for launch in [launch(None), launch(Some("0123abcd")), old] {
            assert_eq!(Launch::from_args(launch.to_args()), Ok(launch));
        }
    }

    #[test]
    fn a_bad_argument_is_named() {
        let with = |replaced: &str, by: &str| {
            let args = launch(None).to_args().into_iter();
            args.map(|arg| if arg.starts_with(replaced) { by.to_owned() } else { arg }).collect::<Vec<_>>()
        };
        for (replaced, by, name) in [
            ("port", "port=70000", "port"),
            ("key", "key=zz", "key"),
            ("grace", "grace=-1", "grace"),
            ("log", "level=info", "log"),
            ("log", "word", "word"),
        ] {
            assert_eq!(Launch::from_args(with(replaced, by)), Err(BadArgument(name.to_owned())), "{by}");
        }
        let mut more = launch(None).to_args();
        more.push("extra=1".to_owned());
        assert_eq!(Launch::from_args(more), Err(BadArgument("extra".to_owned())));
    }
}
