//! Progress of long work: bars on a terminal, plain lines elsewhere, JSON events for machines.
