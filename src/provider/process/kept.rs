//! What an app wrote where it no longer lives. A move takes no data along and destroys none: it is set aside, out of the reach of
//! other apps, found again on the way back, and goes when the app is deleted at last, wherever it lives then.
//!
//! ```text
//! STATE/PROVIDER/kept/NAME/  0700, the daemon's
//!   kept.json                whose it is, and where the app went
//!   data/                    as the app left it, its uid too, which nobody else is given meanwhile
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use codeops_core::model::{Live, Owner, ProviderName, ResourceId};
use serde::{Deserialize, Serialize};

use super::home::{Home, read_json, write_json};
use super::{Shared, off_thread, users};
use crate::base::remove_folder;

const RECORD: &str = "kept.json";

/// An app on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Going {
    /// What it is.
    pub(super) id: ResourceId,
    /// Whose it is.
    pub(super) owner: Owner,
    /// Where it lives on; `None`: nowhere, and all that it ever wrote goes.
    #[serde(default)]
    pub(super) moved_to: Option<ProviderName>,
}

/// What lies in one folder below `kept/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(flatten)]
    app: Going,
    #[serde(default)]
    uid: Option<u32>,
}

/// One app's data where it no longer lives.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    record: Record,
}

impl Kept {
    fn is_of(&self, id: &ResourceId, owner: &Owner) -> bool {
        (&self.record.app.id, &self.record.app.owner) == (id, owner)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The uid that the data are under.
    pub(super) fn uid(&self) -> Option<u32> {
        self.record.uid
    }

    /// For whoever asks what became of an app's data.
    fn note(&self) -> String {
        let provider = self.folder.parent().and_then(Path::parent).and_then(Path::file_name).unwrap_or_default();
        format!(
            "what it wrote on provider {} before it moved is kept in {}: copy what it needs into its STATE_DIRECTORY, or remove \
             that folder; a move back finds it, and deleting the app deletes it",
            provider.to_string_lossy(),
            self.data().display()
        )
    }
}

impl Home {
    pub(super) fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }

    /// All that is kept here.
    fn all_kept(&self) -> Vec<Kept> {
        let each = below(&self.kept())
            .filter_map(|folder| Some(Kept { record: read_json(&folder.join(RECORD)).ok()?, folder }));
        // Without data it was being set aside, or given back, when a daemon ended.
        each.filter(|kept| kept.data().exists()).collect()
    }

    /// All that is kept here and by the providers beside it.
    pub(super) fn kept_anywhere(&self) -> Vec<Kept> {
        let homes = self.root.parent().into_iter().flat_map(below).map(|root| Self { root });
        homes.flat_map(|home| home.all_kept()).collect()
    }

    /// What is kept here of an app that comes back.
    pub(super) fn kept_of(&self, id: &ResourceId, owner: &Owner) -> Option<Kept> {
        self.all_kept().into_iter().find(|kept| kept.is_of(id, owner))
    }

    /// Sets the data in `folder` aside; whether there are any. May be repeated, also after a crash halfway.
    fn keep(&self, folder: &str, app: &Going, uid: Option<u32>) -> io::Result<bool> {
        let data = self.data(folder);
        let holds_any = match fs::read_dir(&data) {
            Ok(mut entries) => entries.next().transpose()?.is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !holds_any {
            return Ok(self.all_kept().iter().any(|kept| kept.uid() == uid && kept.is_of(&app.id, &app.owner)));
        }
        let private = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(&self.kept())?;
        let name = app.id.name.as_str();
        let places = (1..1_000).map(|number| match number {
            1 => self.kept().join(name),
            _ => self.kept().join(format!("{name}.{number}")),
        });
        let place = places.into_iter().find(|place| !place.join("data").exists());
        let place =
            place.ok_or_else(|| io::Error::other(format!("{} has no name left for {name}", self.kept().display())))?;
        private(&place)?;
        write_json(&place.join(RECORD), &Record { app: app.clone(), uid })?;
        fs::rename(&data, place.join("data"))?;
        File::open(&place)?.sync_all()?;
        Ok(true)
    }

    /// Gives an app that came back what it wrote here, before anything of it runs in `folder`.
    pub(super) fn take_back(&self, folder: &str, id: &ResourceId, owner: &Owner) -> io::Result<()> {
        let data = self.data(folder);
        let Some(kept) = self.kept_of(id, owner).filter(|_| !data.exists()) else { return Ok(()) };
        fs::rename(kept.data(), &data)?;
        remove_folder(&kept.folder)
    }

    /// Removes all that is kept of an app, here and beside; gives the uids that are free with it.
    fn let_go(&self, app: &Going) -> io::Result<Vec<u32>> {
        let all = self.kept_anywhere().into_iter().filter(|kept| kept.is_of(&app.id, &app.owner));
        all.map(|kept| remove_folder(&kept.folder).map(|()| kept.uid())).filter_map(Result::transpose).collect()
    }

    /// What is kept of an app is kept of it under its new id.
    pub(super) fn kept_as(&self, from: &ResourceId, to: &ResourceId, owner: &Owner) -> io::Result<()> {
        self.kept_anywhere().into_iter().filter(|kept| kept.is_of(from, owner)).try_for_each(|mut kept| {
            kept.record.app.id = to.clone();
            write_json(&kept.folder.join(RECORD), &kept.record)
        })
    }
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Says of what lives where the data are that it wrote elsewhere.
pub(super) fn tell(kept: &[Kept], id: &ResourceId, live: &mut Live) {
    let Some(owner) = live.stamp.as_ref().map(|stamp| stamp.owner.clone()) else { return };
    live.notes.extend(kept.iter().filter(|kept| kept.is_of(id, &owner)).map(Kept::note));
}

impl Shared {
    /// Removes what an app left that is gone from here: processes under a `uid` of its own that got away from its keeper, and
    /// its folders; with all that is kept of it, if it is `going` for good.
    pub(super) async fn clear(&self, folder: &str, uid: Option<u32>, going: Option<Box<Going>>) -> io::Result<()> {
        let (home, folder) = (self.home.clone(), folder.to_owned());
        let clear = move || {
            uid.into_iter().for_each(users::end);
            let mut free = Vec::new();
            let stays = match &going {
                Some(app) if app.moved_to.is_some() => home.keep(&folder, app, uid)?,
                Some(app) => {
                    free = home.let_go(app)?;
                    false
                }
                None => false,
            };
            home.remove(&folder)?;
            free.extend(uid.filter(|_| !stays));
            Ok(free)
        };
        let free = off_thread(clear).await?;
        free.into_iter().for_each(|uid| self.claims.release(uid));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn going(moved_to: Option<&str>) -> Going {
        let owner = Owner { repository: "acme".parse().unwrap(), environment: None };
        let moved_to = moved_to.map(|name| name.parse().unwrap());
        Going { id: "app/shop".parse().unwrap(), owner, moved_to }
    }

    fn moved(home: &Home) -> Going {
        fs::write(home.make_data("shop", None).unwrap().join("orders"), "42").unwrap();
        let app = going(Some("edge"));
        assert!(home.keep("shop", &app, Some(64_007)).unwrap());
        home.remove("shop").unwrap();
        app
    }

    #[test]
    fn what_an_app_wrote_outlives_its_move_and_is_found_on_the_way_back() {
        let state = tempfile::tempdir().unwrap();
        let (home, edge) = (Home::open(state.path(), "local").unwrap(), Home::open(state.path(), "edge").unwrap());
        let app = moved(&home);
        assert!(!home.data("shop").exists());
        assert!(home.keep("shop", &app, Some(64_007)).unwrap(), "repeated after a crash");
        let kept = edge.kept_anywhere();
        assert_eq!((kept.len(), kept[0].uid()), (1, Some(64_007)));
        let note = kept[0].note();
        assert!(note.contains("on provider local") && note.contains(&kept[0].data().display().to_string()), "{note}");
        assert!(edge.uids_beside().contains(&64_007), "nobody else may read it");
        home.take_back("shop.2", &app.id, &app.owner).unwrap();
        assert_eq!(fs::read_to_string(home.data("shop.2").join("orders")).unwrap(), "42");
        assert!(home.kept_anywhere().is_empty());
    }

    #[test]
    fn what_is_kept_goes_with_the_app_wherever_it_is_deleted() {
        let state = tempfile::tempdir().unwrap();
        let (home, edge) = (Home::open(state.path(), "local").unwrap(), Home::open(state.path(), "edge").unwrap());
        let app = moved(&home);
        let mut other = going(None);
        other.owner.repository = "else".parse().unwrap();
        assert!(edge.let_go(&other).unwrap().is_empty(), "another owner's app of that name");
        let store: ResourceId = "app/store".parse().unwrap();
        edge.kept_as(&app.id, &store, &app.owner).unwrap();
        assert!(edge.let_go(&going(None)).unwrap().is_empty());
        assert_eq!(edge.let_go(&Going { id: store, ..going(None) }).unwrap(), [64_007]);
        assert!(home.kept_anywhere().is_empty());
    }

    #[test]
    fn nothing_is_kept_of_an_app_that_wrote_nothing() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::open(state.path(), "local").unwrap();
        home.make_data("shop", None).unwrap();
        assert!(!home.keep("shop", &going(Some("edge")), None).unwrap());
        assert!(!home.kept().exists());
    }
}
