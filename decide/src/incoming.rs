//! Which of the program's listeners get traffic of the pod, and of which port; and where they really listen.

use std::net::SocketAddr;

use crate::outgoing::unmapped;

/// What the decision depends on, besides the listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The only ports that the program may listen on for the pod; none is all of them.
    pub ports: Option<Vec<u16>>,
    /// Ports on which it gets nothing.
    pub ignored_ports: Vec<u16>,
    /// Port of the program, port of the pod.
    pub mapping: Vec<(u16, u16)>,
    /// Port of the program, port where it really listens.
    pub listen_ports: Vec<(u16, u16)>,
    /// What listens on loopback only gets nothing.
    pub ignore_localhost: bool,
}

impl Rules {
    /// The pod's port whose connections a listener that really is on `bound` gets, if any.
    pub fn pod_port(&self, bound: SocketAddr) -> Option<u16> {
        let port = program_port(&self.listen_ports, bound.port());
        let left_out = self.ports.as_ref().is_some_and(|ports| !ports.contains(&port))
            || self.ignored_ports.contains(&port)
            || (self.ignore_localhost && unmapped(bound).ip().is_loopback());
        let mapped = self.mapping.iter().find(|(own, _)| *own == port).map(|(_, pod)| *pod);
        (port != 0 && !left_out).then(|| mapped.unwrap_or(port))
    }
}

/// Where a program really listens that wants to listen on `port`.
pub fn local_port(listen_ports: &[(u16, u16)], port: u16) -> u16 {
    listen_ports.iter().find(|(program, _)| *program == port).map_or(port, |(_, local)| *local)
}

/// What a program calls the port on which it really listens.
pub fn program_port(listen_ports: &[(u16, u16)], local: u16) -> u16 {
    listen_ports.iter().find(|(_, really)| *really == local).map_or(local, |(program, _)| *program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_leaves_something_out() {
        let bound = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let rules = Rules { mapping: vec![(8080, 80)], ..Rules::default() };
        for (rules, at, port) in [
            (rules.clone(), "0.0.0.0:8080", Some(80)),
            (rules.clone(), "[::]:3000", Some(3000)),
            (rules.clone(), "127.0.0.1:3000", Some(3000)),
            (rules.clone(), "0.0.0.0:0", None),
            (Rules { ports: Some(vec![8080]), ..rules.clone() }, "0.0.0.0:8080", Some(80)),
            (Rules { ports: Some(vec![8080]), ..rules.clone() }, "0.0.0.0:3000", None),
            (Rules { ignored_ports: vec![8080], ..rules.clone() }, "0.0.0.0:8080", None),
            (Rules { listen_ports: vec![(8080, 9090)], ..rules.clone() }, "0.0.0.0:9090", Some(80)),
            (Rules { listen_ports: vec![(443, 9443)], ..rules.clone() }, "0.0.0.0:9443", Some(443)),
            (
                Rules { listen_ports: vec![(443, 9443)], ignored_ports: vec![443], ..rules.clone() },
                "0.0.0.0:9443",
                None,
            ),
            (Rules { ignore_localhost: true, ..rules.clone() }, "127.0.0.2:8080", None),
            (Rules { ignore_localhost: true, ..rules.clone() }, "[::ffff:127.0.0.1]:8080", None),
            (Rules { ignore_localhost: true, ..rules }, "10.0.0.1:8080", Some(80)),
        ] {
            assert_eq!(rules.pod_port(bound(at)), port, "{at} {rules:?}");
        }
    }

    #[test]
    fn listeners_are_moved_there_and_named_back() {
        let moved = [(80, 8080), (443, 8443), (0, 0)];
        for (program, local) in [(80, 8080), (443, 8443), (22, 22), (0, 0)] {
            assert_eq!((local_port(&moved, program), program_port(&moved, local)), (local, program));
        }
    }
}
