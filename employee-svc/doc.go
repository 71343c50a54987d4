// Package employeesvc is the employee service: it keeps employees, and tells the notifier of every change.
//
//	var cfg employeesvc.Config
//	err := settings.Parse(&cfg, os.Args[1:])
//	service, err := employeesvc.New(ctx, cfg, log) // bound, migrated
//	err = service.Run(ctx)
//
// An employee and the event that tells of a change are stored in one transaction. The relay then publishes the event; while
// the notifier is away, events wait and calls go on.
package employeesvc
