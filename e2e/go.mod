module hirewire.dev/e2e

go 1.26
