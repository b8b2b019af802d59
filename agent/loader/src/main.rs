//! The agent's loader: command of the agent's container in the delivery without a registry. It stands in a
//! ConfigMap volume beside the chunks `agent.0`, `agent.1`, …, unpacks them into memory (`memfd_create(2)`)
//! and executes the result with its own arguments and environment. It needs no file system to write to, no
//! shell, no rights, and no library of the image.
//!
//! An argument `unpack=<folder>` is kept from the agent: where executing from memory is forbidden, the
//! agent is written to that folder (an emptyDir) and executed there.

#![cfg_attr(bare, no_std)]
#![no_main]
#![expect(unsafe_code, reason = "system calls and the program's entry, without a C library")]

extern crate alloc;

#[cfg(bare)]
mod bare;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::arch::asm;
use core::ffi::CStr;
use core::ptr;

use loader::Failure;

/// Argument that names a folder to fall back to.
const UNPACK: &[u8] = b"unpack=";

/// Longest path of the loader itself.
const PATH_MAX: usize = 4096;

/// `errno` numbers that are told apart.
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

/// System calls of x86-64 that are used here.
#[derive(Clone, Copy)]
enum Call {
    Read = 0,
    Write = 1,
    Open = 2,
    Close = 3,
    #[cfg(bare)]
    Mmap = 9,
    Unlink = 87,
    Readlink = 89,
    ExitGroup = 231,
    MemfdCreate = 319,
    Execveat = 322,
}

/// Performs a system call; a failure is its `errno`.
///
/// # Safety
///
/// The arguments must be what the manual page of the call asks for; pointers must be good for what the
/// kernel reads and writes through them.
unsafe fn syscall(call: Call, [a, b, c, d, e, f]: [usize; 6]) -> Result<usize, i32> {
    let result: isize;
    // SAFETY: `syscall` changes rax, rcx and r11 only; memory is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") call as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    if result < 0 { Err(-result as i32) } else { Ok(result as usize) }
}

/// What could not be done, with the kernel's reason.
struct Error {
    what: String,
    errno: Option<i32>,
}

fn failed(what: impl Into<String>) -> impl FnOnce(i32) -> Error {
    move |errno| Error { what: what.into(), errno: Some(errno) }
}

/// Called by the C library's start-up code, or by ours (`bare`).
///
/// # Safety
///
/// `argv` and `environ` must be arrays of C strings that end with a null pointer, as the kernel makes them
/// for a new process (`execve(2)`).
#[cfg_attr(not(bare), unsafe(no_mangle))]
unsafe extern "C" fn main(_count: i32, argv: *const *const u8, environ: *const *const u8) -> i32 {
    // SAFETY: the caller's promise.
    let arguments = unsafe { pointers(argv) };
    let error = match run(&arguments, environ) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let reason = error.errno.map(|errno| format!(" (errno {errno})")).unwrap_or_default();
    let line = format!("mirror loader: {}{reason}\n", error.what);
    for output in [1, 2] {
        let _ = write_all(output, line.as_bytes());
    }
    127
}

fn run(arguments: &[*const u8], environ: *const *const u8) -> Result<core::convert::Infallible, Error> {
    let folder = own_folder()?;
    let mut unpack_to = None;
    let mut passed = Vec::with_capacity(arguments.len() + 1);
    for argument in arguments {
        // SAFETY: the kernel's C strings live as long as the process.
        match unsafe { CStr::from_ptr(argument.cast()) }.to_bytes().strip_prefix(UNPACK) {
            Some(folder) => unpack_to = Some(folder),
            None => passed.push(*argument),
        }
    }
    passed.push(ptr::null());
    let from_memory = open_memory().and_then(|memory| {
        unpack(&folder, memory)?;
        Err(execute(memory, c"", AT_EMPTY_PATH, &passed, environ))
    });
    let error = match (from_memory, unpack_to) {
        (Err(error), Some(to)) if error.errno != Some(ENOENT) => error_of_file(&folder, to, &passed, environ, &error)?,
        (from_memory, _) => return from_memory,
    };
    Err(error)
}

/// The second way: an executable file in a folder that can be written to.
fn error_of_file(
    folder: &[u8],
    to: &[u8],
    arguments: &[*const u8],
    environ: *const *const u8,
    first: &Error,
) -> Result<Error, Error> {
    let path = [to, b"/agent\0"].concat();
    // What an earlier start of this container left there.
    // SAFETY: the path ends with a NUL.
    let _ = unsafe { syscall(Call::Unlink, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) };
    let text = String::from_utf8_lossy(to);
    let file = open(&path, O_WRONLY | O_CREAT | O_EXCL, 0o500)
        .map_err(failed(format!("{}; and cannot write to {text}", first.what)))?;
    unpack(folder, file)?;
    close(file);
    let path = CStr::from_bytes_with_nul(&path).unwrap_or_default();
    let error = execute(AT_FDCWD, path, 0, arguments, environ);
    Ok(Error { what: format!("{}; and in {text}: {}", first.what, error.what), ..error })
}

const AT_FDCWD: usize = -100_isize as usize;
const AT_EMPTY_PATH: usize = 0x1000;
const MFD_CLOEXEC: usize = 1;
const MFD_EXEC: usize = 0x10;
const O_RDONLY: usize = 0;
const O_WRONLY: usize = 1;
const O_CREAT: usize = 0o100;
const O_EXCL: usize = 0o200;
const O_CLOEXEC: usize = 0o2_000_000;

fn open_memory() -> Result<usize, Error> {
    // SAFETY: the name is a C string.
    let create = |flags| unsafe { syscall(Call::MemfdCreate, [c"agent".as_ptr() as usize, flags, 0, 0, 0, 0]) };
    // Kernels before 6.3 do not know MFD_EXEC and need no such flag.
    let created = match create(MFD_CLOEXEC | MFD_EXEC) {
        Err(EINVAL) => create(MFD_CLOEXEC),
        created => created,
    };
    created.map_err(failed("executable memory (memfd_create) is forbidden here"))
}

/// Executes; comes back only with an error.
fn execute(folder: usize, path: &CStr, flags: usize, arguments: &[*const u8], environ: *const *const u8) -> Error {
    let (path, arguments) = (path.as_ptr() as usize, arguments.as_ptr() as usize);
    // SAFETY: a C string, and two null-terminated arrays of C strings.
    let executed = unsafe { syscall(Call::Execveat, [folder, path, arguments, environ as usize, flags, 0]) };
    failed("executing the agent is forbidden here")(executed.err().unwrap_or_default())
}

fn unpack(folder: &[u8], into: usize) -> Result<(), Error> {
    let mut chunks = Chunks { folder, number: 0, open: None };
    let unpacked = loader::unpack(
        |buffer| chunks.read(buffer),
        |bytes| write_all(into, bytes).map_err(failed("cannot write the agent")),
    );
    unpacked.map_err(|failure| match failure {
        Failure::Io(error) => error,
        Failure::Damaged => {
            Error { what: format!("the agent's {} chunks are damaged or incomplete", chunks.number), errno: None }
        }
    })
}

/// The chunks one after the other.
struct Chunks<'f> {
    folder: &'f [u8],
    number: usize,
    open: Option<usize>,
}

impl Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let file = match self.open {
                Some(file) => file,
                None => {
                    let path = [self.folder, format!("agent.{}\0", self.number).as_bytes()].concat();
                    match open(&path, O_RDONLY, 0) {
                        Ok(file) => *self.open.insert(file),
                        Err(ENOENT) if self.number > 0 => return Ok(0),
                        Err(errno) => {
                            return Err(failed(format!("cannot open chunk agent.{}", self.number))(errno));
                        }
                    }
                }
            };
            // SAFETY: the kernel writes no more than the buffer's length.
            let read = unsafe { syscall(Call::Read, [file, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) };
            match read.map_err(failed("cannot read a chunk of the agent"))? {
                0 => {
                    close(file);
                    self.open = None;
                    self.number += 1;
                }
                count => return Ok(count),
            }
        }
    }
}

/// The folder of this program's file with a slash at the end. Kubelet's links are resolved in it, so the
/// chunks come from the same version of the ConfigMap as the loader.
fn own_folder() -> Result<Vec<u8>, Error> {
    let mut path = alloc::vec![0; PATH_MAX];
    let arguments = [c"/proc/self/exe".as_ptr() as usize, path.as_mut_ptr() as usize, path.len(), 0, 0, 0];
    // SAFETY: a C string, and a buffer with its length.
    let length = unsafe { syscall(Call::Readlink, arguments) };
    path.truncate(length.map_err(failed("cannot read /proc/self/exe"))?);
    let slash = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    path.truncate(slash);
    Ok(path)
}

/// `path` ends with a NUL.
fn open(path: &[u8], flags: usize, mode: usize) -> Result<usize, i32> {
    let path = CStr::from_bytes_with_nul(path).map_err(|_| EINVAL)?;
    // SAFETY: a C string.
    unsafe { syscall(Call::Open, [path.as_ptr() as usize, flags | O_CLOEXEC, mode, 0, 0, 0]) }
}

fn close(file: usize) {
    // SAFETY: no pointers.
    let _ = unsafe { syscall(Call::Close, [file, 0, 0, 0, 0, 0]) };
}

fn write_all(file: usize, mut bytes: &[u8]) -> Result<(), i32> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads no more than the slice's length.
        let written = unsafe { syscall(Call::Write, [file, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) }?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// The entries of a null-terminated array.
///
/// # Safety
///
/// The array must end with a null pointer.
unsafe fn pointers(array: *const *const u8) -> Vec<*const u8> {
    let mut entries = Vec::new();
    // SAFETY: reading stops at the null pointer that the caller promises.
    unsafe {
        while !(*array.add(entries.len())).is_null() {
            entries.push(*array.add(entries.len()));
        }
    }
    entries
}

/// Ends the process.
#[cfg_attr(not(bare), expect(dead_code, reason = "the C library ends the process"))]
fn exit(code: usize) -> ! {
    loop {
        // SAFETY: no pointers.
        let _ = unsafe { syscall(Call::ExitGroup, [code, 0, 0, 0, 0, 0]) };
    }
}
