//! The built library as a file: what it exports, what it needs.

use std::collections::BTreeSet;
use std::process::Command;

use crate::run::{installed, library, workspace};

/// The oldest C library that the layer loads on. A newer need would end the user's program at its start.
const GLIBC_FLOOR: [u32; 2] = [2, 17];

/// The libraries that may be loaded into the user's process with ours: all are glibc's or the unwinder.
const NEEDED: [&str; 6] =
    ["ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libpthread.so.0"];

fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg(library()).output().expect("runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn exactly_the_hooks_of_the_document_are_exported() {
    if installed("nm") {
        let document = std::fs::read_to_string(workspace().join("docs/hooks.md")).expect("the document");
        let hooked: BTreeSet<&str> =
            document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let symbols = tool("nm", &["-D", "--defined-only"]);
        let exported: BTreeSet<&str> = symbols.lines().filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(exported, hooked);
    }
}

#[test]
fn the_library_loads_on_old_c_libraries() {
    if installed("readelf") {
        let needs = tool("readelf", &["-W", "--version-info"]);
        let versions = needs.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
        let mut count = 0;
        for version in versions {
            let mut numbers = version.split('.').map(|number| number.parse::<u32>().expect("a number"));
            let version = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
            assert!(version <= GLIBC_FLOOR, "needs glibc {version:?}");
            count += 1;
        }
        assert!(count > 0, "{needs}");
    }
}

#[test]
fn only_the_c_library_comes_along() {
    if installed("readelf") {
        let dynamic = tool("readelf", &["-W", "--dynamic"]);
        let needed: Vec<&str> = dynamic
            .lines()
            .filter(|line| line.contains("(NEEDED)"))
            .filter_map(|line| line.split(['[', ']']).nth(1))
            .collect();
        assert!(!needed.is_empty() && needed.iter().all(|name| NEEDED.contains(name)), "{needed:?}");
    }
}
