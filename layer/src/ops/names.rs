//! Names and addresses: what is asked of the pod, and its answers in the terms of `netdb.h`.

use std::net::IpAddr;

use decide::names::{is_local, is_localhost};
use decide::outgoing::is_loopback;
use libc::c_int;
use protocol::agent::{Families, Named, ResolveError};
use protocol::codec;
use protocol::layer::{self, MAX_REPLY, Request, ResolveReply, ReverseReply};

use crate::client::{AskError, Patience, ask_as};
use crate::interpose::{Stage, guard};
use crate::session::{self, Session};
use crate::sys::{self, Errno};

/// Longest name that is asked (RFC 1035 2.3.4), with a dot at its end.
const LONGEST_NAME: usize = 254;

/// Room for such a name in any form, with a NUL.
pub(crate) const NAME_ROOM: usize = 1025;

/// `EAI_NODATA` of glibc's `netdb.h`, which the `libc` crate lacks.
const EAI_NODATA: c_int = -5;

/// `h_errno`'s values of `netdb.h`.
pub(super) mod h {
    use libc::c_int;
    pub(in crate::ops) const NETDB_INTERNAL: c_int = -1;
    pub(in crate::ops) const HOST_NOT_FOUND: c_int = 1;
    pub(in crate::ops) const TRY_AGAIN: c_int = 2;
    pub(in crate::ops) const NO_RECOVERY: c_int = 3;
    pub(in crate::ops) const NO_DATA: c_int = 4;
}

/// Who answers, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    /// This machine's C library.
    Native,
    /// The pod, with success.
    Found(T),
    /// The pod, with a failure, or nobody.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NoName,
    NoData,
    Again,
    Fail,
    System(Errno),
}

impl Failure {
    /// As `getaddrinfo(3)` and `getnameinfo(3)` return it.
    pub(crate) fn eai(self) -> c_int {
        match self {
            Self::NoName => libc::EAI_NONAME,
            Self::NoData => EAI_NODATA,
            Self::Again => libc::EAI_AGAIN,
            Self::Fail => libc::EAI_FAIL,
            Self::System(_) => libc::EAI_SYSTEM,
        }
    }

    /// As `gethostbyname(3)` leaves it in `h_errno`.
    pub(crate) fn h_errno(self) -> c_int {
        match self {
            Self::NoName => h::HOST_NOT_FOUND,
            Self::NoData => h::NO_DATA,
            Self::Again => h::TRY_AGAIN,
            Self::Fail => h::NO_RECOVERY,
            Self::System(_) => h::NETDB_INTERNAL,
        }
    }

    /// As the `_r` functions return it: a name that is not there is no error of the call.
    pub(crate) fn code(self) -> c_int {
        match self {
            // Only `h_errno` tells these from each other.
            Self::NoName | Self::NoData | Self::Fail => 0,
            Self::Again => libc::EAGAIN,
            Self::System(errno) => errno,
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NoName => Self::NoName,
            ResolveError::NoData => Self::NoData,
            ResolveError::Again => Self::Again,
            ResolveError::Fail => Self::Fail,
            ResolveError::System(errno @ 1..4096) => Self::System(errno),
            ResolveError::System(_) => Self::Fail,
        }
    }
}

/// Whether this machine resolves `name`.
pub(crate) fn is_native(name: &[u8]) -> bool {
    let Some(session) = session::get().filter(|session| session.dns) else { return true };
    let (own, length) = sys::host_name();
    is_local(name, own.get(..length).unwrap_or_default(), session.host_name())
}

/// Which families `getaddrinfo` must be asked for. `None` is none at all.
///
/// `AI_ADDRCONFIG` asks what this machine's sockets can use: IPv6 only where one can reach the host. Where that is
/// not so, glibc does not map addresses either.
pub(crate) fn families(family: c_int, flags: c_int) -> Option<Families> {
    let session = session::get()?;
    let adapts = flags & libc::AI_ADDRCONFIG != 0;
    let has_v6 = if adapts { session.has_v6 } else { session.rules.ipv6 };
    let maps = flags & libc::AI_V4MAPPED != 0 && (has_v6 || !adapts);
    match (family, has_v6) {
        (libc::AF_INET, _) => Some(Families::V4),
        (libc::AF_INET6, true) if maps && flags & libc::AI_ALL != 0 => Some(Families::Both),
        (libc::AF_INET6, true) => Some(Families::V6),
        (libc::AF_INET6, false) => maps.then_some(Families::V4),
        (_, true) => Some(Families::Both),
        (_, false) => Some(Families::V4),
    }
}

/// What a name is in the pod, in the terms of `hostent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// The name behind all aliases.
    pub(crate) canonical: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The addresses that the pod has for `name`, and its canonical name.
pub(crate) fn addresses(name: &[u8], families: Families) -> Answer<Host> {
    let Some((session, name)) = guard(Stage::Before, None, || {
        let name = core::str::from_utf8(name).ok().filter(|name| (1..=LONGEST_NAME).contains(&name.len()))?;
        Some((session::get()?, name))
    }) else {
        return Answer::Failed(Failure::NoName);
    };
    let decode = |body: &[u8]| codec::decode::<ResolveReply>(body).ok();
    let request = Request::Resolve { name, families };
    let reply = ask(session, request, decode);
    guard(Stage::After, Answer::Failed(Failure::System(libc::EIO)), || match reply {
        Ok(layer::Answer::Found(resolved)) if resolved.addresses.is_empty() => Answer::Failed(Failure::NoData),
        Ok(layer::Answer::Found(resolved)) => {
            let protocol::agent::Resolved { addresses, canonical: told, aliases } = resolved;
            Answer::Found(Host { canonical: canonical(name, told), aliases: sound(aliases), addresses })
        }
        Ok(layer::Answer::Failed(error)) => Answer::Failed(error.into()),
        Ok(layer::Answer::Local) => Answer::Native,
        // Loopback stays when the session is lost.
        Err(AskError::Lost) if is_localhost(name.as_bytes()) => Answer::Native,
        Err(error) => unanswered(error),
    })
}

/// Without names that C strings cannot hold.
fn sound(mut aliases: Vec<String>) -> Vec<String> {
    aliases.retain(|alias| !alias.is_empty() && !alias.contains('\0'));
    aliases
}

/// The canonical name, or what was asked where there is none. A C string ends at its first NUL.
fn canonical(asked: &str, told: String) -> String {
    if told.is_empty() || told.contains('\0') {
        return asked.strip_suffix('.').unwrap_or(asked).to_owned();
    }
    told
}

/// The names that the pod has for `address`. Those of this machine's links keep this machine's names.
pub(crate) fn name_of(address: IpAddr) -> Answer<Named> {
    let address = address.to_canonical();
    let link_local = matches!(address, IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfe80);
    let Some(session) = session::get().filter(|session| session.dns && !link_local) else {
        return Answer::Native;
    };
    let decode = |body: &[u8]| codec::decode::<ReverseReply>(body).ok();
    let reply = ask(session, Request::ReverseResolve { address }, decode);
    guard(Stage::After, Answer::Failed(Failure::System(libc::EIO)), || match reply {
        // A C string ends at its first NUL: such a name is nonsense.
        Ok(layer::Answer::Found(Named { name, .. })) if name.is_empty() || name.contains('\0') => {
            Answer::Failed(Failure::Fail)
        }
        Ok(layer::Answer::Found(Named { name, aliases })) => Answer::Found(Named { name, aliases: sound(aliases) }),
        Ok(layer::Answer::Failed(error)) => Answer::Failed(error.into()),
        Ok(layer::Answer::Local) => Answer::Native,
        Err(AskError::Lost) if is_loopback(address) => Answer::Native,
        Err(error) => unanswered(error),
    })
}

fn ask<T>(session: &Session, request: Request<'_>, decode: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, AskError> {
    ask_as::<T, 512, { MAX_REPLY + codec::PREFIX }>(session, request, Patience::LookUp, decode)
}

/// Without a host there is no name service, which is a state that may pass: `EAI_AGAIN`.
pub(super) fn unanswered<T>(error: AskError) -> Answer<T> {
    match error {
        AskError::Sandboxed => Answer::Native,
        AskError::NoDescriptor(errno) => Answer::Failed(Failure::System(errno)),
        AskError::Lost | AskError::Interrupted | AskError::TimedOut => Answer::Failed(Failure::Again),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_canonical_name_it_is_the_one_asked_for() {
        for (asked, told, expected) in [("a", "b.c", "b.c"), ("a", "", "a"), ("a.", "", "a"), ("a", "b\0c", "a")] {
            assert_eq!(canonical(asked, told.to_owned()), expected, "{asked} {told:?}");
        }
    }
}
