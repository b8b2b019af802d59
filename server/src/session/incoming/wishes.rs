//! What the configuration wants of the pod's traffic. It may want something else while the session runs.

use std::net::SocketAddr;
use std::time::Duration;

use decide::incoming::Rules;
use protocol::agent::{HttpFilter, OpenPort, PortMode};

use crate::kube::probes::{self, Probe, ProbeKind};
use crate::session::spec::{IncomingOptions, OnConcurrentSteal, OnPause};

/// A program that does not accept for so long stands still.
pub(super) const STANDS_STILL: Duration = Duration::from_secs(1);

/// One configuration.
pub(super) struct Wishes {
    pub(super) options: IncomingOptions,
    rules: Rules,
}

/// A port as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What the program calls it.
    pub(super) own: u16,
    pub(super) request: OpenPort,
}

impl Wanted {
    /// Whether whole connections are stolen, which one session alone can do.
    fn is_whole_steal(&self) -> bool {
        self.request.mode == PortMode::Steal && self.request.filter.is_none()
    }

    /// What to ask of the agent to make this of a port that is open; none if it is so already.
    pub(super) fn instead_of(&self, now: &Self) -> Option<OpenPort> {
        let alone = self.request.alone && !now.is_whole_steal();
        let wanted = OpenPort { alone, flush: false, ..self.request.clone() };
        (wanted != OpenPort { alone, flush: false, ..now.request.clone() }).then_some(wanted)
    }
}

impl Wishes {
    pub(super) fn new(options: IncomingOptions) -> Self {
        let IncomingOptions { ports, ignored_ports, mapping, listen_ports, ignore_localhost, .. } = options.clone();
        Self { options, rules: Rules { ports, ignored_ports, mapping, listen_ports, ignore_localhost } }
    }

    /// The port of the pod that a listener stands for, as it is to be open, if it stands for one.
    pub(super) fn port(&self, bound: SocketAddr, all: &[Probe]) -> Option<Wanted> {
        let (mode, port) = (self.options.mode?, self.rules.pod_port(bound)?);
        let own = self.program_port(bound.port());
        let filter = self.filter(own, port);
        let options = &self.options;
        // Who takes some requests leaves the rest to the session before.
        let alone =
            filter.is_none() && mode == PortMode::Steal && options.on_concurrent_steal != OnConcurrentSteal::Override;
        let request = OpenPort {
            port,
            mode,
            alone,
            probed: !options.probes && probes::are_on(all, port, ProbeKind::Http),
            flush: mode == PortMode::Steal && options.flush_connections,
            filter,
            hold: options.hold,
            patience: self.patience(),
            unavailable: options.on_pause == OnPause::Unavailable,
        };
        Some(Wanted { own, request })
    }

    /// What the program calls the port of this machine on which it really listens.
    pub(super) fn program_port(&self, local: u16) -> u16 {
        decide::incoming::program_port(&self.rules.listen_ports, local)
    }

    /// Where the program really listens that listens on `port` in the pod.
    pub(super) fn local_port(&self, port: u16) -> u16 {
        decide::incoming::local_port(&self.rules.listen_ports, port)
    }

    /// How long clients wait for a program that does not accept.
    pub(super) fn patience(&self) -> Duration {
        let hold = self.options.hold;
        if self.options.on_pause == OnPause::Hold { hold } else { STANDS_STILL.min(hold) }
    }

    fn filter(&self, own: u16, port: u16) -> Option<HttpFilter> {
        let ports = self.options.filtered_ports.as_ref();
        let filter = self.options.filter.as_ref();
        filter.filter(|_| ports.is_none_or(|ports| ports.contains(&own) || ports.contains(&port))).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(options: &IncomingOptions) -> Option<Wanted> {
        Wishes::new(options.clone()).port("0.0.0.0:8080".parse().expect("an address"), &[])
    }

    #[test]
    fn an_open_port_changes_only_if_something_else_is_wanted() {
        let filter = Some(HttpFilter::Path("^/a".to_owned()));
        let whole = IncomingOptions { mode: Some(PortMode::Steal), flush_connections: true, ..Default::default() };
        let filtered = IncomingOptions { filter, ..whole.clone() };
        let elsewhere = IncomingOptions { filtered_ports: Some(vec![1]), ..filtered.clone() };
        let copied = IncomingOptions { mode: Some(PortMode::Mirror), ..whole.clone() };
        let [whole, filtered, elsewhere, copied] =
            [whole, filtered, elsewhere, copied].map(|options| wanted(&options).expect("a port"));
        assert_eq!(whole.instead_of(&elsewhere), None);
        // What is stolen already need not be alone again.
        let held =
            Wanted { request: OpenPort { hold: Duration::from_secs(9), ..whole.request.clone() }, ..whole.clone() };
        assert_eq!(held.instead_of(&whole).map(|request| request.alone), Some(false));
        assert_eq!(whole.instead_of(&filtered).map(|request| request.alone), Some(true));
        assert_eq!(whole.instead_of(&copied).map(|request| (request.alone, request.flush)), Some((true, false)));
        assert_eq!(filtered.instead_of(&whole).map(|request| request.filter.is_some()), Some(true));
        assert_eq!(wanted(&IncomingOptions { mode: None, ..Default::default() }), None);
    }
}
