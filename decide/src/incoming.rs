//! Which of the program's listeners get traffic of the pod, and of which port.

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
    /// What listens on loopback only gets nothing.
    pub ignore_localhost: bool,
}

impl Rules {
    /// The pod's port whose connections a listener on `bound` gets, if any.
    pub fn pod_port(&self, bound: SocketAddr) -> Option<u16> {
        let port = bound.port();
        let left_out = self.ports.as_ref().is_some_and(|ports| !ports.contains(&port))
            || self.ignored_ports.contains(&port)
            || (self.ignore_localhost && unmapped(bound).ip().is_loopback());
        let mapped = self.mapping.iter().find(|(own, _)| *own == port).map(|(_, pod)| *pod);
        (port != 0 && !left_out).then(|| mapped.unwrap_or(port))
    }
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
            (Rules { ignore_localhost: true, ..rules.clone() }, "127.0.0.2:8080", None),
            (Rules { ignore_localhost: true, ..rules.clone() }, "[::ffff:127.0.0.1]:8080", None),
            (Rules { ignore_localhost: true, ..rules }, "10.0.0.1:8080", Some(80)),
        ] {
            assert_eq!(rules.pod_port(bound(at)), port, "{at} {rules:?}");
        }
    }
}
