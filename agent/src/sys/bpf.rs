//! The few commands of `bpf(2)` that steering needs, each with the numbers of `linux/bpf.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Kinds of maps.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MapKind {
    Array = 2,
    /// Sockets by number.
    Sockets = 15,
}

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

/// Kinds of programs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ProgramKind {
    /// `BPF_PROG_TYPE_SK_LOOKUP`.
    Lookup = 30,
    /// One that no kernel knows, as kernels before 5.9 do not know [`Self::Lookup`].
    Unknown = 0xffff,
}

/// The place of [`ProgramKind::Lookup`] among `enum bpf_attach_type`.
const ATTACHED_TO_LOOKUP: u32 = 36;

/// Room for the verifier's reasons.
const LOG: usize = 16 * 1024;

/// `union bpf_attr` as the commands above use it: zero where nothing is written.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Attributes([u8; 128]);

impl Attributes {
    fn new() -> Self {
        Self([0; 128])
    }

    fn put<const N: usize>(mut self, at: usize, bytes: [u8; N]) -> Self {
        self.0[at..at + N].copy_from_slice(&bytes);
        self
    }

    fn number(self, at: usize, number: u32) -> Self {
        self.put(at, number.to_ne_bytes())
    }

    fn descriptor(self, at: usize, descriptor: impl AsFd) -> Self {
        self.put(at, descriptor.as_fd().as_raw_fd().to_ne_bytes())
    }

    fn pointer<T>(self, at: usize, pointer: *const T) -> Self {
        self.put(at, (pointer as u64).to_ne_bytes())
    }
}

/// # Safety
/// Pointers in `attributes` are valid for what the command does with them.
unsafe fn bpf(command: libc::c_int, attributes: &Attributes) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads as many bytes as are named here; the pointers in them are the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.0.as_ptr(), size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for commands that make a descriptor.
///
/// # Safety
/// As for [`bpf`], and the command makes a descriptor.
unsafe fn bpf_descriptor(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let made = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel has just made it for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(made as libc::c_int) })
}

/// A map from `K` to `V`, which programs can read.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    descriptor: OwnedFd,
    sizes: std::marker::PhantomData<(K, V)>,
}

/// What maps are made of: plain numbers.
pub(crate) trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for u64 {}

impl<K: Plain, V: Plain> Map<K, V> {
    pub(crate) fn new(kind: MapKind, entries: u32) -> io::Result<Self> {
        let sizes = (size_of::<K>() as u32, size_of::<V>() as u32);
        let attributes = Attributes::new().number(0, kind as u32).number(4, sizes.0).number(8, sizes.1);
        // SAFETY: no pointers.
        let descriptor = unsafe { bpf_descriptor(MAP_CREATE, &attributes.number(12, entries)) }?;
        Ok(Self { descriptor, sizes: std::marker::PhantomData })
    }

    pub(crate) fn set(&self, key: K, value: V) -> io::Result<()> {
        let attributes = Attributes::new().descriptor(0, &self.descriptor).pointer(8, &raw const key);
        // SAFETY: the kernel reads a key and a value of the map's own sizes, which are those of the types.
        unsafe { bpf(MAP_UPDATE_ELEM, &attributes.pointer(16, &raw const value)) }.map(drop)
    }

    /// For a program's instruction.
    pub(crate) fn number(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

impl Map<u32, u64> {
    /// Puts a socket into a map of sockets.
    pub(crate) fn set_socket(&self, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.set(key, socket.as_raw_fd() as u64)
    }
}

/// Has the kernel check and take a program that chooses the socket of new connections. An error with the verifier's last
/// words has no number; a kernel that does not know such programs (before 5.9) answers `EINVAL` without words.
pub(crate) fn load(kind: ProgramKind, instructions: &[u64], name: &str) -> io::Result<OwnedFd> {
    let load = |log: Option<&mut [u8]>| {
        let mut short = [0; 16];
        short.iter_mut().zip(name.bytes().take(15)).for_each(|(to, byte)| *to = byte);
        let mut attributes = Attributes::new()
            .number(0, kind as u32)
            .number(4, instructions.len() as u32)
            .pointer(8, instructions.as_ptr())
            .pointer(16, c"Dual MIT/GPL".as_ptr())
            .put(48, short)
            .number(68, ATTACHED_TO_LOOKUP);
        if let Some(log) = log {
            attributes = attributes.number(24, 1).number(28, log.len() as u32).pointer(32, log.as_mut_ptr());
        }
        // SAFETY: so many instructions are there, the licence ends with NUL, and the log has the room that it says.
        unsafe { bpf_descriptor(PROG_LOAD, &attributes) }
    };
    let first = load(None);
    let Err(error) = &first else { return first };
    let mut log = vec![0; LOG];
    if load(Some(&mut log)).is_ok() || log[0] == 0 {
        return first;
    }
    let text = String::from_utf8_lossy(&log);
    let last = text.trim_end_matches('\0').trim_end().lines().last().unwrap_or_default().to_owned();
    Err(io::Error::new(error.kind(), format!("{error}: {last}")))
}

/// Lets a program choose in a network namespace, for as long as the returned link is open.
pub(crate) fn attach(program: &OwnedFd, network: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = Attributes::new().descriptor(0, program).descriptor(4, network).number(8, ATTACHED_TO_LOOKUP);
    // SAFETY: no pointers.
    unsafe { bpf_descriptor(LINK_CREATE, &attributes) }
}
