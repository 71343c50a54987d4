module hirewire.dev/bank-svc

go 1.26.0

require (
	hirewire.dev/platform v0.0.0
	hirewire.dev/proto v0.0.0
	hirewire.dev/webhook v0.0.0
)

require pgregory.net/rapid v1.3.0 // indirect

replace hirewire.dev/proto => ../proto

replace hirewire.dev/platform => ../platform

replace hirewire.dev/webhook => ../webhook
