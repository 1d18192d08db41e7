//! Archives as hostile senders make them.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use ::tar::{Builder, EntryType, Header};
use ::zip::write::SimpleFileOptions;
use proptest::prelude::*;

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Name, kind, mode, link, content.
type Made<'a> = (&'a str, EntryType, u32, &'a str, &'a [u8]);

/// A tar of (name, kind, mode, link, content), written without the library's own checks.
fn tar(entries: &[Made<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, mode, link, content) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn try_unpack(bytes: &[u8], name: &str) -> (tempfile::TempDir, Result<Form, ArtifactError>) {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("fetched");
    let into = home.path().join("tree");
    fs::write(&from, bytes).unwrap();
    fs::create_dir(&into).unwrap();
    let limits = Limits { bytes: 1 << 20, entries: 50, ratio: 200 };
    let result = unpack(&from, name, &into, &limits, &Progress::default());
    (home, result)
}

const FILE: EntryType = EntryType::Regular;

#[test]
fn honest_archives_of_every_form_are_unpacked_read_only() {
    let entries: &[Made<'_>] = &[
        ("./", EntryType::Directory, 0o755, "", b""),
        ("./bin/", EntryType::Directory, 0o755, "", b""),
        ("./bin/shop", FILE, 0o4755, "", b"program"),
        ("./bin/shop2", EntryType::Symlink, 0o777, "../bin/shop", b""),
        ("./conf", FILE, 0o644, "", b"x"),
        ("./same", EntryType::Link, 0o644, "./conf", b""),
    ];
    let zst = zstd::encode_all(Cursor::new(tar(entries)), 1).unwrap();
    for (bytes, form) in [(gz(&tar(entries)), Form::TarGz), (zst, Form::TarZst)] {
        let (home, result) = try_unpack(&bytes, "shop.tar");
        assert_eq!(result.unwrap(), form);
        let tree = home.path().join("tree");
        assert_eq!(fs::read(tree.join("bin/shop2")).unwrap(), b"program");
        assert_eq!(fs::read(tree.join("same")).unwrap(), b"x");
        let mode = |path: &str| fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("bin/shop"), mode("conf"), mode("bin"), mode("")), (0o555, 0o444, 0o555, 0o555));
    }
    let mut zip = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bin/shop", SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    zip.write_all(b"program").unwrap();
    let zip = zip.finish().unwrap().into_inner();
    let (home, result) = try_unpack(&zip, "shop.zip");
    assert_eq!(result.unwrap(), Form::Zip);
    assert_eq!(fs::read(home.path().join("tree/bin/shop")).unwrap(), b"program");
    let (home, result) = try_unpack(&zip, "shop.jar");
    assert_eq!(result.unwrap(), Form::File);
    assert_eq!(fs::read(home.path().join("tree/shop.jar")).unwrap(), zip);
}

#[test]
fn what_leads_out_or_has_no_place_in_a_release_is_refused() {
    let cases: &[(&str, &[Made<'_>])] = &[
        ("leads out", &[("../evil", FILE, 0o644, "", b"x")]),
        ("leads out", &[("/etc/evil", FILE, 0o644, "", b"x")]),
        ("leads out", &[("a/../../evil", FILE, 0o644, "", b"x")]),
        ("leads out", &[("l", EntryType::Symlink, 0o777, "/etc", b"")]),
        ("leads out", &[("a/l", EntryType::Symlink, 0o777, "../../x", b"")]),
        (
            "leads out",
            &[("x/y/s", EntryType::Symlink, 0o777, "..", b""), ("x/y/t", EntryType::Symlink, 0o777, "s/../../x", b"")],
        ),
        ("link or file", &[("l", EntryType::Symlink, 0o777, "d", b""), ("l/evil", FILE, 0o644, "", b"x")]),
        ("in the place", &[("l", EntryType::Symlink, 0o777, "d", b""), ("l", FILE, 0o644, "", b"x")]),
        ("not a file", &[("h", EntryType::Link, 0o644, "nothing", b"")]),
        ("leads out", &[("h", EntryType::Link, 0o644, "../../etc/passwd", b"")]),
        ("device", &[("dev", EntryType::Char, 0o644, "", b"")]),
        ("device", &[("dev", EntryType::Block, 0o644, "", b"")]),
        ("named pipe", &[("pipe", EntryType::Fifo, 0o644, "", b"")]),
        ("unknown kind", &[("what", EntryType::new(b'Z'), 0o644, "", b"")]),
        ("64 KiB", &[("././@LongLink", EntryType::GNULongName, 0o644, "", &[b'a'; 70_000])]),
        ("gives a size", &[("pax", EntryType::XHeader, 0o644, "", b"11 size=12\n")]),
        ("empty", &[]),
    ];
    for (why, entries) in cases {
        let (home, result) = try_unpack(&gz(&tar(entries)), "a.tar.gz");
        let error = result.unwrap_err();
        assert!(matches!(&error, ArtifactError::Refused(text) if text.contains(why)), "{why}: {error}");
        assert!(!home.path().join("evil").exists());
    }
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0_u8; 2 << 20];
    let (_home, result) = try_unpack(&gz(&tar(&[("big", FILE, 0o644, "", &zeros)])), "a.tar.gz");
    assert!(result.unwrap_err().to_string().contains("far more than it may"));
    // What is skipped counts, too.
    for kind in [EntryType::XGlobalHeader, EntryType::Directory, EntryType::Symlink] {
        let (_home, result) =
            try_unpack(&gz(&tar(&[("d", kind, 0o755, "x", &zeros), ("f", FILE, 0o644, "", b"x")])), "a");
        let error = result.unwrap_err();
        assert!(matches!(&error, ArtifactError::Refused(why) if why.contains("far more than it may")), "{error}");
    }
    let names: Vec<String> = (0..60).map(|i| format!("f{i}")).collect();
    let many: Vec<_> = names.iter().map(|n| (n.as_str(), FILE, 0o644, "", b"".as_slice())).collect();
    let (_home, result) = try_unpack(&gz(&tar(&many)), "a.tar.gz");
    assert!(result.unwrap_err().to_string().contains("too many entries"));
}

#[test]
fn the_folders_that_few_entries_lie_in_are_entries_too() {
    let folders = |of: &Path| {
        fn below(folder: &Path) -> usize {
            let inside = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            inside.filter(|path| path.is_dir()).map(|path| 1 + below(&path)).sum()
        }
        below(of)
    };
    let deep: Vec<String> = (0..5).map(|i| format!("d{i}{}", "/a".repeat(40))).collect();
    for kind in [EntryType::Directory, FILE] {
        let entries: Vec<_> = deep.iter().map(|name| (name.as_str(), kind, 0o755, "", b"".as_slice())).collect();
        let (home, result) = try_unpack(&gz(&tar(&entries)), "a.tar.gz");
        let error = result.unwrap_err().to_string();
        assert!(error.contains("too many entries, with the folders that they lie in"), "{error}");
        assert!(folders(&home.path().join("tree")) <= 50, "no more is made than may be");
    }
    // What an archive lists is counted once, in whatever order, and sealed to the last.
    let listed: Vec<String> = (1..=48).map(|depth| vec!["a"; depth].join("/")).collect();
    let mut entries: Vec<_> =
        listed.iter().map(|name| (name.as_str(), EntryType::Directory, 0o755, "", b"".as_slice())).collect();
    entries.push(("a/a/f", FILE, 0o644, "", b"x"));
    let (home, result) = try_unpack(&gz(&tar(&entries)), "a.tar.gz");
    assert!(matches!(result, Ok(Form::TarGz)), "{result:?}");
    assert_eq!(folders(&home.path().join("tree")), 48);
    for name in &listed {
        let mode = fs::metadata(home.path().join("tree").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o555, "{name}");
    }
}

/// A zip as its parts say: a file, the table with `more` entries that are none's, and an end that promises `entries`
/// (as zip64 where that is more than an end can say) in a table of `size` bytes.
fn raw_zip(more: usize, promises: Option<(u64, u64)>) -> Vec<u8> {
    let le = |value: u64, bytes: usize| value.to_le_bytes()[..bytes].to_vec();
    let mut zip = [&b"PK\x03\x04\x14\0"[..], &[0; 20], &[1, 0, 0, 0], b"f"].concat();
    let table = zip.len() as u64;
    for number in 0..=more {
        let name = if number == 0 { "f".to_owned() } else { format!("{number:x}") };
        zip.extend([&b"PK\x01\x02\x1e\x03\x14\0"[..], &[0; 20], &le(name.len() as u64, 2), &[0; 8]].concat());
        zip.extend([&le(0o100_644 << 16, 4)[..], &[0; 4], name.as_bytes()].concat());
    }
    let (entries, size) = promises.unwrap_or((more as u64 + 1, zip.len() as u64 - table));
    let place = zip.len() as u64;
    if entries > 0xfffe {
        zip.extend(
            [&b"PK\x06\x06"[..], &le(44, 8), &[45, 0, 45, 0], &[0; 8], &le(entries, 8), &le(entries, 8)].concat(),
        );
        zip.extend([&le(size, 8)[..], &le(table, 8)].concat());
        zip.extend([&b"PK\x06\x07\0\0\0\0"[..], &le(place, 8), &le(1, 4)].concat());
    }
    let short = le(entries.min(0xffff), 2);
    zip.extend([&b"PK\x05\x06\0\0\0\0"[..], &short, &short, &le(size.min(0xffff_ffff), 4)].concat());
    zip.extend([&le(table, 4)[..], &[0; 2]].concat());
    zip
}

#[test]
fn a_zip_has_no_larger_table_of_contents_than_is_kept_in_memory() {
    let why =
        |zip: &[u8]| try_unpack(zip, "a.zip").1.map_or_else(|error| error.to_string(), |form| format!("{form:?}"));
    assert_eq!(why(&raw_zip(9, None)), "Zip");
    assert_eq!(why(&[raw_zip(9, None), vec![0; 100]].concat()), "Zip", "a little may follow");
    for zip in [raw_zip(70_000, None), raw_zip(0, Some((65_001, 10))), raw_zip(0, Some((1 << 40, 10)))] {
        assert!(why(&zip).contains("too large a table"), "{}", why(&zip));
    }
    assert!(why(&raw_zip(0, Some((1, 9 << 20)))).contains("too large a table"));
    // Neither an end that lies too far before the end, nor one before the table of another end, is taken.
    let junk = [raw_zip(70_000, None), vec![0; 70 << 10]].concat();
    assert!(why(&junk).contains("no end record"), "{}", why(&junk));
    let mut end = raw_zip(0, Some((2, 10)));
    end.drain(..32);
    let offset = end.len() - 6;
    end[offset..offset + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    let hidden = [raw_zip(60_000, None), end].concat();
    assert!(why(&hidden).contains("not a zip that can be read"), "{}", why(&hidden));
    let mut within = raw_zip(9, None);
    let wide = [&b"PK\x06\x06"[..], &[0; 28], &(1_u64 << 40).to_le_bytes(), &[0; 16]].concat();
    within.splice(within.len() - 22..within.len() - 22, wide);
    assert!(why(&within).contains("too large a table"), "{}", why(&within));
}

#[test]
fn what_nobody_wants_any_more_is_not_unpacked_further() {
    let home = tempfile::tempdir().unwrap();
    let (progress, limits) = (Progress::default(), Limits::default());
    progress.give_up();
    let mut zip = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("f", SimpleFileOptions::default()).unwrap();
    zip.write_all(b"x").unwrap();
    let zip = zip.finish().unwrap().into_inner();
    let tar = gz(&tar(&[("f", FILE, 0o644, "", b"x")]));
    for (name, bytes) in [("tar", tar), ("zip", zip), ("file", b"program".to_vec())] {
        let (from, into) = (home.path().join(format!("{name}-from")), home.path().join(name));
        fs::write(&from, bytes).unwrap();
        fs::create_dir(&into).unwrap();
        let error = unpack(&from, name, &into, &limits, &progress).unwrap_err();
        assert!(matches!(&error, ArtifactError::Transient(why) if why.contains("nobody wants")), "{name}: {error}");
    }
}

#[test]
fn the_name_of_one_file_is_plain() {
    for (url, name) in [
        ("https://b.example/x/shop-1.4", "shop-1.4"),
        ("https://b.example/shop?token=1#x", "shop"),
        ("https://b.example", "program"),
        ("https://b.example/", "program"),
        ("file:///opt/shop", "shop"),
        ("https://b.example/..", "program"),
        ("https://b.example/a%2fb", "program"),
    ] {
        assert_eq!(file_name(url), name, "{url}");
    }
}

/// Nothing but the tree may appear, whatever the archive says.
fn stays_in_tree(bytes: &[u8]) {
    let (home, result) = try_unpack(bytes, "a.bin");
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    if result.is_ok() {
        links_stay_inside(&home.path().join("tree").canonicalize().unwrap(), &home.path().join("tree"));
    }
}

fn links_stay_inside(root: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(kind.is_dir() || kind.is_file() || kind.is_symlink());
        if kind.is_dir() {
            links_stay_inside(root, &entry.path());
        } else if let Ok(real) = entry.path().canonicalize() {
            assert!(real.starts_with(root), "{} leads to {}", entry.path().display(), real.display());
        }
    }
}

#[test]
fn the_fuzz_corpus_stays_in_its_tree() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/archive");
    let mut seen = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        stays_in_tree(&fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen >= 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tar_of_links_and_files_stays_in_its_tree(entries in prop::collection::vec(
        ("[ab./]{1,8}", 0..4_usize, "[ab./]{1,8}"), 1..12,
    )) {
        let kinds = [FILE, EntryType::Symlink, EntryType::Link, EntryType::Directory];
        let entries: Vec<_> =
            entries.iter().map(|(name, kind, link)| (name.as_str(), kinds[*kind], 0o777, link.as_str(), b"".as_slice())).collect();
        stays_in_tree(&gz(&tar(&entries)));
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused(kind in 0..4_usize, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let head: &[u8] = [b"\x1f\x8b".as_slice(), b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b""][kind];
        stays_in_tree(&[head, &bytes].concat());
        stays_in_tree(&gz(&bytes));
    }
}

#[test]
fn what_takes_much_memory_to_unpack_waits_for_a_turn() {
    let turns = [0, 1].map(|_| turn::Turn::take(&Progress::default()).unwrap());
    let zst = zstd::encode_all(Cursor::new(tar(&[("conf", FILE, 0o644, "", b"x")])), 1).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(try_unpack(&zst, "a.tar.zst").1.map(drop).is_ok()));
    assert!(told.recv_timeout(std::time::Duration::from_millis(300)).is_err(), "two are unpacked");
    drop(turns);
    assert!(told.recv_timeout(std::time::Duration::from_secs(30)).unwrap());
}
