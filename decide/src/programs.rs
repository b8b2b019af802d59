//! Which programs are left alone: build tools, whose files and connections are never the pod's business, and
//! those that the user names.

/// Compilers, linkers, build systems, package managers and debuggers, by file name. A version behind a dash
/// (`gcc-12`), and a cross compiler's prefix (`x86_64-linux-gnu-gcc`), do not matter.
///
/// Interpreters and runtimes are not among them, nor what runs the user's program inside its own process.
const BUILD_TOOLS: &[&str] = &[
    "addr2line",
    "ar",
    "as",
    "bazel",
    "buck2",
    "c++",
    "cargo",
    "cargo-watch",
    "cc",
    "cc1",
    "cc1plus",
    "ccache",
    "clang",
    "clang++",
    "clangd",
    "cmake",
    "collect2",
    "cpp",
    "ctest",
    "debugserver",
    "dlv",
    "dsymutil",
    "g++",
    "gcc",
    "gdb",
    "gdbserver",
    "git",
    "go",
    "gold",
    "gopls",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "lld",
    "lldb",
    "lldb-server",
    "llvm-symbolizer",
    "lto-wrapper",
    "lto1",
    "ltrace",
    "make",
    "meson",
    "mold",
    "ninja",
    "nm",
    "objcopy",
    "objdump",
    "perf",
    "pkg-config",
    "ranlib",
    "readelf",
    "rr",
    "rust-analyzer",
    "rust-lld",
    "rustc",
    "rustup",
    "sccache",
    "strace",
    "strip",
    "valgrind",
];

/// What the user says of programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skip {
    /// File names in which nothing is intercepted.
    pub named: Vec<String>,
    /// Leave build tools alone.
    pub build_tools: bool,
    /// File names that count as build tools too.
    pub more_build_tools: Vec<String>,
}

impl Skip {
    /// Whether a process is left alone. `program` is its `argv[0]`, `executable` the path of its file.
    pub fn takes(&self, program: &[u8], executable: &[u8]) -> bool {
        [program, executable].into_iter().map(file_name).any(|name| {
            let listed = |names: &[String]| names.iter().any(|listed| listed.as_bytes() == name);
            listed(&self.named) || (self.build_tools && (is_build_tool(name) || listed(&self.more_build_tools)))
        })
    }
}

fn file_name(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn is_build_tool(name: &[u8]) -> bool {
    let is_version = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let bare = match name.iter().rposition(|byte| *byte == b'-') {
        Some(dash) if is_version(&name[dash + 1..]) => &name[..dash],
        _ => name,
    };
    let is_listed = |name: &[u8]| BUILD_TOOLS.iter().any(|tool| tool.as_bytes() == name);
    // machine-vendor-system-tool
    let cross = bare.splitn(4, |byte| *byte == b'-').nth(3);
    is_listed(bare) || cross.is_some_and(is_listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_tools_and_named_programs_are_left_alone() {
        let skip = Skip { named: vec!["java".into()], build_tools: true, more_build_tools: vec!["mybuild".into()] };
        let all = Skip::default();
        for (program, executable, expected) in [
            ("cc", "/usr/bin/x86_64-linux-gnu-gcc-12", true),
            ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1", true),
            ("clang-15", "/usr/lib/llvm-15/bin/clang", true),
            ("ld", "/usr/bin/ld.bfd (deleted)", true),
            ("java", "/usr/lib/jvm/bin/java", true),
            ("mybuild", "/usr/bin/dash", true),
            ("python3", "/usr/bin/python3.11", false),
            ("node", "/usr/bin/node", false),
            ("./server", "/home/u/server", false),
            ("link-checker", "/usr/bin/link-checker", false),
            ("", "", false),
        ] {
            assert_eq!(skip.takes(program.as_bytes(), executable.as_bytes()), expected, "{program}");
            assert!(!all.takes(program.as_bytes(), executable.as_bytes()), "{program}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_has_nothing_twice() {
        assert!(BUILD_TOOLS.is_sorted_by(|a, b| a < b));
    }
}
