module hirewire.dev/notifier

go 1.26
