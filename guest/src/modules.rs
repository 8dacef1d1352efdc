// SPDX-License-Identifier: GPL-2.0-only
//! Kernel modules: which of them the image has, as the host wrote it down when it made the image, and loading one
//! without starting a program. Module aliases are `modprobe`'s business.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::failure::{GuestContext as _, Outcome, skip};

/// Where the image has this list.
pub const PATH: &str = "/etc/dm-pushback/modules.json";

/// What the image has of the modules that were asked for. A name that is in no part of it is built into the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// Names of the modules to load at boot, in order.
    pub load: Vec<String>,
    /// Every module of the image: its file and those of its dependencies, in the order of `insmod`.
    pub files: BTreeMap<String, Vec<String>>,
    /// Modules that this kernel does not have, and why.
    pub missing: BTreeMap<String, String>,
}

impl Modules {
    /// Reads the list of the image that we run in.
    pub fn read() -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(PATH)?)?)
    }

    /// Loads a module with its dependencies, the module itself with `parameters` ("name=value ..."). What is loaded
    /// already or built in is left as it is.
    pub fn insert(&self, name: &str, parameters: &str) -> io::Result<()> {
        let Some((file, dependencies)) = self.files.get(name).and_then(|files| files.split_last()) else {
            return match self.missing.get(name) {
                Some(why) => Err(io::Error::new(io::ErrorKind::NotFound, format!("module {name}: {why}"))),
                None => Ok(()),
            };
        };
        for dependency in dependencies.iter().filter(|file| !is_loaded(file)) {
            insert_file(dependency, "")?;
        }
        insert_file(file, parameters)
    }
}

/// Whether the module of a file is in /sys/module; without sysfs the kernel finds out, after it has read the file.
fn is_loaded(path: &str) -> bool {
    let name = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().replace('-', "_"));
    name.is_some_and(|name| Path::new("/sys/module").join(name).exists())
}

/// The image's list, if this kernel has the module; otherwise the case is skipped, with the reason.
pub fn require(name: &str) -> Outcome<Modules> {
    let modules = Modules::read().guest("read the image's list of modules")?;
    match modules.missing.get(name) {
        Some(reason) => skip(format!("no module {name}: {reason}")),
        None => Ok(modules),
    }
}

/// Unloads a module that nobody uses; the kernel refuses it otherwise (EAGAIN).
pub fn remove(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the string ends with NUL; the kernel copies it before the call returns.
    let result = unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn insert_file(path: &str, parameters: &str) -> io::Result<()> {
    let named = |error: &io::Error| io::Error::new(error.kind(), format!("load {path}: {error}"));
    let file = File::open(path).map_err(|error| named(&error))?;
    let parameters = CString::new(parameters)?;
    // SAFETY: the descriptor is open and the string ends with NUL; the kernel copies it before the call returns.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(named(&error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_plain_json() {
        let modules = Modules {
            load: vec!["dm-mod".into()],
            files: [("dm-mod".to_owned(), vec!["/lib/modules/6.12.117/dm-mod.ko".to_owned()])].into(),
            missing: [("scsi_debug".to_owned(), "not in lib/modules/6.12.117".to_owned())].into(),
        };
        insta::assert_snapshot!(serde_json::to_string_pretty(&modules).unwrap(), @r#"
        {
          "load": [
            "dm-mod"
          ],
          "files": {
            "dm-mod": [
              "/lib/modules/6.12.117/dm-mod.ko"
            ]
          },
          "missing": {
            "scsi_debug": "not in lib/modules/6.12.117"
          }
        }
        "#);
    }

    #[test]
    fn built_in_is_fine_and_missing_is_an_error_with_its_reason() {
        let missing = [("scsi_debug".to_owned(), "not in lib/modules/6.12.117".to_owned())].into();
        let modules = Modules { missing, ..Modules::default() };
        modules.insert("sd_mod", "").unwrap();
        let error = modules.insert("scsi_debug", "").unwrap_err().to_string();
        assert_eq!(error, "module scsi_debug: not in lib/modules/6.12.117");
    }
}
