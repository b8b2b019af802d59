//! Questions to name servers: what the pod's servers answer, in the terms of `resolver(3)`.

use libc::c_int;
use protocol::codec;
use protocol::layer::{self, DnsQuestion, DnsReply, MAX_DNS_REPLY, MAX_REQUEST, Request};

use crate::client::{Patience, ask_long};
use crate::interpose::{Stage, guard};
use crate::ops::names::{Answer, Failure, h, unanswered};
use crate::session;
use crate::sys::Errno;

/// Bytes of a message's header (RFC 1035 4.1.1); glibc refuses less room than that.
pub(crate) const HEADER: usize = 12;

/// Longest name of the resolver's functions with its NUL (`arpa/nameser.h`).
const MAXDNAME: usize = 1025;

/// Longest answer in one datagram without extensions (RFC 1035 2.3.4): glibc receives longer ones over TCP.
const DATAGRAM: usize = 512;

/// Room for every name that can be asked.
pub(crate) const NAME_ROOM: usize = 256;

/// How a call fails: `h_errno`, and `errno` where it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) h_errno: c_int,
    pub(crate) errno: Option<Errno>,
}

impl Refusal {
    /// For names that no message can hold.
    pub(crate) const NAME: Self = Self { h_errno: h::NO_RECOVERY, errno: Some(libc::EMSGSIZE) };

    /// For names that the functions do not take.
    pub(crate) const TOO_LONG: Self = Self { h_errno: h::NO_RECOVERY, errno: None };

    /// For answers without room.
    pub(crate) const ROOM: Self = Self { h_errno: h::TRY_AGAIN, errno: Some(libc::EINVAL) };

    /// `h_errno` while a search has found nothing yet, and after it has found something.
    pub(crate) const SEARCHING: c_int = h::HOST_NOT_FOUND;

    pub(crate) fn of_query(failure: Failure) -> Self {
        let errno = match failure {
            Failure::System(errno) => Some(errno),
            Failure::Again => Some(libc::ETIMEDOUT),
            _ => None,
        };
        // What keeps a question from being sent is a state that may pass.
        let h_errno = if matches!(failure, Failure::System(_)) { h::TRY_AGAIN } else { failure.h_errno() };
        Self { h_errno, errno }
    }
}

/// The error of `res_send`.
pub(crate) fn send_errno(failure: Failure) -> Errno {
    match failure {
        Failure::System(errno) => errno,
        Failure::Fail => libc::ECONNREFUSED,
        _ => libc::ETIMEDOUT,
    }
}

/// Asks the pod's servers.
pub(crate) fn query(question: DnsQuestion<'_>) -> Answer<Vec<u8>> {
    let Some(session) = session::get().filter(|session| session.dns) else { return Answer::Native };
    let decode = |body: &[u8]| codec::decode::<DnsReply>(body).ok();
    let request = Request::QueryDns(question);
    let reply = ask_long::<_, MAX_REQUEST>(session, request, Patience::LookUp, MAX_DNS_REPLY, decode);
    guard(Stage::After, Answer::Failed(Failure::System(libc::EIO)), || match reply {
        Ok(layer::Answer::Found(message)) if message.len() < HEADER => Answer::Failed(Failure::Again),
        Ok(layer::Answer::Found(message)) => Answer::Found(message),
        Ok(layer::Answer::Failed(error)) => Answer::Failed(error.into()),
        Ok(layer::Answer::Local) => Answer::Native,
        Err(error) => unanswered(error),
    })
}

/// The name to ask for, if a message can hold it.
pub(crate) fn name(name: &[u8]) -> Result<&str, Refusal> {
    let labels = name.strip_suffix(b".").unwrap_or(name);
    // An escape is longer in the text than in a message; the pod looks at those.
    let fits = |label: &[u8]| (1..64).contains(&label.len()) || label.contains(&b'\\');
    let sound = labels.is_empty() || labels.split(|byte| *byte == b'.').all(fits);
    if !sound || name.len() >= NAME_ROOM {
        return Err(Refusal::NAME);
    }
    core::str::from_utf8(name).map_err(|_| Refusal::NAME)
}

/// The name that `res_querydomain` asks for, written to `room`.
pub(crate) fn joined<'a>(
    name: &[u8],
    domain: Option<&[u8]>,
    room: &'a mut [u8; NAME_ROOM],
) -> Result<&'a [u8], Refusal> {
    let (name, dot, domain): (_, &[u8], _) = match domain {
        None if name.is_empty() || name.len() >= MAXDNAME => return Err(Refusal::TOO_LONG),
        None => (name.strip_suffix(b".").unwrap_or(name), b"", &b""[..]),
        Some(domain) if name.len() + domain.len() + 1 >= MAXDNAME => return Err(Refusal::TOO_LONG),
        Some(domain) => (name, b".", domain),
    };
    let mut used = 0;
    for part in [name, dot, domain] {
        room.get_mut(used..used + part.len()).ok_or(Refusal::NAME)?.copy_from_slice(part);
        used += part.len();
    }
    Ok(room.get(..used).unwrap_or_default())
}

/// How much of an answer goes into `room` bytes, what the call returns, and whether it is marked as cut.
pub(crate) fn fit(length: usize, room: usize) -> (usize, usize, bool) {
    match length <= room {
        true => (length, length, false),
        // As it would have come in a datagram, of which the kernel gives no more.
        false if length <= DATAGRAM => (room, room, false),
        false => (room, length, true),
    }
}

/// Whether glibc goes on to the next server after such an answer, and without one says that none came.
pub(crate) fn is_refused(answer: &[u8]) -> bool {
    const SERVFAIL: u8 = 2;
    const NOTIMP: u8 = 4;
    const REFUSED: u8 = 5;
    matches!(answer.get(3).map(|byte| byte & 0x0f), Some(SERVFAIL | NOTIMP | REFUSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_message_holds_are_refused() {
        let (label, long) = ("x".repeat(64), "a.".repeat(140));
        for (text, sound) in [
            ("", true),
            (".", true),
            ("redis", true),
            ("a.b.", true),
            ("_sip._tcp.x", true),
            ("a..b", false),
            (".a", false),
            ("..", false),
            (label.as_str(), false),
            (&label[1..], true),
            (&long, false),
            (&"a.".repeat(127), true),
        ] {
            assert_eq!(name(text.as_bytes()).is_ok(), sound, "{text}");
        }
        assert!(name(b"\xff").is_err());
    }

    #[test]
    fn a_domain_is_joined_as_glibc_does_it() {
        for (name, domain, expected) in [
            ("a", Some("b.c"), Ok("a.b.c")),
            ("a.", None, Ok("a")),
            ("a", None, Ok("a")),
            ("a", Some(""), Ok("a.")),
            ("", None, Err(Refusal::TOO_LONG)),
            (&"a".repeat(1025), None, Err(Refusal::TOO_LONG)),
            (&"a".repeat(1000), None, Err(Refusal::NAME)),
            ("a", Some(&*"b".repeat(1024)), Err(Refusal::TOO_LONG)),
            ("a", Some(&*"b".repeat(300)), Err(Refusal::NAME)),
        ] {
            let mut room = [0; NAME_ROOM];
            let joined = joined(name.as_bytes(), domain.map(str::as_bytes), &mut room);
            assert_eq!(joined, expected.map(str::as_bytes), "{name} {domain:?}");
        }
    }

    #[test]
    fn an_answer_is_cut_as_glibc_cuts_it() {
        for (length, room, expected) in [
            (100, 100, (100, 100, false)),
            (374, 100, (100, 100, false)),
            (512, 511, (511, 511, false)),
            (513, 512, (512, 513, true)),
            (4488, 12, (12, 4488, true)),
        ] {
            assert_eq!(fit(length, room), expected, "{length} {room}");
        }
    }
}
