/* First stage: Talos' /init, from the kernel's start to the switch of the root file system.
 *
 * Names in comments are of functions in Talos' `internal/app/init/main.go`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "mounts.h"
#include "report.h"
#include "stages.h"

#define PART "init"
#define LAYERS_MAX 60
#define NOSUID MOUNT_ATTR_NOSUID
#define NODEV MOUNT_ATTR_NODEV
#define NOEXEC MOUNT_ATTR_NOEXEC

/* A file system of the kernel's own. */
struct pseudo {
	const char *type, *target;
	const char *options[7];
	unsigned attributes;
};

/* What must be there before modules can be loaded and lines sent. */
static const struct pseudo first[] = {
	{"devtmpfs", "/dev", {"mode", "0755"}, NOSUID},
	{"proc", "/proc", {0}, NOSUID | NODEV | NOEXEC},
	{"sysfs", "/sys", {0}, 0},
};

static const struct pseudo others[] = {
	{"tmpfs", "/dev/shm", {0}, NOSUID | NODEV | NOEXEC},
	{"devpts", "/dev/pts", {"ptmxmode", "000", "mode", "620", "gid", "5"}, NOSUID | NOEXEC},
	{"hugetlbfs", "/dev/hugepages", {0}, NOSUID | NODEV},
	{"bpf", "/sys/fs/bpf", {0}, 0},
	{"securityfs", "/sys/kernel/security", {0}, NOSUID | NODEV | NOEXEC},
	{"tracefs", "/sys/kernel/tracing", {0}, NOSUID | NODEV | NOEXEC},
	{"configfs", "/sys/kernel/config", {0}, NOSUID | NODEV | NOEXEC},
	{"debugfs", "/sys/kernel/debug", {0}, NOSUID | NODEV | NOEXEC},
};

/* A layer of the root file system, as an item of `layers` in extensions.yaml names it. */
struct layer {
	char image[100], name[100], version[100];
};

static struct layer layers[LAYERS_MAX];
static int layer_count;

/* A step that went otherwise than under Talos' kernel, for a reason that is not the medium's. */
static void differs(const char *what, int result)
{
	char key[100];

	snprintf(key, sizeof key, "differs.%s", what);
	report(key, "%s", strerror(-result));
}

static void mount_pseudo(const struct pseudo *list, size_t count)
{
	for (size_t i = 0; i < count; i++, list++) {
		int result = mount_new(list->type, list->target, list->options, list->attributes);

		if (result < 0)
			differs(list->type, result);
	}
}

/* Not a step of Talos, whose kernel has these built in: loads the modules of the stand-in's kernel
 * in the order of a list. */
static void load_modules(void)
{
	char *next = read_text("/lib/standin/modules.list", NULL);
	char *name;
	int count = 0;

	while (next && (name = strsep(&next, "\n")) != NULL) {
		int fd = open(name, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
			differs(strrchr(name, '/') + 1, -errno); /* efivarfs, under BIOS */
		else
			count++;
		close(fd);
	}
	report("modules", "%d", count);
}

/* Who speaks: the kernel, and the number that the bench gave this machine. */
static void report_machine(void)
{
	const char *serial = read_text("/sys/class/dmi/id/product_serial", NULL);
	struct utsname name;

	uname(&name);
	report("kernel", "%s", name.release);
	report("machine", "%s", name.machine);
	report("serial", "%s", serial ? serial : "");
}

/* The value of a line `KEY: VALUE`, without quotes, or a null pointer where the key is another. A
 * dash before the key, which starts a list's item, is passed over. */
static const char *yaml_value(char *line, const char *key)
{
	size_t length = strlen(key);
	char *value, *end;

	line += strspn(line, " ");
	if (strncmp(line, "- ", 2) == 0)
		line += 1 + strspn(line + 1, " ");
	if (strncmp(line, key, length) != 0 || line[length] != ':')
		return NULL;
	value = line + length + 1;
	value += strspn(value, " \"'");
	end = value + strcspn(value, "\"'\r");
	while (end > value && end[-1] == ' ')
		end--;
	*end = 0;
	return value;
}

static void take_line(char *line)
{
	struct layer *last = layer_count > 0 ? &layers[layer_count - 1] : NULL;
	const char *value;

	if ((value = yaml_value(line, "image")) != NULL) {
		if (layer_count == LAYERS_MAX)
			die(PART, "extensions.yaml: more than %d layers", LAYERS_MAX);
		last = &layers[layer_count++];
		snprintf(last->image, sizeof last->image, "%s", value);
	} else if (last && !*last->name && (value = yaml_value(line, "name")) != NULL) {
		snprintf(last->name, sizeof last->name, "%s", value);
	} else if (last && !*last->version && (value = yaml_value(line, "version")) != NULL) {
		snprintf(last->version, sizeof last->version, "%s", value);
	}
}

/* mountRootFS, its first half: a missing file is well, one that cannot be understood is not. */
static void read_extensions(void)
{
	char *next = read_text("/extensions.yaml", NULL);
	char *line;

	if (!next) {
		if (access("/extensions.yaml", F_OK) == 0)
			die(PART, "extensions.yaml: %s", strerror(errno));
		return;
	}
	while ((line = strsep(&next, "\n")) != NULL)
		take_line(line);
	if (layer_count == 0)
		die(PART, "extensions.yaml: no layer in it");
}

/* The label of the machine config is the layer's own: SELinux is off in the stand-in's kernel, and
 * an overlay might answer for itself. */
static void report_layer(int number, const char *mount)
{
	const struct layer *layer = &layers[number];
	char key[40], path[300];
	const char *label;

	snprintf(key, sizeof key, "layer.%d", number);
	report(key, "%s %s %s", layer->image, layer->name, layer->version);
	snprintf(path, sizeof path, "%s" CONFIG_PATH, mount);
	if (access(path, F_OK) < 0)
		return;
	label = selinux_label(path);
	snprintf(key, sizeof key, "layer.%d.selinux", number);
	report(key, "%s", label ? label : "");
}

static void mount_layer(const char *image, const char *target)
{
	int result;

	log_as_talos("mounting %s\n", image);
	result = mount_squashfs(image, target);
	if (result < 0)
		die(PART, "layer %s: %s", image, strerror(-result));
}

/* Lays the folders over each other, the first on top. Talos names each by `lowerdir+`, which Linux
 * knows since 6.5: an older kernel is told them all at once. */
static void mount_overlay(const char *const *folders)
{
	const char *options[2 * LAYERS_MAX + 4] = {0};
	char joined[4000] = "lowerdir=";
	int result;

	for (int i = 0; folders[i]; i++) {
		options[2 * i] = "lowerdir+";
		options[2 * i + 1] = folders[i];
		strcat(joined, i > 0 ? ":" : "");
		strcat(joined, folders[i]);
	}
	result = mount_new("overlay", "/root", options, MOUNT_ATTR_RDONLY);
	if (result == 0)
		return;
	differs("lowerdir+", result);
	if (mount("overlay", "/root", "overlay", MS_RDONLY, joined) < 0)
		die(PART, "overlay: %s", strerror(errno));
}

/* mountRootFS, its second half, with layers: the last of the list is on top, the root file system
 * at the bottom. */
static void mount_layers(void)
{
	static char names[LAYERS_MAX][32];
	const char *folders[LAYERS_MAX + 2] = {0};
	int next = 0, result;

	for (int i = layer_count - 1; i >= 0; i--) {
		snprintf(names[i], sizeof names[i], "/layers/layer%d", i);
		mount_layer(layers[i].image, names[i]);
		log_as_talos("enabling system extension %s %s\n", layers[i].name, layers[i].version);
		report_layer(i, names[i]);
		folders[next++] = names[i];
	}
	mount_layer("/rootfs.sqsh", "/layers/root");
	folders[next] = "/layers/root";
	mount_overlay(folders);
	for (int i = 0; folders[i]; i++)
		umount2(folders[i], MNT_DETACH);
	result = mount_bind("/extensions.yaml", "/root/etc/extensions.yaml");
	if (result < 0)
		die(PART, "bind extensions.yaml: %s", strerror(-result));
}

/* mountRootFS. Images are named relative to `/`, where the kernel starts the first program. */
static void mount_root(void)
{
	read_extensions();
	report("layers", "%d", layer_count);
	mkdir("/root", 0755);
	if (layer_count > 0)
		mount_layers();
	else
		mount_layer("/rootfs.sqsh", "/root");
}

/* bindMountFirmware and bindMountExtra. */
static void bind_if_there(const char *source, const char *target)
{
	int result;

	if (access(source, F_OK) < 0)
		return;
	result = mount_bind(source, target);
	if (result < 0)
		die(PART, "bind %s: %s", source, strerror(-result));
}

/* Talos' package switchroot, without its freeing of the initramfs' memory. */
static void switch_root(void)
{
	static const char *const moved[][2] = {
		{"/dev", "/root/dev"}, {"/proc", "/root/proc"}, {"/sys", "/root/sys"}};

	log_as_talos("entering the rootfs\n");
	for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
		if (mount(moved[i][0], moved[i][1], NULL, MS_MOVE, NULL) < 0)
			die(PART, "move %s: %s", moved[i][0], strerror(errno));
	if (chdir("/root") < 0 || mount("/root", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		die(PART, "switch root: %s", strerror(errno));
}

/* main and run. */
void run_init(void)
{
	static const char *const no_options[] = {NULL};

	mount_pseudo(first, sizeof first / sizeof *first);
	report_open();
	report_machine();
	load_modules();
	mount_pseudo(others, sizeof others / sizeof *others);
	if (access("/sys/firmware/efi/efivars", F_OK) == 0) {
		int result = mount_new("efivarfs", "/sys/firmware/efi/efivars", no_options,
				       MOUNT_ATTR_RDONLY | NOSUID | NODEV | NOEXEC);
		if (result < 0)
			differs("efivarfs", result);
	}
	log_as_talos("booting Talos stand-in\n");
	mount_root();
	bind_if_there("/usr/lib/firmware", "/root/usr/lib/firmware");
	bind_if_there("/.extra", "/root/.extra");
	switch_root();
	/* Ended on success only once machined is known to run: an image whose layers hide
	 * /sbin/init would else look whole. */
	if (access("/sbin/init", X_OK) < 0)
		die(PART, "/sbin/init: %s", strerror(errno));
	report_end(PART, "ok");
	execl("/sbin/init", "/sbin/init", (char *)NULL);
	report_open();
	die("machined", "/sbin/init: %s", strerror(errno));
}
