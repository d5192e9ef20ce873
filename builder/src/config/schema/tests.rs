//! Proofs of the types: all kinds are there, and keys have the types that Talos gives them.

use super::*;

#[test]
fn each_release_has_its_kinds() {
    for (minor, kinds) in [(12, 37), (13, 45), (14, 90)] {
        assert_eq!(Schema::of_minor(minor).kinds().count(), kinds, "1.{minor}");
    }
}

#[test]
fn keys_have_the_types_that_talos_gives_them() {
    let schema = Schema::of_minor(14);
    let root = |kind: &str| match schema.root(schema.kind(kind).unwrap()) {
        Type::Struct(number) => schema.structure(number),
        other => panic!("{other:?}"),
    };
    let bond = root("BondConfig");
    assert!(matches!(bond.field("mtu").unwrap().ty, Type::Int(0, 0xffff_ffff)));
    assert!(
        matches!(&bond.field("up").unwrap().ty, Type::Pointer(inner) if matches!(**inner, Type::Bool))
    );
    assert!(root("KubeNetworkConfig").field("podSubnets").unwrap().replace);
    assert!(matches!(root("KubeletConfig").field("config").unwrap().ty, Type::Free));
    assert!(schema.kind("KubeProxyConfig").unwrap().controlplane);
    assert!(schema.kind("BondConfig").unwrap().named);
    assert!(Schema::of_minor(13).kind("KubeProxyConfig").is_none());
}
