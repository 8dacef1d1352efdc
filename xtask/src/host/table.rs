// SPDX-License-Identifier: GPL-2.0-only
//! The doctor's table as text: values in, text out.

use super::needs::{Need, Scope};
use super::probe::Found;

/// One row: a need and what was found of it.
pub type Row = (Need, Found);

/// The third column: what the thing is good for, or what follows from its absence.
fn consequence((need, found): &Row) -> String {
    match found {
        Found::Version(_) | Found::Present => need.purpose.clone(),
        Found::TooOld { minimum, .. } => format!("at least {minimum} is needed: {}", need.without),
        Found::Missing(what) if *what == need.name => need.without.clone(),
        Found::Missing(what) => format!("no {what}: {}", need.without),
    }
}

fn state((need, found): &Row) -> String {
    match found {
        Found::Version(version) => version.clone(),
        Found::Present => "yes".to_owned(),
        Found::TooOld { found, .. } => format!("{found} TOO OLD"),
        Found::Missing(_) if need.scope.is_optional() => "no (optional)".to_owned(),
        Found::Missing(_) => "MISSING".to_owned(),
    }
}

/// The table.
pub fn render(rows: &[Row]) -> String {
    let states: Vec<_> = rows.iter().map(state).collect();
    let name_width = rows.iter().map(|(need, _)| need.name.len()).chain([4]).max().unwrap_or(0);
    let state_width = states.iter().map(String::len).chain([5]).max().unwrap_or(0);
    let line =
        |name: &str, state: &str, what: &str| format!("{name:name_width$}  {state:state_width$}  {what}\n");
    std::iter::once(line("NEED", "FOUND", "WHAT FOLLOWS"))
        .chain(rows.iter().zip(&states).map(|(row, state)| line(&row.0.name, state, &consequence(row))))
        .collect()
}

/// The needs that are not met, required ones and optional ones. Where `has_archive` is false (no Debian archive
/// behind the package manager), what only fetches packaged bases can't be installed and is not required.
pub fn unmet(rows: &[Row], has_archive: bool) -> (Vec<&Need>, Vec<&Need>) {
    rows.iter()
        .filter(|(need, found)| !found.is_good() && (has_archive || need.scope != Scope::Base))
        .map(|(need, _)| need)
        .partition(|need| !need.scope.is_optional())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::needs;

    fn rows() -> Vec<Row> {
        let found = |need: &Need| match need.name.as_str() {
            "qemu-system-x86_64" => Found::TooOld { found: "5.2.0".into(), minimum: "6.2".into() },
            "dmsetup" => Found::Version("1.02.185".into()),
            "small build tools" => Found::Missing("cmp".into()),
            "flex" => Found::Missing("flex".into()),
            "apt-get, dpkg-deb" => Found::Missing("apt-get".into()),
            "ccache" => Found::Missing("ccache".into()),
            _ => Found::Present,
        };
        needs::shipped().unwrap().into_iter().map(|need| (need.clone(), found(&need))).collect()
    }

    #[test]
    fn a_table_with_everything_in_it() {
        insta::assert_snapshot!(render(&rows()), @r"
        NEED                FOUND          WHAT FOLLOWS
        qemu-system-x86_64  5.2.0 TOO OLD  at least 6.2 is needed: no VM can be started
        dmsetup             1.02.185       goes into the guest: the cases drive device-mapper with it
        e2fsprogs           yes            goes into the guest: makes and checks the ext4 of the cases about a mounted file system
        xfsprogs            yes            goes into the guest: the same for the XFS
        open-iscsi          yes            goes into the guest: logs in over iSCSI, for the cases of --transport iscsi
        busybox             yes            goes into the guest: shell and small tools
        kmod                yes            resolves the dependencies of kernel modules
        static C library    yes            the guest binary is linked statically
        gcc                 yes            compiles the kernel
        C library headers   yes            compiles the tools that the kernel build makes for itself
        make                yes            runs the kernel build
        flex                MISSING        no kernel can be configured
        bison               yes            Kconfig's parser
        bc                  yes            computes the kernel's time constants (kernel/time/timeconst.bc)
        libelf headers      yes            objtool reads and writes object files with it
        perl                yes            some generated kernel sources (lib/build_OID_registry, crypto)
        small build tools   MISSING        no cmp: no kernel can be built
        git                 yes            applies the patch series, tells the state of a --tree
        tar                 yes            unpacks kernel sources
        xz                  yes            unpacks kernel sources
        apt-get, dpkg-deb   MISSING        no apt-get: the packaged bases can't be fetched; --tree and --kernel still work
        libssl headers      yes            builds kernels whose configuration signs modules
        ccache              no (optional)  every new variant compiles from nothing
        Chromium            yes            looks at the HTML report, in the project's own tests
        python3, pip        yes            runs virtme-ng, for --boot virtme
        ");
    }

    #[test]
    fn required_and_optional() {
        let names = |needs: Vec<&Need>| needs.iter().map(|n| n.name.clone()).collect::<Vec<_>>().join(" | ");
        let rows = rows();
        let (required, optional) = unmet(&rows, true);
        assert_eq!(names(required), "qemu-system-x86_64 | flex | small build tools | apt-get, dpkg-deb");
        assert_eq!(names(optional), "ccache");
        let (required, _) = unmet(&rows, false);
        assert_eq!(names(required), "qemu-system-x86_64 | flex | small build tools");
    }
}
