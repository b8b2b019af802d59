//! Answers [`protocol::agent::GetEnvironment`].

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use protocol::agent::{Environment, RemoteError};
use rustix::io::Errno;

use crate::sys;
use crate::target::Target;

/// Largest environment in bytes: what `execve(2)` permits with the usual stack limit.
const MAX_ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// The target's environment as it was started with; without a target the agent's own, which is that of its
/// pod and image.
pub(crate) fn read(target: Option<&Target>) -> Result<Environment, RemoteError> {
    let folder = target.map_or_else(|| "/proc/self".into(), |target| target.proc_path(""));
    let bytes = match (read_process(&folder), target) {
        // The file is its user's own, and root is nobody else's without `DAC_OVERRIDE`.
        (Err(error), Some(target)) if error.kind() == io::ErrorKind::PermissionDenied => read_memory(target),
        (read, _) => read,
    };
    let bytes = bytes.map_err(|error| RemoteError {
        errno: error.raw_os_error().unwrap_or(Errno::TOOBIG.raw_os_error()),
        context: format!("read {}: {error}", folder.join("environ").display()),
    })?;
    Ok(parse(&bytes))
}

/// The environment of a process, by its folder under `/proc`.
fn read_process(folder: &Path) -> io::Result<Vec<u8>> {
    let bytes = read_bounded(&folder.join("environ"))?;
    // That of a process which is ending reads as empty: with its memory, its executable is gone, too.
    if bytes.is_empty() && std::fs::read_link(folder.join("exe")).is_err() {
        return Err(Errno::SRCH.into());
    }
    Ok(bytes)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_ENVIRONMENT + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_ENVIRONMENT {
        true => Err(io::Error::other(format!("longer than {MAX_ENVIRONMENT} bytes"))),
        false => Ok(bytes),
    }
}

/// The same from the process's memory, for which `SYS_PTRACE` is enough (`process_vm_readv(2)`).
fn read_memory(target: &Target) -> io::Result<Vec<u8>> {
    let stat = std::fs::read(target.proc_path("stat"))?;
    let place = place(&String::from_utf8_lossy(&stat)).ok_or(Errno::ACCESS)?;
    if place.len() as u64 > MAX_ENVIRONMENT {
        return Err(io::Error::other(format!("longer than {MAX_ENVIRONMENT} bytes")));
    }
    sys::read_memory(target.pid, place)
}

/// Where the environment stands: fields 50 and 51 of `/proc/<pid>/stat` (`proc_pid_stat(5)`), which count from the last
/// parenthesis, since the program's name may contain anything. Zeros are for those who may not know.
fn place(stat: &str) -> Option<Range<usize>> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(47).map(str::parse);
    let place = fields.next()?.ok()?..fields.next()?.ok()?;
    Some(place).filter(|place| place.start > 0 && place.start <= place.end)
}

/// Splits `/proc/<pid>/environ`. A process may have written anything over its environment: what is no
/// `NAME=value` is left out.
fn parse(bytes: &[u8]) -> Environment {
    let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let equals = entry.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0)?;
        Some((entry[..equals].to_vec(), entry[equals + 1..].to_vec()))
    });
    Environment(entries.collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    type Case = (&'static [u8], &'static [(&'static [u8], &'static [u8])]);

    #[test]
    fn a_process_that_has_ended_is_not_one_without_an_environment() {
        let mut process = Command::new("sleep").arg("600").env_clear().spawn().expect("starts");
        let folder = PathBuf::from(format!("/proc/{}", process.id()));
        // Until it executes the program, its environment is this one's.
        while read_process(&folder).expect("reads") != b"" {
            std::thread::yield_now();
        }
        process.kill().expect("ends");
        while read_process(&folder).is_ok() {
            std::thread::yield_now();
        }
        // It is a zombie: nobody has waited for it.
        assert_eq!(read_process(&folder).map_err(|error| error.raw_os_error()), Err(Some(3)));
        process.wait().expect("its end");
    }

    #[test]
    fn entries_keep_their_order_and_bytes_and_garbage_is_left_out() {
        let table: [Case; 6] = [
            (b"", &[]),
            (b"\0\0\0", &[]),
            (b"A=1\0B=\0A=2\0", &[(b"A", b"1"), (b"B", b""), (b"A", b"2")]),
            (b"URL=a=b=c\0last=no end", &[(b"URL", b"a=b=c"), (b"last", b"no end")]),
            (b"=::=x\0nothing\0X=\xff\n\0", &[(b"X", b"\xff\n")]),
            (b"nginx: worker process", &[]),
        ];
        for (bytes, expected) in table {
            let expected = expected.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            assert_eq!(parse(bytes).0, Environment(expected).0, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_memory_of_a_process_says_the_same_as_the_file() {
        let mut child = std::process::Command::new("sleep").arg("60").env("A", "b").spawn().expect("starts");
        let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a number");
        let file = |name: &str| std::fs::read(format!("/proc/{}/{name}", child.id())).expect("reads");
        // The child may still be on its way into the program.
        let place = loop {
            if let Some(place) = place(&String::from_utf8_lossy(&file("stat"))) {
                break place;
            }
            std::thread::yield_now();
        };
        let read = sys::read_memory(pid, place);
        let expected = file("environ");
        child.kill().expect("ends");
        child.wait().expect("ended");
        assert_eq!(read.expect("reads"), expected);
        assert!(!expected.is_empty());
    }

    #[test]
    fn who_may_not_know_the_place_gets_none() {
        let stat = |place: &str| format!("7 (a ) b) S {}{place} 0", "1 ".repeat(46));
        assert_eq!(super::place(&stat("4096 4100")), Some(4096..4100));
        assert_eq!(super::place(&stat("0 0")), None);
        assert_eq!(super::place("7 (a) S 1"), None);
    }

    #[test]
    fn an_environment_above_the_bound_is_an_error() {
        let mut file = tempfile::NamedTempFile::new().expect("creates");
        file.write_all(&vec![b'x'; MAX_ENVIRONMENT as usize]).expect("writes");
        assert!(read_bounded(file.path()).is_ok());
        file.write_all(b"x").expect("writes");
        assert_eq!(read_bounded(file.path()).expect_err("too long").to_string(), "longer than 2097152 bytes");
    }

    #[test]
    fn without_a_target_it_is_the_own_one() {
        assert!(read(None).expect("reads").0.iter().any(|(name, _)| name == b"PATH"));
    }
}
