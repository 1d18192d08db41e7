//! Globs of paths: `*` and `?` stay within one folder, `**` does not, a trailing `/` means all below.

/// Whether a path matches a glob. Takes at most the product of both lengths.
pub(super) fn matches(glob: &str, path: &str) -> bool {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    let whole;
    let glob = if glob.ends_with('/') || glob.is_empty() {
        whole = format!("{glob}**");
        &whole
    } else {
        glob
    };
    let (glob, path): (Vec<char>, Vec<char>) = (glob.chars().collect(), path.chars().collect());
    // `reach[i]`: whether the glob so far matches the first `i` characters.
    let mut reach = vec![false; path.len() + 1];
    reach[0] = true;
    let mut at = 0;
    while at < glob.len() {
        let double = glob[at] == '*' && glob.get(at + 1) == Some(&'*');
        let mut next = vec![false; path.len() + 1];
        match glob[at] {
            '*' => {
                for i in 0..=path.len() {
                    next[i] = reach[i] || (i > 0 && next[i - 1] && (double || path[i - 1] != '/'));
                }
            }
            c => {
                for i in 0..path.len() {
                    next[i + 1] = reach[i] && (path[i] == c || (c == '?' && path[i] != '/'));
                }
            }
        }
        // `a/**/b` also matches `a/b`.
        if double && glob.get(at + 2) == Some(&'/') && (at == 0 || glob[at - 1] == '/') {
            for i in 1..=path.len() {
                next[i] = (next[i] && path[i - 1] == '/') || reach[i];
            }
            at += 1;
        }
        reach = next;
        at += if double { 2 } else { 1 };
    }
    reach[path.len()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stay_in_their_folder() {
        for (glob, path, yes) in [
            ("apps/shop.yaml", "apps/shop.yaml", true),
            ("services/shop*", "services/shop-db.yaml", true),
            ("services/shop*", "services/shop/db.yaml", false),
            ("services/**", "services/a/b.yaml", true),
            ("services/", "services/a/b.yaml", true),
            ("**/shop.yaml", "shop.yaml", true),
            ("**/shop.yaml", "a/b/shop.yaml", true),
            ("**/shop.yaml", "a/workshop.yaml", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "ab", false),
            ("?.yaml", "é.yaml", true),
            ("?.yaml", "/.yaml", false),
            ("", "anything/at/all", true),
            ("./apps/*", "apps/x.yaml", true),
        ] {
            assert_eq!(matches(glob, path), yes, "{glob} {path}");
        }
    }
}
