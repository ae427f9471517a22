package export

import (
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, list string
		check      func(Definition) bool
		err        string
	}{
		{name: "socket and file", list: "socket-path=/a.sock,blk-file=/b.raw", check: func(d Definition) bool {
			return d.Socket.Path == "/a.sock" && d.Disk.File == "/b.raw" && !d.Disk.ReadOnly && d.Disk.Direct
		}},
		{name: "bare key", list: "socket-path=a,blk-file=b,read-only", check: func(d Definition) bool { return d.Disk.ReadOnly }},
		{name: "key=off", list: "direct=off,read-only=off", check: func(d Definition) bool { return !d.Disk.Direct && !d.Disk.ReadOnly }},
		{name: "doubled commas", list: "socket-path=a,,b,blk-file=,,c,,,,", check: func(d Definition) bool {
			return d.Socket.Path == "a,b" && d.Disk.File == ",c,,"
		}},
		{name: "equals sign in a value", list: "blk-file=a=b", check: func(d Definition) bool { return d.Disk.File == "a=b" }},
		{name: "all of the device", list: "num-queues=4,cache=unsafe,flush-error=retry,config-wce,logical-block-size=4096,physical-block-size=16K,serial=S 1", check: func(d Definition) bool {
			return d.Device == DeviceDefinition{
				NumQueues: 4, Cache: blk.CacheUnsafe, FlushError: blk.FlushErrorRetry, ConfigWCE: true, LogicalBlockSize: 4096, PhysicalBlockSize: 16384, Serial: "S 1",
			}
		}},
		{name: "the rest", list: "fd=3,store=mem:1M,lock-timeout=2m,incoming,allow-shrink,name=n,connect=c", check: func(d Definition) bool {
			return d.Socket.FD == 3 && d.Disk.Store == Store{Kind: "mem", Size: 1 << 20} && d.Disk.LockTimeout == 2*time.Minute &&
				d.Disk.Incoming && d.Disk.AllowShrink && d.Name == "n" && d.Socket.Connect == "c"
		}},
		{name: "nothing", list: "", err: "key=value"},
		{name: "only a comma at the end", list: "blk-file=a,", err: "key=value"},
		{name: "unknown key", list: "blkfile=a", err: "did you mean blk-file?"},
		{name: "unlike any key", list: "quux=a", err: "the keys are socket-path,"},
		{name: "given twice", list: "blk-file=a,blk-file=b", err: "given twice"},
		{name: "no value", list: "blk-file", err: "write blk-file=FILE"},
		{name: "empty value", list: "blk-file=", err: "must not be empty"},
		{name: "bad bool", list: "read-only=maybe", err: "read-only=maybe: is neither on nor off"},
		{name: "bad queues", list: "num-queues=257", err: "num-queues=257: not a number of queues; take 1 to 256"},
		{name: "no queues", list: "num-queues=0", err: "take 1 to 256"},
		{name: "bad cache", list: "cache=none", err: "take auto"},
		{name: "bad block size", list: "logical-block-size=1000", err: "power of two"},
		{name: "small block size", list: "logical-block-size=256", err: "power of two"},
		{name: "long serial", list: "serial=123456789012345678901", err: "1 to 20"},
		{name: "bad store", list: "store=disk:1G", err: "null:SIZE or mem:SIZE"},
		{name: "store without size", list: "store=mem:", err: "not a size"},
		{name: "store of nothing", list: "store=mem:0", err: "no bytes"},
		{name: "bad timeout", list: "lock-timeout=60", err: "write 60s"},
		{name: "negative timeout", list: "lock-timeout=-1s", err: "write 60s"},
		{name: "bad fd", list: "fd=-1", err: "not a descriptor"},
		{name: "huge fd", list: "fd=4294967296", err: "not a descriptor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse(c.list, NewDefinition())
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want one with %q", err, c.err)
			case c.check != nil && !c.check(d):
				t.Fatalf("got %+v", d)
			}
		})
	}
}

func TestParseKeepsTheBase(t *testing.T) {
	base := NewDefinition()
	base.Disk.ReadOnly, base.Device.NumQueues = true, 2
	d, err := Parse("socket-path=a,num-queues=3", base)
	if err != nil || !d.Disk.ReadOnly || d.Device.NumQueues != 3 || base.Device.NumQueues != 2 {
		t.Fatalf("got %+v, %v; base %+v", d, err, base)
	}
}

// What Get says, Set reads: help and messages show values that can be copied.
func TestOptionsReadWhatTheyWrite(t *testing.T) {
	d, err := Parse("socket-path=s,fd=3,connect=c,name=n,blk-file=f,store=null:1536,read-only,direct=off,lock-timeout=90s,incoming,allow-shrink,"+
		"num-queues=9,cache=writeback,config-wce,logical-block-size=1024,physical-block-size=4096,serial=x", NewDefinition())
	if err != nil {
		t.Fatal(err)
	}
	again := NewDefinition()
	for _, o := range Options() {
		if o.Usage == "" || o.Group == "" || o.Value == "" && !o.Bool {
			t.Errorf("%s: help is missing", o.Key)
		}
		if err := o.Set(&again, o.Get(&d)); err != nil {
			t.Errorf("%s: %v", o.Key, err)
		}
	}
	if again != d {
		t.Errorf("got  %+v\nwant %+v", again, d)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"socket-path=a,blk-file=b,read-only", "a,,b=c", ",", "fd=3,store=mem:1G", "cache=auto,cache=auto"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, list string) {
		d, err := Parse(list, NewDefinition())
		if err != nil {
			return
		}
		_ = d.Validate()
		_ = d.withDefaults()
		_ = strings.Join(splitList(list), ",")
	})
}
