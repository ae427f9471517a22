package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/bench"
)

// planOf is what the command would do.
func planOf(args ...string) (*benchPlan, error) {
	var f benchFlags
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.add(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return f.plan(flags)
}

// Each option does what it says, and without it that is not so.
func TestBenchOptions(t *testing.T) {
	dir := t.TempDir()
	file := image(t, dir, "disk.raw", 1<<20)
	may, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	first := may[:1]
	cpu := joinInts(first)
	for _, c := range []struct {
		args string
		want func(p *benchPlan) bool
	}{
		{"--store=mem:1M", func(p *benchPlan) bool { return p.store.made.Kind == storeMem }},
		{"--store=" + file, func(p *benchPlan) bool { return p.store.file == file && p.store.readOnly }},
		{"--store=" + file + " --rw=rw --destroy-data", func(p *benchPlan) bool { return p.store.file == file && !p.store.readOnly }},
		{"--store=" + file + " --flush-percent=1", func(p *benchPlan) bool { return p.store.file == file && !p.store.readOnly }},
		{"--compare", func(p *benchPlan) bool { return p.compare && p.peer != "" && p.rounds == defaultCompareRounds }},
		{"--compare --rounds=2", func(p *benchPlan) bool { return p.rounds == 2 }},
		{"--rounds=3", func(p *benchPlan) bool { return p.rounds == 3 }},
		{"--ceiling", func(p *benchPlan) bool { return p.ceiling }},
		{"--rw=randwrite", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{WritePercent: 100} }},
		{"--rw=randrw", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{WritePercent: 50} }},
		{"--rw=read", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{Sequential: true} }},
		{"--rw=write", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{Sequential: true, WritePercent: 100} }},
		{"--rw=rw", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{Sequential: true, WritePercent: 50} }},
		{"--store=" + file + " --rw=flush", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{FlushPercent: 100} }},
		{"--rw=randrw --write-percent=30", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{WritePercent: 30} }},
		{"--rw=rw --write-percent=0", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{Sequential: true} }},
		{"--store=" + file + " --flush-percent=7", func(p *benchPlan) bool { return p.load.Mix == bench.Mix{FlushPercent: 7} }},
		{"--bs=64k", func(p *benchPlan) bool { return p.load.BlockSize == 64<<10 }},
		{"--depth=7", func(p *benchPlan) bool { return slices.Equal(p.depths, []int{7}) }},
		{"--depth=1..128", func(p *benchPlan) bool { return slices.Equal(p.depths, []int{1, 2, 4, 8, 16, 32, 64, 128}) }},
		{"--depth=8,1,2..6,2", func(p *benchPlan) bool { return slices.Equal(p.depths, []int{1, 2, 4, 6, 8}) }},
		{"--queues=4", func(p *benchPlan) bool { return p.load.Queues == 4 }},
		{"--span=1M", func(p *benchPlan) bool { return p.load.Span == 1<<20 }},
		{"--seed=9", func(p *benchPlan) bool { return p.load.Seed == 9 }},
		{"--driver=sleeping", func(p *benchPlan) bool { return p.load.Wait == bench.Sleeping }},
		{"--batch=1", func(p *benchPlan) bool { return p.load.Batch == 1 }},
		{"--packed", func(p *benchPlan) bool { return p.load.Packed }},
		{"--indirect", func(p *benchPlan) bool { return p.load.Indirect }},
		{"--no-event-idx", func(p *benchPlan) bool { return p.load.NoEventIdx }},
		{"--driver-cpus=" + cpu, func(p *benchPlan) bool { return slices.Equal(p.load.CPUs, first) }},
		{"--backend-cpus=" + joinInts(may), func(p *benchPlan) bool { return slices.Equal(p.backendCPUs, may) && len(may) > 1 }},
		{"--runtime=1500ms", func(p *benchPlan) bool { return p.load.Duration == 1500*time.Millisecond }},
		{"--warmup=0s", func(p *benchPlan) bool { return p.load.Warmup == 0 }},
		{"--output=csv", func(p *benchPlan) bool { return p.output == outputCSV }},
		{"--plot=" + filepath.Join(dir, "a.svg"), func(p *benchPlan) bool { return p.plot == filepath.Join(dir, "a.svg") }},
	} {
		args := strings.Fields(c.args)
		if !strings.Contains(c.args, "--store") {
			args = append(args, "--store=null:1GiB")
		}
		p, err := planOf(args...)
		if err != nil || !c.want(p) {
			t.Errorf("%s: %v, %+v", c.args, err, p)
		}
		p, err = planOf("--store=null:1GiB")
		if err != nil || c.want(p) {
			t.Errorf("%s makes no difference (%v)", c.args, err)
		}
	}
}

// The defaults of the flags are those that the help tells, and the generator's own.
func TestBenchDefaults(t *testing.T) {
	p, err := planOf("--store=null:1GiB")
	if err != nil {
		t.Fatal(err)
	}
	if p.load.Batch != 8 || p.load.BlockSize != 4096 || p.load.Queues != 1 || p.rounds != 1 || !slices.Equal(p.depths, []int{1, 32}) {
		t.Errorf("%+v", p)
	}
}

// A driver and a back-end of ours get CPUs apart from each other, where there are enough.
func TestBenchPlacement(t *testing.T) {
	may, err := allowedCPUs()
	if err != nil || len(may) < 2 {
		t.Fatalf("CPUs %v, %v: two are needed", may, err)
	}
	last := may[len(may)-1:]
	rest := may[:len(may)-1]
	for args, want := range map[string][2][]int{
		"":                                 {last, rest},
		"--driver-cpus=" + joinInts(rest):  {rest, last},
		"--backend-cpus=" + joinInts(last): {rest[len(rest)-1:], last},
		"--queues=256":                     {nil, nil},
	} {
		p, err := planOf(append(strings.Fields(args), "--store=null:1GiB", "--depth=1")...)
		if err != nil || !slices.Equal(p.load.CPUs, want[0]) || !slices.Equal(p.backendCPUs, want[1]) {
			t.Errorf("%q: %v, driver %v, back-end %v, want %v", args, err, p.load.CPUs, p.backendCPUs, want)
		}
	}
	p, err := planOf("--store=null:1GiB", "--driver-cpus="+joinInts(last), "--backend-cpus="+joinInts(may))
	if err != nil || !slices.Equal(p.shared(), last) || len(newBenchReport(p).Notes) != 1 {
		t.Errorf("shared CPUs: %v, %v", err, p)
	}
	p, err = planOf("--store=null:1GiB", "--driver-cpus="+joinInts(last), "--backend-cpus="+joinInts(may), "--driver=sleeping")
	if err != nil || p.shared() != nil {
		t.Errorf("a sleeping driver shares: %v, %v", err, p)
	}
}

func TestBenchCommandLines(t *testing.T) {
	dir := t.TempDir()
	file := image(t, dir, "a,b.raw", 1<<20)
	read, err := parseStore(file, bench.Mix{})
	if err != nil {
		t.Fatal(err)
	}
	write, err := parseStore(file, bench.Mix{WritePercent: 1})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := parseStore("mem:1MiB", bench.Mix{})
	if err != nil {
		t.Fatal(err)
	}
	doubled := strings.ReplaceAll(file, ",", ",,")
	for _, c := range []struct {
		argv []string
		want []string
	}{
		{mem.vublk("vublk", "s", 2), []string{"vublk", "serve", "--socket-path=s", "--workers=2", "--store=mem:1MiB"}},
		{read.vublk("vublk", "s", 1), []string{"vublk", "serve", "--socket-path=s", "--workers=1", "--blk-file=" + file, "--lock-timeout=5s", "--read-only"}},
		{write.vublk("vublk", "s", 1), []string{"vublk", "serve", "--socket-path=s", "--workers=1", "--blk-file=" + file, "--lock-timeout=5s"}},
		{mem.qemu("qsd", "s", 2), []string{
			"qsd", "--blockdev", "driver=null-co,node-name=disk,size=1048576,read-zeroes=on", "--export",
			"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=s,num-queues=2,writable=on",
		}},
		{read.qemu("qsd", "s,t", 1), []string{
			"qsd", "--blockdev", "driver=file,node-name=disk,aio=io_uring,cache.direct=on,filename=" + doubled + ",read-only=on", "--export",
			"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=s,,t,num-queues=1,writable=off",
		}},
		{(&benchStore{file: "/dev/x", device: true}).qemu("qsd", "s", 1)[2:3], []string{
			"driver=host_device,node-name=disk,aio=io_uring,cache.direct=on,filename=/dev/x",
		}},
	} {
		if !reflect.DeepEqual(c.argv, c.want) {
			t.Errorf("%q, want\n%q", c.argv, c.want)
		}
	}
	if f := mem.fill(); f == nil || !f.Mix.Sequential || f.Mix.WritePercent != 100 || f.BlockSize != 1<<20 || f.Duration < time.Millisecond || read.fill() != nil {
		t.Errorf("fill %+v", f)
	}
	if read.exclusive() || !write.exclusive() || mem.exclusive() {
		t.Error("only a file that is written has one user at a time")
	}
}
