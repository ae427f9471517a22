// Package metrics tests what the real program tells Prometheus, and a real Prometheus (Debian's package, which .ci/setup
// unpacks under build/guest) what it makes of that.
//
// load_test.go has a front-end of ours make a load of known size; exact_test.go compares every counter with it, as the
// program tells them and as Prometheus answers queries; percentile_test.go compares quantiles with the known slowness of a
// disk; life_test.go kills, upgrades and starts processes that tell metrics.
package metrics
