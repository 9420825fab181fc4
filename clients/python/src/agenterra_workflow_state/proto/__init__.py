"""The messages and the service as they were generated, for who wants to call it without the client."""
