// Package scale tests what the real program costs as its work grows: one process with a thousand exports that all have a
// front-end, what is left when those have gone, whether a busy one lets an idle one live, and what the garbage
// collector does to the tail.
//
// fleet_test.go starts a vublk with many exports and attaches a native front-end to each, process_test.go reads what
// the kernel says about the process; the tests are in idle_test.go, start_test.go, fair_test.go and churn_test.go.
//
// A thousand exports take about ten thousand descriptors in vublk and seven thousand in the test.
package scale
