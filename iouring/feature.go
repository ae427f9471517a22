package iouring

import "strings"

// Feature is a set of what kernels newer than 5.15 can do. Ring.Features says what a ring has, Options.Disable what it
// must do without, so that the fallbacks are tested on a kernel that has everything.
type Feature uint32

// The features, oldest first.
const (
	FeatureCQESkip        Feature = 1 << iota // IORING_FEAT_CQE_SKIP: SkipSuccess works (not with IODrain)
	FeatureSubmitAll                          // IORING_SETUP_SUBMIT_ALL
	FeatureMsgRing                            // IORING_OP_MSG_RING: SQE.MsgRing works
	FeatureRegisteredRing                     // IORING_REGISTER_RING_FDS: RegisterRingFD works
	FeatureCoopTaskrun                        // IORING_SETUP_COOP_TASKRUN and IORING_SETUP_TASKRUN_FLAG
	FeatureSingleIssuer                       // IORING_SETUP_SINGLE_ISSUER
	FeatureDeferTaskrun                       // IORING_SETUP_DEFER_TASKRUN; needs SingleIssuer and CoopTaskrun
	FeatureNoSQArray                          // IORING_SETUP_NO_SQARRAY
	FeatureBlockDiscard                       // BLOCK_URING_CMD_DISCARD: SQE.BlockDiscard works on block devices

	// AllFeatures is every feature: Options.Disable with it makes a ring as Linux 5.15 has it.
	AllFeatures Feature = 1<<iota - 1
)

// featureInfo is what is known about a feature before asking a kernel.
type featureInfo struct {
	feature Feature
	name    string
	since   release
	setup   uint32 // io_uring_setup(2) flags that ask for it; 0: it is there or not
	cost    string // of its absence
}

// featureTable is ordered by the kernel release that brought each: setup drops from the end.
var featureTable = [...]featureInfo{
	{
		FeatureCQESkip, "CQE_SKIP_SUCCESS",
		release{5, 17},
		0,
		"Every submission that is only interesting when it fails still costs a completion.",
	},
	{
		FeatureSubmitAll, "SUBMIT_ALL",
		release{5, 18},
		setupSubmitAll,
		"A submission that the kernel rejects ends its batch, and the rest takes one more system call.",
	},
	{
		FeatureMsgRing, "MSG_RING",
		release{5, 18},
		0,
		"Workers wake each other through eventfds, which costs a system call and a poll completion per message.",
	},
	{
		FeatureRegisteredRing, "registered ring fd",
		release{5, 18},
		0,
		"Every system call looks the ring's descriptor up, a few tens of nanoseconds.",
	},
	{
		FeatureCoopTaskrun, "COOP_TASKRUN",
		release{5, 19},
		setupCoopTaskrun | setupTaskrunFlag,
		"Completions interrupt a busy worker with inter-processor interrupts, which lowers IOPS.",
	},
	{
		FeatureSingleIssuer, "SINGLE_ISSUER",
		release{6, 0},
		setupSingleIssuer,
		"The kernel takes locks for submitters that do not exist, which costs a little CPU per batch.",
	},
	{
		FeatureDeferTaskrun, "DEFER_TASKRUN",
		release{6, 1},
		setupDeferTaskrun,
		"Completions are finished at any entry into the kernel and not once per turn, which lowers IOPS.",
	},
	{
		FeatureNoSQArray, "NO_SQARRAY",
		release{6, 6},
		setupNoSQArray,
		"The kernel reads an index for each submission, which costs a little cache traffic.",
	},
	{
		FeatureBlockDiscard, "BLOCK_URING_CMD_DISCARD",
		release{6, 12},
		0,
		"A discard on a block device occupies an io-wq thread (fallocate) and drops the device's page cache.",
	},
}

// Has says whether all of x are in f.
func (f Feature) Has(x Feature) bool { return f&x == x }

// String lists the features by the kernel's names.
func (f Feature) String() string {
	var names []string
	for i := range featureTable {
		if f.Has(featureTable[i].feature) {
			names = append(names, featureTable[i].name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// setupFlags returns what io_uring_setup is asked for to get f.
func (f Feature) setupFlags() (flags uint32) {
	for i := range featureTable {
		if f.Has(featureTable[i].feature) {
			flags |= featureTable[i].setup
		}
	}
	return flags
}

// setupFeatures are those that io_uring_setup must be asked for.
const setupFeatures = FeatureSubmitAll | FeatureCoopTaskrun | FeatureSingleIssuer | FeatureDeferTaskrun |
	FeatureNoSQArray

// without removes x from f, and what the kernel refuses without x or what is of no use without it: task work that is
// deferred and announces itself by no flag would stay unseen by a worker that spins.
func (f Feature) without(x Feature) Feature {
	f &^= x
	if !f.Has(FeatureSingleIssuer | FeatureCoopTaskrun) {
		f &^= FeatureDeferTaskrun
	}
	return f
}

// withoutNewest removes the feature of f that the youngest kernel brought.
func (f Feature) withoutNewest() Feature {
	for i := len(featureTable) - 1; i >= 0; i-- {
		if f.Has(featureTable[i].feature) {
			return f.without(featureTable[i].feature)
		}
	}
	return 0
}
