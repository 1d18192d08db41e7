//! How what all teams may do together is shared: whoever takes more than another takes nothing of that one's share.

/// Whether a team that takes `own` in all keeps to its share of what is allowed, beside what others take: those that take no more
/// count in full, those that take more for less than it, however much that is.
pub fn fits(own: usize, others: impl Iterator<Item = usize>, allowed: usize) -> bool {
    let beside: usize = others.map(|other| if other <= own { other } else { own.saturating_sub(1) }).sum();
    own + beside <= allowed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn others() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0_usize..40, 0..6)
    }

    proptest! {
        #[test]
        fn what_fits_the_whole_fits_and_so_does_an_even_share(others in others(), allowed in 2_usize..40, own in 1_usize..40) {
            let all = own + others.iter().sum::<usize>();
            let takers = 1 + others.iter().filter(|other| **other > 0).count();
            if all <= allowed || own * takers <= allowed {
                prop_assert!(fits(own, others.iter().copied(), allowed));
            }
        }

        #[test]
        fn one_that_takes_more_takes_nothing_of_anothers_half(allowed in 2_usize..40, more in 1_usize..1_000) {
            let half = allowed.div_ceil(2);
            prop_assert!(fits(half, [half + more].into_iter(), allowed));
        }

        #[test]
        fn taking_still_more_takes_nothing_from_anybody(
            others in others(), greedy in 1_usize..40, more in 1_usize..1_000, allowed in 2_usize..40, own in 1_usize..40,
        ) {
            let with = |greedy: usize| fits(own, others.iter().copied().chain([greedy]), allowed);
            if greedy > own {
                prop_assert_eq!(with(greedy), with(greedy + more));
            }
        }

        #[test]
        fn those_who_take_least_come_first(others in others(), allowed in 2_usize..40, own in 2_usize..40) {
            if fits(own, others.iter().copied(), allowed) {
                prop_assert!(fits(own - 1, others.iter().copied(), allowed));
            }
        }

        /// Whoever comes in whatever order, with whatever was released to one of them beside.
        #[test]
        fn all_together_stays_bounded(
            asks in prop::collection::vec((0_usize..5, 1_usize..6), 0..40), allowed in 2_usize..20, released in 0_usize..100,
        ) {
            let mut took = [0_usize; 5];
            took[0] = released;
            let mut let_through = 0;
            for (team, some) in asks {
                let own = took[team] + some;
                let others = took.iter().enumerate().filter(|(other, _)| *other != team).map(|(_, took)| *took);
                if fits(own, others, allowed) {
                    took[team] = own;
                    let_through += some;
                }
            }
            took[1..].sort_unstable_by(|a, b| b.cmp(a));
            // The one that took most of n has at most an even share of what may go, and one.
            for (nth, took) in (1..).zip(&took[1..]) {
                prop_assert!(*took <= 1 + (allowed - 1) / nth, "{took} is the {nth}th of {allowed}");
            }
            prop_assert!(let_through <= allowed + (allowed - 1) / 2 + (allowed - 1) / 3 + (allowed - 1) / 4 + (allowed - 1) / 5 + 4);
        }
    }
}
