/* The report's lines, counted and digested. */
#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "sha256.h"

#define VALUE_MAX 4000

static int ports[2] = {-1, -1};
static int kernel_log = -1;
static unsigned lines;
static struct sha256 digest;

static void write_all(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t sent = write(fd, text, length);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return; /* the missing line fails the digest */
		text += sent;
		length -= (size_t)sent;
	}
}

static void send_line(const char *line)
{
	char out[VALUE_MAX + 200];
	int length = snprintf(out, sizeof out, "@lab %s\n", line);

	for (int i = 0; i < 2; i++)
		if (ports[i] >= 0)
			write_all(ports[i], out, (size_t)length);
}

/* Opens a serial port raw, or gives -1 where there is none: the node exists all the same, but has
 * no settings. */
static int open_port(const char *path)
{
	struct termios settings;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	if (tcgetattr(fd, &settings) < 0) {
		close(fd);
		return -1;
	}
	cfmakeraw(&settings);
	cfsetspeed(&settings, B115200);
	settings.c_cflag |= CLOCAL;
	tcsetattr(fd, TCSANOW, &settings);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

/* Keeps the kernel's messages, but for a dying kernel's, off the consoles: with one port they would
 * come between the report's lines. */
static void hush_kernel(void)
{
	int fd = open("/proc/sys/kernel/printk", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		write_all(fd, "1", 1);
		close(fd);
	}
}

void report_open(void)
{
	ports[0] = open_port("/dev/ttyS0");
	if (ports[0] < 0)
		ports[0] = open_port("/dev/ttyAMA0");
	ports[1] = open_port("/dev/ttyS1");
	kernel_log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (ports[1] < 0)
		hush_kernel();
	for (int i = 0; i < 2; i++)
		if (ports[i] >= 0)
			write_all(ports[i], "\n", 1); /* ends what a firmware may have left */
	sha256_start(&digest);
}

void report(const char *key, const char *value, ...)
{
	char line[VALUE_MAX + 100];
	va_list arguments;
	int length = snprintf(line, 100, "%s=", key);

	va_start(arguments, value);
	vsnprintf(line + length, VALUE_MAX, value, arguments);
	va_end(arguments);
	for (char *c = line; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	send_line(line);
	sha256_add(&digest, line, strlen(line));
	sha256_add(&digest, "\n", 1);
	lines++;
}

void log_as_talos(const char *text, ...)
{
	char line[600] = "<6>[talos] [initramfs] ";
	size_t length = strlen(line);
	va_list arguments;

	va_start(arguments, text);
	vsnprintf(line + length, sizeof line - length, text, arguments);
	va_end(arguments);
	if (kernel_log >= 0)
		write_all(kernel_log, line, strlen(line));
}

void report_end(const char *part, const char *status)
{
	char hex[SHA256_HEX], line[200];

	sha256_end(&digest, hex);
	snprintf(line, sizeof line, "end %s %s %u %s", part, status, lines, hex);
	send_line(line);
}

void die(const char *part, const char *why, ...)
{
	char text[1000];
	va_list arguments;

	va_start(arguments, why);
	vsnprintf(text, sizeof text, why, arguments);
	va_end(arguments);
	report("died", "%s", text);
	report_end(part, "failed");
	power_off();
}

void power_off(void)
{
	for (int i = 0; i < 2; i++)
		if (ports[i] >= 0)
			tcdrain(ports[i]);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
