// Package api runs the control API's client of examples/qemu, which is a module of its own, against the real daemon: it has a
// disk made and starts a machine on it that boots, writes and ends.
package api
