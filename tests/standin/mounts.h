/* The mounts that Talos' /init makes, with the system calls that it makes them with. */
#ifndef STANDIN_MOUNTS_H
#define STANDIN_MOUNTS_H

/* Mounts a new file system at `target`, which is made if missing. `options` are keys and values in
 * turn, up to a null key; a null value is a flag. `attributes` are MOUNT_ATTR_*. Gives 0 or a
 * negative errno. */
int mount_new(const char *type, const char *target, const char *const *options, unsigned attributes);

/* Mounts what is at `source` read-only at `target` as well. Gives 0 or a negative errno. */
int mount_bind(const char *source, const char *target);

/* Mounts a squashfs file at `target` by a loop device. Gives 0 or a negative errno. */
int mount_squashfs(const char *file, const char *target);

#endif
