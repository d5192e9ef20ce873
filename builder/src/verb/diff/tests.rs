//! How differences read.

use super::*;

fn change(place: &str, before: Side, after: Side) -> Change {
    Change { place: place.into(), before, after }
}

fn shown(text: &str) -> Side {
    Side::Shown(text.into())
}

fn difference() -> Difference {
    let part = |topic, entries: &[&str], changes, more| Part {
        topic,
        entries: entries.iter().map(|&entry| entry.to_owned()).collect(),
        changes,
        more,
    };
    let args = vec![
        change("argument `quiet`", Side::Absent, shown("set")),
        change("argument `console`", shown("tty0"), shown("ttyS0")),
        change("argument `talos.config.inline`", Side::Hidden, Side::Absent),
    ];
    let config = vec![
        change("machine.network.hostname", shown("cp-1"), shown("cp-2")),
        change("machine.token", Side::Hidden, Side::Hidden),
        change("text", shown("written otherwise"), shown("written otherwise")),
    ];
    Difference {
        first_byte: Some(0x8000),
        parts: vec![
            part(Topic::Boot, &["Talos (UEFI)", "Reset (UEFI)"], args, 0),
            part(Topic::Config, &[], config, 7),
        ],
    }
}

#[test]
fn differences_read_like_a_patch() {
    insta::assert_snapshot!(text(&difference()), @r"
    boot entry Talos (UEFI), Reset (UEFI)
      + argument `quiet`: set
      ~ argument `console`: tty0 → ttyS0
      - argument `talos.config.inline`: <hidden>

    machine config
      ~ machine.network.hostname: cp-1 → cp-2
      ~ machine.token: differs, and is not shown
      ~ text: written otherwise
      and 7 more
    ");
}

#[test]
fn equal_media_are_told_apart_from_such_as_boot_alike() {
    let same = Difference { first_byte: None, parts: vec![] };
    assert_eq!(text(&same), "the media are the same, bit for bit\n");
    let alike = Difference { first_byte: Some(0x8032), parts: vec![] };
    let want = "nothing differs that a boot makes use of; the bytes do, first at 0x8032\n";
    assert_eq!(text(&alike), want);
}

#[test]
fn a_program_gets_an_event_for_each() {
    let found = difference();
    let events = found.parts.iter().flat_map(|p| p.changes.iter().map(|c| event(p, c).to_string()));
    insta::assert_snapshot!(events.collect::<Vec<_>>().join("\n"), @r#"
    {"after":"set","before":null,"change":"added","entries":["Talos (UEFI)","Reset (UEFI)"],"event":"difference","hidden":false,"place":"argument `quiet`","topic":"boot"}
    {"after":"ttyS0","before":"tty0","change":"changed","entries":["Talos (UEFI)","Reset (UEFI)"],"event":"difference","hidden":false,"place":"argument `console`","topic":"boot"}
    {"after":null,"before":null,"change":"removed","entries":["Talos (UEFI)","Reset (UEFI)"],"event":"difference","hidden":true,"place":"argument `talos.config.inline`","topic":"boot"}
    {"after":"cp-2","before":"cp-1","change":"changed","entries":[],"event":"difference","hidden":false,"place":"machine.network.hostname","topic":"config"}
    {"after":null,"before":null,"change":"changed","entries":[],"event":"difference","hidden":true,"place":"machine.token","topic":"config"}
    {"after":"written otherwise","before":"written otherwise","change":"changed","entries":[],"event":"difference","hidden":false,"place":"text","topic":"config"}
    "#);
}
