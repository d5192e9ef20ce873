//! Proofs of boards as data: keys, values, and mistakes in them.

use super::*;
use crate::catalog::{overlay, overlay_names};
use crate::yaml;

const HEAD: &str = "version: 1\nabout: mine\narch: [arm64]\n";

fn parse(text: &str) -> Result<Overlay, Diagnostic> {
    Overlay::parse("mine.yaml", format!("{HEAD}{text}").as_bytes())
}

fn values(text: &str) -> Values {
    let node = yaml::parse("site.yaml", text.as_bytes()).unwrap().remove(0);
    let entries = node.entries().unwrap_or_default().iter();
    entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}

fn board(overlay: &Overlay, given: &str) -> Result<Board, Diagnostic> {
    let place = Place { file: "site.yaml".into(), line: 7, column: 5 };
    overlay.board("mine", &place, &values(given)).map(|board| board.expect("it is a board"))
}

#[test]
fn all_boards_of_sidero_are_here() {
    let names: Vec<_> =
        overlay_names().filter(|name| overlay(name).unwrap().artifacts().is_some()).collect();
    assert_eq!(names.len(), 29, "{names:?}");
    for name in names {
        let overlay = overlay(name).unwrap();
        let board = board(&overlay, "{}").unwrap();
        assert_eq!(overlay.artifacts(), Some(board.artifacts.as_str()), "{name}");
        assert!(!board.esp.is_empty(), "{name}");
        let args = overlay.kernel_args.of(Arch::Arm64);
        let both = ["sysctl.kernel.kexec_load_disabled=1", "talos.dashboard.disabled=1"];
        assert!(args.ends_with(&both.map(str::to_owned)), "{name}");
    }
    assert_eq!(overlay("cilium").unwrap().artifacts(), None);
}

#[test]
fn a_board_with_u_boot_in_its_flash_gets_none_on_its_disk() {
    let overlay = overlay("rock5b").unwrap();
    let raw = |given: &str| board(&overlay, given).unwrap().raw;
    let file = Raw { from: "arm64/u-boot/rock5b/u-boot-rockchip.bin".into(), at: Size(32 << 10) };
    assert_eq!(raw("{}"), std::slice::from_ref(&file));
    assert_eq!(raw("spi_boot: false"), [file]);
    assert_eq!(raw("spi_boot: true"), []);
    let error = board(&overlay, "spi_boot: yes").unwrap_err();
    insta::assert_snapshot!(error.message, @"the value `spi_boot` is neither `true` nor `false`");
    let error = board(&overlay, "spi_boot: [true]").unwrap_err();
    insta::assert_snapshot!(error.message, @"the value `spi_boot` is a text, and this is a list");
    assert_eq!(error.place.unwrap().line, 1);
}

#[test]
fn texts_have_their_values() {
    let text = |overlay: &str, given: &str| {
        let board = board(&crate::catalog::overlay(overlay).unwrap(), given).unwrap();
        let Some(Esp::Text { text, to }) = board.esp.last() else { panic!("config.txt is last") };
        assert_eq!(to, "config.txt");
        text.clone()
    };
    let start = "gpu_mem=32\nhdmi_safe:0=1\nhdmi_safe:1=1\nkernel=u-boot.bin\narm_64bit=1\n\
                 arm_boost=1\nenable_uart=1\n";
    let radio = "dtoverlay=disable-bt\ndtoverlay=disable-wifi\n";
    let pi5 = "[pi5]\nenable_uart=0\n[all]\n";
    assert_eq!(text("rpi_generic", "{}"), format!("{start}{radio}{pi5}\n"));
    assert_eq!(text("rpi_5", "{}"), format!("{start}{pi5}\n"));
    assert_eq!(text("revpi_generic", "{}"), format!("{start}{radio}\n\n"));
    let given = "config_txt: \"a=1\\n\"\nconfig_txt_append: |\n  b=2\n  c=${x}\n";
    assert_eq!(text("rpi_5", given), "a=1\n\nb=2\nc=${x}\n");
    assert_eq!(text("rpi_5", "config_txt_append: 5"), format!("{start}{pi5}\n5"));
}

#[test]
fn a_text_without_its_value_is_left_out_or_asked_for() {
    let declared = "values: {a: {about: what it is, kind: text}}\nartifacts: x\n";
    let text = format!("{declared}esp: [{{text: \"${{a}}\", to: b}}]\n");
    assert_eq!(board(&parse(&text).unwrap(), "{}").unwrap().esp, []);
    let text = text.replace("kind: text", "kind: text, required: true");
    let error = board(&parse(&text).unwrap(), "{}").unwrap_err();
    assert_eq!((error.code, error.place.unwrap().line), ("overlay-value-missing", 7));
    insta::assert_snapshot!(error.message, @"overlay `mine` needs the value `a`");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let of = |text: &str| {
        let error = parse(text).unwrap_err();
        format!("{} --> {}\n", error.message, error.place.unwrap())
    };
    let file = |file: &str| of(&format!("artifacts: x\nesp: [{file}]"));
    let raw = |raw: &str| of(&format!("artifacts: x\nraw: [{raw}]"));
    let list = "values: {l: {about: b, kind: list}}\nartifacts: x\n";
    let all = [
        of("raw: []"),
        of("first_partition: 2MiB"),
        of("artifacts: ghcr.io/x"),
        of("artifacts: x\nfirst_partition: 1KiB"),
        of("artifacts: x\nfirst_partition: 2GiB"),
        of("artifacts: x\nbootloader: grub"),
        raw("{from: a}"),
        raw("{from: a, at: 1KB}"),
        raw("{from: a, at: 1GiB}"),
        raw("{from: ../a, at: 1KiB}"),
        raw("{from: a, at: 1KiB, unless: spi}"),
        file("{to: a}"),
        file("{from: a, text: b, to: a}"),
        file("{from: a/, to: a}"),
        file("{from: a, to: a/}"),
        file("{from: /a, to: a}"),
        file("{from: a//, to: /}"),
        file("{from: a/, to: ../}"),
        file("{text: \"${b}\", to: a}"),
        file("{text: \"${node.name}\", to: a}"),
        of(&format!("{list}raw: [{{from: a, at: 1KiB, unless: l}}]")),
        of(&format!("{list}esp: [{{text: \"${{l}}\", to: a}}]")),
        Overlay::parse("mine.yaml", b"version: 1\nabout: m\narch: [amd64, arm64]\nartifacts: x")
            .unwrap_err()
            .message,
    ]
    .concat();
    insta::assert_snapshot!(all, @r"
    `raw` is for boards, and this overlay is for none --> mine.yaml:4:6
    `first_partition` is for boards, and this overlay is for none --> mine.yaml:4:18
    this is no overlay: `ghcr.io/x` is no image's name; write it as `sbc-rockchip` --> mine.yaml:1:1
    this is no overlay: `1KiB` is no place for the first partition; write whole MiB, 1MiB to 1GiB --> mine.yaml:1:1
    this is no overlay: `2GiB` is no place for the first partition; write whole MiB, 1MiB to 1GiB --> mine.yaml:1:1
    this is no overlay: unknown field `bootloader`, expected one of `version`, `about`, `arch`, `kernel_args`, `values`, `patches`, `manifests`, `artifacts`, `first_partition`, `raw`, `esp` --> mine.yaml:5:1
    this is no overlay: raw[0]: missing field `at` --> mine.yaml:5:7
    this is no overlay: raw[0]: `KB` is no unit; use B, KiB, MiB or GiB --> mine.yaml:5:7
    this is no overlay: raw[0]: 1GiB is no place before the first partition --> mine.yaml:5:7
    `../a` is no path below a folder --> mine.yaml:5:14
    no value of the kind `text` is named `spi` --> mine.yaml:5:35
    a file has neither `from` nor `text` --> mine.yaml:5:7
    a file has `from` or `text`, not both --> mine.yaml:5:7
    one of `from` and `to` is a folder, and the other is a file --> mine.yaml:5:7
    one of `from` and `to` is a folder, and the other is a file --> mine.yaml:5:7
    `/a` is no path below a folder --> mine.yaml:5:14
    `a/` is no path below a folder --> mine.yaml:5:14
    `..` is no path below a folder --> mine.yaml:5:22
    nothing is named `b` --> mine.yaml:5:14
    nothing is named `node.name` --> mine.yaml:5:14
    no value of the kind `text` is named `l` --> mine.yaml:6:35
    `l` is no text and cannot stand in one --> mine.yaml:6:14
    boards have arm64 processors alone
    ");
}
