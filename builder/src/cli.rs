//! Flags → a verb; decides nothing.
