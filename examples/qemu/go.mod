// A module of its own, as yours is: what it uses of vublk is the API, and nothing else.
module example.com/qemu

go 1.26.0

replace github.com/vublk/vublk => ../..

require (
	github.com/containerd/ttrpc v1.2.10
	github.com/pkg/errors v0.9.1
	github.com/vublk/vublk v0.0.0-00010101000000-000000000000
	google.golang.org/grpc v1.81.1
)

require (
	github.com/containerd/log v0.1.0 // indirect
	github.com/sirupsen/logrus v1.9.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
