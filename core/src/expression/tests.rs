//! What expressions may do, and what they may cost.

use serde_json::json;

use cel::common::types::CelInt;
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn expression(source: &str) -> Expression {
    Expression::try_from(source.to_owned()).expect(source)
}

fn value(source: &str, facts: &Value) -> Result<Value, String> {
    evaluate(&expression(source), facts, &Budget::of_a_look())
}

#[test]
fn it_reads_facts() {
    let facts = json!({"alert": {"labels": {"app": "shop"}}, "steps": {"look": {"output": {"free": 3}}}});
    assert_eq!(value("alert.labels.app", &facts), Ok(json!("shop")));
    assert_eq!(holds(&expression("steps.look.output.free < 5 && alert.labels.app == 'shop'"), &facts), Ok(true));
    assert!(value("alert.labels.none", &facts).is_err());
    assert!(holds(&expression("alert.labels.app"), &facts).unwrap_err().contains("neither"));
}

#[test]
fn paths_are_spelt_out() {
    let paths = paths(&expression("has(steps.look.output) && steps.look.output.free < size(alert.labels.app)"));
    assert!(paths.contains(&vec!["steps".into(), "look".into(), "output".into(), "free".into()]), "{paths:?}");
    assert!(paths.contains(&vec!["alert".into(), "labels".into(), "app".into()]), "{paths:?}");
}

#[test]
fn deep_and_wide_sources_are_refused_or_survived() {
    for source in ["(".repeat(1_000), "1+".repeat(500) + "1", "[".repeat(512) + &"]".repeat(512), "x".repeat(2_000)] {
        let _ = check(&source);
    }
    assert!(check("[1].map(a, [1].map(b, [1].map(c, c)))").unwrap_err().contains("nested"));
    assert!(check("1 +").is_err());
}

#[test]
fn a_value_is_never_evaluated_twice() {
    let facts = json!({"alert": {"labels": {"app": "{{ secret }}"}}});
    let template = Template::try_from("app/{{ alert.labels.app }}".to_owned()).unwrap();
    assert_eq!(fill(&template, &facts, &Budget::of_a_look(), str::to_owned), Ok("app/{{ secret }}".to_owned()));
    assert!(Template::try_from("a }} b".to_owned()).is_err());
    assert!(Template::try_from("a {{ b".to_owned()).is_err());
}

/// What froze a daemon: sums of a list, each item set against each.
#[test]
fn an_expression_that_asks_for_too_much_has_no_value() {
    let list = |items: usize| json!({"steps": {"l": {"output": {"o": vec![0; items]}}}});
    let sum = vec!["steps.l.output.o"; 25].join("+");
    let all = |sum: &str| format!("({sum}).all(x,({sum}).all(y,x==y))");
    assert!(all(&sum).len() <= MAX_SOURCE);
    assert!(value(&all(&sum), &list(1_000)).unwrap_err().contains("too much work"));
    assert_eq!(value(&all("steps.l.output.o"), &list(60)), Ok(json!(true)), "what is short is still walked twice");
    assert!(value(&all("steps.l.output.o"), &list(1_000)).unwrap_err().contains("too much work"));
    assert_eq!(value("steps.l.output.o.all(x, x == 0)", &list(1_000)), Ok(json!(true)));

    // A text that doubles with each macro, and a macro that gathers what another gathered.
    let doubled = (0..40).fold("['0123456789abcdef']".to_owned(), |so_far, _| format!("{so_far}.map(x, x + x)"));
    assert!(Expression::try_from(doubled).is_err());
    let gathered = "steps.l.output.o.map(x, steps.l.output.o.map(y, steps.l.output.o))";
    assert!(value(gathered, &list(100)).unwrap_err().contains("too much work"));
}

#[test]
fn a_regular_expression_is_written_out_and_small() {
    let facts = json!({"alert": {"labels": {"app": "shop-1", "pattern": "\\w{1000}"}}});
    assert_eq!(value("alert.labels.app.matches('^shop-[0-9]+$')", &facts), Ok(json!(true)));
    assert_eq!(value("matches(alert.labels.app, '^web')", &facts), Ok(json!(false)));
    assert!(check("alert.labels.app.matches(alert.labels.pattern)").unwrap_err().contains("written out"));
    assert!(check("alert.labels.app.matches('\\\\w{1000}')").unwrap_err().contains("no such regular expression"));
    assert!(check("alert.labels.app.matches('(')").unwrap_err().contains("no such regular expression"));
    // Refused before it is made: folding the case of all of Unicode is the work.
    let wide = format!("'a'.matches(r'(?i){}a')", "[!-\u{10FFFF}]{0}".repeat(60));
    assert!(check(&wide).unwrap_err().contains("written in ASCII"));
    assert!(check(r"'a'.matches(r'(?si:\x{100}-\x{10FFFF})')").unwrap_err().contains("written in ASCII"));
    // What stands for most of Unicode without saying so: a class that leaves out, alone or in another.
    for wide in [r"[\D]", r"[a[^b]]", r"[][^a]b]", r"[^][^a]b]", r"[a[:x[^b]]]", r"[[:^alpha:]]", r"(?x)[ ][^a]]"] {
        let folded = format!("'a'.matches(r'(?i){wide}')");
        assert!(check(&folded).is_err_and(|why| why.contains("written in ASCII")), "{folded}: {:?}", check(&folded));
    }
    for fine in
        [r"(?i)^shop-\d+$", r"(?i)[\w-]+", r"(?i)[^a]b[^]c]", r"(?i)[[:alpha:]_]", r"[^\D]", r"[a[^b]]", r"(?x) [\D]"]
    {
        assert_eq!(check(&format!("'a'.matches(r'{fine}')")), Ok(()), "{fine}");
    }
    assert_eq!(value("alert.labels.app.matches('(?i)^SHOP-[0-9]+$')", &facts), Ok(json!(true)));
}

#[test]
fn the_work_of_reading_is_told_from_the_text() {
    assert_eq!(weight("alert.labels.app == 'shop'"), 20 + 5 + 2 + 3);
    assert_eq!(weight_of_template("https://{{ alert.labels.app }}/a-b/{{ run.id }}"), 20 + 5 + 20 + 3);
    assert_eq!(weight_of_template("no value in it, - nor {one}"), 0);
    assert!(weight("-1 < -1") > 40, "a minus makes the parser look ahead");
    assert!(weight(r"a.matches('\\w{5}')") > 600 && weight("{1: 2}") < 30);
}

/// A run that was written down by an older daemon is read, whatever its expressions ask for.
#[test]
fn what_is_refused_by_now_is_still_read_back_and_has_no_value() {
    let old = json!("alert.a.matches(alert.b)");
    assert!(Expression::try_from("alert.a.matches(alert.b)".to_owned()).is_err());
    let stored: Expression = serde_json::from_value(old).expect("reads");
    let facts = json!({"alert": {"a": "x", "b": "x"}});
    assert!(evaluate(&stored, &facts, &Budget::of_a_look()).unwrap_err().contains("written out"));
    let stored: Template = serde_json::from_value(json!("is {{ alert.a.matches(alert.b) }}")).expect("reads");
    assert_eq!(serde_json::to_value(&stored).expect("prints"), json!("is {{ alert.a.matches(alert.b) }}"));
    assert!(serde_json::from_value::<Expression>(json!("1 +")).is_err());
}

/// What is filled in together is paid for together.
#[test]
fn one_budget_is_for_all_of_a_look() {
    let facts = json!({"o": vec![0; 900]});
    let one = "{{ o.all(x, x == 0) }}";
    let fills = |times: usize| {
        let template = Template::try_from(one.repeat(times)).unwrap();
        fill(&template, &facts, &Budget::of_a_look(), str::to_owned)
    };
    assert_eq!(fills(2), Ok("truetrue".to_owned()));
    assert!(fills(100).unwrap_err().contains("too much work"));
}

/// What a macro names over itself is read from outside before.
#[test]
fn a_macro_may_name_what_it_walks_like_the_list() {
    let facts = json!({"steps": {"look": {"output": [1, 2]}}, "alert": {}});
    assert_eq!(value("steps.all(steps, steps == 'look')", &facts), Ok(json!(true)));
    assert_eq!(value("has(steps.look.output) && !has(steps.none)", &facts), Ok(json!(true)));
    assert_eq!(value("steps['look'].output[1] == 2", &facts), Ok(json!(true)));
}

/// Counts how often `one` is looked up: once each time that the part it stands in is evaluated.
struct Counting(AtomicU64);

impl VariableResolver for Counting {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        (variable == "one").then(|| {
            self.0.fetch_add(1, Ordering::Relaxed);
            CowVal::owned(CelInt::from(1))
        })
    }
}

/// Lists and conditions over them, with macros in macros, sums and literals.
fn lists() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![Just("a".to_owned()), Just("b.c".to_owned()), Just("[one, 2, 3]".to_owned()), Just("m".to_owned())];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(x, y)| format!("({x} + {y})")),
            two.clone().prop_map(|(x, y)| format!("{x}.map(x, {y})")),
            two.clone().prop_map(|(x, y)| format!("{x}.filter(x, {y}.all(y, one == 1))")),
            two.clone().prop_map(|(x, y)| format!("{x}.map(x, [x, one] + {y})")),
            two.clone().prop_map(|(x, y)| format!("({x}.exists(x, {y}.exists(y, y == x && one == 2)) ? {x} : {y})")),
            two.prop_map(|(x, y)| format!("({x} == {y} ? [{x}] : [{y}, {y}])")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever is let through goes round no more often than was said before, and gives nothing bigger.
    #[test]
    fn what_an_expression_costs_is_told_before(source in lists(), a in 0_usize..60, c in 0_usize..60) {
        let facts = json!({"a": vec![0; a], "b": {"c": vec!["text"; c]}, "m": {"k": [1], "l": 2}});
        prop_assume!(source.len() <= MAX_SOURCE);
        let told = on_large_stack(|| {
            let program = compile(&source)?;
            let Ok(cost) = cost::cost(program.expression(), &facts, Budget::of_a_look().left()) else { return Ok(None) };
            let counting = Counting(AtomicU64::new(0));
            let mut context = Context::default();
            context.set_variable_resolver(&counting);
            for (name, value) in facts.as_object().into_iter().flatten() {
                context.add_variable_from_value(name.clone(), cel::to_value(value).map_err(|error| error.to_string())?);
            }
            let bytes = executed(&program, &context).map_or(0, |value| value.to_string().len() as u64);
            Ok(Some((cost, counting.0.load(Ordering::Relaxed), bytes)))
        });
        if let Some((cost, rounds, bytes)) = told.map_err(TestCaseError::fail)? {
            prop_assert!(rounds <= cost, "{rounds} rounds were told as {cost}");
            prop_assert!(bytes <= 16 * cost, "{bytes} bytes were told as {cost}");
        }
    }
}
