//! The journal on SQLite: crashes, full disks, audit.
