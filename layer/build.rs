//! Links the library so that it loads on older C libraries than the one of the building machine.
//!
//! A reference takes the newest version of a symbol, and the loader refuses a library that asks for a
//! version it does not have, which would end the user's program. So symbols with a newer version than
//! `GLIBC_FLOOR` (see `tests/it/library.rs`) go by another name: those of the first list are defined in
//! `src/compat.rs`, those of the second are optional to the standard library, which does without.

/// Moved into `libc.so.6` by glibc 2.33 and 2.34.
const REDIRECTED: [&str; 9] = [
    "dladdr",
    "dlerror",
    "dlopen",
    "dlsym",
    "fstat64",
    "pthread_create",
    "pthread_key_create",
    "pthread_key_delete",
    "pthread_setspecific",
];

/// Weak references of the standard library.
const LEFT_OUT: [&str; 2] = ["__cxa_thread_atexit_impl", "gettid"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for symbol in REDIRECTED.iter().chain(&LEFT_OUT) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap={symbol}");
    }
    // Where the redirected symbols are before glibc 2.34; empty since.
    println!(
        "cargo::rustc-cdylib-link-arg=-Wl,--push-state,--no-as-needed,-l:libdl.so.2,-l:libpthread.so.0,--pop-state"
    );
}
