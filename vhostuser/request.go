package vhostuser

import "fmt"

// Request is the id of a message from the front-end (vhost-user, "Front-end message types").
type Request uint32

// The messages of QEMU 11.1.3. Those that a block back-end has no use for are named for the log.
const (
	RequestGetFeatures         Request = 1  // VHOST_USER_GET_FEATURES
	RequestSetFeatures         Request = 2  // VHOST_USER_SET_FEATURES
	RequestSetOwner            Request = 3  // VHOST_USER_SET_OWNER
	RequestResetOwner          Request = 4  // VHOST_USER_RESET_OWNER
	RequestSetMemTable         Request = 5  // VHOST_USER_SET_MEM_TABLE
	RequestSetLogBase          Request = 6  // VHOST_USER_SET_LOG_BASE
	RequestSetLogFD            Request = 7  // VHOST_USER_SET_LOG_FD
	RequestSetVringNum         Request = 8  // VHOST_USER_SET_VRING_NUM
	RequestSetVringAddr        Request = 9  // VHOST_USER_SET_VRING_ADDR
	RequestSetVringBase        Request = 10 // VHOST_USER_SET_VRING_BASE
	RequestGetVringBase        Request = 11 // VHOST_USER_GET_VRING_BASE
	RequestSetVringKick        Request = 12 // VHOST_USER_SET_VRING_KICK
	RequestSetVringCall        Request = 13 // VHOST_USER_SET_VRING_CALL
	RequestSetVringErr         Request = 14 // VHOST_USER_SET_VRING_ERR
	RequestGetProtocolFeatures Request = 15 // VHOST_USER_GET_PROTOCOL_FEATURES
	RequestSetProtocolFeatures Request = 16 // VHOST_USER_SET_PROTOCOL_FEATURES
	RequestGetQueueNum         Request = 17 // VHOST_USER_GET_QUEUE_NUM
	RequestSetVringEnable      Request = 18 // VHOST_USER_SET_VRING_ENABLE
	RequestSendRARP            Request = 19 // VHOST_USER_SEND_RARP
	RequestNetSetMTU           Request = 20 // VHOST_USER_NET_SET_MTU
	RequestSetBackendReqFD     Request = 21 // VHOST_USER_SET_BACKEND_REQ_FD
	RequestIOTLBMsg            Request = 22 // VHOST_USER_IOTLB_MSG
	RequestSetVringEndian      Request = 23 // VHOST_USER_SET_VRING_ENDIAN
	RequestGetConfig           Request = 24 // VHOST_USER_GET_CONFIG
	RequestSetConfig           Request = 25 // VHOST_USER_SET_CONFIG
	RequestCreateCryptoSession Request = 26 // VHOST_USER_CREATE_CRYPTO_SESSION
	RequestCloseCryptoSession  Request = 27 // VHOST_USER_CLOSE_CRYPTO_SESSION
	RequestPostcopyAdvise      Request = 28 // VHOST_USER_POSTCOPY_ADVISE
	RequestPostcopyListen      Request = 29 // VHOST_USER_POSTCOPY_LISTEN
	RequestPostcopyEnd         Request = 30 // VHOST_USER_POSTCOPY_END
	RequestGetInflightFD       Request = 31 // VHOST_USER_GET_INFLIGHT_FD
	RequestSetInflightFD       Request = 32 // VHOST_USER_SET_INFLIGHT_FD
	RequestGPUSetSocket        Request = 33 // VHOST_USER_GPU_SET_SOCKET
	RequestResetDevice         Request = 34 // VHOST_USER_RESET_DEVICE
	RequestVringKick           Request = 35 // VHOST_USER_VRING_KICK
	RequestGetMaxMemSlots      Request = 36 // VHOST_USER_GET_MAX_MEM_SLOTS
	RequestAddMemReg           Request = 37 // VHOST_USER_ADD_MEM_REG
	RequestRemMemReg           Request = 38 // VHOST_USER_REM_MEM_REG
	RequestSetStatus           Request = 39 // VHOST_USER_SET_STATUS
	RequestGetStatus           Request = 40 // VHOST_USER_GET_STATUS
	RequestGetSharedObject     Request = 41 // VHOST_USER_GET_SHARED_OBJECT
	RequestSetDeviceStateFD    Request = 42 // VHOST_USER_SET_DEVICE_STATE_FD
	RequestCheckDeviceState    Request = 43 // VHOST_USER_CHECK_DEVICE_STATE
	RequestGetShmemConfig      Request = 44 // VHOST_USER_GET_SHMEM_CONFIG
)

var requestNames = [...]string{
	RequestGetFeatures: "GET_FEATURES", RequestSetFeatures: "SET_FEATURES",
	RequestSetOwner: "SET_OWNER", RequestResetOwner: "RESET_OWNER",
	RequestSetMemTable: "SET_MEM_TABLE", RequestSetLogBase: "SET_LOG_BASE", RequestSetLogFD: "SET_LOG_FD",
	RequestSetVringNum: "SET_VRING_NUM", RequestSetVringAddr: "SET_VRING_ADDR",
	RequestSetVringBase: "SET_VRING_BASE", RequestGetVringBase: "GET_VRING_BASE",
	RequestSetVringKick: "SET_VRING_KICK", RequestSetVringCall: "SET_VRING_CALL", RequestSetVringErr: "SET_VRING_ERR",
	RequestGetProtocolFeatures: "GET_PROTOCOL_FEATURES", RequestSetProtocolFeatures: "SET_PROTOCOL_FEATURES",
	RequestGetQueueNum: "GET_QUEUE_NUM", RequestSetVringEnable: "SET_VRING_ENABLE",
	RequestSendRARP: "SEND_RARP", RequestNetSetMTU: "NET_SET_MTU",
	RequestSetBackendReqFD: "SET_BACKEND_REQ_FD", RequestIOTLBMsg: "IOTLB_MSG",
	RequestSetVringEndian: "SET_VRING_ENDIAN", RequestGetConfig: "GET_CONFIG", RequestSetConfig: "SET_CONFIG",
	RequestCreateCryptoSession: "CREATE_CRYPTO_SESSION", RequestCloseCryptoSession: "CLOSE_CRYPTO_SESSION",
	RequestPostcopyAdvise: "POSTCOPY_ADVISE", RequestPostcopyListen: "POSTCOPY_LISTEN",
	RequestPostcopyEnd: "POSTCOPY_END", RequestGetInflightFD: "GET_INFLIGHT_FD",
	RequestSetInflightFD: "SET_INFLIGHT_FD", RequestGPUSetSocket: "GPU_SET_SOCKET",
	RequestResetDevice: "RESET_DEVICE", RequestVringKick: "VRING_KICK",
	RequestGetMaxMemSlots: "GET_MAX_MEM_SLOTS", RequestAddMemReg: "ADD_MEM_REG", RequestRemMemReg: "REM_MEM_REG",
	RequestSetStatus: "SET_STATUS", RequestGetStatus: "GET_STATUS",
	RequestGetSharedObject: "GET_SHARED_OBJECT", RequestSetDeviceStateFD: "SET_DEVICE_STATE_FD",
	RequestCheckDeviceState: "CHECK_DEVICE_STATE", RequestGetShmemConfig: "GET_SHMEM_CONFIG",
}

// String returns the name in the specification, without its prefix.
func (r Request) String() string {
	if uint64(r) < uint64(len(requestNames)) && requestNames[r] != "" {
		return requestNames[r]
	}
	return fmt.Sprintf("UNKNOWN(%d)", uint32(r))
}
