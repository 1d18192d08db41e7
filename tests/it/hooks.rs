//! Push hooks as the forges really send them.
