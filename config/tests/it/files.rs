//! Which file is used, in which format, and what it is called in messages.

use std::fs;
use std::path::{Path, PathBuf};

use config::load::{DEFAULT_FILES, LoadError, load};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join(".mirror")).unwrap();
    fs::create_dir_all(folder.join(".mirrord")).unwrap();
    folder
}

#[test]
fn the_first_default_file_is_used_and_named() {
    let folder = folder("default-files");
    assert!(load(None, &folder).unwrap().is_none());
    for name in DEFAULT_FILES.iter().rev() {
        let text = match name.rsplit('.').next() {
            Some("toml") => "target = \"pod/a\"",
            Some("json") => "{\"target\": \"pod/a\"}",
            _ => "target: pod/a",
        };
        fs::write(folder.join(name), text).unwrap();
        let document = load(None, &folder).unwrap().unwrap();
        assert!(document.name.ends_with(name), "{name}");
        assert_eq!(document.diagnostics, []);
        let resolved = config::resolve(Some(&document), &|_| None, &[]);
        assert_eq!(resolved.config.target.path.unwrap().to_string(), "pod/a");
    }
}

#[test]
fn a_named_file_must_be_there() {
    let folder = folder("named-file");
    fs::write(folder.join(".mirror.json"), "{}").unwrap();
    let missing = folder.join("other.yaml");
    assert!(matches!(load(Some(&missing), &folder), Err(LoadError::Read { .. })));
    assert!(matches!(load(Some(&folder), &folder), Err(LoadError::NotAFile(_))));
    fs::write(&missing, "agent: {ttl: 3}").unwrap();
    let document = load(Some(&missing), &folder).unwrap().unwrap();
    assert_eq!(document.format, config::Format::Yaml);
}
