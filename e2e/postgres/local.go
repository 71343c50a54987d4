package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// findBinaries returns the folder that holds initdb and postgres, or "".
func findBinaries() string {
	var folders []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"} {
		found, _ := filepath.Glob(pattern)
		slices.Reverse(found) // the newest first
		folders = append(folders, found...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	for _, folder := range folders {
		if executable(filepath.Join(folder, "initdb")) && executable(filepath.Join(folder, "postgres")) {
			return folder
		}
	}
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// startLocal runs a cluster of its own from the binaries in bin, as another user when this one is root, whom PostgreSQL refuses.
func startLocal(ctx context.Context, bin string, opts Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "hirewire-pg-")
	if err != nil {
		return nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	attr, err := unprivileged(dir)
	if err != nil {
		remove()
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "hirewire", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		remove()
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := freePort()
	if err != nil {
		remove()
		return nil, err
	}
	args := []string{"-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(port), "-c", "unix_socket_directories="}
	for _, s := range settings(opts) {
		args = append(args, "-c", s)
	}
	server := &Server{
		DSN:    fmt.Sprintf("postgres://hirewire@127.0.0.1:%d/postgres?sslmode=disable", port),
		Source: "a throw-away PostgreSQL from " + bin,
		host:   &local{program: filepath.Join(bin, "postgres"), args: args, dir: dir, attr: attr},
	}
	if err := server.Revive(ctx); err != nil {
		server.Stop()
		return nil, err
	}
	return server, nil
}

// local is a host on this machine.
type local struct {
	program string
	args    []string
	dir     string
	attr    *syscall.SysProcAttr
	log     lockedBuffer

	mu         sync.Mutex
	postmaster *os.Process
	ended      chan struct{}
}

func (l *local) start() (func() error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cmd := exec.Command(l.program, l.args...)
	cmd.Dir, cmd.SysProcAttr = l.dir, l.attr
	cmd.Stdout, cmd.Stderr = &l.log, &l.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	l.postmaster, l.ended = cmd.Process, ended
	return func() error {
		select {
		case <-ended:
			return fmt.Errorf("PostgreSQL ended:\n%s", l.log.String())
		default:
			return nil
		}
	}, nil
}

func (l *local) halt(atOnce bool) error {
	signal := syscall.SIGINT
	if atOnce {
		signal = syscall.SIGQUIT
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.postmaster == nil {
		return nil
	}
	_ = l.postmaster.Signal(signal)
	select {
	case <-l.ended:
		return nil
	case <-time.After(10 * time.Second):
		_ = l.postmaster.Kill()
		<-l.ended
		return fmt.Errorf("PostgreSQL does not end on %s:\n%s", signal, l.log.String())
	}
}

// freeze stops the postmaster first, so that it starts nothing more, and lets it go on last.
func (l *local) freeze(frozen bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.postmaster == nil {
		return nil
	}
	if !frozen {
		children, err := childrenOf(l.postmaster.Pid)
		for _, pid := range children {
			err = errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
		}
		return errors.Join(err, l.postmaster.Signal(syscall.SIGCONT))
	}
	if err := l.postmaster.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	children, err := childrenOf(l.postmaster.Pid)
	for _, pid := range children {
		if gone := syscall.Kill(pid, syscall.SIGSTOP); gone != nil && !errors.Is(gone, syscall.ESRCH) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

func childrenOf(parent int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var children []int
	for line := range strings.Lines(string(out)) {
		var pid, ppid int
		if n, _ := fmt.Sscan(line, &pid, &ppid); n == 2 && ppid == parent {
			children = append(children, pid)
		}
	}
	return children, nil
}

func (l *local) remove() {
	_ = l.freeze(false) // what is stopped does not end
	_ = l.halt(true)    // immediate: its data are thrown away
	os.RemoveAll(l.dir)
}

// unprivileged gives dir to a user whom PostgreSQL accepts, and says how to run as that user.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C in the terminal is for us, not for the server
	if os.Geteuid() != 0 {
		return attr, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return attr, os.Chown(dir, int(uid), int(gid))
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// lockedBuffer keeps the server's last words, and no more than that.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 64<<10 {
		b.buf.Reset()
	}
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
