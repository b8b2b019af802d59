//! Where everything of a cluster is: its folder, its names, its addresses. Knows facts only and
//! touches nothing.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The environment variable that moves the state folder, and so makes a second cluster.
pub(crate) const FOLDER_VARIABLE: &str = "MIRROR_CLUSTER_DIR";
const DEFAULT_FOLDER: &str = "/var/lib/mirror-cluster";

/// Two ranges of addresses, of IPv4 and of IPv6, as Kubernetes writes them.
pub(crate) struct Ranges {
    pub(crate) four: &'static str,
    pub(crate) six: &'static str,
}

impl Ranges {
    /// Both, IPv4 first, which makes it the usual family.
    pub(crate) fn both(&self) -> String {
        format!("{},{}", self.four, self.six)
    }
}

/// Addresses that exist only inside the cluster's own network namespaces.
pub(crate) const POD_RANGE: Ranges = Ranges { four: "10.244.0.0/16", six: "fd6d:6972:726f:f400::/56" };
/// The range of Services.
pub(crate) const SERVICE_RANGE: Ranges = Ranges { four: "10.96.0.0/16", six: "fd6d:6972:726f:9600::/112" };
/// The network between the control plane and the nodes.
pub(crate) const MACHINE_RANGE: Ranges = Ranges { four: "172.30.0.0/24", six: "fd6d:6972:726f:30::/64" };
/// The control plane's address in that network.
pub(crate) const CONTROL_ADDRESS: &str = "172.30.0.1";
/// The same over IPv6.
pub(crate) const CONTROL_ADDRESS_SIX: &str = "fd6d:6972:726f:30::1";
/// All IPv6 addresses of the cluster. There is no IPv6 beyond it, as in many clusters.
pub(crate) const SIX: &str = "fd6d:6972:726f::/48";
/// The port of the API server in its own namespace.
pub(crate) const API_PORT: u16 = 6443;
/// The Service address of the cluster's name server.
pub(crate) const DNS_ADDRESS: &str = "10.96.0.10";

/// A machine of the cluster: the control plane or a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    /// Runs etcd and the control plane, and is the switch between the nodes.
    Control,
    /// Runs pods; numbered from 1.
    Node(u8),
}

impl Machine {
    /// The name, which for a node is also its name in Kubernetes.
    pub(crate) fn name(self) -> String {
        match self {
            Machine::Control => "control".to_owned(),
            Machine::Node(number) => format!("node{number}"),
        }
    }

    /// Its address in [`MACHINE_RANGE`].
    pub(crate) fn address(self) -> String {
        match self {
            Machine::Control => CONTROL_ADDRESS.to_owned(),
            Machine::Node(number) => format!("172.30.0.{}", 10 + u16::from(number)),
        }
    }

    /// The same over IPv6.
    pub(crate) fn address_six(self) -> String {
        match self {
            Machine::Control => CONTROL_ADDRESS_SIX.to_owned(),
            Machine::Node(number) => format!("fd6d:6972:726f:30::{}", 10 + u16::from(number)),
        }
    }

    /// The control plane first, then the nodes.
    pub(crate) fn all(nodes: u8) -> Vec<Machine> {
        let mut all = vec![Machine::Control];
        all.extend((1..=nodes).map(Machine::Node));
        all
    }
}

/// The addresses of the pods of one node.
pub(crate) fn pod_range(node: u8) -> String {
    format!("10.244.{node}.0/24")
}

/// Their IPv6 addresses.
pub(crate) fn pod_range_six(node: u8) -> String {
    format!("fd6d:6972:726f:f4{node:02x}::/64")
}

/// Paths and names of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The state folder.
    pub(crate) folder: PathBuf,
    /// Prefix of everything that has a name in the kernel: namespaces, control groups.
    pub(crate) name: String,
}

impl Layout {
    /// The cluster that the environment asks for.
    pub(crate) fn from_environment() -> Result<Layout> {
        let folder = match env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()) {
            Some(folder) => std::path::absolute(PathBuf::from(folder))
                .with_context(|| format!("read the path in {FOLDER_VARIABLE}"))?,
            None => PathBuf::from(DEFAULT_FOLDER),
        };
        Ok(Layout::at(folder))
    }

    /// The cluster whose state is in a folder.
    pub(crate) fn at(folder: PathBuf) -> Layout {
        let name = if folder == Path::new(DEFAULT_FOLDER) {
            "mirror".to_owned()
        } else {
            let digest = sha256_hex(folder.as_os_str().as_encoded_bytes());
            format!("mirror-{}", &digest[..6])
        };
        Layout { folder, name }
    }

    /// A path inside the state folder.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside)
    }

    /// The same as text, for command lines and configuration files.
    pub(crate) fn text(&self, inside: &str) -> String {
        self.path(inside).display().to_string()
    }

    /// The folder of one machine.
    pub(crate) fn machine(&self, machine: Machine) -> PathBuf {
        self.path(&machine.name())
    }

    /// The name of a machine's network namespace.
    pub(crate) fn netns(&self, machine: Machine) -> String {
        format!("{}-{}", self.name, machine.name())
    }

    /// The file that stands for a machine's network namespace.
    pub(crate) fn netns_path(&self, machine: Machine) -> String {
        format!("/run/netns/{}", self.netns(machine))
    }

    /// A machine's control group below the root of each hierarchy.
    pub(crate) fn cgroup(&self, machine: Machine) -> String {
        format!("/{}/{}", self.name, machine.name())
    }

    /// The file where a component's output goes.
    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.path("logs").join(format!("{}.log", component.replace('/', "-")))
    }

    /// The socket of a node's containerd.
    pub(crate) fn containerd_socket(&self, node: u8) -> String {
        self.text(&format!("node{node}/containerd.sock"))
    }

    /// The port of the API server on loopback, if it is free.
    pub(crate) fn usual_port(&self) -> u16 {
        let digest = Sha256::digest(self.name.as_bytes());
        16_000 + u16::from(digest[0]) * 16 + u16::from(digest[1] % 16)
    }

    /// The priority of this cluster's routes in the machine's own namespace, by which `down` knows them.
    pub(crate) fn route_metric(&self) -> u32 {
        let digest = Sha256::digest(self.name.as_bytes());
        0x6d00_0000 | u32::from_be_bytes([0, digest[0], digest[1], digest[2]])
    }
}

/// The usual text form of a SHA-256 digest.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
