//! The traits between floors: what a provider, a source and a clock must do, and the board that readers look at.
//!
//! Only traits and plain data. Adapters implement them, flows use them, and `daemon` joins the two.

mod board;
mod clock;
mod effect;
mod provider;
mod settings;
mod source;
mod vault;
mod vitals;

pub use board::{Board, Overall, ProviderView, Publisher, ResourceView, RevisionView, SourceView, Watcher};
pub use clock::{Clock, SystemClock};
pub use effect::{
    Absence, AlertAnswer, AlertListing, AlertSources, Effect, EffectError, Effects, GitOrder, GitOrderChange,
    GroupListing, Heartbeat, HttpRequest, Performed, ScriptCall, Send, ToldAlert, UpSince,
};
pub use provider::{
    Abilities, Actuator, Applied, ApplyError, Hint, LogLine, LogQuery, LogStream, Observer, Secrets, Stat, Unreachable,
};
pub use settings::SettingsState;
pub use source::{
    Commit, CommitChange, CommitError, CommitOrder, Committed, Committer, Edit, Source, SourceError, Tip,
};
pub use vault::{Senders, Vault, Veil, Whose, not_granted};
pub use vitals::{LOOK, Pulse, Stuck, Vitals, Watchdog};
