// SPDX-License-Identifier: GPL-2.0-only
//! Text of a kernel or a guest on its way into the page. The templates escape what HTML would act upon; here control
//! characters become visible, and what is endless gets an end.

use crate::report::plain;

/// Text of any number of lines, each of them [`plain`].
pub fn shown(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The same, without its middle if there are more than `most` lines: how it began and how it ended is what explains.
pub fn shortened(text: &str, most: usize, whole: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(plain).collect();
    if lines.len() > most {
        let more = lines.len() - most;
        let head = most / 3;
        lines.splice(head..head + more, [format!("… {more} more lines, see {whole} …")]);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_loses_its_middle() {
        let text = (0..10).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(shortened(&text, 6, "console.log"), "0\n1\n… 4 more lines, see console.log …\n6\n7\n8\n9");
        assert_eq!(shortened(&text, 10, ""), text);
        assert_eq!(shortened("a\x1b[0m\r\nb", 9, ""), "a\\u{1b}[0m\nb");
    }
}
