//! Socket addresses as the kernel's bytes, both ways, without any pointer: `ip(7)`, `ipv6(7)`, `unix(7)`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use decide::outgoing::{mapped, unmapped};
use libc::{AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};

/// Room for any internet address (`struct sockaddr_in6` is the largest).
pub(crate) const ROOM: usize = 28;

/// Room for the name of a Unix socket (`struct sockaddr_un`).
pub(crate) const UNIX_ROOM: usize = 110;

/// Bytes of `struct sockaddr_in`.
const V4: usize = 16;

/// Bytes that the kernel demands of a `struct sockaddr_in6`: the scope at its end came later (RFC 2133).
const V6_MINIMUM: usize = 24;

/// A `struct sockaddr_in`, `sockaddr_in6` or `sockaddr_un` as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoded {
    bytes: [u8; UNIX_ROOM],
    length: usize,
}

impl Encoded {
    /// No address.
    pub(crate) const NONE: Self = Self { bytes: [0; UNIX_ROOM], length: 0 };

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Reads an address; `None` for other families and for lengths that the kernel refuses.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    match i32::from(family) {
        AF_INET => decode_v4(bytes),
        AF_INET6 if bytes.len() >= V6_MINIMUM => {
            let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
            let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = bytes.get(24..).and_then(<[u8]>::first_chunk).map_or(0, |scope| u32::from_ne_bytes(*scope));
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
        }
        _ => None,
    }
}

/// Reads a `struct sockaddr_in` whose family is `AF_UNSPEC`.
pub(crate) fn decode_without_family(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    if i32::from(family) == AF_UNSPEC { decode_v4(bytes) } else { None }
}

fn decode_v4(bytes: &[u8]) -> Option<SocketAddr> {
    if bytes.len() < V4 {
        return None;
    }
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
    Some(SocketAddr::from((Ipv4Addr::from(ip), port)))
}

/// Writes an address for a socket of the family that `address` has.
pub(crate) fn encode(address: SocketAddr) -> Encoded {
    let mut bytes = [0; UNIX_ROOM];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    let length = match address {
        SocketAddr::V4(v4) => {
            bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            V4
        }
        SocketAddr::V6(v6) => {
            bytes[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            ROOM
        }
    };
    Encoded { bytes, length }
}

/// Writes `address` for a socket that names its addresses in the form of `form`; `None` where it cannot be
/// said in that form.
pub(crate) fn in_form_of(form: SocketAddr, address: SocketAddr) -> Option<Encoded> {
    let address = match (form, unmapped(address)) {
        (SocketAddr::V4(_), address @ SocketAddr::V4(_)) => address,
        (SocketAddr::V4(_), SocketAddr::V6(_)) => return None,
        (SocketAddr::V6(_), SocketAddr::V4(address)) => mapped(address),
        (SocketAddr::V6(_), address @ SocketAddr::V6(_)) => address,
    };
    Some(encode(address))
}

/// Writes the abstract name of a Unix socket, given without its leading NUL; `None` if it is too long.
pub(crate) fn encode_abstract(name: &[u8]) -> Option<Encoded> {
    const START: usize = 3;
    let (mut bytes, length) = ([0; UNIX_ROOM], START + name.len());
    bytes[..2].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
    bytes.get_mut(START..length)?.copy_from_slice(name);
    Some(Encoded { bytes, length })
}

/// Writes the name of a Unix socket as the kernel does: a path with its NUL, or an abstract name with its leading one.
pub(crate) fn encode_unix(name: &[u8]) -> Option<Encoded> {
    const START: usize = 2;
    let (mut bytes, end) = ([0; UNIX_ROOM], START + name.len());
    bytes[..START].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
    bytes.get_mut(START..end)?.copy_from_slice(name);
    let is_path = name.first().is_some_and(|byte| *byte != 0);
    let length = end + usize::from(is_path && end < UNIX_ROOM);
    Some(Encoded { bytes, length })
}

/// What a program says in the bytes of a `struct sockaddr_un`: a path without its NUL, or an abstract name with
/// its leading one. `None` for other families and for no name.
pub(crate) fn decode_unix(bytes: &[u8]) -> Option<&[u8]> {
    let (family, name) = bytes.split_first_chunk()?;
    if i32::from(u16::from_ne_bytes(*family)) != AF_UNIX {
        return None;
    }
    match name.first()? {
        0 => Some(name),
        _ => name.split(|byte| *byte == 0).next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["10.1.2.3:80", "[fd00::1]:443", "[::ffff:10.0.0.1]:1", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(decode(encode(address).as_bytes()), Some(address));
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 7, 3));
        assert_eq!(decode(encode(scoped).as_bytes()), Some(scoped));
    }

    #[test]
    fn addresses_take_the_form_of_a_socket() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (v4, v6) = (at("10.0.0.1:80"), at("[fd00::1]:80"));
        assert_eq!(in_form_of(v4, at("[::ffff:10.0.0.1]:80")), Some(encode(v4)));
        assert_eq!(in_form_of(v6, v4), Some(encode(at("[::ffff:10.0.0.1]:80"))));
        assert_eq!(in_form_of(v6, v6), Some(encode(v6)));
        assert_eq!(in_form_of(v4, v6), None);
    }

    #[test]
    fn names_of_unix_sockets_are_read_and_written() {
        let family = (AF_UNIX as u16).to_ne_bytes();
        let read = |name: &[u8]| decode_unix(&[&family, name].concat()).map(<[u8]>::to_vec);
        assert_eq!(read(b"/run/a\0garbage").as_deref(), Some(&b"/run/a"[..]));
        assert_eq!(read(b"/run/a").as_deref(), Some(&b"/run/a"[..]));
        assert_eq!(read(b"\0a\0b").as_deref(), Some(&b"\0a\0b"[..]));
        assert_eq!((read(b""), decode_unix(&[2, 0, 1])), (None, None));
        let name = encode_abstract(b"relay").expect("fits");
        assert_eq!(decode_unix(name.as_bytes()), Some(&b"\0relay"[..]));
        assert!(encode_abstract(&[1; 107]).is_some() && encode_abstract(&[1; 108]).is_none());
        for (name, length) in [(&b"/run/a"[..], 9), (b"\0a", 4)] {
            let encoded = encode_unix(name).expect("fits");
            assert_eq!((decode_unix(encoded.as_bytes()), encoded.as_bytes().len()), (Some(name), length));
        }
        assert!(encode_unix(&[1; 109]).is_none());
    }

    #[test]
    fn an_address_without_a_family_is_an_ipv4_one() {
        let v4 = SocketAddr::from(([10, 0, 0, 1], 80));
        let mut bytes = [0; ROOM];
        bytes[..V4].copy_from_slice(encode(v4).as_bytes());
        assert_eq!(decode_without_family(&bytes), None, "it has one");
        bytes[..2].copy_from_slice(&(AF_UNSPEC as u16).to_ne_bytes());
        assert_eq!((decode_without_family(&bytes), decode(&bytes)), (Some(v4), None));
        assert_eq!(decode_without_family(&bytes[..V4]), Some(v4));
        assert_eq!(decode_without_family(&bytes[..V4 - 1]), None);
    }

    #[test]
    fn short_and_foreign_addresses_are_none() {
        let v4 = encode(SocketAddr::from(([10, 0, 0, 1], 80)));
        let v6 = encode(SocketAddr::from(([1u16; 8], 80)));
        for length in 0..16 {
            assert_eq!(decode(&v4.as_bytes()[..length]), None, "{length}");
            assert_eq!(decode(&v6.as_bytes()[..length]), None, "{length}");
        }
        assert!(decode(&v6.as_bytes()[..24]).is_some(), "without the scope");
        assert_eq!(decode(&[1, 0, b'/', b't', b'm', b'p', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
