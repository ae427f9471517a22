/* The parts of blkio_verify: content (pattern.c), libblkio (session.c, pass.c), cases (blkio_verify.c).
 *
 * One thread, one device at a time. Nothing the back-end sends is trusted: every byte read is compared,
 * every wait has a deadline, so a back-end that hangs ends the program instead of the evening.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include <blkio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SECTOR = 512,
	MAX_DEPTH = 32,
	MAX_BLOCK = 1 << 20,
	MAX_QUEUES = 4,
	MAX_SEGMENTS = 8,
	DEADLINE_SECONDS = 60, /* of one wait for a completion */
};

/* pattern.c: what each sector of the span must hold. Generation 0 is "nobody knows", ZEROES is all zero,
 * everything else a pattern of seed, generation and offset. */
enum { UNKNOWN = 0, ZEROES = 255 };

struct content {
	uint64_t seed;
	uint64_t span;
	uint8_t *generation; /* one per sector */
	unsigned mismatches;
};

void content_init(struct content *c, uint64_t seed, uint64_t span);
void content_fill(struct content *c, void *buf, uint64_t off, size_t len, uint8_t generation);
void content_set(struct content *c, uint64_t off, uint64_t len, uint8_t generation);
bool content_check(struct content *c, const void *buf, uint64_t off, size_t len);
uint64_t content_check_file(struct content *c, const char *path);

/* session.c: one connected and started device with memory for MAX_DEPTH requests. */
struct session {
	struct blkio *b;
	struct blkioq *queues[MAX_QUEUES];
	struct blkioq *poll_queue;
	int nqueues;
	struct blkio_mem_region region;
	uint64_t capacity;
	uint64_t max_discard, max_zeroes; /* 0: the device names no limit */
	int request_alignment, buf_alignment, max_segments, max_queues;
	int discard_alignment;
};

void session_open(struct session *s, const char *path, int nqueues, int npoll, int queue_size);
void session_close(struct session *s);
void *session_buffer(struct session *s, int slot, unsigned shift);
void session_map(struct session *s, struct blkio_mem_region *r, size_t len);
void session_unmap(struct session *s, const struct blkio_mem_region *r);
int session_wait(struct blkioq *q, struct blkio_completion *c, int min, int max);
int session_flush(struct session *s);
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* pass.c: one sweep of equal requests over (a part of) the span. */
struct pass {
	const char *what;
	bool write;
	size_t block;
	int depth;
	uint64_t offset, length; /* of the device; length / block is a power of two unless sequential */
	uint64_t blocks;         /* visit this many blocks only; 0: all */
	double budget;           /* seconds after which no request is added; 0: none */
	bool sequential;
	bool poll;
	unsigned shift;   /* bytes by which the buffers are moved off their alignment */
	unsigned pieces;  /* > 1: readv/writev of that many pieces of odd length */
	uint32_t flags;   /* BLKIO_REQ_* */
	uint8_t generation;
	unsigned char *memory; /* buffers somewhere else than in the session's region */

	/* results */
	uint64_t done; /* blocks completed without error */
	double seconds;
	unsigned errors;
};

bool pass_run(struct session *s, struct content *c, struct pass *p);

#endif
