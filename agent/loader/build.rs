//! Tells the loader whether it is being built to travel: then it does without the standard library and the
//! C library, whose start-up code alone is 700 KB. Built so by
//! `RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static -C panic=abort"` (which build
//! scripts can see, unlike a profile) with `--profile agent --target x86_64-unknown-linux-gnu`.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(bare)");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|list| list.split(',').any(|item| item == value));
    if is("CARGO_CFG_PANIC", "abort") && is("CARGO_CFG_TARGET_FEATURE", "crt-static") {
        println!("cargo:rustc-cfg=bare");
        println!("cargo:rustc-link-arg-bins=-nostartfiles");
        println!("cargo:rustc-link-arg-bins=-nostdlib");
        println!("cargo:rustc-link-arg-bins=-Wl,--build-id=none,-z,noseparate-code");
    }
}
