//! Tells the person who waits what goes on and how long it took.

use std::time::Instant;

use anyhow::{Context, Result};

/// Does one step and prints a line for it when it has ended.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    let result = work().with_context(|| what.to_owned())?;
    let seconds = begin.elapsed().as_secs_f64();
    if seconds >= 0.05 {
        eprintln!("  {seconds:6.1} s  {what}");
    }
    Ok(result)
}

/// Like [`step`], for what takes long enough to be announced before it begins.
pub(crate) fn long_step<T>(what: &str, expected: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("        …   {what} (takes {expected})");
    step(what, work)
}
