//! The program to run: where it is, and whether the layer can get into it.
//!
//! The layer comes in by `LD_PRELOAD`, which the dynamic loader of glibc honours. A program that this
//! loader does not start, or starts in secure mode (`ld.so(8)`), would run without it: that is said before
//! anything is made in the cluster, never found out afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use object::read::{ReadCache, elf::ElfFile64};
use object::{Architecture, Object};

use crate::failure::{Class, Failure, Result};

/// Interpreters of interpreters that the kernel follows (`execve(2)`: five in all).
const MAX_SCRIPTS: usize = 5;

/// Bytes of a script's first line that the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// Where `execvp(3)` looks without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The folders in which programs are looked for.
pub fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())
}

/// Finds `name` like `execvp(3)`: with a slash as it is, else in the folders of `path`.
pub fn find(name: &OsStr, path: &OsStr) -> Result<PathBuf> {
    let shown = Path::new(name).display();
    if name.as_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        return match fs::metadata(&file) {
            Ok(metadata) if metadata.is_dir() => Err(unusable(&file, "it is a folder")),
            // A pipe must not even be opened: that would wait for its writer.
            Ok(metadata) if !metadata.is_file() => Err(unusable(&file, "it is not a file")),
            Ok(metadata) => executable(&file, &metadata).map(|()| file),
            Err(error) => {
                Err(Failure::new(Class::ProgramNotFound, format!("cannot find the program {shown}: {error}")))
            }
        };
    }
    let mut refused = None;
    for folder in std::env::split_paths(path).filter(|_| !name.is_empty()) {
        // An empty entry is the current folder. With a slash, lest the name be looked for once more.
        let file = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
        match fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => match executable(&file, &metadata) {
                Ok(()) => return Ok(file),
                Err(failure) => refused = Some(failure),
            },
            _ => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::new(Class::ProgramNotFound, format!("command not found: {shown}"))
            .next("check the spelling, or give its path: mirror exec -- ./program")
    }))
}

/// Refuses files that this user may not execute, before anything is made in the cluster for them.
fn executable(file: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(unusable(file, "it is not executable").next(format!("chmod +x {}", file.display())));
    }
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).map_err(|error| {
        unusable(file, &format!("you may not execute it: {error}"))
            .next("see its permissions, and whether its file system is mounted noexec")
    })
}

/// Refuses programs that the layer cannot enter, with the reason. Scripts are followed to their interpreter.
pub fn check(file: &Path, path: &OsStr) -> Result<()> {
    let mut current = file.to_owned();
    for _ in 0..MAX_SCRIPTS {
        match script_interpreter(&current)? {
            Some(words) => {
                let interpreter = find_interpreter(&words, path).unwrap_or_else(|| PathBuf::from(&words[0]));
                if let Err(error) = fs::metadata(&interpreter) {
                    return Err(no_interpreter(&current, &interpreter, &error));
                }
                current = interpreter;
            }
            None => return check_binary(&current),
        }
    }
    Err(unusable(file, "too many scripts interpret each other"))
}

fn no_interpreter(script: &Path, interpreter: &Path, error: &std::io::Error) -> Failure {
    // Escaped: a carriage return at its end would not be seen.
    let failure = unusable(script, &format!("its #! line names the interpreter {interpreter:?}: {error}"));
    if interpreter.as_os_str().as_bytes().ends_with(b"\r") {
        return failure.next("the script has the line ends of Windows: save it with those of Unix");
    }
    failure.next("install the interpreter, or correct the script's first line")
}

/// The words of a script's `#!` line.
fn script_interpreter(file: &Path) -> Result<Option<Vec<OsString>>> {
    let cannot_read = |error: std::io::Error| unusable(file, &format!("it cannot be read: {error}"));
    let mut head = Vec::with_capacity(FIRST_LINE);
    File::open(file).map_err(cannot_read)?.take(FIRST_LINE as u64).read_to_end(&mut head).map_err(cannot_read)?;
    let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let words: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    if words.is_empty() { Err(unusable(file, "its #! line names no interpreter")) } else { Ok(Some(words)) }
}

/// `#!/usr/bin/env NAME` is about NAME, not about `env`.
fn find_interpreter(words: &[OsString], path: &OsStr) -> Option<PathBuf> {
    let by_env = Path::new(&words[0]).file_name() == Some(OsStr::new("env"));
    let name = words[1..].iter().find(|word| {
        let bytes = word.as_bytes();
        !bytes.starts_with(b"-") && !bytes.contains(&b'=')
    });
    if by_env { find(name?, path).ok() } else { None }
}

fn check_binary(file: &Path) -> Result<()> {
    let metadata = fs::metadata(file).map_err(|error| unusable(file, &error.to_string()))?;
    let mode = metadata.permissions().mode();
    if mode & 0o6000 != 0 {
        return Err(unusable(file, "it is setuid or setgid, so the loader ignores LD_PRELOAD")
            .next("run a copy without that bit"));
    }
    if has_file_capabilities(file) {
        return Err(unusable(file, "it has file capabilities, so the loader ignores LD_PRELOAD")
            .next("run a copy of it: cp does not keep capabilities"));
    }
    let opened = File::open(file).map_err(|error| unusable(file, &error.to_string()))?;
    let cache = ReadCache::new(BufReader::new(opened));
    let elf: ElfFile64<'_, object::Endianness, _> = match ElfFile64::parse(&cache) {
        Ok(elf) => elf,
        Err(_) => return Err(not_elf64(file)),
    };
    let own = if cfg!(target_arch = "x86_64") { Architecture::X86_64 } else { Architecture::Aarch64 };
    if elf.architecture() != own {
        return Err(unusable(file, &format!("it is built for {:?}, the layer for {own:?}", elf.architecture())));
    }
    if elf.section_by_name(".go.buildinfo").is_some() {
        return Err(unusable(file, "it is a Go program: those make system calls without the C library")
            .next("programs that make raw system calls are not supported yet"));
    }
    match interpreter(&elf) {
        None => Err(unusable(file, "it is statically linked, so nothing can be loaded into it")
            .next("build it dynamically linked against glibc")),
        Some(loader) if loader.contains("musl") => {
            Err(unusable(file, "it uses musl, not glibc").next("build it for glibc, or use a glibc build of it"))
        }
        Some(loader) if !Path::new(&loader).exists() => {
            Err(unusable(file, &format!("the dynamic loader that it asks for, {loader}, is not on this machine")))
        }
        Some(_) => Ok(()),
    }
}

/// The dynamic loader that the program asks for.
fn interpreter<'d, R: object::ReadRef<'d>>(elf: &ElfFile64<'d, object::Endianness, R>) -> Option<String> {
    use object::read::elf::ProgramHeader;
    let endian = elf.endian();
    let header = elf.elf_program_headers().iter().find(|header| header.p_type(endian) == object::elf::PT_INTERP)?;
    let bytes = header.data(endian, elf.data()).ok()?;
    Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
}

fn not_elf64(file: &Path) -> Failure {
    let mut head = [0; 5];
    let read = File::open(file).and_then(|mut opened| opened.read_exact(&mut head));
    match (read, head) {
        (Ok(()), [0x7f, b'E', b'L', b'F', 1]) => unusable(file, "it is a 32-bit program, the layer is for 64 bits"),
        _ => unusable(file, "it is neither a script nor an ELF program")
            .next("if it is a script, begin it with a line such as #!/bin/sh"),
    }
}

fn has_file_capabilities(file: &Path) -> bool {
    let mut value = [0u8; 64];
    rustix::fs::getxattr(file, "security.capability", &mut value).is_ok_and(|length| length > 0)
}

fn unusable(file: &Path, reason: &str) -> Failure {
    Failure::new(Class::ProgramUnusable, format!("mirror cannot run {}: {reason}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), content).expect("write");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).expect("chmod");
        file.into_temp_path()
    }

    fn reason(file: &Path) -> String {
        check(file, OsStr::new("/usr/bin:/bin")).map_or_else(|failure| failure.message, |()| "fine".to_owned())
    }

    #[test]
    fn programs_are_found_like_a_shell_finds_them() {
        let path = OsStr::new("/nonexistent:/bin:/usr/bin");
        assert!(find(OsStr::new("sh"), path).is_ok());
        assert_eq!(find(OsStr::new("no-such-program"), path).expect_err("absent").class, Class::ProgramNotFound);
        assert_eq!(find(OsStr::new("./no/such"), path).expect_err("absent").class, Class::ProgramNotFound);
        let plain = file(b"text", 0o644);
        assert_eq!(find(plain.as_os_str(), path).expect_err("plain").class, Class::ProgramUnusable);
        assert_eq!(find(OsStr::new("/"), path).expect_err("folder").class, Class::ProgramUnusable);
        assert!(find(OsStr::new("/dev/null"), path).expect_err("a device").message.contains("not a file"));
        assert_eq!(find(OsStr::new(""), path).expect_err("no name").class, Class::ProgramNotFound);
    }

    #[test]
    fn an_empty_entry_of_the_path_is_the_current_folder() {
        let script = tempfile::NamedTempFile::new_in(".").expect("a file in the current folder").into_temp_path();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
        let name = script.file_name().expect("a name");
        for path in ["", "/nonexistent:", ":/nonexistent"] {
            assert_eq!(find(name, OsStr::new(path)).expect("found"), Path::new(".").join(name), "{path:?}");
        }
        assert!(find(name, OsStr::new("/nonexistent")).is_err());
    }

    #[test]
    fn scripts_are_followed_to_their_interpreter() {
        assert_eq!(reason(&file(b"#!/bin/sh\nexit", 0o755)), "fine");
        assert_eq!(reason(&file(b"#!/usr/bin/env -S sh -x\n", 0o755)), "fine");
        assert!(reason(&file(b"#!/bin/sh\r\n", 0o755)).contains(r#""/bin/sh\r""#));
        assert!(reason(&file(b"#!/no/such\n", 0o755)).contains("names the interpreter"));
        assert!(reason(&file(b"#!\n", 0o755)).contains("names no interpreter"));
        assert!(reason(&file(b"\x7fELF\x01\x01\x01", 0o755)).contains("32-bit"));
        assert!(reason(&file(b"no program", 0o755)).contains("neither a script nor an ELF program"));
    }

    #[test]
    fn setuid_programs_are_refused() {
        let copy = file(&fs::read("/bin/true").expect("/bin/true"), 0o755);
        assert_eq!(reason(&copy), "fine");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).expect("chmod");
        assert!(reason(&copy).contains("setuid"));
    }
}
