/* SHA-256, section by section as FIPS 180-4 has it. */
#include "sha256.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

/* 6.2.2, step 1: the message schedule. */
static void schedule(uint32_t w[64], const uint8_t block[64])
{
	for (int t = 0; t < 16; t++, block += 4)
		w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 |
		       (uint32_t)block[2] << 8 | block[3];
	for (int t = 16; t < 64; t++) {
		uint32_t a = w[t - 15], b = w[t - 2];
		uint32_t s0 = rotr(a, 7) ^ rotr(a, 18) ^ a >> 3;
		uint32_t s1 = rotr(b, 17) ^ rotr(b, 19) ^ b >> 10;
		w[t] = s1 + w[t - 7] + s0 + w[t - 16];
	}
}

/* 6.2.2, steps 2 to 4. `v` holds a to h. */
static void compress(uint32_t state[8], const uint8_t block[64])
{
	uint32_t w[64], v[8];

	schedule(w, block);
	memcpy(v, state, sizeof v);
	for (int t = 0; t < 64; t++) {
		uint32_t s1 = rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25);
		uint32_t ch = (v[4] & v[5]) ^ (~v[4] & v[6]);
		uint32_t s0 = rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22);
		uint32_t maj = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
		uint32_t t1 = v[7] + s1 + ch + K[t] + w[t], t2 = s0 + maj;

		memmove(v + 1, v, 7 * sizeof *v);
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

/* 5.3.3: the initial value. */
void sha256_start(struct sha256 *sha)
{
	static const uint32_t initial[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};

	memcpy(sha->state, initial, sizeof initial);
	sha->length = 0;
	sha->fill = 0;
}

void sha256_add(struct sha256 *sha, const void *bytes, size_t length)
{
	const uint8_t *next = bytes;

	sha->length += length;
	while (length > 0) {
		size_t room = sizeof sha->block - sha->fill;
		size_t now = length < room ? length : room;

		memcpy(sha->block + sha->fill, next, now);
		sha->fill += now;
		next += now;
		length -= now;
		if (sha->fill == sizeof sha->block) {
			compress(sha->state, sha->block);
			sha->fill = 0;
		}
	}
}

/* 5.1.1: a one bit, zeros, and the length in bits fill the last block. */
void sha256_end(struct sha256 *sha, char hex[SHA256_HEX])
{
	uint64_t bits = sha->length * 8;
	uint8_t tail[72] = {0x80};
	size_t zeros = (sha->fill < 56 ? 56 : 120) - sha->fill;

	for (int i = 0; i < 8; i++)
		tail[zeros + i] = (uint8_t)(bits >> (56 - 8 * i));
	sha256_add(sha, tail, zeros + 8);
	for (int i = 0; i < 8; i++)
		sprintf(hex + 8 * i, "%08x", sha->state[i]);
}

long sha256_file(int fd, char hex[SHA256_HEX])
{
	static uint8_t buffer[1 << 16];
	struct sha256 sha;
	long length = 0;
	ssize_t got;

	sha256_start(&sha);
	while ((got = pread(fd, buffer, sizeof buffer, length)) > 0) {
		sha256_add(&sha, buffer, (size_t)got);
		length += got;
	}
	if (got < 0)
		return -errno;
	sha256_end(&sha, hex);
	return length;
}
