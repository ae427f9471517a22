package daemon

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/export"
)

// callTime bounds a call, with all the times that it is tried again.
const callTime = 60 * time.Second

// client calls a daemon that may be killed meanwhile.
type client struct{ socket string }

// call calls f until the daemon has answered. again tells that an earlier attempt may have had its effect without an answer.
func (c *client) call(f func(context.Context, vublkv1.ExportsService) error) (again bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	for ; ; time.Sleep(10 * time.Millisecond) {
		sent, err := c.try(ctx, f)
		if err == nil || ctx.Err() != nil {
			return again, err
		}
		if s, ok := status.FromError(err); ok && s.Code() != codes.Unavailable && s.Code() != codes.Unknown {
			return again, err
		}
		again = again || sent
	}
}

// try makes one attempt on a connection of its own; sent: it came as far as that.
func (c *client) try(ctx context.Context, f func(context.Context, vublkv1.ExportsService) error) (sent bool, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return false, errors.WithStack(err)
	}
	rpc := ttrpc.NewClient(conn)
	defer func() {
		_ = rpc.Close()
		_ = conn.Close()
	}()
	return true, f(ctx, vublkv1.NewExportsClient(rpc))
}

// code is what sort of error err is.
func code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	return status.Code(err)
}

func (c *client) list() ([]*vublkv1.Export, error) {
	var list []*vublkv1.Export
	_, err := c.call(func(ctx context.Context, s vublkv1.ExportsService) error {
		r, err := s.List(ctx, &vublkv1.ListRequest{})
		list = r.GetExports()
		return err
	})
	return list, errors.Wrap(err, "list")
}

// create may find that it has been there already when it asks again.
func (c *client) create(d *vublkv1.Definition, size int) error {
	again, err := c.call(func(ctx context.Context, s vublkv1.ExportsService) error {
		_, err := s.Create(ctx, &vublkv1.CreateRequest{Definition: d, CreateSizeBytes: uint64(size)})
		return err
	})
	if again && code(err) == codes.AlreadyExists {
		err = nil
	}
	return errors.Wrapf(err, "create %q", d.GetName())
}

func (c *client) remove(name string) error {
	again, err := c.call(func(ctx context.Context, s vublkv1.ExportsService) error {
		_, err := s.Delete(ctx, &vublkv1.DeleteRequest{Name: name, Force: true})
		return err
	})
	if again && code(err) == codes.NotFound {
		err = nil
	}
	return errors.Wrapf(err, "delete %q", name)
}

// resize asks again as long as the image is still being opened, for which the daemon itself waits some seconds only.
func (c *client) resize(name string, size int) error {
	_, err := c.call(func(ctx context.Context, s vublkv1.ExportsService) error {
		r, err := s.Resize(ctx, &vublkv1.ResizeRequest{Name: name, SizeBytes: uint64(size)})
		for code(err) == codes.FailedPrecondition && strings.Contains(err.Error(), export.ErrNotServing.Error()) && ctx.Err() == nil {
			time.Sleep(nap)
			r, err = s.Resize(ctx, &vublkv1.ResizeRequest{Name: name, SizeBytes: uint64(size)})
		}
		if err == nil && r.GetNewSizeBytes() != uint64(size) {
			err = errors.Errorf("it has %d bytes", r.GetNewSizeBytes())
		}
		return err
	})
	return errors.Wrapf(err, "resize %q", name)
}

func (c *client) update(name, key, value string) error {
	_, err := c.call(func(ctx context.Context, s vublkv1.ExportsService) error {
		_, err := s.Update(ctx, &vublkv1.UpdateRequest{Name: name, Options: map[string]string{key: value}})
		return err
	})
	return errors.Wrapf(err, "update %q", name)
}
