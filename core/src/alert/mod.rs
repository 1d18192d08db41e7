//! What becomes of a signal, and where an alert goes. Pure: alerts, routes and the time come in, decisions go out.
