//! A program for tests, behind a host that gives it everything.

use protocol::agent::{Part, Taken};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::spawn_local;

/// What a host says on its stream for a program at the other end of `program`.
pub(super) fn hosted(program: impl AsyncRead + AsyncWrite + Unpin + 'static) -> DuplexStream {
    let (near, far) = duplex(64);
    let (mut from_agent, to_agent) = tokio::io::split(far);
    let (mut from_program, mut to_program) = tokio::io::split(program);
    let to_agent = tokio::sync::Mutex::new(to_agent);
    spawn_local(async move {
        let down = async {
            let mut word = [0; Part::SIZE];
            while from_agent.read_exact(&mut word).await.is_ok() {
                let Part { begins, length } = Part::from_bytes(word);
                let mut part = vec![0; length as usize];
                from_agent.read_exact(&mut part).await?;
                if begins {
                    to_agent.lock().await.write_u8(Taken::ByProgram as u8).await?;
                }
                to_program.write_all(&part).await?;
            }
            to_program.shutdown().await
        };
        let up = async {
            let mut buffer = [0; 64];
            loop {
                match from_program.read(&mut buffer).await? {
                    0 => return to_agent.lock().await.shutdown().await,
                    count => to_agent.lock().await.write_all(&buffer[..count]).await?,
                }
            }
        };
        // Whoever breaks ends both.
        drop(tokio::try_join!(down, up));
    });
    near
}
