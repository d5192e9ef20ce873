/* Reading of small files and their labels. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "stages.h"

#define TEXT_MAX (1 << 20)

char *read_text(const char *path, long *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(TEXT_MAX + 1);
	ssize_t got = 1;
	size_t size = 0;

	while (text && got > 0 && size < TEXT_MAX) {
		got = read(fd, text + size, TEXT_MAX - size);
		size += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		close(fd);
	if (!text || got < 0)
		return NULL;
	if (length)
		*length = (long)size;
	if (size > 0 && text[size - 1] == '\n')
		size--;
	text[size] = 0;
	return text;
}

const char *selinux_label(const char *path)
{
	static char label[256];
	ssize_t length = lgetxattr(path, "security.selinux", label, sizeof label - 1);

	if (length < 0)
		return NULL;
	label[length] = 0; /* a NUL of its own comes before this one */
	return label;
}
