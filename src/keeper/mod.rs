//! The small process that owns one app's port and instances.
