module hirewire.dev/hirewire

go 1.26
