/* Config volumes, as Talos' platform code looks for them
 * (`platform/metal/metal.go#readConfigFromISO`, `platform/nocloud/metadata.go#configFromCD`).
 *
 * Each whole device in the order of its name is probed for a file system first, FAT before
 * ISO 9660, and for a GUID partition table only where it has none
 * (siderolabs/go-blockdevice `blkid/internal/chain/chain.go`); a partition likewise. A volume is
 * taken by its own name or its partition's, byte by byte, if it holds a file system. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounts.h"
#include "report.h"
#include "sha256.h"
#include "stages.h"

/* <linux/fs.h> and <sys/mount.h> do not go together everywhere. */
#define SECTOR_SIZE_OF_DEVICE 0x1268 /* BLKSSZGET */

#define DEVICES_MAX 64
#define TRIES 60 /* of a quarter second: controllers and sticks take their time */

/* What is looked for. */
struct wanted {
	const char *labels[2], *config;
	const char *others[2];
};

static const struct wanted metal = {{"metal-iso"}, "config.yaml", {0}};
static const struct wanted nocloud = {{"cidata", "CIDATA"}, "user-data", {"meta-data", "network-config"}};

/* What a probe found at an offset of a device. */
struct found {
	const char *fs; /* a null pointer where there is no file system */
	char label[40];
};

static uint32_t le(const uint8_t *at, int bytes)
{
	uint32_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | at[bytes];
	return value;
}

static void take_label(struct found *found, const uint8_t *from, size_t length)
{
	memcpy(found->label, from, length);
	found->label[length] = 0;
	while (length > 0 && found->label[length - 1] == ' ')
		found->label[--length] = 0;
}

/* The label of a FAT volume is the entry of its root folder that is one: the name in its boot
 * sector does not count. */
static int probe_fat(int fd, uint64_t at, struct found *found)
{
	uint8_t boot[512], entry[32];
	uint64_t root, sector, fat;
	int is_fat32;

	if (pread(fd, boot, sizeof boot, (off_t)at) != sizeof boot)
		return 0;
	is_fat32 = memcmp(boot + 0x52, "FAT32   ", 8) == 0;
	if (!is_fat32 && memcmp(boot + 0x36, "FAT1", 4) != 0)
		return 0;
	sector = le(boot + 11, 2);
	fat = is_fat32 ? le(boot + 36, 4) : le(boot + 22, 2);
	root = (le(boot + 14, 2) + fat * boot[16]) * sector;
	if (is_fat32)
		root += (uint64_t)(le(boot + 44, 4) - 2) * boot[13] * sector;
	found->fs = "vfat";
	for (int i = 0; i < 128; i++) {
		if (pread(fd, entry, sizeof entry, (off_t)(at + root + 32u * (unsigned)i)) != sizeof entry || !*entry)
			break;
		if (*entry != 0xe5 && (entry[11] & 0x3f) != 0x0f && (entry[11] & 0x18) == 0x08) {
			take_label(found, entry, 11);
			break;
		}
	}
	return 1;
}

static int probe_iso(int fd, uint64_t at, struct found *found)
{
	uint8_t descriptor[2048];

	for (int i = 0; i < 16; i++) {
		if (pread(fd, descriptor, sizeof descriptor, (off_t)(at + 0x8000 + 2048u * (unsigned)i)) !=
			    sizeof descriptor ||
		    memcmp(descriptor + 1, "CD001", 5) != 0 || *descriptor == 255)
			return 0;
		if (*descriptor == 1) {
			found->fs = "iso9660";
			take_label(found, descriptor + 40, 32);
			return 1;
		}
	}
	return 0;
}

static void probe(int fd, uint64_t at, struct found *found)
{
	memset(found, 0, sizeof *found);
	if (!probe_fat(fd, at, found))
		probe_iso(fd, at, found);
}

static int is_wanted(const struct wanted *wanted, const char *label)
{
	for (size_t i = 0; i < 2; i++)
		if (wanted->labels[i] && strcmp(wanted->labels[i], label) == 0)
			return 1;
	return 0;
}

static void report_file_of(const char *folder, const char *name)
{
	char path[200], key[80], hex[SHA256_HEX];
	int fd;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	snprintf(key, sizeof key, "volume.%s.sha256", name);
	if (sha256_file(fd, hex) >= 0)
		report(key, "%s", hex);
	close(fd);
}

/* Mounts a volume and tells what is in its files. */
static void read_volume(const struct wanted *wanted, const char *device, const struct found *found,
			const char *label)
{
	const char *options[] = {"source", device, "ro", NULL, NULL};
	int result;

	report("volume", "%s", device);
	report("volume.fs", "%s", found->fs);
	report("volume.label", "%s", label);
	result = mount_new(found->fs, "/tmp", options, MOUNT_ATTR_RDONLY);
	if (result < 0) {
		report("volume.error", "%s", strerror(-result));
		return;
	}
	report_file_of("/tmp", wanted->config);
	for (size_t i = 0; i < 2; i++)
		if (wanted->others[i])
			report_file_of("/tmp", wanted->others[i]);
	umount2("/tmp", MNT_DETACH);
}

/* The partitions of a GUID partition table, one by one. Gives whether one was taken. */
static int try_partitions(const struct wanted *wanted, int fd, const char *device)
{
	uint8_t header[92], entry[128];
	int sector = 512, digit = device[strlen(device) - 1];

	ioctl(fd, SECTOR_SIZE_OF_DEVICE, &sector);
	if (pread(fd, header, sizeof header, sector) != sizeof header ||
	    memcmp(header, "EFI PART", 8) != 0)
		return 0;
	for (uint32_t i = 0; i < le(header + 80, 4) && i < 256; i++) {
		uint64_t at = (uint64_t)le(header + 72, 4) * (uint64_t)sector + i * le(header + 84, 4);
		char name[37] = "", path[100];
		struct found found;

		if (pread(fd, entry, sizeof entry, (off_t)at) != sizeof entry || le(entry, 4) == 0)
			continue;
		for (int c = 0; c < 36; c++)
			name[c] = entry[57 + 2 * c] ? '?' : (char)entry[56 + 2 * c];
		probe(fd, (uint64_t)le(entry + 32, 4) * (uint64_t)sector, &found);
		if (!found.fs || (!is_wanted(wanted, found.label) && !is_wanted(wanted, name)))
			continue;
		snprintf(path, sizeof path, "%s%s%u", device, digit >= '0' && digit <= '9' ? "p" : "",
			 i + 1);
		read_volume(wanted, path, &found, is_wanted(wanted, found.label) ? found.label : name);
		return 1;
	}
	return 0;
}

static int try_device(const struct wanted *wanted, const char *device)
{
	struct found found;
	int taken = 0, fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	probe(fd, 0, &found);
	if (found.fs && is_wanted(wanted, found.label)) {
		read_volume(wanted, device, &found, found.label);
		taken = 1;
	} else if (!found.fs) {
		taken = try_partitions(wanted, fd, device);
	}
	close(fd);
	return taken;
}

static int try_all(const struct wanted *wanted)
{
	struct dirent **names;
	int count = scandir("/sys/block", &names, NULL, alphasort), taken = 0;

	for (int i = 0; i < count; i++) {
		char device[80];

		snprintf(device, sizeof device, "/dev/%.60s", names[i]->d_name);
		if (!taken && names[i]->d_name[0] != '.' && strncmp(names[i]->d_name, "loop", 4) != 0 &&
		    strncmp(names[i]->d_name, "ram", 3) != 0)
			taken = try_device(wanted, device);
		free(names[i]);
	}
	return taken;
}

/* The first value of a kernel argument. */
static const char *argument(const char *key)
{
	char *next = read_text("/proc/cmdline", NULL), *word;
	size_t length = strlen(key);

	while (next && (word = strsep(&next, " ")) != NULL)
		if (strncmp(word, key, length) == 0 && word[length] == '=')
			return word + length + 1;
	return "";
}

void report_volume(void)
{
	const struct wanted *wanted = NULL;

	if (strcmp(argument("talos.platform"), "nocloud") == 0)
		wanted = &nocloud;
	else if (strcmp(argument("talos.platform"), "metal") == 0 &&
		 strcmp(argument("talos.config"), "metal-iso") == 0)
		wanted = &metal;
	if (!wanted)
		return;
	for (int i = 0; i < TRIES; i++) {
		if (try_all(wanted))
			return;
		usleep(250000);
	}
	report("volume", "absent");
}
