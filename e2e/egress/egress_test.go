//go:build linux

// Package egress_test shows that the notifier sends nothing to where it must not: it runs in a network namespace in which
// every address leads to loopback, where each packet is seen, and where names answer what the test says.
package egress_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hirewire.dev/e2e/programs"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	programs.Remove()
	os.Exit(code)
}

// insideEnv says to the test's own program that it runs in the namespace.
const insideEnv = "HIREWIRE_INSIDE_NAMESPACE"

// The namespace has no interface but loopback and no route that leads out. All addresses are its own, so what escapes the
// guard reaches the recorder, and nothing else.
func TestNothingLeavesForRefusedAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		sqldbtest.LeaveOut(t, "the egress guard in a network namespace: it needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		sqldbtest.LeaveOut(t, "the egress guard in a network namespace: it needs the program ip")
	}
	name := fmt.Sprintf("hirewire-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		sqldbtest.LeaveOut(t, fmt.Sprintf("the egress guard in a network namespace, which cannot be made here: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
			t.Errorf("delete the namespace: %v: %s", err, out)
		}
	})
	for _, args := range []string{
		"link set lo up",
		"addr add " + publicV4 + "/32 dev lo", "-6 addr add " + publicV6 + "/128 dev lo",
		"route add local 0.0.0.0/0 dev lo table local", "-6 route add local ::/0 dev lo table local",
	} {
		if out, err := exec.Command("ip", append([]string{"-n", name}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			sqldbtest.LeaveOut(t, fmt.Sprintf("the egress guard in a network namespace: ip %s: %v: %s", args, err, out))
		}
	}
	dir := filepath.Join("/etc/netns", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir); os.Remove("/etc/netns") }) // the parent goes if it is empty
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver 127.0.0.1\noptions timeout:5 attempts:2\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := exec.CommandContext(t.Context(), "ip", "netns", "exec", name, self, "-test.run=^TestInside$", "-test.v", "-test.timeout=3m")
	inside.Env = append(os.Environ(), insideEnv+"="+name, programs.Env+"="+programs.Dir(t))
	out, err := inside.CombinedOutput()
	t.Logf("in the namespace:\n%s", out)
	if err != nil {
		t.Errorf("in the namespace: %v", err)
	}
}
