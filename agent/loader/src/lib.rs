//! The form in which the agent travels to the cluster: compressed, in chunks that fit a ConfigMap.
//!
//! The bytes are one `.lzma` file (LZMA with its 13-byte header) over the program passed through the x86
//! branch filter, cut into `agent.0`, `agent.1`, … The loader's program (`main.rs`) joins, decompresses and
//! executes them; `pack` makes them. LZMA, because every session uploads these bytes: of the sizes tried
//! (deflate, zstd, xz) it is the smallest by a tenth, and decompressing costs tens of milliseconds once.

#![cfg_attr(not(any(test, feature = "pack")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "pack")]
mod pack;

#[cfg(feature = "pack")]
pub use pack::{CHUNK, PackError, chunks, pack};

use lzma_rust2::{Action, FilterConfig, LzmaStream, Status};

/// Most memory in KiB that decompressing may take; more than any dictionary that [`pack`](crate) chooses.
const MEMORY_KIB: u32 = 32 * 1024;

/// What unpacking failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<E> {
    /// The given functions' own error.
    Io(E),
    /// The bytes are damaged or incomplete.
    Damaged,
}

/// Decompresses: `read` fills a buffer and gives 0 at the end, `write` takes all it is given.
pub fn unpack<E>(
    mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), Failure<E>> {
    let mut stream = LzmaStream::new_mem_limit(MEMORY_KIB, None);
    stream.set_filters(&[FilterConfig::new_bcj_x86(0)]).map_err(|_| Failure::Damaged)?;
    let mut input = alloc::vec![0; 64 * 1024];
    let mut output = alloc::vec![0; 64 * 1024];
    loop {
        let filled = read(&mut input).map_err(Failure::Io)?;
        let action = if filled == 0 { Action::Finish } else { Action::Run };
        let mut start = 0;
        loop {
            let done = stream.process(&input[start..filled], &mut output, action);
            let done = done.map_err(|_| Failure::Damaged)?;
            start += done.bytes_consumed;
            write(&output[..done.bytes_produced]).map_err(Failure::Io)?;
            if done.status == Status::StreamEnd {
                return Ok(());
            }
            if done.bytes_produced == 0 && start == filled {
                break;
            }
        }
        if filled == 0 {
            return Err(Failure::Damaged);
        }
    }
}
