//! How much the AlertRoutes of one team may say together: all that fires is compared with it, while others wait. One file's own
//! bounds are [`crate::desired::kinds::routing`]'s.

use std::collections::BTreeMap;

use crate::model::{AlertRouteSpec, Route, TeamName};

use super::in_force::Candidate;
use crate::desired::kinds::response::Declares;
use crate::desired::text::mistakes::Mistakes;

/// One thing that is counted.
struct Limit {
    what: &'static str,
    most: usize,
    of: fn(&AlertRouteSpec) -> usize,
}

const LIMITS: [Limit; 8] = [
    Limit { what: "routes", most: 10_000, of: |spec| of_routes(&spec.route, &|_| 1) },
    Limit { what: "matchers of routes", most: 20_000, of: |spec| of_routes(&spec.route, &|it| it.matchers.len()) },
    Limit {
        what: "names of mute times in routes",
        most: 10_000,
        of: |spec| of_routes(&spec.route, &|it| it.mute.len()),
    },
    Limit { what: "times in mute times", most: 1_000, of: times },
    Limit { what: "inhibitions", most: AlertRouteSpec::MOST_INHIBITIONS, of: |spec| spec.inhibit.len() },
    Limit { what: "matchers of inhibitions", most: AlertRouteSpec::MOST_MATCHERS, of: matchers_of_inhibitions },
    Limit { what: "times of maintenance", most: 1_000, of: |spec| spec.maintenance.len() },
    Limit {
        what: "matchers of maintenance",
        most: 5_000,
        of: |spec| spec.maintenance.iter().map(|it| it.matchers.len()).sum(),
    },
];

fn of_routes(route: &Route, of: &impl Fn(&Route) -> usize) -> usize {
    of(route) + route.routes.iter().map(|child| of_routes(child, of)).sum::<usize>()
}

/// All that one look at the clock may have to be compared with.
fn times(spec: &AlertRouteSpec) -> usize {
    spec.mute_times.values().flatten().map(|span| span.times.len().max(1) + span.days_of_month.len()).sum()
}

fn matchers_of_inhibitions(spec: &AlertRouteSpec) -> usize {
    spec.inhibit.iter().map(|says| says.source.len() + says.target.len()).sum()
}

/// Refuses the AlertRoute with which a team has more than it may; it stays as it was.
pub(crate) fn check(candidates: &mut [Candidate], found: &mut Mistakes) {
    let mut of_teams: BTreeMap<TeamName, [usize; LIMITS.len()]> = BTreeMap::new();
    for candidate in candidates {
        let Some(Declares::Route(route)) = &candidate.manifest.declares else { continue };
        let so_far = of_teams.entry(route.team.clone()).or_default();
        let mut beyond = None;
        for (limit, count) in LIMITS.iter().zip(so_far) {
            *count += (limit.of)(&route.spec);
            if *count > limit.most {
                beyond.get_or_insert((limit, *count));
            }
        }
        let Some((limit, count)) = beyond else { continue };
        let message = format!(
            "with `{}`, the AlertRoutes of the team `{}` have {count} {}: {} are the most",
            candidate.key.1, route.team, limit.what, limit.most
        );
        let help = "take out what is over, or let one matcher speak for several with `=~`".to_owned();
        candidate.error(found, (candidate.name, message, Some(help)));
    }
}
