module hirewire.dev/bank-svc

go 1.26

require (
	hirewire.dev/platform v0.0.0
	hirewire.dev/proto v0.0.0
	hirewire.dev/webhook v0.0.0
)

replace hirewire.dev/proto => ../proto

replace hirewire.dev/platform => ../platform

replace hirewire.dev/webhook => ../webhook
