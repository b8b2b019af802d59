//! What a user is told of a port that is open: what is true of it, and what is not known.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use protocol::agent::{PortMode, PortOpened};

use crate::kube::services::ServicePort;

/// Services that are named; of more, only their number is told.
const NAMED: usize = 5;

/// One open port, in one line.
pub(super) struct Report<'a> {
    /// The pod's port.
    pub(super) port: u16,
    /// The program's.
    pub(super) own: u16,
    pub(super) mode: PortMode,
    pub(super) is_filtered: bool,
    pub(super) opened: PortOpened,
    pub(super) services: &'a [ServicePort],
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let what = if self.is_filtered { "matching requests to port" } else { "port" };
        let verb = match (self.mode, self.is_filtered) {
            (PortMode::Steal, false) => "is stolen",
            (PortMode::Steal, true) => "are stolen",
            (PortMode::Mirror, false) => "is mirrored",
            (PortMode::Mirror, true) => "are mirrored",
        };
        write!(f, "{what} {} {verb}", self.port)?;
        if self.own != self.port {
            write!(f, " for the program's port {}", self.own)?;
        }
        let PortOpened { verified, failed } = &self.opened;
        if !verified.is_empty() {
            write!(f, "; checked within the pod over {}", list(verified.iter().map(IpAddr::to_string)))?;
        }
        if !failed.is_empty() {
            write!(f, "; not had: what comes over {}", list(failed.iter().map(IpAddr::to_string)))?;
        }
        write!(f, "; not checked: the way to the pod")?;
        let services = self.services.iter().filter(|service| service.target == self.port);
        let services: Vec<String> = services.map(|service| format!("{}:{}", service.service, service.port)).collect();
        if services.is_empty() {
            return Ok(());
        }
        write!(f, "; services: {}", services.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))?;
        match services.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_checked_what_is_not_and_who_leads_here() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (four, six) = (ip("10.0.0.5"), ip("fd00::5"));
        let service = |name: &str, target| ServicePort { service: name.to_owned(), port: 80, target };
        let two = [service("web", 8080), service("other", 1)];
        let services: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| service(name, 8080)).into();
        let both = PortOpened { verified: vec![four, six], failed: Vec::new() };
        let one = PortOpened { verified: vec![four], failed: vec![six] };
        let none = PortOpened { verified: Vec::new(), failed: Vec::new() };
        let report = |own, mode, is_filtered, opened, services| {
            Report { port: 8080, own, mode, is_filtered, opened: PortOpened::clone(opened), services }.to_string()
        };
        assert_eq!(
            report(8080, PortMode::Steal, false, &both, &two),
            "port 8080 is stolen; checked within the pod over 10.0.0.5 and fd00::5; \
             not checked: the way to the pod; services: web:80"
        );
        assert_eq!(
            report(3000, PortMode::Mirror, true, &one, &services),
            "matching requests to port 8080 are mirrored for the program's port 3000; checked within the pod over \
             10.0.0.5; not had: what comes over fd00::5; not checked: the way to the pod; \
             services: a:80, b:80, c:80, d:80, e:80 and 1 more"
        );
        assert_eq!(
            report(8080, PortMode::Steal, false, &none, &[]),
            "port 8080 is stolen; not checked: the way to the pod"
        );
    }
}
