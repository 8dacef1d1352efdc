// SPDX-License-Identifier: GPL-2.0-only
//! The host's package manager: which one it is, and the command lines that install packages with it. Values in,
//! values out; install.rs runs them.

use std::fmt;

use serde::Deserialize;

/// A package manager that needs.toml has names for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// Debian, Ubuntu and relatives.
    Apt,
    /// Fedora, RHEL and relatives.
    Dnf,
    /// Arch and relatives.
    Pacman,
    /// openSUSE, SLES.
    Zypper,
}

impl Manager {
    /// All of them, in the order in which PATH is searched when os-release does not help.
    pub const ALL: [Self; 4] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper];

    /// The program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
        }
    }

    /// The one that a distribution's `ID` or one word of `ID_LIKE` stands for.
    fn of_id(id: &str) -> Option<Self> {
        match id {
            "debian" | "ubuntu" => Some(Self::Apt),
            "fedora" | "rhel" | "centos" => Some(Self::Dnf),
            "arch" | "archlinux" => Some(Self::Pacman),
            "suse" | "opensuse" | "sles" | "opensuse-leap" | "opensuse-tumbleweed" => Some(Self::Zypper),
            _ => None,
        }
    }

    /// The manager of a host with this /etc/os-release; it must be on PATH as well. A distribution that is not
    /// known gets whatever manager is on PATH.
    pub fn detect(os_release: &str, on_path: impl Fn(&str) -> bool) -> Option<Self> {
        let ids =
            std::iter::once(field(os_release, "ID")).chain(std::iter::once(field(os_release, "ID_LIKE")));
        let words: Vec<_> =
            ids.flatten().flat_map(|v| v.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
        words
            .iter()
            .filter_map(|word| Self::of_id(word))
            .chain(Self::ALL)
            .find(|manager| on_path(manager.program()))
    }

    /// The command lines that install `packages`, in order. `refresh`: the package lists are missing or old.
    pub fn install(self, packages: &[String], refresh: bool) -> Vec<Vec<String>> {
        let base: &[&str] = match self {
            // Another apt (unattended upgrades on a fresh machine) holds the lock for minutes: wait for it.
            Self::Apt => {
                &["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"]
            }
            Self::Dnf => &["dnf", "install", "-y", "--setopt=install_weak_deps=False"],
            // -y only when there are no lists at all: refreshing alone asks for a partial upgrade.
            Self::Pacman if refresh => &["pacman", "-Sy", "--needed", "--noconfirm"],
            Self::Pacman => &["pacman", "-S", "--needed", "--noconfirm"],
            Self::Zypper => &["zypper", "--non-interactive", "install", "--no-recommends"],
        };
        let mut commands = vec![];
        if self == Self::Apt && refresh {
            commands.push(words(&["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"]));
        }
        if !packages.is_empty() {
            commands.push(words(base).into_iter().chain(packages.iter().cloned()).collect());
        }
        commands
    }

    /// The same as one line that a user can copy.
    pub fn install_line(self, packages: &[String], refresh: bool, sudo: bool) -> String {
        let prefix = if sudo { "sudo " } else { "" };
        self.install(packages, refresh)
            .iter()
            .map(|command| {
                // The waiting for the lock is for us, who can't see that another apt is at work.
                let plain: Vec<_> =
                    command.iter().filter(|w| *w != "-o" && !w.starts_with("DPkg::")).cloned().collect();
                format!("{prefix}{}", plain.join(" "))
            })
            .collect::<Vec<_>>()
            .join(" && ")
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|&w| w.to_owned()).collect()
}

/// One field of os-release(5): shell assignments, values possibly quoted.
pub fn field(os_release: &str, name: &str) -> Option<String> {
    os_release.lines().find_map(|line| {
        let value = line.trim().strip_prefix(name)?.strip_prefix('=')?.trim();
        let unquoted =
            ['"', '\''].iter().find_map(|&q| value.strip_prefix(q)?.strip_suffix(q)).unwrap_or(value);
        Some(unquoted.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
    const UBUNTU: &str =
        "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble\n";
    const MINT: &str = "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
    const FEDORA: &str = "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=41\nPLATFORM_ID=\"platform:f41\"\n";
    const ROCKY: &str = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n";
    const ARCH: &str = "NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\n";
    const TUMBLEWEED: &str =
        "NAME=\"openSUSE Tumbleweed\"\nID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n";
    const LEAP: &str = "NAME='openSUSE Leap'\nID='opensuse-leap'\nID_LIKE='suse opensuse'\n";
    const ALPINE: &str = "NAME=\"Alpine Linux\"\nID=alpine\n";

    #[test]
    fn the_distribution_names_the_manager() {
        let all = |_: &str| true;
        for (os_release, manager) in [
            (DEBIAN, Manager::Apt),
            (UBUNTU, Manager::Apt),
            (MINT, Manager::Apt),
            (FEDORA, Manager::Dnf),
            (ROCKY, Manager::Dnf),
            (ARCH, Manager::Pacman),
            (TUMBLEWEED, Manager::Zypper),
            (LEAP, Manager::Zypper),
        ] {
            assert_eq!(Manager::detect(os_release, all), Some(manager), "{os_release}");
        }
    }

    #[test]
    fn what_is_not_on_path_is_not_used() {
        assert_eq!(Manager::detect(DEBIAN, |_| false), None);
        assert_eq!(Manager::detect(ALPINE, |_| false), None);
        assert_eq!(Manager::detect("", |p| p == "zypper"), Some(Manager::Zypper));
        assert_eq!(Manager::detect(ALPINE, |p| p == "dnf"), Some(Manager::Dnf));
        // apt-get is packaged for Fedora too: os-release decides.
        assert_eq!(Manager::detect(FEDORA, |p| p == "apt-get" || p == "dnf"), Some(Manager::Dnf));
    }

    #[test]
    fn install_lines() {
        let packages = vec!["bc".to_owned(), "flex".to_owned()];
        let lines: Vec<_> = Manager::ALL
            .iter()
            .flat_map(|m| [m.install_line(&packages, false, true), m.install_line(&packages, true, false)])
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        sudo apt-get install -y --no-install-recommends bc flex
        apt-get update && apt-get install -y --no-install-recommends bc flex
        sudo dnf install -y --setopt=install_weak_deps=False bc flex
        dnf install -y --setopt=install_weak_deps=False bc flex
        sudo pacman -S --needed --noconfirm bc flex
        pacman -Sy --needed --noconfirm bc flex
        sudo zypper --non-interactive install --no-recommends bc flex
        zypper --non-interactive install --no-recommends bc flex
        ");
        assert_eq!(Manager::Apt.install_line(&[], true, false), "apt-get update");
        assert_eq!(Manager::Apt.install_line(&[], false, false), "");
    }

    #[test]
    fn fields_with_and_without_quotes() {
        assert_eq!(field(LEAP, "ID").as_deref(), Some("opensuse-leap"));
        assert_eq!(field(DEBIAN, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(field("IDX=1\n ID = x\n", "ID"), None);
        assert_eq!(field("ID=\"", "ID").as_deref(), Some("\""));
    }
}
