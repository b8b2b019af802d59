//! The host's side of its control socket: what helpers of editors ask of a session that runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore};

use super::board::{Board, Event};
use super::registry::{Answer, Command, Hello, LONGEST_LINE, Plan, Registration, socket_name};
use super::update::Updates;
use super::{layers, registry};
use crate::failure::Result;
use crate::serve::rpc::SessionState;

/// Connections at a time; more wait.
const CONNECTIONS: usize = 64;

/// Longest wait for a connection's first line.
const HELLO: Duration = Duration::from_secs(5);

/// What the control socket can reach.
pub(super) struct Control {
    pub(super) board: Arc<Board>,
    pub(super) updates: Updates,
    pub(super) stop: Notify,
    /// Wakes whoever waits for a program: one is about to come.
    pub(super) joins: Notify,
    registration: Registration,
}

impl Control {
    /// Enters the session where others find it, and answers them until the runtime ends.
    pub(super) fn start(session: &str, board: Arc<Board>, updates: Updates) -> Result<Arc<Self>> {
        let cannot = |error: io::Error| crate::failure::Failure::system("cannot open the session's sockets", error);
        let listener = layers::bind(&socket_name(session)).map_err(cannot)?;
        let registration = Registration::enter(session)?;
        let control = Arc::new(Self { board, updates, stop: Notify::new(), joins: Notify::new(), registration });
        tokio::spawn(serve(listener, control.clone()));
        Ok(control)
    }

    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        let mut first = (&mut reader).take(LONGEST_LINE as u64);
        let read = first.read_until(b'\n', &mut line);
        tokio::time::timeout(HELLO, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let hello: Hello = serde_json::from_slice(&line)?;
        if hello.token != self.registration.token {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match hello.command {
            Command::Follow => {
                tokio::select! {
                    ended = self.follow(&mut writer) => ended,
                    _ = reader.read_u8() => Ok(()),
                }
            }
            Command::Plan => send(&mut writer, &Answer::Plan(Box::new(self.plan()))).await,
            Command::Join if self.board.info().state == SessionState::Ended => {
                send(&mut writer, &Answer::Failed(registry::gone(&self.board.info().session))).await
            }
            Command::Join => {
                self.joins.notify_waiters();
                send(&mut writer, &Answer::Done).await
            }
            Command::Stop => {
                self.stop.notify_one();
                send(&mut writer, &Answer::Done).await
            }
            Command::Update { spec, fingerprint } => {
                let answer = self.updates.apply(&spec, &fingerprint).await;
                send(&mut writer, &answer.map_or_else(Answer::Failed, Answer::Updated)).await
            }
        }
    }

    fn plan(&self) -> Plan {
        self.updates.plan()
    }

    async fn follow(&self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        let (info, mut events) = self.board.follow();
        send(writer, &Answer::Event(Event::Info(Box::new(info)))).await?;
        loop {
            match events.recv().await {
                Ok(event) => send(writer, &Answer::Event(event)).await?,
                Err(RecvError::Lagged(_)) => {
                    send(writer, &Answer::Event(Event::Info(Box::new(self.board.info())))).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

async fn serve(listener: UnixListener, control: Arc<Control>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = control.clone();
                tokio::spawn(async move {
                    if let Err(error) = control.answer(stream).await {
                        tracing::debug!(%error, "a connection to the control socket ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, answer: &registry::Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
