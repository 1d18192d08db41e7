//! An app's folder that lies elsewhere than before, moved with all of its system: what instances were told of paths in there
//! becomes what it is now. Else one that starts again would find nothing, or what is another's by now.

use std::path::{Path, PathBuf};

use super::table::Durable;
use super::wire::Setting;

/// The variable that names the folder an app may write.
const DATA: &str = "STATE_DIRECTORY";

impl Durable {
    /// From now on its folder is `here`. It was the one that was written down, or, where an earlier version wrote none down, `from`.
    pub(super) fn lies_in(&mut self, from: Option<&Path>, here: &Path) {
        let before = self.folder.replace(here.to_owned()).or_else(|| from.map(Path::to_owned));
        // An app's folder is two below its system's, and an instance is told of what is below that.
        let Some((from, to)) = before.as_deref().and_then(Path::parent).zip(here.parent()) else { return };
        let Some((from, to)) = from.parent().zip(to.parent()).filter(|(from, to)| from != to) else { return };
        self.instances.values_mut().for_each(|record| follow(&mut record.setting, from, to));
    }
}

fn follow(setting: &mut Setting, from: &Path, to: &Path) {
    let moved = |path: &Path| Some(to.join(path.strip_prefix(from).ok()?));
    if let Some(dir) = moved(&setting.dir) {
        setting.dir = dir;
    }
    let data = setting.env.get(DATA).and_then(|data| moved(&PathBuf::from(data.replace("$$", "$"))));
    if let Some(data) = data {
        setting.env.insert(DATA.to_owned(), data.display().to_string().replace('$', "$$"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_folder_goes_along_and_nothing_else() {
        let env = [(DATA, "/a/local/data/shop"), ("OTHER", "/a/local/data/shop")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut setting = Setting { dir: "/a/local/releases/1".into(), env, ..Setting::default() };
        follow(&mut setting, Path::new("/a/local"), Path::new("/b$/local"));
        assert_eq!(setting.dir, Path::new("/b$/local/releases/1"));
        assert_eq!(setting.env[DATA], "/b$$/local/data/shop");
        assert_eq!(setting.env["OTHER"], "/a/local/data/shop", "what is declared stays as it is declared");
        follow(&mut setting, Path::new("/b$/local"), Path::new("/c"));
        assert_eq!((setting.dir.as_path(), &*setting.env[DATA]), (Path::new("/c/releases/1"), "/c/data/shop"));
        let mut outside = Setting { dir: "/srv".into(), ..Setting::default() };
        follow(&mut outside, Path::new("/a/local"), Path::new("/b/local"));
        assert_eq!(outside.dir, Path::new("/srv"));
    }
}
