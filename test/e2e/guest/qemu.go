package guest

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Options describes a guest.
type Options struct {
	Dir       string // ours: sockets, console and log go there
	Kernel    string // "": the firmware boots from the first disk
	Initramfs string
	Append    string // more words for the kernel's command line
	CPUs      int    // default 2
	Memory    int    // MiB, default 512
	MaxMemory int    // MiB; above Memory: leaves slots for hot-plugged memory
	Disks     []Disk
	Incoming  string // socket on which a migration is awaited: the guest does not boot, it arrives, and waits for cont
	// Machine is what somebody else's command line says of accelerator, CPUs, memory, machine and disks, instead of what CPUs,
	// Memory and Disks would.
	Machine []string
	// QEMU is the command and its first arguments, to take another than Debian's qemu-system-x86_64: then one from 9.2 on,
	// which knows reconnect-ms.
	QEMU []string
}

// Disk is a vhost-user-blk device of a guest.
type Disk struct {
	ID        string // of the QEMU device; its chardev is chr-ID
	Socket    string
	NumQueues int    // 0: QEMU's default, one per vCPU
	Options   string // more properties: "packed=on,event_idx=off"
	Reconnect bool   // try again when the back-end goes away: every second, or every 100 ms with a QEMU that can
}

// chardev returns the arguments of -chardev.
func (o Options) chardev(d Disk) string {
	s := fmt.Sprintf("socket,id=chr-%s,path=%s", d.ID, d.Socket)
	switch {
	case d.Reconnect && len(o.QEMU) > 0:
		s += ",reconnect-ms=100"
	case d.Reconnect:
		s += ",reconnect=1"
	}
	return s
}

// command is what QEMU is started by.
func (o Options) command() []string {
	if len(o.QEMU) > 0 {
		return o.QEMU
	}
	return []string{"qemu-system-x86_64"}
}

// Device returns the arguments of -device.
func (d Disk) Device() string {
	s := fmt.Sprintf("vhost-user-blk-pci,id=%s,chardev=chr-%s", d.ID, d.ID)
	if d.NumQueues > 0 {
		s += ",num-queues=" + strconv.Itoa(d.NumQueues)
	}
	if d.Options != "" {
		s += "," + d.Options
	}
	return s
}

// KernelWords shortens the boot under TCG and stops at a panic, so that the console shows it.
//
// nohz=off keeps Linux from rewriting code in the middle of hrtimer_start_range_ns while all CPUs run it. TCG of QEMU before
// 8.1 (deba78709a) can translate the breakpoint that Linux puts there for a moment, and not notice that it has gone: that CPU
// takes it for ever. One boot in some three hundred hung at that place, without our having been asked for anything.
const KernelWords = "console=ttyS0 loglevel=5 panic=0 nokaslr nohz=off mitigations=off no_timer_check tsc=nowatchdog random.trust_bootloader=on"

func (o Options) args(console string) []string {
	args := []string{"-name", "vublk-e2e", "-no-user-config", "-nodefaults", "-nographic"}
	if len(o.Machine) > 0 {
		args = append(args, o.Machine...)
	} else {
		args = append(args, o.machine()...)
	}
	args = append(args,
		"-chardev", "file,id=console,path="+console, "-serial", "chardev:console",
		"-chardev", "socket,id=agent,path="+filepath.Join(o.Dir, agentSocket),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name="+AgentPort,
		"-chardev", "socket,id=qmp,path="+filepath.Join(o.Dir, "qmp.sock"), "-mon", "chardev=qmp,mode=control",
	)
	for _, d := range o.Disks {
		args = append(args, "-chardev", o.chardev(d), "-device", d.Device())
	}
	if o.Kernel != "" {
		words := strings.TrimSpace(KernelWords + " " + o.Append)
		args = append(args, "-kernel", o.Kernel, "-initrd", o.Initramfs, "-append", words)
	}
	if o.Incoming != "" {
		args = append(args, "-S", "-incoming", "unix:"+o.Incoming)
	}
	return args
}

// machine is one that this harness makes.
func (o Options) machine() []string {
	cpus, memory := o.CPUs, o.Memory
	if cpus == 0 {
		cpus = 2
	}
	if memory == 0 {
		memory = 512
	}
	size := fmt.Sprintf("%dM", memory)
	if o.MaxMemory > memory {
		size = fmt.Sprintf("%dM,slots=4,maxmem=%dM", memory, o.MaxMemory)
	}
	return []string{
		"-machine", "pc,memory-backend=ram0", "-accel", "tcg,thread=multi",
		"-smp", strconv.Itoa(cpus), "-m", size,
		// vhost-user needs memory that can be handed over.
		"-object", fmt.Sprintf("memory-backend-memfd,id=ram0,size=%dM,share=on", memory),
	}
}

// CommandLine is what Start would run, for a human's shell.
func (o Options) CommandLine() string {
	var b strings.Builder
	b.WriteString(strings.Join(o.command(), " "))
	for _, a := range o.args(filepath.Join(o.Dir, "console.log")) {
		if strings.ContainsAny(a, " $*") {
			a = "'" + a + "'"
		}
		b.WriteString(" " + a)
	}
	return b.String()
}
