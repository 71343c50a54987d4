package notifier_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// listening is a developer's end of a stream.
type listening struct {
	stream grpc.BidiStreamingClient[notifierv1.ListenRequest, notifierv1.ListenResponse]
	opened *notifierv1.ListenResponse_Opened
	got    chan *notifierv1.ListenResponse_Request
	err    chan error
	stop   context.CancelFunc
}

func (c *client) listen(t *testing.T, open *notifierv1.ListenRequest_Open) (*listening, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := c.Listen(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&notifierv1.ListenRequest{Message: &notifierv1.ListenRequest_Open_{Open: open}}); err != nil {
		return nil, err
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	l := &listening{stream, m.GetOpened(), make(chan *notifierv1.ListenResponse_Request, 100), make(chan error, 1), cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := stream.Recv()
			if err != nil {
				l.err <- err
				return
			}
			l.got <- m.GetRequest()
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return l, nil
}

func (l *listening) next(t *testing.T) *notifierv1.ListenResponse_Request {
	t.Helper()
	select {
	case r := <-l.got:
		return r
	case err := <-l.err:
		t.Fatal(err)
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
	}
	return nil
}

func (l *listening) ack(t *testing.T, delivery string, code int32) {
	t.Helper()
	if err := l.stream.Send(&notifierv1.ListenRequest{Message: &notifierv1.ListenRequest_Ack_{Ack: &notifierv1.ListenRequest_Ack{DeliveryId: delivery, StatusCode: code}}}); err != nil {
		t.Fatal(err)
	}
}

// A developer without a URL gets what a receiver would get: signed, in order for each employee, again after a failure.
func TestListen(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		cfg.RetrySchedule = []time.Duration{0, 100 * time.Millisecond, 100 * time.Millisecond}
		n := start(t, cfg)
		pub, own := n.as(t, "publisher"), n.as(t, "bank-a")
		pub.publish(t, fact(t, "emp_0", 1, nil)) // before it listens
		l, err := own.listen(t, &notifierv1.ListenRequest_Open{EventTypes: []string{"employee.*"}, Filter: `event.data.employee.country == "DE"`, Name: "my laptop"})
		if err != nil {
			t.Fatal(err)
		}
		secret, err := webhook.ParseSecret(l.opened.GetSecret())
		if err != nil || l.opened.GetSubscriptionId() == "" {
			t.Fatalf("%v, %v", l.opened, err)
		}
		verifier := webhook.Verifier{Secrets: []webhook.Secret{secret}}
		first, second, elsewhere := fact(t, "emp_1", 1, nil), fact(t, "emp_1", 2, nil), fact(t, "emp_2", 1, set("employee.country", "FR"))
		pub.publish(t, first, second, elsewhere)

		r := l.next(t)
		header := http.Header{}
		for k, v := range r.GetHeaders() {
			header.Set(k, v)
		}
		if _, err := verifier.Verify(header, r.GetBody()); err != nil {
			t.Errorf("%v: %v", r, err)
		}
		e, err := webhook.ParseEvent(r.GetBody())
		if err != nil || e.ID != first.GetId() || header.Get("Webhook-Id") != first.GetId() || r.GetAttempt() != 1 || header.Get("Content-Type") != "application/json" {
			t.Errorf("%v, %v", r, err)
		}
		select {
		case r := <-l.got:
			t.Errorf("the second came before the first was done with: %v", r)
		case <-time.After(300 * time.Millisecond):
		}
		l.ack(t, r.GetDeliveryId(), 500)
		again := l.next(t)
		if again.GetDeliveryId() != r.GetDeliveryId() || again.GetAttempt() != 2 || string(again.GetBody()) != string(r.GetBody()) {
			t.Errorf("%v", again)
		}
		l.ack(t, "dlv_of_something_else", 200)
		l.ack(t, again.GetDeliveryId(), 204)
		r = l.next(t)
		if e, err := webhook.ParseEvent(r.GetBody()); err != nil || e.ID != second.GetId() {
			t.Errorf("%v, %v", r, err)
		}
		l.ack(t, r.GetDeliveryId(), 410)
		select {
		case err := <-l.err:
			wantCode(t, "after 410", err, codes.FailedPrecondition)
		case r := <-l.got:
			t.Errorf("after 410: %v", r)
		case <-time.After(5 * time.Second):
			t.Error("410 changed nothing")
		}
	})
}

func TestListenRefuses(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	own := n.as(t, "bank-a")
	for name, tt := range map[string]struct {
		open  *notifierv1.ListenRequest_Open
		field string
	}{
		"unknown type":        {&notifierv1.ListenRequest_Open{EventTypes: []string{"x.y"}}, "open.event_types[0]"},
		"broken filter":       {&notifierv1.ListenRequest_Open{Filter: "event.nothing == 1"}, "open.filter"},
		"control in the name": {&notifierv1.ListenRequest_Open{Name: "a\nb"}, "open.name"},
		"short secret":        {&notifierv1.ListenRequest_Open{Secret: "whsec_" + b64(23)}, "open.secret"},
	} {
		_, err := own.listen(t, tt.open)
		wantCode(t, name, err, codes.InvalidArgument)
		if fieldOf(err) != tt.field {
			t.Errorf("%s: field %q", name, fieldOf(err))
		}
	}
	stream, err := own.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&notifierv1.ListenRequest{Message: &notifierv1.ListenRequest_Ack_{Ack: &notifierv1.ListenRequest_Ack{}}}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantCode(t, "an acknowledgement first", err, codes.InvalidArgument)
	for _, role := range []string{"viewer", "publisher"} {
		_, err := n.as(t, role).listen(t, &notifierv1.ListenRequest_Open{})
		wantCode(t, role, err, codes.PermissionDenied)
	}
	// The secret may be the developer's own, and a client that hangs up leaves nothing behind.
	own.subscribe(t, newBank(t), nil)
	l, err := own.listen(t, &notifierv1.ListenRequest_Open{Secret: "whsec_" + b64(32)})
	if err != nil || l.opened.GetSecret() != "whsec_"+b64(32) {
		t.Fatal(l, err)
	}
	if err := l.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.err:
	case <-time.After(5 * time.Second):
		t.Error("the stream goes on")
	}
}
