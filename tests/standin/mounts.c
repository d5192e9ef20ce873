/* Mounts by the descriptors of fsopen(2), as Talos' package mount/v3 does. */
#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void make_folders(const char *path)
{
	char part[300];
	size_t length = strlen(path);

	for (size_t i = 1; i <= length && length < sizeof part; i++)
		if (path[i] == '/' || path[i] == 0) {
			memcpy(part, path, i);
			part[i] = 0;
			mkdir(part, 0755);
		}
}

/* Sets the options and makes the file system. */
static int configure(int fs, const char *const *options)
{
	for (; options && *options; options += 2) {
		unsigned command = options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		if (fsconfig(fs, command, options[0], options[1], 0) < 0)
			return -errno;
	}
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

/* Puts a mount that hangs nowhere at `target`, and closes its descriptor. */
static int attach(int mount, const char *target)
{
	int result = 0;

	if (mount < 0)
		return -errno;
	if (move_mount(mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		result = -errno;
	close(mount);
	return result;
}

int mount_new(const char *type, const char *target, const char *const *options, unsigned attributes)
{
	int result, fs = fsopen(type, FSOPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	make_folders(target);
	result = configure(fs, options);
	if (result == 0)
		result = attach(fsmount(fs, FSMOUNT_CLOEXEC, attributes), target);
	close(fs);
	return result;
}

int mount_bind(const char *source, const char *target)
{
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return -errno;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0) {
		int result = -errno;

		close(tree);
		return result;
	}
	return attach(tree, target);
}

/* Gives a file a loop device, whose path goes to `device`, and gives its descriptor. The device
 * goes away with its last user. */
static int attach_loop(const char *file, char device[32])
{
	struct loop_config config = {.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR};
	int control, number, loop, backing;

	backing = open(file, O_RDONLY | O_CLOEXEC);
	if (backing < 0)
		return -errno;
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(device, 32, "/dev/loop%d", number);
	loop = number < 0 ? -1 : open(device, O_RDONLY | O_CLOEXEC);
	config.fd = (unsigned)backing;
	if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
		close(control);
		close(backing);
		return loop;
	}
	return -errno;
}

int mount_squashfs(const char *file, const char *target)
{
	char device[32];
	const char *options[] = {"source", device, "ro", NULL, NULL};
	int result, loop = attach_loop(file, device);

	if (loop < 0)
		return loop;
	result = mount_new("squashfs", target, options, MOUNT_ATTR_RDONLY);
	close(loop);
	return result;
}
