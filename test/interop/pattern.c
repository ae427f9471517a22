#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = SECTOR / 8, REPORTS = 8 };

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

/* The first two words say in clear whose sector this is: a misplaced or stale one can be named. */
static void sector_fill(uint64_t *w, uint64_t seed, uint64_t off, uint8_t generation)
{
	uint64_t h = mix(seed + mix(off + mix(generation)));

	w[0] = off;
	w[1] = seed + generation;
	for (unsigned i = 2; i < WORDS; i++)
		w[i] = mix(h + i);
}

void content_init(struct content *c, uint64_t seed, uint64_t span)
{
	*c = (struct content){.seed = seed, .span = span};
	c->generation = calloc(span / SECTOR, 1);
	if (!c->generation)
		die("no memory for %" PRIu64 " sectors", span / SECTOR);
}

void content_fill(struct content *c, void *buf, uint64_t off, size_t len, uint8_t generation)
{
	uint64_t w[WORDS];

	for (size_t i = 0; i < len; i += SECTOR) {
		sector_fill(w, c->seed, off + i, generation);
		memcpy((char *)buf + i, w, SECTOR); /* buf may be odd */
	}
}

void content_set(struct content *c, uint64_t off, uint64_t len, uint8_t generation)
{
	memset(c->generation + off / SECTOR, generation, len / SECTOR);
}

static void report(struct content *c, uint64_t off, uint8_t want, const uint64_t *got, const uint64_t *expected)
{
	unsigned i = 0;

	if (c->mismatches++ >= REPORTS)
		return;
	while (i < WORDS - 1 && got[i] == expected[i])
		i++;
	fprintf(stderr, "MISMATCH at byte %" PRIu64 " (generation %u expected): first difference in word %u: %016" PRIx64 ", not %016" PRIx64 "\n",
		off, want, i, got[i], expected[i]);
	if (got[1] - c->seed < ZEROES)
		fprintf(stderr, "         it looks like generation %" PRIu64 " of byte %" PRIu64 "\n", got[1] - c->seed, got[0]);
}

bool content_check(struct content *c, const void *buf, uint64_t off, size_t len)
{
	bool good = true;
	uint64_t want[WORDS], got[WORDS];

	for (size_t i = 0; i < len; i += SECTOR) {
		uint8_t g = c->generation[(off + i) / SECTOR];

		if (g == UNKNOWN)
			continue;
		if (g == ZEROES)
			memset(want, 0, SECTOR);
		else
			sector_fill(want, c->seed, off + i, g);
		memcpy(got, (const char *)buf + i, SECTOR);
		if (memcmp(want, got, SECTOR) == 0)
			continue;
		report(c, off + i, g, got, want);
		good = false;
	}
	return good;
}

/* The image as the host sees it, behind the back-end's back. */
uint64_t content_check_file(struct content *c, const char *path)
{
	uint64_t off = 0;
	char *buf = malloc(MAX_BLOCK);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !buf)
		die("%s: %s", path, strerror(errno));
	while (off < c->span) {
		size_t want = c->span - off < MAX_BLOCK ? c->span - off : MAX_BLOCK;
		ssize_t n = pread(fd, buf, want, (off_t)off);

		if (n <= 0 || n % SECTOR)
			die("%s: read of %zu bytes at %" PRIu64 ": %zd (%s)", path, want, off, n, strerror(errno));
		content_check(c, buf, off, (size_t)n);
		off += (size_t)n;
	}
	close(fd);
	free(buf);
	return off;
}
