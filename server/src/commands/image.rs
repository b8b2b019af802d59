//! `mirror image save`: the agent as an image archive, for `agent.image`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::bundle;
use crate::failure::{Failure, Result};

/// Folder of the agent inside the image.
const FOLDER: &str = "mirror";

/// Writes the archive (Docker's `save` format: manifest, configuration and one layer).
pub fn save(output: &Path, name: &str) -> Result<()> {
    let failed = |error: io::Error| Failure::system(format!("cannot write the image to {}", output.display()), error);
    let files = bundle::agent_files()?;
    let layer = layer(&files).map_err(failed)?;
    let digest = hex(&Sha256::digest(&layer));
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let configuration = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [format!("/{FOLDER}/loader")]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    })
    .to_string();
    let configuration_name = format!("{}.json", hex(&Sha256::digest(configuration.as_bytes())));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = json!([{"Config": configuration_name, "RepoTags": [name], "Layers": [layer_name]}]).to_string();
    let writer: Box<dyn Write> = if output == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(output).map_err(failed)?)
    };
    let mut archive = tar::Builder::new(writer);
    for (name, bytes) in [
        ("manifest.json", manifest.as_bytes()),
        (configuration_name.as_str(), configuration.as_bytes()),
        (layer_name.as_str(), layer.as_slice()),
    ] {
        append(&mut archive, name, bytes, 0o644).map_err(failed)?;
    }
    archive.into_inner().and_then(|mut writer| writer.flush()).map_err(failed)
}

fn layer(files: &bundle::AgentFiles) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files.iter() {
        append(&mut archive, &format!("{FOLDER}/{name}"), bytes, 0o555)?;
    }
    archive.into_inner()
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
