package metrics

import "github.com/prometheus/client_golang/prometheus"

// The labels. An operation is read, write, flush, discard, write_zeroes or other.
var (
	exportLabel  = []string{"export"}
	queueLabels  = []string{"export", "queue"}
	opLabels     = []string{"export", "queue", "op"}
	workerLabels = []string{"worker"}
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vublk_"+name, help, labels, nil)
}

// What is told of the process and of exports.
var (
	buildInfo = describe("build_info", "Always 1; the label is the version of the program.", "version")

	exportUp       = describe("export_up", "1: front-ends can connect, or one is connected.", exportLabel...)
	exportState    = describe("export_state", "1 for the state that the export is in.", "export", "state")
	exportInfo     = describe("export_info", "Always 1; the labels say how the export is configured.", "export", "cache", "read_only")
	exportCapacity = describe("export_capacity_bytes", "Size of the disk as its guest sees it.", exportLabel...)
	flushFailed    = describe("export_flush_failed", "1: a flush has failed, and flushes fail until that is cleared.", exportLabel...)
	sessions       = describe("export_sessions_total", "Sessions of front-ends, resumed ones included.", exportLabel...)
	resumes        = describe("export_resumes_total", "Sessions that went on after the death or the upgrade of another process.", exportLabel...)
	fdatasyncs     = describe("export_fdatasyncs_total", "fdatasync calls that ended well.", exportLabel...)
	syncErrors     = describe("export_fdatasync_errors_total", "fdatasync calls that failed.", exportLabel...)
)

// What is told of queues.
var (
	queueRunning = describe("queue_running", "1: the front-end has started the queue.", queueLabels...)
	queueBroken  = describe("queue_broken", "1: the queue is not served, because of what its driver did, until that resets the device.", queueLabels...)
	queueBreaks  = describe("queue_breaks_total", "Times that the queue was broken by what its driver did.", queueLabels...)
	inFlight     = describe("queue_requests_in_flight", "Requests that were fetched and have not been answered.", queueLabels...)
	kicks        = describe("queue_kicks_total", "Wake-ups by the driver.", queueLabels...)
	calls        = describe("queue_calls_total", "Interrupts sent to the driver.", queueLabels...)
	bounced      = describe("queue_requests_bounced_total", "Requests whose data had to be copied, because guest memory did not suit direct I/O.", queueLabels...)
	malformed    = describe("queue_requests_malformed_total", "Chains that could not be answered: no room for a header or a status.", queueLabels...)
	barriers     = describe("queue_requests_barrier_total", "Requests with the legacy barrier flag.", queueLabels...)
	merged       = describe("queue_flushes_merged_total", "Flushes that found everything stable, or shared another one's fdatasync.", queueLabels...)

	requests    = describe("requests_total", "Requests that were answered.", opLabels...)
	requestSize = describe("request_bytes_total", "Bytes that the answered requests asked for.", opLabels...)
	errored     = describe("request_errors_total", "Requests answered IOERR.", opLabels...)
	unsupported = describe("request_unsupported_total", "Requests answered UNSUPP.", opLabels...)
	latency     = describe("request_duration_seconds", "Time from fetching a request to telling its driver.", opLabels...)
)

// What is told of workers.
var (
	workerTime   = describe("worker_seconds_total", "What the worker did with its time: idle, polling or busy.", "worker", "state")
	workerPolls  = describe("worker_polls_total", "Polling windows: won, they found work, or lost.", "worker", "result")
	workerEnters = describe("worker_enters_total", "io_uring_enter calls.", workerLabels...)
	workerQueues = describe("worker_queues", "Queues placed on the worker.", workerLabels...)
	workerMoved  = describe("worker_queues_moved_in_total", "Queues that moved here because there was less to do.", workerLabels...)
	workerCPU    = describe("worker_cpu", "The CPU that the worker is bound to; -1: none.", workerLabels...)
)
