//! Places of this machine that its programs need, beside those that every machine has (`decide::files::defaults`):
//! where the program, its tools and the user's project are.

pub mod ports;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use decide::files::defaults::VARIABLES;

use crate::failure::{Failure, Result};
use crate::program;

/// Folders in the one of a program whose folder is called `bin` that show that all of it is the program's.
const OF_AN_INSTALLATION: &[&str] = &["lib", "lib64", "libexec", "share", "pyvenv.cfg", "conda-meta", "install"];

/// Ends of names of scripts, which interpreters get as an argument.
const SCRIPTS: &[&str] = &["py", "js", "cjs", "mjs", "ts", "rb", "php", "pl", "sh", "jar", "lua"];

/// What is begun on this machine.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// Where the program is started, then other folders of the project.
    pub folders: Vec<PathBuf>,
    /// The folders in which its programs are looked for, as in `PATH`.
    pub path: OsString,
    /// Variables that are set for it, beside those of this process.
    pub variables: BTreeMap<String, String>,
    /// The program with its arguments, as far as it is known.
    pub command: &'a [OsString],
}

impl<'a> Work<'a> {
    /// `command`, started by this process.
    pub fn here(command: &'a [OsString]) -> Result<Self> {
        let folder =
            std::env::current_dir().map_err(|error| Failure::system("cannot tell the current folder", error))?;
        Ok(Self { folders: vec![folder], path: program::search_path(), variables: BTreeMap::new(), command })
    }
}

/// The places, each with why it is one, for what is begun.
pub fn places(work: &Work<'_>) -> Vec<(String, String)> {
    let mut places = Places::default();
    for folder in &work.folders {
        places.project(folder, "the current folder");
    }
    let beside = |argument: &OsString| work.folders.first().map(|folder| folder.join(argument));
    let named = work.command.first().and_then(beside).filter(|file| file.is_file());
    let found = work.command.first().and_then(|name| program::find(name, &work.path).ok());
    for program in named.into_iter().chain(found) {
        places.program(&program, "where the program is");
    }
    let scripts = work.command.iter().filter_map(beside).filter(|file| is_script(file));
    for folder in scripts.filter_map(|script| script.parent().map(Path::to_owned)) {
        places.project(&folder, "where the program's script is");
    }
    for folder in std::env::split_paths(&work.path) {
        places.installation(&folder, "in PATH");
    }
    for name in VARIABLES {
        let set = work.variables.get(*name).map(OsString::from);
        let value = set.or_else(|| std::env::var_os(name)).unwrap_or_default();
        for place in std::env::split_paths(&value) {
            places.add(&place, &format!("in {name}"));
        }
    }
    if let Some(home) = home() {
        places.add(Path::new(&home), "the home of the user");
    }
    places.found
}

/// The home of the user.
pub fn home() -> Option<String> {
    let home = directories::BaseDirs::new()?.home_dir().to_str()?.trim_end_matches('/').to_owned();
    Some(home).filter(|home| !home.is_empty())
}

fn is_script(file: &Path) -> bool {
    let is_named_so = |end: &OsStr| SCRIPTS.iter().any(|script| end == *script);
    file.extension().is_some_and(is_named_so) && file.is_file()
}

#[derive(Default)]
struct Places {
    found: Vec<(String, String)>,
}

impl Places {
    /// A path, also one that is not there: whoever looks for it means this machine's. And where it leads.
    fn add(&mut self, path: &Path, why: &str) {
        if !path.is_absolute() {
            return;
        }
        for path in [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten() {
            // The rules are about paths in text; others cannot be named by the user either.
            let Some(path) = path.to_str().map(|path| path.trim_end_matches('/')) else { continue };
            if !path.is_empty() && !self.found.iter().any(|(known, _)| known == path) {
                self.found.push((path.to_owned(), why.to_owned()));
            }
        }
    }

    /// A folder with sources, and all of its project.
    fn project(&mut self, folder: &Path, why: &str) {
        self.add(folder, why);
        if let Some(top) = folder.ancestors().find(|above| above.join(".git").exists()) {
            self.add(top, "the project with the current folder");
        }
    }

    /// Where an executable file is, and where it leads to.
    fn program(&mut self, file: &Path, why: &str) {
        let real = file.canonicalize().ok();
        for file in [std::path::absolute(file).ok(), real].into_iter().flatten() {
            if let Some(folder) = file.parent() {
                self.installation(folder, why);
            }
        }
    }

    /// A folder with programs, and what was installed with them.
    fn installation(&mut self, folder: &Path, why: &str) {
        self.add(folder, why);
        let real: PathBuf = folder.canonicalize().unwrap_or_default();
        for folder in [folder, &real] {
            let is_for_programs = folder.file_name().is_some_and(|name| name == "bin" || name == "sbin");
            let whole = folder.parent().filter(|_| is_for_programs);
            if let Some(whole) = whole.filter(|whole| OF_AN_INSTALLATION.iter().any(|part| whole.join(part).exists())) {
                self.add(whole, &format!("with {}, {why}", folder.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn projects_and_installations_are_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().canonicalize().expect("a path");
        for made in ["tool/bin", "tool/lib", "data/bin", "code/.git", "code/src/deep"] {
            fs::create_dir_all(base.join(made)).expect("made");
        }
        fs::write(base.join("tool/bin/run"), "").expect("written");
        std::os::unix::fs::symlink(base.join("tool/bin/run"), base.join("data/bin/link")).expect("a link");
        let found = |work: &dyn Fn(&mut Places)| {
            let mut places = Places::default();
            work(&mut places);
            let relative = |(path, _): (String, String)| {
                Path::new(&path).strip_prefix(&base).expect("below").to_str().expect("text").to_owned()
            };
            places.found.into_iter().map(relative).collect::<Vec<_>>()
        };
        assert_eq!(
            found(&|places| places.program(&base.join("data/bin/link"), "")),
            ["data/bin", "tool/bin", "tool"],
            "a folder that only has `bin` is not the program's"
        );
        assert_eq!(found(&|places| places.project(&base.join("code/src/deep"), "")), ["code/src/deep", "code"]);
        let variables = [("PYTHONPATH".to_owned(), format!("{}:", base.join("modules").display()))].into();
        let work = Work { folders: Vec::new(), path: OsString::new(), variables, command: &[] };
        let (in_variables, why) = (base.join("modules").display().to_string(), "in PYTHONPATH".to_owned());
        assert!(super::places(&work).contains(&(in_variables, why)));
        assert_eq!(found(&|places| places.add(&base.join("none"), "")), ["none"]);
        assert_eq!(found(&|places| places.add(Path::new("/"), "")), [""; 0]);
    }
}
