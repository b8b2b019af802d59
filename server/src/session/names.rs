//! What the ends of the user's sockets are called in the pod, for as long as the sockets live.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::layer::NamesReply;

use super::closed::Watch;
use super::sock_diag;

/// The names of all sockets of the session.
#[derive(Default)]
pub(super) struct Names {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    names: HashMap<u64, Entry>,
    entries: u64,
}

/// Which names of a socket are meant: one may connect, fail and connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryId(u64);

struct Entry {
    id: EntryId,
    local: Local,
    peer: SocketAddr,
}

/// The own end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// The pod's kernel has said it.
    Known(SocketAddr),
    /// The pod is still connecting.
    Unspecified,
    /// The pod's address with the port of the socket, which is connected to this address on loopback.
    Redirected { address: IpAddr, to: SocketAddr },
}

impl Names {
    /// Names a socket, until it is closed or named again.
    pub(super) fn set(self: &Arc<Self>, mut watch: Watch, local: Local, peer: SocketAddr) -> EntryId {
        let cookie = watch.cookie();
        let mut table = self.table();
        table.entries += 1;
        let id = EntryId(table.entries);
        let known = table.names.insert(cookie, Entry { id, local, peer });
        drop(table);
        if known.is_none() {
            let names = self.clone();
            tokio::spawn(async move {
                watch.closed().await;
                names.table().names.remove(&cookie);
            });
        }
        id
    }

    /// The pod has connected: its own end is known.
    pub(super) fn connected(&self, cookie: u64, id: EntryId, local: SocketAddr) {
        if let Some(entry) = self.table().names.get_mut(&cookie)
            && entry.id == id
        {
            entry.local = Local::Known(local);
        }
    }

    /// What the ends of a socket are called.
    pub(super) fn get(&self, cookie: u64) -> NamesReply {
        let (local, peer) = match self.table().names.get(&cookie) {
            Some(entry) => (entry.local, entry.peer),
            None => return NamesReply::Unknown,
        };
        let local = match local {
            Local::Known(local) => local,
            Local::Unspecified if peer.is_ipv4() => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Local::Unspecified => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            Local::Redirected { address, to } => {
                let port = sock_diag::port_of(cookie, to).ok().flatten();
                SocketAddr::from((address, port.unwrap_or_default()))
            }
        };
        NamesReply::Known { local, peer }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::closed::Closings;
    use rustix::net::sockopt::socket_cookie;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[tokio::test]
    async fn names_live_as_long_as_their_socket_and_the_last_ones_count() {
        let (closings, names) = (Closings::start(), Arc::new(Names::default()));
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let cookie = socket_cookie(&socket).expect("a cookie");
        let [a, b, local] = [1, 2, 3].map(|n| SocketAddr::from(([10, 0, 0, n], 80)));
        let first = names.set(closings.watch(cookie), Local::Unspecified, a);
        let unspecified = SocketAddr::from(([0; 4], 0));
        assert_eq!(names.get(cookie), NamesReply::Known { local: unspecified, peer: a });
        let second = names.set(closings.watch(cookie), Local::Unspecified, b);
        names.connected(cookie, first, a);
        assert_eq!(names.get(cookie), NamesReply::Known { local: unspecified, peer: b });
        names.connected(cookie, second, local);
        assert_eq!(names.get(cookie), NamesReply::Known { local, peer: b });
        let mut watch = closings.watch(cookie);
        drop(socket);
        watch.closed().await;
        while names.get(cookie) != NamesReply::Unknown {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_redirected_socket_has_its_own_port() {
        let (closings, names) = (Closings::start(), Arc::new(Names::default()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let to = listener.local_addr().expect("bound");
        let client = TcpStream::connect(to).expect("connects");
        let cookie = socket_cookie(&client).expect("a cookie");
        let peer = SocketAddr::from(([10, 0, 0, 1], to.port()));
        names.set(closings.watch(cookie), Local::Redirected { address: peer.ip(), to }, peer);
        let local = SocketAddr::new(peer.ip(), client.local_addr().expect("bound").port());
        assert_eq!(names.get(cookie), NamesReply::Known { local, peer });
    }
}
