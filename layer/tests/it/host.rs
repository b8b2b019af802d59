//! `FakeHost`: the session host's side of `protocol::layer`, scripted, over a real abstract socket and real
//! relay listeners.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use protocol::agent::{Named, ResolveError, Resolved};
use protocol::codec;
use protocol::layer::{
    Answer, AttachReply, ChangeReply, ConnectReply, DnsQuestion, FileReply, FileRules, Message, NamesReply, Over,
    PodFile, Request, Settings, Token,
};
use protocol::layer::{UdpPeerReply, UdpReply, UnixReply};

pub(crate) use crate::asked::Asked;

/// What the host does about it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Accept the connection on the relay and join it with this server.
    Relay(SocketAddr),
    /// The connect fails.
    Failed(i32),
    Connect(ConnectReply),
    Done,
    /// 0, or what fails.
    Errno(i32),
    Udp(UdpReply),
    UdpPeer(UdpPeerReply),
    /// An abstract name, or what else [`UnixReply`] can be.
    UnixRelay(Vec<u8>),
    Unix(UnixReply<'static>),
    Settings(Settings),
    /// The process takes part under this host name.
    Named(&'static str),
    /// The process is left alone.
    Skipped,
    Names(NamesReply),
    /// The process takes part with these rules for files: the table's descriptor and size, and the shadow.
    Files(u32, u32, &'static [u8], Option<u64>),
    Change(ChangeReply<'static>),
    File(FileReply<'static>),
    Addresses(Result<Vec<IpAddr>, ResolveError>),
    /// As `Addresses`, with the canonical name.
    Resolved(Vec<IpAddr>, &'static str, &'static [&'static str]),
    Name(Result<String, ResolveError>),
    /// A name server's answer.
    Dns(Result<Vec<u8>, ResolveError>),
    /// This machine answers the question about a name.
    LocalName,
    /// These bytes, whatever they mean.
    Bytes(Vec<u8>),
    /// Nothing, until the layer gives up.
    Silence,
    /// The end of the stream.
    Hangup,
    /// What the host does by itself.
    Default,
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The pod-side end of the nth connection.
pub(crate) fn pod_end(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 244, 0, 9], 40_000 + n))
}

pub(crate) struct FakeHost {
    name: String,
    relays: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

struct Shared {
    token: Token,
    settings: Settings,
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    news: Condvar,
    expected: Mutex<VecDeque<SocketAddr>>,
    names: Mutex<HashMap<u64, (SocketAddr, SocketAddr)>>,
    connections: AtomicU16,
    closed: Mutex<bool>,
}

/// Poisoning only says that another test thread failed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl FakeHost {
    /// A host that follows `script`; each test has its own name and relay network.
    pub(crate) fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_settings(|_| {}, script)
    }

    pub(crate) fn with_settings(
        change: impl FnOnce(&mut Settings),
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mirror-layer-test-{}-{number}", std::process::id());
        let relay_v4 = TcpListener::bind((Ipv4Addr::new(127, 77, (number % 250) as u8, 1), 0)).expect("relay");
        let relay_v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let v4 = |address| match address {
            SocketAddr::V4(v4) => v4,
            SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        };
        let v6 = |address| match address {
            SocketAddr::V6(v6) => v6,
            SocketAddr::V4(_) => unreachable!("bound to IPv6"),
        };
        let mut settings = Settings {
            relay_v4: v4(relay_v4.local_addr().expect("bound")),
            relay_v6: relay_v6.as_ref().map(|relay| v6(relay.local_addr().expect("bound"))),
            pod: Some(Ipv4Addr::new(10, 244, 0, 9)),
            outgoing_tcp: true,
            outgoing_udp: false,
            unix: false,
            incoming: false,
            listen_ports: [(0, 0); 16],
            ignore_localhost: true,
            dns: true,
            ipv6: true,
            files: [PodFile::Local; 4],
            host: std::process::id(),
        };
        change(&mut settings);
        let shared = Arc::new(Shared {
            token: Token([number as u8; 16]),
            settings,
            script: Box::new(script),
            asked: Mutex::default(),
            news: Condvar::new(),
            expected: Mutex::default(),
            names: Mutex::default(),
            connections: AtomicU16::new(0),
            closed: Mutex::new(false),
        });
        let address = UnixAddress::from_abstract_name(&name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("abstract socket");
        serve(shared.clone(), move || listener.accept().map(|(stream, _)| stream), Shared::answer);
        let mut relays = Vec::new();
        for relay in [Some(relay_v4), relay_v6].into_iter().flatten() {
            relays.push(relay.local_addr().expect("bound"));
            serve(shared.clone(), move || relay.accept().map(|(stream, _)| stream), Shared::relay);
        }
        Self { name, relays, shared }
    }

    /// Value of the session variable.
    pub(crate) fn session(&self) -> String {
        // SAFETY: geteuid(2) cannot fail.
        let uid = unsafe { libc::geteuid() };
        let session = protocol::layer::Session { name: self.name.as_bytes(), uid, token: self.shared.token };
        String::from_utf8(protocol::layer::session_value(&session)).expect("plain text")
    }

    /// Everything that was asked until now, without the attachments.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).iter().filter(|asked| !matches!(asked, Asked::Attach { .. })).cloned().collect()
    }

    pub(crate) fn attached(&self) -> Vec<String> {
        let name = |asked: &Asked| match asked {
            Asked::Attach { program, .. } => Some(String::from_utf8_lossy(program).into_owned()),
            _ => None,
        };
        lock(&self.shared.asked).iter().filter_map(name).collect()
    }

    /// The executables of the attached processes.
    pub(crate) fn executables(&self) -> Vec<String> {
        let path = |asked: &Asked| match asked {
            Asked::Attach { executable, .. } => Some(String::from_utf8_lossy(executable).into_owned()),
            _ => None,
        };
        lock(&self.shared.asked).iter().filter_map(path).collect()
    }

    /// Waits until something is asked.
    pub(crate) fn wait_for(&self, wanted: impl Fn(&Asked) -> bool) {
        let asked = lock(&self.shared.asked);
        let missing = |asked: &mut Vec<Asked>| !asked.iter().any(&wanted);
        let (_asked, timeout) = self
            .shared
            .news
            .wait_timeout_while(asked, Duration::from_secs(180), missing)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "was never asked");
    }

    /// Dies: the sockets close, also those of requests under way.
    pub(crate) fn die(&self) {
        *lock(&self.shared.closed) = true;
        // Wakes the three accepting threads, which then leave and close their listeners.
        if let Ok(address) = UnixAddress::from_abstract_name(&self.name) {
            let _ = UnixStream::connect_addr(&address);
        }
        for relay in &self.relays {
            let _ = TcpStream::connect(relay);
        }
        self.shared.news.notify_all();
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.die();
    }
}

/// Accepts until the host is dead; one thread per connection.
fn serve<S: Send + 'static>(
    shared: Arc<Shared>,
    accept: impl Fn() -> std::io::Result<S> + Send + 'static,
    handle: fn(&Shared, S),
) {
    thread::spawn(move || {
        while let Ok(stream) = accept() {
            if *lock(&shared.closed) {
                return;
            }
            let shared = shared.clone();
            thread::spawn(move || handle(&shared, stream));
        }
    });
}

impl Shared {
    fn answer(&self, mut stream: UnixStream) {
        let Some(asked) = self.read(&mut stream) else { return };
        // Before the news, so that whoever waits for them finds the relay ready.
        let reply = match (self.script)(&asked) {
            Reply::Default => self.default_reply(&asked),
            reply => reply,
        };
        lock(&self.asked).push(asked.clone());
        self.news.notify_all();
        let bytes = match reply {
            Reply::Relay(server) => {
                self.announce(&asked);
                lock(&self.expected).push_back(server);
                codec::encode(&ConnectReply::Relay(self.relay_for(&asked)))
            }
            Reply::Failed(errno) => codec::encode(&ConnectReply::Failed(errno)),
            Reply::Connect(connect) => {
                if matches!(connect, ConnectReply::Park(_)) {
                    self.announce(&asked);
                }
                codec::encode(&connect)
            }
            Reply::Done => codec::encode(&()),
            Reply::Errno(errno) => codec::encode(&errno),
            Reply::Udp(udp) => {
                if matches!(udp, UdpReply::Relay(_)) {
                    self.announce(&asked);
                }
                codec::encode(&udp)
            }
            Reply::UdpPeer(peer) => codec::encode(&peer),
            Reply::UnixRelay(name) => codec::encode(&UnixReply::Relay(&name)),
            Reply::Unix(unix) => codec::encode(&unix),
            Reply::Settings(settings) => codec::encode(&AttachReply::Member { settings, host_name: None, files: None }),
            Reply::Files(table, size, shadow, written_on) => codec::encode(&AttachReply::Member {
                settings: self.settings,
                host_name: None,
                files: Some(FileRules { table, size, shadow, largest: 100, written_on }),
            }),
            Reply::File(file) => codec::encode(&file),
            Reply::Change(change) => codec::encode(&change),
            Reply::Named(name) => {
                codec::encode(&AttachReply::Member { settings: self.settings, host_name: Some(name), files: None })
            }
            Reply::Skipped => codec::encode(&AttachReply::Skipped),
            Reply::Names(names) => codec::encode(&names),
            Reply::Addresses(addresses) => {
                let found =
                    addresses.map(|addresses| Resolved { addresses, canonical: String::new(), aliases: Vec::new() });
                codec::encode(&answered(found))
            }
            Reply::Resolved(addresses, canonical, aliases) => {
                let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
                codec::encode(&Answer::Found(Resolved { addresses, canonical: canonical.to_owned(), aliases }))
            }
            Reply::Name(name) => {
                let mut names = name.map(|names| names.split(' ').map(str::to_owned).collect::<Vec<_>>());
                let named = names.as_mut().map(|names| Named { name: names.remove(0), aliases: std::mem::take(names) });
                codec::encode(&answered(named.map_err(|error| error.clone())))
            }
            Reply::Dns(message) => codec::encode(&answered(message)),
            // The same bytes, whatever the answer would be of.
            Reply::LocalName => codec::encode(&Answer::<()>::Local),
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Silence => return self.wait_for_end(&mut stream),
            Reply::Hangup | Reply::Default => return,
        };
        let _ = stream.write_all(&bytes.expect("encodes"));
    }

    fn read(&self, stream: &mut UnixStream) -> Option<Asked> {
        let mut prefix = [0; codec::PREFIX];
        let passed = crate::passing::receive(stream, &mut prefix)?;
        let mut body = vec![0; codec::length(prefix).ok()?];
        stream.read_exact(&mut body).ok()?;
        let message: Message<'_> = codec::decode(&body).ok()?;
        (message.token == self.token).then_some(())?;
        Some(match message.request {
            Request::Attach { program, executable } => {
                Asked::Attach { program: program.to_vec(), executable: executable.to_vec() }
            }
            Request::Environment => Asked::Environment,
            Request::Connect { cookie, destination, source_port, from_loopback, over, nonblocking } => {
                Asked::Connect { cookie, destination, source_port, from_loopback, over, nonblocking }
            }
            Request::Parked { cookie, local } => Asked::Parked { cookie, local },
            Request::Failure { cookie } => Asked::Failure { cookie },
            Request::Udp { cookie, peer, local, source_port, from_loopback, over, connect } => {
                let passed = passed.map(|socket| crate::passing::cookie(&socket) == cookie);
                Asked::Udp { cookie, peer, local, source_port, from_loopback, over, connect, passed }
            }
            Request::UdpPeer { relay } => Asked::UdpPeer { relay },
            Request::Unix { address, kind } => Asked::Unix { address: address.to_vec(), kind },
            Request::Listen { cookie, bound } => Asked::Listen { cookie, bound },
            Request::Names { cookie, peer } => Asked::Names { cookie, peer },
            Request::Resolve { name, families } => Asked::Resolve { name: name.to_owned(), families },
            Request::ReverseResolve { address } => Asked::Reverse { address },
            Request::ChangeFile { path, change } => {
                Asked::ChangeFile { path: path.to_vec(), change: format!("{change:?}") }
            }
            Request::Settle { inode, durable } => Asked::Settle { inode, durable },
            Request::File { path, follow, purpose } => Asked::File { path: path.to_vec(), follow, purpose },
            Request::QueryDns(DnsQuestion::Message(message)) => Asked::Message(message.to_vec()),
            Request::QueryDns(DnsQuestion::Records { name, class, kind, search }) => {
                Asked::Records { name: name.to_owned(), class, kind, search }
            }
        })
    }

    fn default_reply(&self, asked: &Asked) -> Reply {
        match asked {
            Asked::Attach { .. } => Reply::Settings(self.settings),
            Asked::Connect { .. } => Reply::Failed(libc::EHOSTUNREACH),
            Asked::Names { cookie, .. } => Reply::Names(match lock(&self.names).get(cookie) {
                Some(&(local, peer)) => NamesReply::Known { local, peer },
                None => NamesReply::Unknown,
            }),
            Asked::Environment => Reply::Hangup,
            Asked::Parked { .. } => Reply::Done,
            Asked::Listen { .. } | Asked::Failure { .. } => Reply::Errno(0),
            Asked::Udp { .. } => Reply::Udp(UdpReply::Failed(libc::EHOSTUNREACH)),
            Asked::UdpPeer { .. } => Reply::UdpPeer(UdpPeerReply::Unknown),
            Asked::Unix { .. } => Reply::Unix(UnixReply::Local),
            Asked::Resolve { .. } => Reply::Addresses(Err(ResolveError::NoName)),
            Asked::Reverse { .. } => Reply::Name(Err(ResolveError::NoName)),
            Asked::File { .. } => Reply::File(FileReply::Failed(libc::ENOENT)),
            Asked::ChangeFile { .. } => Reply::Change(ChangeReply::Failed(libc::EROFS)),
            Asked::Settle { .. } => Reply::Errno(0),
            Asked::Message(_) | Asked::Records { .. } => Reply::Dns(Err(ResolveError::NoName)),
        }
    }

    fn relay_for(&self, asked: &Asked) -> SocketAddr {
        match (asked, self.settings.relay_v6) {
            (Asked::Connect { over: Over::V6, .. }, Some(v6)) => v6.into(),
            _ => self.settings.relay_v4.into(),
        }
    }

    fn announce(&self, asked: &Asked) {
        if let Asked::Connect { cookie, destination, .. } | Asked::Udp { cookie, peer: destination, .. } = asked {
            let local = pod_end(self.connections.fetch_add(1, Ordering::Relaxed));
            lock(&self.names).insert(*cookie, (local, *destination));
        }
    }

    /// Keeps the request open until the layer or this host closes it.
    fn wait_for_end(&self, stream: &mut UnixStream) {
        let closing = stream.try_clone().expect("clones");
        let ended = Mutex::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let asked = lock(&self.asked);
                drop(self.news.wait_while(asked, |_| !*lock(&self.closed) && !*lock(&ended)));
                let _ = closing.shutdown(Shutdown::Both);
            });
            let _ = stream.read(&mut [0]);
            *lock(&ended) = true;
            drop(lock(&self.asked));
            self.news.notify_all();
        });
    }

    fn relay(&self, client: TcpStream) {
        let Some(server) = lock(&self.expected).pop_front() else { return };
        let Ok(server) = TcpStream::connect(server) else { return };
        let pump = |from: &TcpStream, to: &TcpStream| {
            let (mut from, mut to) = (from, to);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        };
        thread::scope(|scope| {
            scope.spawn(|| pump(&client, &server));
            pump(&server, &client);
        });
    }
}

fn answered<T>(found: Result<T, ResolveError>) -> Answer<T> {
    found.map_or_else(Answer::Failed, Answer::Found)
}

/// A server for the far side: says `hello`, then echoes until the end.
pub(crate) fn echo_server() -> SocketAddr {
    server(|mut stream| {
        let _ = stream.write_all(b"hello\n");
        let mut reader = stream.try_clone().expect("clones");
        let _ = std::io::copy(&mut reader, &mut stream);
    })
}

/// A server for the far side.
pub(crate) fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listener");
    let address = listener.local_addr().expect("bound");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}
