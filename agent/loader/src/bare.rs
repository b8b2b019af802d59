//! What the standard and C libraries would do for the travelling loader: entry, memory, panics.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::{Call, exit, syscall};

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

/// Gets the stack as the kernel left it: argument count, arguments, null, environment, null (System V ABI).
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the layout just named.
    let code = unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast();
        crate::main(count as i32, arguments, stack.add(count + 2).cast())
    };
    exit(code as usize)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(126)
}

/// Gives out one mapping from front to back and takes nothing back: the process soon becomes another.
struct Bump {
    next: AtomicUsize,
    end: AtomicUsize,
}

/// Address space, not memory: pages count when they are touched.
const ARENA: usize = 256 << 20;

#[global_allocator]
static MEMORY: Bump = Bump { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

const PROT_READ_WRITE: usize = 3;
const MAP_PRIVATE_ANONYMOUS_NORESERVE: usize = 0x4022;

// SAFETY: every block lies within the mapping, is aligned, and is given out once; there is one thread.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.end.load(Ordering::Relaxed) == 0 {
            let arguments = [0, ARENA, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, usize::MAX, 0];
            // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing existing.
            let Ok(start) = (unsafe { syscall(Call::Mmap, arguments) }) else { return ptr::null_mut() };
            self.next.store(start, Ordering::Relaxed);
            self.end.store(start + ARENA, Ordering::Relaxed);
        }
        let start = self.next.load(Ordering::Relaxed).next_multiple_of(layout.align());
        match start.checked_add(layout.size()) {
            Some(end) if end <= self.end.load(Ordering::Relaxed) => {
                self.next.store(end, Ordering::Relaxed);
                start as *mut u8
            }
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Calls to these are made by the compiler itself.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's ranges (memcpy(3)); the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") count => _, options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: copying forwards is right unless `to` lies within the source.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: as above, from the last byte to the first; the direction flag is cleared again.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _,
            inout("rcx") count => _,
            options(nostack),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's range (memset(3)).
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, in("al") byte as u8, inout("rcx") count => _, options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller's ranges (memcmp(3)). Volatile, so that this loop is not made a memcmp.
        let (a, b) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's string ends with a NUL (strlen(3)). Volatile, so that this loop is not made a
    // strlen.
    while unsafe { string.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
