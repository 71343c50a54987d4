package stack

import (
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"hirewire.dev/platform/serve"
	bankv1 "hirewire.dev/proto/bank/v1"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Clients are connections to every service of a stack, with the keys that may do most.
type Clients struct {
	Employees     employeev1.EmployeeServiceClient
	Events        notifierv1.EventServiceClient
	Deliveries    notifierv1.DeliveryServiceClient
	Subscriptions notifierv1.SubscriptionServiceClient
	Banks         []Bank

	conns []*grpc.ClientConn
}

// Bank is one bank's name and API.
type Bank struct {
	Name           string
	SubscriptionID string
	API            bankv1.BankServiceClient
}

// Dial connects to every service that d describes. Connections are made when they are first used.
func (d *Description) Dial() (*Clients, error) {
	c := &Clients{}
	employee, err := c.dial(d, d.Employee.GRPC, d.Employee.WriterKey)
	if err != nil {
		return nil, err
	}
	notifier, err := c.dial(d, d.Notifier.GRPC, d.Notifier.AdminKey)
	if err != nil {
		return nil, err
	}
	c.Employees = employeev1.NewEmployeeServiceClient(employee)
	c.Events = notifierv1.NewEventServiceClient(notifier)
	c.Deliveries = notifierv1.NewDeliveryServiceClient(notifier)
	c.Subscriptions = notifierv1.NewSubscriptionServiceClient(notifier)
	for _, b := range d.Banks {
		conn, err := c.dial(d, b.GRPC, b.Key)
		if err != nil {
			return nil, err
		}
		c.Banks = append(c.Banks, Bank{Name: b.Name, SubscriptionID: b.SubscriptionID, API: bankv1.NewBankServiceClient(conn)})
	}
	return c, nil
}

func (c *Clients) dial(d *Description, addr, key string) (*grpc.ClientConn, error) {
	cfg := serve.ClientConfig{Addr: addr, Key: key, Plaintext: !d.GRPCTLS}
	if d.GRPCTLS {
		cfg.CAFile = d.CAFile
	}
	conn, err := serve.DialGRPC(cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the stack: %w", err), c.Close())
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

// Close closes the connections.
func (c *Clients) Close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}
