package control

import (
	"context"
	"math"
	"strconv"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/export"
)

// exports is the service of that name: decode, call, encode.
type exports struct{ daemon Daemon }

var _ vublkv1.ExportsService = (*exports)(nil)

// changes are the calls that change something.
var changes = map[string]bool{
	"/vublk.v1.Exports/Create": true, "/vublk.v1.Exports/Resize": true, "/vublk.v1.Exports/Update": true,
	"/vublk.v1.Exports/Drain": true, "/vublk.v1.Exports/Start": true, "/vublk.v1.Exports/Delete": true,
	"/vublk.v1.Exports/ClearError": true,
}

// Create implements vublkv1.ExportsService.
func (s *exports) Create(ctx context.Context, r *vublkv1.CreateRequest) (*vublkv1.CreateResponse, error) {
	d, err := definitionOf(r.GetDefinition())
	if err != nil {
		return nil, under("definition.", err)
	}
	size, err := sizeOf("create_size_bytes", r.GetCreateSizeBytes())
	if err != nil {
		return nil, err
	}
	made, err := s.daemon.Create(ctx, d, size)
	if err != nil {
		return nil, inBytes(under("definition.", inFields(err)), "definition.create-size", "create_size_bytes", size)
	}
	return &vublkv1.CreateResponse{Export: exportOf(&made)}, nil
}

// List implements vublkv1.ExportsService.
func (s *exports) List(_ context.Context, r *vublkv1.ListRequest) (*vublkv1.ListResponse, error) {
	var answer vublkv1.ListResponse
	for _, one := range s.daemon.List(r.GetNamePrefix()) {
		answer.Exports = append(answer.Exports, exportOf(&one))
	}
	return &answer, nil
}

// Get implements vublkv1.ExportsService.
func (s *exports) Get(_ context.Context, r *vublkv1.GetRequest) (*vublkv1.GetResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	one, err := s.daemon.Get(r.GetName())
	if err != nil {
		return nil, err
	}
	return &vublkv1.GetResponse{Export: exportOf(&one)}, nil
}

// Resize implements vublkv1.ExportsService.
func (s *exports) Resize(ctx context.Context, r *vublkv1.ResizeRequest) (*vublkv1.ResizeResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	size, err := sizeOf("size_bytes", r.GetSizeBytes())
	if err != nil {
		return nil, err
	}
	resized, err := s.daemon.Resize(ctx, r.GetName(), size, r.GetShrink())
	if err != nil {
		return nil, inBytes(inFields(err), "size", "size_bytes", size)
	}
	return &vublkv1.ResizeResponse{OldSizeBytes: unsigned(resized.Old), NewSizeBytes: unsigned(resized.New)}, nil
}

// Update implements vublkv1.ExportsService.
func (s *exports) Update(ctx context.Context, r *vublkv1.UpdateRequest) (*vublkv1.UpdateResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	options, err := optionsOf(r.GetOptions())
	if err != nil {
		return nil, err
	}
	now, err := s.daemon.Update(ctx, r.GetName(), options, r.GetDisconnect())
	if err != nil {
		return nil, under("options.", inFields(err))
	}
	return &vublkv1.UpdateResponse{Export: exportOf(&now)}, nil
}

// Drain implements vublkv1.ExportsService.
func (s *exports) Drain(ctx context.Context, r *vublkv1.DrainRequest) (*vublkv1.DrainResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	now, err := s.daemon.Drain(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return &vublkv1.DrainResponse{Export: exportOf(&now)}, nil
}

// Start implements vublkv1.ExportsService.
func (s *exports) Start(ctx context.Context, r *vublkv1.StartRequest) (*vublkv1.StartResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	now, err := s.daemon.Start(ctx, r.GetName())
	if err != nil {
		return nil, under("definition.", inFields(err))
	}
	return &vublkv1.StartResponse{Export: exportOf(&now)}, nil
}

// Delete implements vublkv1.ExportsService.
func (s *exports) Delete(ctx context.Context, r *vublkv1.DeleteRequest) (*vublkv1.DeleteResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	if err := s.daemon.Delete(ctx, r.GetName(), r.GetForce()); err != nil {
		return nil, err
	}
	return &vublkv1.DeleteResponse{}, nil
}

// ClearError implements vublkv1.ExportsService.
func (s *exports) ClearError(ctx context.Context, r *vublkv1.ClearErrorRequest) (*vublkv1.ClearErrorResponse, error) {
	if err := needName(r.GetName()); err != nil {
		return nil, err
	}
	cleared, err := s.daemon.ClearError(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return &vublkv1.ClearErrorResponse{Cleared: cleared}, nil
}

func needName(name string) error {
	if name == "" {
		return &export.OptionError{Option: "name", Reason: "missing", Remedy: "say which export; List names them"}
	}
	return nil
}

// sizeOf is a size in bytes as the kernel counts.
func sizeOf(field string, n uint64) (int64, error) {
	if n > math.MaxInt64 {
		return 0, &export.OptionError{Option: field, Value: strconv.FormatUint(n, 10), Reason: "no file is that long", Remedy: "give it in bytes"}
	}
	return int64(n), nil
}

// unsigned is a size that cannot be negative.
func unsigned(n int64) uint64 { return uint64(max(n, 0)) }
