package workflowstate

import (
	"context"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1/statev1connect"
)

// An answer has 4 MiB by default, but services can be set up for more. What is sent the service bounds.
const largestAnswer = 64 << 20

// newTransport makes the connections of one client: HTTP/2, in cleartext for http. They end with the client's life.
func newTransport(life context.Context, s *settings) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// Whatever is under way: that its calls have ended a connection may hear too late to count as idle.
			stop := context.AfterFunc(life, func() { _ = conn.Close() })
			return livingConn{conn, stop}, nil
		},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     5 * time.Minute,
		Protocols:           new(http.Protocols),
		// A dead connection is found by a ping, also while only a watch is open.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		// An error names every check that failed, in trailers.
		MaxResponseHeaderBytes: 4 << 20,
	}
	if s.url.Scheme == "https" {
		transport.Protocols.SetHTTP2(true)
		transport.TLSClientConfig = s.tlsConfig()
		transport.Proxy = http.ProxyFromEnvironment
	} else {
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return transport
}

// A livingConn is a connection that its client's end closes.
type livingConn struct {
	net.Conn
	stop func() bool
}

func (c livingConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// connectTo gives the service's methods.
func connectTo(life context.Context, s *settings) statev1connect.WorkflowStateServiceClient {
	options := []connect.ClientOption{
		connect.WithReadMaxBytes(largestAnswer),
		// What is small would cost more to pack than to send.
		connect.WithAcceptCompression("gzip", nil, nil),
	}
	switch s.protocol {
	case ProtocolGRPC:
		options = append(options, connect.WithGRPC())
	case ProtocolGRPCWeb:
		options = append(options, connect.WithGRPCWeb())
	case ProtocolConnect:
	}
	client := s.httpClient
	if client == nil {
		client = &http.Client{
			Transport: newTransport(life, s),
			// Who is sent elsewhere would take the token there.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	base := s.url.Scheme + "://" + s.url.Host
	return statev1connect.NewWorkflowStateServiceClient(client, base, options...)
}
