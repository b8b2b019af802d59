//! A session that stands, until its end: what it waits for, and what is told meanwhile.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::agent::{Event, Leaving, Subscribe};

use super::board::{self, Board};
use super::control::Control;
use super::layers::Layers;
use super::message::Keeper;
use super::processes::{self, Processes};
use super::restart::Restarts;
use super::startup::Started;

/// A program that has not loaded the layer after this long is reported.
const HOOKED_WITHIN: Duration = Duration::from_secs(5);

/// How long the agent's reason may arrive after the end of a connection.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Longest time that the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Longest time that a line to the terminal may take before it is left to itself.
const TELL: Duration = Duration::from_secs(1);

/// Serves until the last process of the user has ended, or somebody ends the session; returns the cause.
pub(super) async fn serve(
    started: &Started,
    keeper: Keeper,
    program: &str,
    processes: &mut Processes,
    layers: &Layers,
    control: &Control,
) -> String {
    let board = &control.board;
    let watch_links = async {
        let cause = lost(started, board).await;
        tracing::error!(%cause, "the session is lost");
        board.lost(cause.clone());
        let and = "the program goes on, but what it asks of the pod fails";
        tell(format!("mirror: the session is lost: {cause}; {and}")).await;
        std::future::pending::<()>().await;
    };
    let watch_program = async {
        if let Keeper::Program(pid) = keeper {
            tokio::join!(report_unhooked(program, layers), release_terminal(pid));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        cause = kept(keeper, processes, control) => cause,
        () = control.stop.notified() => "it was stopped".to_owned(),
        () = watch_links => String::new(),
        () = watch_program => String::new(),
    }
}

/// Returns when nobody is left who needs the session.
async fn kept(keeper: Keeper, processes: &mut Processes, control: &Control) -> String {
    let Keeper::Editor { first, grace } = keeper else {
        processes.all_ended().await;
        return "its last process has ended".to_owned();
    };
    let (mut patience, mut cause) = (first, "no program has been started in it yet");
    loop {
        let seconds = patience.as_secs();
        control.board.processes(Vec::new(), &format!("{cause}; without one it ends after {seconds} s"));
        tokio::select! {
            began = tokio::time::timeout(patience, processes.one_began()) => if began.is_err() {
                return format!("no program was started in it for {seconds} s");
            },
            () = control.joins.notified() => {
                (patience, cause) = (first, "a program is about to be started in it");
                continue;
            }
        }
        processes.all_ended().await;
        (patience, cause) = (grace, "its last process has ended");
    }
}

async fn report_unhooked(program: &str, layers: &Layers) {
    tokio::time::sleep(HOOKED_WITHIN).await;
    if !layers.attached.load(Ordering::Acquire) {
        tell(format!("mirror: {program} was started, but not hooked: it runs as an ordinary local program")).await;
    }
}

async fn release_terminal(pid: i32) {
    processes::end_of(pid).await;
    silence();
}

/// Returns the cause when the agent can no longer be reached.
async fn lost(started: &Started, board: &Arc<Board>) -> String {
    let links = &started.links;
    let ended = async {
        tokio::select! {
            ended = links.control.ended() => ended,
            ended = links.data.ended() => ended,
        }
    };
    cause(told(started, board), ended).await
}

/// The agent tells its reason before it hangs up, but on another connection than the one that may end first.
async fn cause(told: impl Future<Output = Option<String>>, ended: impl Future<Output = link::Ended>) -> String {
    let told = async {
        match told.await {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    };
    let mut told = std::pin::pin!(told);
    tokio::select! {
        cause = &mut told => cause,
        ended = ended => tokio::time::timeout(LAST_WORDS, told).await.unwrap_or_else(|_| ended.to_string()),
    }
}

/// The reason that the agent itself gives for leaving; none when it leaves without a word.
async fn told(started: &Started, board: &Arc<Board>) -> Option<String> {
    let control = &started.links.control;
    let restarts = |target| Restarts::new(started.cluster.clone(), control.clone(), target);
    let restarts = started.target.clone().map(restarts);
    let ((), mut events) = control.open(Subscribe {}).await.ok()?;
    loop {
        match link::read_message::<Event>(&mut events).await.ok()? {
            Event::Warning(text) => tell(format!("mirror: {text}")).await,
            Event::Passed { requests, omitted } => board.passed(requests, omitted),
            Event::TargetEnded => {
                restarts.clone().map(|restarts| tokio::spawn(follow(restarts, board.clone())));
            }
            Event::Leaving(Leaving::TargetEnded) => return Some("the target container ended".to_owned()),
            Event::Leaving(Leaving::Terminated) => return Some("the agent was ended from outside".to_owned()),
        }
    }
}

async fn follow(restarts: Arc<Restarts>, board: Arc<Board>) {
    let before = board.degraded(Some("the target's container has ended, and is waited for".to_owned()));
    restarts.follow().await;
    board.degraded(before);
}

/// One line to whoever follows the session and to the user's terminal, which is this process's stderr. The terminal may be gone, and a pipe's reader may have stopped reading: neither holds up the host.
pub(super) async fn tell(line: String) {
    board::warn(&line);
    let write = tokio::task::spawn_blocking(move || io::stderr().write_all(format!("{line}\n").as_bytes()).ok());
    tokio::time::timeout(TELL, write).await.ok();
}

/// Lets go of the terminal: whoever waits for the end of the program's stderr must not wait for us.
pub(super) fn silence() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        rustix::stdio::dup2_stderr(null).ok();
    }
}

/// Ends the agent and removes what can be removed of it.
pub(super) async fn farewell(started: &Started) {
    let goodbye = async {
        tokio::join!(started.links.control.goodbye(), started.links.data.goodbye());
    };
    let (cluster, agent) = (started.cluster.clone(), started.agent.clone());
    // A task of its own: credentials may have to be renewed by a plugin, which blocks its thread.
    let removal = tokio::spawn(async move { agent.remove(&cluster).await });
    let both = async {
        let ((), removed) = tokio::join!(goodbye, removal);
        if let Ok(Err(failure)) = removed {
            tracing::warn!(%failure, "cannot delete the agent's job; it ends by itself");
        }
    };
    if tokio::time::timeout(FAREWELL, both).await.is_err() {
        tracing::warn!("the cluster does not answer; the agent ends by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_agents_own_reason_wins_and_a_cut_without_one_is_told() {
        let ended = || async { link::Ended::Silent };
        let late = async {
            tokio::time::sleep(LAST_WORDS / 2).await;
            Some("the target container ended".to_owned())
        };
        assert_eq!(cause(late, ended()).await, "the target container ended");
        // Which of the two is seen first is chance.
        for _ in 0..20 {
            assert_eq!(cause(async { None }, ended()).await, link::Ended::Silent.to_string());
        }
        let never = std::future::pending::<link::Ended>();
        assert_eq!(cause(async { Some("terminated".to_owned()) }, never).await, "terminated");
    }
}
