// SPDX-License-Identifier: GPL-2.0-only
//! A kernel that somebody else built: its image and its modules are used where they are. What belongs together is
//! checked by the release, which the image carries inside.

use std::sync::Arc;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::exit::{Code, coded};
use crate::kernel::config::Config;
use crate::kernel::modules::names as own_modules;
use crate::kernel::store::Manifest;
use crate::kernel::{Kernel, absolute, sha};

/// Why a kernel lacks this project's modules, if it does.
const BUILT_ELSEWHERE: &str = "a module of this project, which is built with a kernel's source";

/// Opens image and modules.
pub fn open(bzimage: &Utf8Path, modules: &Utf8Path) -> anyhow::Result<Kernel> {
    let bzimage = absolute(bzimage, "the kernel image")?;
    let modules = modules_of(&absolute(modules, "the modules' folder")?)?;
    let image = fs_err::read(&bzimage).map_err(|error| coded(Code::Usage, error))?;
    let version = release_in(&image).ok_or_else(|| {
        coded(
            Code::Usage,
            format!("{bzimage} is not an x86 kernel image (bzImage): no boot header with a version inside"),
        )
    })?;
    let folder = modules.file_name().unwrap_or_default().to_owned();
    if version != folder {
        return Err(coded(
            Code::Usage,
            format!(
                "the image {bzimage} is {version}, the modules in {modules} are for {folder} (hint: they must be of the same build)"
            ),
        ));
    }
    if !modules.join("modules.dep").exists() {
        return Err(coded(Code::Usage, format!("{modules} has no modules.dep (hint: run depmod on it)")));
    }
    let config = config_of(&bzimage, &modules, &version);
    let symbols = match &config {
        Some(path) => Some(Arc::new(Config::parse(&fs_err::read_to_string(path)?, path.as_str())?)),
        None => None,
    };
    let manifest = Manifest {
        v: 1,
        id: sha::bytes(&image)[..16].to_owned(),
        source: format!("prebuilt {bzimage}"),
        variant: "as is".to_owned(),
        flavour: "as is".to_owned(),
        release: version,
        origin: format!("modules {modules}"),
        missing_modules: own_modules().map(|name| (name.to_owned(), BUILT_ELSEWHERE.to_owned())).collect(),
        ..Manifest::default()
    };
    let dir = bzimage.parent().map(ToOwned::to_owned).context("folder of the kernel image")?;
    Ok(Kernel { dir, manifest, bzimage, modules, config, symbols, in_use: None })
}

/// `dir` itself if it is `lib/modules/<release>`, else the only one below it.
fn modules_of(dir: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    if dir.join("modules.order").exists() || dir.join("modules.dep").exists() || dir.join("kernel").is_dir() {
        return Ok(dir.to_owned());
    }
    let usage = |text: String| coded(Code::Usage, text);
    let Some(parent) =
        ["lib/modules", "usr/lib/modules"].iter().map(|sub| dir.join(sub)).find(|sub| sub.is_dir())
    else {
        return Err(usage(format!("{dir} is neither lib/modules/<release> nor a folder that contains one")));
    };
    let found: Vec<_> =
        parent.read_dir_utf8()?.filter_map(Result::ok).filter(|entry| entry.path().is_dir()).collect();
    match &found[..] {
        [one] => Ok(one.path().to_owned()),
        [] => Err(usage(format!("{parent} is empty: no modules for any release"))),
        several => {
            let mut names: Vec<_> = several.iter().map(camino::Utf8DirEntry::file_name).collect();
            names.sort_unstable();
            Err(usage(format!("{parent} has several releases ({}): name one of them", names.join(", "))))
        }
    }
}

/// Where distributions and `make install` leave the config.
fn config_of(bzimage: &Utf8Path, modules: &Utf8Path, release: &str) -> Option<Utf8PathBuf> {
    let beside = bzimage.parent()?;
    let named = format!("config-{release}");
    [
        modules.join("config"),
        modules.join("build/.config"),
        beside.join(&named),
        beside.join("config"),
        Utf8Path::new("/boot").join(&named),
    ]
    .into_iter()
    .find(|path| path.is_file())
}

/// The release inside a bzImage: the boot header's field `kernel_version` (Documentation/arch/x86/boot.rst) at
/// 0x20e points, less 0x200, to a string that starts with it.
fn release_in(image: &[u8]) -> Option<String> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let pointer: [u8; 2] = image.get(0x20e..0x210)?.try_into().ok()?;
    let text = image.get(usize::from(u16::from_le_bytes(pointer)) + 0x200..)?;
    let end = text.iter().take(256).position(|byte| *byte == 0 || *byte == b' ')?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    (!release.is_empty()).then(|| release.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::code_of;

    fn image(text: &str) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
        image
    }

    #[test]
    fn finds_the_release() {
        assert_eq!(release_in(&image("6.12.117 (x@y) #1 SMP")), Some("6.12.117".into()));
        assert_eq!(release_in(&image("")), None);
        assert_eq!(release_in(b"\x7fELF"), None);
        assert_eq!(release_in(&image("6.1")[..0x210]), None);
    }

    #[test]
    fn image_and_modules_must_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let modules = root.join("lib/modules/6.1.0");
        fs_err::create_dir_all(&modules).unwrap();
        fs_err::write(modules.join("modules.dep"), "").unwrap();
        let bzimage = root.join("bzImage");
        fs_err::write(&bzimage, image("6.12.117 ")).unwrap();
        let error = open(&bzimage, root).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        assert!(error.to_string().contains("is 6.12.117, the modules in"), "{error}");

        fs_err::write(&bzimage, image("6.1.0 ")).unwrap();
        assert_eq!(open(&bzimage, root).unwrap().has_symbol("DM"), None);
        fs_err::write(root.join("config"), "CONFIG_DM=m\n").unwrap();
        let kernel = open(&bzimage, &modules).unwrap();
        assert_eq!((kernel.release(), kernel.has_symbol("DM")), ("6.1.0", Some(true)));

        fs_err::create_dir_all(root.join("lib/modules/6.2.0")).unwrap();
        assert!(open(&bzimage, root).unwrap_err().to_string().contains("several releases (6.1.0, 6.2.0)"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..0x500)) {
            let _ = release_in(&bytes);
        }
    }
}
