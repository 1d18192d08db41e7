//! Globs of paths: `*` and `?` stay within one folder, `**` does not, a trailing `/` means all below.

/// Whether a path matches a glob. Takes at most the product of both lengths.
pub(crate) fn matches(glob: &str, path: &str) -> bool {
    walk(glob, path).0
}

/// Whether some path in a folder, which ends with `/`, may match a glob.
pub(crate) fn reaches(glob: &str, folder: &str) -> bool {
    walk(glob, folder).1
}

/// Whether all of a glob matches a path, and whether any beginning of it does.
fn walk(glob: &str, path: &str) -> (bool, bool) {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    // Most paths are told by how they begin.
    let plain = &glob[..glob.find(['*', '?']).unwrap_or(glob.len())];
    let shorter = plain.len().min(path.len());
    if plain.as_bytes()[..shorter] != path.as_bytes()[..shorter] {
        return (false, false);
    }
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
    let (mut at, mut some) = (0, path.is_empty());
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
        some |= reach[path.len()];
        at += if double { 2 } else { 1 };
    }
    (reach[path.len()], some)
}

#[cfg(test)]
mod tests {
    use super::{matches, reaches};

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

    #[test]
    fn folders_are_reached_by_what_may_match_in_them() {
        for (glob, folder, yes) in [
            ("apps/shop.yaml", "apps/", true),
            ("apps/shop.yaml", "teams/", false),
            ("apps/shop.yaml", "apps/shop/", false),
            ("services/shop*", "services/shop/", false),
            ("services/*/x.yaml", "services/shop/", true),
            ("services/*/x.yaml", "services/shop/deep/", false),
            ("services/", "services/a/b/", true),
            ("**/shop.yaml", "a/b/", true),
            ("a/**/b", "a/x/y/", true),
            ("a/**/b", "b/", false),
            ("", "a/", true),
        ] {
            assert_eq!(reaches(glob, folder), yes, "{glob} {folder}");
        }
    }
}
