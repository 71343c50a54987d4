module hirewire.dev/e2e

go 1.26.0

require (
	hirewire.dev/bank-svc v0.0.0
	hirewire.dev/employee-svc v0.0.0
	hirewire.dev/hirewire v0.0.0
	hirewire.dev/notifier v0.0.0
	hirewire.dev/platform v0.0.0
	hirewire.dev/proto v0.0.0
	hirewire.dev/webhook v0.0.0
)

require (
	github.com/lib/pq v1.12.3 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261019180522-ce908d29299b // indirect
	google.golang.org/grpc v1.85.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace hirewire.dev/proto => ../proto

replace hirewire.dev/platform => ../platform

replace hirewire.dev/webhook => ../webhook

replace hirewire.dev/employee-svc => ../employee-svc

replace hirewire.dev/notifier => ../notifier

replace hirewire.dev/bank-svc => ../bank-svc

replace hirewire.dev/hirewire => ../hirewire
