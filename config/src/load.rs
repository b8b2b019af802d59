//! Finding and reading the configuration file. The only place in this crate that touches files.
//!
//! Called by the command line and the language server. What the text says is not looked at here: mistakes in it are
//! diagnostics, only a file that cannot be read is an error.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::document::Document;
use crate::syntax::Format;

/// Largest configuration that is read.
pub const MAX_FILE_SIZE: u64 = 1 << 20;

/// The path that means standard input.
pub const STDIN: &str = "-";

/// Names that are looked for in the current folder, in this order.
pub const DEFAULT_FILES: &[&str] = &[
    ".mirror.json",
    ".mirror.yaml",
    ".mirror.yml",
    ".mirror.toml",
    ".mirror/mirror.json",
    // What mirrord uses, so that its users can begin with the file they have.
    ".mirrord/mirrord.json",
];

/// Why a configuration could not be read.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("cannot read the configuration {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a folder or a device.
    #[error("the configuration {} is not a file: name the file itself", .0.display())]
    NotAFile(PathBuf),
    /// It is larger than any configuration is.
    #[error("the configuration {} has more than {MAX_FILE_SIZE} bytes: is it the right file", .0.display())]
    TooLarge(PathBuf),
    /// It is not text.
    #[error("the configuration {} is not UTF-8 text (byte {offset}): save it as UTF-8", path.display())]
    NotText {
        /// The path.
        path: PathBuf,
        /// Offset of the first wrong byte.
        offset: usize,
    },
    /// Its extension belongs to no format.
    #[error("the configuration {} has an unknown extension: use .json, .yaml, .yml or .toml", .0.display())]
    Format(PathBuf),
}

/// The file that is used when none is named, if there is one in `folder`.
pub fn find(folder: &Path) -> Option<PathBuf> {
    DEFAULT_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Loads the named file, or the default one of `folder`, or none. [`Document::name`] says which one it was.
pub fn load(named: Option<&Path>, folder: &Path) -> Result<Option<Document>, LoadError> {
    match named {
        Some(path) => read(path).map(Some),
        None => find(folder).map(|path| read(&path)).transpose(),
    }
}

/// Reads one file, or standard input (as JSON) for `-`.
pub fn read(path: &Path) -> Result<Document, LoadError> {
    if path == Path::new(STDIN) {
        let text = read_text(io::stdin().lock(), path)?;
        return Ok(Document::new("<stdin>", text, Format::Json));
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
    // A name such as `.mirror` is one without an extension.
    let format = Format::of_extension(extension.as_deref()).ok_or_else(|| LoadError::Format(path.to_owned()))?;
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::NotAFile(path.to_owned()));
    }
    let text = read_text(std::fs::File::open(path).map_err(failed)?, path)?;
    Ok(Document::new(path.display().to_string(), text, format))
}

fn read_text(reader: impl Read, path: &Path) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    reader.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(LoadError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes)
        .map_err(|error| LoadError::NotText { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        read_text(bytes, Path::new("x.json")).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    }

    #[test]
    fn sizes_and_encodings_have_an_answer() {
        assert_eq!(refusal(b"{}"), "fine");
        assert_eq!(refusal(&vec![b' '; 1 << 20]), "fine");
        assert!(refusal(&vec![b' '; (1 << 20) + 1]).contains("more than 1048576 bytes"));
        assert!(refusal(b"{\"a\": \xff}").contains("not UTF-8 text (byte 6)"));
        assert!(matches!(read(Path::new("x.ini")), Err(LoadError::Format(_))));
        assert!(matches!(read(Path::new("/nowhere.json")), Err(LoadError::Read { .. })));
        assert!(matches!(read(Path::new("/")), Err(LoadError::NotAFile(_))));
    }
}
