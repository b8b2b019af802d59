//! Reads a TCP socket until nothing more is there.
//!
//! The kernel ends a read before urgent data, which it then leaves out (`tcp(7)`). The runtime takes a read that
//! does not fill its buffer for the last one and waits for an arrival, while what follows the urgent byte is there
//! already: it would stay there until the peer sends again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Reads what arrives on a socket.
pub struct Arrivals<'s>(pub &'s TcpStream);

impl AsyncRead for Arrivals<'_> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendFlags, send};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_follows_urgent_data_arrives_without_more_data() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (sender, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (sender, (receiver, _)) = (sender.expect("connects"), accepted.expect("accepts"));
        for (text, flags) in [(b"a", SendFlags::empty()), (b"b", SendFlags::OOB), (b"c", SendFlags::empty())] {
            assert_eq!(send(&sender, text, flags), Ok(1));
        }
        let (mut reader, mut text) = (Arrivals(&receiver), Vec::new());
        while text != b"ac" {
            reader.read_buf(&mut text).await.expect("reads");
        }
        drop(sender);
        assert_eq!(reader.read_buf(&mut text).await.expect("reads"), 0);
    }
}
