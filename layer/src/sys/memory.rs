//! The program's memory, which may not be there: a bad pointer is the kernel's to refuse with `EFAULT`, and
//! must not kill the process in our code.

use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{Errno, call};

/// The least page size there is; larger pages are probed more often than needed.
const PAGE: usize = 4096;

/// How far above the present frame its stack is taken to go on.
const NEAR: usize = 64 << 10;

/// An address near the upper end of the main thread's stack.
static MAIN_STACK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MARK: Cell<u8> = const { Cell::new(0) };
}

/// Notes where the main thread's stack ends: `above` is above every frame.
pub(crate) fn note_stack(above: usize) {
    MAIN_STACK.store(above, Ordering::Relaxed);
}

/// Whether `length` bytes at `place` can be read. Costs a system call per page, unless they stand in a frame
/// of the running thread's stack, where most socket addresses do.
pub(crate) fn is_readable_range(place: usize, length: usize) -> bool {
    let Some(end) = place.checked_add(length).filter(|_| place != 0) else { return false };
    if length == 0 || is_on_stack(place, end) {
        return true;
    }
    // Aligned words do not reach into the next page.
    let mut word = place & !7;
    while word < end {
        if !super::is_readable(word) {
            return false;
        }
        word = (word & !(PAGE - 1)).saturating_add(PAGE);
    }
    true
}

/// Whether the range lies between this frame and the end of its stack: the thread's descriptor stands there,
/// beside its thread-local variables, or the arguments of `main`. On a stack of the program's own making
/// (coroutines) the end is not known, and the range only is near.
fn is_on_stack(place: usize, end: usize) -> bool {
    let frame = 0u8;
    let frame = (&raw const frame).addr();
    let mark = MARK.with(|mark| core::ptr::from_ref(mark).addr());
    let top = if frame < mark { mark } else { MAIN_STACK.load(Ordering::Relaxed) };
    place > frame && end <= top && end - frame < NEAR
}

/// Writes into the program's memory as the kernel does: `EFAULT` where that is not possible.
pub(crate) fn write(place: usize, bytes: &[u8]) -> Result<(), Errno> {
    let from = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let to = libc::iovec { iov_base: core::ptr::without_provenance_mut(place), iov_len: bytes.len() };
    // SAFETY: getpid(2) has no arguments.
    let own = unsafe { call(libc::SYS_getpid, [0; 6]) }.unwrap_or(0);
    let arguments = [own, (&raw const from).addr(), 1, (&raw const to).addr(), 1, 0];
    // SAFETY: process_vm_writev(2) reads bytes that are ours, and refuses what is not the process's.
    let written = unsafe { call(libc::SYS_process_vm_writev, arguments) };
    if written == Ok(bytes.len()) { Ok(()) } else { Err(libc::EFAULT) }
}

/// Maps `length` bytes of a file for as long as the process lives. The file must be sealed: it never shrinks.
pub(crate) fn map_file(path: &core::ffi::CStr, length: usize) -> Result<&'static [u8], Errno> {
    let fd = super::open_program(libc::AT_FDCWD, path)?;
    let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_SHARED as usize);
    // SAFETY: mmap(2) at a place of the kernel's choice.
    let mapped = unsafe { call(libc::SYS_mmap, [0, length, protection, flags, fd as usize, 0]) };
    super::close(fd);
    // SAFETY: `length` bytes were just mapped there, nobody unmaps them, and nobody can change a sealed file.
    mapped.map(|place| unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(place), length) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages, the second of which is not accessible.
    fn page() -> usize {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: mmap(2) of fresh memory, and mprotect(2) of half of it.
        unsafe {
            let place = libc::mmap(core::ptr::null_mut(), 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_eq!(libc::mprotect(place.byte_add(PAGE), PAGE, libc::PROT_NONE), 0);
            place.addr()
        }
    }

    #[test]
    fn ranges_are_readable_up_to_the_last_byte() {
        let place = page();
        for (start, length, readable) in [
            (place, PAGE, true),
            (place, PAGE + 1, false),
            (place + PAGE - 4, 4, true),
            (place + PAGE - 3, 4, false),
            (place + PAGE, 1, false),
            (0, 4, false),
            (8, 16, false),
            (usize::MAX - 3, 16, false),
        ] {
            assert_eq!(is_readable_range(start, length), readable, "{start:x} {length}");
        }
        let (heap, stack) = (vec![0u8; 100_000], [0u8; 100]);
        assert!(is_readable_range(heap.as_ptr().addr(), heap.len()));
        assert!(is_readable_range(stack.as_ptr().addr(), stack.len()));
    }

    #[test]
    fn a_frame_of_a_thread_is_on_its_stack() {
        let found = std::thread::spawn(|| {
            let own = [0u8; 64];
            is_on_stack(own.as_ptr().addr(), own.as_ptr().addr() + own.len())
        });
        assert!(found.join().expect("ends"));
        let heap = [0u8; 64].to_vec();
        assert!(!is_on_stack(heap.as_ptr().addr(), heap.as_ptr().addr() + 64));
    }

    #[test]
    fn bytes_are_written_or_refused() {
        let mut own = [0u8; 4];
        assert_eq!(write(own.as_mut_ptr().expose_provenance(), &[1, 2, 3]), Ok(()));
        assert_eq!(own, [1, 2, 3, 0]);
        assert_eq!(write(8, &[1]), Err(libc::EFAULT));
        assert_eq!(write(page() + PAGE, &[1]), Err(libc::EFAULT));
    }
}
