//! Brings one connection of the pod to the program's listener.
//!
//! A stolen one stays the application's until the program has accepted it: of what waits in a listener's queue the
//! program has seen nothing, so the application can still have it when the program stands at a breakpoint.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use link::{Stream, pump};
use protocol::agent::{Accepted, Arrival, PortMode, Taken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::clients::Entered;
use super::observed::Observed;
use super::requests::Requests;
use super::wishes::STANDS_STILL;
use super::{Incoming, OnPause};
use crate::serve::rpc::Outcome;
use crate::session::board;
use crate::session::brief;
use crate::session::relay;
use crate::session::sock_diag::{self, Acceptance};

/// How often the kernel is asked whether a connection has been accepted: at first, and at last. Programs that do not ask
/// who has connected, as Node, are not heard of otherwise.
const FIRST_LOOK: Duration = Duration::from_micros(60);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// How long a client's first words are awaited, which show whether it speaks HTTP.
const FIRST_WORDS: Duration = Duration::from_millis(200);

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 51\r\n\
    connection: close\r\n\r\nmirror: the local process is paused at a breakpoint";

/// Why the program does not get a connection.
#[derive(Debug)]
pub(super) enum NotDelivered {
    /// It does not listen, or not for such clients.
    Refused,
    /// It has not accepted in time.
    Paused,
}

impl Incoming {
    /// A copy of a connection: nobody waits for it.
    pub(super) async fn deliver_copy(&self, accepted: Accepted, stream: Stream) {
        let Some(to) = self.destination(accepted.local) else { return };
        match self.connect(to, accepted).await {
            Ok((socket, entered)) => {
                relay::copy(socket, stream).await;
                drop(entered);
            }
            Err(error) => tracing::debug!(%to, peer = %accepted.peer, %error, "a copy has no receiver"),
        }
    }

    /// A stolen connection, or one for the requests of filtered ones. Returns why the program does not get it, if it
    /// does not.
    pub(super) async fn deliver(&self, arrival: Arrival, mut stream: Stream) -> Option<NotDelivered> {
        let Arrival { accepted, filtered, .. } = arrival;
        let reached = tokio::select! {
            reached = self.reach(accepted) => reached,
            () = stream.aborted() => return None,
        };
        match reached {
            Ok((socket, entered)) => {
                if stream.write_u8(Taken::ByProgram as u8).await.is_err() {
                    return None;
                }
                let is_taken = match filtered {
                    true => self.requests(arrival).carry(socket, stream).await,
                    false => {
                        self.board.request(board::seen(accepted.local.port(), accepted.peer, Outcome::Local));
                        relay::copy(socket, stream).await;
                        true
                    }
                };
                drop(entered);
                (!is_taken).then_some(NotDelivered::Paused)
            }
            Err(NotDelivered::Paused) if self.wishes().options.on_pause == OnPause::Unavailable => {
                match filtered {
                    true => drop(tell_unavailable(stream).await),
                    false => refuse(stream).await,
                }
                Some(NotDelivered::Paused)
            }
            Err(reason) => {
                self.board.request(board::seen(accepted.local.port(), accepted.peer, Outcome::Passed));
                give_back(stream, &[]).await;
                Some(reason)
            }
        }
    }

    fn requests(&self, arrival: Arrival) -> Requests {
        let Arrival { accepted, mode, .. } = arrival;
        let wishes = self.wishes();
        let untaken = match wishes.options.on_pause {
            OnPause::Unavailable => Taken::Unavailable,
            OnPause::Hold | OnPause::Pass => Taken::Returned,
        };
        let outcome = if mode == PortMode::Mirror { Outcome::Copied } else { Outcome::Local };
        let observed = Observed::new(self.board.clone(), accepted.local.port(), accepted.peer, outcome);
        Requests { patience: wishes.patience(), untaken, observed }
    }

    /// A connection that the program has accepted.
    async fn reach(&self, accepted: Accepted) -> Result<(TcpStream, Entered), NotDelivered> {
        let refused = |error| {
            tracing::debug!(%error, "the program's listener cannot be reached");
            NotDelivered::Refused
        };
        let to = self.destination(accepted.local).ok_or(NotDelivered::Refused)?;
        let (socket, entered) = self.connect(to, accepted).await.map_err(refused)?;
        let source = socket.local_addr().map_err(refused)?;
        tokio::select! {
            () = entered.asked() => Ok((socket, entered)),
            acceptance = accepted_by_kernel(to, source) => match acceptance {
                Acceptance::Gone => Err(NotDelivered::Refused),
                _ => Ok((socket, entered)),
            },
            () = sleep(self.wishes().patience()) => Err(NotDelivered::Paused),
        }
    }

    /// A connection to the program, whose client is known before the program can ask.
    async fn connect(&self, to: SocketAddr, accepted: Accepted) -> io::Result<(TcpStream, Entered)> {
        let (socket, from) = match to {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(self.from)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        socket.bind(SocketAddr::new(from, 0))?;
        let entered = self.clients.enter(socket.local_addr()?, accepted);
        Ok((socket.connect(to).await?, entered))
    }
}

/// Returns once the program has accepted the connection from `source`, or never can.
async fn accepted_by_kernel(to: SocketAddr, source: SocketAddr) -> Acceptance {
    let mut pause = FIRST_LOOK;
    loop {
        let looked = brief::sleep(pause).await.and_then(|()| sock_diag::acceptance(to, source));
        pause = LAST_LOOK.min(pause * 2);
        match looked {
            Ok(Acceptance::Waiting) => {}
            Ok(acceptance) => return acceptance,
            Err(error) => {
                tracing::warn!(%source, %error, "the kernel does not tell whether a connection is accepted");
                return Acceptance::Accepted;
            }
        }
    }
}

/// The agent answers the request.
async fn tell_unavailable(mut stream: Stream) -> io::Result<()> {
    stream.write_u8(Taken::Unavailable as u8).await?;
    stream.shutdown().await
}

/// The application gets the connection, with all that has come of it: `read`, and what still comes.
async fn give_back(stream: Stream, read: &[u8]) {
    let (reader, mut writer) = tokio::io::split(stream);
    let given_back = async {
        writer.write_u8(Taken::Returned as u8).await?;
        writer.write_all(read).await?;
        pump(reader, writer, |_| {}).await
    };
    if let Err(error) = given_back.await {
        tracing::debug!(%error, "a connection could not be given back");
    }
}

/// Says that the program is paused, to clients that speak HTTP; the application gets the others.
async fn refuse(mut stream: Stream) {
    let mut words = Vec::with_capacity(1024);
    let read = timeout(FIRST_WORDS, stream.read_buf(&mut words)).await;
    if !speaks_http(&words) {
        return give_back(stream, &words).await;
    }
    tracing::debug!(?read, "answered in the place of a paused program");
    let refused = async {
        stream.write_u8(Taken::ByProgram as u8).await?;
        stream.write_all(UNAVAILABLE.as_bytes()).await?;
        stream.shutdown().await?;
        // The end of the client: a reset before might take the answer away from it.
        timeout(STANDS_STILL, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await.unwrap_or(Ok(0))
    };
    if let Err(error) = refused.await {
        tracing::debug!(%error, "a refusal was not delivered");
    }
}

/// Whether a request line of HTTP/1 begins here: a method in capital letters and a space (RFC 9112 3).
fn speaks_http(words: &[u8]) -> bool {
    let method = words.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (3..=16).contains(&method) && words.get(method) == Some(&b' ')
}

/// Where to reach one of the listeners: that of the family which the client has used, if there is one. An IPv4
/// listener has no way to name a client that uses IPv6.
pub(super) fn destination(bound: &[SocketAddr], used: SocketAddr) -> Option<SocketAddr> {
    let used_v4 = used.ip().to_canonical().is_ipv4();
    let fits = |address: &&SocketAddr| address.ip().to_canonical().is_ipv4() == used_v4;
    let unspecified_six = |address: &&SocketAddr| address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let six = |address: &&SocketAddr| address.is_ipv6();
    let chosen = bound.iter().find(fits).or_else(|| bound.iter().find(unspecified_six));
    let chosen = chosen.or_else(|| bound.iter().find(six)).copied()?;
    let ip = match chosen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // It takes IPv4 too, unless it was told not to.
        IpAddr::V6(ip) if ip.is_unspecified() && used_v4 => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(decide::outgoing::unmapped(SocketAddr::new(ip, chosen.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_the_programs_place_has_the_length_that_it_says() {
        let (head, body) = UNAVAILABLE.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }

    #[test]
    fn requests_begin_with_a_method() {
        for (words, is_request) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"OPTIONS * HTTP/1.1", true),
            (b"GET", false),
            (b"get / HTTP/1.1", false),
            (b"\x16\x03\x01", false),
            (b"", false),
        ] {
            assert_eq!(speaks_http(words), is_request, "{words:?}");
        }
    }

    #[test]
    fn a_listener_is_reached_over_the_clients_family_where_it_can_be() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (four, six) = (address("10.0.0.1:80"), address("[fd00::1]:80"));
        for (bound, used, to) in [
            (vec!["0.0.0.0:8080"], four, Some("127.0.0.1:8080")),
            (vec!["0.0.0.0:8080"], six, None),
            (vec!["[::]:8080"], four, Some("127.0.0.1:8080")),
            (vec!["[::]:8080"], six, Some("[::1]:8080")),
            (vec!["[::1]:8080", "127.0.0.1:8080"], four, Some("127.0.0.1:8080")),
            (vec!["127.0.0.1:8080", "[::1]:8080"], six, Some("[::1]:8080")),
            (vec!["[::1]:8080"], four, Some("[::1]:8080")),
            (vec!["[::ffff:127.0.0.1]:8080"], four, Some("127.0.0.1:8080")),
            (vec!["192.168.1.5:8080"], four, Some("192.168.1.5:8080")),
            (vec![], four, None),
        ] {
            let bound: Vec<_> = bound.into_iter().map(address).collect();
            assert_eq!(destination(&bound, used), to.map(address), "{bound:?} {used}");
        }
    }
}
