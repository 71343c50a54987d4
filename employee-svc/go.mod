module hirewire.dev/employee-svc

go 1.26.0

require (
	hirewire.dev/platform v0.0.0
	hirewire.dev/proto v0.0.0
)

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/lib/pq v1.12.3 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace hirewire.dev/proto => ../proto

replace hirewire.dev/platform => ../platform
