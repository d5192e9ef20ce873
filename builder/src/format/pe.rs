//! PE images: reading a stub's headers, appending sections, building addons.
