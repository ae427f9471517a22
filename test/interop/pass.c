#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_ERRORS = 8 };

struct request {
	uint64_t off;
	unsigned char *buf;
	struct iovec pieces[MAX_SEGMENTS];
	int queue;
	bool busy;
};

struct flight {
	struct session *s;
	struct content *c;
	struct pass *p;
	struct request requests[MAX_DEPTH];
	struct blkioq *queues[MAX_QUEUES];
	int nqueues;
	int in_queue[MAX_QUEUES];
	int in_flight;
	uint64_t next, blocks;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* An odd factor permutes the residues of a power of two: every block once, in no order a disk or a cache likes. */
static uint64_t block_at(const struct pass *p, uint64_t i)
{
	if (p->sequential)
		return i;
	return (i * UINT64_C(2654435761)) & (p->length / p->block - 1);
}

static int split(struct request *r, size_t len, unsigned pieces, size_t unit)
{
	size_t used = 0;
	unsigned n = 0;

	/* 3, 5, 7... units and the rest at the end. */
	for (; n + 1 < pieces && used + (2 * n + 3) * unit < len; n++) {
		r->pieces[n] = (struct iovec){r->buf + used, (2 * n + 3) * unit};
		used += r->pieces[n].iov_len;
	}
	r->pieces[n] = (struct iovec){r->buf + used, len - used};
	return (int)n + 1;
}

static void submit(struct flight *f, int slot, uint64_t off)
{
	struct pass *p = f->p;
	struct request *r = &f->requests[slot];
	struct blkioq *q = f->queues[r->queue];
	int n;

	r->off = off;
	r->busy = true;
	if (p->write)
		content_fill(f->c, r->buf, off, p->block, p->generation);
	else
		memset(r->buf, 0xa5, p->block); /* a read that moves nothing must not find the right answer */
	if (p->pieces > 1) {
		n = split(r, p->block, p->pieces, (size_t)f->s->buf_alignment);
		if (p->write)
			blkioq_writev(q, off, r->pieces, n, r, p->flags);
		else
			blkioq_readv(q, off, r->pieces, n, r, p->flags);
	} else if (p->write) {
		blkioq_write(q, off, r->buf, p->block, r, p->flags);
	} else {
		blkioq_read(q, off, r->buf, p->block, r, p->flags);
	}
	f->in_queue[r->queue]++;
	f->in_flight++;
}

static void complete(struct flight *f, const struct blkio_completion *c)
{
	struct pass *p = f->p;
	struct request *r = c->user_data;

	if (r < f->requests || r >= f->requests + p->depth || !r->busy)
		die("%s: a completion that belongs to no request", p->what);
	r->busy = false;
	f->in_queue[r->queue]--;
	f->in_flight--;
	if (c->ret != 0) {
		if (p->errors++ < MAX_ERRORS)
			fprintf(stderr, "%s: %s of %zu bytes at %" PRIu64 ": %s\n", p->what, p->write ? "write" : "read", p->block, r->off, strerror(-c->ret));
		content_set(f->c, r->off, p->block, UNKNOWN);
		return;
	}
	if (p->write)
		content_set(f->c, r->off, p->block, p->generation);
	else if (!content_check(f->c, r->buf, r->off, p->block))
		return;
	p->done++;
}

static void fill_queues(struct flight *f, bool expired)
{
	if (expired || f->p->errors >= MAX_ERRORS)
		f->blocks = f->next; /* what was started ends, nothing is added */
	for (int i = 0; i < f->p->depth && f->next < f->blocks; i++)
		if (!f->requests[i].busy)
			submit(f, i, f->p->offset + block_at(f->p, f->next++) * f->p->block);
}

static void reap(struct flight *f)
{
	struct blkio_completion done[MAX_DEPTH];

	for (int q = 0; q < f->nqueues; q++) {
		int n = f->in_queue[q] ? session_wait(f->queues[q], done, 1, f->in_queue[q]) : 0;

		for (int i = 0; i < n; i++)
			complete(f, &done[i]);
	}
}

static void prepare(struct flight *f)
{
	struct pass *p = f->p;

	f->nqueues = p->poll ? 1 : f->s->nqueues;
	for (int i = 0; i < f->nqueues; i++)
		f->queues[i] = p->poll ? f->s->poll_queue : f->s->queues[i];
	for (int i = 0; i < p->depth; i++) {
		f->requests[i].queue = i % f->nqueues;
		f->requests[i].buf = p->memory ? p->memory + (size_t)i * p->block : session_buffer(f->s, i, p->shift);
	}
	f->blocks = p->length / p->block;
	if (p->blocks && p->blocks < f->blocks)
		f->blocks = p->blocks;
}

bool pass_run(struct session *s, struct content *c, struct pass *p)
{
	struct flight f = {.s = s, .c = c, .p = p};
	double start = now();

	prepare(&f);
	do {
		fill_queues(&f, p->budget > 0 && now() - start > p->budget);
		reap(&f);
	} while (f.in_flight > 0 || f.next < f.blocks);
	p->seconds = now() - start;
	return p->errors == 0 && p->done == f.blocks;
}
