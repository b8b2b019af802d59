//! Symbols of the C library by their oldest version; `build.rs` sends every reference here and says why.

use core::arch::global_asm;

/// `$new` jumps to the version `$version` of the symbol. A jump, so that `dlsym` sees its true caller.
macro_rules! redirect {
    ($jump:literal, $version:literal, $($symbol:literal)*) => {
        $(global_asm!(
            concat!(".symver mirror_old_", $symbol, ", ", $symbol, "@", $version),
            concat!(".hidden __wrap_", $symbol),
            concat!(".globl __wrap_", $symbol),
            concat!(".type __wrap_", $symbol, ", @function"),
            concat!("__wrap_", $symbol, ": ", $jump, " mirror_old_", $symbol),
            concat!(".size __wrap_", $symbol, ", . - __wrap_", $symbol),
        );)*
    };
}

#[cfg(target_arch = "x86_64")]
redirect!("jmp", "GLIBC_2.2.5", "dladdr" "dlerror" "dlopen" "dlsym" "pthread_create" "pthread_key_create" "pthread_key_delete" "pthread_setspecific");

#[cfg(target_arch = "aarch64")]
redirect!("b", "GLIBC_2.17", "dladdr" "dlerror" "dlopen" "dlsym" "pthread_create" "pthread_key_create" "pthread_key_delete" "pthread_setspecific");

/// Only reached by the standard library's text about a panic, which this library never writes.
macro_rules! fail {
    ($($symbol:literal)*) => {
        $(global_asm!(
            concat!(".hidden __wrap_", $symbol),
            concat!(".globl __wrap_", $symbol),
            concat!(".type __wrap_", $symbol, ", @function"),
            concat!("__wrap_", $symbol, ":"),
            #[cfg(target_arch = "x86_64")]
            "mov eax, -1",
            #[cfg(target_arch = "aarch64")]
            "mov w0, #-1",
            "ret",
            concat!(".size __wrap_", $symbol, ", . - __wrap_", $symbol),
        );)*
    };
}

fail!("fstat64");
