// SPDX-License-Identifier: GPL-2.0-only
//! Which kernel modules an image takes, with what they depend on: from the text files that depmod(8) wrote beside
//! them (modules.dep, modules.builtin, modules.softdep, modules.alias). Pure; copying them is `stage`'s business.

use std::collections::{BTreeMap, BTreeSet};

use guest::modules::Modules;

use super::manifest::Module;

/// Endings of a module file, compressed or not.
pub const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// What depmod(8) knows about the modules of one kernel.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Folded name → its file, then the files that it needs, in the order of modules.dep: what a file needs stands
    /// after it. Relative to lib/modules/RELEASE.
    files: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
    /// Folded name → what should be loaded with it.
    soft: BTreeMap<String, Vec<String>>,
    /// Alias without wildcards → folded name.
    aliases: BTreeMap<String, String>,
}

/// What is taken of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Files, relative to lib/modules/RELEASE.
    pub files: BTreeSet<String>,
    /// What the guest is told.
    pub guest: Modules,
}

/// A module's name as the kernel has it, of a file's path or a name with dashes.
pub fn folded(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    name.replace('-', "_")
}

/// A module file's path after decompression.
pub fn uncompressed(path: &str) -> String {
    path.rfind(".ko").map_or_else(|| path.to_owned(), |at| path[..at + 3].to_owned())
}

impl Index {
    /// From the text of the four files; all but the first may be empty.
    pub fn parse(dep: &str, builtin: &str, softdep: &str, alias: &str) -> Self {
        let files = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let all = std::iter::once(file).chain(needs.split_whitespace()).map(str::to_owned);
            Some((folded(file), all.collect()))
        });
        let soft = softdep.lines().filter_map(|line| {
            let mut words = line.strip_prefix("softdep ")?.split_whitespace();
            let name = folded(words.next()?);
            Some((name, words.filter(|w| !w.ends_with(':')).map(str::to_owned).collect::<Vec<_>>()))
        });
        let mut softs = BTreeMap::<_, Vec<_>>::new();
        for (name, wanted) in soft {
            softs.entry(name).or_default().extend(wanted);
        }
        let aliases = alias.lines().filter_map(|line| {
            let (alias, name) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
            (!alias.contains(['*', '?', '['])).then(|| (alias.to_owned(), folded(name)))
        });
        Self {
            files: files.collect(),
            builtin: builtin.lines().map(folded).collect(),
            soft: softs,
            aliases: aliases.collect(),
        }
    }

    /// Takes what the manifest wants. `directory` is how messages call lib/modules/RELEASE; without `builtin_ok` a
    /// module that is built in counts as missing.
    pub fn select(&self, wanted: &[Module], release: &str, builtin_ok: bool) -> Selection {
        let mut selection = Selection::default();
        for module in wanted {
            let name = folded(&module.name);
            if self.files.contains_key(&name) {
                let files = self.take(&name, &mut selection.files);
                let paths = files.iter().map(|file| format!("/lib/modules/{release}/{}", uncompressed(file)));
                selection.guest.files.insert(module.name.clone(), paths.collect());
                if module.load {
                    selection.guest.load.push(module.name.clone());
                }
            } else if !self.builtin.contains(&name) {
                let symbol =
                    module.symbol.as_ref().map(|symbol| format!("this kernel has no CONFIG_{symbol}: "));
                let symbol = symbol.unwrap_or_default();
                let why = format!("{symbol}not in lib/modules/{release}, and not built in");
                selection.guest.missing.insert(module.name.clone(), why);
            } else if !builtin_ok {
                let why = "built into the kernel, and wanted as a module".to_owned();
                selection.guest.missing.insert(module.name.clone(), why);
            }
        }
        selection
    }

    /// The files of one module in the order of insmod: what it needs first. What it would like to have (softdep) is
    /// taken into the image for modprobe, but is not part of the answer.
    fn take(&self, name: &str, taken: &mut BTreeSet<String>) -> Vec<String> {
        let mut order = self.files.get(name).cloned().unwrap_or_default();
        order.reverse();
        let mut names: Vec<_> = order.iter().map(|file| folded(file)).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = names.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            taken.extend(self.files.get(&name).into_iter().flatten().cloned());
            names.extend(self.files.get(&name).into_iter().flatten().map(|file| folded(file)));
            for soft in self.soft.get(&name).into_iter().flatten() {
                let found = self.aliases.get(soft).cloned().unwrap_or_else(|| folded(soft));
                names.extend(self.files.contains_key(&found).then_some(found));
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from a build of 6.12.117, shortened; the softdep lines are those of a distribution's kernel.
    const DEP: &str = "\
kernel/drivers/scsi/scsi_debug.ko.xz:
kernel/drivers/md/dm-mod.ko:
kernel/drivers/md/dm-multipath.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-round-robin.ko: kernel/drivers/md/dm-multipath.ko kernel/drivers/md/dm-mod.ko
kernel/drivers/scsi/sd_mod.ko: kernel/lib/crc64-rocksoft.ko
kernel/lib/crc64-rocksoft.ko:
kernel/crypto/crc64_rocksoft_generic.ko: kernel/lib/crc64.ko
kernel/lib/crc64.ko:
";
    const BUILTIN: &str = "kernel/drivers/char/virtio_console.ko\n";
    const SOFTDEP: &str = "# Soft dependencies\nsoftdep crc64_rocksoft pre: crc64-rocksoft-alias absent\n";
    const ALIAS: &str = "alias crc64-rocksoft-alias crc64_rocksoft_generic\nalias scsi:t-0x00* sd_mod\n";

    fn wanted(name: &str, load: bool) -> Module {
        let symbol = (name == "dm-dust").then(|| "DM_DUST".to_owned());
        Module { name: name.into(), symbol, required: false, load }
    }

    #[test]
    fn names_are_folded() {
        let table = [
            ("kernel/drivers/md/dm-mod.ko", "dm_mod"),
            ("kernel/fs/ext4/ext4.ko.zst", "ext4"),
            ("dm-multipath", "dm_multipath"),
            ("scsi_debug.ko.xz", "scsi_debug"),
        ];
        for (path, name) in table {
            assert_eq!(folded(path), name);
        }
        assert_eq!(uncompressed("a/b.ko.xz"), "a/b.ko");
        assert_eq!(uncompressed("a.kot/b.ko"), "a.kot/b.ko");
    }

    #[test]
    fn dependencies_come_first_and_what_is_missing_has_a_reason() {
        let index = Index::parse(DEP, BUILTIN, SOFTDEP, ALIAS);
        let wanted = [
            wanted("virtio_console", true),
            wanted("sd_mod", true),
            wanted("dm-round-robin", true),
            wanted("scsi_debug", false),
            wanted("dm-dust", true),
        ];
        insta::assert_yaml_snapshot!(index.select(&wanted, "6.12.117", true).guest, @r#"
        load:
          - sd_mod
          - dm-round-robin
        files:
          dm-round-robin:
            - /lib/modules/6.12.117/kernel/drivers/md/dm-mod.ko
            - /lib/modules/6.12.117/kernel/drivers/md/dm-multipath.ko
            - /lib/modules/6.12.117/kernel/drivers/md/dm-round-robin.ko
          scsi_debug:
            - /lib/modules/6.12.117/kernel/drivers/scsi/scsi_debug.ko
          sd_mod:
            - /lib/modules/6.12.117/kernel/lib/crc64-rocksoft.ko
            - /lib/modules/6.12.117/kernel/drivers/scsi/sd_mod.ko
        missing:
          dm-dust: "this kernel has no CONFIG_DM_DUST: not in lib/modules/6.12.117, and not built in"
        "#);
        insta::assert_debug_snapshot!(index.select(&wanted, "6.12.117", true).files, @r#"
        {
            "kernel/crypto/crc64_rocksoft_generic.ko",
            "kernel/drivers/md/dm-mod.ko",
            "kernel/drivers/md/dm-multipath.ko",
            "kernel/drivers/md/dm-round-robin.ko",
            "kernel/drivers/scsi/scsi_debug.ko.xz",
            "kernel/drivers/scsi/sd_mod.ko",
            "kernel/lib/crc64-rocksoft.ko",
            "kernel/lib/crc64.ko",
        }
        "#);
        assert!(index.select(&wanted, "6.12.117", false).guest.missing.contains_key("virtio_console"));
    }

    #[test]
    fn strange_lines_are_passed_over() {
        let index = Index::parse("no colon\n:\n\n", "\n", "softdep\nsoftdep \n", "alias\nalias x\n");
        assert!(index.select(&[], "1", true).files.is_empty());
    }
}
