package main

import (
	"context"
	"crypto/aes"
	"os"

	"golang.org/x/crypto/xts"

	"github.com/vublk/vublk"
)

// sector is the unit of encryption, in bytes: what a guest reads and writes is whole ones.
const sector = 512

// disk is a file that holds nothing but ciphertext, sector by sector, as dm-crypt's aes-xts-plain64 does.
type disk struct {
	file   *os.File
	size   int64
	cipher *xts.Cipher
}

// open takes a raw image and a key of 64 bytes (or 32, for AES-128).
func open(image, keyFile string) (*disk, error) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	cipher, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &disk{file: file, size: info.Size(), cipher: cipher}, nil
}

// Info implements vublk.Disk. VolatileCache: writes are safe after Flush, and not before.
func (d *disk) Info() vublk.DiskInfo {
	return vublk.DiskInfo{Name: d.file.Name(), Size: d.size, VolatileCache: true}
}

// Close implements vublk.Disk.
func (d *disk) Close() error { return d.file.Close() }

// ReadAt implements vublk.FuncDisk.
func (d *disk) ReadAt(_ context.Context, p []byte, off int64) error {
	_, err := d.file.ReadAt(p, off)
	d.each(p, off, d.cipher.Decrypt)
	return err
}

// WriteAt implements vublk.FuncDisk. The memory is ours until we return, so it is encrypted in place.
func (d *disk) WriteAt(_ context.Context, p []byte, off int64) error {
	d.each(p, off, d.cipher.Encrypt)
	_, err := d.file.WriteAt(p, off)
	return err
}

func (d *disk) each(p []byte, off int64, crypt func(to, from []byte, number uint64)) {
	for number := uint64(off) / sector; len(p) > 0; number, p = number+1, p[sector:] {
		crypt(p[:sector], p[:sector], number)
	}
}

// Flush implements vublk.FuncDisk.
func (d *disk) Flush(context.Context) error { return d.file.Sync() }

// Zero implements vublk.FuncDisk. Zeros are data like any other here: a hole would decrypt to noise.
func (d *disk) Zero(ctx context.Context, off, n int64, _ bool) error {
	for n > 0 {
		p := make([]byte, min(n, 1<<18))
		if err := d.WriteAt(ctx, p, off); err != nil {
			return err
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return nil
}
