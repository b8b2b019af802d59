//! Ports of this machine: which are taken and by whom, which need root, which are free.
//!
//! Called by the language server, off the way of a keystroke. What a session's own program listens on is not taken: the
//! next run of the program takes its place.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use protocol::layer::SESSION_VARIABLE;

/// The kernel's lists of TCP sockets (`proc_net_tcp(5)`).
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// State of a socket that listens, in those lists.
const LISTENS: &str = "0A";

/// From here on every user may listen.
const UNPRIVILEGED: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Addresses as the lists have them which nobody can listen beside who listens on all of IPv4 or on 127.0.0.1.
const IN_THE_WAY: [&str; 4] =
    ["00000000", "0100007F", "00000000000000000000000000000000", "0000000000000000FFFF00000100007F"];

/// From here on the kernel gives ports to connections.
const EPHEMERAL: u16 = 32768;

/// What is known of some ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// The taken ones, with who has them.
    pub taken: BTreeMap<u16, String>,
    /// The first port that this user may listen on.
    pub first_allowed: u16,
}

impl Ports {
    /// Looks at the ports that are asked for.
    pub fn look(wanted: &[u16]) -> Self {
        let allowed = fs::read_to_string(UNPRIVILEGED).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
        let first_allowed = if rustix::process::geteuid().is_root() { 0 } else { allowed };
        let tables = TABLES.iter().filter_map(|table| fs::read_to_string(table).ok());
        let sockets: Vec<Socket> = tables.flat_map(|table| listeners(&table, wanted)).collect();
        let holders = if sockets.is_empty() { BTreeMap::new() } else { holders(&sockets) };
        let mut taken = BTreeMap::new();
        for socket in sockets {
            match holders.get(&socket.inode) {
                Some(Holder { in_session: true, .. }) => {}
                Some(holder) => _ = taken.insert(socket.port, holder.name.clone()),
                None => _ = taken.entry(socket.port).or_insert_with(|| "a process of another user".to_owned()),
            }
        }
        Self { taken, first_allowed }
    }
}

/// A port that is free now, none of `avoided`; one that reminds of `near` if possible.
pub fn free(near: u16, avoided: &[u16]) -> Option<u16> {
    let relatives = [8000, 10_000, 20_000].into_iter().filter_map(|step| near.checked_add(step));
    let others = near.max(1024)..EPHEMERAL;
    let mut candidates = relatives.filter(|port| *port < EPHEMERAL).chain(others).chain(1024..EPHEMERAL);
    candidates.find(|port| {
        *port != near && !avoided.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
    })
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    port: u16,
    inode: u64,
}

fn listeners(table: &str, wanted: &[u16]) -> Vec<Socket> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let is_meant = fields.get(3) == Some(&LISTENS) && wanted.contains(&port) && IN_THE_WAY.contains(&address);
        is_meant.then_some(Socket { port, inode: fields.get(9)?.parse().ok()? })
    };
    table.lines().filter_map(socket).collect()
}

/// A process that has a socket.
struct Holder {
    name: String,
    in_session: bool,
}

/// The processes that have the sockets, as far as this user may see.
fn holders(sockets: &[Socket]) -> BTreeMap<u64, Holder> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for link in files.filter_map(|file| fs::read_link(file.path()).ok()) {
            let link = link.to_string_lossy();
            let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| sockets.iter().any(|socket| socket.inode == *inode)) {
                found.entry(inode).or_insert_with(|| holder(pid));
            }
        }
    }
    found
}

fn holder(pid: i32) -> Holder {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mark = format!("{SESSION_VARIABLE}=");
    let in_session = environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()));
    Holder { name: format!("{} (pid {pid})", name.trim()), in_session }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0
   1: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 12 1 0 100 0 0 10 0
   2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 13 1 0 100 0 0 10 0
   3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 14 1 0
   broken
";

    #[test]
    fn only_listeners_that_are_in_the_way_count() {
        let found = listeners(TABLE, &[8080, 8081, 53, 80]);
        assert_eq!(found, [Socket { port: 8080, inode: 11 }, Socket { port: 80, inode: 14 }]);
        assert_eq!(listeners(TABLE, &[22]), []);
    }

    #[test]
    fn a_port_is_taken_while_somebody_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let ports = Ports::look(&[port]);
        assert!(ports.taken[&port].ends_with(&format!("(pid {})", std::process::id())), "{ports:?}");
        drop(listener);
        assert_eq!(Ports::look(&[port]).taken, BTreeMap::new());
    }

    #[test]
    fn a_free_port_is_none_of_those_that_are_needed() {
        let one = free(80, &[]).expect("a port");
        let other = free(80, &[one]).expect("another");
        assert!(one != other && one >= 1024 && other >= 1024);
        assert_ne!(free(one, &[]), Some(one));
    }
}
