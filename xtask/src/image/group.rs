// SPDX-License-Identifier: GPL-2.0-only
//! The groups of an image's manifest: programs and files that are of use together only, like a daemon with its plugins.
//! They come from the host if it has all of them. If not, and the host has apt, they come from packages that are
//! downloaded and unpacked in the cache and never installed: a package with a daemon would start it on the host.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::digest::Digests;
use super::elf::{self, find_in, in_guest};
use super::manifest::{Group, HostFile};
use super::tree::Tree;
use super::{file, put_tool};
use crate::cache::Cache;
use crate::command::Tool;
use crate::host::find_program;
use crate::progress::Progress;

/// The root of what is installed.
pub const HOST: &str = "/";

/// Where a distribution's programs and libraries are.
const PROGRAMS: [&str; 6] = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/udev", "lib/udev"];
const LIBRARIES: [&str; 5] =
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "lib"];

/// Everything of a group: what, where on the host, and below which root.
struct Found<'a> {
    tools: Vec<(&'a super::manifest::HostTool, Place)>,
    files: Vec<Place>,
}

struct Place {
    path: Utf8PathBuf,
    root: Utf8PathBuf,
}

/// The folders with libraries below `root`; none for what is installed, which the loader's configuration knows.
pub fn library_folders(root: impl AsRef<Utf8Path>) -> Vec<Utf8PathBuf> {
    let root = root.as_ref();
    if root == HOST { vec![] } else { LIBRARIES.iter().map(|folder| root.join(folder)).collect() }
}

/// Puts a group into the image; if it can't be had, says so and leaves it out.
pub fn put(
    tree: &mut Tree,
    group: &Group,
    cache: &Cache,
    progress: &Progress,
    digests: &mut Digests,
) -> anyhow::Result<()> {
    let found = match obtain(group, cache, progress) {
        Ok(found) => found,
        Err(error) => {
            progress.line(&format!(
                "warning: {}: {error:#}; {} (hint: `cargo xtask doctor` tells how to install it)",
                group.package, group.without
            ));
            return Ok(());
        }
    };
    for (tool, place) in &found.tools {
        put_tool(tree, tool, &place.path, &place.root, digests)?;
    }
    for Place { path, root } in &found.files {
        file(tree, in_guest(path, root).as_str(), path, mode(path)?)?;
    }
    Ok(())
}

/// For each group of the manifest whether an image can have it here, in words. Fetches nothing.
pub fn told(groups: &[Group], cache: &Cache) -> Vec<String> {
    let host = Utf8PathBuf::from(HOST);
    let state = |group: &Group| {
        let place = cache.path("packages").join(&group.package);
        let Err(lack) = find(group, std::slice::from_ref(&host)) else {
            return "installed".to_owned();
        };
        if find(group, &[host.clone(), place.clone()]).is_ok() {
            return format!("unpacked in {place}, not installed");
        }
        if find_program("apt-get").is_some() && find_program("dpkg-deb").is_some() {
            return "fetched and unpacked in the cache with the next image, not installed".to_owned();
        }
        format!("MISSING: {lack:#}; {} (hint: install it, its daemon need not be enabled)", group.without)
    };
    groups.iter().map(|group| format!("{} for the guest: {}", group.package, state(group))).collect()
}

fn mode(path: &Utf8Path) -> anyhow::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs_err::metadata(path)?.permissions().mode() & 0o777)
}

fn obtain<'a>(group: &'a Group, cache: &Cache, progress: &Progress) -> anyhow::Result<Found<'a>> {
    let host = Utf8PathBuf::from(HOST);
    let Err(lack) = find(group, std::slice::from_ref(&host)) else {
        return find(group, &[host]);
    };
    if find_program("apt-get").is_none() || find_program("dpkg-deb").is_none() {
        return Err(lack);
    }
    let place = cache.path("packages").join(&group.package);
    let _lock = cache.lock(&format!("package-{}", group.package), progress)?;
    let roots = [host, place];
    if let Ok(found) = find(group, &roots) {
        return Ok(found);
    }
    fetch(&group.package, cache, &roots[1], progress)?;
    find(group, &roots)
}

/// Where everything is; the first root that has it counts.
fn find<'a>(group: &'a Group, roots: &[Utf8PathBuf]) -> anyhow::Result<Found<'a>> {
    let tools = group.tools.iter().map(|tool| {
        let found = roots.iter().find_map(|root| Some((tool, program(&tool.name, root)?)));
        found.with_context(|| format!("there is no program {}", tool.name))
    });
    let files = group.files.iter().map(|file| {
        let found = roots.iter().find_map(|root| one_of(file, root));
        found.with_context(|| format!("there is no {}", file.places[0]))
    });
    Ok(Found { tools: tools.collect::<Result<_, _>>()?, files: files.collect::<Result<_, _>>()? })
}

fn program(name: &str, root: &Utf8Path) -> Option<Place> {
    let folders: Vec<String> = if root == HOST {
        let path = std::env::var("PATH").unwrap_or_default();
        path.split(':').chain(elf::ADMIN_FOLDERS).map(str::to_owned).collect()
    } else {
        vec![]
    };
    let folders: Vec<String> =
        folders.into_iter().chain(PROGRAMS.iter().map(|folder| root.join(folder).into_string())).collect();
    let path = find_in(name, folders.iter().map(String::as_str))?;
    Some(Place { path, root: root.to_owned() })
}

fn one_of(file: &HostFile, root: &Utf8Path) -> Option<Place> {
    let below = |place: &Utf8PathBuf| root.join(place.as_str().trim_start_matches('/'));
    let path = file.places.iter().map(below).find(|path| path.is_file())?;
    Some(Place { path, root: root.to_owned() })
}

/// Downloads a package with those of its dependencies that the host lacks, and unpacks all of them into `place`. apt
/// resolves, and checks what it downloads against its signed lists; it takes no lock and installs nothing.
fn fetch(package: &str, cache: &Cache, place: &Utf8Path, progress: &Progress) -> anyhow::Result<()> {
    let step = progress.step(format!("fetch {package}"));
    let scratch = cache.scratch("packages-")?;
    let base = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
    let (archives, root) = (base.join("archives"), base.join("root"));
    fs_err::create_dir_all(archives.join("partial"))?;
    fs_err::create_dir_all(&root)?;
    Tool::new("apt-get")
        .args(["-q", "-y", "--download-only", "--no-install-recommends", "-o", "Debug::NoLocking=true"])
        .args(["-o", &format!("Dir::Cache::archives={archives}/"), "install", package])
        .env("LC_ALL", "C")
        .run()
        .with_context(|| {
            format!(
                "download {package} (hint: no network, or apt's lists are old: run `apt-get update` as root)"
            )
        })?;
    let mut count = 0;
    for entry in archives.read_dir_utf8()? {
        let path = entry?.into_path();
        if path.extension() == Some("deb") {
            Tool::new("dpkg-deb").args(["-x", path.as_str(), root.as_str()]).read()?;
            count += 1;
        }
    }
    fs_err::remove_dir_all(&archives)?;
    let done = cache.scratch("packages-")?;
    fs_err::remove_dir(done.path())?;
    fs_err::rename(&root, done.path())?;
    cache.publish(done, place)?;
    step.done(format!("{count} packages unpacked in {place}, none installed"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::image::manifest::Manifest;

    const TEXT: &str = r#"
        [[group]]
        package = "tools"
        without = "nothing works"
        tools = [{ name = "no-such-daemon", path = "/usr/sbin/no-such-daemon" }]
        files = [["/no/such/place/plugin.so", "/usr/lib64/tools/plugin.so"]]
    "#;

    #[test]
    fn a_group_is_whole_or_not_at_all() {
        let manifest = Manifest::parse(TEXT).unwrap();
        let group = &manifest.groups[0];
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
        let roots = [Utf8PathBuf::from(HOST), root.clone()];
        let lack = |roots: &[Utf8PathBuf]| find(group, roots).map(drop).unwrap_err().to_string();
        assert_eq!(lack(&roots), "there is no program no-such-daemon");
        let program = root.join("usr/sbin/no-such-daemon");
        fs_err::create_dir_all(program.parent().unwrap()).unwrap();
        fs_err::write(&program, "").unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(lack(&roots), "there is no /no/such/place/plugin.so");
        let plugin = root.join("usr/lib64/tools/plugin.so");
        fs_err::create_dir_all(plugin.parent().unwrap()).unwrap();
        fs_err::write(&plugin, "").unwrap();
        let found = find(group, &roots).unwrap();
        assert_eq!((&found.tools[0].1.path, &found.files[0].path), (&program, &plugin));
        assert_eq!(in_guest(&found.files[0].path, &found.files[0].root), "/usr/lib64/tools/plugin.so");
    }
}
