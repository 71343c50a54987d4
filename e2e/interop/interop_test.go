// Package interop_test proves the webhook contract with software from outside: the public Standard Webhooks library for
// JavaScript verifies what we send and signs what we receive.
package interop_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb/sqldbtest"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

func TestMain(m *testing.M) {
	code := m.Run()
	programs.Remove()
	os.Exit(code)
}

var install = sync.OnceValue(func() error {
	out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

func needNode(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			sqldbtest.LeaveOut(t, "the JavaScript library: there is no "+program)
		}
	}
	if err := install(); err != nil {
		t.Fatal(err)
	}
}

// message is one line for the scripts.
type message struct {
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"`
	Signature string `json:"signature,omitempty"`
	Secret    string `json:"secret"`
	Body      string `json:"body"` // base64
}

const messages = 10_000

// randomMessages have bodies of random UTF-8, as JSON strings, since the library parses what it verified.
func randomMessages(t *testing.T) (all []message, secrets []webhook.Secret, bodies [][]byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now().Unix()
	for range messages {
		text := make([]rune, random.IntN(300))
		for i := range text {
			text[i] = rune(random.IntN(0x2FFFF))
		}
		body, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		secret := webhook.NewSecret()
		secrets, bodies = append(secrets, secret), append(bodies, body)
		all = append(all, message{
			ID: id.New("evt"), Timestamp: fmt.Sprint(now - int64(random.IntN(100))), Secret: secret.Reveal(), Body: base64.StdEncoding.EncodeToString(body),
		})
	}
	return all, secrets, bodies
}

// script runs one with a message a line, and returns its lines.
func script(t *testing.T, name string, all []message) []string {
	t.Helper()
	var in bytes.Buffer
	lines := json.NewEncoder(&in)
	for _, m := range all {
		if err := lines.Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", name)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v", name, err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(all) {
		t.Fatalf("node %s: %d answers to %d messages", name, len(got), len(all))
	}
	return got
}

func TestJavaScriptVerifiesWhatWeSign(t *testing.T) {
	needNode(t)
	all, secrets, bodies := randomMessages(t)
	for i := range all {
		signer, err := webhook.NewSigner(secrets[i])
		if err != nil {
			t.Fatal(err)
		}
		all[i].Signature = signer.Sign(all[i].ID, unix(t, all[i].Timestamp), bodies[i])
	}
	all[0].Signature = all[1].Signature // the check itself must be able to fail
	for i, answer := range script(t, "verify.mjs", all) {
		if (answer == "ok") != (i > 0) {
			t.Fatalf("message %d: %s", i, answer)
		}
	}
}

func TestWeVerifyWhatJavaScriptSigns(t *testing.T) {
	needNode(t)
	all, secrets, bodies := randomMessages(t)
	for i, signature := range script(t, "sign.mjs", all) {
		header := http.Header{"Webhook-Id": {all[i].ID}, "Webhook-Timestamp": {all[i].Timestamp}, "Webhook-Signature": {signature}}
		if _, err := (&webhook.Verifier{Secrets: secrets[i : i+1]}).Verify(header, bodies[i]); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func TestNotifierDeliversToAReceiverInJavaScript(t *testing.T) {
	needNode(t)
	dir := t.TempDir()
	s := programs.Start(t, stack.Config{Dir: dir})
	secret := webhook.NewSecret()
	cmd := exec.CommandContext(t.Context(), "node", "receiver.mjs", filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), secret.Reveal())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the receiver does not start")
	}
	port := lines.Text()

	subscription, err := s.Clients.Subscriptions.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{
		Name: "javascript", Url: "https://127.0.0.1:" + port + "/", Secret: secret.Reveal(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); subscription.GetStatus() != notifierv1.Subscription_ACTIVE; time.Sleep(20 * time.Millisecond) {
		if subscription, err = s.Clients.Subscriptions.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: subscription.GetId()}); err != nil || time.Now().After(end) {
			t.Fatalf("subscription %v: %v", subscription, err)
		}
	}
	data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": id.New("emp"), "employee_number": "J1", "given_name": "さくら", "family_name": "O’Neil \u2028 </script>", "email": "j@example.com",
		"hire_date": "2026-01-05", "country": "JP", "currency": "JPY", "status": "ACTIVE", "version": 1,
		"job_title": "", "department": "", "created_at": "2026-11-20T09:00:00Z", "updated_at": "2026-11-20T09:00:00Z",
	}})
	if err != nil {
		t.Fatal(err)
	}
	event := &notifierv1.Event{Id: id.New("evt"), Type: "employee.created", Timestamp: timestamppb.Now(), Data: data}
	if _, err := s.Clients.Events.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{event}}); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "verified "+event.GetId() {
		t.Errorf("the receiver says %q, want %q", lines.Text(), "verified "+event.GetId())
	}
}

func TestBankTakesWhatJavaScriptSigns(t *testing.T) {
	needNode(t)
	s := programs.Start(t, stack.Config{Banks: 1})
	bank := s.Description.Banks[0]
	eventID := id.New("evt")
	body := fmt.Sprintf(`{"id":%q,"type":"webhook.test","timestamp":%q,"data":{}}`, eventID, time.Now().UTC().Format(time.RFC3339))
	m := message{ID: eventID, Timestamp: fmt.Sprint(time.Now().Unix()), Secret: bank.WebhookSecret, Body: base64.StdEncoding.EncodeToString([]byte(body))}
	for signature, want := range map[string]int{script(t, "sign.mjs", []message{m})[0]: 200, "v1,AAAA": 401} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, bank.URL+"/webhooks/employees", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{
			"Content-Type": {"application/json"}, "Webhook-Id": {m.ID}, "Webhook-Timestamp": {m.Timestamp}, "Webhook-Signature": {signature},
		}
		response, err := programs.HTTPClient(t, s.Description.CAFile).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode/100 != want/100 {
			t.Errorf("answer %s, want %d", response.Status, want)
		}
	}
}

func unix(t *testing.T, seconds string) time.Time {
	t.Helper()
	var n int64
	if _, err := fmt.Sscan(seconds, &n); err != nil {
		t.Fatal(err)
	}
	return time.Unix(n, 0)
}
