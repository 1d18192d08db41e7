//! More alerts than can be answered one by one.

use codeops_core::model::Disposition;

use super::alerts::{PEOPLE, begin, firing};
use crate::support::flow::Flow;

#[tokio::test(start_paused = true)]
async fn a_storm_that_comes_in_pieces_is_one_page_and_none_of_it_is_called_for_alone_a_minute_later() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let people = PEOPLE.replace("route: {policy: people}", "route: {policy: people, groupBy: [app]}");
    flow.commit(&[("people.yaml", &people)]).await;
    flow.elapse(5).await;
    let hosts: Vec<String> = (0..60).map(|n| format!("host-{n}")).collect();
    for some in [&hosts[..21], &hosts[21..40], &hosts[40..]] {
        flow.tell(some.iter().map(|host| firing(&flow, "DiskFull", host)).collect()).await;
        flow.elapse(1).await;
    }
    flow.elapse(30).await;
    let in_storm = |flow: &Flow| {
        let storm = |it: &Disposition| matches!(it, Disposition::Left { why } if why.contains("39 others"));
        flow.response().alerts.values().filter(|it| storm(&it.disposition)).count()
    };
    assert_eq!((flow.outside.count("webhook"), in_storm(&flow)), (21, 40), "twenty alone, and one page for the rest");
    // What the next page of a storm tells of waits for it, however long ago the storm began by then.
    let more: Vec<String> = (60..70).map(|n| format!("host-{n}")).collect();
    flow.tell(more.iter().map(|host| firing(&flow, "DiskFull", host)).collect()).await;
    flow.elapse(120).await;
    assert_eq!(flow.outside.count("webhook"), 22);
    assert!(flow.response().alerts.values().all(|it| it.disposition != Disposition::Received), "none is lost");
}
