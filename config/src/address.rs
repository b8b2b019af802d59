//! Address filters: which outgoing connections or names go which way.
//!
//! Parsed here once; the server lowers them into the tables of the layer. It must not know about configuration
//! keys, and it resolves nothing.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One filter, written `[tcp://|udp://][NAME|IP|IP/PREFIX][:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressFilter {
    /// Transport it is limited to, if any.
    pub transport: Option<Transport>,
    /// What it is compared with.
    pub host: Host,
    /// Port it is limited to, if any.
    pub port: Option<u16>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The host part of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Host {
    /// Every host.
    Any,
    /// A name as the program asks for it, in lower case; `*.` in front takes every name below.
    Name(String),
    /// An address with the number of leading bits that count.
    Subnet(IpAddr, u8),
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The part before `://` is unknown.
    #[error("begins with `{0}://`: only tcp:// and udp:// are known")]
    Transport(String),
    /// Nothing is left to compare.
    #[error("is empty: write a name, an address, a subnet such as 10.0.0.0/8, or a port such as :5432")]
    Empty,
    /// The port is no number from 1 to 65535 (0 is every port).
    #[error("has the port `{0}`: write a number from 1 to 65535")]
    Port(String),
    /// The part after the slash does not fit the address.
    #[error("has the prefix length `{0}`: 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Prefix(String),
    /// Neither a name nor an address.
    #[error("has the host `{0}`, which is neither an address nor a name")]
    Host(String),
}

impl FromStr for AddressFilter {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (transport, rest) = match text.trim().split_once("://") {
            None => (None, text.trim()),
            Some(("tcp", rest)) => (Some(Transport::Tcp), rest),
            Some(("udp", rest)) => (Some(Transport::Udp), rest),
            Some((other, _)) => return Err(AddressError::Transport(other.to_owned())),
        };
        let (host, port) = split_port(rest);
        let port = match port {
            None => None,
            Some(port) => {
                let number: u16 = port.parse().map_err(|_| AddressError::Port(port.to_owned()))?;
                (number != 0).then_some(number)
            }
        };
        if host.is_empty() && port.is_none() && transport.is_none() {
            return Err(AddressError::Empty);
        }
        Ok(Self { transport, host: parse_host(host)?, port })
    }
}

/// Cuts `:PORT` off, where the colon is not a part of an IPv6 address.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(end) = text.rfind(']') {
        let (host, port) = text.split_at(end + 1);
        return (host, port.strip_prefix(':'));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if text.is_empty() || text == "*" {
        return Ok(Host::Any);
    }
    // Both [fd00::]/8 and [fd00::/8] are written.
    let unwrapped = match text.strip_prefix('[').map(|inner| inner.split_once(']')) {
        None => text.to_owned(),
        Some(Some((inner, after))) => format!("{inner}{after}"),
        Some(None) => return Err(AddressError::Host(text.to_owned())),
    };
    let (bare, prefix) = match unwrapped.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (unwrapped.as_str(), None),
    };
    if let Ok(address) = bare.parse::<IpAddr>() {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match prefix {
            None => longest,
            Some(prefix) => {
                let wrong = || AddressError::Prefix(prefix.to_owned());
                prefix.parse().ok().filter(|length| *length <= longest).ok_or_else(wrong)?
            }
        };
        return Ok(Host::Subnet(address, length));
    }
    let name = text.to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let looks_like_address = plain.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain.is_empty() || name.len() > 253 || looks_like_address || !plain.chars().all(inside) {
        return Err(AddressError::Host(text.to_owned()));
    }
    Ok(Host::Name(name))
}

impl fmt::Display for AddressFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Some(Transport::Tcp) => f.write_str("tcp://")?,
            Some(Transport::Udp) => f.write_str("udp://")?,
            None => {}
        }
        match &self.host {
            Host::Any => {}
            Host::Name(name) => f.write_str(name)?,
            Host::Subnet(address @ IpAddr::V6(_), length) => write!(f, "[{address}/{length}]")?,
            Host::Subnet(address, length) => write!(f, "{address}/{length}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_filters_show_in_their_long_form() {
        let cases = [
            ("db.default", "db.default"),
            ("*.svc.cluster.local:80", "*.svc.cluster.local:80"),
            ("tcp://10.0.0.0/8:5432", "tcp://10.0.0.0/8:5432"),
            ("1.2.3.4", "1.2.3.4/32"),
            ("udp://:53", "udp://:53"),
            (":0", "*"),
            ("::1", "[::1/128]"),
            ("[::1]:80", "[::1/128]:80"),
            ("[fd00::/8]:80", "[fd00::/8]:80"),
            ("fd00::/8", "[fd00::/8]"),
        ];
        for (text, expected) in cases {
            match text.parse::<AddressFilter>() {
                Ok(filter) => {
                    let shown = filter.to_string();
                    assert_eq!(shown, expected, "{text}");
                    assert_eq!(shown.parse(), Ok(filter), "{text}");
                }
                Err(error) => assert_eq!((text, error), (":0", AddressError::Empty)),
            }
        }
    }

    #[test]
    fn bad_filters_say_why() {
        for text in ["", "http://x", "x:99999", "10.0.0.0/33", "::1/129", "a b", "300.1.1.1", "x/8", "[::1", "*."] {
            assert!(text.parse::<AddressFilter>().is_err(), "{text}");
        }
    }
}
