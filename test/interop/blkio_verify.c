/* blkio_verify: reads and writes a vhost-user-blk device through libblkio and verifies every byte. Overwrites the device.
 *
 *     blkio_verify --socket=PATH [--image=FILE] [--span=MIB] [--seed=N] [--budget=SECONDS]
 *
 * Ends with 0 when all cases passed, 1 when one did not, 2 for a wrong command line. See README.md.
 */
#include "verify.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t MIB = 1 << 20;

struct options {
	const char *socket, *image;
	uint64_t span, seed;
	double budget;
};

static struct session s;
static struct content content;
static unsigned failures;
static uint8_t generation;

static uint8_t next_generation(void)
{
	if (++generation == ZEROES)
		die("more cases than generations");
	return generation;
}

static void heading(void)
{
	printf("%-26s %6s %6s %8s %12s %12s %9s %9s  %s\n", "case", "queues", "depth", "block", "written MiB", "verified MiB", "write/s", "read/s", "result");
}

static bool verdict(bool good)
{
	if (!good)
		failures++;
	puts(good ? "ok" : "FAILED");
	fflush(stdout);
	return good;
}

/* A case that is no sweep: one line, its own words. */
static void line(const char *name, bool good, const char *words)
{
	printf("%-26s %-76s ", name, words);
	verdict(good);
}

static double per_second(const struct pass *p)
{
	return p->seconds > 0 ? (double)p->done / p->seconds : 0;
}

struct sum {
	uint64_t written, verified;
};

/* Writes, flushes, reads back what was written (the same blocks when time cut the writing short). */
static void sweep(const char *name, struct pass p, struct sum *sum)
{
	struct pass w = p, r = p;
	bool good;

	w.what = r.what = name;
	w.write = true;
	w.generation = next_generation();
	good = pass_run(&s, &content, &w);
	good = session_flush(&s) == 0 && good;
	r.flags = 0;
	r.budget = 0;
	r.blocks = w.done;
	good = w.done > 0 && pass_run(&s, &content, &r) && good;
	printf("%-26s %6d %6d %8zu %12.1f %12.1f %9.0f %9.0f  ", name, p.poll ? 1 : s.nqueues, p.depth, p.block,
	       (double)(w.done * p.block) / (double)MIB, (double)(r.done * p.block) / (double)MIB, per_second(&w), per_second(&r));
	verdict(good);
	if (sum) {
		sum->written += w.done * p.block;
		sum->verified += r.done * p.block;
	}
}

static void verify_all(const char *name, uint64_t off, uint64_t len, int depth)
{
	struct pass r = {.what = name, .block = MAX_BLOCK, .depth = depth, .offset = off, .length = len, .sequential = true};
	bool good = pass_run(&s, &content, &r);

	printf("%-26s %6d %6d %8zu %12s %12.1f %9s %9.0f  ", name, s.nqueues, depth, r.block, "-", (double)(r.done * r.block) / (double)MIB, "-", per_second(&r));
	verdict(good);
}

/* Every depth and block size covers the span, except small blocks at depth 1: they are latency only and get a budget.
 * What they covered stands in the table. */
static void matrix(int depth, const struct options *o)
{
	static const size_t blocks[] = {1 << 20, 65536, 4096, 512};
	struct sum sum = {0};
	char name[64];

	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
		struct pass p = {.block = blocks[i], .depth = depth, .length = o->span, .sequential = blocks[i] == MAX_BLOCK};

		if (depth == 1 && blocks[i] < 65536)
			p.budget = o->budget;
		if (blocks[i] % (size_t)s.request_alignment) {
			printf("%-26s %6d %6d %8zu  not possible: the device's blocks have %d bytes\n", "read/write", s.nqueues, depth, blocks[i], s.request_alignment);
			continue;
		}
		sweep("read/write", p, &sum);
	}
	snprintf(name, sizeof name, "sum of depth %d", depth);
	printf("%-26s %6s %6d %8s %12.1f %12.1f %9s %9s  ", name, "", depth, "", (double)sum.written / (double)MIB, (double)sum.verified / (double)MIB, "", "");
	verdict(sum.written >= o->span && sum.verified >= o->span);
}

static void odd_buffers(const struct options *o)
{
	uint64_t part = o->span / 8;
	unsigned odd = 3 * (unsigned)s.buf_alignment;
	unsigned pieces = s.max_segments < 7 ? (unsigned)s.max_segments : 7;

	sweep("odd buffer addresses", (struct pass){.block = 4096, .depth = 32, .length = part, .shift = odd}, NULL);
	sweep("odd buffer addresses", (struct pass){.block = MAX_BLOCK, .depth = 32, .length = part, .shift = odd}, NULL);
	sweep("7 pieces of odd length", (struct pass){.block = 4096, .depth = 32, .length = part, .offset = part, .pieces = pieces, .shift = odd}, NULL);
	sweep("7 pieces of odd length", (struct pass){.block = 65536, .depth = 32, .length = part, .offset = part, .pieces = pieces, .shift = odd}, NULL);
}

/* Memory that comes and goes while the device runs: ADD_MEM_REG, REM_MEM_REG. */
static void regions(const struct options *o)
{
	enum { ROUNDS = 16 };

	for (int i = 0; i < ROUNDS; i++) {
		struct pass p = {.what = "memory regions", .write = true, .block = 65536, .depth = 32, .length = o->span / 128, .generation = generation};
		struct pass r = {.what = "memory regions", .block = 65536, .depth = 32, .length = o->span / 128};
		struct blkio_mem_region memory;

		session_map(&s, &memory, (size_t)MAX_DEPTH * 65536);
		p.memory = r.memory = memory.addr;
		p.generation = next_generation();
		if (!pass_run(&s, &content, &p) || !pass_run(&s, &content, &r)) {
			line("memory regions", false, "wrong content or an error in a region mapped while running");
			return;
		}
		session_unmap(&s, &memory);
	}
	line("memory regions", true, "mapped, written and read through, unmapped 16 times");
}

typedef void (*range_request)(struct blkioq *q, uint64_t start, uint64_t len, void *user_data, uint32_t flags);

struct range {
	uint64_t off, len;
	uint32_t flags;
};

/* 0 or a negative errno; ranges longer than the device takes go in parts. */
static int ask_range(range_request ask, struct range r, uint64_t max)
{
	struct blkio_completion c = {0};

	for (uint64_t done = 0, n; done < r.len && c.ret == 0; done += n) {
		n = max && r.len - done > max ? max : r.len - done;
		ask(s.queues[0], r.off + done, n, NULL, r.flags);
		session_wait(s.queues[0], &c, 1, 1);
	}
	return c.ret;
}

static void write_zeroes(const struct options *o)
{
	uint64_t a = (uint64_t)s.request_alignment;
	const struct range ranges[] = {
		{3 * a, a, 0}, {MIB + a, 7 * a, 0}, {2 * MIB, MIB, 0}, {4 * MIB - a, 2 * a, BLKIO_REQ_FUA},
		{6 * MIB + a, MIB, BLKIO_REQ_NO_UNMAP}, {8 * MIB, 24 * MIB, 0},
	};

	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		int ret = ask_range(blkioq_write_zeroes, ranges[i], s.max_zeroes);

		if (ret) {
			line("write zeroes", false, strerror(-ret));
			return;
		}
		content_set(&content, ranges[i].off, ranges[i].len, ZEROES);
	}
	line("write zeroes", true, "6 ranges, also single blocks, may and may not unmap, FUA");
	verify_all("  zeroes and neighbours", 0, o->span < 64 * MIB ? o->span : 64 * MIB, 32);
}

static bool zero(const unsigned char *b, size_t n)
{
	return b[0] == 0 && memcmp(b, b + 1, n - 1) == 0;
}

/* Discarded content is anybody's guess, but reading it must work, its neighbours must stay, and writing it must hold. */
static void discard(const struct options *o)
{
	uint64_t a = (uint64_t)(s.discard_alignment ? s.discard_alignment : s.request_alignment);
	uint64_t part = o->span / 32, zeroes = 0;
	const struct range ranges[] = {{part, a, 0}, {part + 5 * a, 3 * a, 0}, {part + MIB, MIB, 0}, {2 * part, part / 2, 0}};
	struct blkio_completion c;
	char words[80];

	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		int ret = ask_range(blkioq_discard, ranges[i], s.max_discard);

		if (ret) {
			line("discard", false, strerror(-ret));
			return;
		}
		content_set(&content, ranges[i].off, ranges[i].len, UNKNOWN);
		blkioq_read(s.queues[0], ranges[i].off, session_buffer(&s, 0, 0), a, NULL, 0);
		session_wait(s.queues[0], &c, 1, 1);
		if (c.ret) {
			line("discard", false, "a discarded block cannot be read");
			return;
		}
		zeroes += zero(session_buffer(&s, 0, 0), a);
	}
	snprintf(words, sizeof words, "4 ranges, also single blocks; %" PRIu64 " of them read as zeroes", zeroes);
	line("discard", true, words);
	verify_all("  neighbours", part, 2 * part, 32);
	sweep("  written again", (struct pass){.block = 65536, .depth = 32, .offset = part, .length = 2 * part}, NULL);
}

static bool offered(range_request ask, uint64_t max, const char *name)
{
	struct range first = {0, (uint64_t)(s.discard_alignment ? s.discard_alignment : s.request_alignment), 0};
	int ret;

	content_set(&content, first.off, first.len, UNKNOWN);
	ret = ask_range(ask, first, max);
	if (ret == -ENOTSUP)
		line(name, true, "not offered");
	return ret != -ENOTSUP;
}

/* A request outside the device fails, and nothing else does afterwards. */
static void beyond_the_end(void)
{
	struct blkio_completion c;
	uint64_t a = (uint64_t)s.request_alignment;
	bool refused = true;

	blkioq_read(s.queues[0], s.capacity, session_buffer(&s, 0, 0), a, NULL, 0);
	session_wait(s.queues[0], &c, 1, 1);
	refused = c.ret < 0 && refused;
	blkioq_write(s.queues[0], s.capacity - a, session_buffer(&s, 0, 0), 2 * a, NULL, 0);
	session_wait(s.queues[0], &c, 1, 1);
	refused = c.ret < 0 && refused;
	line("beyond the end", refused, refused ? "refused" : "a request outside the device succeeded");
}

static void several_queues(const struct options *o)
{
	session_open(&s, o->socket, MAX_QUEUES, 0, 64);
	printf("connected again: %d queues of 64\n", s.nqueues);
	verify_all("content after reconnect", 0, o->span, 32);
	sweep("read/write", (struct pass){.block = 4096, .depth = 32, .length = o->span / 4}, NULL);
	sweep("read/write", (struct pass){.block = 65536, .depth = 32, .length = o->span / 4}, NULL);
	session_close(&s);
}

static void one_queue(const struct options *o)
{
	session_open(&s, o->socket, 1, 0, 0);
	printf("device: %" PRIu64 " MiB, blocks of %d, buffers aligned to %d, %d segments, up to %d queues\n", s.capacity / MIB, s.request_alignment, s.buf_alignment,
	       s.max_segments, s.max_queues);
	if (s.capacity < o->span)
		die("the device is smaller than the %" PRIu64 " MiB to be written", o->span / MIB);
	heading();
	matrix(1, o);
	matrix(32, o);
	odd_buffers(o);
	sweep("each write FUA", (struct pass){.block = 4096, .depth = 32, .length = o->span, .blocks = 2048, .flags = BLKIO_REQ_FUA}, NULL);
	regions(o);
	if (offered(blkioq_write_zeroes, s.max_zeroes, "write zeroes"))
		write_zeroes(o);
	if (offered(blkioq_discard, s.max_discard, "discard"))
		discard(o);
	beyond_the_end();
	verify_all("whole content", 0, o->span, 32);
	session_close(&s);
}

static void polled(const struct options *o)
{
	session_open(&s, o->socket, 1, 1, 0);
	sweep("polled, no interrupts", (struct pass){.block = 4096, .depth = 1, .length = o->span / 8, .budget = o->budget / 2, .poll = true}, NULL);
	sweep("polled, no interrupts", (struct pass){.block = 4096, .depth = 32, .length = o->span / 8, .poll = true}, NULL);
	session_close(&s);
}

static void usage(void)
{
	fputs("usage: blkio_verify --socket=PATH [--image=FILE] [--span=MIB, a power of two, 64 or more] [--seed=N] [--budget=SECONDS]\n", stderr);
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{"socket", required_argument, NULL, 's'}, {"image", required_argument, NULL, 'i'}, {"span", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 'r'},   {"budget", required_argument, NULL, 'b'}, {0},
	};
	struct options o = {.span = 1024 * MIB, .seed = (uint64_t)time(NULL), .budget = 20};

	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		switch (c) {
		case 's': o.socket = optarg; break;
		case 'i': o.image = optarg; break;
		case 'n': o.span = strtoull(optarg, NULL, 0) * MIB; break;
		case 'r': o.seed = strtoull(optarg, NULL, 0); break;
		case 'b': o.budget = strtod(optarg, NULL); break;
		default: usage();
		}
	}
	if (!o.socket || optind != argc || o.span < 64 * MIB || (o.span & (o.span - 1)))
		usage();
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);

	content_init(&content, o.seed, o.span);
	printf("libblkio, virtio-blk-vhost-user; seed %" PRIu64 "; write/s and read/s are requests, checking included\n", o.seed);
	one_queue(&o);
	polled(&o);
	several_queues(&o);
	if (o.image) {
		unsigned before = content.mismatches;

		content_check_file(&content, o.image);
		line("image seen by the host", content.mismatches == before, "every sector as written");
	}
	failures += content.mismatches && !failures;
	printf("interop: %s (%u failed, %u sectors with wrong content)\n", failures ? "FAILED" : "OK", failures, content.mismatches);
	return failures ? 1 : 0;
}
