#include "support/proxy.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace tests {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int new_socket() {
  const int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made < 0) throw std::runtime_error("There is no socket to be had.");
  return made;
}

/// Whether HTTP/2 bytes, which begin with a frame, have a HEADERS frame among them: a call, or the answer to
/// it.
bool has_headers(const std::vector<unsigned char>& data) {
  for (std::size_t at = 0; at + 9 <= data.size();) {
    if (data[at + 3] == 1) return true;
    at += 9 + (std::size_t{data[at]} << 16 | std::size_t{data[at + 1]} << 8 | data[at + 2]);
  }
  return false;
}

}  // namespace

Proxy::Proxy(int port) : service_port_(port), listener_(new_socket()) {
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener_, generic, length) != 0 || listen(listener_, 16) != 0 ||
      getsockname(listener_, generic, &length) != 0) {
    throw std::runtime_error("The proxy can't listen.");
  }
  url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  acceptor_ = std::thread([this] { accept_all(); });
}

Proxy::~Proxy() {
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  cut();
  for (std::thread& thread : threads_) thread.join();
  for (const int open : sockets_) close(open);
}

void Proxy::cut() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const int open : sockets_) shutdown(open, SHUT_RDWR);
}

void Proxy::accept_all() {
  while (true) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    ++connections;
    const int service = new_socket();
    const sockaddr_in address = loopback(service_port_);
    // If it fails, passing bytes on fails at once.
    static_cast<void>(connect(service, reinterpret_cast<const sockaddr*>(&address), sizeof address));
    const std::lock_guard<std::mutex> lock(mutex_);
    sockets_.insert(sockets_.end(), {client, service});
    threads_.emplace_back([this, client, service] { pass(client, service, false); });
    threads_.emplace_back([this, client, service] { pass(service, client, true); });
  }
}

void Proxy::pass(int from, int to, bool answers) {
  std::vector<unsigned char> data;
  while (true) {
    data.resize(65536);
    const ssize_t got = recv(from, data.data(), data.size(), 0);
    if (got <= 0) break;
    data.resize(static_cast<std::size_t>(got));
    if (black_hole) {
      if (!answers && has_headers(data)) ++swallowed;
      continue;
    }
    if (answers && lose_answers > 0 && has_headers(data)) {
      --lose_answers;
      break;
    }
    if (send(to, data.data(), data.size(), MSG_NOSIGNAL) != got) break;
  }
  // The sockets are closed at the end, so that no number is used twice.
  shutdown(from, SHUT_RDWR);
  shutdown(to, SHUT_RDWR);
}

}  // namespace tests
