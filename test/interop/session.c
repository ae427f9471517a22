#include "verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Buffers start this far apart: a block and a page, so that shifted ones keep out of each other's way. */
enum { SLOT = MAX_BLOCK + 4096 };

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("blkio_verify: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void must(int ret, const char *what)
{
	if (ret < 0)
		die("%s: %s (%s)", what, blkio_get_error_msg(), strerror(-ret));
}

static int get_int(struct blkio *b, const char *name)
{
	int value;

	must(blkio_get_int(b, name, &value), name);
	return value;
}

static uint64_t get_uint64(struct blkio *b, const char *name)
{
	uint64_t value;

	must(blkio_get_uint64(b, name, &value), name);
	return value;
}

static void read_properties(struct session *s)
{
	s->capacity = get_uint64(s->b, "capacity");
	s->max_discard = get_uint64(s->b, "max-discard-len");
	s->max_zeroes = get_uint64(s->b, "max-write-zeroes-len");
	s->request_alignment = get_int(s->b, "request-alignment");
	s->discard_alignment = get_int(s->b, "discard-alignment");
	s->buf_alignment = get_int(s->b, "buf-alignment");
	s->max_segments = get_int(s->b, "max-segments");
	s->max_queues = get_int(s->b, "max-queues");
}

static void get_queues(struct session *s, int nqueues, int npoll)
{
	for (s->nqueues = 0; s->nqueues < nqueues; s->nqueues++) {
		s->queues[s->nqueues] = blkio_get_queue(s->b, s->nqueues);
		if (!s->queues[s->nqueues])
			die("queue %d is missing", s->nqueues);
	}
	if (npoll > 0 && !(s->poll_queue = blkio_get_poll_queue(s->b, 0)))
		die("the poll queue is missing");
}

void session_open(struct session *s, const char *path, int nqueues, int npoll, int queue_size)
{
	*s = (struct session){0};
	must(blkio_create("virtio-blk-vhost-user", &s->b), "create");
	must(blkio_set_str(s->b, "path", path), "path");
	must(blkio_connect(s->b), "connect");
	read_properties(s);
	if (nqueues + npoll > s->max_queues)
		nqueues = s->max_queues - npoll;
	must(blkio_set_int(s->b, "num-queues", nqueues), "num-queues");
	must(blkio_set_int(s->b, "num-poll-queues", npoll), "num-poll-queues");
	if (queue_size > 0)
		must(blkio_set_int(s->b, "queue-size", queue_size), "queue-size");
	must(blkio_start(s->b), "start");
	get_queues(s, nqueues, npoll);
	session_map(s, &s->region, (size_t)MAX_DEPTH * SLOT);
}

/* Takes the regions, mapped or not, along. */
void session_close(struct session *s)
{
	blkio_destroy(&s->b);
}

void *session_buffer(struct session *s, int slot, unsigned shift)
{
	return (char *)s->region.addr + (size_t)slot * SLOT + shift;
}

void session_map(struct session *s, struct blkio_mem_region *r, size_t len)
{
	uint64_t unit = get_uint64(s->b, "mem-region-alignment");

	len = (len + unit - 1) / unit * unit;
	must(blkio_alloc_mem_region(s->b, r, len), "allocate a memory region");
	must(blkio_map_mem_region(s->b, r), "map a memory region");
}

void session_unmap(struct session *s, const struct blkio_mem_region *r)
{
	blkio_unmap_mem_region(s->b, r);
	blkio_free_mem_region(s->b, r);
}

/* Completions of q, at least min. Does not return when the back-end stays silent: requests whose buffers it may
 * still write to make going on pointless. */
int session_wait(struct blkioq *q, struct blkio_completion *c, int min, int max)
{
	struct timespec left = {.tv_sec = DEADLINE_SECONDS};
	int n = blkioq_do_io(q, c, min, max, &left);

	if (n == -ETIME)
		die("no completion for %d s: the back-end hangs or lost a request or an interrupt", DEADLINE_SECONDS);
	must(n, "wait for completions");
	return n;
}

int session_flush(struct session *s)
{
	struct blkio_completion c;
	struct blkioq *q = s->nqueues > 0 ? s->queues[0] : s->poll_queue;

	blkioq_flush(q, NULL, 0);
	session_wait(q, &c, 1, 1);
	if (c.ret < 0)
		fprintf(stderr, "flush: %s\n", strerror(-c.ret));
	return c.ret;
}
