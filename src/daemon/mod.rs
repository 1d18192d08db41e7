//! Wires everything together and drains it.
