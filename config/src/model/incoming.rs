//! `feature.network.incoming`: traffic that reaches the target.

use std::time::Duration;

use super::{HttpFilter, PortPair, choices, section};
use crate::keys::{Shape, Short};
use crate::text;

choices! {
    /// What happens to traffic that reaches the target.
    IncomingMode {
        /// The local process gets a copy; the target answers.
        Mirror = "mirror",
        /// The local process gets the traffic instead of the target, and answers.
        Steal = "steal",
        /// Nothing reaches the local process.
        Off = "off",
    }
}

choices! {
    /// What happens when another session steals the same port already.
    OnConcurrentSteal {
        /// The local process cannot listen on the port (`EADDRINUSE`).
        Abort = "abort",
        /// This session takes the traffic over until it ends.
        Override = "override",
        /// The local process listens, and gets no traffic of the port.
        Continue = "continue",
    }
}

choices! {
    /// What happens to stolen requests while the local process stands at a breakpoint.
    OnPause {
        /// They wait, for at most `hold`; then the target answers.
        Hold = "hold",
        /// The target answers them.
        Pass = "pass",
        /// They are answered with status 503.
        Unavailable = "503",
    }
}

section! {
    /// Traffic that reaches the target. Short forms: the mode alone, or `false` for `off`.
    Incoming in "feature.network.incoming.", short &[
        Short::Bool { on: &[("mode", "\"mirror\"")], off: &[("mode", "\"off\"")] },
        Short::Child("mode"),
    ];
    /// What happens to traffic that reaches the target.
    now mode: IncomingMode = "\"mirror\"", Shape::OneOf(IncomingMode::CHOICES);
    /// Pairs `[LOCAL, REMOTE]`: traffic to the target's port REMOTE reaches the port LOCAL that the local process
    /// listens on.
    now port_mapping: Vec<PortPair> = "[]", Shape::List(&Shape::Pair(&Shape::PORT));
    /// Pairs `[PORT, LOCAL]`: when the local process listens on PORT, it really listens on LOCAL. For ports that are
    /// taken or not allowed on your machine; at most 16.
    now listen_ports: Vec<PortPair> = "[]", Shape::List(&Shape::Pair(&Shape::PORT));
    /// Ports on which the local process gets nothing. Not together with `ports`.
    now ignore_ports: Vec<u16> = "[]", Shape::PORTS;
    /// The only ports on which the local process gets traffic; all that it listens on if left out.
    now ports: Option<Vec<u16>> = "null", Shape::PORTS;
    /// What the local process listens on at `localhost` only gets no traffic.
    now ignore_localhost: bool = "false", Shape::Bool;
    /// The kubelet's HTTP probes reach the local process too. Else the target answers them, and is not restarted
    /// while the local process stands at a breakpoint.
    now probes: bool = "false", Shape::Bool;
    /// What happens when another session steals the same port already.
    now on_concurrent_steal: OnConcurrentSteal = "\"abort\"", Shape::OneOf(OnConcurrentSteal::CHOICES);
    /// What happens to stolen requests while the local process stands at a breakpoint.
    now on_pause: OnPause = "\"hold\"", Shape::OneOf(OnPause::CHOICES);
    /// How long a request waits for a local process at a breakpoint, in seconds. With an HTTP filter one that it has
    /// begun to receive and not to answer by then is answered with status 504.
    now hold: Duration = "30", Shape::seconds(0, 3600);
    sections { http_filter: HttpFilterConfig }
}

section! {
    /// Steal or mirror only the HTTP requests that match; the local process gets nothing of the others. One kind of
    /// filter only; `all_of`, `any_of` and `not` combine several.
    HttpFilterConfig in "feature.network.incoming.http_filter.", short &[];
    /// Regular expression on each header as `Name: value`, upper and lower case are the same.
    now header_filter: Option<String> = "null", Shape::Text(text::HTTP_REGEX);
    /// Regular expression on the path, and on the path with its query.
    now path_filter: Option<String> = "null", Shape::Text(text::HTTP_REGEX);
    /// HTTP method, such as `GET`.
    now method_filter: Option<String> = "null", Shape::Text(text::METHOD);
    /// Regular expression on the query, without the `?`.
    now query_filter: Option<String> = "null", Shape::Text(text::HTTP_REGEX);
    /// Filters that must all match.
    now all_of: Option<Vec<HttpFilter>> = "null", Shape::List(&Shape::Record("$filter"));
    /// Filters of which one must match.
    now any_of: Option<Vec<HttpFilter>> = "null", Shape::List(&Shape::Record("$filter"));
    /// A filter that must not match.
    now not: Option<HttpFilter> = "null", Shape::Record("$filter");
    /// Ports that are filtered, of the local process or of the target; traffic to the others is taken whole. All ports
    /// if left out.
    now ports: Option<Vec<u16>> = "null", Shape::PORTS;
}

impl HttpFilterConfig {
    /// The one filter that is set, whichever way it is written.
    pub fn filter(&self) -> Option<HttpFilter> {
        let single = |text: &Option<String>, kind: fn(String) -> HttpFilter| text.clone().map(kind);
        single(&self.header_filter, HttpFilter::Header)
            .or_else(|| single(&self.path_filter, HttpFilter::Path))
            .or_else(|| single(&self.method_filter, HttpFilter::Method))
            .or_else(|| single(&self.query_filter, HttpFilter::Query))
            .or_else(|| self.all_of.clone().map(HttpFilter::All))
            .or_else(|| self.any_of.clone().map(HttpFilter::Any))
            .or_else(|| self.not.clone().map(|filter| HttpFilter::Not(Box::new(filter))))
    }
}
