//! Menus as Talos writes them, and others.

use super::*;

const MENU: &str = "set default=0\n\nmenuentry \"Talos ISO\" {\n\tset gfxmode=auto\n\
                    \tlinux /boot/vmlinuz a=\\$\\{b\\}\n\tinitrd /boot/initramfs.xz\n}\n\
                    menuentry \"Reset\" {\n\tlinux /boot/vmlinuz x\n\tinitrd /boot/initramfs.xz\n}";

#[test]
fn every_entry_gets_what_is_added() {
    let args = ["console=ttyS1".to_owned(), "url=http://[::1]/?a=${u}&'#".to_owned()];
    let text = extend(MENU, &args, Some("/boot/more.cpio")).unwrap();
    insta::assert_snapshot!(text, @r#"
    set default=0

    menuentry "Talos ISO" {
    	set gfxmode=auto
    	linux /boot/vmlinuz a=\$\{b\} console=ttyS1 url=http://[::1]/?a=\$\{u\}\&\'\#
    	initrd /boot/initramfs.xz /boot/more.cpio
    }
    menuentry "Reset" {
    	linux /boot/vmlinuz x console=ttyS1 url=http://[::1]/?a=\$\{u\}\&\'\#
    	initrd /boot/initramfs.xz /boot/more.cpio
    }
    "#);
    assert_eq!(extend(MENU, &[], None).unwrap(), MENU);
}

#[test]
fn a_menu_of_another_kind_is_refused() {
    for text in [
        "menuentry x { linux /k; initrd /i\n}",
        "menuentry x {\nlinux /k \\\n a\ninitrd /i\n}",
        "menuentry x {\nlinux16 /k\ninitrd /i\n}",
        "menuentry x {\nlinux /k # why\ninitrd /i\n}",
    ] {
        assert!(extend(text, &["a=1".to_owned()], Some("/j")).is_err(), "{text}");
    }
}
