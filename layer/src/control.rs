//! Control data of messages (`cmsg(3)`) without any pointer.

use libc::{IP_PKTINFO, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO};

/// Bytes of a `struct cmsghdr`: its length with the header, level and type.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Copies `control` into `room` without what names the datagram's source or interface (`ip(7)`, `ipv6(7)`): the
/// way to a relay has neither. The number of bytes; `None` if nothing of the kind is there, or if it is not
/// well-formed or has no room, which then is the kernel's to judge.
pub(crate) fn without_source(control: &[u8], room: &mut [u8]) -> Option<usize> {
    let (mut rest, mut used, mut found) = (control, 0, false);
    while let Some((length, level, kind)) = header(rest) {
        if length < HEADER || length > rest.len() {
            return None;
        }
        // The last one need not be filled up to a whole word.
        let (whole, more) = rest.split_at(length.next_multiple_of(size_of::<usize>()).min(rest.len()));
        if matches!((level, kind), (IPPROTO_IP, IP_PKTINFO) | (IPPROTO_IPV6, IPV6_PKTINFO)) {
            found = true;
        } else {
            room.get_mut(used..used + whole.len())?.copy_from_slice(whole);
            used += whole.len();
        }
        rest = more;
    }
    found.then_some(used)
}

fn header(bytes: &[u8]) -> Option<(usize, i32, i32)> {
    let length = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(12..)?.first_chunk()?);
    Some((length, level, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = (HEADER + data.len()).to_ne_bytes();
        let mut bytes = [&length[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn filtered(control: &[u8]) -> Option<Vec<u8>> {
        let mut room = [0; 128];
        without_source(control, &mut room).map(|used| room[..used].to_vec())
    }

    #[test]
    fn sources_are_taken_out_and_the_rest_stays() {
        let segment = entry(libc::SOL_UDP, libc::UDP_SEGMENT, &[1, 2]);
        let tos = entry(IPPROTO_IP, libc::IP_TOS, &[3, 0, 0, 0]);
        let (v4, v6) = (entry(IPPROTO_IP, IP_PKTINFO, &[7; 12]), entry(IPPROTO_IPV6, IPV6_PKTINFO, &[7; 20]));
        assert_eq!(filtered(&[&tos[..], &v4, &segment].concat()), Some([&tos[..], &segment].concat()));
        assert_eq!(filtered(&[&v6[..], &v4].concat()), Some(vec![]));
        assert_eq!(filtered(&[&tos[..], &v4[..HEADER + 12]].concat()), Some(tos.clone()), "without padding");
        assert_eq!(filtered(&[&tos[..], &segment].concat()), None);
        assert_eq!(filtered(&[]), None);
    }

    #[test]
    fn nonsense_is_the_kernels() {
        let v4 = entry(IPPROTO_IP, IP_PKTINFO, &[7; 12]);
        for length in [0, 1, HEADER - 1, 500, usize::MAX] {
            let bad = [&v4[..], &length.to_ne_bytes(), &[0; 8]].concat();
            assert_eq!(filtered(&bad), None, "{length}");
        }
        assert_eq!(filtered(&[&v4[..], &entry(1, 1, &[0; 200])].concat()), None, "no room");
    }
}
