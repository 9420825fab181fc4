package workflowstate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	connectrpc "connectrpc.com/connect"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

func TestWhatAClientCantBeToldIsRefusedWithItsField(t *testing.T) {
	certificate := newAuthority(t).issue(t, "server")
	good, secure := "http://127.0.0.1:7410", "https://127.0.0.1:7410"
	for name, refused := range map[string]struct {
		url    string
		option workflowstate.Option
		field  string
	}{
		"no URL":             {"", nil, "url"},
		"no scheme":          {"127.0.0.1:7410", nil, "url"},
		"another scheme":     {"grpc://127.0.0.1:7410", nil, "url"},
		"no host":            {"http://:7410", nil, "url"},
		"a password":         {"http://user:hunter2@127.0.0.1", nil, "url"},
		"a path":             {"http://127.0.0.1/hunter2", nil, "url"},
		"a query":            {"http://127.0.0.1?hunter2", nil, "url"},
		"nonsense":           {"http://[hunter2", nil, "url"},
		"no time":            {good, workflowstate.WithTimeout(0), "timeout"},
		"no silence":         {good, workflowstate.WithSilence(-1), "silence"},
		"negative attempts":  {good, workflowstate.WithRetry(workflowstate.Retry{Attempts: -1}), "retry"},
		"an empty token":     {good, workflowstate.WithToken(""), "token"},
		"a token with space": {good, workflowstate.WithToken("hunter2 hunter2"), "token"},
		"no token function":  {good, workflowstate.WithTokenFunc(nil), "token"},
		"a reserved header":  {good, workflowstate.WithHeader("Grpc-Timeout", "hunter2"), "header"},
		"an odd header":      {good, workflowstate.WithHeader("a b", "hunter2"), "header"},
		"an odd value":       {good, workflowstate.WithHeader("a", "hunter2\n"), "header"},
		"no certificate":     {secure, workflowstate.WithRootCertificates([]byte("hunter2")), "root_certificates"},
		"no pair":            {secure, workflowstate.WithClientCertificate(nil, nil), "client_certificate"},
		"http with TLS":      {good, workflowstate.WithClientCertificate(certificate.cert, certificate.key), "url"},
		"another protocol":   {good, workflowstate.WithProtocol(7), "protocol"},
		"no HTTP client":     {good, workflowstate.WithHTTPClient(nil), "http_client"},
	} {
		t.Run(name, func(t *testing.T) {
			var options []workflowstate.Option
			if refused.option != nil {
				options = append(options, refused.option)
			}
			_, err := workflowstate.New(refused.url, options...)
			var failure *workflowstate.Error
			equal(t, errors.As(err, &failure), true)
			equal(t, failure.Metadata["field"], refused.field)
			equal(t, strings.Contains(fmt.Sprintf("%v %+v", err, err), "hunter2"), false)
		})
	}
}

func TestHeadersTravelWithEveryCall(t *testing.T) {
	var heard atomic.Pointer[http.Header]
	serving := (&answering{
		get: func(ctx context.Context, _ *statev1.GetStateRequest) (*statev1.GetStateResponse, error) {
			info, _ := connectrpc.CallInfoForHandlerContext(ctx)
			heard.Store(new(info.RequestHeader()))
			return &statev1.GetStateResponse{}, nil
		},
	}).start(t)
	for _, protocol := range protocols {
		client := connect(t, serving+"/", workflowstate.WithProtocol(protocol), workflowstate.WithToken("t0ken"),
			workflowstate.WithNamespace("team-a"), workflowstate.WithHeader("x-bytes-bin", "\x00\xff"))
		must[any](t)(client.GetState(context.Background(), "s", "k"))
		equal(t, heard.Load().Get("Authorization"), "Bearer t0ken")
		equal(t, heard.Load().Get("X-Workflow-State-Namespace"), "team-a")
		equal(t, heard.Load().Get("X-Bytes-Bin"), "AP8")
	}
}

// guarded gives a service that two tokens may call.
func guarded(t *testing.T) *service {
	t.Helper()
	key := func(token, principal string, namespaces ...string) map[string]any {
		return map[string]any{
			"sha256":     fmt.Sprintf("%x", sha256.Sum256([]byte(token))),
			"principal":  principal,
			"namespaces": namespaces,
		}
	}
	return configured(t, map[string]any{"auth": map[string]any{
		"keys": []any{key("a-writer", "writer", "one", "two"), key("a-reader", "reader", "one")},
		"grants": []any{
			map[string]any{"principal": "writer", "action": "write", "namespace": "*"},
			map[string]any{"principal": "reader", "action": "read", "namespace": "*"},
		},
	}})
}

func TestAServiceThatAsksWhoCalls(t *testing.T) {
	service, ctx := guarded(t), context.Background()
	for _, protocol := range protocols {
		open := func(options ...workflowstate.Option) *workflowstate.Client {
			return connect(t, service.url, append(options, workflowstate.WithProtocol(protocol))...)
		}
		one := open(workflowstate.WithToken("a-writer"), workflowstate.WithNamespace("one"))
		two := open(workflowstate.WithToken("a-writer"), workflowstate.WithNamespace("two"))
		reader := open(workflowstate.WithToken("a-reader"))
		id := newSession(t)
		must[*workflowstate.Entry](t)(one.SetState(ctx, id, "k", 1))
		same(t, "another namespace", must[any](t)(two.GetState(ctx, id, "k")), nil)
		same(t, "the reader's", must[any](t)(reader.GetState(ctx, id, "k")), 1.0)
		_, err := reader.SetState(ctx, id, "k", 2)
		fails(t, err, workflowstate.ReasonPermissionDenied)
		_, err = open().GetState(ctx, id, "k")
		equal(t, fails(t, err, workflowstate.ReasonUnauthenticated).Code, connectrpc.CodeUnauthenticated)
		_, err = open(workflowstate.WithToken("nobody's")).SetState(ctx, id, "k", 2)
		fails(t, err, workflowstate.ReasonUnauthenticated)
		for _, err := range open().WatchSession(ctx, id) {
			fails(t, err, workflowstate.ReasonUnauthenticated)
		}
		for _, err := range open().Pipeline(ctx, increments(id, 1)) {
			fails(t, err, workflowstate.ReasonUnauthenticated)
		}
	}
}

func TestATokenFunctionIsAskedForEachAttempt(t *testing.T) {
	service, ctx, id := guarded(t), context.Background(), newSession(t)
	asked := 0
	client := connect(t, service.url, quick, workflowstate.WithNamespace("one"),
		workflowstate.WithTokenFunc(func(context.Context) (string, error) {
			if asked++; asked%2 == 1 {
				return "", errors.New("not now")
			}
			return "a-writer", nil
		}))
	must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", 1))
	equal(t, asked, 2)
	for message, err := range client.WatchSession(ctx, id) {
		noError(t, err)
		equal(t, message.Revision, 1)
		break
	}
	equal(t, asked, 4)

	never := errors.New("the secret service is away")
	client = connect(t, service.url, quick, workflowstate.WithTokenFunc(func(context.Context) (string, error) {
		return "", never
	}))
	_, err := client.SetState(ctx, id, "k", 1)
	failure := fails(t, err, workflowstate.ReasonStoreUnavailable)
	equal(t, errors.Is(failure, never), true)
	equal(t, strings.Contains(failure.Error(), "secret"), false)
	client = connect(t, service.url, workflowstate.WithTokenFunc(func(context.Context) (string, error) {
		return "not visible", nil
	}))
	_, err = client.SetState(ctx, id, "k", 1)
	fails(t, err, workflowstate.ReasonUnauthenticated)
}

// An authority signs certificates.
type authority struct {
	identity
	certificate *x509.Certificate
	private     *ecdsa.PrivateKey
}

type identity struct{ cert, key []byte }

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	made := &authority{}
	made.identity, made.certificate, made.private = signed(t, template, nil, nil)
	return made
}

func (a *authority) issue(t *testing.T, name string) identity {
	t.Helper()
	is, _, _ := signed(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{{127, 0, 0, 1}},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/" + name}},
	}, a.certificate, a.private)
	return is
}

func signed(
	t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey,
) (identity, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	private := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if parent == nil {
		parent, by = template, private
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, by))
	key := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(private))
	return identity{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}, must[*x509.Certificate](t)(x509.ParseCertificate(der)), private
}

func (i identity) files(t *testing.T) (certificate, key string) {
	t.Helper()
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	noError(t, os.WriteFile(certificate, i.cert, 0o600))
	noError(t, os.WriteFile(key, i.key, 0o600))
	return certificate, key
}

func TestTLSWithCertificatesOfBothSides(t *testing.T) {
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "server").files(t)
	authorities, _ := ca.files(t)
	config := map[string]any{
		"tlsCert": certificate, "tlsKey": key, "tlsClientCa": authorities,
		"auth": map[string]any{
			// Who shows no certificate may have a key.
			"keys": []any{map[string]any{
				"sha256": strings.Repeat("0", 64), "principal": "other", "namespaces": []string{"team"},
			}},
			"certificates": []any{map[string]any{
				"subjectAltName": "URI:spiffe://example.org/worker",
				"principal":      "worker",
				"namespaces":     []string{"team"},
			}},
			"grants": []any{map[string]any{"principal": "worker", "action": "write", "namespace": "*"}},
		},
	}
	service, ctx, id := configured(t, config), context.Background(), newSession(t)
	equal(t, strings.HasPrefix(service.url, "https://"), true)
	worker := ca.issue(t, "worker")
	for _, protocol := range protocols {
		open := func(options ...workflowstate.Option) *workflowstate.Client {
			return connect(t, service.url, append(options, quick, workflowstate.WithProtocol(protocol))...)
		}
		known := open(workflowstate.WithRootCertificates(ca.cert),
			workflowstate.WithClientCertificate(worker.cert, worker.key))
		must[*workflowstate.Entry](t)(known.SetState(ctx, id, "k", 1))
		for results, err := range known.Pipeline(ctx, increments(id, 2)) {
			noError(t, err)
			equal(t, results[0].Err, nil)
		}
		// Without a certificate of its own, nobody.
		_, err := open(workflowstate.WithRootCertificates(ca.cert)).GetState(ctx, id, "k")
		fails(t, err, workflowstate.ReasonUnauthenticated)
		// A service that nobody vouches for is told nothing.
		_, err = open(workflowstate.WithToken("hunter2")).SetState(ctx, id, "k", 1)
		failure := fails(t, err, workflowstate.ReasonStoreUnavailable)
		var unknown *tls.CertificateVerificationError
		equal(t, errors.As(failure, &unknown), true)
		equal(t, strings.Contains(failure.Message, "certificate"), true)
	}
}

func TestAnHTTPClientOfTheCallersOwn(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	own := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	client := connect(t, shared.url, workflowstate.WithHTTPClient(own))
	id := newSession(t)
	must[*workflowstate.Entry](t)(client.SetState(context.Background(), id, "k", 1))
	noError(t, client.Close())
	again := connect(t, shared.url, workflowstate.WithHTTPClient(own))
	same(t, "k", must[any](t)(again.GetState(context.Background(), id, "k")), 1.0)

	// Whether what failed had left can't be told here.
	away := connect(t, "http://127.0.0.1:1", workflowstate.WithHTTPClient(own), quick)
	_, err := away.SetState(context.Background(), id, "k", 1)
	fails(t, err, workflowstate.ReasonOutcomeUnknown)
}
