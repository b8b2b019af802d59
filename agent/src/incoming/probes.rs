//! Tells the kubelet's HTTP probes by what they say of themselves.
//!
//! Not by where they come from: traffic of a NodePort has the node's address, too. A probe makes a connection for each
//! request, so the first head decides.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// Longest head that is looked at. Those of probes are some hundred bytes, and come in one piece.
const HEAD: usize = 2048;

/// How often, and after what time, a head is looked at that has not come whole.
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(5);

/// Whether the client's first request is a probe. Waits for its first bytes, and takes none.
pub(super) async fn is_probe(client: &TcpStream) -> bool {
    let mut head = vec![0; HEAD];
    for _ in 0..LOOKS {
        let Ok(count @ 1..) = client.peek(&mut head).await else { return false };
        match judge(&head[..count]) {
            Some(is_probe) => return is_probe,
            None => sleep(PAUSE).await,
        }
    }
    false
}

/// None if more of the head is needed.
fn judge(head: &[u8]) -> Option<bool> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut last = lines.next()?;
    for line in lines {
        let name = last.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"user-agent") {
            return Some(last[name.len() + 1..].trim_ascii_start().starts_with(b"kube-probe/"));
        }
        if last.trim_ascii_end().is_empty() {
            return Some(false);
        }
        last = line;
    }
    (head.len() >= HEAD).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_name_themselves() {
        let probe = b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\n\r\n";
        for (head, is_probe) in [
            (&probe[..], Some(true)),
            (b"GET / HTTP/1.1\r\nuser-agent:kube-probe/1.20\r\n", Some(true)),
            (b"GET / HTTP/1.1\r\nUser-Agent: curl/8\r\n\r\n", Some(false)),
            (b"GET / HTTP/1.1\r\nHost: kube-probe/1\r\n\r\nUser-Agent: kube-probe/1\r\n", Some(false)),
            (b"GET / HTTP/1.1\r\nUser-Agent: kube-pro", None),
            (b"GET / HTTP/1.1\r\nX-User-Agent: kube-probe/1\r\n\r\n", Some(false)),
            (b"\n\nuser-agent: kube-probe/1", Some(false)),
            (b"", None),
            (&[b'x'; HEAD], Some(false)),
        ] {
            assert_eq!(judge(head), is_probe, "{:?}", head.escape_ascii().to_string());
        }
    }
}
