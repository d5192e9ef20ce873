//! The site file: what the user wrote, every mistake at once.
