package control

import (
	"context"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vublk/vublk/internal/export"
)

// codeOf are the kinds of the daemon's errors as statuses.
var codeOf = map[ErrorKind]codes.Code{
	Internal: codes.Internal, NotFound: codes.NotFound, AlreadyExists: codes.AlreadyExists,
	FailedPrecondition: codes.FailedPrecondition, Unavailable: codes.Unavailable,
}

// statusOf is what the client of ctx is told of err: a code, and one line that says what is wrong and the way out.
func statusOf(ctx context.Context, err error) error {
	var option *export.OptionError
	var known *Error
	code := codes.Internal
	switch {
	case err == nil:
		return nil
	case isStatus(err):
		return err
	case errors.As(err, &known):
		code = codeOf[known.Kind]
	case errors.As(err, &option):
		code = codes.InvalidArgument
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the deadline of the call has passed")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the call was given up")
	case errors.Is(err, export.ErrNotServing), errors.Is(err, export.ErrFixedSize):
		code = codes.FailedPrecondition
	}
	return status.Error(code, text(strings.Join(strings.Fields(err.Error()), " ")))
}

func isStatus(err error) bool {
	var s interface{ GRPCStatus() *status.Status }
	return errors.As(err, &s)
}

// inFields gives an option that err begins with the name that it has in the .proto.
func inFields(err error) error {
	var option *export.OptionError
	var known *Error
	for _, o := range export.Options() {
		switch {
		case errors.As(err, &option):
			if o.Key == option.Option {
				named := *option
				named.Option = field(o.Key)
				return &named
			}
		case errors.As(err, &known):
			if rest, ok := strings.CutPrefix(known.Text, o.Key+"="); ok {
				return &Error{Kind: known.Kind, Text: field(o.Key) + "=" + rest}
			}
		}
	}
	return err
}

// inBytes gives an error about the size that it calls name the field's name, and the value that the client has sent there.
func inBytes(err error, name, field string, size int64) error {
	var option *export.OptionError
	if !errors.As(err, &option) || option.Option != name {
		return err
	}
	named := *option
	named.Option, named.Value = field, strconv.FormatInt(size, 10)
	return &named
}

// under says where the field is that err begins with: "definition." or "options.".
func under(prefix string, err error) error {
	var known *Error
	if errors.As(err, &known) {
		for _, o := range export.Options() {
			if strings.HasPrefix(known.Text, field(o.Key)+"=") {
				return &Error{Kind: known.Kind, Text: prefix + known.Text}
			}
		}
	}
	return export.Under(prefix, err)
}

// maxAnswer is the longest message that ttrpc sends; on a longer one it cuts the connection.
const maxAnswer = 4<<20 - 4096

// fits returns m, or an error when it is too long to be sent.
func fits(m any) (any, error) {
	if p, ok := m.(proto.Message); ok && proto.Size(p) > maxAnswer {
		return nil, status.Errorf(codes.ResourceExhausted, "the answer has %d bytes, more than fit into a message of 4 MiB; ask for fewer exports at a time", proto.Size(p))
	}
	return m, nil
}
