//! What happened to a page, in words: whom it was sent to, who has it, and how its end was told. It decides nothing about pages.

use codeops_core::model::{Name, Notified, PageEvent, PageOpened};

use super::words::plural;

/// In one sentence, without whose page it is.
pub(super) fn sentence(event: &PageEvent) -> String {
    match event {
        PageEvent::Opened(PageOpened { title, .. }) => format!("opened: {title}"),
        PageEvent::Joined { alerts } => format!("tells of {} more", plural(alerts.len(), "alert")),
        PageEvent::Begun { notified, over: true, .. } => format!("its end is sent to {notified}"),
        PageEvent::Begun { notified: Notified::OnCall(name), receiver: Some(receiver), .. } => {
            format!("is sent to oncall/{name}, which is {receiver}")
        }
        PageEvent::Begun { notified, .. } => format!("is sent to {notified}"),
        PageEvent::Failed { notified, error, .. } => format!("was not accepted by {notified}: {error}"),
        PageEvent::Accepted { notified } => format!("accepted by {notified}"),
        PageEvent::Withdrawn { why } => format!("withdrawn: {why}"),
        PageEvent::Told { begins: true, .. } => "its end is told".to_owned(),
        PageEvent::Told { knows, untold, .. } if knows.is_empty() && untold.is_empty() => {
            "goes on; its end will be told anew".to_owned()
        }
        PageEvent::Told { knows, untold, .. } => {
            let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            let to = |what: &str, who: &[Name]| (!who.is_empty()).then(|| format!("{what} {}", names(who)));
            let all = [to("its end was told to", knows), to("its end was not accepted by", untold)];
            all.into_iter().flatten().collect::<Vec<_>>().join("; ")
        }
        PageEvent::Closed { why } => format!("closed: {why}"),
    }
}
