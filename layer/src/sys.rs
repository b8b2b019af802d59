//! The kernel's calls that this library makes for itself, as safe functions.
//!
//! Made directly and not through libc: its symbols may be hooked (by us), they are cancellation points, and
//! they touch errno. The one exception is [`receive`], which must be a cancellation point.

mod files;
pub(crate) mod memory;
mod socket;
pub(crate) mod waiting;

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};
use std::ffi::CString;
use std::net::SocketAddr;

use crate::address::{self, Encoded};
use crate::inflight;
use crate::interpose::{self, Next};

pub(crate) use files::*;
pub(crate) use socket::*;

/// An error number of `errno(3)`.
pub(crate) type Errno = c_int;

/// One system call.
///
/// # Safety
/// `arguments` must be right for call `number`: its pointers valid for what the kernel does with them.
unsafe fn call(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the x86-64 Linux system call convention; the caller vouches for the arguments.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the arm64 Linux system call convention; the caller vouches for the arguments.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    if (-4095..0).contains(&result) { Err(-result as Errno) } else { Ok(result as usize) }
}

/// A call whose arguments are all numbers, or which takes no pointer from us.
macro_rules! numbers {
    ($number:ident $(, $argument:expr)*) => {{
        let mut arguments = [0usize; 6];
        let given: &[usize] = &[$($argument as usize),*];
        arguments[..given.len()].copy_from_slice(given);
        // SAFETY: the call takes numbers only.
        unsafe { call(libc::$number, arguments) }
    }};
}

use numbers;

pub(crate) fn close(fd: c_int) {
    let _ = numbers!(SYS_close, fd);
}

/// A new Unix stream socket, never one of the three standard numbers: a program that runs with those closed
/// may open a file there at any time and expects the lowest number.
pub(crate) fn unix_socket() -> Result<c_int, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let socket = || numbers!(SYS_socket, libc::AF_UNIX, kind, 0).map(|fd| fd as c_int);
    match with_room_for_one(socket)? {
        fd @ 3.. => Ok(fd),
        low => {
            let raised = with_room_for_one(|| numbers!(SYS_fcntl, low, libc::F_DUPFD_CLOEXEC, 3).map(|fd| fd as c_int));
            close(low);
            raised
        }
    }
}

/// Who is raising the limit now: a process id, or 0.
static RAISING: AtomicU32 = AtomicU32::new(0);

/// Runs `open`; when the descriptor table is full, once more with the soft limit raised by one where the
/// hard limit permits. Everything else of the process sees the raised limit only for that moment.
fn with_room_for_one(open: impl Fn() -> Result<c_int, Errno>) -> Result<c_int, Errno> {
    match open() {
        Err(libc::EMFILE) => {}
        done => return done,
    }
    let own = numbers!(SYS_getpid).unwrap_or(0) as u32;
    // A handler must not jump away with the limit raised.
    let blocked = signal_mask(u64::MAX);
    let owner = RAISING.load(Ordering::Relaxed);
    // Another process id is a parent's, copied by fork in the middle: nobody here holds it.
    let taken = owner != own && RAISING.compare_exchange(owner, own, Ordering::Acquire, Ordering::Relaxed).is_ok();
    let result = if taken { open_beyond_the_limit(open) } else { Err(libc::EMFILE) };
    if taken {
        RAISING.store(0, Ordering::Release);
    }
    signal_mask(blocked);
    result
}

fn open_beyond_the_limit(open: impl Fn() -> Result<c_int, Errno>) -> Result<c_int, Errno> {
    let limit = file_limit(None)?;
    if limit.rlim_cur >= limit.rlim_max {
        return Err(libc::EMFILE);
    }
    file_limit(Some(libc::rlimit64 { rlim_cur: limit.rlim_cur + 1, ..limit }))?;
    let result = open();
    let _ = file_limit(Some(limit));
    result
}

fn file_limit(new: Option<libc::rlimit64>) -> Result<libc::rlimit64, Errno> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new_place = new.as_ref().map_or(core::ptr::null(), |new| &raw const *new);
    let arguments = [0, libc::RLIMIT_NOFILE as usize, new_place as usize, (&raw mut old) as usize, 0, 0];
    // SAFETY: prlimit(2) on this process with valid or null places.
    unsafe { call(libc::SYS_prlimit64, arguments) }.map(|_| old)
}

/// Sets the thread's signal mask and returns the one before.
pub(crate) fn signal_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let arguments = [libc::SIG_SETMASK as usize, (&raw const mask) as usize, (&raw mut old) as usize, 8, 0, 0];
    // SAFETY: rt_sigprocmask(2) with the kernel's 8-byte sets.
    let _ = unsafe { call(libc::SYS_rt_sigprocmask, arguments) };
    old
}

/// Connects to the abstract Unix socket `name`.
pub(crate) fn connect_abstract(fd: c_int, name: &[u8]) -> Result<(), Errno> {
    let mut bytes = [0u8; 110];
    let length = 3 + name.len();
    bytes[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    bytes.get_mut(3..length).ok_or(libc::ENAMETOOLONG)?.copy_from_slice(name);
    // SAFETY: connect(2) with `length` bytes that are ours.
    unsafe { call(libc::SYS_connect, [fd as usize, bytes.as_ptr() as usize, length, 0, 0, 0]) }.map(drop)
}

/// Effective uid of the process that listens at the other end of a Unix socket (`SO_PEERCRED`, `unix(7)`).
pub(crate) fn peer_uid(fd: c_int) -> Option<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (place, size) = ((&raw mut credentials).addr(), (&raw mut length).addr());
    let arguments = [fd as usize, libc::SOL_SOCKET as usize, libc::SO_PEERCRED as usize, place, size, 0];
    // SAFETY: getsockopt(2) with room for a `ucred` and its length.
    unsafe { call(libc::SYS_getsockopt, arguments) }.ok()?;
    Some(credentials.uid)
}

/// The process's effective uid.
pub(crate) fn own_uid() -> u32 {
    // SAFETY: geteuid(2) has no arguments and cannot fail.
    unsafe { call(libc::SYS_geteuid, [0; 6]) }.map_or(u32::MAX, |uid| uid as u32)
}

/// Sends bytes, without ever raising SIGPIPE.
pub(crate) fn send(fd: c_int, bytes: &[u8]) -> Result<usize, Errno> {
    let arguments = [fd as usize, bytes.as_ptr() as usize, bytes.len(), libc::MSG_NOSIGNAL as usize, 0, 0];
    // SAFETY: sendto(2) with bytes that are ours and no address.
    unsafe { call(libc::SYS_sendto, arguments) }
}

type Receive = unsafe extern "C-unwind" fn(c_int, *mut c_void, usize, c_int) -> isize;

// SAFETY: the type is that of recv(2).
static RECEIVE: Next<Receive> = unsafe { Next::new(c"recv") };

/// Resolves what [`receive`] and [`watch_thread_end`] need, while it is safe to do so.
pub(crate) fn prepare() {
    RECEIVE.get();
    prepare_thread_end();
}

/// Receives bytes; 0 is the end of the stream. The thread may be cancelled here and not come back.
pub(crate) fn receive(fd: c_int, buffer: &mut [u8]) -> Result<usize, Errno> {
    let Some(receive) = RECEIVE.get() else { return Err(libc::ENOSYS) };
    // SAFETY: recv(2) with room that is ours.
    let received = unsafe { receive(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if received < 0 { Err(interpose::errno()) } else { Ok(received as usize) }
}

/// Reads a socket option of `N` bytes.
fn option<const N: usize>(fd: c_int, level: c_int, name: c_int) -> Result<[u8; N], Errno> {
    let mut value = [0u8; N];
    let mut length = N as u32;
    let place = (&raw mut length) as usize;
    let arguments = [fd as usize, level as usize, name as usize, value.as_mut_ptr() as usize, place, 0];
    // SAFETY: getsockopt(2) with `N` bytes of room.
    unsafe { call(libc::SYS_getsockopt, arguments) }.map(|_| value)
}

fn number_option(fd: c_int, level: c_int, name: c_int) -> Result<c_int, Errno> {
    option(fd, level, name).map(c_int::from_ne_bytes)
}

/// The kernel's number for a socket, never used twice while the machine runs.
pub(crate) fn cookie(fd: c_int) -> Result<u64, Errno> {
    const SO_COOKIE: c_int = 57;
    option(fd, libc::SOL_SOCKET, SO_COOKIE).map(u64::from_ne_bytes)
}

/// Whether `fd` is a Unix socket without a peer.
pub(crate) fn is_idle_unix_socket(fd: c_int) -> bool {
    let mut bytes = [0u8; 2];
    let mut length = 2u32;
    let arguments = [fd as usize, bytes.as_mut_ptr() as usize, (&raw mut length) as usize, 0, 0, 0];
    // SAFETY: getpeername(2) with room and its size.
    let peer = unsafe { call(libc::SYS_getpeername, arguments) };
    socket_family(fd) == Ok(libc::AF_UNIX) && peer == Err(libc::ENOTCONN)
}

/// `AF_INET` or `AF_INET6` and so on.
pub(crate) fn socket_family(fd: c_int) -> Result<c_int, Errno> {
    number_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)
}

/// Whether a TCP socket has not been asked to connect or listen; an error for what is not TCP.
pub(crate) fn is_fresh_tcp(fd: c_int) -> Result<bool, Errno> {
    const TCP_CLOSE: u8 = 7;
    option::<1>(fd, libc::IPPROTO_TCP, libc::TCP_INFO).map(|state| state == [TCP_CLOSE])
}

/// Whether an IPv6 socket refuses IPv4.
pub(crate) fn is_v6_only(fd: c_int) -> bool {
    number_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).is_ok_and(|only| only != 0)
}

/// Whether the program has bound the socket to one of this machine's interfaces.
pub(crate) fn is_bound_to_device(fd: c_int) -> bool {
    // The name, not the newer index, which kernels before 5.0 do not know. Empty means unbound.
    const ROOM: usize = libc::IFNAMSIZ;
    option::<ROOM>(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE).is_ok_and(|name| name[0] != 0)
}

/// A `struct timeval` as seconds and microseconds.
pub(crate) type Timeval = [i64; 2];

/// `SO_SNDTIMEO`, which also bounds a connect; `None` is for ever.
pub(crate) fn send_timeout(fd: c_int) -> Option<Timeval> {
    let bytes: [u8; 16] = option(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO).ok()?;
    let (seconds, micros) = (bytes.first_chunk()?, bytes.last_chunk()?);
    let timeout = [i64::from_ne_bytes(*seconds), i64::from_ne_bytes(*micros)];
    (timeout != [0, 0]).then_some(timeout)
}

/// Bounds sending, connecting and receiving on a socket of ours.
pub(crate) fn set_timeouts(fd: c_int, timeout: Timeval) {
    for name in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        let place = (&raw const timeout) as usize;
        let arguments = [fd as usize, libc::SOL_SOCKET as usize, name as usize, place, 16, 0];
        // SAFETY: setsockopt(2) with a 16-byte timeval.
        let _ = unsafe { call(libc::SYS_setsockopt, arguments) };
    }
}

/// Which end of a socket is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Local,
    Peer,
}

/// The kernel's own answer to `getsockname` or `getpeername`.
pub(crate) fn name_of(fd: c_int, end: End) -> Option<SocketAddr> {
    let number = match end {
        End::Local => libc::SYS_getsockname,
        End::Peer => libc::SYS_getpeername,
    };
    let mut bytes = [0u8; address::ROOM];
    let mut length = address::ROOM as u32;
    let arguments = [fd as usize, bytes.as_mut_ptr() as usize, (&raw mut length) as usize, 0, 0, 0];
    // SAFETY: getsockname(2) and getpeername(2) with room and its size.
    unsafe { call(number, arguments) }.ok()?;
    address::decode(bytes.get(..length as usize)?)
}

/// The kernel's name of a Unix socket's peer, and its length.
pub(crate) fn unix_peer_name(fd: c_int) -> Option<([u8; address::UNIX_ROOM], usize)> {
    let mut bytes = [0u8; address::UNIX_ROOM];
    let mut length = address::UNIX_ROOM as u32;
    let arguments = [fd as usize, bytes.as_mut_ptr() as usize, (&raw mut length) as usize, 0, 0, 0];
    // SAFETY: getpeername(2) with room and its size.
    unsafe { call(libc::SYS_getpeername, arguments) }.ok()?;
    Some((bytes, length as usize))
}

/// Whether the file description is non-blocking.
pub(crate) fn is_nonblocking(fd: c_int) -> bool {
    flags(fd).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0)
}

fn flags(fd: c_int) -> Result<c_int, Errno> {
    numbers!(SYS_fcntl, fd, libc::F_GETFL).map(|flags| flags as c_int)
}

/// Connects without waiting, whatever the file description's mode.
pub(crate) fn connect_in_background(fd: c_int, address: &Encoded) -> Result<(), Errno> {
    let before = flags(fd)?;
    numbers!(SYS_fcntl, fd, libc::F_SETFL, before | libc::O_NONBLOCK)?;
    let result = connect(fd, address);
    let _ = numbers!(SYS_fcntl, fd, libc::F_SETFL, before);
    result
}

/// Reads the socket address that the program passed; `None` when it is none of ours or not readable, for
/// which the kernel has the right error.
///
/// # Safety
/// `length` bytes at `address` must not stop being readable during the call.
pub(crate) unsafe fn address_at(address: *const libc::sockaddr, length: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: by the caller's word.
    let (bytes, used) = unsafe { address_bytes_at(address, length) }?;
    address::decode(bytes.get(..used)?)
}

/// As [`address_at`], an IPv4 address whose family is `AF_UNSPEC`.
///
/// # Safety
/// As [`address_at`].
pub(crate) unsafe fn address_without_family_at(
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> Option<SocketAddr> {
    // SAFETY: by the caller's word.
    let (bytes, used) = unsafe { address_bytes_at(address, length) }?;
    address::decode_without_family(bytes.get(..used)?)
}

unsafe fn address_bytes_at(
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> Option<([u8; address::ROOM], usize)> {
    let length = length as usize;
    if !(16..=128).contains(&length) || !memory::is_readable_range(address.addr(), length) {
        return None;
    }
    let mut bytes = [0u8; address::ROOM];
    let used = length.min(address::ROOM);
    // SAFETY: `used` bytes are readable, as just asked.
    unsafe { core::ptr::copy_nonoverlapping(address.cast::<u8>(), bytes.as_mut_ptr(), used) };
    Some((bytes, used))
}

/// The family that a socket address says, if that much can be read.
///
/// # Safety
/// As [`address_at`].
pub(crate) unsafe fn family_at(address: *const libc::sockaddr, length: libc::socklen_t) -> Option<c_int> {
    let size = size_of::<libc::sa_family_t>();
    if (length as usize) < size || !memory::is_readable_range(address.addr(), size) {
        return None;
    }
    // SAFETY: readable, as just asked.
    Some(c_int::from(unsafe { address.cast::<libc::sa_family_t>().read_unaligned() }))
}

/// As [`address_at`], the bytes of a Unix socket's address with their number.
///
/// # Safety
/// As [`address_at`].
pub(crate) unsafe fn unix_address_at(
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> Option<([u8; address::UNIX_ROOM], usize)> {
    let length = length as usize;
    let mut bytes = [0u8; address::UNIX_ROOM];
    let room = bytes.get_mut(..length)?;
    if !memory::is_readable_range(address.addr(), length) {
        return None;
    }
    // SAFETY: `length` bytes are readable, as just asked.
    unsafe { core::ptr::copy_nonoverlapping(address.cast::<u8>(), room.as_mut_ptr(), length) };
    Some((bytes, length))
}

/// Whether eight bytes can be read, asked without touching them: `rt_sigprocmask(2)` copies the new mask
/// before it refuses the impossible `how`.
pub(crate) fn is_readable(place: usize) -> bool {
    const NO_HOW: usize = usize::MAX;
    // SAFETY: the kernel only reads, and says EFAULT where it cannot.
    place != 0 && unsafe { call(libc::SYS_rt_sigprocmask, [NO_HOW, place, 0, 8, 0, 0]) } != Err(libc::EFAULT)
}

/// The thread's `prctl(PR_GET_SECCOMP)`: 0 without a sandbox.
pub(crate) fn seccomp_mode() -> usize {
    numbers!(SYS_prctl, libc::PR_GET_SECCOMP).unwrap_or(0)
}

/// Whether the thread runs on its alternate signal stack.
pub(crate) fn on_alternate_stack() -> bool {
    let mut stack = libc::stack_t { ss_sp: core::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: sigaltstack(2) with room for the present state.
    let asked = unsafe { call(libc::SYS_sigaltstack, [0, (&raw mut stack) as usize, 0, 0, 0, 0]) };
    asked.is_ok() && stack.ss_flags & libc::SS_ONSTACK != 0
}

/// Index of the thread-specific data whose destructor closes a dead thread's sockets, plus one; 0 is none.
static THREAD_END: AtomicU32 = AtomicU32::new(0);

/// glibc keeps the first keys' values inside the thread's descriptor and allocates for later ones.
const KEYS_WITHOUT_ALLOCATION: u32 = 32;

fn prepare_thread_end() {
    unsafe extern "C" fn end(_: *mut c_void) {
        interpose::guard(interpose::Stage::After, (), inflight::reclaim_all);
    }
    let mut key = 0;
    // SAFETY: pthread_key_create(3) with a valid place and a destructor that lives as long as the process.
    let failed = unsafe { libc::pthread_key_create(&mut key, Some(end)) };
    if failed == 0 && key < KEYS_WITHOUT_ALLOCATION {
        THREAD_END.store(key + 1, Ordering::Relaxed);
    }
}

/// Has [`inflight::reclaim_all`] called when this thread ends. Does not allocate.
pub(crate) fn watch_thread_end() {
    if let Some(key) = THREAD_END.load(Ordering::Relaxed).checked_sub(1) {
        // SAFETY: pthread_setspecific(3) with our key; the value only has to differ from null.
        unsafe { libc::pthread_setspecific(key, core::ptr::without_provenance(1)) };
    }
}

/// The machine's name.
pub(crate) fn host_name() -> ([u8; 65], usize) {
    // SAFETY: utsname is bytes only.
    let mut names: libc::utsname = unsafe { core::mem::zeroed() };
    // SAFETY: uname(2) with room for the answer.
    let _ = unsafe { call(libc::SYS_uname, [(&raw mut names) as usize, 0, 0, 0, 0, 0]) };
    let name = names.nodename.map(|byte| byte as u8);
    (name, name.iter().position(|byte| *byte == 0).unwrap_or(0))
}
/// Sets a variable of this process; one that no C string can hold is left out. Only while nobody else uses the
/// environment.
pub(crate) fn set_variable(name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) {
        // SAFETY: two C strings, which are copied.
        unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
    }
}

/// Removes a variable of this process. Only while nobody else uses the environment.
pub(crate) fn unset_variable(name: &[u8]) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: a C string.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
}
