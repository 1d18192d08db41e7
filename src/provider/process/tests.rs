//! How much the provider does at once and how little it reads, seen from inside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::port::SystemClock;

fn open(state: &Path, binary: &str, starts: bool) -> Process {
    let environment = Environment {
        state: state.to_owned(),
        binary: binary.into(),
        teams: BTreeMap::new(),
        clock: Arc::new(SystemClock),
        vault: None,
        memory: None,
        epoch: 1,
    };
    Process::new(&"local".parse().unwrap(), &ProcessSettings::default(), &environment, starts).unwrap()
}

fn put(process: &Process, name: &str) -> ResourceId {
    let id: ResourceId = format!("app/{name}").parse().unwrap();
    process.shared.home.make(&AppRecord::new(id.clone(), None)).unwrap();
    id
}

fn ids(id: &ResourceId) -> Scope {
    Scope::Ids([id.clone()].into())
}

#[tokio::test]
async fn a_look_at_one_app_lists_no_other() {
    let state = tempfile::tempdir().unwrap();
    let process = open(state.path(), "/bin/true", false);
    let shared = &process.shared;
    let shop = put(&process, "shop");
    shared.refresh(&ids(&shop)).await.unwrap();
    let (early, late) = (put(&process, "early"), put(&process, "late"));
    shared.refresh(&ids(&shop)).await.unwrap();
    assert_eq!(shared.apps().len(), 1, "the first look listed; this one does not");
    shared.refresh(&ids(&late)).await.unwrap();
    assert!(shared.app(&late).is_some() && shared.app(&early).is_none());
    fs::create_dir(shared.home.app("notes")).unwrap();
    let notes = "app/notes".parse().unwrap();
    shared.refresh(&ids(&notes)).await.unwrap();
    assert!(shared.is_foreign(&notes));
    fs::remove_dir(shared.home.app("notes")).unwrap();
    shared.refresh(&ids(&notes)).await.unwrap();
    assert!(!shared.is_foreign(&notes));
    shared.refresh(&Scope::All).await.unwrap();
    assert_eq!(shared.apps().len(), 3);
}

#[tokio::test]
async fn only_so_many_keepers_start_at_once() {
    let state = tempfile::tempdir().unwrap();
    // A keeper that takes its time.
    let binary = state.path().join("keeper.sh");
    fs::write(&binary, "#!/bin/sh\nexec sleep 2\n").unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let process = open(state.path(), binary.to_str().unwrap(), true);
    let shared = &process.shared;
    for number in 0..3 * STARTING {
        put(&process, &format!("app-{number}"));
    }
    shared.refresh(&Scope::All).await.unwrap();
    let started = || held(&shared.children).len();
    let all = async {
        while started() < STARTING {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), all).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(started(), STARTING);
}
