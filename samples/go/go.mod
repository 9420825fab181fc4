// The samples in Go: programs of their own that use the client beside them in the checkout.
module github.com/agenterra/workflow-state/samples/go

go 1.26.0

require github.com/agenterra/workflow-state/clients/go v0.1.0

require (
	connectrpc.com/connect v1.21.1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/agenterra/workflow-state/clients/go => ../../clients/go
