// SPDX-License-Identifier: GPL-2.0-only
//! What a kernel is made of, as the command line names it.

use camino::{Utf8Path, Utf8PathBuf};

use crate::exit::{Code, coded};
use crate::kernel::git::shown;
use crate::kernel::{Flavour, Variant};

/// What stands before the name of a package.
const PACKAGE: &str = "deb:";

/// Separates URL and ref of a git repository.
const REF: char = '#';

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A kernel that the repository has patches for.
    Base {
        /// Its name, e.g. `6.12`.
        base: String,
        /// What is done to it.
        variant: Variant,
        /// Whether the hooks of the series `observe` go on top.
        observe: bool,
        /// Which checkers it carries.
        flavour: Flavour,
    },
    /// An unpacked source or a checkout; tested as it is, never written to.
    Tree {
        /// Where it is.
        dir: Utf8PathBuf,
        /// Which checkers its kernel carries.
        flavour: Flavour,
    },
    /// A source in a tar archive, which is unpacked in the cache.
    Archive {
        /// Where it is.
        file: Utf8PathBuf,
        /// Which checkers its kernel carries.
        flavour: Flavour,
    },
    /// A source in a git repository, of which one ref is kept in the cache.
    Git {
        /// Of the repository, as git takes it; or its folder.
        url: String,
        /// A branch, a tag, or all digits of a commit.
        reference: String,
        /// Which checkers its kernel carries.
        flavour: Flavour,
    },
    /// The distribution built it: a package, which is unpacked in the cache.
    Package {
        /// `linux-image-amd64`, or with a version, `linux-image-amd64=6.1.192-2`.
        name: String,
    },
    /// Somebody else built it.
    Prebuilt {
        /// The kernel image.
        bzimage: Utf8PathBuf,
        /// `lib/modules/<release>`, or a root that contains exactly one of them.
        modules: Utf8PathBuf,
    },
}

impl Source {
    /// What `--tree` names: a folder, an archive, or `URL#REF`. A path that exists is never taken for a URL.
    pub fn of_tree(text: &Utf8Path, flavour: Flavour) -> anyhow::Result<Self> {
        if text.is_file() {
            return Ok(Self::Archive { file: text.to_owned(), flavour });
        }
        if text.exists() {
            return Ok(Self::Tree { dir: text.to_owned(), flavour });
        }
        if let Some((url, reference)) = text.as_str().rsplit_once(REF) {
            return Ok(Self::Git { url: url.to_owned(), reference: reference.to_owned(), flavour });
        }
        if text.as_str().contains("://") {
            return Err(coded(
                Code::Usage,
                format!(
                    "{text} names no ref (hint: {text}{REF}BRANCH for a git repository; an archive has to be downloaded first)"
                ),
            ));
        }
        // Who opens it says what is wrong.
        Ok(Self::Tree { dir: text.to_owned(), flavour })
    }

    /// What `--kernel` and `--modules` name.
    pub fn of_kernel(kernel: &Utf8Path, modules: Option<&Utf8Path>) -> anyhow::Result<Self> {
        let usage = |text: String| Err(coded(Code::Usage, text));
        match (kernel.as_str().strip_prefix(PACKAGE), modules) {
            (Some(name), None) => Ok(Self::Package { name: name.to_owned() }),
            (Some(_), Some(_)) => {
                usage(format!("--kernel {kernel} has its modules with it: leave out --modules"))
            }
            (None, Some(modules)) => {
                Ok(Self::Prebuilt { bzimage: kernel.to_owned(), modules: modules.to_owned() })
            }
            (None, None) => usage(format!(
                "--kernel {kernel} needs --modules DIR: lib/modules/RELEASE, or a folder that holds it (hint: --kernel {PACKAGE}PACKAGE needs none)"
            )),
        }
    }
}

/// The text of `--tree` or `--kernel` that names the same from any folder, and can be kept: without a password, which git's
/// credential helpers know.
pub fn from_anywhere(text: &Utf8Path) -> String {
    let absolute = |path: &Utf8Path| path.canonicalize_utf8().ok().map(Utf8PathBuf::into_string);
    let local = || {
        let (path, reference) = text.as_str().rsplit_once(REF)?;
        Some(format!("{}{REF}{reference}", absolute(Utf8Path::new(path))?))
    };
    absolute(text).or_else(local).unwrap_or_else(|| shown(text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    #[test]
    fn the_command_line_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(fs_err::canonicalize(dir.path()).unwrap()).unwrap();
        let (file, odd) = (root.join("linux.tar.xz"), root.join("tree#1"));
        fs_err::write(&file, "").unwrap();
        fs_err::create_dir(&odd).unwrap();
        let flavour = Flavour::default();
        let of = |text: &str| Source::of_tree(Utf8Path::new(text), flavour).unwrap();
        let git = |url: &str, reference: &str| Source::Git {
            url: url.into(),
            reference: reference.into(),
            flavour,
        };
        assert_eq!(of(root.as_str()), Source::Tree { dir: root.clone(), flavour });
        assert_eq!(of(file.as_str()), Source::Archive { file: file.clone(), flavour });
        assert_eq!(of(odd.as_str()), Source::Tree { dir: odd.clone(), flavour });
        assert_eq!(of(&format!("{root}#v6.12")), git(root.as_str(), "v6.12"));
        assert_eq!(
            of("https://example.org/linux.git#for-next"),
            git("https://example.org/linux.git", "for-next")
        );
        assert_eq!(of("/no/such/place"), Source::Tree { dir: "/no/such/place".into(), flavour });
        let error = Source::of_tree(Utf8Path::new("https://example.org/linux.git"), flavour).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        insta::assert_snapshot!(error, @"https://example.org/linux.git names no ref (hint: https://example.org/linux.git#BRANCH for a git repository; an archive has to be downloaded first)");
    }

    #[test]
    fn a_package_brings_its_modules_and_an_image_does_not() {
        let of = |kernel: &str, modules: Option<&str>| {
            Source::of_kernel(kernel.into(), modules.map(Utf8Path::new))
        };
        assert_eq!(
            of("deb:linux-image-amd64", None).unwrap(),
            Source::Package { name: "linux-image-amd64".into() }
        );
        assert!(matches!(of("bzImage", Some("lib/modules/6.1")).unwrap(), Source::Prebuilt { .. }));
        for (kernel, modules, part) in
            [("deb:x", Some("m"), "leave out --modules"), ("bzImage", None, "needs --modules DIR")]
        {
            let error = of(kernel, modules).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn a_name_that_holds_in_any_folder() {
        assert!(from_anywhere(Utf8Path::new(".")).starts_with('/'));
        assert!(from_anywhere(Utf8Path::new(".#v6.12")).starts_with('/'));
        for text in ["https://example.org/linux.git#master", "deb:linux-image-amd64", "no/such/place"] {
            assert_eq!(from_anywhere(Utf8Path::new(text)), text);
        }
    }
}
