// SPDX-License-Identifier: GPL-2.0-only
//! SHA-256 in hexadecimal, of bytes, of files and of a list of ingredients.

use std::fmt::Write as _;
use std::io::Read as _;

use anyhow::Context as _;
use camino::Utf8Path;
use sha2::{Digest as _, Sha256};

use crate::interrupt;

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Of bytes.
pub fn bytes(data: &[u8]) -> String {
    hex(Sha256::digest(data).as_slice())
}

/// Of a file, and its size.
pub fn file(path: &Utf8Path) -> anyhow::Result<(String, u64)> {
    let mut file = fs_err::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        interrupt::check()?;
        let n = file.read(&mut buffer).with_context(|| format!("read {path}"))?;
        if n == 0 {
            return Ok((hex(digest.finalize().as_slice()), size));
        }
        size += n as u64;
        digest.update(&buffer[..n]);
    }
}

/// Of named ingredients: a key that changes when any of them does. Each is written with its length, so that no
/// two lists look the same.
pub fn key(ingredients: &[(&str, &str)]) -> String {
    let mut digest = Sha256::new();
    for (name, value) in ingredients {
        digest.update(format!("{name} {}\n{value}\n", value.len()));
    }
    hex(digest.finalize().as_slice())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_abc() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_key_changes_with_each_ingredient() {
        let base = key(&[("source", "a"), ("config", "b")]);
        for other in [
            [("source", "a"), ("config", "c")],
            [("source", "x"), ("config", "b")],
            [("source", "ab"), ("config", "")],
        ] {
            assert_ne!(base, key(&other));
        }
        assert_eq!(base.len(), 16);
    }
}
