//! The addresses of this network namespace's interfaces, asked of the kernel (`rtnetlink(7)`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::scratch;

/// `struct nlmsghdr`, then `struct ifaddrmsg`.
const HEADER: usize = 16;
const BODY: usize = 8;

/// Kinds of messages, their flags, and the attributes of an address (`linux/netlink.h`,
/// `linux/rtnetlink.h`, `linux/if_addr.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An interface's address in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) address: IpAddr,
    /// How many bits of the address are the network's.
    pub(crate) prefix: u8,
}

/// All addresses in the kernel's order. Those of loopback are left out, and link-local ones of IPv6, which
/// mean nothing without the interface's number.
pub(crate) fn all() -> Result<Vec<Interface>, Errno> {
    // No protocol is the first one, `NETLINK_ROUTE`.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::sendto(&socket, &question(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut found = Vec::new();
    // The kernel has its answer ready when the question is sent: this waits for nothing.
    while scratch::with(|buffer| {
        let (_, length) = rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty())?;
        read_answer(buffer.get(..length).ok_or(Errno::MSGSIZE)?, &mut found)
    })? {}
    Ok(found)
}

/// Asks for the addresses of all families.
fn question() -> [u8; HEADER + BODY] {
    let mut message = [0; HEADER + BODY];
    message[..4].copy_from_slice(&((HEADER + BODY) as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message
}

/// Adds the addresses of one datagram to `found`; tells whether more datagrams follow.
fn read_answer(mut bytes: &[u8], found: &mut Vec<Interface>) -> Result<bool, Errno> {
    while let Some((kind, body, rest)) = split_message(bytes) {
        match kind {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let number = body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
                return Err(Errno::from_raw_os_error(number.saturating_neg()));
            }
            RTM_NEWADDR => found.extend(read_interface(body).filter(|found| is_of_the_network(&found.address))),
            _ => {}
        }
        bytes = rest;
    }
    Ok(true)
}

/// Kind and body of the first message, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The interface's own address, which on a point-to-point link is not [`IFA_ADDRESS`].
fn read_interface(body: &[u8]) -> Option<Interface> {
    let [family, prefix, ..] = *body else { return None };
    let own = |address: Option<IpAddr>| address.map(|address| Interface { address, prefix });
    let mut attributes = body.get(BODY..)?;
    let mut found = None;
    while let Some(length) = attributes.first_chunk().map(|length| usize::from(u16::from_ne_bytes(*length))) {
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..length)?;
        let address = match family {
            AF_INET => <[u8; 4]>::try_from(value).ok().map(|octets| Ipv4Addr::from(octets).into()),
            AF_INET6 => <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        };
        match kind {
            IFA_LOCAL => return own(address),
            IFA_ADDRESS => found = address,
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    own(found)
}

fn is_of_the_network(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn address(family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family, 24, 0, 0, 2, 0, 0, 0];
        for (kind, value) in attributes {
            body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        message(RTM_NEWADDR, &body)
    }

    #[test]
    fn every_interfaces_own_address_is_found() {
        let six = |text: &str| text.parse::<Ipv6Addr>().expect("valid").octets();
        let answer = [
            address(AF_INET, &[(IFA_ADDRESS, &[127, 0, 0, 1]), (IFA_LOCAL, &[127, 0, 0, 1]), (3, b"lo\0")]),
            address(AF_INET, &[(3, b"eth0\0"), (IFA_LOCAL, &[10, 0, 0, 7]), (IFA_ADDRESS, &[10, 0, 0, 8])]),
            address(AF_INET6, &[(IFA_ADDRESS, &six("fe80::1"))]),
            address(AF_INET6, &[(IFA_ADDRESS, &six("fd00::7"))]),
            address(7, &[(IFA_ADDRESS, &[1, 2, 3, 4])]),
            address(AF_INET, &[(IFA_ADDRESS, &[1, 2])]),
        ];
        let mut found = Vec::new();
        assert_eq!(read_answer(&answer.concat(), &mut found), Ok(true));
        let own = |address| Interface { address, prefix: 24 };
        assert_eq!(found, [own(IpAddr::from([10, 0, 0, 7])), own(IpAddr::from(six("fd00::7")))]);
        assert_eq!(read_answer(&message(NLMSG_DONE, &[0; 4]), &mut found), Ok(false));
        let refused = Errno::PERM.raw_os_error();
        let error = message(NLMSG_ERROR, &(-refused).to_ne_bytes());
        assert_eq!(read_answer(&error, &mut found), Err(Errno::PERM));
    }

    #[test]
    fn cut_answers_never_panic() {
        let answer = address(AF_INET, &[(3, b"eth0\0"), (IFA_LOCAL, &[10, 0, 0, 7])]);
        for end in 0..answer.len() {
            let mut cut = answer[..end].to_vec();
            assert!(read_answer(&cut, &mut Vec::new()).is_ok());
            cut.resize(answer.len(), 0xff);
            assert!(read_answer(&cut, &mut Vec::new()).is_ok_and(|more| more));
        }
    }

    #[test]
    fn the_kernel_answers() {
        let found = all().expect("answers");
        assert!(found.iter().all(|found| !found.address.is_loopback()), "{found:?}");
    }
}
