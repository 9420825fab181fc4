#include "settings.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "failures.hpp"

namespace agenterra::workflow_state::detail {
namespace {

constexpr const char* expected = "expected one such as http://127.0.0.1:7410 or https://state.example.com";

bool is_between(char c, char first, char last) { return c >= first && c <= last; }

bool is_visible(char c) { return is_between(c, '\x21', '\x7e'); }

bool is_digit(char c) { return is_between(c, '0', '9'); }

bool is_host(char c) {
  return is_digit(c) || is_between(c, 'a', 'z') || is_between(c, 'A', 'Z') || c == '.' || c == '_' ||
         c == '-';
}

bool is_address(char c) { return is_host(c) || c == ':' || c == '%'; }

template <class Test>
bool all(const std::string& text, Test test) {
  return std::all_of(text.begin(), text.end(), test);
}

/// The target of gRPC. No message repeats the URL: it could hold a password.
std::string target_of(const std::string& url, bool secure) {
  std::string rest = url.substr(url.find("://") + 3);
  if (rest.find('@') != std::string::npos) {
    throw invalid("url", "The URL must have no user or password: give `token` or `metadata`.");
  }
  if (!rest.empty() && rest.back() == '/') rest.pop_back();
  if (rest.find_first_of("/?#") != std::string::npos) {
    throw invalid("url", std::string("The URL must have nothing after the port: ") + expected + ".");
  }
  const bool bracketed = !rest.empty() && rest[0] == '[';
  const std::size_t end = bracketed ? rest.find(']') + 1 : std::min(rest.find(':'), rest.size());
  const std::string host = rest.substr(0, end);
  std::string port = rest.substr(end);
  const std::string bare = bracketed && end > 1 ? host.substr(1, end - 2) : host;
  if (bare.empty() || !(bracketed ? all(bare, is_address) : all(bare, is_host))) {
    throw invalid("url", std::string("The URL's host can't be read: ") + expected + ".");
  }
  if (port.empty()) port = secure ? ":443" : ":80";
  const std::string number = port.substr(1);
  if (port[0] != ':' || number.empty() || number.size() > 5 || !all(number, is_digit) ||
      std::stoi(number) > 65535) {
    throw invalid("url", std::string("The URL's port can't be read: ") + expected + ".");
  }
  return "dns:///" + host + port;
}

std::pair<std::string, std::string> header(const std::string& name, const std::string& value) {
  auto in_name = [](char c) {
    return is_digit(c) || is_between(c, 'a', 'z') || c == '-' || c == '_' || c == '.';
  };
  if (name.empty() || !all(name, in_name) || name.rfind("grpc-", 0) == 0) {
    throw invalid("metadata",
                  "A name in metadata is of a-z, 0-9, -, _ and ., and does not begin with grpc-.");
  }
  const bool binary = name.size() > 4 && name.compare(name.size() - 4, 4, "-bin") == 0;
  const bool padded = !value.empty() && (value.front() == ' ' || value.back() == ' ');
  if (!binary && (padded || !all(value, [](char c) { return is_visible(c) || c == ' '; }))) {
    throw invalid("metadata", name + " must be printable ASCII, unless its name ends in -bin.");
  }
  return {name, value};
}

grpc::ChannelArguments arguments_of(const ClientOptions& options) {
  std::map<std::string, std::variant<int, std::string>> all{
      // An answer has 4 MiB by default, but services can be set up for more. What is sent the service bounds.
      {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 64 << 20},
      {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1},
      // An error names every check that failed, in trailers that gRPC would bound to 8 KiB; newer versions of
      // it have
      // a second bound.
      {GRPC_ARG_MAX_METADATA_SIZE, 4 << 20},
      {"grpc.absolute_max_metadata_size", 4 << 20},
      // A dead connection is found by a ping, also while only a watch is open.
      {GRPC_ARG_KEEPALIVE_TIME_MS, 30'000},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000},
      {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
      // Retries pause by themselves: a connection that failed is to be tried again by then.
      {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50},
      {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000},
      {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000},
      // Each client has a connection of its own: a service takes 100 streams on one.
      {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},
      {GRPC_ARG_PRIMARY_USER_AGENT_STRING, "agenterra-workflow-state-cpp/" WORKFLOW_STATE_VERSION},
  };
  for (const auto& [name, value] : options.channel_options) all[name] = value;
  grpc::ChannelArguments arguments;
  for (const auto& [name, value] : all) {
    if (const int* number = std::get_if<int>(&value)) {
      arguments.SetInt(name, *number);
    } else {
      arguments.SetString(name, std::get<std::string>(value));
    }
  }
  return arguments;
}

std::shared_ptr<grpc::ChannelCredentials> credentials_of(const ClientOptions& options, bool secure) {
  const bool certificates = !options.root_certificates.empty() || !options.client_certificate.empty() ||
                            !options.client_key.empty();
  if (!secure) {
    if (certificates) throw invalid("url", "Certificates need an https:// URL.");
    return grpc::InsecureChannelCredentials();
  }
  if (options.client_certificate.empty() != options.client_key.empty()) {
    throw invalid("client_key", "client_certificate and client_key belong together: give both.");
  }
  return grpc::SslCredentials({options.root_certificates, options.client_key, options.client_certificate});
}

}  // namespace

Settings settings_of(const std::string& url, const ClientOptions& options) {
  const bool secure = url.rfind("https://", 0) == 0;
  if (!secure && url.rfind("http://", 0) != 0) {
    throw invalid("url", std::string("The URL has no scheme that is known: ") + expected + ".");
  }
  Settings settings;
  settings.target = target_of(url, secure);
  settings.credentials = credentials_of(options, secure);
  settings.arguments = arguments_of(options);
  settings.timeout = positive(options.timeout, "timeout");
  settings.silence = positive(options.silence, "silence");
  settings.retry = options.retry;
  if (options.retry.attempts < 1) throw invalid("retry.attempts", "retry.attempts must be 1 or more.");
  positive(options.retry.base, "retry.base");
  positive(options.retry.most, "retry.most");
  settings.token = options.token_source;
  if (!options.token.empty()) {
    if (options.token_source) throw invalid("token", "Give token or token_source, not both.");
    authorization(options.token);
    settings.token = [token = options.token] { return token; };
  }
  for (const auto& [name, value] : options.metadata) settings.metadata.push_back(header(name, value));
  if (!options.ns.empty()) settings.metadata.push_back(header("x-workflow-state-namespace", options.ns));
  return settings;
}

Span positive(Span span, const char* field) {
  // What is longer can't be added to a clock.
  if (span <= Span::zero() || span > std::chrono::hours(24 * 36'500)) {
    throw invalid(field, std::string(field) + " must be more than 0, and no more than 100 years.");
  }
  return span;
}

std::string authorization(const std::string& token) {
  if (token.empty() || !all(token, is_visible)) {
    throw invalid("token", "A token is visible ASCII, without spaces.", Reason::unauthenticated);
  }
  return "Bearer " + token;
}

Span pause_after(const Retry& retry, int count) {
  thread_local std::minstd_rand random(std::random_device{}());
  const double longest =
      std::min(static_cast<double>(retry.most.count()),
               static_cast<double>(retry.base.count()) * std::exp2(std::min(count - 1, 60)));
  const double pause = longest * std::uniform_real_distribution<double>(0.5, 1.0)(random);
  return Span(std::max<std::int64_t>(1, std::llround(pause)));
}

}  // namespace agenterra::workflow_state::detail
