package virtio_test

import (
	"testing"

	"github.com/vublk/vublk/virtio"
)

func TestFeaturesString(t *testing.T) {
	for f, want := range map[virtio.Features]string{
		0:                      "0x0",
		virtio.FeatureVersion1: "VERSION_1",
		virtio.FeatureRingPacked | virtio.FeatureEventIdx | 1<<9: "EVENT_IDX|RING_PACKED|0x200",
		1 << 63: "0x8000000000000000",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#x is %q; want %q", uint64(f), got, want)
		}
	}
	if modern.Has(modern|virtio.FeatureInOrder) || !modern.Has(0) || !modern.Has(virtio.FeatureVersion1) {
		t.Error("Has")
	}
}
