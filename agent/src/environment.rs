//! Answers [`protocol::agent::GetEnvironment`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use protocol::agent::{Environment, RemoteError};
use rustix::io::Errno;

use crate::files::Rights;
use crate::target::Target;

/// Largest environment in bytes: what `execve(2)` permits with the usual stack limit.
const MAX_ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// The target's environment as it was started with; without a target the agent's own, which is that of its
/// pod and image.
pub(crate) fn read(target: Option<&Target>) -> Result<Environment, RemoteError> {
    let path = target.map_or_else(|| "/proc/self/environ".into(), |target| target.proc_path("environ"));
    let read = read_bounded(&path).or_else(|error| match Rights::of(target) {
        // It is its user's file, and the agent's root overrides no mode.
        Ok(Some(user)) if error.kind() == io::ErrorKind::PermissionDenied => {
            user.lend(|| read_bounded(&path)).unwrap_or(Err(error))
        }
        _ => Err(error),
    });
    let bytes = read.map_err(|error| RemoteError {
        errno: error.raw_os_error().unwrap_or(Errno::TOOBIG.raw_os_error()),
        context: format!("read {}: {error}", path.display()),
    })?;
    Ok(parse(&bytes))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_ENVIRONMENT + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_ENVIRONMENT {
        true => Err(io::Error::other(format!("longer than {MAX_ENVIRONMENT} bytes"))),
        false => Ok(bytes),
    }
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

    use super::*;

    type Case = (&'static [u8], &'static [(&'static [u8], &'static [u8])]);

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
