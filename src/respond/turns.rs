//! Turns over teams: of what many wait for, one of each team is taken at a time, so that no team's many keep out another's few.

use std::collections::BTreeMap;

use codeops_core::model::TeamName;

/// All of it, one of each team after the other, beginning with the team after the `last` that had its turn.
pub(super) fn in_turn<T>(of: BTreeMap<TeamName, Vec<T>>, last: Option<&TeamName>) -> Vec<(TeamName, T)> {
    let (mut before, mut teams): (Vec<_>, Vec<_>) = of
        .into_iter()
        .map(|(team, all)| (team, all.into_iter()))
        .partition(|(team, _)| last.is_some_and(|last| team <= last));
    teams.append(&mut before);
    let mut all = Vec::new();
    loop {
        let round = teams.iter_mut().filter_map(|(team, its)| Some((team.clone(), its.next()?)));
        let known = all.len();
        all.extend(round);
        if all.len() == known {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_team_has_its_turn_after_the_one_that_had_the_last() {
        let name = |text: &str| text.parse::<TeamName>().expect("a name");
        let all = || BTreeMap::from([(name("a"), vec![1]), (name("b"), vec![2, 3, 4]), (name("c"), vec![5, 6])]);
        let numbers = |last: Option<&str>| -> Vec<u32> {
            in_turn(all(), last.map(name).as_ref()).into_iter().map(|(_, number)| number).collect()
        };
        assert_eq!(numbers(None), [1, 2, 5, 3, 6, 4]);
        assert_eq!(numbers(Some("a")), [2, 5, 1, 3, 6, 4]);
        assert_eq!(numbers(Some("z")), [1, 2, 5, 3, 6, 4]);
    }
}
