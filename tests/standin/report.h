/* What the stand-in tells the bench, and how the bench knows that it has heard all of it.
 *
 * A report has two parts, `init` and `machined`. A part is lines of the form
 *
 *     @lab KEY=VALUE
 *
 * and ends with a line that counts them and digests them, each with its line feed and without its
 * `@lab `:
 *
 *     @lab end PART STATUS LINES SHA256
 *
 * STATUS is `ok` or `failed`. A key is used once in a report. A value is printable ASCII.
 *
 * Every line goes to the first serial port, where a person reads it among the kernel's messages,
 * and to the second one (`ttyS1`), which nothing else writes to once the firmware is done, and
 * which the bench judges. arm64's machine has one port, `ttyAMA0`, which is both.
 */
#ifndef STANDIN_REPORT_H
#define STANDIN_REPORT_H

/* Opens the ports. Once a program. */
void report_open(void);

/* Adds a line. The value is cut at 4000 bytes; what is not printable ASCII becomes `?`. */
__attribute__((format(printf, 2, 3))) void report(const char *key, const char *value, ...);

/* Says to the kernel's log what Talos would say there. */
__attribute__((format(printf, 1, 2))) void log_as_talos(const char *text, ...);

/* Ends the part. */
void report_end(const char *part, const char *status);

/* Reports why Talos would not boot on, ends the part as failed, powers off. */
__attribute__((format(printf, 2, 3), noreturn)) void die(const char *part, const char *why, ...);

/* Waits for the ports to send all, powers off. */
__attribute__((noreturn)) void power_off(void);

#endif
