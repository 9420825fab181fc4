package workflowstate_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

// shared is the service of all tests that need no other.
var shared *service

func TestMain(m *testing.M) {
	var err error
	if shared, err = startService(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	shared.end(syscall.SIGTERM)
	os.Exit(status)
}

// A service is the service itself, from the checkout, as a process.
type service struct {
	url     string
	process *exec.Cmd
	once    sync.Once
}

func checkout() string {
	folder, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return folder
}

func node(args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(checkout(), "node_modules", ".bin", "node"), args...)
	command.Dir = checkout()
	return command
}

func startService(options ...string) (*service, error) {
	return startServiceAt("127.0.0.1:0", options...)
}

func startServiceAt(listen string, options ...string) (*service, error) {
	args := []string{"src/cli.ts", "serve", "--listen", listen, "--drain-timeout", "1s"}
	command := node(append(args, options...)...)
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	url, listening := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !listening {
		return nil, fmt.Errorf("the service said %q: %w", line, err)
	}
	return &service{url: url, process: command}, nil
}

// end ends the service by a signal.
func (s *service) end(how syscall.Signal) {
	s.once.Do(func() {
		_ = s.process.Process.Signal(how)
		_ = s.process.Wait()
	})
}

func (s *service) address() string {
	return s.url[strings.Index(s.url, "//")+2:]
}

// running gives a service of the test's own.
func running(t *testing.T, options ...string) *service {
	t.Helper()
	started, err := startService(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { started.end(syscall.SIGTERM) })
	return started
}

// configured gives a service with settings of the test's own.
func configured(t *testing.T, config map[string]any) *service {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return running(t, "--config", file)
}

func connect(t *testing.T, url string, options ...workflowstate.Option) *workflowstate.Client {
	t.Helper()
	client, err := workflowstate.New(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

var protocols = map[string]workflowstate.Protocol{
	"grpc":     workflowstate.ProtocolGRPC,
	"connect":  workflowstate.ProtocolConnect,
	"grpc-web": workflowstate.ProtocolGRPCWeb,
}

// eachProtocol runs a test over each protocol.
func eachProtocol(t *testing.T, test func(t *testing.T, client *workflowstate.Client)) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, connect(t, shared.url, workflowstate.WithProtocol(protocol)))
		})
	}
}

var sessions atomic.Int64

// newSession gives the id of a session that no other test has.
func newSession(t *testing.T) string {
	return fmt.Sprintf("%s-%d", t.Name(), sessions.Add(1))
}

func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails checks the reason of an error, and gives it.
func fails(t *testing.T, err error, reason workflowstate.Reason) *workflowstate.Error {
	t.Helper()
	failure, ok := err.(*workflowstate.Error)
	if !ok {
		t.Fatalf("failed with %v, not with %s", err, reason)
	}
	if failure.Reason != reason {
		t.Fatalf("failed with %v, not with %s", failure, reason)
	}
	return failure
}

// until waits for something to come true, but not for ever.
func until(condition func() bool) {
	for end := time.Now().Add(20 * time.Second); !condition() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func equal[T comparable](t *testing.T, got, expected T) {
	t.Helper()
	if got != expected {
		t.Fatalf("got %v, not %v", got, expected)
	}
}

// A proxy is a TCP proxy before a service that loses connections and answers when it is told to.
type proxy struct {
	url      string
	upstream string
	listener net.Listener
	// Turns new connections away.
	refusing atomic.Bool
	// Takes in what is sent, and passes nothing on.
	blackHole atomic.Bool
	// How many calls it has taken in so.
	swallowed atomic.Int64
	// Cuts the connection in place of passing an answer on, so often.
	loseAnswers atomic.Int64
	// How many connections were made.
	connections atomic.Int64
	mutex       sync.Mutex
	open        map[net.Conn]bool
}

func proxied(t *testing.T, upstream string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		url:      "http://" + listener.Addr().String(),
		upstream: upstream,
		listener: listener,
		open:     map[net.Conn]bool{},
	}
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if p.refusing.Load() {
				_ = conn.Close()
				continue
			}
			p.serve(conn)
			// Of those that can be cut.
			p.connections.Add(1)
		}
	}()
	return p
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
	clear(p.open)
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mutex.Lock()
	p.open[client], p.open[server] = true, true
	p.mutex.Unlock()
	go p.pass(server, client, false)
	go p.pass(client, server, true)
}

func (p *proxy) pass(to, from net.Conn, answers bool) {
	defer func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		for _, conn := range []net.Conn{to, from} {
			_ = conn.Close()
			delete(p.open, conn)
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		count, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.blackHole.Load() {
			if !answers && hasHeaders(buffer[:count]) {
				p.swallowed.Add(1)
			}
			continue
		}
		if answers && p.loseAnswers.Load() > 0 && hasHeaders(buffer[:count]) && p.loseAnswers.Add(-1) >= 0 {
			return
		}
		if _, err := to.Write(buffer[:count]); err != nil {
			return
		}
	}
}

// hasHeaders says whether HTTP/2 bytes, which begin with a frame, have a HEADERS frame among them: a call, or the
// answer to it.
func hasHeaders(data []byte) bool {
	for at := 0; at+9 <= len(data); {
		if data[at+3] == 1 {
			return true
		}
		at += 9 + (int(data[at])<<16 | int(data[at+1])<<8 | int(data[at+2]))
	}
	return false
}
