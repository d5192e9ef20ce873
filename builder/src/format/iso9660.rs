//! ISO 9660 images with El Torito, Rock Ridge and appended partitions.
