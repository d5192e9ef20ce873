// Only the root: `cargo xtask conformance` builds with one of go-1.12.mod, go-1.13.mod and
// go-1.14.mod, each of which pins a release of Talos.
module talforge.dev/oracle

go 1.26.8
