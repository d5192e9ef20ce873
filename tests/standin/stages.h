/* The two programs that one executable stands in for, told apart by the name it is run by. */
#ifndef STANDIN_STAGES_H
#define STANDIN_STAGES_H

/* Where Talos looks for an embedded machine config (`EmbeddedConfigDirectory`). */
#define CONFIG_PATH "/usr/local/etc/talos/config.yaml"

/* `/init` of the initramfs. */
__attribute__((noreturn)) void run_init(void);

/* `/sbin/init` of the root file system. */
__attribute__((noreturn)) void run_machined(void);

/* Looks for a config volume, if the command line asks for one, and reports what is on it: `volume`
 * is its device or `absent`, `volume.NAME.sha256` the digest of a file. */
void report_volume(void);

/* Loads the kernel modules that a layer names, by the index in the root file system. */
void load_wanted(void);

/* The text of a small file, with its last line feed cut, or a null pointer. Of `*length`, which may
 * be null, the caller learns its bytes. Never freed: the program ends soon. */
char *read_text(const char *path, long *length);

/* The `security.selinux` label of a file, its trailing NUL cut, or a null pointer. */
const char *selinux_label(const char *path);

#endif
