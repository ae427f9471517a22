package export

import (
	"encoding/json"
	"strings"
	"testing"
)

func define(t *testing.T, list string) Definition {
	t.Helper()
	d, err := Parse(list, NewDefinition())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ list, err string }{
		{"socket-path=a,blk-file=b", ""},
		{"fd=0,blk-file=b", ""},
		{"connect=a,store=mem:1M,logical-block-size=4096", ""},
		{"socket-path=a,blk-file=b,incoming,cache=writethrough", ""},
		{"blk-file=b", "socket-path: missing"},
		{"socket-path=a", "blk-file: missing"},
		{"socket-path=a,fd=3,blk-file=b", "fd: contradicts socket-path"},
		{"fd=3,connect=a,blk-file=b", "connect: contradicts fd"},
		{"socket-path=a,blk-file=b,store=mem:1M", "store: contradicts blk-file"},
		{"socket-path=" + strings.Repeat("x", 107) + ",blk-file=b", ""},
		{"socket-path=" + strings.Repeat("x", 108) + ",blk-file=b", "has 108 bytes"},
		{"connect=" + strings.Repeat("x", 108) + ",blk-file=b", "has 108 bytes"},
		{"socket-path=a,store=mem:1000", "take 1KiB"},
		{"socket-path=a,store=mem:5K,logical-block-size=4096", "take 8KiB"},
		{"socket-path=a,store=mem:1M,incoming", "no lock to wait for"},
		{"socket-path=a,blk-file=b,incoming,read-only", "contradicts read-only"},
		{"socket-path=a,blk-file=b,logical-block-size=4096,physical-block-size=512", "smaller than the logical"},
		{"socket-path=a,blk-file=b,config-wce,cache=writethrough", "contradicts cache=writethrough"},
	} {
		d := define(t, c.list)
		err := d.Validate()
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", c.list, err, c.err)
		}
	}
}

func TestDefinitionSurvivesJSON(t *testing.T) {
	for _, list := range []string{
		"socket-path=a,blk-file=b",
		"fd=0,store=null:1536,num-queues=3,cache=unsafe,serial=x,direct=off,lock-timeout=0",
		"connect=c,blk-file=b,incoming,allow-shrink,config-wce,logical-block-size=4096,physical-block-size=8192,name=n,read-only=off",
	} {
		d := define(t, list)
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(b)
		if err != nil || back != d {
			t.Errorf("%s\n wrote %s\n read  %+v, %v", list, b, back, err)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	const good = `{"version":1,"socket":{"path":"a","fd":-1},"disk":{"file":"b","direct":true},"device":{"num_queues":1,"cache":"auto","logical_block_size":512}}`
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, err string }{
		{`"version":1`, `"version":2`, "use a newer vublk"},
		{`"version":1`, `"version":0`, "version"},
		{`"path":"a"`, `"path":"a","colour":"red"`, "unknown field"},
		{`"num_queues":1`, `"num_queues":0`, "num-queues=0"},
		{`"num_queues":1`, `"num_queues":300`, "num-queues=300"},
		{`"cache":"auto"`, `"cache":""`, "cache"},
		{`"logical_block_size":512`, `"logical_block_size":0`, "logical-block-size"},
		{`"logical_block_size":512`, `"logical_block_size":513`, "logical-block-size"},
		{`"num_queues":1`, `"num_queues":1,"serial":"tab\t"`, "serial"},
		{`"file":"b"`, `"store":"mem:x"`, "store"},
		{`"file":"b"`, `"store":"mem:-1"`, "store"},
		{`"file":"b"`, `"store":7`, "definition"},
		{`"logical_block_size":512}}`, `"logical_block_size":512}} {}`, "something follows"},
		{`"logical_block_size":512}}`, `"logical_block_size":512}}x`, "something follows"},
	} {
		if _, err := Decode([]byte(strings.Replace(good, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want one with %q", c.new, err, c.err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"socket":{"path":"a","fd":-1},"disk":{"store":"mem:1MiB"},"device":{"num_queues":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Decode(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(again); err != nil || back != d {
			t.Fatalf("%s reads as %+v, %v; want %+v", again, back, err, d)
		}
	})
}

func TestDefaultName(t *testing.T) {
	for list, want := range map[string]string{
		"socket-path=/run/vm1.sock,blk-file=/b/disk.raw": "vm1",
		"connect=/run/c.socket,blk-file=/b/disk.raw":     "c",
		"fd=3,blk-file=/b/disk.raw":                      "disk",
		"fd=3,store=mem:1G":                              "mem",
		"socket-path=/run/.sock,store=mem:1G":            ".sock",
		"socket-path=a,name=n,store=mem:1G":              "n",
	} {
		d := define(t, list).withDefaults()
		if d.Name != want {
			t.Errorf("%s is called %q, want %q", list, d.Name, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"cache", "connect", "num-queues", "socket-path"}
	for word, want := range map[string]string{
		"cach": "cache", "cachee": "cache", "num_queues": "num-queues", "socketpath": "socket-path", "xyz": "", "": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestUnder(t *testing.T) {
	err := Under("--", &OptionError{Option: "fd", Value: "x", Reason: "bad", Remedy: "mend it"})
	if got := Under("--", err).Error(); got != "--fd=x: bad; mend it" {
		t.Error(got)
	}
	if Under("--", nil) != nil {
		t.Error("no error became one")
	}
}
