module hirewire.dev/bank-svc

go 1.26
