//! Text from outside, made fit to be shown.

/// Whether a character moves the cursor, hides or reorders text: never shown as it is.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `text` without control and reordering characters, trimmed, at most `most` characters.
pub(super) fn clean(text: &str, most: usize) -> String {
    text.trim().chars().filter(|c| !is_invisible(*c)).take(most).collect::<String>().trim().to_owned()
}

/// The lines of `text` joined by `; `, cleaned. Of what is too long the middle is left out: ssh and git say why at the end.
/// The frame of `@` that ssh draws around its warnings goes.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let bare = |line: &'_ str| line.trim().trim_matches('@').trim().to_owned();
    let lines: Vec<String> = text.lines().map(bare).filter(|line| !line.is_empty()).collect();
    let whole = clean(&lines.join("; "), usize::MAX);
    let length = whole.chars().count();
    if length <= most {
        return whole;
    }
    let head = most / 2;
    whole.chars().take(head).chain(" … ".chars()).chain(whole.chars().skip(length - (most - head))).collect()
}

/// What to do about what `git` complains of when it fetches.
pub(super) fn advice(complaint: &str) -> &'static str {
    if complaint.contains("fsck error") {
        "the network is well: the branch's history has an object that could harm whoever reads it, and git takes none such; push \
         the branch again from the revision in force on, without the commit that brought it, and set `receive.fsckObjects` where \
         it is served, so that such are refused there"
    } else if ["could not read Username", "could not read Password", "Authentication failed"]
        .iter()
        .any(|told| complaint.contains(told))
    {
        "the server answers, and refuses the credentials in repository.url or wants some: put them right"
    } else if complaint.contains("Permission denied (") {
        "the server answers, and takes none of the keys that the daemon's user has: let one of them read the repository"
    } else if ["Permission denied", "dubious ownership"].iter().any(|told| complaint.contains(told)) {
        "the daemon's user may not read the repository: let it, or name another in repository.url"
    } else {
        "check the network, repository.url and the credentials or known hosts it needs"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_credentials_are_told_from_a_network_that_is_down() {
        let refused = advice("fatal: could not read Username for 'https://git.example': terminal prompts disabled");
        assert!(refused.contains("refuses the credentials"), "{refused}");
        let keys = advice("git@host: Permission denied (publickey).; fatal: Could not read from remote repository.");
        assert!(keys.contains("takes none of the keys"), "{keys}");
        for told in ["fatal: '/srv/ops.git': Permission denied", "fatal: detected dubious ownership in repository"] {
            assert!(advice(told).contains("may not read the repository"), "{told}");
        }
        assert!(advice("fatal: unable to connect").contains("check the network"));
    }

    #[test]
    fn what_would_move_the_cursor_is_gone() {
        assert_eq!(clean(" a\u{1b}[31mb\u{202e}c\r\n", 80), "a[31mbc");
        assert_eq!(one_line("fatal: no\n\nhint: yes\n", 80), "fatal: no; hint: yes");
        assert_eq!(one_line("@@@@@@\n@ HOST CHANGED! @\n@@@@@@\nkey is x", 80), "HOST CHANGED!; key is x");
        assert_eq!(one_line("a long story\nof which the end counts", 12), "a long … counts");
        assert_eq!(clean("abcdef", 3), "abc");
    }
}
