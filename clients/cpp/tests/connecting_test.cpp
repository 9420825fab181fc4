#include <atomic>
#include <fstream>

#include "settings.hpp"
#include "support/raw.hpp"

namespace tests {
namespace {

std::string target_of(const std::string& url) { return detail::settings_of(url, {}).target; }

/// The field that options are refused for.
std::string refused(const std::string& url, const ClientOptions& options = {}) {
  const auto error = failure_of([&] { Client(url, options); });
  EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
  const auto field = error.metadata().find("field");
  return field == error.metadata().end() ? "" : field->second;
}

TEST(Connecting, AUrlIsASchemeAHostAndAPort) {
  EXPECT_EQ(target_of("http://127.0.0.1:7410"), "dns:///127.0.0.1:7410");
  EXPECT_EQ(target_of("http://state.example.com/"), "dns:///state.example.com:80");
  EXPECT_EQ(target_of("https://state.example.com"), "dns:///state.example.com:443");
  EXPECT_EQ(target_of("http://[::1]:7410"), "dns:///[::1]:7410");
  for (const char* url :
       {"", "127.0.0.1:7410", "ftp://host", "http://", "http://:80", "http://[]", "http://[::1",
        "http://host:", "http://host:x", "http://host:65536", "http://a b", "http://host/path",
        "http://host?q", "http://user:secret@host", "http://host:1:2", "http://h\xc3\xb6st"}) {
    EXPECT_EQ(refused(url), "url") << url;
  }
}

TEST(Connecting, OptionsThatCanNotBeAreRefused) {
  const std::string url = "http://127.0.0.1:9";
  EXPECT_EQ(refused(url, {.timeout = 0ms}), "timeout");
  EXPECT_EQ(refused(url, {.retry = {.attempts = 0}}), "retry.attempts");
  EXPECT_EQ(refused(url, {.retry = {.base = -1ms}}), "retry.base");
  EXPECT_EQ(refused(url, {.token = "secret secret"}), "token");
  EXPECT_EQ(refused(url, {.token = "secret", .token_source = [] { return "secret"; }}), "token");
  EXPECT_EQ(refused(url, {.ns = "a\nb"}), "metadata");
  EXPECT_EQ(refused(url, {.metadata = {{"Upper", "x"}}}), "metadata");
  EXPECT_EQ(refused(url, {.metadata = {{"grpc-timeout", "x"}}}), "metadata");
  EXPECT_EQ(refused(url, {.metadata = {{"name", " secret"}}}), "metadata");
  EXPECT_EQ(refused(url, {.root_certificates = "x"}), "url");
  EXPECT_EQ(refused("https://h", {.client_certificate = "x"}), "client_key");
  EXPECT_EQ(refused(url, {.silence = 0ms}), "silence");
}

TEST(Connecting, PausesGrowAndVary) {
  const Retry retry{.attempts = 9, .base = 100ms, .most = 350ms};
  for (int round = 0; round < 50; ++round) {
    EXPECT_GE(detail::pause_after(retry, 1), 50ms);
    EXPECT_LE(detail::pause_after(retry, 1), 100ms);
    EXPECT_GE(detail::pause_after(retry, 2), 100ms);
    EXPECT_LE(detail::pause_after(retry, 2), 200ms);
    EXPECT_LE(detail::pause_after(retry, 1000), 350ms);
  }
}

TEST(Connecting, CallsCarryWhatTheClientWasTold) {
  Raw raw;
  Client client(raw.url(),
                {.token = "t0ken", .ns = "team-a", .metadata = {{"x-one", "1"}, {"x-two-bin", "\xff"}}});
  client.get_state("s", "k");
  EXPECT_EQ(raw.carried("authorization").at(0), "Bearer t0ken");
  EXPECT_EQ(raw.carried("x-workflow-state-namespace").at(0), "team-a");
  EXPECT_EQ(raw.carried("x-one").at(0), "1");
  EXPECT_EQ(raw.carried("x-two-bin").at(0), "\xff");
}

TEST(Connecting, ATokenSourceIsAskedForEachAttempt) {
  Raw raw;
  std::atomic<int> count{0};
  Client client(raw.url(),
                {.retry = {.base = 1ms}, .token_source = [&] { return "t" + std::to_string(++count); }});
  raw.fail({grpc::Status(grpc::StatusCode::UNAVAILABLE, "")});
  client.get_state("s", "k");
  EXPECT_EQ(raw.carried("authorization"), (std::vector<std::string>{"Bearer t1", "Bearer t2"}));
}

TEST(Connecting, ATokenThatCanNotBeHadIsSaidToBe) {
  Raw raw;
  Client client(raw.url(), {.retry = {.attempts = 1}, .token_source = []() -> std::string {
                              throw std::runtime_error("no token today");
                            }});
  const auto error = failure_of([&] { client.set_state("s", "k", 1); });
  EXPECT_EQ(error.reason(), Reason::store_unavailable);
  EXPECT_EQ(error.cause(), "no token today");
  EXPECT_EQ(failure_of([&] { client.watch_sessions(); }).reason(), Reason::store_unavailable);
}

TEST(Connecting, AServiceWithTlsIsReachedByWhoTrustsItsCertificate) {
  const std::string made = output_of(
      "import { selfSigned } from './test/support/self-signed.ts'; "
      "console.log(JSON.stringify(selfSigned()));");
  const Value identity = Value::parse(made);
  const std::string folder = testing::TempDir() + "workflow-state-tls-" + std::to_string(getpid());
  const std::string certificate = folder + "-cert.pem", key = folder + "-key.pem";
  std::ofstream(certificate) << identity.at("cert").get<std::string>();
  std::ofstream(key) << identity.at("key").get<std::string>();
  {
    Service service({"--tls-cert", certificate, "--tls-key", key});
    const std::string url = "https://localhost:" + std::to_string(service.port());
    Client client(url, {.root_certificates = identity.at("cert")});
    client.set_state("s", "k", "over TLS");
    EXPECT_EQ(client.get_state("s", "k"), Value("over TLS"));
    Client stranger(url, {.retry = {.attempts = 1}});
    EXPECT_EQ(failure_of([&] { stranger.get_state("s", "k"); }).reason(), Reason::store_unavailable);
  }
  std::remove(certificate.c_str());
  std::remove(key.c_str());
}

}  // namespace
}  // namespace tests
