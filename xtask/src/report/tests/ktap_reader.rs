// SPDX-License-Identifier: GPL-2.0-only
//! A small reader of KTAP, strict where the kernel's document is, that checks what `report::ktap` writes.

/// Reads KTAP as the kernel's document defines it: version, plan, numbers without gap, indentation, descriptions
/// without `#`, known directives, parents that fail when a child fails. Returns how many lines are `not ok`.
pub fn check_ktap(text: &str) -> Result<usize, String> {
    let lines: Vec<&str> = text.lines().collect();
    let (used, failed) = check_level(&lines, "")?;
    if used != lines.len() {
        return Err(format!("line {}: {:?} belongs to nothing", used + 1, lines[used]));
    }
    Ok(failed)
}

fn check_level(lines: &[&str], indent: &str) -> Result<(usize, usize), String> {
    let at = |n: usize| lines.get(n).and_then(|line| line.strip_prefix(indent));
    if at(0) != Some("KTAP version 1") {
        return Err(format!("no version line: {:?}", lines.first()));
    }
    let plan: usize =
        at(1).and_then(|l| l.strip_prefix("1..")).and_then(|n| n.parse().ok()).ok_or("no plan")?;
    let (mut n, mut seen, mut failed, mut children) = (2, 0, 0, None);
    while let Some(line) = at(n) {
        if line.starts_with("  KTAP") {
            let (used, bad) = check_level(&lines[n..], &format!("{indent}  "))?;
            (n, children) = (n + used, Some(bad));
            failed += bad;
            continue;
        }
        n += 1;
        if line.starts_with('#') {
            continue;
        }
        let (good, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => (true, line.strip_prefix("ok ").ok_or_else(|| format!("unknown line {line:?}"))?),
        };
        seen += 1;
        if rest.split(' ').next() != Some(seen.to_string().as_str()) {
            return Err(format!("number {seen} expected: {line:?}"));
        }
        let (description, tail) = rest.split_once(" # ").unwrap_or((rest, ""));
        let directive = tail.split(' ').next().unwrap_or("");
        let agrees = match directive {
            "SKIP" | "XFAIL" => good,
            "TIMEOUT" | "ERROR" => !good,
            _ => true,
        };
        if description.contains('#') || !agrees || children.take().is_some_and(|bad| (bad == 0) != good) {
            return Err(format!("line {line:?}"));
        }
        failed += usize::from(!good);
        if seen == plan && indent.len() >= 2 {
            return Ok((n, failed));
        }
    }
    if seen == plan { Ok((n, failed)) } else { Err(format!("{seen} of {plan} results")) }
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let good = "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\n  not ok 2 b\nnot ok 1 c\n";
    assert_eq!(check_ktap(good), Ok(2));
    for (from, to) in
        [("1..2", "1..3"), ("ok 2 b", "ok 3 b"), ("not ok 1 c", "ok 1 c"), ("ok 1 a", "ok 1 a # ERROR")]
    {
        assert!(check_ktap(&good.replacen(from, to, 1)).is_err(), "{to}");
    }
}
