// Package metrics tells Prometheus what a process that serves exports does: /metrics, and beside it /healthz and /readyz for
// whoever decides whether the process lives and may be given work. docs/metrics.md says what each metric means.
//
// Nothing is counted here. A scrape asks the exports and the workers for the books that they keep anyway (collector.go), so
// between two scrapes this package costs nothing, and a scrape costs the data path one message per worker and export.
//
// Whoever connects is not trusted to be quick, nor to be few (server.go): connections are bounded in number and in time, one
// scrape is made at a time, and it is written to a client when the next one may begin already.
package metrics
