package workflowstate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
)

const namespaceHeader = "X-Workflow-State-Namespace"

// A Protocol is how a client talks to the service.
type Protocol int

const (
	// ProtocolGRPC is gRPC.
	ProtocolGRPC Protocol = iota
	// ProtocolConnect is the Connect protocol, with binary messages.
	ProtocolConnect
	// ProtocolGRPCWeb is gRPC-Web, for proxies that lose the trailers of gRPC.
	ProtocolGRPCWeb
)

// Retry says how a call that failed with UNAVAILABLE is tried again.
type Retry struct {
	// Attempts is how often a call is tried in all; 0: 5.
	Attempts int
	// Base is the longest pause before the second attempt; it doubles with each. 0: 50 ms.
	Base time.Duration
	// Most is the longest pause. 0: 2 s.
	Most time.Duration
}

// pause gives how long to wait after so many attempts: exponential, with a random half.
func (r Retry) pause(count int) time.Duration {
	longest := math.Min(float64(r.Most), float64(r.Base)*math.Pow(2, float64(min(count-1, 60))))
	return time.Duration(longest * (0.5 + rand.Float64()/2))
}

// An Option is an option of [New].
type Option func(*settings) error

// settings is what a client was told.
type settings struct {
	url        *url.URL
	protocol   Protocol
	timeout    time.Duration
	retry      Retry
	silence    time.Duration
	token      func(context.Context) (string, error)
	header     http.Header
	tls        *tls.Config
	httpClient connect.HTTPClient
}

// WithProtocol has the client talk Connect or gRPC-Web in place of gRPC.
func WithProtocol(protocol Protocol) Option {
	return func(s *settings) error {
		if protocol < ProtocolGRPC || protocol > ProtocolGRPCWeb {
			return refused("protocol", "There is no such protocol.")
		}
		s.protocol = protocol
		return nil
	}
}

// WithTimeout says how long a call may take with all its attempts, if its context has no deadline: 30 s by
// default. Watches and pipelines have no limit.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) error {
		s.timeout = timeout
		return positive("timeout", timeout)
	}
}

// WithRetry says how calls are tried again.
func WithRetry(retry Retry) Option {
	return func(s *settings) error {
		if retry.Attempts < 0 || retry.Base < 0 || retry.Most < 0 {
			return refused("retry", "Nothing in a Retry may be negative.")
		}
		if retry.Attempts > 0 {
			s.retry.Attempts = retry.Attempts
		}
		if retry.Base > 0 {
			s.retry.Base = retry.Base
		}
		if retry.Most > 0 {
			s.retry.Most = retry.Most
		}
		return nil
	}
}

// WithToken sends a token as "authorization: Bearer …". Use it with https only: over http everybody on the
// way can read it.
func WithToken(token string) Option {
	return func(s *settings) error {
		s.token = func(context.Context) (string, error) { return token, nil }
		_, err := authorization(token)
		return err
	}
}

// WithTokenFunc asks for the token before each attempt, for tokens that run out. Many goroutines can ask at
// once.
func WithTokenFunc(token func(context.Context) (string, error)) Option {
	return func(s *settings) error {
		if token == nil {
			return refused("token", "A token function can't be nil.")
		}
		s.token = token
		return nil
	}
}

// WithNamespace says which of the caller's namespaces to work in.
func WithNamespace(namespace string) Option {
	return WithHeader(namespaceHeader, namespace)
}

var (
	headerName  = regexp.MustCompile(`^[0-9A-Za-z_.-]+$`)
	headerValue = regexp.MustCompile(`^[\x20-\x7e]*$`)
	tokenText   = regexp.MustCompile(`^[\x21-\x7e]+$`)
)

// WithHeader sends a further header with every call. The value of one whose name ends in -bin is any bytes,
// which are encoded as gRPC does.
func WithHeader(name, value string) Option {
	return func(s *settings) error {
		lower := strings.ToLower(name)
		if !headerName.MatchString(name) || strings.HasPrefix(lower, "grpc-") ||
			strings.HasPrefix(lower, "connect-") {
			return refused("header", "The name of a header is of letters, digits, -, _ and ., "+
				"and does not begin with grpc- or connect-.")
		}
		if strings.HasSuffix(lower, "-bin") {
			value = connect.EncodeBinaryHeader([]byte(value))
		} else if !headerValue.MatchString(value) || strings.TrimSpace(value) != value {
			return refused("header", "A header must be printable ASCII.")
		}
		s.header.Set(name, value)
		return nil
	}
}

// WithRootCertificates says in PEM who may have signed the service's certificate, for https. Without it the
// system says.
func WithRootCertificates(pem []byte) Option {
	return func(s *settings) error {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return refused("root_certificates", "There is no PEM certificate among the root certificates.")
		}
		s.tlsConfig().RootCAs = roots
		return nil
	}
}

// WithClientCertificate shows the service a certificate, for mutual TLS. Both are PEM.
func WithClientCertificate(certificate, key []byte) Option {
	return func(s *settings) error {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			failure := refused("client_certificate", "The client certificate and its key can't be used.")
			failure.cause = err
			return failure
		}
		s.tlsConfig().Certificates = []tls.Certificate{pair}
		return nil
	}
}

// WithSilence says after how long a watch on a session that hears nothing connects anew: 45 s by default. The
// service sends something every 15 s.
func WithSilence(silence time.Duration) Option {
	return func(s *settings) error {
		s.silence = silence
		return positive("silence", silence)
	}
}

// WithHTTPClient makes the calls over an HTTP client of your own, which must speak HTTP/2, in cleartext for
// http. It is not closed with the client, and has its own TLS settings.
func WithHTTPClient(client connect.HTTPClient) Option {
	return func(s *settings) error {
		if client == nil {
			return refused("http_client", "An HTTP client can't be nil.")
		}
		s.httpClient = client
		return nil
	}
}

func (s *settings) tlsConfig() *tls.Config {
	if s.tls == nil {
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return s.tls
}

func newSettings(address string, options []Option) (*settings, error) {
	parsed, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	s := &settings{
		url:     parsed,
		timeout: 30 * time.Second,
		retry:   Retry{Attempts: 5, Base: 50 * time.Millisecond, Most: 2 * time.Second},
		silence: 45 * time.Second,
		header:  http.Header{},
	}
	for _, option := range options {
		if err := option(s); err != nil {
			return nil, err
		}
	}
	if s.tls != nil && parsed.Scheme != "https" {
		return nil, refused("url", "Certificates need an https:// URL.")
	}
	if s.tls != nil && s.httpClient != nil {
		return nil, refused("http_client", "Give the certificates to the HTTP client.")
	}
	return s, nil
}

// parseURL never repeats the URL in an error: it could hold a password.
func parseURL(address string) (*url.URL, error) {
	const expected = "expected one such as http://127.0.0.1:7410 or https://state.example.com"
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, refused("url", "The URL can't be read: "+expected+".")
	}
	if parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" {
		return nil, refused("url", "The URL has no scheme that is known, or no host: "+expected+".")
	}
	if parsed.User != nil {
		return nil, refused("url", "The URL must have no user or password: use WithToken or WithHeader.")
	}
	if strings.TrimSuffix(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, refused("url", "The URL must have nothing after the port: "+expected+".")
	}
	return parsed, nil
}

// refused is the error of an option that is wrong.
func refused(field, message string) *Error {
	return invalid(ReasonInvalidRequest, field, message)
}

func positive(field string, span time.Duration) error {
	if span <= 0 {
		return refused(field, field+" must be more than 0.")
	}
	return nil
}

func authorization(token string) (string, error) {
	if !tokenText.MatchString(token) {
		return "", invalid(ReasonUnauthenticated, "token", "A token is visible ASCII, without spaces.")
	}
	return "Bearer " + token, nil
}

// headers gives what a call carries.
func (s *settings) headers(ctx context.Context) (http.Header, error) {
	if s.token == nil {
		return s.header, nil
	}
	token, err := s.token(ctx)
	if err != nil {
		return nil, newError(ReasonStoreUnavailable, "The token of the call could not be had.", err)
	}
	bearer, err := authorization(token)
	if err != nil {
		return nil, err
	}
	header := s.header.Clone()
	header.Set("Authorization", bearer)
	return header, nil
}
