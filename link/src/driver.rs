//! The one task of a link: reads packets, writes packets, notices silence. It ends with the link.
//!
//! Reading never waits for writing (answers that are due are state, not queued writes), so two sides that
//! are both blocked in writing still drain each other.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use protocol::packet::{HEADER, Header, MAX_PAYLOAD};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::LinkConfig;
use crate::error::Ended;
use crate::mux::{Mux, Side, Violation};
use crate::packets::Packets;

/// Small packets that arrive together are read in one system call.
const READ_BUFFER: usize = 32 * 1024;

/// How long a goodbye may take to leave, and again to be heard, before the connection is dropped anyway.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// What the driver, the link's handles and its streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something to send.
    output: Notify,
    /// This side wants the link to end.
    leaving: watch::Sender<Option<Leave>>,
    ended: watch::Sender<Option<Ended>>,
}

#[derive(Debug)]
struct State {
    mux: Mux,
    packets: Packets,
    acceptor: Option<Waker>,
}

/// How this side ends the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// With what is written sent and a goodbye.
    Goodbye,
    /// At once; the peer sees a cut.
    Drop,
}

/// The locked multiplexer. Releasing it tells the driver of new output.
pub(crate) struct MuxGuard<'s> {
    state: MutexGuard<'s, State>,
    output: &'s Notify,
}

impl Deref for MuxGuard<'_> {
    type Target = Mux;

    fn deref(&self) -> &Mux {
        &self.state.mux
    }
}

impl DerefMut for MuxGuard<'_> {
    fn deref_mut(&mut self) -> &mut Mux {
        &mut self.state.mux
    }
}

impl Drop for MuxGuard<'_> {
    fn drop(&mut self) {
        if self.state.mux.has_output() {
            self.output.notify_one();
        }
    }
}

impl Shared {
    pub(crate) fn mux(&self) -> MuxGuard<'_> {
        MuxGuard { state: self.state(), output: &self.output }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock leaves the state half-changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to end the link; a second call changes nothing.
    pub(crate) fn leave(&self, leave: Leave) {
        self.leaving.send_if_modified(|leaving| {
            let first = leaving.is_none();
            leaving.get_or_insert(leave);
            first
        });
        self.state().mux.leave();
        self.output.notify_one();
    }

    /// Waits for the end of the link.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let ended = ended.wait_for(Option::is_some).await.map(|ended| ended.clone());
        ended.ok().flatten().unwrap_or(Ended::Closed)
    }

    /// When something last arrived.
    pub(crate) fn heard(&self) -> std::time::Instant {
        self.state().packets.heard.into()
    }

    /// The next streams that the peer has opened; none once the link is over.
    pub(crate) async fn arrivals(&self) -> Option<Vec<u32>> {
        poll_fn(|context| {
            let mut state = self.state();
            let arrived = state.mux.take_arrived();
            if !arrived.is_empty() {
                return Poll::Ready(Some(arrived));
            }
            if state.mux.ended().is_some() {
                return Poll::Ready(None);
            }
            state.acceptor = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ends everything that hangs on the link; a second call changes nothing.
    fn end(&self, ended: Ended) {
        let mut state = self.state();
        state.mux.end(ended.clone());
        state.acceptor.take().into_iter().for_each(Waker::wake);
        drop(state);
        self.ended.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(ended);
            first
        });
    }
}

/// Starts the driver of a link whose handshake is done.
pub(crate) fn start<IO>(io: IO, side: Side, config: LinkConfig) -> Arc<Shared>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            mux: Mux::new(side, config.max_streams, config.growth),
            packets: Packets::new(Instant::now(), config.ping_interval),
            acceptor: None,
        }),
        output: Notify::new(),
        leaving: watch::Sender::new(None),
        ended: watch::Sender::new(None),
    });
    tokio::spawn(drive(io, EndOnDrop(Arc::clone(&shared)), config.silence));
    shared
}

/// Held by the link's task: ends the link also when the task panics or is dropped, even before its first
/// turn. Nobody may wait for ever.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Ended::Cut("the link's task is gone".to_owned()));
    }
}

async fn drive<IO: AsyncRead + AsyncWrite>(io: IO, link: EndOnDrop, silence: Duration) {
    let shared = &*link.0;
    let (reader, mut writer) = tokio::io::split(io);
    let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
    let ended = tokio::select! {
        ended = read_packets(&mut reader, shared) => ended,
        ended = write_packets(&mut writer, shared) => ended,
        ended = watch_silence(shared, silence) => ended,
        ended = leave_in_time(shared) => ended,
    };
    let farewell = ended == Ended::Closed && *shared.leaving.borrow() == Some(Leave::Goodbye);
    shared.end(ended);
    if farewell {
        // Closing a socket that holds unread bytes resets it, and the reset can overtake the goodbye.
        let _ = timeout(GOODBYE_TIME, tokio::io::copy(&mut reader, &mut tokio::io::sink())).await;
    }
}

async fn read_packets(reader: &mut (impl AsyncRead + Unpin), shared: &Shared) -> Ended {
    let mut payload = Vec::new();
    loop {
        match read_packet(reader, &mut payload).await {
            Ok(Header::Goodbye) => return Ended::Goodbye,
            Ok(header) => {
                if let Err(Violation(what)) = take_in(shared, header, &payload) {
                    return Ended::Cut(format!("protocol violation: {what}"));
                }
            }
            Err(cause) => return Ended::Cut(cause),
        }
    }
}

async fn read_packet(reader: &mut (impl AsyncRead + Unpin), payload: &mut Vec<u8>) -> Result<Header, String> {
    let mut header = [0; HEADER];
    reader.read_exact(&mut header).await.map_err(describe)?;
    let header = Header::decode(header).map_err(|error| error.to_string())?;
    payload.clear();
    if let Header::Data { length, .. } = header {
        payload.resize(length as usize, 0);
        reader.read_exact(payload).await.map_err(describe)?;
    }
    Ok(header)
}

fn describe(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "end of stream".to_owned(),
        _ => error.to_string(),
    }
}

fn take_in(shared: &Shared, header: Header, payload: &[u8]) -> Result<(), Violation> {
    let mut guard = shared.mux();
    let state = &mut *guard.state;
    let idle_until = state.packets.wake_at();
    if let Some(round_trip) = state.packets.receive(header, Instant::now())? {
        state.mux.round_trip = Some(round_trip);
    }
    state.mux.receive(payload)?;
    if state.mux.has_arrived() {
        state.acceptor.take().into_iter().for_each(Waker::wake);
    }
    if state.packets.wake_at() < idle_until || state.packets.is_due(Instant::now()) {
        guard.output.notify_one();
    }
    Ok(())
}

async fn write_packets(writer: &mut (impl AsyncWrite + Unpin), shared: &Shared) -> Ended {
    let mut out = Vec::new();
    loop {
        out.clear();
        let (goodbye, wake_at) = gather(shared, &mut out);
        if !out.is_empty() {
            if let Err(error) = send(writer, &out).await {
                // The peer's last words may be among what is still to be read: the reader ends first.
                sleep(GOODBYE_TIME).await;
                return Ended::Cut(describe(error));
            }
        } else if goodbye {
            // Where this fails the peer is gone already, and there is nobody to tell.
            let _ = send(writer, &Header::Goodbye.encode()).await;
            let _ = writer.shutdown().await;
            return Ended::Closed;
        } else {
            let _ = timeout_at(wake_at, shared.output.notified()).await;
        }
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Ends the link at once or, when a goodbye is due, once that has had its time.
async fn leave_in_time(shared: &Shared) -> Ended {
    let mut leaving = shared.leaving.subscribe();
    // The sender lives in `shared`, so waiting cannot fail.
    let leave = leaving.wait_for(Option::is_some).await.map(|leave| *leave);
    if let Ok(Some(Leave::Goodbye)) = leave {
        sleep(GOODBYE_TIME).await;
    }
    Ended::Closed
}

/// Everything that is to be sent now, up to one packet of payload, as one run of bytes. Tells whether a
/// goodbye follows the last of it and when there may be more to send by time alone.
fn gather(shared: &Shared, out: &mut Vec<u8>) -> (bool, Instant) {
    let mut state = shared.state();
    let state = &mut *state;
    state.packets.fill(Instant::now(), out);
    let start = out.len();
    out.resize(start + HEADER, 0);
    let body = out.len();
    state.mux.fill(out, body + MAX_PAYLOAD);
    if out.len() == body {
        out.truncate(start);
    } else {
        let header = state.packets.data_header(out.len() - body);
        out[start..body].copy_from_slice(&header);
    }
    (*shared.leaving.borrow() == Some(Leave::Goodbye), state.packets.wake_at())
}

async fn watch_silence(shared: &Shared, silence: Duration) -> Ended {
    loop {
        let heard = shared.state().packets.heard;
        sleep_until(heard + silence).await;
        if shared.state().packets.heard == heard {
            return Ended::Silent;
        }
    }
}
