//! Actions of playbooks, lowered to the ordinary steps of a plan. Pure; whether a step may go, the gate asks
//! [`crate::policy`].
