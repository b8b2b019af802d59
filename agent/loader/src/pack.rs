//! The packing side: what the server puts into ConfigMaps.

use std::io::{self, Write};

use lzma_rust2::filter::bcj::BcjWriter;
use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};

/// Largest chunk in bytes; a ConfigMap holds 1,048,576 bytes with its keys.
pub const CHUNK: usize = 1_000_000;

/// Why a program could not be packed.
#[derive(Debug)]
pub struct PackError(io::Error);

impl core::fmt::Display for PackError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("compress the agent")
    }
}

impl std::error::Error for PackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Compresses a program. Takes about two seconds: done when the server is built, not for each session.
pub fn pack(program: &[u8]) -> Result<Vec<u8>, PackError> {
    let options = LzmaOptions {
        dict_size: (program.len() as u32).next_power_of_two().clamp(64 * 1024, 16 << 20),
        lc: 4,
        lp: 0,
        pb: 2,
        mode: EncodeMode::Normal,
        nice_len: LzmaOptions::NICE_LEN_MAX,
        mf: MfType::Bt4,
        depth_limit: 512,
        preset_dict: None,
    };
    let compress = || {
        let writer = LzmaWriter::new_use_header(Vec::new(), &options, Some(program.len() as u64))?;
        let mut filter = BcjWriter::new_x86(writer, 0);
        filter.write_all(program)?;
        filter.finish()?.finish()
    };
    compress().map_err(PackError)
}

/// Cuts packed bytes into named chunks: the data of the ConfigMaps beside the loader itself.
pub fn chunks(packed: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    packed.chunks(CHUNK).enumerate().map(|(number, chunk)| (format!("agent.{number}"), chunk))
}
