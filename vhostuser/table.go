package vhostuser

// rule is what the dispatcher checks about a message before its handler sees it, and what it answers.
type rule struct {
	fds   [2]int           // least and most descriptors
	size  [2]int           // least and most bytes of payload
	needs ProtocolFeatures // that must have been negotiated
	// reply: the message has a reply of its own, so never an ack; when it fails there is nothing to say and the
	// session ends.
	reply  bool
	handle func(*Session, *message) ([]byte, error)
}

// anySize is for messages that are refused whatever they carry.
var anySize = [2]int{0, maxPayload}

// rules is the dispatch table. Rows without a handler need a feature that is never offered; they are here because the
// front-end waits for an answer to them that we cannot give, which ends the session instead of hanging the front-end.
var rules = map[Request]rule{
	RequestGetFeatures:         {reply: true, handle: (*Session).getFeatures},
	RequestSetFeatures:         {size: exactly(u64Size), handle: (*Session).setFeatures},
	RequestGetProtocolFeatures: {reply: true, handle: (*Session).getProtocolFeatures},
	RequestSetProtocolFeatures: {size: exactly(u64Size), handle: (*Session).setProtocolFeatures},
	RequestSetOwner:            {handle: (*Session).accept},
	RequestResetOwner:          {handle: (*Session).accept}, // deprecated; "may be ignored"
	RequestGetQueueNum:         {needs: ProtocolMQ, reply: true, handle: (*Session).getQueueNum},
	RequestSetBackendReqFD: {
		fds: exactly(1), needs: ProtocolBackendReq, handle: (*Session).setBackendReqFD,
	},
	RequestResetDevice: {needs: ProtocolResetDevice, handle: (*Session).resetDevice},

	RequestSetMemTable: {
		fds: [2]int{0, maxFDs}, size: [2]int{memTableHeadSize, memTableMaxSize}, handle: (*Session).setMemTable,
	},
	RequestGetMaxMemSlots: {needs: ProtocolConfigureMemSlots, reply: true, handle: (*Session).getMaxMemSlots},
	RequestAddMemReg: {
		fds: exactly(1), size: exactly(memRegSize), needs: ProtocolConfigureMemSlots, handle: (*Session).addMemReg,
	},
	RequestRemMemReg: {
		fds: [2]int{0, 1}, size: exactly(memRegSize), needs: ProtocolConfigureMemSlots, handle: (*Session).remMemReg,
	},

	RequestSetVringNum:  {size: exactly(vringStateSize), handle: (*Session).setVringNum},
	RequestSetVringAddr: {size: exactly(vringAddrSize), handle: (*Session).setVringAddr},
	RequestSetVringBase: {size: exactly(vringStateSize), handle: (*Session).setVringBase},
	RequestGetVringBase: {size: exactly(vringStateSize), reply: true, handle: (*Session).getVringBase},
	RequestSetVringKick: {fds: [2]int{0, 1}, size: exactly(u64Size), handle: (*Session).setVringKick},
	RequestSetVringCall: {fds: [2]int{0, 1}, size: exactly(u64Size), handle: (*Session).setVringCall},
	RequestSetVringErr:  {fds: [2]int{0, 1}, size: exactly(u64Size), handle: (*Session).setVringErr},
	// By the text only after bit 30 of the features; SPDK sends it before SET_MEM_TABLE.
	RequestSetVringEnable: {size: exactly(vringStateSize), handle: (*Session).setVringEnable},

	// The handler judges the size: the answer to nonsense is an empty payload, and the session goes on.
	RequestGetConfig: {
		size: [2]int{configHeadSize, maxPayload}, needs: ProtocolConfig, reply: true, handle: (*Session).getConfig,
	},
	RequestSetConfig: {
		size:  [2]int{configHeadSize, configHeadSize + configMaxSize},
		needs: ProtocolConfig, handle: (*Session).setConfig,
	},

	// It has a reply because LOG_SHMFD was negotiated. QEMU does not look into it, so a log that cannot be used ends the
	// session, and with it the migration.
	RequestSetLogBase: {
		fds: exactly(1), size: exactly(logBaseSize), needs: ProtocolLogShmfd, reply: true, handle: (*Session).setLogBase,
	},
	// An eventfd for who wants to be told of changes in the log; nobody does, and QEMU never sends it.
	RequestSetLogFD: {fds: [2]int{0, 1}, size: [2]int{0, u64Size}, handle: (*Session).accept},
	RequestGetInflightFD: {
		size: [2]int{inflightSize, inflightMaxSize}, needs: ProtocolInflightShmfd, reply: true, handle: (*Session).getInflightFD,
	},
	RequestSetInflightFD: {
		fds: exactly(1), size: [2]int{inflightSize, inflightMaxSize}, needs: ProtocolInflightShmfd, handle: (*Session).setInflightFD,
	},

	RequestPostcopyAdvise:   {size: anySize, needs: ProtocolPagefault, reply: true},
	RequestPostcopyEnd:      {size: anySize, needs: ProtocolPagefault, reply: true},
	RequestIOTLBMsg:         {size: anySize, needs: unofferable, reply: true}, // wants ACCESS_PLATFORM
	RequestGetStatus:        {size: anySize, needs: ProtocolStatus, reply: true},
	RequestGetSharedObject:  {size: anySize, needs: ProtocolSharedObject, reply: true},
	RequestSetDeviceStateFD: {fds: [2]int{0, 1}, size: anySize, needs: ProtocolDeviceState, reply: true},
	RequestCheckDeviceState: {size: anySize, needs: ProtocolDeviceState, reply: true},
	RequestGetShmemConfig:   {size: anySize, needs: ProtocolShmemMap, reply: true},
}

// unofferable stands for a virtio feature that we lack: a protocol feature bit that will not be assigned.
const unofferable ProtocolFeatures = 1 << 63

func exactly(n int) [2]int { return [2]int{n, n} }
