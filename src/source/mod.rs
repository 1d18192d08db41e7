//! The config repository as a mirror: fetched by git, read with git2.
