/* Loads kernel modules as modprobe does. Talos' machined does so for those of its config; here a
 * layer names them, one a line, in the file WANTED. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "report.h"
#include "stages.h"

#define WANTED "/usr/local/share/lab/modules"

/* Loads one file below the folder of modules. One that is loaded already is well. */
static int load_file(const char *folder, const char *path)
{
	char whole[600];
	int fd, result = 0;

	snprintf(whole, sizeof whole, "%s/%s", folder, path);
	fd = open(whole, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		result = -errno;
	close(fd);
	return result;
}

/* Loads by a line of the index, `PATH: PATH PATH`: what is needed first comes last. */
static int load_line(const char *folder, char *line)
{
	char *colon = strchr(line, ':'), *blank;
	int result = 0;

	*colon = 0;
	while (result == 0 && (blank = strrchr(colon + 1, ' ')) != NULL) {
		if (blank[1])
			result = load_file(folder, blank + 1);
		*blank = 0;
	}
	return result == 0 ? load_file(folder, line) : result;
}

/* Whether a line of the index is that of a module. */
static int is_line_of(const char *line, const char *name)
{
	const char *colon = strchr(line, ':');
	const char *slash = colon ? memrchr(line, '/', (size_t)(colon - line)) : NULL;
	size_t length = strlen(name);

	return slash && strncmp(slash + 1, name, length) == 0 &&
	       strncmp(slash + 1 + length, ".ko:", 4) == 0;
}

void load_wanted(void)
{
	struct utsname about;
	char folder[200], index[300], key[100];
	char *names = read_text(WANTED, NULL), *name;

	uname(&about);
	snprintf(folder, sizeof folder, "/usr/lib/modules/%s", about.release);
	snprintf(index, sizeof index, "%s/modules.dep", folder);
	while (names && (name = strsep(&names, "\n")) != NULL) {
		char *lines = read_text(index, NULL), *line;
		int result = -ENOENT;

		while (lines && (line = strsep(&lines, "\n")) != NULL)
			if (is_line_of(line, name))
				result = load_line(folder, line);
		snprintf(key, sizeof key, "module.%s", name);
		report(key, "%s", result == 0 ? "loaded" : strerror(-result));
	}
}
