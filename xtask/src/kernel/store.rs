// SPDX-License-Identifier: GPL-2.0-only
//! The store of built kernels: `kernels/<id>/{bzImage,System.map,config,manifest.json,lib/modules/<release>/}`.
//! An entry is published by rename, verified against its manifest on every use, and kept from being pruned while
//! it is in use.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::cache::Cache;
use crate::kernel::config::Config;
use crate::kernel::series::Applied;
use crate::kernel::{Kernel, sha};
use crate::progress::Progress;

const MANIFEST: &str = "manifest.json";

/// What is known about a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub v: u32,
    /// Key in the store.
    pub id: String,
    /// `base 6.12`, `tree /path`, `prebuilt /path`.
    pub source: String,
    /// `stock`, `baseline`, `pushback`; `as is` for what is not a base.
    pub variant: String,
    /// Whether the hooks of the series `observe` are in.
    #[serde(default)]
    pub observe: bool,
    /// What was applied to the base, in order.
    #[serde(default)]
    pub patches: Vec<Applied>,
    /// `plain`, `lock`, `kasan`, `kcsan`; `as is` for what was not built here.
    #[serde(default)]
    pub flavour: String,
    /// `uname -r`.
    pub release: String,
    /// More about the source: package, version and checksum.
    pub origin: String,
    /// The compiler, in its own words.
    pub compiler: String,
    /// Symbols that were asked for and that the source does not define.
    pub unknown_symbols: Vec<String>,
    /// What went wrong without being an error.
    pub warnings: Vec<String>,
    /// Modules of this project that could not be built for it, and why.
    #[serde(default)]
    pub missing_modules: BTreeMap<String, String>,
    /// When it was built, seconds since 1970.
    pub built: u64,
    /// Every file, relative to the entry.
    pub files: BTreeMap<String, Fact>,
}

/// A file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// In bytes.
    pub size: u64,
    /// Of its content.
    pub sha256: String,
}

/// Held while a kernel is used: a shared lock, so that any number of runs use it and none removes it.
#[derive(Debug)]
pub struct InUse {
    _file: Flock<File>,
}

impl InUse {
    /// Takes the lock of an entry of the cache; `None` if somebody else holds one that excludes it.
    pub fn take(cache: &Cache, id: &str, how: FlockArg) -> anyhow::Result<Option<Self>> {
        let path = cache.path(format!("locks/use-{id}"));
        // Opening for writing and setting the length moves the time of last use.
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open the lock {path}"))?;
        if how == FlockArg::LockShared {
            file.set_modified(SystemTime::now()).with_context(|| format!("touch {path}"))?;
        }
        match Flock::lock(file, how) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("lock {path}")),
        }
    }
}

/// Where an entry lies.
pub fn place(cache: &Cache, id: &str) -> Utf8PathBuf {
    cache.path("kernels").join(id)
}

/// Opens the entry `id`. One that is damaged is named, thrown away and as good as absent.
pub fn open(cache: &Cache, id: &str, progress: &Progress) -> anyhow::Result<Option<Kernel>> {
    let in_use = InUse::take(cache, id, FlockArg::LockShared)?;
    let dir = place(cache, id);
    if !dir.exists() {
        return Ok(None);
    }
    match verify(&dir, id) {
        Ok(manifest) => Ok(Some(kernel(dir, manifest, in_use.map(Arc::new))?)),
        Err(error) => {
            progress.line(&format!(
                "warning: kernel {id} in the store is damaged ({error:#}): thrown away, built again"
            ));
            let grave = cache.scratch("damaged-")?;
            fs_err::rename(&dir, grave.path().join("entry"))?;
            Ok(None)
        }
    }
}

fn kernel(dir: Utf8PathBuf, manifest: Manifest, in_use: Option<Arc<InUse>>) -> anyhow::Result<Kernel> {
    let config = dir.join("config");
    let symbols = Config::parse(&fs_err::read_to_string(&config)?, config.as_str())?;
    Ok(Kernel {
        bzimage: dir.join("bzImage"),
        modules: dir.join("lib/modules").join(&manifest.release),
        config: Some(config),
        symbols: Some(Arc::new(symbols)),
        dir,
        manifest,
        in_use,
    })
}

fn read_manifest(dir: &Utf8Path) -> anyhow::Result<Manifest> {
    let path = dir.join(MANIFEST);
    serde_json::from_str(&fs_err::read_to_string(&path)?).with_context(|| format!("parse {path}"))
}

fn verify(dir: &Utf8Path, id: &str) -> anyhow::Result<Manifest> {
    let manifest = read_manifest(dir)?;
    anyhow::ensure!(manifest.id == id, "its manifest is that of {}", manifest.id);
    for (name, fact) in &manifest.files {
        let (sha256, size) = sha::file(&dir.join(name))?;
        anyhow::ensure!(size == fact.size, "{name} has {size} bytes instead of {}", fact.size);
        anyhow::ensure!(sha256 == fact.sha256, "the content of {name} changed");
    }
    Ok(manifest)
}

/// Every file below `dir` with size and checksum.
pub fn facts(dir: &Utf8Path) -> anyhow::Result<BTreeMap<String, Fact>> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(dir) {
        let entry = entry.with_context(|| format!("look at the files of {dir}"))?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = Utf8PathBuf::try_from(entry.into_path())?;
        let (sha256, size) = sha::file(&path)?;
        files.insert(path.strip_prefix(dir)?.to_string(), Fact { size, sha256 });
    }
    Ok(files)
}

/// Publishes a finished folder as the entry `manifest.id` and opens it.
pub fn publish(cache: &Cache, scratch: tempfile::TempDir, mut manifest: Manifest) -> anyhow::Result<Kernel> {
    let dir = Utf8PathBuf::try_from(scratch.path().to_owned())?;
    manifest.v = 1;
    manifest.built = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if manifest.files.is_empty() {
        manifest.files = facts(&dir)?;
    }
    fs_err::write(dir.join(MANIFEST), serde_json::to_string_pretty(&manifest)?)?;
    let in_use = InUse::take(cache, &manifest.id, FlockArg::LockShared)?;
    let place = place(cache, &manifest.id);
    cache.publish(scratch, &place)?;
    kernel(place, manifest, in_use.map(Arc::new))
}

/// An entry of the store, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its key.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// Its variant.
    pub variant: String,
    /// Whether it carries the hooks.
    pub observe: bool,
    /// Its flavour.
    pub flavour: String,
    /// `uname -r`.
    pub release: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since it was built.
    pub age: u64,
    /// Seconds since it was last used.
    pub unused: u64,
}

/// What is in the store, the last used first. An entry without a readable manifest is listed as damaged.
pub fn list(cache: &Cache) -> anyhow::Result<Vec<Entry>> {
    let dir = cache.path("kernels");
    if !dir.exists() {
        return Ok(vec![]);
    }
    let now = SystemTime::now();
    let since = |then: SystemTime| now.duration_since(then).unwrap_or_default().as_secs();
    let mut entries = Vec::new();
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        let id = entry.file_name().to_owned();
        let manifest = read_manifest(entry.path())
            .unwrap_or_else(|_| Manifest { source: "damaged".to_owned(), ..Manifest::default() });
        let used = fs_err::metadata(cache.path(format!("locks/use-{id}"))).and_then(|m| m.modified());
        entries.push(Entry {
            source: manifest.source,
            variant: manifest.variant,
            observe: manifest.observe,
            flavour: manifest.flavour,
            release: manifest.release,
            size: manifest.files.values().map(|fact| fact.size).sum(),
            age: since(SystemTime::UNIX_EPOCH + Duration::from_secs(manifest.built)),
            unused: used.map_or(u64::MAX, since),
            id,
        });
    }
    entries.sort_by(|a, b| (a.unused, &a.id).cmp(&(b.unused, &b.id)));
    Ok(entries)
}

/// Removes all entries that `which` names but the `keep` last used of them; never one that is in use. Returns what
/// went, and what was kept because it is in use.
pub fn prune_kernels(
    cache: &Cache,
    keep: usize,
    which: impl Fn(&Entry) -> bool,
) -> anyhow::Result<(Vec<Entry>, Vec<Entry>)> {
    let (mut gone, mut busy) = (Vec::new(), Vec::new());
    for entry in list(cache)?.into_iter().filter(which).skip(keep) {
        let Some(_lock) = InUse::take(cache, &entry.id, FlockArg::LockExclusiveNonblock)? else {
            busy.push(entry);
            continue;
        };
        let grave = cache.scratch("pruned-")?;
        fs_err::rename(place(cache, &entry.id), grave.path().join("entry"))?;
        gone.push(entry);
    }
    Ok((gone, busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        (dir, cache)
    }

    fn published(cache: &Cache, id: &str) -> Kernel {
        let scratch = cache.scratch("test-").unwrap();
        let dir = Utf8Path::from_path(scratch.path()).unwrap();
        fs_err::create_dir_all(dir.join("lib/modules/6.12.1")).unwrap();
        fs_err::write(dir.join("bzImage"), "kernel").unwrap();
        fs_err::write(dir.join("config"), "CONFIG_A=y\n").unwrap();
        publish(cache, scratch, Manifest { id: id.into(), release: "6.12.1".into(), ..Manifest::default() })
            .unwrap()
    }

    #[test]
    fn what_was_published_is_found_and_known() {
        let (_dir, cache) = cache();
        published(&cache, "1234");
        let kernel = open(&cache, "1234", &Progress::silent()).unwrap().unwrap();
        assert_eq!(
            (kernel.release(), kernel.has_symbol("A"), kernel.has_symbol("B")),
            ("6.12.1", Some(true), Some(false))
        );
        assert!(kernel.modules().ends_with("kernels/1234/lib/modules/6.12.1"));
        assert!(open(&cache, "5678", &Progress::silent()).unwrap().is_none());
    }

    #[test]
    fn a_damaged_entry_is_thrown_away() {
        type Damage = fn(&Utf8Path);
        let damages: [(&str, Damage); 4] = [
            ("content", |dir| fs_err::write(dir.join("bzImage"), "kermel").unwrap()),
            ("truncated", |dir| fs_err::write(dir.join("bzImage"), "ker").unwrap()),
            ("missing", |dir| fs_err::remove_file(dir.join("config")).unwrap()),
            ("manifest", |dir| fs_err::write(dir.join(MANIFEST), "{").unwrap()),
        ];
        for (name, damage) in damages {
            let (_dir, cache) = cache();
            damage(&published(&cache, "1234").dir);
            assert!(open(&cache, "1234", &Progress::silent()).unwrap().is_none(), "{name}");
            assert!(!place(&cache, "1234").exists(), "{name}");
        }
    }

    #[test]
    fn prune_keeps_the_last_used_and_those_in_use() {
        let (_dir, cache) = cache();
        let in_use = published(&cache, "a");
        drop(published(&cache, "b"));
        let (gone, busy) = prune_kernels(&cache, 0, |_| true).unwrap();
        assert_eq!((gone.len(), busy.len()), (1, 1));
        assert_eq!((gone[0].id.as_str(), busy[0].id.as_str()), ("b", "a"));
        drop(in_use);
        assert!(prune_kernels(&cache, 1, |_| true).unwrap().0.is_empty());
        assert_eq!(prune_kernels(&cache, 0, |_| true).unwrap().0.len(), 1);
        assert!(list(&cache).unwrap().is_empty());
    }
}
