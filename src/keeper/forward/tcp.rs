//! Forwards a connection as it is, both ways, until both sides are done or the instance's time is up.

use std::sync::Arc;

use super::clients::Busy;
use super::prompt::Prompt;
use super::rotation::Rotation;

/// Forwards one client's connection; whether it idles is not known, so it keeps its place. With no instance it is closed at once: there are no words to say so in.
pub(super) async fn serve(rotation: Arc<Rotation>, mut client: Prompt, _place: Busy) {
    let mut tried = Vec::new();
    while let Some(flight) = rotation.pick(&tried) {
        let Ok(mut instance) = flight.0.connect().await else {
            tried.push(flight.0.clone());
            continue;
        };
        tokio::select! {
            // An error of either side ends both, which is what it means.
            copied = tokio::io::copy_bidirectional(&mut client, &mut instance) => drop(copied),
            () = flight.0.cut.cancelled() => {}
        }
        return;
    }
}
