//! A compiler that remembers gives what one that knows nothing gives, whatever changes between two revisions; and what
//! changes inside an app alone is not compiled the whole way.

use proptest::prelude::*;

use super::*;

/// What an app's file says; every field is either the app's own business or something that others are checked against.
#[derive(Debug, Clone)]
struct Text {
    replicas: usize,
    env: usize,
    team: usize,
    after: usize,
    port: usize,
    was: usize,
    extra: usize,
    blank: bool,
}

impl Text {
    fn plain() -> Self {
        Self { replicas: 1, env: 0, team: 0, after: 0, port: 0, was: 0, extra: 0, blank: false }
    }

    /// One field set to another value.
    fn set(&mut self, field: usize, value: usize) {
        match field {
            0..=1 => self.replicas = value,
            3..=4 => self.env = value,
            5 => self.team = value % 2,
            6 => self.after = value,
            2 | 7 => self.port = value,
            8 => self.was = value,
            9 => self.extra = value,
            _ => self.blank = value.is_multiple_of(2),
        }
    }

    fn write(&self, i: usize) -> String {
        let team = ["payments", "nobody"][self.team];
        let was = ["", ", was: [old]", ", was: [a0]", ", was: [older]"][self.was % 4];
        let after = ["".to_owned(), "app/gone".to_owned(), format!("app/a{}", (i + 1) % 6), "app/a0".to_owned()];
        let port = ["", "  port: 8080\n", "  port: {number: 8081, protocol: http}\n", "  port: 70000\n"][self.port % 4];
        let extra = [
            "",
            "  provider: other\n",
            "  secrets: {KEY: theirs}\n",
            "  secrets: {KEY: ours}\n",
            "  nonsense: 1\n",
            "  : [\n",
            "  suspend: true\n---\napiVersion: codeops/v1\nkind: Team\nmetadata: {name: more}\nspec: {}\n",
        ][self.extra % 7];
        format!(
            "{}apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a{i}, team: {team}{was}}}\nspec:\n  run: {{command: [x]}}\n  replicas: {}\n  env: {{N: \"{}\"}}\n  after: [{}]\n{port}{extra}",
            if self.blank { "# a note\n\n" } else { "" },
            self.replicas,
            self.env,
            after[self.after % 4],
        )
    }
}

const OVERLAY: &str =
    "apiVersion: codeops/v1\nkind: App\nmetadata: {name: a1}\nspec: {replicas: 7, env: {N: overlaid}}\n";

fn context(environment: usize, tag: usize, teams: bool) -> Context {
    let secret = |team: &str| SecretFacts { teams: [name(team)].into(), tag: Ok(format!("tag{tag}")) };
    let own = TeamSettings { paths: vec!["apps/**".to_owned()], ..Default::default() };
    Context {
        environment: [None, Some(name("prod")), Some(name("test"))][environment % 3].clone(),
        secrets: Some([(name("ours"), secret("payments")), (name("theirs"), secret("nobody"))].into()),
        teams: if teams { [(name("payments"), own)].into() } else { BTreeMap::new() },
        ..Context::default()
    }
}

fn same(compiled: &Compiled, fresh: &Compiled) -> Result<(), TestCaseError> {
    prop_assert_eq!(format!("{:#?}", compiled), format!("{:#?}", fresh));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn remembering_changes_nothing(
        edits in proptest::collection::vec((0..6usize, 0..14usize, 0..7usize, any::<bool>()), 1..24),
        overlays in any::<bool>(),
        teams in any::<bool>(),
    ) {
        let mut texts: BTreeMap<usize, Text> = (0..5).map(|i| (i, Text::plain())).collect();
        let (mut environment, mut tag, mut declared) = (0, 0, Declared::new());
        let mut compiler = Compiler::default();
        for (i, field, value, back) in edits {
            match field {
                11 => environment = value,
                12 => tag = value % 2,
                13 if texts.contains_key(&i) => drop(texts.remove(&i)),
                _ => texts.entry(i).or_insert_with(Text::plain).set(field, value),
            }
            let mut pairs = vec![("codeops.yaml".to_owned(), REPOSITORY.to_owned()), ("teams/p.yaml".to_owned(), TEAM.to_owned())];
            pairs.extend(texts.iter().map(|(i, text)| (format!("apps/{i}.yaml"), text.write(*i))));
            if overlays {
                pairs.push(("environments/prod/a1.yaml".to_owned(), OVERLAY.to_owned()));
                pairs.push(("environments/test/x.yaml".to_owned(), OVERLAY.replace("a1", "a2")));
            }
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let context = Context { declared: declared.clone(), ..context(environment, tag, teams) };
            let compiled = compiler.compile(&files(&pairs), &context);
            same(&compiled, &Compiler::default().compile(&files(&pairs), &context))?;
            declared = Declared::clone(&compiled.declared);
            if back {
                texts.insert(i, Text::plain());
            }
        }
    }
}

/// What one app's file is changed to, and whether that is its own business.
#[test]
fn only_what_others_are_checked_against_is_compiled_the_whole_way() {
    let at = |field: usize, value: usize| {
        let mut text = Text::plain();
        text.set(field, value);
        text.write(3)
    };
    let cases = [
        (at(0, 5), true, "replicas"),
        (at(3, 9), true, "env"),
        (at(9, 3), true, "a secret that is granted"),
        (at(10, 0), true, "lines further down"),
        (at(9, 2), false, "a secret that is not granted"),
        (at(5, 1), false, "team"),
        (at(6, 3), false, "after"),
        (at(7, 1), false, "port"),
        (at(8, 1), false, "a former name"),
        (at(9, 1), false, "provider"),
        (at(9, 4), false, "a mistake"),
        (at(9, 6), false, "a Team beside it"),
        (Text::plain().write(5), false, "another name"),
    ];
    for (text, short, what) in cases {
        let first = Text::plain().write(3);
        let others = [("codeops.yaml", REPOSITORY), ("teams/p.yaml", TEAM), ("environments/prod/a1.yaml", OVERLAY)];
        let other = Text::plain().write(1);
        let with = |text: &str| files(&[&others[..], &[("apps/1.yaml", &other), ("apps/3.yaml", text)]].concat());
        let context = context(1, 0, false);
        let mut compiler = Compiler::default();
        assert!(compiler.compile(&with(&first), &context).diagnostics.is_empty());
        let (_, amended) = compiler.compile_amending(&with(&text), &context);
        assert_eq!(amended, short, "{what}");
    }
}
