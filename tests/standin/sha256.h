/* SHA-256 (FIPS 180-4) of what the stand-in reads and says. */
#ifndef STANDIN_SHA256_H
#define STANDIN_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* The digest's 64 hexadecimal digits and their NUL. */
#define SHA256_HEX 65

/* A digest under way. */
struct sha256 {
	uint32_t state[8];
	uint64_t length; /* bytes so far */
	uint8_t block[64];
	size_t fill; /* bytes of `block` in use */
};

void sha256_start(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *bytes, size_t length);
void sha256_end(struct sha256 *sha, char hex[SHA256_HEX]);

/* Digests an open file from its start. Gives its length, or a negative errno. */
long sha256_file(int fd, char hex[SHA256_HEX]);

#endif
