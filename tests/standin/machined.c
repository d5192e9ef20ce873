/* Second stage: Talos' machined, as far as its reading of the embedded machine config
 * (`config/acquire.go`, processEmbeddedConfig) and of a config volume. It runs from the root file system that the layers
 * make, and tells what else the medium and the firmware handed over. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "sha256.h"
#include "stages.h"

#define PART "machined"

/* The vendor GUIDs of EFI's own variables and of the Boot Loader Interface's. */
#define EFI_GLOBAL "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define BOOT_LOADER "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

static void report_config(void)
{
	char hex[SHA256_HEX];
	struct stat about;
	const char *label;
	int fd = open(CONFIG_PATH, O_RDONLY | O_CLOEXEC);
	long length = fd < 0 || fstat(fd, &about) < 0 ? -errno : sha256_file(fd, hex);

	if (length == -ENOENT) {
		report("config", "absent");
		return;
	}
	if (length < 0) {
		report("config", "unreadable");
		report("config.error", "%s", strerror((int)-length));
		return;
	}
	label = selinux_label(CONFIG_PATH);
	report("config", "present");
	report("config.sha256", "%s", hex);
	report("config.size", "%ld", length);
	report("config.mode", "%04o", (unsigned)(about.st_mode & 07777));
	report("config.uid", "%u", about.st_uid);
	report("config.gid", "%u", about.st_gid);
	report("config.selinux", "%s", label ? label : "");
}

static void report_digest(const char *key, const char *path)
{
	char hex[SHA256_HEX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && sha256_file(fd, hex) >= 0)
		report(key, "%s", hex);
}

static void report_file(const char *key, const char *path)
{
	const char *text = read_text(path, NULL);

	if (text)
		report(key, "%s", text);
}

/* The names in a folder, in the order of the file system, each after a blank. */
static void report_folder(const char *key, const char *path)
{
	char names[2000] = "";
	DIR *folder = opendir(path);
	struct dirent *entry;

	if (!folder)
		return;
	while ((entry = readdir(folder)) != NULL)
		if (entry->d_name[0] != '.' && strlen(names) + strlen(entry->d_name) + 2 < sizeof names) {
			strcat(names, *names ? " " : "");
			strcat(names, entry->d_name);
		}
	closedir(folder);
	report(key, "%s", names);
}

/* A variable's value; efivarfs puts 4 bytes of attributes before it. */
static const unsigned char *efi_variable(const char *name, const char *vendor, long *length)
{
	char path[200];
	const char *file;

	snprintf(path, sizeof path, "/sys/firmware/efi/efivars/%s-%s", name, vendor);
	file = read_text(path, length);
	if (!file || *length < 4)
		return NULL;
	*length -= 4;
	return (const unsigned char *)file + 4;
}

static void report_efi_flag(const char *name)
{
	char key[100];
	long length = 0;
	const unsigned char *value = efi_variable(name, EFI_GLOBAL, &length);

	snprintf(key, sizeof key, "efi.%s", name);
	if (value && length == 1)
		report(key, "%u", value[0]);
	else
		report(key, "absent");
}

/* A text in UTF-16, as the boot loader and the stub leave it. */
static void report_efi_text(const char *name)
{
	char key[100], text[400];
	long length = 0;
	size_t used = 0;
	const unsigned char *value = efi_variable(name, BOOT_LOADER, &length);

	if (!value)
		return;
	for (long i = 0; i + 1 < length && used + 1 < sizeof text; i += 2) {
		if (value[i] == 0 && value[i + 1] == 0)
			break;
		text[used++] = value[i + 1] ? '?' : (char)value[i];
	}
	text[used] = 0;
	snprintf(key, sizeof key, "efi.%s", name);
	report(key, "%s", text);
}

static void report_efi(void)
{
	static const char *const texts[] = {
		"LoaderInfo", "LoaderFirmwareInfo", "LoaderEntrySelected", "LoaderDevicePartUUID",
		"LoaderImageIdentifier", "StubInfo", "StubImageIdentifier", "StubProfile",
		"StubDevicePartUUID",
	};
	int efi = access("/sys/firmware/efi", F_OK) == 0;

	report("efi", "%d", efi);
	if (!efi)
		return;
	report_efi_flag("SecureBoot");
	report_efi_flag("SetupMode");
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		report_efi_text(texts[i]);
}

static void report_uptime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	report("uptime", "%ld.%02ld", (long)now.tv_sec, now.tv_nsec / 10000000);
}

void run_machined(void)
{
	report_open();
	report_file("cmdline", "/proc/cmdline");
	report_config();
	report_volume();
	report_digest("extensions.sha256", "/etc/extensions.yaml");
	report_file("release", "/etc/os-release");
	report_efi();
	report_folder("extra", "/.extra");
	report_folder("firmware", "/usr/lib/firmware");
	report_digest("firmware.sha256", "/usr/lib/firmware/lab.bin");
	report_digest("shared.sha256", "/usr/local/share/lab/shared");
	load_wanted();
	report_folder("disks", "/sys/block");
	report_file("lockdown", "/sys/kernel/security/lockdown");
	report_uptime();
	report_end(PART, "ok");
	power_off();
}
