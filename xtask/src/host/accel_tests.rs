// SPDX-License-Identifier: GPL-2.0-only
//! Tests of the choice of the accelerator. The boots are scripted here; the real ones are `cargo xtask doctor`'s.

use super::*;

fn key() -> Key {
    Key { boot_id: "b".into(), qemu: "QEMU emulator version 7.2.22".into(), cpu_model: "AMD EPYC".into() }
}

fn aborted() -> Boot {
    Boot::Aborted { message: "failed to set MSR 0x10a to 0x69".into() }
}

fn silent() -> Boot {
    Boot::Stuck { seconds: 10.0, last_line: String::new() }
}

/// Runs the probe over scripted ends; returns the verdict and what was booted.
fn probed(ends: &[Boot]) -> (Result<Verdict, String>, String) {
    let mut asked = vec![];
    let mut ends = ends.iter();
    let verdict = probe(key(), |accel, cpu, _| {
        asked.push(format!("{accel}/{cpu}"));
        Ok(ends.next().unwrap().clone())
    });
    (verdict.unwrap(), asked.join(" "))
}

#[test]
fn kvm_that_boots_is_proven() {
    let (verdict, asked) = probed(&[Boot::Booted { seconds: 0.62 }]);
    assert_eq!(asked, "kvm/host");
    let (cpu, reason) = verdict.unwrap().result().unwrap();
    assert_eq!(cpu, "host");
    insta::assert_snapshot!(reason, @"KVM booted Linux in 0.6 s with -cpu host");
}

#[test]
fn another_model_when_qemu_aborts() {
    let (verdict, asked) = probed(&[aborted(), aborted(), Boot::Booted { seconds: 0.9 }]);
    assert_eq!(asked, "kvm/host kvm/max kvm/qemu64");
    let (cpu, reason) = verdict.unwrap().result().unwrap();
    assert_eq!(cpu, "qemu64");
    insta::assert_snapshot!(reason, @"KVM booted Linux in 0.9 s with -cpu qemu64; with -cpu host QEMU ended (failed to set MSR 0x10a to 0x69); with -cpu max QEMU ended (failed to set MSR 0x10a to 0x69)");
}

#[test]
fn silence_is_no_boot_once_the_kernel_is_known_to_be_good() {
    let (verdict, asked) = probed(&[aborted(), silent(), Boot::Booted { seconds: 2.0 }]);
    assert_eq!(asked, "kvm/host kvm/max tcg/max");
    insta::assert_snapshot!(verdict.unwrap().result().unwrap_err(), @"/dev/kvm opens, but KVM does not boot Linux here: with -cpu host QEMU ended (failed to set MSR 0x10a to 0x69); with -cpu max Linux printed nothing in 10 s");
}

#[test]
fn a_kernel_that_boots_nowhere_proves_nothing() {
    let (verdict, asked) = probed(&[silent(), silent()]);
    assert_eq!(asked, "kvm/host tcg/max");
    insta::assert_snapshot!(verdict.unwrap_err(), @"with -cpu host Linux printed nothing in 10 s; emulated, with -cpu max Linux printed nothing in 10 s");
}

#[test]
fn failures_in_words() {
    let stuck = Boot::Stuck { seconds: 10.0, last_line: "[ 0.1] smpboot: CPU0".into() };
    insta::assert_snapshot!(failure("host", &stuck), @r#"with -cpu host Linux was not up after 10 s, its last line was "[ 0.1] smpboot: CPU0""#);
    let panicked = Boot::Panicked { message: "IO-APIC + timer doesn't work!".into() };
    insta::assert_snapshot!(failure("host", &panicked), @"with -cpu host Linux panicked (IO-APIC + timer doesn't work!)");
}

#[test]
fn a_verdict_holds_for_its_key_only_and_a_corrupt_one_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
    let place = verdict_file(&cache);
    assert_eq!(remembered(&place, &key()), None);
    let verdict = Verdict { key: key(), kvm_cpu: None, reason: "r".into() };
    remember(&place, &verdict, &cache).unwrap();
    assert_eq!(remembered(&place, &key()), Some(verdict));
    for other in [
        Key { boot_id: "c".into(), ..key() },
        Key { qemu: "QEMU emulator version 9.0".into(), ..key() },
        Key { cpu_model: "other".into(), ..key() },
    ] {
        assert_eq!(remembered(&place, &other), None, "{other:?}");
    }
    let text = fs_err::read_to_string(&place).unwrap();
    for corrupt in ["", "{}", &text[..text.len() / 2], "\0\0"] {
        fs_err::write(&place, corrupt).unwrap();
        assert_eq!(remembered(&place, &key()), None, "{corrupt}");
    }
}

#[test]
fn devices_that_do_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let place = Utf8Path::from_path(dir.path()).unwrap();
    assert!(openable(&place.join("kvm")).unwrap_err().contains("there is no"));
    assert!(openable(place).unwrap_err().contains("does not open"));
    fs_err::write(place.join("kvm"), "").unwrap();
    assert_eq!(openable(&place.join("kvm")), Ok(()));
}

#[test]
fn the_newest_kernel_of_the_cache_is_booted() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
    for (name, age) in [("old", 100), ("new", 0)] {
        fs_err::create_dir_all(cache.path("kernels").join(name)).unwrap();
        let image = std::fs::File::create(cache.path("kernels").join(name).join("bzImage")).unwrap();
        image.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    fs_err::create_dir_all(cache.path("kernels/empty")).unwrap();
    assert_eq!(some_kernel(&cache), Some(cache.path("kernels/new/bzImage")));
}

#[test]
fn cpu_models() {
    assert_eq!(model_in("processor\t: 0\nmodel name\t: AMD EPYC 9B14\n"), "AMD EPYC 9B14");
    assert_eq!(model_in(""), "");
}
