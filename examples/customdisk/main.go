// Customdisk serves an encrypted disk: whatever a guest writes reaches the image as AES-XTS ciphertext only.
//
//	customdisk IMAGE KEYFILE SOCKET
//
// README.md walks through it. The disk itself is disk.go; this file finds it and has it served until a signal comes.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/vublk/vublk"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: customdisk IMAGE KEYFILE SOCKET")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "customdisk:", err)
		os.Exit(1)
	}
}

func run(image, keyFile, socket string) error {
	d, err := open(image, keyFile)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(runtime.NumCPU() + 3) // each worker keeps a thread
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err = vublk.ListenAndServe(ctx, socket, d, vublk.Options{Log: log})
	if end := d.Close(); err == nil {
		err = end
	}
	return err
}
