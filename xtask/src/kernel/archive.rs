// SPDX-License-Identifier: GPL-2.0-only
//! A kernel source in a tar archive: unpacked into the cache under a key of its content, whatever it is called and
//! however it is compressed.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::command::{Error, Tool};
use crate::exit::{Code, coded};
use crate::kernel::package::sha256sum;
use crate::kernel::recipe::which;
use crate::kernel::{absolute, shape, unpacked};
use crate::progress::Progress;

/// Records of 10 KiB in an archive, for the percentage: 6.12.117 unpacks to 1.5 GB.
const RECORDS: u64 = 150_000;

/// How an archive is compressed, from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    /// For tar.
    option: &'static str,
    /// What tar runs for it.
    program: Option<&'static str>,
}

impl Form {
    fn of(head: &[u8]) -> Option<Self> {
        let compressed = |option, program| Some(Self { option, program: Some(program) });
        match head {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => compressed("--xz", "xz"),
            [0x1f, 0x8b, ..] => compressed("--gzip", "gzip"),
            [b'B', b'Z', b'h', ..] => compressed("--bzip2", "bzip2"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => compressed("--zstd", "zstd"),
            // POSIX.1-1988, ustar header block: the field `magic`. GNU tar writes "ustar  " there.
            _ if head.get(257..262) == Some(b"ustar".as_slice()) => {
                Some(Self { option: "--no-auto-compress", program: None })
            }
            _ => None,
        }
    }
}

/// The source tree in an archive. The folder is named by the content, so that an archive which is moved or fetched
/// again gives the same tree, and the build folder of that goes on being used.
pub fn obtain(file: &Utf8Path, cache: &Cache, progress: &Progress) -> anyhow::Result<Utf8PathBuf> {
    let file = absolute(file, "the kernel archive")?;
    let form = form(&file)?;
    if let Some(program) = form.program.filter(|program| which(program).is_none()) {
        return Err(coded(
            Code::HostFailed,
            format!("{file} is compressed with {program}, which this host does not have (hint: install it)"),
        ));
    }
    let key = sha256sum(&file)?[..16].to_owned();
    let _lock = cache.lock(&format!("archive-{key}"), progress)?;
    let place = cache.path("archives").join(key);
    unpacked::obtain(&place, &format!("the source in {file}"), cache, progress, |scratch| {
        extract(&file, &[form.option], scratch, file.file_name().unwrap_or("an archive"), progress)
            .map_err(|error| refused(&file, error))?;
        root_of(scratch, &file)
    })?;
    Ok(place)
}

fn form(file: &Utf8Path) -> anyhow::Result<Form> {
    let mut head = Vec::new();
    fs_err::File::open(file)
        .and_then(|opened| opened.take(512).read_to_end(&mut head))
        .map_err(|error| coded(Code::Usage, error))?;
    Form::of(&head).ok_or_else(|| {
        coded(
            Code::Usage,
            format!(
                "{file} is no archive of a kernel source: not a tar file, plain or compressed with xz, gzip, bzip2 or zstd"
            ),
        )
    })
}

/// A broken archive is the user's; that tar could not run is not.
fn refused(file: &Utf8Path, error: Error) -> anyhow::Error {
    let Error::Status { tail, .. } = &error else { return error.into() };
    if tail.contains("No space left on device") {
        return error.into();
    }
    // Not those that count records.
    let says = |line: &&str| !line.is_empty() && !line.ends_with(|c: char| c.is_ascii_digit());
    let why = tail.lines().map(str::trim).find(says).unwrap_or("tar failed");
    coded(Code::Usage, format!("{file} can't be unpacked, is it complete? {why}"))
}

/// The tree among what was unpacked: all of it, or its only folder.
fn root_of(scratch: &Utf8Path, file: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    let mut folders = Vec::new();
    for entry in scratch.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.into_path());
        }
    }
    let root = match (&folders[..], shape::missing(scratch)) {
        ([only], Some(_)) => only.clone(),
        // A folder of its own: what is published must not be the scratch folder itself.
        (_, None) => wrapped(scratch)?,
        _ => scratch.to_owned(),
    };
    match shape::missing(&root) {
        None => Ok(root),
        Some(part) => {
            Err(coded(Code::Usage, format!("{file} is no archive of a Linux source tree: it has no {part}")))
        }
    }
}

/// Moves everything in `scratch` into a folder there.
fn wrapped(scratch: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    let entries: Vec<_> = scratch.read_dir_utf8()?.collect::<Result<_, _>>()?;
    let root = scratch.join(".tree");
    fs_err::create_dir(&root)?;
    for entry in entries {
        fs_err::rename(entry.path(), root.join(entry.file_name()))?;
    }
    Ok(root)
}

/// Runs tar with a percentage.
pub fn extract(
    file: &Utf8Path,
    options: &[&str],
    to: &Utf8Path,
    what: &str,
    progress: &Progress,
) -> Result<(), Error> {
    let mut step = progress.step(format!("unpack {what}"));
    Tool::new("tar")
        .args(["--extract", "--no-same-owner"])
        .args(options.iter().copied())
        .args(["--checkpoint=1500", "--checkpoint-action=echo=%u"])
        .args(["--file", file.as_str(), "--directory", to.as_str(), "--force-local"])
        .env("LC_ALL", "C")
        .stream(|line| {
            if let Some(record) =
                line.trim().trim_start_matches("tar: ").parse().ok().filter(|n: &u64| *n > 0)
            {
                step.set(record.min(RECORDS - 1), RECORDS, "");
            }
        })?;
    step.done("done");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    struct Fixture {
        _dir: tempfile::TempDir,
        root: Utf8PathBuf,
        cache: Cache,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
            let cache = Cache::at(&root.join("cache")).unwrap();
            shape::pretend(&root.join("linux-9.9"));
            Self { _dir: dir, root, cache }
        }

        fn archive(&self, name: &str, options: &[&str]) -> Utf8PathBuf {
            let file = self.root.join(name);
            Tool::new("tar")
                .args(["--create", "--file", file.as_str()])
                .args(options.iter().copied())
                .cwd(&self.root)
                .run()
                .unwrap();
            file
        }

        fn obtain(&self, file: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
            obtain(file, &self.cache, &Progress::silent())
        }

        fn refused(&self, file: &Utf8Path) -> String {
            let error = self.obtain(file).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage, "{error:#}");
            for folder in ["archives", "tmp"] {
                let mut left = self.cache.path(folder).read_dir_utf8().into_iter().flatten();
                assert!(left.next().is_none(), "something is left in {folder}");
            }
            format!("{error:#}").replace(self.root.as_str(), "DIR")
        }
    }

    #[test]
    fn every_form_is_unpacked_and_the_content_is_the_key() {
        let fixture = Fixture::new();
        let mut places = std::collections::BTreeSet::new();
        for (name, option) in
            [("a.tar.xz", "--xz"), ("b.tgz", "--gzip"), ("c", "--bzip2"), ("d.tar", "--format=ustar")]
        {
            let file = fixture.archive(name, &[option, "linux-9.9"]);
            let tree = fixture.obtain(&file).unwrap();
            assert_eq!(shape::missing(&tree), None, "{name}");
            let moved = fixture.root.join(format!("moved-{name}"));
            fs_err::rename(&file, &moved).unwrap();
            assert_eq!(fixture.obtain(&moved).unwrap(), tree, "{name}");
            places.insert(tree);
        }
        assert_eq!(places.len(), 4);
        let flat = fixture.archive("flat.tar", &["--directory=linux-9.9", "."]);
        assert_eq!(shape::missing(&fixture.obtain(&flat).unwrap()), None);
    }

    #[test]
    fn what_is_no_archive_of_a_kernel_is_the_users_error_and_leaves_nothing() {
        let fixture = Fixture::new();
        let text = fixture.root.join("notes.tar.xz");
        fs_err::write(&text, "not an archive").unwrap();
        let other = fixture.archive("other.tar.gz", &["--gzip", "linux-9.9/Kconfig"]);
        let whole = fixture.archive("whole.tar.gz", &["--gzip", "linux-9.9"]);
        let bytes = fs_err::read(&whole).unwrap();
        fs_err::write(&whole, &bytes[..bytes.len() / 2]).unwrap();
        insta::assert_snapshot!(fixture.refused(&text), @"DIR/notes.tar.xz is no archive of a kernel source: not a tar file, plain or compressed with xz, gzip, bzip2 or zstd");
        insta::assert_snapshot!(fixture.refused(&other), @"DIR/other.tar.gz is no archive of a Linux source tree: it has no Makefile");
        let cut = fixture.refused(&whole);
        assert!(
            cut.starts_with(
                "DIR/whole.tar.gz can't be unpacked, is it complete? gzip: stdin: unexpected end"
            ),
            "{cut}"
        );
        let error = fixture.obtain(&fixture.root.join("none.tar")).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
    }
}
