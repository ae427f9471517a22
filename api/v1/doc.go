// Package vublkv1 is the control API of `vublk daemon`, version 1: messages, clients and service interfaces, all generated
// from vublk.proto, whose comments are its reference. It knows nothing else of vublk: an embedder needs it and
// github.com/containerd/ttrpc to drive a daemon.
//
//	conn, err := net.Dial("unix", "/run/vublk/control.sock")
//	client := ttrpc.NewClient(conn)
//	exports := vublkv1.NewExportsClient(client)
//	created, err := exports.Create(ctx, &vublkv1.CreateRequest{Definition: &vublkv1.Definition{
//		SocketPath: "/run/vublk/vm.sock",
//		BlkFile:    "/var/lib/images/vm.raw",
//	}})
//
// A whole one that starts QEMU on what it made: examples/qemu. A daemon serves the answer to calls in any order, and up to 64
// at a time on one connection. ttrpc tells a server about deadlines, not about cancelled calls and streams that nobody reads
// any more: what ends those is closing the connection, so a stream wants one of its own.
//
// vublk.pb.go, vublk_ttrpc.pb.go and released.txt are made by `make generate` (api/generate).
package vublkv1

//go:generate go run github.com/vublk/vublk/api/generate
