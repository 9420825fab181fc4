/// @file
/// A TCP proxy before the service that loses connections and answers when it is told to.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tests {

/// Passes bytes on, as long as it does.
class Proxy {
 public:
  /// Before what listens at the port of 127.0.0.1.
  explicit Proxy(int port);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  const std::string& url() const { return url_; }

  /// Ends all connections.
  void cut();

  /// How many connections were made.
  std::atomic<int> connections{0};
  /// Takes in what is sent, and passes nothing on.
  std::atomic<bool> black_hole{false};
  /// How many calls it has taken in so.
  std::atomic<int> swallowed{0};
  /// Cuts the connection in place of passing on an answer of the service, so often.
  std::atomic<int> lose_answers{0};

 private:
  void accept_all();
  void pass(int from, int to, bool answers);

  int service_port_;
  int listener_;
  std::string url_;
  std::mutex mutex_;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace tests
