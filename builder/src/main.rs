//! The door: parse the arguments, run the verb, give its exit code.

fn main() {}
