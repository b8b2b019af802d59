//! Words that are not said, or only in some places: one row of [`WORDS`] for each.

use crate::tidy::Findings;
use crate::tidy::source::{line_of, places};
use crate::tidy::workspace::{File, Workspace};

/// What of a file counts.
#[derive(Clone, Copy)]
enum View {
    /// The code of Rust files: comments and texts may say it.
    Code,
    /// All of every file.
    Everything,
}

/// One word.
struct Word {
    word: &'static str,
    view: View,
    /// Only files whose path fits count; none means all.
    only: Option<fn(&str) -> bool>,
    /// Files whose path fits may say it.
    except: fn(&str) -> bool,
    why: &'static str,
}

/// A row for everywhere.
const fn never(word: &'static str, view: View, why: &'static str) -> Word {
    Word { word, view, only: None, except: |_| false, why }
}

/// A row for some files.
const fn not_in(only: fn(&str) -> bool, word: &'static str, why: &'static str) -> Word {
    Word { word, view: View::Code, only: Some(only), except: |_| false, why }
}

const MACHINE: &str = "a path of one machine: nobody else has it";
const REGISTRY: &str = "which registry packages come from is each machine's own setting";
const UNFINISHED: &str = "unfinished work is a \"not yet\" row in docs/limits.md";
const SLEEP: &str = "a test waits for an event, never for time to pass";
const PURE: &str = "this crate is pure: it knows values and does no IO";

const WORDS: &[Word] = &[
    // Put together, so that this file does not say them itself.
    never(concat!("/wo", "rk/"), View::Everything, MACHINE),
    never(concat!("/fa", "rm/"), View::Everything, MACHINE),
    never(concat!("crates", ".io"), View::Everything, REGISTRY),
    never(concat!("pypi", ".org"), View::Everything, REGISTRY),
    never(concat!("registry.npmjs", ".org"), View::Everything, REGISTRY),
    never(concat!("proxy.golang", ".org"), View::Everything, REGISTRY),
    never(concat!("deb.debian", ".org"), View::Everything, REGISTRY),
    never(concat!("FIX", "ME"), View::Everything, UNFINISHED),
    never("todo!", View::Code, UNFINISHED),
    never("unimplemented!", View::Code, UNFINISHED),
    never("#[ignore", View::Code, "a test that does not run proves nothing: choose tests by environment variable"),
    never("dbg!", View::Code, "left over from debugging"),
    never("set_var", View::Code, "the environment belongs to the whole process: give a child its own"),
    never("remove_var", View::Code, "the environment belongs to the whole process: give a child its own"),
    Word {
        word: "process::exit",
        view: View::Code,
        only: None,
        except: |path| path.ends_with("src/main.rs"),
        why: "only `main` ends the process: elsewhere nothing would be dropped or written out",
    },
    not_in(is_integration_test, "thread::sleep", SLEEP),
    not_in(is_integration_test, "time::sleep", SLEEP),
    not_in(is_pure, "std::fs", PURE),
    not_in(is_pure, "std::env", PURE),
    not_in(is_pure, "std::io", PURE),
    not_in(is_pure, "std::process", PURE),
    not_in(is_pure, "std::thread", PURE),
    not_in(is_config_core, "std::fs", "only `load.rs` of this crate reads files"),
    not_in(is_config_core, "std::env", "variables are handed to this crate"),
    not_in(|path| path.starts_with("layer/src/"), "println!", "we are guests: nothing is printed"),
    not_in(|path| path.starts_with("layer/src/"), "eprintln!", "we are guests: nothing is printed"),
    not_in(|path| path.starts_with("layer/src/"), "Mutex", "a lock that is held over `fork` is never free again"),
    not_in(|path| path.starts_with("layer/src/"), "RwLock", "a lock that is held over `fork` is never free again"),
    not_in(|path| path.starts_with("layer/src/"), "abort()", "we are guests: a defect of ours bypasses the hook"),
];

/// Peers that a test scripts may be slow on purpose; that stands in one file.
fn is_integration_test(path: &str) -> bool {
    let in_folder = path.starts_with("tests/") || path.contains("/tests/") && !path.contains("/src/");
    in_folder && path != "layer/tests/it/host.rs"
}

fn is_pure(path: &str) -> bool {
    ["protocol/src/", "decide/src/"].iter().any(|folder| path.starts_with(folder))
}

fn is_config_core(path: &str) -> bool {
    path.starts_with("config/src/") && path != "config/src/load.rs"
}

/// Lists of what a package manager downloaded name its registry.
fn is_written_by_tools(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, "Cargo.lock" | "package-lock.json" | "go.sum" | "gradle.lockfile")
}

/// No file says what it must not.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    for file in workspace.files.iter().filter(|file| !is_written_by_tools(&file.path)) {
        for word in WORDS {
            let counts = word.only.is_none_or(|only| only(&file.path)) && !(word.except)(&file.path);
            let Some(text) = view(file, word.view).filter(|_| counts) else { continue };
            for at in places(text, word.word) {
                findings.line(&file.path, line_of(text, at), format!("says {}: {}", word.word, word.why));
            }
        }
    }
}

fn view(file: &File, view: View) -> Option<&str> {
    match view {
        View::Code => file.rust.as_ref().map(|source| source.code.as_str()),
        View::Everything => Some(&file.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::{findings, workspace};

    fn said(path: &str, text: &str) -> Vec<String> {
        let found = findings("words", &workspace(&[(path, text)]));
        found.iter().map(|line| line.split(": ").nth(1).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn what_is_never_said_is_found_everywhere() {
        for word in WORDS.iter().filter(|word| word.only.is_none()) {
            let text = format!("x {} x", word.word);
            assert_eq!(said("server/src/a.rs", &text), [format!("says {}", word.word)]);
            assert_eq!(said("docs/a.md", &text).len(), usize::from(matches!(word.view, View::Everything)));
            assert_eq!(said("Cargo.lock", &text), [""; 0]);
        }
    }

    #[test]
    fn code_words_do_not_count_in_texts_comments_or_longer_words() {
        for text in ["// todo!()", "\"todo!()\"", "not_todo!()", "reset_var()"] {
            assert_eq!(said("server/src/a.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn some_words_have_their_place() {
        for (path, text, expected) in [
            ("xtask/src/main.rs", "std::process::exit(1)", &[][..]),
            ("xtask/src/check.rs", "std::process::exit(1)", &["says process::exit"]),
            ("xtask/src/check.rs", "thread::sleep(x)", &[]),
            ("link/tests/link.rs", "tokio::time::sleep(x)", &["says time::sleep"]),
            ("tests/src/cluster.rs", "std::thread::sleep(x)", &["says thread::sleep"]),
            ("layer/tests/it/host.rs", "std::thread::sleep(x)", &[]),
            ("config/src/load.rs", "std::fs::read(x)", &[]),
            ("config/src/text.rs", "std::fs::read(x)", &["says std::fs"]),
            ("decide/src/env.rs", "std::env::var(x)", &["says std::env"]),
            ("layer/src/client.rs", "std::sync::Mutex", &["says Mutex"]),
            ("link/src/driver.rs", "std::sync::Mutex", &[]),
        ] {
            assert_eq!(said(path, text), expected, "{path} {text}");
        }
    }
}
