//! What comes in, message by message.
//!
//! `tower-lsp` ends at the first message that it cannot read, and does not tell of the end of the input while it works on
//! requests. So messages are taken apart here: those that are none are replaced by one that [`UNREADABLE`] names, and the
//! end is told.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::Notify;
use tower_lsp::jsonrpc::{Request, Response};

/// Method of what takes the place of a message that cannot be read.
pub(super) const UNREADABLE: &str = "mirror/unreadable";

/// Largest message in bytes; configurations have at most 1 MiB. A larger one is read over.
const LARGEST: u64 = 32 << 20;

/// Longest line of a header.
const HEADER: u64 = 4096;

/// Bytes on the way to the service.
const ON_THE_WAY: usize = 256 * 1024;

/// The messages of `input`, and what is told of its end.
pub(super) fn messages(input: impl AsyncRead + Send + Unpin + 'static) -> (DuplexStream, Arc<Notify>) {
    let (mut to_service, messages) = duplex(ON_THE_WAY);
    let ended = Arc::new(Notify::new());
    let end = ended.clone();
    tokio::spawn(async move {
        let mut input = BufReader::new(input);
        while let Ok(body) = next(&mut input).await {
            let body = body.filter(|body| is_message(body)).unwrap_or_else(|| {
                tracing::warn!("received something that is no message of JSON-RPC");
                format!(r#"{{"jsonrpc":"2.0","id":null,"method":"{UNREADABLE}"}}"#).into_bytes()
            });
            let head = format!("Content-Length: {}\r\n\r\n", body.len());
            let sent = async {
                to_service.write_all(head.as_bytes()).await?;
                to_service.write_all(&body).await
            };
            if sent.await.is_err() {
                break;
            }
        }
        end.notify_one();
    });
    (messages, ended)
}

fn is_message(body: &[u8]) -> bool {
    serde_json::from_slice::<Request>(body).is_ok_and(|request| !request.method().is_empty())
        || serde_json::from_slice::<Response>(body).is_ok()
}

/// The next body; none for one that is too large. An error is the end of the input.
async fn next(input: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        if (&mut *input).take(HEADER).read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&line);
        match line.trim() {
            "" if length.is_some() => break,
            // Lines that belong to nothing are read over.
            "" => {}
            header => {
                if let Some((name, value)) = header.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse::<u64>().ok();
                }
            }
        }
    }
    let length = length.unwrap_or(0);
    let mut body = Vec::new();
    if length > LARGEST {
        tokio::io::copy(&mut input.take(length), &mut tokio::io::sink()).await?;
        return Ok(None);
    }
    match input.take(length).read_to_end(&mut body).await? {
        read if read as u64 == length => Ok(Some(body)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_message_is_replaced_and_the_rest_goes_on() {
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#;
        let frame = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let text = [frame("{nonsense"), frame("[]"), "rubbish\r\n\r\n".to_owned(), frame(good), frame("")].concat();
        let (mut messages, ended) = messages(io::Cursor::new(text.into_bytes()));
        ended.notified().await;
        let mut out = String::new();
        messages.read_to_string(&mut out).await.expect("read");
        let methods: Vec<_> =
            out.match_indices("\"method\":\"").map(|(at, word)| &out[at + word.len()..][..3]).collect();
        assert_eq!(methods, ["mir", "mir", "a\"}", "mir"], "{out}");
    }
}
