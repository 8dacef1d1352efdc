// SPDX-License-Identifier: GPL-2.0-only
//! Images in the cache: images/ID/{initramfs.cpio,files.tsv}, checked before use, the newest few kept.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::Image;
use super::digest::{Digests, sha256};
use super::newc::{Archive, Kind};
use super::tree::{Entry, Node, Source, Tree};
use crate::cache::Cache;
use crate::progress::Progress;

/// Images that stay: 15 MB each; somebody who bisects goes back a few steps at most.
const KEPT: usize = 8;

/// An image used within this time stays too: a run that is under way boots further VMs from it.
const IN_USE: Duration = Duration::from_secs(2 * 3600);

const ARCHIVE: &str = "initramfs.cpio";
const LIST: &str = "files.tsv";

/// The images in a cache.
#[derive(Debug)]
pub struct Store<'a> {
    /// The cache.
    pub cache: &'a Cache,
    /// Where to tell.
    pub progress: &'a Progress,
}

impl Store<'_> {
    fn folder(&self, id: &str) -> Utf8PathBuf {
        self.cache.path("images").join(id)
    }

    fn image(&self, id: &str) -> Image {
        let folder = self.folder(id);
        Image { path: folder.join(ARCHIVE), list: folder.join(LIST), id: id.to_owned() }
    }

    /// The image if it is there and sound. A damaged one is told and counts as absent.
    pub fn find(&self, id: &str, digests: &mut Digests) -> Option<Image> {
        let image = self.image(id);
        if !self.folder(id).exists() {
            return None;
        }
        match check(&image, digests) {
            Ok(()) => {
                // The time of last use, for `prune`; if it can't be set the image only goes earlier.
                let _ = std::fs::File::open(self.folder(id)).and_then(|f| f.set_modified(SystemTime::now()));
                Some(image)
            }
            Err(error) => {
                self.progress.line(&format!("guest image {}: {error:#}; making it again", &id[..12]));
                None
            }
        }
    }

    /// Writes the image for a tree. `unchanged` tells whether the host's files are still those that `id` was made of,
    /// so that no other content is ever kept under it.
    pub fn make(
        &self,
        id: &str,
        tree: &Tree,
        unchanged: impl FnOnce() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Image> {
        let scratch = self.cache.scratch("image-")?;
        let folder = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
        let (archive, list) = archive(tree)?;
        anyhow::ensure!(
            unchanged()?,
            "the guest binary, a tool or a module changed while the guest image was made of it (hint: run again)"
        );
        let head = format!("# image {id}\n# {ARCHIVE} {} {}\n", archive.len(), sha256(&archive));
        fs_err::write(folder.join(ARCHIVE), &archive)?;
        fs_err::write(folder.join(LIST), head + &list)?;
        self.cache.publish(scratch, &self.folder(id))?;
        self.prune(id);
        Ok(self.image(id))
    }

    /// Removes all but the images used last.
    fn prune(&self, newest: &str) {
        let Ok(entries) = self.cache.path("images").read_dir_utf8() else { return };
        let others = entries.flatten().filter(|entry| entry.file_name() != newest).filter_map(|entry| {
            let meta = entry.metadata().ok().filter(std::fs::Metadata::is_dir)?;
            Some((meta.modified().ok()?, entry.into_path()))
        });
        for path in surplus(others.collect(), SystemTime::now()) {
            if let Err(error) = fs_err::remove_dir_all(&path) {
                tracing::debug!(%error, "remove an old image");
            }
        }
    }
}

/// Which of the other images go when one more was made: time of last use and folder.
fn surplus(mut others: Vec<(SystemTime, Utf8PathBuf)>, now: SystemTime) -> Vec<Utf8PathBuf> {
    others.sort();
    others.truncate((others.len() + 1).saturating_sub(KEPT));
    let idle = |used: &SystemTime| now.duration_since(*used).is_ok_and(|age| age > IN_USE);
    others.into_iter().filter(|(used, _)| idle(used)).map(|(_, path)| path).collect()
}

/// Compares the archive with what the list says about it.
fn check(image: &Image, digests: &mut Digests) -> anyhow::Result<()> {
    let list = fs_err::read_to_string(&image.list)?;
    let mut lines = list.lines();
    anyhow::ensure!(lines.next() == Some(&format!("# image {}", image.id)), "{LIST} is not of this image");
    let (bytes, digest) = lines
        .next()
        .and_then(|line| line.strip_prefix(&format!("# {ARCHIVE} "))?.split_once(' '))
        .with_context(|| format!("{LIST} does not say what {ARCHIVE} is"))?;
    let found = fs_err::metadata(&image.path)?.len().to_string();
    anyhow::ensure!(found == bytes, "{ARCHIVE} has {found} bytes instead of {bytes}");
    anyhow::ensure!(
        digests.of(&image.path)? == digest,
        "{ARCHIVE} has another SHA-256 than when it was made"
    );
    Ok(())
}

/// The bytes of the archive, and the list of what is in it.
fn archive(tree: &Tree) -> anyhow::Result<(Vec<u8>, String)> {
    let mut archive = Archive::new(Vec::new());
    let mut list = String::from("# path\tmode\tbytes\tsha256\torigin\n");
    for (path, Entry { node, mode, origin }) in tree.iter() {
        let read;
        let kind = match node {
            Node::Directory => Kind::Directory,
            Node::Symlink(target) => Kind::Symlink(target),
            Node::Character(major, minor) => Kind::Character(*major, *minor),
            Node::Block(major, minor) => Kind::Block(*major, *minor),
            Node::File(Source::Bytes(bytes)) => Kind::File(bytes),
            Node::File(Source::Host(host)) => {
                read = fs_err::read(host)?;
                Kind::File(&read)
            }
        };
        archive
            .entry(path.as_str(), *mode, kind)
            .with_context(|| format!("put {path} into the guest image"))?;
        let (letter, bytes, digest) = match kind {
            Kind::File(bytes) => ('-', bytes.len().to_string(), sha256(bytes)),
            Kind::Directory => ('d', "0".into(), "-".into()),
            Kind::Symlink(target) => ('l', "0".into(), format!("-> {target}")),
            Kind::Character(major, minor) => ('c', "0".into(), format!("{major}:{minor}")),
            Kind::Block(major, minor) => ('b', "0".into(), format!("{major}:{minor}")),
        };
        writeln!(list, "/{path}\t{letter}{mode:04o}\t{bytes}\t{digest}\t{origin}")?;
    }
    Ok((archive.finish()?, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        let mut tree = Tree::default();
        let node = Node::File(Source::Bytes(text.as_bytes().to_vec()));
        tree.put("/etc/motd".into(), Entry { node, mode: 0o644, origin: "test".into() }).unwrap();
        tree
    }

    const ID: &str = "0123456789abcdef";

    #[test]
    fn a_damaged_image_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        let progress = Progress::silent();
        let store = Store { cache: &cache, progress: &progress };
        let mut digests = Digests::load(&cache.path("digests.json"));
        assert_eq!(store.find(ID, &mut digests), None);
        let make = || store.make(ID, &tree("hello"), || Ok(true)).unwrap();
        let image = make();
        assert_eq!(store.find(ID, &mut digests).as_ref(), Some(&image));
        let sound = fs_err::read(&image.path).unwrap();
        let mut flipped = sound.clone();
        flipped[130] ^= 1;
        for (path, content) in [
            (&image.path, &sound[..sound.len() - 1]),
            (&image.path, &flipped[..]),
            (&image.list, b"".as_slice()),
            (&image.list, b"# image 0123456789abcdef\n# initramfs.cpio ".as_slice()),
            (&image.list, b"\xff\n".as_slice()),
        ] {
            fs_err::write(path, content).unwrap();
            assert_eq!(store.find(ID, &mut digests), None, "{path}");
            make();
            assert!(store.find(ID, &mut digests).is_some());
        }
        fs_err::remove_file(&image.path).unwrap();
        assert_eq!(store.find(ID, &mut digests), None);
    }

    #[test]
    fn nothing_is_kept_when_an_input_changed_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        let progress = Progress::silent();
        let store = Store { cache: &cache, progress: &progress };
        assert!(store.make(ID, &tree("x"), || Ok(false)).is_err());
        assert!(!store.folder(ID).exists());
        assert_eq!(fs_err::read_dir(cache.path("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn the_list_says_what_is_in_the_archive() {
        let (_, list) = archive(&tree("hello")).unwrap();
        insta::assert_snapshot!(list.replace('\t', " | "), @r"
        # path | mode | bytes | sha256 | origin
        /etc | d0755 | 0 | - | folder for test
        /etc/motd | -0644 | 5 | 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 | test
        ");
    }

    #[test]
    fn the_images_used_last_and_those_in_use_stay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * 3600);
        let used =
            |hours: u64| (now - Duration::from_secs(hours * 3600), Utf8PathBuf::from(hours.to_string()));
        assert_eq!(surplus((10..17).map(used).collect(), now), Vec::<Utf8PathBuf>::new());
        assert_eq!(surplus((10..19).map(used).collect(), now), ["18", "17"]);
        assert_eq!(surplus((0..12).map(used).collect(), now), ["11", "10", "9", "8", "7"]);
        assert_eq!(surplus(vec![used(1); 20], now), Vec::<Utf8PathBuf>::new());
    }
}
