module hirewire.dev/employee-svc

go 1.26
