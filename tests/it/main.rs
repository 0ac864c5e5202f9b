//! Integration tests: one binary, a module per area.

mod cases;
mod memtree;
mod pairs;
mod tools;
