//! Which of the pod's environment variables the local program gets.
//!
//! Some variables describe the machine a program runs on, not its task: a pod's `PATH` or `LD_PRELOAD`
//! would keep the local program from starting. Those stay local unless the user asks for them by their
//! exact name.

/// Never taken from the pod, even when asked for: they change how the local program is loaded, or who it
/// runs for, before any of its code runs.
const NEVER: &[&str] =
    &["LD_*", "GLIBC_TUNABLES", "BASH_ENV", "ENV", "GCONV_PATH", "LOCPATH", "MALLOC_*", "NLSPATH", "MIRROR_*"];

/// Not taken by default: they name places and tools of the machine.
const LOCAL: &[&str] = &[
    "PATH",
    "HOME",
    "HOMEPATH",
    "PWD",
    "OLDPWD",
    "SHELL",
    "SHLVL",
    "TERM",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "_",
    "JAVA_HOME",
    "JAVA_EXE",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "CATALINA_HOME",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "RUBYLIB",
    "RUBYOPT",
    "GEM_HOME",
    "GEM_PATH",
    "BUNDLE_*",
    "BUNDLER_*",
    "GOPATH",
    "GOROOT",
    "GOMODCACHE",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "NODE_PATH",
    "NODE_OPTIONS",
    "PERL5LIB",
    "PERL5OPT",
    "DOTNET_EnableDiagnostics",
    "DOTNET_STARTUP_HOOKS",
    "RUST_LOG",
];

/// Why a variable is taken or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The program gets the pod's value.
    Remote,
    /// On the list of names that never come from a pod.
    Never,
    /// On the list of names that stay local unless included by their exact name.
    LocalByDefault,
    /// The user excluded it, or included others only.
    Excluded,
}

/// Decides for one variable. `include` none means all; patterns know `*` and `?` and heed case.
pub fn verdict(name: &[u8], include: Option<&[&str]>, exclude: &[&str]) -> Verdict {
    let listed = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), name));
    if listed(NEVER) {
        return Verdict::Never;
    }
    let named = include.is_some_and(|patterns| patterns.iter().any(|pattern| pattern.as_bytes() == name));
    if listed(exclude) || include.is_some_and(|patterns| !listed(patterns)) {
        return Verdict::Excluded;
    }
    if listed(LOCAL) && !named { Verdict::LocalByDefault } else { Verdict::Remote }
}

/// Whether `name` fits `pattern`, where `*` stands for any bytes and `?` for one.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_a_shell_does() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("A*C", "ABC", true),
            ("A*C", "ABCD", false),
            ("A?C", "ABC", true),
            ("A?C", "AC", false),
            ("*_URL", "DATABASE_URL", true),
            ("a*b*c", "aXbYbZc", true),
            ("", "A", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_users_word_wins_over_defaults_but_not_over_the_loader() {
        for (name, include, exclude, expected) in [
            ("DATABASE_URL", None, &[][..], Verdict::Remote),
            ("PATH", None, &[], Verdict::LocalByDefault),
            ("PATH", Some(&["PATH"][..]), &[], Verdict::Remote),
            ("PATH", Some(&["*"]), &[], Verdict::LocalByDefault),
            ("LD_PRELOAD", Some(&["LD_PRELOAD"]), &[], Verdict::Never),
            ("MIRROR_TARGET", None, &[], Verdict::Never),
            ("DEBUG", Some(&["DATABASE_*"]), &[], Verdict::Excluded),
            ("DEBUG", None, &["DE*"], Verdict::Excluded),
        ] {
            assert_eq!(verdict(name.as_bytes(), include, exclude), expected, "{name}");
        }
    }
}
