/// @file
/// What a client was told, checked.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <agenterra/workflow_state/options.hpp>

namespace agenterra::workflow_state::detail {

/// Where the service is, how calls are made, and what they carry.
struct Settings {
  std::string target;
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  grpc::ChannelArguments arguments;
  Span timeout{0};
  Retry retry;
  Span silence{0};
  std::function<std::string()> token;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// Checks what a client was told. Fails with `invalid_request` and the `field`.
Settings settings_of(const std::string& url, const ClientOptions& options);

/// Checks a time that something may take.
Span positive(Span span, const char* field);

/// The header of a token, checked.
std::string authorization(const std::string& token);

/// How long to wait after so many attempts: exponential, with a random half.
Span pause_after(const Retry& retry, int count);

}  // namespace agenterra::workflow_state::detail
