//! `init`: a new config repository that works as it is, committed where git is there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use codeops_core::model::Name;
use include_dir::{Dir, include_dir};

use super::args::InitArgs;
use super::environment::Variables;
use super::exit::{Coded, Exit};
use super::output::{Output, Style};
use super::{block_on, demo};

static TEMPLATE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/cli/template");

/// Makes the repository; refuses a folder that holds anything but `.git`.
pub(crate) fn init(args: &InitArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.dir)?,
    };
    refuse_occupied(&args.dir)?;
    let program = program_name()?;
    write(&TEMPLATE, &args.dir, &|text| text.replace("NAME", name.as_str()).replace("PROGRAM", &quoted(&program)))?;
    let committed = variables.which("git").is_some() && commit(&args.dir)?;
    let dir = args.dir.display();
    output.note(format!("{} {name} in {dir}", output.paint(Style::Good, "made")));
    if !committed {
        output.note(format!("git is not installed: commit {dir} yourself once it is"));
    }
    if let Some((folder, mode)) = closed_to_apps(&program) {
        output.note(format!(
            "{}: {program} lies in {} (mode {mode:04o}), and the apps, each a user of its own, may not go there. First: \
             install -m 0755 {} /usr/local/bin/codeops, and write `codeops` in {dir}/apps/hello.yaml",
            output.paint(Style::Bad, "the app cannot start yet"),
            folder.display(),
            shell(&program)
        ));
    }
    let dir = args.dir.to_string_lossy();
    // What begins like an option is one, wherever it stands.
    let dir = shell(&if dir.starts_with('-') { format!("./{dir}") } else { dir.into_owned() });
    output.note(format!("next: codeops validate {dir} && codeops run --repo {dir}"));
    Ok(Exit::Fine)
}

/// Where it is installed as usual, `codeops` is a name that every machine understands; else only this file's path is.
fn program_name() -> anyhow::Result<String> {
    let installed = ["/usr/local/bin/codeops", "/usr/bin/codeops"].iter().any(|file| Path::new(file).is_file());
    Ok(if installed { "codeops".to_owned() } else { std::env::current_exe()?.to_string_lossy().into_owned() })
}

/// The folder that keeps apps from a program, where they are to run as users of their own: under root.
fn closed_to_apps(program: &str) -> Option<(PathBuf, u32)> {
    rustix::process::geteuid().is_root().then(|| closed_to_others(Path::new(program))).flatten()
}

/// The outermost folder on the way to a file that not everybody may enter, with its mode.
fn closed_to_others(file: &Path) -> Option<(PathBuf, u32)> {
    let mut folders: Vec<&Path> = file.ancestors().skip(1).filter(|folder| folder.is_absolute()).collect();
    folders.reverse();
    let mode = |folder: &Path| fs::metadata(folder).map(|it| it.permissions().mode() & 0o7777).ok();
    folders.into_iter().find_map(|folder| Some((folder.to_owned(), mode(folder).filter(|mode| mode & 0o001 == 0)?)))
}

/// `text` as one word of a shell.
fn shell(text: &str) -> String {
    let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if bare { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn name_of(dir: &Path) -> anyhow::Result<Name> {
    let absolute = std::path::absolute(dir)?;
    let folder = absolute.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain: String = folder.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Name::new(plain.trim_matches('-'))
        .map_err(|error| Coded::usage(format!("{error}. Give the repository a name with --name NAME")))
}

fn refuse_occupied(dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Coded::usage(format!("{}: {error}", dir.display()))),
    };
    for entry in entries {
        let name = entry?.file_name();
        if name != ".git" {
            let (dir, name) = (dir.display(), name.to_string_lossy().into_owned());
            return Err(Coded::usage(format!("{dir} is not empty (it holds {name}): name a new folder")));
        }
    }
    Ok(())
}

/// Writes an embedded folder below `target`, each text passed through `fill`.
pub(super) fn write(source: &Dir<'_>, target: &Path, fill: &dyn Fn(&str) -> String) -> anyhow::Result<()> {
    fs::create_dir_all(target).with_context(|| format!("{} cannot be made", target.display()))?;
    for file in source.files() {
        let path = target.join(file.path());
        let text = file.contents_utf8().unwrap_or_default();
        fs::write(&path, fill(text)).with_context(|| format!("{} cannot be written", path.display()))?;
        // What is embedded has lost its mode.
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    for folder in source.dirs() {
        let path = target.join(folder.path());
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        write(folder, target, fill)?;
    }
    Ok(())
}

/// `text` as a YAML scalar: bare where that is safe, else in quotes.
pub(super) fn quoted(text: &str) -> String {
    let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if bare { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// Makes the first commit; says whether there is one.
fn commit(dir: &Path) -> anyhow::Result<bool> {
    block_on(async {
        let git = demo::Git::new(dir);
        if !dir.join(".git").exists() {
            git.run(&["init", "--quiet", "--initial-branch=main"]).await?;
        }
        git.commit("Begin with one app that says hello").await?;
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_from_the_folder() {
        assert_eq!(name_of(Path::new("/tmp/My_Ops")).expect("a name").as_str(), "my-ops");
        assert!(name_of(Path::new("/")).is_err());
    }

    #[test]
    fn a_path_with_blanks_is_quoted() {
        assert_eq!(quoted("/usr/bin/codeops"), "/usr/bin/codeops");
        assert_eq!(quoted("/my files/codeops"), "\"/my files/codeops\"");
    }

    #[test]
    fn a_program_behind_a_closed_folder_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (closed, open) = (folder.path().join("root"), folder.path().join("root/bin"));
        fs::create_dir_all(&open).expect("made");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        set(folder.path(), 0o755);
        set(&open, 0o755);
        set(&closed, 0o700);
        assert_eq!(closed_to_others(&open.join("codeops")), Some((closed.clone(), 0o700)));
        set(&closed, 0o711);
        assert_eq!(closed_to_others(&open.join("codeops")), None);
        assert_eq!(closed_to_others(Path::new("codeops")), None, "a name that is looked for on the path");
    }

    #[test]
    fn what_is_to_be_typed_next_can_be() {
        assert_eq!(
            (shell("ops/a"), shell("my ops"), shell("it's")),
            ("ops/a".into(), "'my ops'".into(), r"'it'\''s'".into())
        );
    }
}
