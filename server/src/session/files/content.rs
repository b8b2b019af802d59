//! The content of files, as it travels.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use protocol::files::{PIECE, ReadFile};
use rustix::io::Errno;
use tokio::io::AsyncReadExt;

use super::{lost, own_errno, remote};
use crate::session::startup::Links;

/// Receives a file's content; its size.
pub(super) async fn receive(stream: &mut link::Stream, file: &mut File) -> Result<u64, Errno> {
    let (mut piece, mut size) = (vec![0; PIECE], 0);
    loop {
        let length = next_piece(stream, &mut piece).await?;
        if length == 0 {
            return Ok(size);
        }
        file.write_all(&piece[..length]).map_err(own_errno)?;
        size += length as u64;
    }
}

/// Receives a piece of a file; 0 is its end.
pub(super) async fn next_piece(stream: &mut link::Stream, piece: &mut [u8]) -> Result<usize, Errno> {
    let number = stream.read_i32_le().await.map_err(|_| Errno::IO)?;
    let length = match usize::try_from(number) {
        Ok(length) if length <= piece.len() => length,
        Ok(_) => return Err(Errno::IO),
        Err(_) => return Err(Errno::from_raw_os_error(number.checked_neg().unwrap_or(Errno::IO.raw_os_error()))),
    };
    stream.read_exact(&mut piece[..length]).await.map_err(|_| Errno::IO)?;
    Ok(length)
}

/// Fetches a part of a file into its place in a copy, as far as it is there; where it ends.
pub(super) async fn fetch(links: &Links, path: &[u8], copy: &File, part: Range<u64>) -> Result<u64, Errno> {
    let request = ReadFile { path: path.to_vec(), limit: u64::MAX, offset: part.start };
    let (reply, mut stream) = links.data.open(request).await.map_err(|error| lost(&error))?;
    reply.map_err(|error| remote(&error))?;
    let (mut piece, mut at) = (vec![0; PIECE], part.start);
    while at < part.end {
        let length = next_piece(&mut stream, &mut piece).await?;
        if length == 0 {
            break;
        }
        let wanted = length.min((part.end - at) as usize);
        copy.write_all_at(&piece[..wanted], at).map_err(own_errno)?;
        at += wanted as u64;
    }
    Ok(at)
}
